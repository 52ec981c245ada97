"""A connection to an upstream server: one request at a time, kept between requests.

``UpstreamConnection`` joins a transport to the parser of the upstream's protocol (for
HTTP ``http.response_parser``) and tells the exchange that uses it, through
``UpstreamSink``, what arrives. Who opens and keeps connections is in ``pool``.

When a connection may be used again is decided here, and strictly: the response
was whole and said so, nothing came after it, the request had been sent to its
end, and neither ``keepalive_requests`` nor ``keepalive_time`` is exceeded. An idle
connection on which anything arrives is closed.

May import ``http``, ``policy.upstream_protocol``, ``proxy.interfaces``, ``config.model``, twisted.
"""

from __future__ import annotations

import typing
from collections.abc import Callable
from typing import Any, cast

from twisted.internet import error
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from cacheproxy.config.model import UpstreamServer
from cacheproxy.errors import ProtocolError, Stage, UpstreamError
from cacheproxy.http.fields import Fields
from cacheproxy.http.messages import ResponseHead
from cacheproxy.net.deadline import Deadline
from cacheproxy.net.http1.outbox import Outbox, Turn
from cacheproxy.net.reactor.interfaces import LONG_READ, IDirectProtocol, give_way
from cacheproxy.net.tls.stream import TruncatedClose
from cacheproxy.policy.upstream_protocol import MakeReader, ResponseReader
from cacheproxy.proxy.interfaces import Tunnel, UpstreamSink

__all__ = ["ConnectionOwner", "KeepAliveLimits", "UpstreamConnection"]

#: Bytes of a response's head that an upstream may send.
MAX_RESPONSE_HEAD = 64 * 1024

#: Seconds by which our idle time-out stays below the one that the upstream
#: announces in ``Keep-Alive: timeout=``, so that we close first.
KEEP_ALIVE_MARGIN = 1.0

# Read for every request; looking a member up in an enumeration is slow.
_SEND, _HEAD, _BODY = Stage.SEND, Stage.HEAD, Stage.BODY


class KeepAliveLimits(typing.Protocol):
    """How long a connection is used: nginx ``keepalive_requests`` and its like, in seconds."""

    requests: int
    time: float
    timeout: float


class ConnectionOwner(typing.Protocol):
    """Who opened a connection, and keeps it between requests (``pool.Peer``)."""

    reactor: Any
    server: UpstreamServer
    reader: MakeReader
    turn: Turn

    @property
    def keep_alive(self) -> KeepAliveLimits: ...

    def keep(self, connection: UpstreamConnection) -> None:
        """It has finished a request: keep it for another, or close it."""

    def forget(self, connection: UpstreamConnection) -> None:
        """It has closed."""


