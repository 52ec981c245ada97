"""Listening sockets on the loopback: as ``listen`` says, kept over reloads."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

import os
import socket
import stat
import tempfile
from typing import Any, cast

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.config.model import Listen
from cacheproxy.errors import ConfigError
from cacheproxy.net.descriptors import DescriptorGuard
from cacheproxy.net.listen import HttpFactory, Listener
from cacheproxy.proxy.site.site import Site
from tests.proxy.harness import Bench, BenchCase


class _Port:
    """An ``IListeningPort`` over a socket of its own."""

    def __init__(self, bound: socket.socket) -> None:
        self.bound = bound
        self.stopped = False
        self.reading = True

    def stopReading(self) -> None:
        self.reading = False

    def startReading(self) -> None:
        self.reading = True

    def getHost(self) -> Any:
        return type("Address", (), {"port": self.bound.getsockname()[1]})()

    def stopListening(self) -> str:
        self.stopped = True
        self.bound.close()
        return "a Deferred"


class SocketReactor:
    """Adopts descriptors as a reactor does, serving nothing."""

    def __init__(self) -> None:
        self.ports: list[Any] = []
        self.unix: list[tuple[str, int, int]] = []

    def adoptStreamPort(self, descriptor: int, family: int, factory: object) -> _Port:
        port = _Port(socket.socket(fileno=os.dup(descriptor)))
        self.ports.append(port)
        return port

    def listenUNIX(self, path: str, factory: object, backlog: int, mode: int) -> _Port:
        bound = socket.socket(socket.AF_UNIX)
        bound.bind(path)
        bound.listen(backlog)
        self.unix.append((path, backlog, mode))
        port = _Port(bound)
        self.ports.append(port)
        return port


class ListenerTests(SynchronousTestCase):
    """``Listener``."""

    def setUp(self) -> None:
        self.reactor = SocketReactor()
        self.free = 10
        self.clock = Clock()
        self.guard = DescriptorGuard(self.clock, lambda: self.free, lambda: 100)
        self.addCleanup(lambda: [port.bound.close() for port in self.reactor.ports])
        bench = Bench(cast(Any, self), "server { listen 127.0.0.1:80; return 200; }")
        self.site: Site = next(iter(bench.factories.values())).site

    def listener(self, **options: Any) -> Listener:
        """A listener on a free port, open."""
        made = Listener(
            Listen(**{"host": "127.0.0.1", "port": 0, **options}),
            self.site,
            self.reactor,
            None,
            self.guard,
        )
        made.open()
        return made

    def option(self, level: int, name: int) -> int:
        """A socket option of the last port."""
        bound: socket.socket = self.reactor.ports[-1].bound
        return bound.getsockopt(level, name)

    def test_open_and_close(self) -> None:
        """It accepts until it is closed; closing twice is nothing."""
        listener = self.listener()
        with socket.create_connection(("127.0.0.1", listener.port), 5):
            pass
        self.assertEqual(listener.close(), "a Deferred")
        self.assertIsNone(listener.close())

    def test_options(self) -> None:
        """The parameters of ``listen`` reach the socket."""
        self.listener(reuseport=True, so_keepalive=True, rcvbuf=65536, sndbuf=32768)
        self.assertTrue(self.option(socket.SOL_SOCKET, socket.SO_REUSEADDR))
        self.assertTrue(self.option(socket.SOL_SOCKET, socket.SO_REUSEPORT))
        self.assertTrue(self.option(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
        self.assertGreaterEqual(self.option(socket.SOL_SOCKET, socket.SO_RCVBUF), 65536)
        self.assertGreaterEqual(self.option(socket.SOL_SOCKET, socket.SO_SNDBUF), 32768)
        self.listener()
        self.assertFalse(self.option(socket.SOL_SOCKET, socket.SO_REUSEPORT))
        self.assertFalse(self.option(socket.SOL_SOCKET, socket.SO_KEEPALIVE))

    def test_accepting_pauses_while_descriptors_are_short(self) -> None:
        """Clients wait in the kernel's queue; a closed port is left alone."""
        listener, other = self.listener(), self.listener()
        other.close()
        (port, _) = self.reactor.ports
        self.free = 95
        listener.factory.buildProtocol(None)
        self.assertFalse(port.reading)
        self.free = 10
        self.clock.advance(1)
        self.assertTrue(port.reading)
        listener.close()
        listener.pause_accepting()
        listener.resume_accepting()

    def test_ipv6(self) -> None:
        """An IPv6 address in brackets; it takes no IPv4 connections."""
        try:
            self.listener(host="::1")
        except ConfigError as failure:  # no IPv6 on this machine
            self.assertIn("[::1]", str(failure))
            return
        self.assertTrue(self.option(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY))

    def test_reuseport_shares(self) -> None:
        """Two sockets on one port, where both ask for it."""
        first = self.listener(reuseport=True)
        self.listener(reuseport=True, port=first.port)

    def test_taken_port(self) -> None:
        """nginx's wording, with the number of the error."""
        first = self.listener()
        with self.assertRaises(ConfigError) as caught:
            self.listener(port=first.port)
        self.assertRegex(
            str(caught.exception), rf"bind\(\) to 127\.0\.0\.1:{first.port} failed \(\d+: Address"
        )

    def test_foreign_address(self) -> None:
        """An address that is not ours."""
        with self.assertRaises(ConfigError):
            self.listener(host="192.0.2.7")

    def test_unix(self) -> None:
        """Anyone may connect, as in nginx; what a killed process left is removed."""
        folder = tempfile.mkdtemp()
        self.addCleanup(os.rmdir, folder)
        path = os.path.join(folder, "s")
        listener = self.listener(path=path, host="")
        self.addCleanup(os.unlink, path)
        self.assertEqual(self.reactor.unix, [(path, 511, 0o666)])
        listener.close()
        self.assertTrue(stat.S_ISSOCK(os.stat(path).st_mode), "left behind")
        self.listener(path=path, host="")

    def test_unix_in_use(self) -> None:
        """A socket that somebody listens on is not taken away."""
        folder = tempfile.mkdtemp()
        path = os.path.join(folder, "s")
        self.listener(path=path, host="")
        self.addCleanup(os.rmdir, folder)
        self.addCleanup(os.unlink, path)
        with self.assertRaises(ConfigError) as caught:
            self.listener(path=path, host="")
        self.assertIn(f"bind() to unix:{path} failed", str(caught.exception))

    def test_unix_not_a_socket(self) -> None:
        """A file of that name is left alone."""
        with tempfile.NamedTemporaryFile() as file:
            with self.assertRaises(ConfigError):
                self.listener(path=file.name, host="")
            self.assertTrue(os.path.exists(file.name))

    def test_can_become(self) -> None:
        """The same address, and TLS or not as before."""
        listener = self.listener(port=0)
        self.assertTrue(listener.can_become(Listen("127.0.0.1", 0, backlog=7)))
        self.assertFalse(listener.can_become(Listen("127.0.0.1", 1)))
        self.assertFalse(listener.can_become(Listen("127.0.0.1", 0, ssl=True)))


