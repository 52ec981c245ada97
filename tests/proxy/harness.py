"""A whole proxy in memory: client octets in, client and origin octets out, time by hand.

A ``Bench`` serves a configuration as the service does (the real ``Runtime``, ``Site`` and
``HttpFactory``) on a reactor that has no sockets: clients are ``Client`` objects on a
``FakeTransport``, upstream addresses are ``Origin`` objects that a test scripts. Wall and
monotonic time both come from the reactor's clock. Disks are real, in a folder of the test's own;
their work is done in later turns of the reactor, or when the test says so.

Nothing here knows how an exchange works inside.
"""

# trial's test cases and Twisted's interfaces have no types.
# mypy: disable-error-code="no-untyped-call,misc,no-untyped-def"

from __future__ import annotations

import os
import shutil
import tempfile
import types
from collections import deque
from collections.abc import Callable
from typing import Any, cast

from twisted.internet import error
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

import cacheproxy.runtime
from cacheproxy.config.build import loads
from cacheproxy.config.model import Config
from cacheproxy.net.listen import HttpFactory
from cacheproxy.proxy.content import serve
from cacheproxy.proxy.hot import HotHits
from cacheproxy.proxy.site import Site
from cacheproxy.proxy.variables import resolve
from cacheproxy.runtime import Runtime
from cacheproxy.storage.zone import Zone

__all__ = [
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
    "http_date",
    "response",
]

#: Wall time at which every bench starts: Tue, 14 Nov 2023 22:13:20 GMT.
EPOCH = 1_700_000_000.0

#: Octets that a transport takes before it asks its producer to pause, as Twisted's do.
BUFFER_SIZE = 64 * 1024


def http_date(seconds: float) -> bytes:
    """An HTTP-date *seconds* after the bench's start."""
    from cacheproxy.http.syntax import format_http_date

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


class QueuedDisk:
    """Does disk work in later turns of the reactor, as threads do, or when the test lets it."""

    def __init__(self, reactor: BenchReactor) -> None:
        self.reactor = reactor
        self.queue: deque[Callable[[], None]] = deque()
        self.held = False

    def submit(self, work: Callable[[], None]) -> None:
        self.queue.append(work)
        self.reactor.callLater(0, self._turn)

    def hold(self) -> None:
        """Let work wait from now on."""
        self.held = True

    def release(self) -> None:
        """Do what waits, and whatever comes later."""
        self.held = False
        self.stop()

    def stop(self) -> None:
        while self.queue:
            self.queue.popleft()()

    def _turn(self) -> None:
        if self.queue and not self.held:
            self.queue.popleft()()


