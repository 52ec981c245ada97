"""Twisted's tests of TCP, with the uvloop reactor, and those of our own ports."""

from __future__ import annotations

# Most of Twisted's own methods have no annotations.
# mypy: disable-error-code="no-untyped-call"
import errno
import os
import socket
import struct
import threading
from typing import Any

import uvloop
from twisted.internet import error, protocol
from twisted.internet.test import test_socket, test_tcp
from twisted.trial import unittest

from cacheproxy.net.reactor import tcp
from cacheproxy.net.reactor.reactor import UvloopReactor
from tests.net.reactor.cases import bind, in_temporary_folder, make_reactor

__all__ = ["in_temporary_folder"]

globals().update(
    bind(
        test_tcp.TCP4ClientTestsBuilder,
        test_tcp.TCP6ClientTestsBuilder,
        test_tcp.TCPPortTestsBuilder,
        test_tcp.TCPFDPortTestsBuilder,
        test_tcp.TCPConnectionTestsBuilder,
        test_tcp.TCP4ConnectorTestsBuilder,
        test_tcp.TCP6ConnectorTestsBuilder,
        test_tcp.TCPTransportTestsBuilder,
        test_tcp.AdoptStreamConnectionTestsBuilder,
        test_tcp.TestBindAddressBuilder,
        test_tcp.AbortConnectionTests,
        test_socket.IReactorSocketVerificationTestsBuilder,
        test_socket.AdoptStreamPortErrorsTestsBuilder,
        test_socket.AdoptStreamConnectionErrorsTestsBuilder,
        test_socket.AdoptDatagramPortErrorsTestsBuilder,
    )
)


