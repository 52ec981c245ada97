"""A whole proxy in memory: client bytes in, client and origin bytes out, time by hand.

A ``Bench`` serves a configuration as the service does (the real ``Runtime``, ``Site`` and
``HttpFactory``) on a reactor that has no sockets (``fakes``): clients are ``Client`` objects on a
``FakeTransport``, upstream addresses are ``Origin`` objects that a test scripts. Wall and
monotonic time both come from the reactor's clock. Disks are real, in a folder of the test's own;
their work is done in later turns of the reactor, or when the test says so.

Nothing here knows how an exchange works inside.
"""

# trial's test cases and Twisted's interfaces have no types.
# mypy: disable-error-code="no-untyped-call,misc,no-untyped-def"

from __future__ import annotations

import functools
import os
import shutil
import tempfile
import types
from collections.abc import Callable
from typing import Any, cast

from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.trial.unittest import SynchronousTestCase

import cacheproxy.runtime
from cacheproxy.config.build import loads
from cacheproxy.config.model import Config
from cacheproxy.http.syntax import format_http_date
from cacheproxy.net.listen import HttpFactory
from cacheproxy.proxy.front.hot import HotHits
from cacheproxy.proxy.front.phases import FRONT
from cacheproxy.proxy.front.remembering import RememberedAnswers
from cacheproxy.proxy.site.site import Front, Site
from cacheproxy.proxy.site.variables import resolve
from cacheproxy.runtime import Runtime
from cacheproxy.storage.zone import Zone
from tests.proxy.fakes import (
    BUFFER_SIZE,
    EPOCH,
    BenchReactor,
    FakeTransport,
    Origin,
    OriginConnection,
    QueuedDisk,
    Request,
)

__all__ = [
    "BUFFER_SIZE",
    "EPOCH",
    "Bench",
    "BenchCase",
    "BenchReactor",
    "Client",
    "FakeTransport",
    "Origin",
    "OriginConnection",
    "QueuedDisk",
    "Request",
    "Response",
    "echo",
    "http_date",
    "message",
    "parse_response",
    "response",
]


def http_date(seconds: float) -> bytes:
    """An HTTP-date *seconds* after the bench's start."""
    return format_http_date(EPOCH + seconds)


def response(
    status: int = 200,
    body: bytes = b"",
    *fields: bytes,
    length: bool = True,
    chunked: bool = False,
) -> bytes:
    """An origin's response; *fields* are whole lines without their ends."""
    lines = [b"HTTP/1.1 %d Whatever" % status, *fields]
    if chunked:
        lines.append(b"Transfer-Encoding: chunked")
        body = (b"%x\r\n%s\r\n" % (len(body), body) if body else b"") + b"0\r\n\r\n"
    elif length and status not in (204, 304):
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def echo(connection: OriginConnection, request: Request) -> None:
    """An origin's answer: the method, the target and the body that it was asked with."""
    connection.send(response(200, request.method + b" " + request.target + b" " + request.body))


class Response:
    """A response as the client received it."""

    def __init__(self, raw: bytes, head: bytes, body: bytes, used: int) -> None:
        self.raw = raw
        self.head = head
        self.body = body
        self.used = used
        lines = head.split(b"\r\n")
        self.version, status, self.reason = (lines[0] + b"  ").split(b" ", 2)
        self.status = int(status)
        self.pairs = [
            (name, value[1:]) for name, _, value in (x.partition(b":") for x in lines[1:] if x)
        ]
        self.trailers = b""

    def get(self, name: bytes) -> bytes | None:
        """The only field called *name* (lower case)."""
        found = self.get_all(name)
        assert len(found) <= 1, found
        return found[0] if found else None

    def get_all(self, name: bytes) -> list[bytes]:
        """Every value of the fields called *name* (lower case)."""
        return [value for key, value in self.pairs if key.lower() == name]

    def __repr__(self) -> str:
        return f"<Response {self.head!r} {self.body[:200]!r}>"