class FakeTransport:
    """One end of a connection: what was sent, whether it reads, how it was closed.

    Ends are told by the reactor's next turn, as Twisted does. ``hold`` plays a peer that does
    not read: what is written is kept back, and the producer paused beyond ``BUFFER_SIZE``.
    """

    def __init__(self, reactor: BenchReactor, protocol: Any, peer: Any, host: Any) -> None:
        self.reactor = reactor
        self.protocol = protocol
        self._peer, self._host = peer, host
        self.sent = b""
        self.held = bytearray()
        self.holding = False
        self.paused = False
        self.producer: Any = None
        self.producer_paused = False
        self.disconnecting = False
        self.write_ended = False
        self.aborted = False
        self.lost = False
        self.no_delay = False
        self.inbox: deque[bytes] = deque()
        self.peer_eof = False
        self.writes = 0

    # -- what a protocol calls ---------------------------------------------

    def getPeer(self) -> Any:
        return self._peer

    def getHost(self) -> Any:
        return self._host

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.no_delay = enabled

    def write(self, data: bytes) -> None:
        assert isinstance(data, bytes), data
        if self.lost or self.disconnecting or self.write_ended:
            return
        self.writes += 1
        self.held += data
        self._flush()
        if len(self.held) > BUFFER_SIZE and self.producer is not None and not self.producer_paused:
            self.producer_paused = True
            self.producer.pauseProducing()

    def writeSequence(self, parts: Any) -> None:
        self.write(b"".join(parts))

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert streaming and IPushProducer.providedBy(producer)
        assert self.producer is None, "a producer is registered already"
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None
        self.producer_paused = False

    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        if self.paused and not self.disconnecting:
            self.paused = False
            self.reactor.callLater(0, self._deliver)

    def stopProducing(self) -> None:
        self.loseConnection()

    def loseConnection(self) -> None:
        if self.lost or self.disconnecting:
            return
        self.disconnecting = True
        self._finish_if_flushed()

    def abortConnection(self) -> None:
        if self.lost or self.aborted:
            return
        self.aborted = self.disconnecting = True
        self.held.clear()
        self.reactor.callLater(0, self._lose, error.ConnectionAborted())

    def loseWriteConnection(self) -> None:
        if not self.lost and not self.disconnecting:
            self.write_ended = True
            self._flush()

    # -- what the test does ------------------------------------------------

    def deliver(self, data: bytes) -> None:
        """Octets arrive; they wait while the protocol has paused reading."""
        self.inbox.append(data)
        self._deliver()

    def eof(self) -> None:
        """The peer has ended its sending side."""
        self.peer_eof = True
        self._deliver()

    def vanish(self, reason: Exception | None = None) -> None:
        """The connection is lost without a word."""
        self.inbox.clear()
        self._lose(reason or error.ConnectionLost())

    def hold(self) -> None:
        """The peer stops to read."""
        self.holding = True

    def release(self, octets: int | None = None) -> None:
        """The peer reads what waits, or some of it; without a limit also what comes later."""
        if octets is None:
            self.holding = False
            self._flush()
        else:
            self.sent += bytes(self.held[:octets])
            del self.held[:octets]
            self._drained()

    @property
    def closed(self) -> bool:
        """The protocol has closed, or its sending side."""
        return self.lost or self.disconnecting or self.write_ended

    # -- private -----------------------------------------------------------

    def _flush(self) -> None:
        if not self.holding and self.held:
            self.sent += bytes(self.held)
            self.held.clear()
        self._drained()

    def _drained(self) -> None:
        if self.held:
            return
        if self.producer_paused and self.producer is not None:
            self.producer_paused = False
            self.producer.resumeProducing()
        self._finish_if_flushed()

    def _finish_if_flushed(self) -> None:
        if self.disconnecting and not self.aborted and not self.held:
            self.reactor.callLater(0, self._lose, error.ConnectionDone())

    def _deliver(self) -> None:
        while self.inbox and not (self.paused or self.lost or self.disconnecting):
            self.protocol.dataReceived(self.inbox.popleft())
        if (
            self.peer_eof
            and not self.inbox
            and not (self.paused or self.lost or self.disconnecting)
        ):
            self.peer_eof = False
            if IHalfCloseableProtocol.providedBy(self.protocol) and not self.write_ended:
                self.protocol.readConnectionLost()
            else:
                self._lose(error.ConnectionDone())

    def _lose(self, reason: Exception) -> None:
        if self.lost:
            return
        self.lost = True
        self.paused = True
        self.inbox.clear()
        producer, self.producer = self.producer, None
        if producer is not None and not isinstance(reason, error.ConnectionDone):
            producer.stopProducing()
        self.protocol.connectionLost(Failure(reason))


class Request:
    """A request as an origin received it."""

    def __init__(self, head: bytes, body: bytes) -> None:
        self.head = head
        self.body = body
        lines = head.split(b"\r\n")
        self.line = lines[0]
        self.method, self.target, self.version = lines[0].split(b" ")
        self.pairs = [
            (name, value.strip()) for name, _, value in (x.partition(b":") for x in lines[1:] if x)
        ]

    def get(self, name: bytes) -> bytes | None:
        """The last field called *name* (lower case)."""
        found = None
        for key, value in self.pairs:
            if key.lower() == name:
                found = value
        return found

    def __repr__(self) -> str:
        return f"<Request {self.line!r}>"