class PortTests(unittest.SynchronousTestCase):
    """What our ports do that Twisted's do not."""

    def greet(self) -> protocol.Factory:
        """A factory whose protocols say hello and close."""

        class Hello(protocol.Protocol):
            def connectionMade(self) -> None:
                transport: Any = self.transport
                transport.write(b"hello")
                transport.loseConnection()

        return protocol.Factory.forProtocol(Hello)

    def ask(self, reactor: Any, address: Any) -> bytes:
        """What a client is told, while the reactor runs."""
        told: list[bytes] = []

        def client() -> None:
            with socket.create_connection((address.host, address.port), 10) as connection:
                told.append(b"".join(iter(lambda: connection.recv(100), b"")))
            reactor.callFromThread(reactor.stop)

        thread = threading.Thread(target=client)
        reactor.callWhenRunning(thread.start)
        reactor.run(installSignalHandlers=False)
        thread.join()
        return told[0]

    def test_accepting_goes_on_after_uvloop_has_given_up(self) -> None:
        """uvloop closes a server for good when ``accept`` fails, and tells nobody."""
        self.patch(tcp, "ACCEPT_RETRY_DELAY", 0.01)
        reactor = make_reactor(self)
        port = reactor.listenTCP(0, self.greet(), interface="127.0.0.1")
        server, _ = port._accepting
        server.close()  # what uvloop does by itself
        self.assertIsNone(port._accepting)
        self.assertEqual(self.ask(reactor, port.getHost()), b"hello")

    def test_accepting_begins_once_a_descriptor_is_free(self) -> None:
        """uvloop needs a copy of the socket's; where there is none it is tried again."""
        self.patch(tcp, "ACCEPT_RETRY_DELAY", 0.01)
        reactor = make_reactor(self)
        port = reactor.listenTCP(0, self.greet(), interface="127.0.0.1")
        port.stopReading()
        duplicate, calls = os.dup, []

        def dup(descriptor: int) -> int:
            calls.append(descriptor)
            if len(calls) < 3:
                raise OSError(errno.EMFILE, "Too many open files")
            return duplicate(descriptor)

        self.patch(os, "dup", dup)
        port.startReading()
        port.startReading()
        self.assertEqual(self.ask(reactor, port.getHost()), b"hello")
        self.assertEqual(len(calls), 3)

    def test_stopping_while_waiting_to_accept_again(self) -> None:
        """The retry is cancelled with the port."""
        reactor = make_reactor(self)
        port = reactor.listenTCP(0, self.greet(), interface="127.0.0.1")
        server, _ = port._accepting
        server.close()
        retry: Any
        (retry,) = reactor.getDelayedCalls()
        port.stopListening()
        self.assertFalse(retry.active())

    def test_adopted_ports_may_share_an_address(self) -> None:
        """``SO_REUSEPORT``: the caller binds, the reactor adopts. Source: ``reuseport``."""
        reactor = make_reactor(self)
        number = 0
        ports = []
        for _ in range(2):
            with socket.socket() as listening:
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                listening.bind(("127.0.0.1", number))
                listening.listen()
                number = listening.getsockname()[1]
                ports.append(
                    reactor.adoptStreamPort(listening.fileno(), socket.AF_INET, self.greet())
                )
        self.assertEqual([port.getHost().port for port in ports], [number] * 2)
        self.assertEqual(self.ask(reactor, ports[0].getHost()), b"hello")

    def test_a_taken_address_cannot_be_listened_on(self) -> None:
        """CannotListenError at once."""
        reactor = make_reactor(self)
        number = reactor.listenTCP(0, self.greet(), interface="127.0.0.1").getHost().port
        with self.assertRaises(error.CannotListenError):
            reactor.listenTCP(number, self.greet(), interface="127.0.0.1")

    def test_an_address_taken_between_bind_and_listen(self) -> None:
        """CannotListenError, too, where Twisted lets the OSError out."""

        class Late(socket.socket):
            def listen(self, *backlog: Any) -> None:
                raise OSError(errno.EADDRINUSE, "Address already in use")

        def create(port: object) -> socket.socket:
            late = Late()
            self.addCleanup(late.close)
            return late

        self.patch(tcp.Port, "createInternetSocket", create)
        reactor = make_reactor(self)
        with self.assertRaises(error.CannotListenError):
            reactor.listenTCP(0, self.greet(), interface="127.0.0.1")

    def test_a_failing_factory_costs_one_connection(self) -> None:
        """It is logged, the client sees an end, and the port goes on."""
        factory: Any = self.greet()
        build = factory.buildProtocol
        calls: list[object] = []

        def fail_once(address: Any) -> Any:
            calls.append(address)
            if len(calls) == 1:
                raise ZeroDivisionError
            return build(address)

        factory.buildProtocol = fail_once
        reactor = make_reactor(self)
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        with socket.create_connection((port.getHost().host, port.getHost().port), 10) as first:
            self.assertEqual(self.ask(reactor, port.getHost()), b"hello")
            self.assertEqual(first.recv(1), b"")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(len(calls), 2)

    def test_a_peer_that_reset_before_accept_is_dropped(self) -> None:
        """Its address is not known any more: no factory is asked to judge it."""
        factory: Any = self.greet()
        build = factory.buildProtocol
        peers: list[Any] = []

        def note(peer: Any) -> Any:
            peers.append(peer)
            return build(peer)

        factory.buildProtocol = note
        reactor = make_reactor(self)
        host = reactor.listenTCP(0, factory, interface="127.0.0.1").getHost()
        for _ in range(5):
            with socket.create_connection((host.host, host.port), 10) as hasty:
                hasty.send(b"hello")
                hasty.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.assertEqual(self.ask(reactor, host), b"hello")
        self.assertEqual([peer.host for peer in peers], ["127.0.0.1"])

    def test_a_peer_keeps_its_address_after_a_reset(self) -> None:
        """It is the one of the accept, also when asked for later."""
        reactor = make_reactor(self)
        peers: list[Any] = []

        class Late(protocol.Protocol):
            def connectionLost(self, reason: Any = None) -> None:
                transport: Any = self.transport
                peers.append(transport.getPeer())
                reactor.stop()

        factory = protocol.Factory.forProtocol(Late)
        host = reactor.listenTCP(0, factory, interface="127.0.0.1").getHost()
        client = socket.create_connection((host.host, host.port), 10)
        self.addCleanup(client.close)
        number = client.getsockname()[1]
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        reactor.callLater(0.05, client.close)
        reactor.run(installSignalHandlers=False)
        self.assertEqual([(peer.host, peer.port) for peer in peers], [("127.0.0.1", number)])

    def test_no_descriptor_is_left_behind(self) -> None:
        """When a run has ended every socket is closed, those of cut connections included."""
        before = set(os.listdir("/proc/self/fd"))
        loop = uvloop.new_event_loop()
        reactor = UvloopReactor(loop)
        factory = protocol.Factory.forProtocol(protocol.Protocol)
        host = reactor.listenTCP(0, factory, interface="127.0.0.1").getHost()
        client = protocol.ClientFactory.forProtocol(protocol.Protocol)
        reactor.connectTCP(host.host, host.port, client)
        reactor.callLater(0.05, reactor.stop)
        reactor.run(installSignalHandlers=False)
        sockets = [
            fd
            for fd in set(os.listdir("/proc/self/fd")) - before
            if os.path.exists(f"/proc/self/fd/{fd}")
            and os.readlink(f"/proc/self/fd/{fd}").startswith("socket:")
        ]
        self.assertEqual(sockets, [])
        loop.close()


class ConnectorTests(unittest.SynchronousTestCase):
    """Between the kernel's connect and uvloop's ``connection_made`` there is one turn."""

    def test_giving_up_in_that_turn(self) -> None:
        """``stopConnecting`` there fails the attempt once, and the socket is closed."""
        failures: list[Any] = []
        reactor = make_reactor(self)
        built: list[object] = []

        class Factory(protocol.ClientFactory):
            def buildProtocol(self, addr: Any) -> None:
                built.append(addr)

            def clientConnectionFailed(self, connector: Any, reason: Any) -> None:
                failures.append(reason.value)
                reactor.callLater(0.02, reactor.stop)

        attach = reactor._attach

        def attach_then_stop(connection: Any, sock: Any) -> None:
            attach(connection, sock)
            connector.stopConnecting()

        reactor._attach = attach_then_stop  # type: ignore[method-assign]
        server = protocol.Factory.forProtocol(protocol.Protocol)
        host = reactor.listenTCP(0, server, interface="127.0.0.1").getHost()
        connector = reactor.connectTCP(host.host, host.port, Factory())
        reactor.run(installSignalHandlers=False)
        self.assertEqual([type(f) for f in failures], [error.UserError])
        self.assertEqual(built, [])