def parse_response(data: bytes, method: bytes, ended: bool) -> Response | None:
    """The first response in *data*; None if it is not whole."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    result = Response(b"", data[:end], b"", 0)
    end += 4
    length = result.get(b"content-length")
    if method == b"HEAD" or result.status in (204, 304) or result.status < 200:
        pass
    elif result.get(b"transfer-encoding") is not None:
        assert length is None
        while True:
            eol = data.find(b"\r\n", end)
            if eol < 0:
                return None
            size = int(data[end:eol], 16)
            if not size:
                stop = data.find(b"\r\n\r\n", eol - 0)
                if stop < 0:
                    return None
                result.trailers = data[eol + 2 : stop + 2] if stop > eol else b""
                end = stop + 4
                break
            if len(data) < eol + 4 + size:
                return None
            result.body += data[eol + 2 : eol + 2 + size]
            assert data[eol + 2 + size : eol + 4 + size] == b"\r\n"
            end = eol + 4 + size
    elif length is not None:
        if len(data) < end + int(length):
            return None
        result.body = data[end : end + int(length)]
        end += int(length)
    else:
        if not ended:
            return None
        result.body = data[end:]
        end = len(data)
    result.raw, result.used = data[:end], end
    return result


class Client:
    """A client's connection."""

    def __init__(self, bench: Bench, factory: HttpFactory, peer: Any, host: Any) -> None:
        self.bench = bench
        protocol = factory.buildProtocol(peer)
        self.protocol: Any = protocol
        self.transport = FakeTransport(bench.reactor, protocol, peer, host)
        self.read = 0
        protocol.makeConnection(self.transport)

    def send(self, data: bytes) -> None:
        """Bytes to the proxy; everything that follows from them at once happens."""
        self.transport.deliver(data)
        self.bench.reactor.settle()

    @property
    def received(self) -> bytes:
        """Every byte that the client has got."""
        return self.transport.sent

    @property
    def unread(self) -> bytes:
        """What has come since the last response that was taken."""
        return self.transport.sent[self.read :]

    def response(self, method: bytes = b"GET") -> Response:
        """The next response; fails when it is not whole."""
        found = parse_response(self.unread, method, self.transport.closed)
        assert found is not None, f"no whole response in {self.unread[:2000]!r}"
        self.read += found.used
        return found

    def request(
        self, method: bytes, target: bytes, *fields: bytes, body: bytes | None = None
    ) -> Response:
        """Ask and take the answer; Host is added where it is not among *fields*."""
        self.send(message(method, target, *fields, body=body))
        return self.response(method)

    def get(self, target: bytes, *fields: bytes) -> Response:
        """GET."""
        return self.request(b"GET", target, *fields)

    def vanish(self) -> None:
        """The client is gone."""
        self.transport.vanish()
        self.bench.reactor.settle()

    def eof(self) -> None:
        """The client has ended its sending side."""
        self.transport.eof()
        self.bench.reactor.settle()

    def release(self, size: int | None = None) -> None:
        """The client reads again."""
        self.transport.release(size)
        self.bench.reactor.settle()


def message(method: bytes, target: bytes, *fields: bytes, body: bytes | None = None) -> bytes:
    """A request's bytes."""
    lines = [method + b" " + target + b" HTTP/1.1"]
    if not any(field.lower().startswith(b"host:") for field in fields):
        lines.append(b"Host: test.example")
    lines += fields
    if body is not None:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + (body or b"")


class _NoHits:
    """Stands for the fast path where it is switched off."""

    def answer(self, downstream: object, head: object) -> None:
        return None