@implementer(IHalfCloseableProtocol, IPushProducer, IDirectProtocol)
class UpstreamConnection(Protocol):
    """One connection to an upstream server; an ``UpstreamStream`` while in use."""

    def __init__(self, peer: ConnectionOwner) -> None:
        self.peer = peer
        self.sink: UpstreamSink | None = None
        self.reused = False
        self.writable = True
        self.bytes_received = 0
        self.requests = 0
        self._seconds: Callable[[], float] = peer.reactor.seconds
        self.opened = self._seconds()
        self.parser: ResponseReader = peer.reader(self, MAX_RESPONSE_HEAD)
        self.deadline = Deadline(peer.reactor, self._timed_out)
        self._send_timeout = self._read_timeout = 60.0
        self._sent = False
        self._responded = False
        self._keep = False
        self._idle_timeout = peer.keep_alive.timeout
        self._paused = False
        self._closed = False
        self._tunnel: Tunnel | None = None
        #: The tunnel's writing ends once what waits has gone out.
        self._ends_when_writable = False
        self._stage = _SEND

    # -- transport ---------------------------------------------------------

    def connectionMade(self) -> None:
        transport = cast(Any, self.transport)
        if getattr(transport, "protocol", self) is not self:
            # An endpoint's wrapper, which is of no more use, would see every byte.
            transport.protocol = self
        transport.registerProducer(self, True)
        if not self.peer.server.path:
            # Twisted's TLS transports have no TCP options of their own.
            set_no_delay = getattr(transport, "setTcpNoDelay", None)
            if set_no_delay is not None:
                set_no_delay(True)
        self._outbox = Outbox(self.peer.turn, transport)
        self._write = self._outbox.write
        self._write_now = self._outbox.write_now

    def dataReceived(self, data: bytes) -> None:
        if len(data) >= LONG_READ:
            give_way(self.transport)
        if self.sink is not None:
            self.bytes_received += len(data)
            self.parser.feed(data)
            if self.sink is not None and not self._paused:
                self.deadline.set(self._read_timeout)
        elif self._tunnel is not None:
            self.bytes_received += len(data)
            self.deadline.set(self._read_timeout)
            self._tunnel.tunnel_write(data)
        else:
            # Nothing was asked: whatever this is, it is not an answer of ours.
            self.close()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._closed = True
        self._outbox.close()
        self.deadline.stop()
        self.peer.forget(self)
        if self._tunnel is not None:
            tunnel, self._tunnel = self._tunnel, None
            tunnel.tunnel_close()
        else:
            self._ended(reason)

    def readConnectionLost(self) -> None:
        """The upstream sends nothing more: in a tunnel it still reads, else it is done with."""
        if self._tunnel is not None:
            self._tunnel.tunnel_end()
            return
        self._closed = True
        self._outbox.close()
        self.deadline.stop()
        self.peer.forget(self)
        transport = cast(Any, self.transport)
        transport.unregisterProducer()
        if self._sent and self.writable:
            transport.loseConnection()
        else:
            transport.abortConnection()
        self._ended(connectionDone)

    def writeConnectionLost(self) -> None:
        """The sending side is closed (after ``loseWriteConnection``)."""

    def _ended(self, reason: Failure) -> None:
        """Nothing more comes from the upstream."""
        in_order = reason.check(error.ConnectionDone) is not None
        if self.sink is not None and self._responded and in_order:
            self.parser.eof()  # the end delimits a body, or truncates it
        if self.sink is not None:
            self._fail(_CLOSED if in_order or not self._responded else _why_lost(reason))

    def pauseProducing(self) -> None:
        self.writable = False
        self.deadline.set(self._send_timeout)

    def resumeProducing(self) -> None:
        self.writable = True
        if self._tunnel is not None:
            self.deadline.set(self._read_timeout)
            self._tunnel.tunnel_resume()
            if self._ends_when_writable:
                self.tunnel_end()
        elif self.sink is not None:
            self.deadline.set(self._read_timeout)
            self.sink.on_upstream_writable()

    def stopProducing(self) -> None:
        """The transport is gone; ``connectionLost`` says so too."""

    # -- UpstreamStream ----------------------------------------------------

    def start(self, sink: UpstreamSink, send_timeout: float, read_timeout: float) -> None:
        """Begin an exchange on this connection; the caller then sends the request."""
        self.sink = sink
        self.requests += 1
        self.bytes_received = 0
        self._send_timeout = send_timeout
        self._read_timeout = read_timeout
        self._sent = self._responded = False
        self._stage = _SEND

    def probe_idle(self) -> None:
        if not self.peer.server.path:
            cast(Any, self.transport).setTcpKeepAlive(True)

    def send_request(self, method: bytes, data: bytes, complete: bool) -> None:
        self.parser.expect(method)
        self._sent = complete
        self._stage = _HEAD
        self.deadline.set(self._read_timeout)
        if complete:
            self._write_now(data)
        else:
            self._write(data)

    def send_body(self, data: bytes, complete: bool) -> None:
        self._sent = complete
        if self.writable:  # else ``proxy_send_timeout`` runs
            self.deadline.set(self._read_timeout)
        if data:
            self._write(data)

    def pause(self) -> None:
        if not self._paused and not self._closed:
            self._paused = True
            self.deadline.clear()
            cast(Any, self.transport).pauseProducing()

    def resume(self) -> None:
        if self._paused and not self._closed:
            self._paused = False
            self.deadline.set(self._read_timeout)
            cast(Any, self.transport).resumeProducing()

    def abort(self) -> None:
        self.sink = None
        self._tunnel = None
        self.close()

    def close(self) -> None:
        """Close now; the sink, if any, is not told."""
        if self._closed:
            return
        self._closed = True
        self._outbox.close()
        self.sink = None
        self.deadline.stop()
        self.peer.forget(self)
        transport = cast(Any, self.transport)
        transport.unregisterProducer()
        transport.abortConnection()

    def start_tunnel(self, other: Tunnel) -> tuple[Tunnel, bytes]:
        self._tunnel = other
        self.sink = None
        self.deadline.set(self._read_timeout)
        return self, self.parser.take_upgrade()

    # -- Tunnel ------------------------------------------------------------

    def tunnel_write(self, data: bytes) -> None:
        self.deadline.set(self._read_timeout)
        self._write(data)
        if not self.writable and self._tunnel is not None:
            self._tunnel.tunnel_pause()

    def tunnel_end(self) -> None:
        transport = cast(Any, self.transport)
        half_close = getattr(transport, "loseWriteConnection", transport.loseConnection)
        if self._closed:
            return
        self._ends_when_writable = not self.writable
        if self.writable:
            self._outbox.flush()
            transport.unregisterProducer()
            half_close()

    def tunnel_close(self) -> None:
        self._tunnel = None
        if not self._closed:
            self._outbox.flush()
            self.deadline.set(self._send_timeout)
            transport = cast(Any, self.transport)
            transport.unregisterProducer()
            transport.loseConnection()

    def tunnel_pause(self) -> None:
        self.pause()

    def tunnel_resume(self) -> None:
        self.resume()

    # -- ResponseSink ------------------------------------------------------

    def on_informational(self, head: ResponseHead) -> None:
        if self.sink is not None:
            self.sink.on_informational(head)

    def on_response(self, head: ResponseHead) -> None:
        self._stage = _BODY
        self._responded = True
        self._keep = head.keep_alive
        if self.requests == 1:
            self._learn_idle_timeout(head)
        if self.sink is not None:
            self.sink.on_response(head)

    def on_response_body(self, data: bytes) -> None:
        if self.sink is not None:
            self.sink.on_response_body(data)

    def on_response_end(self, trailers: Fields | None) -> None:
        sink, self.sink = self.sink, None
        if sink is None:
            return
        keep_alive = self.peer.keep_alive
        if (
            self._keep
            and self._sent
            and not self._closed
            and not self.parser.excess
            and self._idle_timeout > 0
            and self.requests < keep_alive.requests
            and self._seconds() - self.opened < keep_alive.time
        ):
            if self._paused:
                self.resume()
            self.reused = True
            self.deadline.set(self._idle_timeout)
            self.peer.keep(self)
        else:
            self.close()
        sink.on_response_end(trailers)

    def on_response_error(self, problem: ProtocolError) -> None:
        self._fail(problem.message, malformed=True)

    # -- private -----------------------------------------------------------

    def _learn_idle_timeout(self, head: ResponseHead) -> None:
        """Stay below the idle time that the upstream announces (``Keep-Alive: timeout=``)."""
        announced = head.fields.get(b"keep-alive")
        if announced is None:
            return
        for parameter in announced.split(b","):
            name, _, value = parameter.strip().partition(b"=")
            if name.lower() == b"timeout" and value.isdigit() and len(value) < 6:
                self._idle_timeout = min(self._idle_timeout, int(value) - KEEP_ALIVE_MARGIN)

    def _timed_out(self) -> None:
        if self._tunnel is not None:
            tunnel, self._tunnel = self._tunnel, None
            self.close()
            tunnel.tunnel_close()
        elif self.sink is None:
            self.close()
        elif self._paused:
            return  # we are not reading: the client is the slow one
        else:
            self._fail("upstream timed out", timeout=True)

    def _fail(self, message: str, *, timeout: bool = False, malformed: bool = False) -> None:
        sink, self.sink = self.sink, None
        responded = self._responded
        self.close()
        if sink is not None:
            sink.on_upstream_error(
                UpstreamError(
                    message,
                    self._stage,
                    timeout=timeout,
                    request_sent=True,
                    reused=self.reused and not responded and self.bytes_received == 0,
                    malformed=malformed,
                )
            )


_CLOSED = "upstream prematurely closed connection"


def _why_lost(reason: Failure) -> str:
    """How a connection ended that did not end in order."""
    if reason.check(TruncatedClose):
        return "upstream closed the connection without close_notify"
    return "upstream reset the connection"