class PeerTests(BenchCase):
    """Which address a connection has, by the kind of the socket that accepted it."""

    def factory(self, listen: str) -> HttpFactory:
        """What makes the connections of ``listen``."""
        text = f"server {{ listen {listen}; return 200; }}"
        return next(iter(Bench(cast(Any, self), text).factories.values()))

    def peer(self, listen: str, address: Any) -> tuple[str, int]:
        """``$remote_addr`` and ``$remote_port`` of a connection from *address*."""
        made: Any = self.factory(listen).buildProtocol(address)
        return made.peer_host, made.peer_port

    def test_tcp_client_has_the_address_that_accept_gave(self) -> None:
        """IPv6 without its scope, as in nginx."""
        self.assertEqual(
            self.peer("127.0.0.1:80", IPv4Address("TCP", "192.0.2.1", 7)), ("192.0.2.1", 7)
        )
        self.assertEqual(
            self.peer("[::1]:80", IPv6Address("TCP", "fe80::1%eth0", 7)), ("fe80::1", 7)
        )

    def test_client_of_a_unix_socket_is_unix_whatever_its_address(self) -> None:
        """A client may have bound its own end to a path."""
        for address in (None, UNIXAddress(None), UNIXAddress(b"/client")):
            self.assertEqual(self.peer("unix:/x", address), ("unix:", 0))

    def test_tcp_client_without_an_address_is_dropped(self) -> None:
        """It must never be taken for a client of a UNIX socket (``allow unix:``)."""
        for address in (None, UNIXAddress(None), UNIXAddress(b"/client")):
            self.assertIsNone(self.factory("127.0.0.1:80").buildProtocol(address))


