"""Connections without sockets: a reactor with time by hand, transports, scripted origins.

``BenchReactor`` connects to ``Origin`` objects by their addresses; both ends of a connection meet
in a ``FakeTransport``. Nothing here knows the proxy.
"""

# trial's test cases and Twisted's interfaces have no types.
# mypy: disable-error-code="no-untyped-call,misc,no-untyped-def"

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet import error
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.task import Clock
from twisted.python.failure import Failure

__all__ = [
    "BUFFER_SIZE",
    "EPOCH",
    "BenchReactor",
    "FakeTransport",
    "Origin",
    "OriginConnection",
    "QueuedDisk",
    "Request",
]

#: Wall time at which every bench starts: Tue, 14 Nov 2023 22:13:20 GMT.
EPOCH = 1_700_000_000.0

#: Bytes that a transport takes before it asks its producer to pause, as Twisted's do.
BUFFER_SIZE = 64 * 1024


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
        self.keep_alive = False
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

    def setTcpKeepAlive(self, enabled: bool) -> None:
        self.keep_alive = enabled

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
        """Bytes arrive; they wait while the protocol has paused reading."""
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

    def release(self, size: int | None = None) -> None:
        """The peer reads what waits, or some of it; without a limit also what comes later."""
        if size is None:
            self.holding = False
            self._flush()
        else:
            self.sent += bytes(self.held[:size])
            del self.held[:size]
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
        #: A 101 was sent: what comes is no HTTP any more.
        self.switched = False

    @property
    def received(self) -> bytes:
        """Every byte that came, from the connection's start."""
        return self.transport.sent

    def poll(self) -> None:
        """Answer what has come in whole."""
        while not (self.transport.lost or self.switched):
            request, used = self.origin.parse(self.received[self.taken :])
            if request is None:
                return
            self.taken += used
            self.origin.requests.append(request)
            self.origin.answer(self, request)

    def send(self, data: bytes) -> None:
        """Bytes to the proxy."""
        self.switched = self.switched or data.startswith(b"HTTP/1.1 101 ")
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

    ``script`` holds answers, given in order: bytes, or a callable of (connection, request);
    when it is empty, ``default`` answers (None: nothing). ``mode``: "accept", "refuse", "hang".
    """

    def __init__(self, reactor: BenchReactor) -> None:
        self.reactor = reactor
        self.mode = "accept"
        #: Seconds until a connection is accepted: a full backlog.
        self.delay = 0.0
        #: False: what is sent on new connections waits until their transport is released.
        self.reads = True
        self.connections: list[OriginConnection] = []
        #: Cuts a request off the front of what came: the request and its bytes, or None and 0.
        self.parse: Callable[[bytes], tuple[Any, int]] = _parse_request
        self.requests: list[Any] = []
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
            connector.call = self.callLater(origin.delay, accept)
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
