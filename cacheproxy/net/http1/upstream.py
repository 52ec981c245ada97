"""Connections to upstream servers: one request at a time, kept between requests.

``UpstreamConnection`` joins a transport to the parser of the upstream's protocol (for
HTTP ``http.response_parser``) and tells the exchange that uses it, through
``UpstreamSink``, what arrives. ``Peer`` is one
address: it opens connections and keeps idle ones, as many as the group's
``keepalive`` allows (nginx ``ngx_http_upstream_keepalive_module``).

When a connection may be used again is decided here, and strictly: the response
was whole and said so, nothing came after it, the request had been sent to its
end, and neither ``keepalive_requests`` nor ``keepalive_time`` is exceeded. An idle
connection on which anything arrives is closed.

May import ``http``, ``policy.upstream_protocol``, ``proxy.interfaces``, ``config.model``, twisted.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, cast

from twisted.internet import error
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    UNIXClientEndpoint,
)
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from cacheproxy.config.model import Upstream, UpstreamServer
from cacheproxy.errors import ProtocolError, Stage, UpstreamError
from cacheproxy.http.fields import Fields
from cacheproxy.http.messages import ResponseHead
from cacheproxy.http.response_parser import ResponseParser
from cacheproxy.net.deadline import Deadline
from cacheproxy.net.http1.outbox import Outbox, Turn
from cacheproxy.net.reactor.interfaces import (
    LONG_READ,
    IByteStreamFactory,
    IDirectProtocol,
    give_way,
)
from cacheproxy.net.tls.stream import TruncatedClose
from cacheproxy.policy.upstream_protocol import MakeReader, ResponseReader
from cacheproxy.proxy.interfaces import Tunnel, UpstreamSink

__all__ = ["KeepAlive", "Peer", "UpstreamConnection", "plain_endpoint"]

#: Octets of a response's head that an upstream may send.
MAX_RESPONSE_HEAD = 64 * 1024

#: Seconds by which our idle time-out stays below the one that the upstream
#: announces in ``Keep-Alive: timeout=``, so that we close first.
KEEP_ALIVE_MARGIN = 1.0

# Read for every request; looking a member up in an enumeration is slow.
_SEND, _HEAD, _BODY = Stage.SEND, Stage.HEAD, Stage.BODY


class KeepAlive:
    """The idle connections of one upstream group, least recently used out first.

    Source: nginx ``keepalive``, ``keepalive_requests``, ``keepalive_time``,
    ``keepalive_timeout``.
    """

    def __init__(self, upstream: Upstream) -> None:
        self.limit = upstream.keepalive
        self.requests = upstream.keepalive_requests
        self.time = upstream.keepalive_time
        self.timeout = upstream.keepalive_timeout
        #: In order of use, the latest last.
        self.idle: dict[UpstreamConnection, None] = {}

    def drop_oldest(self) -> None:
        """Close the connection that was idle longest."""
        oldest = next(iter(self.idle))
        del self.idle[oldest]
        oldest.peer.idle.remove(oldest)
        oldest.close()

    def close(self) -> None:
        """Close every idle connection and keep none from now on."""
        self.limit = 0
        for connection in list(self.idle):
            connection.close()


@implementer(IHalfCloseableProtocol, IPushProducer, IDirectProtocol)
class UpstreamConnection(Protocol):
    """One connection to an upstream server; an ``UpstreamStream`` while in use."""

    def __init__(self, peer: Peer) -> None:
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
            # An endpoint's wrapper, which is of no more use, would see every octet.
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


class _Attempt:
    """A connection being opened; cancellable until it is handed over."""

    __slots__ = ("_deferred", "_done")

    def __init__(self, deferred: Deferred[Any]) -> None:
        self._deferred = deferred
        self._done = False

    def done(self) -> None:
        self._done = True

    def active(self) -> bool:
        return not self._done

    def cancel(self) -> None:
        if not self._done:
            self._done = True
            self._deferred.cancel()


@implementer(IByteStreamFactory)
class _Factory(Factory):
    noisy = False

    def __init__(self, peer: Peer) -> None:
        self.peer = peer

    def buildProtocol(self, addr: Any) -> UpstreamConnection:
        return UpstreamConnection(self.peer)


class Peer:
    """One server of an upstream group, and its idle connections (``UpstreamPeer``)."""

    def __init__(
        self,
        reactor: Any,
        server: UpstreamServer,
        keep_alive: KeepAlive,
        endpoint: Callable[[Any, UpstreamServer, float], Any] | None = None,
        reader: MakeReader = ResponseParser,
    ) -> None:
        self.reactor = reactor
        self.reader = reader
        self.server = server
        self.keep_alive = keep_alive
        self.idle: list[UpstreamConnection] = []
        self.connections = 0
        self._endpoint: Callable[[Any, UpstreamServer, float], Any] = endpoint or plain_endpoint
        self._factory = _Factory(self)
        self.turn = Turn(reactor)

    def acquire(
        self,
        sink: UpstreamSink,
        connect_timeout: float,
        send_timeout: float,
        read_timeout: float,
        fresh: bool = False,
    ) -> _Attempt | None:
        if self.idle and not fresh:
            connection = self.idle.pop()
            del self.keep_alive.idle[connection]
            connection.start(sink, send_timeout, read_timeout)
            sink.on_connected(connection)
            return None
        deferred = self._endpoint(self.reactor, self.server, connect_timeout).connect(self._factory)
        attempt = _Attempt(deferred)

        def connected(connection: Any) -> None:
            attempt.done()
            self.connections += 1
            connection.start(sink, send_timeout, read_timeout)
            sink.on_connected(connection)

        def failed(reason: Failure) -> None:
            if not attempt.active() or reason.check(CancelledError):
                return
            attempt.done()
            sink.on_upstream_error(_connect_error(reason))

        deferred.addCallbacks(connected, failed)
        return attempt

    def keep(self, connection: UpstreamConnection) -> None:
        """Put a connection that has finished among the idle ones."""
        keep_alive = self.keep_alive
        if keep_alive.limit <= 0:
            connection.close()
            return
        self.idle.append(connection)
        keep_alive.idle[connection] = None
        if len(keep_alive.idle) > keep_alive.limit:
            keep_alive.drop_oldest()

    def forget(self, connection: UpstreamConnection) -> None:
        """A connection has closed."""
        if connection in self.idle:
            self.idle.remove(connection)
            self.keep_alive.idle.pop(connection, None)


def _connect_error(reason: Failure) -> UpstreamError:
    if reason.check(UpstreamError):
        return cast(UpstreamError, reason.value)
    if reason.check(error.TimeoutError):
        return UpstreamError("upstream timed out while connecting", Stage.CONNECT, timeout=True)
    number = getattr(reason.value, "osError", None)
    why = f"{number}: {os.strerror(number)}" if isinstance(number, int) else str(reason.value)
    return UpstreamError(f"connect() failed ({why})", Stage.CONNECT)


def plain_endpoint(reactor: Any, server: UpstreamServer, timeout: float) -> Any:
    """Where *server* listens: a UNIX socket, or a host by address or name."""
    if server.path:
        return UNIXClientEndpoint(reactor, server.path, timeout)
    # A name is looked up at each connection, so that a moved container is found.
    kind: Any = HostnameEndpoint
    if isIPAddress(server.host):
        kind = TCP4ClientEndpoint
    elif isIPv6Address(server.host):
        kind = TCP6ClientEndpoint
    return kind(reactor, server.host, server.port, timeout)