class OriginConnection:
    """One connection as the origin has it."""

    def __init__(self, origin: Origin, transport: FakeTransport) -> None:
        self.origin = origin
        self.transport = transport
        self.taken = 0

    @property
    def received(self) -> bytes:
        """Every octet that came, from the connection's start."""
        return self.transport.sent

    def poll(self) -> None:
        """Answer what has come in whole."""
        while not self.transport.lost:
            request, used = _parse_request(self.received[self.taken :])
            if request is None:
                return
            self.taken += used
            self.origin.requests.append(request)
            self.origin.answer(self, request)

    def send(self, data: bytes) -> None:
        """Octets to the proxy."""
        self.transport.deliver(data)
        self.origin.reactor.settle()

    def close(self) -> None:
        """End the connection in order."""
        self.transport.eof()
        self.origin.reactor.settle()

    def reset(self) -> None:
        """End the connection without order."""
        self.transport.vanish()
        self.origin.reactor.settle()

    @property
    def closed(self) -> bool:
        """Whether the proxy has closed it."""
        return self.transport.lost or self.transport.disconnecting


def _parse_request(data: bytes) -> tuple[Request | None, int]:
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None, 0
    request = Request(data[:end], b"")
    end += 4
    coding, length = request.get(b"transfer-encoding"), request.get(b"content-length")
    if coding is not None:
        body = b""
        while True:
            eol = data.find(b"\r\n", end)
            if eol < 0:
                return None, 0
            size = int(data[end:eol], 16)
            end = eol + 2 + size + 2
            if len(data) < end:
                return None, 0
            if not size:
                break
            body += data[eol + 2 : eol + 2 + size]
        request.body = body
    elif length is not None:
        request.body = data[end : end + int(length)]
        if len(request.body) < int(length):
            return None, 0
        end += int(length)
    return request, end


class Origin:
    """What listens at one upstream address.

    ``script`` holds answers, given in order: octets, or a callable of (connection, request);
    when it is empty, ``default`` answers (None: nothing). ``mode``: "accept", "refuse", "hang".
    """

    def __init__(self, reactor: BenchReactor) -> None:
        self.reactor = reactor
        self.mode = "accept"
        #: False: what is sent on new connections waits until their transport is released.
        self.reads = True
        self.connections: list[OriginConnection] = []
        self.requests: list[Request] = []
        self.script: deque[bytes | Callable[[OriginConnection, Request], None]] = deque()
        self.default: bytes | Callable[[OriginConnection, Request], None] | None = None

    def reply(self, *answers: bytes | Callable[[OriginConnection, Request], None]) -> None:
        """Add answers."""
        self.script.extend(answers)

    def answer(self, connection: OriginConnection, request: Request) -> None:
        """Answer one request as scripted."""
        answer = self.script.popleft() if self.script else self.default
        if isinstance(answer, bytes):
            connection.send(answer)
        elif answer is not None:
            answer(connection, request)

    @property
    def last(self) -> OriginConnection:
        """The connection opened last."""
        return self.connections[-1]

    @property
    def open(self) -> int:
        """Connections that are not closed."""
        return sum(not connection.closed for connection in self.connections)


class _Connector:
    """``IConnector``, as much of it as endpoints use."""

    def __init__(self, reactor: BenchReactor, factory: Any, destination: Any) -> None:
        self.reactor, self.factory, self.destination = reactor, factory, destination
        self.state = "connecting"
        self.call: Any = None

    def stopConnecting(self) -> None:
        self.call.cancel()
        self.fail(error.UserError())

    def disconnect(self) -> None:
        if self.state == "connecting":
            self.stopConnecting()

    def getDestination(self) -> Any:
        return self.destination

    def fail(self, reason: Exception) -> None:
        self.state = "disconnected"
        self.factory.clientConnectionFailed(self, Failure(reason))