class ReplaceTests(BenchCase):
    """New connections get the new site, open ones finish on the old."""

    def test_replace(self) -> None:
        """A request under way is answered by the old, which is then unused."""
        bench = self.proxy("", server="location = /idle { return 204; }")
        factory = next(iter(bench.factories.values()))
        listener = Listener(
            factory.site.listen, factory.site, bench.reactor, None, DescriptorGuard(bench.reactor)
        )
        listener.factory = factory
        busy, idle = bench.client(), bench.client()
        idle.get(b"/idle")
        busy.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        other = Bench(self, "server { listen 127.0.0.1:80; return 200 new; }")
        unused: list[str] = []
        site = next(iter(other.factories.values())).site
        listener.replace(site, None, lambda: unused.append("first"))
        bench.reactor.settle()
        self.assertEqual(idle.get(b"/idle").get(b"connection"), b"close")
        self.assertTrue(idle.transport.lost)
        self.assertEqual((unused, len(factory.connections)), ([], 1))
        self.origin.last.send(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nold")
        self.assertEqual(busy.response().body, b"old")
        self.assertTrue(busy.transport.lost)
        self.assertEqual(unused, ["first"])
        self.assertEqual(bench.get(b"/").body, b"new")
        listener.replace(site, None, lambda: unused.append("second"))
        bench.advance(3)
        self.assertEqual(unused, ["first", "second"])

    def test_connection_made_after_the_port_was_closed(self) -> None:
        """It is draining from its start, and is waited for."""
        bench = self.serve("return 200 hi;")
        factory = next(iter(bench.factories.values()))
        listener = Listener(
            factory.site.listen, factory.site, bench.reactor, None, DescriptorGuard(bench.reactor)
        )
        listener.factory = factory
        unused: list[str] = []
        listener.retire(lambda: unused.append("now"))
        asking, silent = bench.client(), bench.client()
        bench.reactor.settle()
        self.assertEqual(unused, [])
        self.assertEqual(asking.get(b"/").get(b"connection"), b"close")
        self.assertTrue(asking.transport.lost)
        bench.advance(1.1)
        self.assertTrue(silent.transport.write_ended)
        bench.advance(1.1)
        self.assertTrue(silent.transport.lost)
        self.assertEqual(unused, ["now"])

    def test_cut(self) -> None:
        """Every connection, at once."""
        bench = self.proxy()
        factory = next(iter(bench.factories.values()))
        self.assertIsInstance(factory, HttpFactory)
        listener = Listener(
            factory.site.listen, factory.site, bench.reactor, None, DescriptorGuard(bench.reactor)
        )
        listener.factory = factory
        clients = [bench.client() for _ in range(3)]
        clients[0].send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        listener.cut()
        bench.reactor.settle()
        self.assertTrue(all(client.transport.aborted for client in clients))
        self.assertEqual(bench.connections, 0)
