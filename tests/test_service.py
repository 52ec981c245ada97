"""The service: start, reload, signals, stop; on a reactor without sockets."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

import gc
import os
import shutil
import signal
import stat
import tempfile
import types
import weakref
from typing import Any, cast

from twisted.internet import defer
from twisted.internet.address import IPv4Address
from twisted.trial.unittest import SynchronousTestCase

import cacheproxy.runtime
import cacheproxy.storage.zone
from cacheproxy import service as module
from cacheproxy.config.build import load
from cacheproxy.errors import ConfigErrors
from cacheproxy.proxy.site.variables import resolve
from cacheproxy.service import ProxyService, check
from cacheproxy.storage.threads import InlineExecutor
from tests.proxy.harness import BenchReactor, Client, response


class _Port:
    """What listening returns."""

    def __init__(self, reactor: ServiceReactor, factory: Any) -> None:
        self.reactor = reactor
        self.factory = factory
        self.listening = True

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", "127.0.0.1", 1)

    def stopListening(self) -> defer.Deferred[None]:
        self.listening = False
        return defer.succeed(None)


class ServiceReactor(BenchReactor):
    """A reactor that listens without sockets."""

    def adoptStreamPort(self, descriptor: int, family: int, factory: Any) -> _Port:
        port = _Port(self, factory)
        self.listening.append(port)
        return port

    @property
    def open(self) -> list[_Port]:
        """The ports that accept."""
        return [port for port in self.listening if port.listening]


class ServiceCase(SynchronousTestCase):
    """A service over a file that the test rewrites."""

    def setUp(self) -> None:
        self.reactor = ServiceReactor()
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder, True)
        self.handlers: dict[int, Any] = {}
        clock = types.SimpleNamespace(monotonic=self.reactor.seconds, time=self.reactor.wall)
        self.patch(cacheproxy.runtime, "time", clock)
        for user in (cacheproxy.runtime, cacheproxy.storage.zone):
            self.patch(user, "ThreadExecutor", lambda *_: InlineExecutor())
        self.patch(signal, "signal", self.handlers.__setitem__)
        self.patch(module, "raise_descriptor_limit", lambda: None)
        self.path = os.path.join(self.folder, "site.conf")
        self.service = ProxyService(lambda: load(self.path, None, resolve), self.reactor)
        self.started = False
        self.addCleanup(self.stop)

    def write(self, server: str, main: str = "", http: str = "") -> None:
        """The configuration from the next (re)load on."""
        with open(self.path, "w", encoding="utf-8") as file:
            file.write(
                f"error_log error.log info; {main} events {{}}\nhttp {{ {http}\n{server}\n}}\n"
            )

    def start(self) -> None:
        """As twistd does."""
        self.service.privilegedStartService()
        self.service.startService()
        self.started = True

    def stop(self) -> None:
        """As twistd does, once."""
        if self.started:
            self.started = False
            self.service.stopService()
            self.reactor.settle()

    def client(self, number: int = 0) -> Client:
        """A connection to the port opened as *number*."""
        factory = self.reactor.listening[number].factory
        peer = IPv4Address("TCP", "192.0.2.1", 4)
        bench: Any = types.SimpleNamespace(reactor=self.reactor)
        return Client(bench, factory, peer, IPv4Address("TCP", "127.0.0.1", 80))

    def errors(self) -> str:
        """The error log."""
        with open(os.path.join(self.folder, "error.log"), encoding="utf-8") as file:
            return file.read()


class StartTests(ServiceCase):
    """From nothing to serving."""

    def test_serves(self) -> None:
        """Every address of the file."""
        self.write(
            "server { listen 127.0.0.1:0; return 200 a; }"
            "server { listen 127.0.0.2:0; return 200 b; }"
        )
        self.start()
        self.assertEqual(len(self.reactor.open), 2)
        self.assertEqual(self.client(0).get(b"/").body, b"a")
        self.assertEqual(self.client(1).get(b"/").body, b"b")
        self.assertEqual(len(self.service.ports()), 2)

    def test_shared_address(self) -> None:
        """Servers of one address are told apart by their names, ``default_server`` is the rest."""
        self.write(
            "server { listen 127.0.0.1:0; server_name a; return 200 a; }"
            "server { listen 127.0.0.1:0 default_server; server_name b; return 200 b; }"
        )
        self.start()
        client = self.client()
        self.assertEqual(len(self.reactor.open), 1)
        self.assertEqual(client.get(b"/", b"Host: a").body, b"a")
        self.assertEqual(client.get(b"/", b"Host: else").body, b"b")

    def test_bad_configuration(self) -> None:
        """The process ends with 1, and every message is logged."""
        self.write("foo; bar;")
        with self.assertRaises(SystemExit) as caught:
            self.service.privilegedStartService()
        self.assertEqual(caught.exception.code, 1)
        self.assertIsInstance(caught.exception.__cause__, ConfigErrors)

    def test_port_that_cannot_be_bound(self) -> None:
        """What was opened before it is closed again."""
        self.write(
            "server { listen 127.0.0.1:0; return 200 a; }"
            "server { listen 192.0.2.7:0; return 200 b; }"
        )
        with self.assertRaises(SystemExit):
            self.service.privilegedStartService()
        self.assertEqual(self.reactor.open, [])

    def test_pid_file(self) -> None:
        """Written once every port is bound, removed at the end."""
        path = os.path.join(self.folder, "run", "it.pid")
        self.write("server { listen 127.0.0.1:0; return 200; }", f"pid {path};")
        self.service.privilegedStartService()
        self.assertFalse(os.path.exists(path))
        self.start()
        with open(path, encoding="ascii") as file:
            self.assertEqual(file.read(), f"{os.getpid()}\n")
        self.stop()
        self.assertFalse(os.path.exists(path))

    def test_pid_file_that_cannot_be_written(self) -> None:
        """Said plainly."""
        self.write("server { listen 127.0.0.1:0; return 200; }", "pid /proc/none/it.pid;")
        self.service.privilegedStartService()
        self.started = True
        with self.assertRaises(SystemExit) as caught:
            self.service.startService()
        self.assertIn("/proc/none/it.pid", str(caught.exception.code))

    def test_warnings(self) -> None:
        """What is accepted but worth knowing is in the error log."""
        self.write("include mime.types; server { listen 127.0.0.1:0; return 200; }")
        self.start()
        self.assertIn("[warn]", self.errors())

    def test_check(self) -> None:
        """A sound configuration passes."""
        self.write("server { listen 127.0.0.1:0; return 200; }")
        check(load(self.path, None, resolve))


class ReloadTests(ServiceCase):
    """HUP."""

    def test_swap(self) -> None:
        """The socket stays, new connections get the new configuration."""
        self.write("server { listen 127.0.0.1:0; return 200 old; }")
        self.start()
        idle = self.client()
        self.assertEqual(idle.get(b"/").body, b"old")
        self.write("server { listen 127.0.0.1:0; return 200 new; }")
        self.assertTrue(self.service.reload())
        self.reactor.settle()
        last = idle.get(b"/")
        self.assertEqual((last.body, last.get(b"connection")), (b"old", b"close"))
        self.assertTrue(idle.transport.lost)
        self.assertEqual(len(self.reactor.listening), 1)
        self.assertEqual(self.client().get(b"/").body, b"new")

    def test_addresses_come_and_go(self) -> None:
        """A new one is bound, one that is gone is closed."""
        self.write("server { listen 127.0.0.1:0; return 200 a; }")
        self.start()
        self.write("server { listen 127.0.0.2:0; return 200 b; }")
        self.assertTrue(self.service.reload())
        self.assertEqual([port.listening for port in self.reactor.listening], [False, True])
        self.assertEqual(self.client(1).get(b"/").body, b"b")

    def test_replaced_configurations_go_with_their_last_request(self) -> None:
        """Descriptors at once, memory a second later: whatever the number of reloads."""
        http = "log_format l '$uri'; access_log access.log l; proxy_cache_path c keys_zone=z:1m;"
        text = """server { listen 127.0.0.1:0; location / { proxy_cache z; error_log e%d.log info;
            proxy_pass http://127.0.0.1:8000; } }"""
        self.write(text % 0, http=http)
        self.start()
        before = len(os.listdir("/proc/self/fd"))
        settled: list[float] = []
        self.patch(module, "settle_memory", lambda: settled.append(self.reactor.seconds()))
        origin = self.reactor.origin(("127.0.0.1", 8000))
        kept: list[weakref.ref[Any]] = []
        busy: list[tuple[Client, Any]] = []
        for number in range(100):
            kept.append(weakref.ref(cast(Any, self.service._runtime)))
            client = self.client()
            client.send(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number)
            busy.append((client, origin.last))
            self.client()  # that never asks
            self.write(text % (number + 1), http=http)
            self.assertTrue(self.service.reload())
            if number >= 3:
                # Four requests at a time.
                client, asked = busy.pop(0)
                asked.send(response(200, b"done", b"Connection: close"))
                self.assertEqual(client.response().body, b"done")
            for _ in range(3):
                self.reactor.advance(1.1)
                self.reactor.settle()
        self.assertGreater(len(settled), 90)
        gc.collect()
        # Four configurations with three logs each wait for their requests.
        self.assertLessEqual(len(os.listdir("/proc/self/fd")) - before, 12)
        alive = [number for number, one in enumerate(kept) if one() is not None]
        self.assertLessEqual(len(alive), 5, alive)

    def test_zones_are_kept(self) -> None:
        """What is stored survives."""
        http = "proxy_cache_path cache keys_zone=z:1m;"
        text = """server { listen 127.0.0.1:0; location / { proxy_cache z;
            proxy_pass http://127.0.0.1:8000; add_header X-Cache $upstream_cache_status; } }"""
        self.write(text, http=http)
        self.start()
        origin = self.reactor.origin(("127.0.0.1", 8000))
        origin.default = response(200, b"x", b"Cache-Control: max-age=60")
        self.client().get(b"/")
        self.write(text + " ", http=http)
        self.assertTrue(self.service.reload())
        zones = self.service._runtime
        assert zones is not None
        self.assertEqual(self.client().get(b"/").get(b"x-cache"), b"HIT")

    def test_bad_ones_are_refused(self) -> None:
        """The old one serves on, and the log says why."""
        self.write("server { listen 127.0.0.1:0; return 200 old; }")
        self.start()
        client = self.client()
        for server in (
            "foo;",
            "server { listen 192.0.2.7:0; return 200; }",
            "server { listen 127.0.0.1:0; return 200 new; } server { listen 192.0.2.7:0; }",
            "server { listen 127.0.0.1:0 ssl; ssl_certificate /none; ssl_certificate_key /none; }",
        ):
            self.write(server)
            self.assertFalse(self.service.reload(), server)
            self.assertEqual(client.get(b"/").body, b"old")
            self.assertEqual(self.client().get(b"/").body, b"old")
        self.assertEqual(len(self.reactor.open), 1)
        log = self.errors()
        self.assertIn('unknown directive "foo"', log)
        self.assertIn("the old one serves on", log)

    def test_missing_file(self) -> None:
        """So is one that is not there."""
        self.write("server { listen 127.0.0.1:0; return 200 old; }")
        self.start()
        os.unlink(self.path)
        self.assertFalse(self.service.reload())
        self.assertEqual(self.client().get(b"/").body, b"old")

    def test_log_that_cannot_be_opened(self) -> None:
        """A log file in no folder is a bad configuration, not a crash."""
        self.write("server { listen 127.0.0.1:0; return 200 old; }")
        self.start()
        self.write("server { listen 127.0.0.1:0; access_log /none/x.log; return 200 new; }")
        self.assertFalse(self.service.reload())
        self.assertEqual(self.client().get(b"/").body, b"old")


class StopTests(ServiceCase):
    """QUIT, TERM, USR1."""

    TEXT = "server { listen 127.0.0.1:0; location / { proxy_pass http://127.0.0.1:8000; } }"

    def test_pid_never_takes_the_place_of_what_is_no_file(self) -> None:
        """``pid /dev/null`` writes nothing and removes nothing."""
        self.write(self.TEXT, f"pid {self.folder}/pipe;")
        os.mkfifo(f"{self.folder}/pipe")
        self.start()
        self.stop()
        self.assertTrue(stat.S_ISFIFO(os.stat(f"{self.folder}/pipe").st_mode))

    def test_signals_are_handled_before_ports_are_bound(self) -> None:
        """HUP to a process whose port is seen must not end it."""
        self.write(self.TEXT)
        seen: list[set[object]] = []
        self.patch(
            cacheproxy.service.Listener, "open", lambda _: seen.append(set(self.handlers))
        )
        self.start()
        self.assertIn(signal.SIGHUP, seen[0])

    def test_signals(self) -> None:
        """Each has its handler, which runs in the reactor."""
        self.write(self.TEXT)
        self.start()
        self.assertEqual(set(self.handlers), {signal.SIGHUP, signal.SIGUSR1, signal.SIGQUIT})
        self.handlers[signal.SIGUSR1](signal.SIGUSR1, None)
        self.handlers[signal.SIGHUP](signal.SIGHUP, None)
        self.handlers[signal.SIGQUIT](signal.SIGQUIT, None)
        self.reactor.advance(0.1)
        self.assertEqual(self.reactor.stopped, 1)

    def test_graceful(self) -> None:
        """Ports close, requests under way end, then the process does."""
        self.write(self.TEXT)
        self.start()
        busy, fresh = self.client(), self.client()
        busy.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        self.service.stop_gracefully()
        self.service.stop_gracefully()
        self.reactor.settle()
        self.assertEqual(self.reactor.open, [])
        # It was accepted just before, so its request may be on the way.
        self.assertFalse(fresh.transport.lost)
        for _ in range(3):
            self.reactor.advance(1.1)
        self.assertTrue(fresh.transport.lost)
        self.assertEqual(self.reactor.stopped, 0)
        self.reactor.origin(("127.0.0.1", 8000)).last.send(response(200, b"done"))
        self.assertEqual(busy.response().body, b"done")
        self.reactor.advance(1)
        self.assertEqual(self.reactor.stopped, 1)

    def test_graceful_stop_waits_for_connections_made_after_it_began(self) -> None:
        """uvloop makes them a turn after their accept: they end like the others."""
        self.write("server { listen 127.0.0.1:0; return 200 hi; }")
        self.start()
        self.service.stop_gracefully()
        late = self.client()
        self.reactor.advance(0.1)
        self.assertEqual(self.reactor.stopped, 0)
        self.assertEqual(late.get(b"/").get(b"connection"), b"close")
        self.reactor.advance(0.1)
        self.assertEqual(self.reactor.stopped, 1)

    def test_graceful_stop_waits_for_addresses_that_a_reload_has_closed(self) -> None:
        """Their requests are under way, too; a fast stop cuts them."""
        for fast in (False, True):
            self.write(self.TEXT)
            self.start()
            busy = self.client(-1)
            busy.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            self.write("server { listen 127.0.0.2:0; return 200 b; }")
            self.assertTrue(self.service.reload())
            if fast:
                self.stop()
                self.assertTrue(busy.transport.aborted)
                continue
            self.service.stop_gracefully()
            self.reactor.advance(1)
            self.assertEqual(self.reactor.stopped, 0)
            self.reactor.origin(("127.0.0.1", 8000)).last.send(response(200, b"done"))
            self.assertEqual(busy.response().body, b"done")
            self.reactor.advance(1)
            self.assertEqual(self.reactor.stopped, 1)
            self.stop()
            self.service = ProxyService(lambda: load(self.path, None, resolve), self.reactor)

    def test_graceful_with_a_limit(self) -> None:
        """``worker_shutdown_timeout``."""
        self.write(self.TEXT, "worker_shutdown_timeout 5s;")
        self.start()
        busy = self.client()
        busy.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        self.service.stop_gracefully()
        for _ in range(60):
            self.reactor.advance(0.1)
        self.assertEqual(self.reactor.stopped, 1)

    def test_fast(self) -> None:
        """Everything is closed at once."""
        self.write(self.TEXT)
        self.start()
        busy = self.client()
        busy.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        self.stop()
        self.assertTrue(busy.transport.aborted)
        self.assertEqual(self.reactor.open, [])

    def test_stop_without_start(self) -> None:
        """Nothing to do."""
        self.assertIsNone(self.service.stopService())
        self.service.reopen_logs()
        self.service.stop_gracefully()