class BenchReactor(Clock):
    """Time, and connections without sockets."""

    def __init__(self) -> None:
        super().__init__()
        self.rightNow = 5000.0
        self.origins: dict[Any, Origin] = {}
        self.attempts: list[Any] = []
        self.listening: list[Any] = []
        self.running = True
        self.stopped = 0

    def wall(self) -> float:
        """Seconds since the epoch."""
        return EPOCH + self.seconds() - 5000.0

    def callFromThread(self, function: Callable[..., object], *arguments: Any) -> None:
        function(*arguments)

    def stop(self) -> None:
        self.stopped += 1

    def origin(self, address: Any) -> Origin:
        """The origin at ``(host, port)`` or a UNIX path, made on first use."""
        return self.origins.setdefault(address, Origin(self))

    def connectTCP(
        self, host: str, port: int, factory: Any, timeout: float = 30, bindAddress: Any = None
    ) -> _Connector:
        peer = IPv4Address("TCP", host, port)
        return self._connect((host, port), peer, factory, timeout)

    def connectUNIX(
        self, address: str, factory: Any, timeout: float = 30, checkPID: int = 0
    ) -> _Connector:
        return self._connect(address, UNIXAddress(address), factory, timeout)

    def _connect(self, address: Any, peer: Any, factory: Any, timeout: float) -> _Connector:
        origin = self.origin(address)
        self.attempts.append(address)
        connector = _Connector(self, factory, peer)
        factory.doStart()
        factory.startedConnecting(connector)

        def accept() -> None:
            connector.state = "connected"
            protocol = factory.buildProtocol(peer)
            transport = FakeTransport(self, protocol, peer, IPv4Address("TCP", "127.0.0.9", 9))
            transport.holding = not origin.reads
            connection = OriginConnection(origin, transport)
            origin.connections.append(connection)
            protocol.makeConnection(transport)

        if origin.mode == "accept":
            connector.call = self.callLater(0, accept)
        elif origin.mode == "refuse":
            connector.call = self.callLater(0, connector.fail, error.ConnectionRefusedError())
        else:
            connector.call = self.callLater(timeout, connector.fail, error.TimeoutError())
        return connector

    def settle(self) -> None:
        """Do all that is due now, and let the origins answer what they have received."""
        for _ in range(1000):
            due = any(call.getTime() <= self.seconds() for call in self.getDelayedCalls())
            before = [
                (origin, len(c.received), c.transport.lost)
                for origin in self.origins.values()
                for c in origin.connections
            ]
            if due:
                self.advance(0)
            for origin in list(self.origins.values()):
                for connection in list(origin.connections):
                    connection.poll()
            after = [
                (origin, len(c.received), c.transport.lost)
                for origin in self.origins.values()
                for c in origin.connections
            ]
            if not due and before == after:
                return
        raise AssertionError("it never comes to rest")


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
        """Octets to the proxy; everything that follows from them at once happens."""
        self.transport.deliver(data)
        self.bench.reactor.settle()

    @property
    def received(self) -> bytes:
        """Every octet that the client has got."""
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

    def release(self, octets: int | None = None) -> None:
        """The client reads again."""
        self.transport.release(octets)
        self.bench.reactor.settle()


def message(method: bytes, target: bytes, *fields: bytes, body: bytes | None = None) -> bytes:
    """A request's octets."""
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
    """A proxy with *text* in its ``http`` block; the first server is the one asked."""

    def __init__(
        self,
        case: SynchronousTestCase,
        text: str,
        *,
        outside: str = "error_log error.log info;",
    ) -> None:
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

    def _serve(self) -> None:
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
            site = Site(listens[address], servers, default, self.runtime, serve)
            factory = self.factories.get(address)
            if factory is None:
                self.factories[address] = HttpFactory(site, self.reactor)
            else:
                factory.serve(site)

    def reload(self, text: str) -> None:
        """Serve *text* from now on, as a reload does."""
        self.runtime = Runtime(self.reactor, self.configure(text), self.runtime)
        self._serve()
        self.runtime.open()

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