class Bench:
    """A proxy with *text* in its ``http`` block; the first server is the one asked.

    *front* has the phases of its locations.
    """

    def __init__(
        self,
        case: SynchronousTestCase,
        text: str,
        *,
        outside: str = "error_log error.log info;",
        front: Front[Any] = FRONT,
    ) -> None:
        self.text = text
        self.front = front
        self.folder = tempfile.mkdtemp(prefix="bench")
        case.addCleanup(shutil.rmtree, self.folder, True)
        self.reactor = BenchReactor()
        self.disk = QueuedDisk(self.reactor)
        self._replace_seams(case)
        self.runtime = Runtime(self.reactor, self.configure(text, outside))
        self._closed = False
        self.factories: dict[Any, HttpFactory] = {}
        self._serve()
        self.runtime.open()
        self.reactor.settle()
        case.addCleanup(self.close)

    def _replace_seams(self, case: SynchronousTestCase) -> None:
        """The clock and the threads of ``runtime``."""
        clock = types.SimpleNamespace(monotonic=self.reactor.seconds, time=self.reactor.wall)
        case.patch(cacheproxy.runtime, "time", clock)
        case.patch(cacheproxy.runtime, "ThreadExecutor", lambda *_: self.disk)

        def make_zone(zone: Any, **settings: Any) -> Zone:
            return Zone(zone, pool=self.disk, writer=self.disk, encoder=self.disk, **settings)

        case.patch(cacheproxy.runtime, "Zone", make_zone)

    def configure(self, text: str, outside: str = "error_log error.log info;") -> Config:
        """The model of *text*; ``$folder`` stands for the bench's folder."""
        whole = f"{outside}\nevents {{}}\nhttp {{\n{text}\n}}\n".replace("$folder", self.folder)
        return loads(whole, "test.conf", self.folder, resolve)

    def _serve(self, retired: Callable[[Any], None] = lambda address: None) -> None:
        config = self.runtime.config
        addresses: dict[Any, list[Any]] = {}
        listens: dict[Any, Any] = {}
        defaults: dict[Any, Any] = {}
        for server in config.servers:
            for listen in server.listens:
                addresses.setdefault(listen.address, []).append(server)
                listens.setdefault(listen.address, listen)
                if listen.default_server:
                    defaults[listen.address] = server
        for address, servers in addresses.items():
            default = defaults.get(address, servers[0])
            ready = RememberedAnswers()
            site = Site(listens[address], servers, default, self.runtime, self.front, ready)
            factory = self.factories.get(address)
            if factory is None:
                self.factories[address] = HttpFactory(site, self.reactor)
            else:
                factory.serve(site, functools.partial(retired, address))

    def reload(self, text: str) -> None:
        """Serve *text* from now on, as a reload does."""
        old = self.runtime
        self.runtime = Runtime(self.reactor, self.configure(text), old)
        unused = set(self.factories)

        def retired(address: Any) -> None:
            unused.discard(address)
            if not unused:
                old.release()

        self._serve(retired)
        self.runtime.open()

    def restart(self) -> None:
        """End the process, and let another one go on with what is on disk."""
        for factory in self.factories.values():
            for connection in list(factory.connections):
                connection.cut()
        self.reactor.settle()
        self.runtime.close()
        self.reactor.settle()
        self.factories.clear()
        self.runtime = Runtime(self.reactor, self.runtime.config)
        self._serve()
        self.runtime.open()
        self.reactor.settle()

    def client(self, port: int | None = None, peer: Any = None, hot: bool = True) -> Client:
        """A new connection to the first address, or to *port*; *hot* False: no fast path."""
        factory = next(iter(self.factories.values()))
        if port is not None:
            factory = next(f for a, f in self.factories.items() if a[1] == port)
        if not hot:
            fast, factory.hot = factory.hot, cast(HotHits, _NoHits())
        listen = factory.site.listen
        if listen.path:
            host: Any = UNIXAddress(listen.path)
            peer = peer or UNIXAddress(None)
        else:
            host = IPv4Address("TCP", "127.0.0.1", listen.port)
            peer = peer or IPv4Address("TCP", "192.0.2.1", 40000)
        made = Client(self, factory, peer, host)
        if not hot:
            factory.hot = fast
        return made

    def get(self, target: bytes, *fields: bytes) -> Response:
        """One GET on a connection of its own."""
        return self.client().get(target, *fields)

    @property
    def connections(self) -> int:
        """Client connections that the proxy knows."""
        return sum(len(factory.connections) for factory in self.factories.values())

    def origin(self, port: int = 8000) -> Origin:
        """The origin at 127.0.0.1:*port*."""
        return self.reactor.origin(("127.0.0.1", port))

    def advance(self, seconds: float, step: float = 1.0) -> None:
        """Let time pass, a step at a time."""
        self.reactor.settle()
        while seconds > 1e-9:
            now = min(step, seconds)
            self.reactor.advance(now)
            self.reactor.settle()
            seconds -= now

    def write(self, name: str, content: bytes) -> str:
        """A file in the bench's folder."""
        path = os.path.join(self.folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)
        return path

    def log(self, name: str = "access.log") -> list[str]:
        """The lines of a log file."""
        self.runtime.reopen_logs()
        path = os.path.join(self.folder, name)
        if not os.path.exists(path):
            return []
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read().splitlines()

    def files(self, name: str) -> list[str]:
        """The paths of all files below a folder of the bench."""
        return sorted(
            os.path.join(folder, file)
            for folder, _, files in os.walk(os.path.join(self.folder, name))
            for file in files
        )

    def close(self) -> None:
        """Close every connection and the runtime; nothing may be left behind."""
        if self._closed:
            return
        self._closed = True
        self.disk.release()
        for factory in self.factories.values():
            for connection in list(factory.connections):
                connection.cut()
        self.reactor.settle()
        left = self.connections
        self.runtime.close()
        assert not left, f"{left} connections outlive their end"


class BenchCase(SynchronousTestCase):
    """A test with benches."""

    bench: Bench

    def serve(self, location: str, server: str = "", http: str = "", **settings: Any) -> Bench:
        """A bench with one server and one location ``/`` that holds *location*."""
        text = f"""
            access_log off;
            {http}
            server {{ listen 127.0.0.1:80; server_name test.example; {server}
                location / {{ {location} }} }}
        """
        self.bench = Bench(self, text, **settings)
        return self.bench

    def proxy(self, options: str = "", server: str = "", http: str = "", **settings: Any) -> Bench:
        """A bench that passes everything to the origin at port 8000."""
        text = f"proxy_pass http://127.0.0.1:8000; {options}"
        return self.serve(text, server, http, **settings)

    def cache(
        self, options: str = "", server: str = "", http: str = "", zone: str = "", **settings: Any
    ) -> Bench:
        """A bench with a cache zone before the origin at port 8000."""
        path = f"proxy_cache_path cache levels=1:2 keys_zone=z:1m inactive=1h {zone};"
        add = "proxy_cache z; add_header X-Cache $upstream_cache_status;"
        return self.proxy(f"{add} {options}", server, path + http, **settings)

    @property
    def origin(self) -> Origin:
        """The origin of ``proxy`` and ``cache``."""
        return self.bench.origin()
