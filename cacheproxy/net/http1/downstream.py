"""A client's HTTP/1.1 connection: transport ⇄ parser ⇄ exchange.

One request is answered at a time; what is pipelined behind it waits in the
parser while the transport is paused. A request that ``proxy.front.hot`` can answer from
memory is answered inside the call that delivered its bytes, without an exchange.

Time limits, one ``Deadline`` for all: ``client_header_timeout`` from the first
octet of a head to its last, ``client_body_timeout`` between pieces of a body,
``send_timeout`` while the client does not read, ``keepalive_timeout`` between
requests. Closing lingers (nginx ``lingering_close``) where the client may still be
sending, because closing at once would make its kernel discard our answer.

May import ``http``, ``proxy``, twisted.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, cast

from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from cacheproxy.errors import ProtocolError
from cacheproxy.http.encode import (
    LAST_CHUNK,
    encode_chunk,
    encode_response_head,
    encode_trailers,
)
from cacheproxy.http.fields import Fields, Pairs
from cacheproxy.http.messages import RequestHead
from cacheproxy.http.request_parser import RequestParser
from cacheproxy.net.deadline import NEVER, Deadline
from cacheproxy.net.http1.outbox import DIRECT, Outbox, Turn
from cacheproxy.net.reactor.interfaces import LONG_READ, IDirectProtocol, give_way
from cacheproxy.proxy.exchange.exchange import Exchange
from cacheproxy.proxy.front.hot import HotHits
from cacheproxy.proxy.interfaces import ClientListener, TlsInfo, Tunnel
from cacheproxy.proxy.site.site import Site

__all__ = ["HttpConnection"]

#: nginx ``lingering_timeout`` and ``lingering_time``: seconds between reads, and in all.
LINGERING_TIMEOUT = 5.0
LINGERING_TIME = 30.0

#: Seconds that a connection without a request is given to send one when draining, and
#: seconds for which one that has sent none is read, after the FIN, so that nothing is reset.
DRAIN_TIMEOUT = 1.0

_numbers = itertools.count(1)


@implementer(IHalfCloseableProtocol, IPushProducer, IDirectProtocol)
class HttpConnection(Protocol):
    """One client connection (``Downstream``, ``RequestSink``, ``Tunnel``)."""

    #: ``net.listen`` sets both, from the address that ``accept`` gave.
    peer_host = ""
    peer_port = 0
    local_host = "unix:"
    local_port = 0
    tls: TlsInfo | None = None

    def __init__(
        self,
        site: Site,
        reactor: Any,
        connections: set[HttpConnection],
        hot: HotHits,
        turn: Turn,
    ) -> None:
        self.site = site
        self.number = next(_numbers)
        self.requests = 0
        self.bytes_sent = 0
        self.writable = True
        self.exchange: Exchange | None = None
        self.draining = False
        self._reactor = reactor
        self._connections = connections
        self._hot = hot.answer
        self._turn = turn
        self._parser = RequestParser(self, site.limits)
        self._feed: Callable[[bytes], None] = self._parser.feed
        self._deadline = Deadline(reactor, self._timed_out)
        core = site.default.root.core
        self._wall = site.world.scheduler.wall
        #: Wall seconds until when the connection takes further requests (``keepalive_time``).
        self.keep_until = self._wall() + core.keepalive_time
        self._reading_head = False
        self._body_expected = False
        self._keep = True
        self._close = False
        self._chunked = False
        self._until_close = False
        self._paused = False
        #: Set to the next ``keepalive_timeout`` while the last response is complete, but
        #: too much of it waits for the client.
        self._unsent: float | None = None
        self._closed = False
        self._tunnel: Tunnel | None = None
        self._linger_until = 0.0

    # -- transport ---------------------------------------------------------

    def connectionMade(self) -> None:
        transport = cast(Any, self.transport)
        self._connections.add(self)
        self._outbox = Outbox(self._turn, transport)
        self._write = self._outbox.write
        transport.registerProducer(self, True)
        host = transport.getHost()
        if hasattr(host, "port"):
            self.local_host, self.local_port = host.host, host.port
        self._deadline.set(self.site.default.server.client_header_timeout)
        if self.draining:
            self._await_last_request()

    def dataReceived(self, data: bytes) -> None:
        self._feed(data)
        if len(data) >= LONG_READ:
            give_way(self.transport)
        if self.exchange is None and not self._reading_head and self._parser.in_head:
            self._reading_head = True
            self._deadline.set(self.site.default.server.client_header_timeout)

    def on_handshake_done(self) -> None:
        """TLS is established (``net.tls.accept``)."""
        self.tls = cast(Any, self.transport).info

    def on_plain_http(self, data: bytes) -> None:
        """The client does not speak TLS on a TLS port: nginx's 497."""
        self._feed = _ignore
        self.refuse(497)

    def readConnectionLost(self) -> None:
        """The client sends nothing more; nginx takes that for leaving, and so do we."""
        exchange = self.exchange
        if self._tunnel is not None:
            tunnel, self._tunnel = self._tunnel, None
            tunnel.tunnel_end()
        elif exchange is not None:
            self._lose(exchange)
        self._shut()

    def writeConnectionLost(self) -> None:
        """The sending side is closed (after ``loseWriteConnection``)."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._end()
        self._deadline.stop()
        self._connections.discard(self)
        if self._tunnel is not None:
            tunnel, self._tunnel = self._tunnel, None
            tunnel.tunnel_end()
        if self.exchange is not None:
            self._lose(self.exchange)

    def _lose(self, exchange: Exchange) -> None:
        self.exchange = None
        self._feed = _ignore
        exchange.on_downstream_lost()

    def pauseProducing(self) -> None:
        self.writable = False
        exchange = self.exchange
        core = self.site.default.root.core if exchange is None else exchange.request.location.core
        self._deadline.set(core.send_timeout)

    def resumeProducing(self) -> None:
        self.writable = True
        if self._tunnel is not None:
            self._tunnel.tunnel_resume()
            return
        exchange = self.exchange
        if exchange is None:
            if self._unsent is not None:
                seconds, self._unsent = self._unsent, None
                self._next(seconds)
            return
        self._deadline.clear()
        if self._body_expected:
            self._deadline.set(exchange.request.location.core.client_body_timeout)
        exchange.on_writable()

    def stopProducing(self) -> None:
        """The transport is gone; ``connectionLost`` says so too."""

    # -- RequestSink -------------------------------------------------------

    def on_request(self, head: RequestHead) -> None:
        self._reading_head = False
        self.requests += 1
        if head.body_length is None and not self._close:
            if not self.draining:
                ready = self._hot(self, head)
                if ready is not None:
                    data = ready.http1
                    body = ready.http1_body
                    self.bytes_sent += len(data) + len(body)
                    if body:
                        self._write(data)
                        self._write(body)
                    else:
                        self._outbox.write_now(data)
                    self._next(ready.keepalive_timeout)
                    return
            self._deadline.when = NEVER
        else:
            self._body_expected = True
        self._keep = head.keep_alive
        exchange = self.exchange = Exchange(self.site, self, head)
        exchange.start()
        if self.exchange is exchange:
            if self._body_expected:
                self._deadline.set(exchange.request.location.core.client_body_timeout)
            if self._parser.queued:
                self.pause_request()

    def on_request_body(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is not None:
            self._deadline.set(exchange.request.location.core.client_body_timeout)
            exchange.on_request_body(data)

    def on_request_end(self, trailers: Fields | None) -> None:
        self._body_expected = False
        exchange = self.exchange
        if exchange is not None:
            self._deadline.clear()
            exchange.on_request_end(trailers)

    def on_request_error(self, error: ProtocolError) -> None:
        exchange = self.exchange
        self._close = True
        if exchange is not None:
            # The body broke its framing: the rest cannot be read.
            self._keep = self._body_expected = False
            self._deadline.clear()
            exchange.refuse_body(error.status)
            return
        self.refuse(error.status)

    def refuse(self, status: int) -> None:
        """Answer what could not be read as a request, and close."""
        self._reading_head = False
        self._keep = False
        self._close = True
        head = RequestHead(b"", b"", 11, Fields(), None, False)
        self.exchange = Exchange(self.site, self, head)
        self.exchange.reject(status)

    # -- Downstream --------------------------------------------------------

    def send_informational(self, status: int, pairs: Pairs) -> None:
        self._write(encode_response_head(status, _INFORMATIONAL.get(status, b""), pairs))

    def send_head(
        self,
        status: int,
        reason: bytes,
        pairs: Pairs,
        length: int | None,
        has_body: bool,
    ) -> None:
        exchange = self.exchange
        if exchange is None:
            return
        core = exchange.request.location.core
        version = exchange.request.head.version
        keep = (
            self._keep
            and not self._close
            and not self.draining
            and core.keepalive_timeout > 0
            and self.requests < core.keepalive_requests
            and self._wall() < self.keep_until
        )
        self._chunked = False
        if has_body and length is None:
            if version >= 11 and core.chunked_transfer_encoding:
                self._chunked = True
                pairs.append((b"Transfer-Encoding", b"chunked"))
            else:
                keep = False
                self._until_close = True
        elif length is not None and status != 204 and (has_body or status != 304):
            pairs.append((b"Content-Length", b"%d" % length))
        self._keep = keep
        if keep:
            pairs.append(_KEEP_ALIVE)
            if core.keepalive_timeout_header is not None:
                pairs.append((b"Keep-Alive", b"timeout=%d" % core.keepalive_timeout_header))
        else:
            pairs.append((b"Connection", b"close"))
        try:
            head = encode_response_head(status, reason, pairs)
        except ValueError:
            # A variable brought a line break into the head: say nothing rather than split it.
            exchange.log_error("error", "a response field holds a line break")
            self.abort()
            exchange.on_downstream_lost()
            return
        self.bytes_sent += len(head)
        self._write(head)

    def send_data(self, data: bytes) -> None:
        if self._chunked:
            if len(data) >= DIRECT:
                head = b"%x\r\n" % len(data)
                self.bytes_sent += len(head) + len(data) + 2
                self._write(head)
                self._write(data)
                self._write(b"\r\n")
                return
            data = encode_chunk(data)
        self.bytes_sent += len(data)
        self._write(data)

    def send_end(self, trailers: Fields | None = None) -> None:
        if self._chunked:
            data = LAST_CHUNK if trailers is None else encode_trailers(trailers)
            self.bytes_sent += len(data)
            self._write(data)
        # The response is complete: the next request, or the end of the connection.
        exchange, self.exchange = self.exchange, None
        if exchange is None:
            core = self.site.default.root.core
        else:
            core = exchange.request.location.core
        if not self._keep:
            self._linger()
        else:
            self._body_expected = False
            self._next(core.keepalive_timeout)

    def abort(self) -> None:
        """Close with the response unfinished: without its end, and at once."""
        self.exchange = None
        self._feed = _ignore
        if not self._closed:
            self._end()
            self._deadline.stop()
            transport = cast(Any, self.transport)
            transport.unregisterProducer()
            if self._until_close:
                # Only a reset tells this end from that of a whole response.
                transport.abortConnection()
            else:
                transport.loseConnection()

    def pause_request(self) -> None:
        if not self._paused and not self._closed:
            self._deadline.clear()
            self._pause_reading()

    def _pause_reading(self) -> None:
        if not self._paused:
            self._paused = True
            cast(Any, self.transport).pauseProducing()

    def resume_request(self) -> None:
        if self._paused and not self._closed:
            self._paused = False
            cast(Any, self.transport).resumeProducing()
            if self._body_expected and self.exchange is not None:
                self._deadline.set(self.exchange.request.location.core.client_body_timeout)

    def close_after_response(self) -> None:
        self._close = True

    def hand_over(self, listener: ClientListener) -> None:
        self.exchange = cast(Exchange, listener)

    def start_tunnel(self, other: Tunnel) -> tuple[Tunnel, bytes]:
        self._tunnel = other
        self.exchange = None
        self._deadline.clear()
        self._feed = self._to_tunnel
        rest = self._parser.take_upgrade()
        self.resume_request()
        return self, rest

    # -- Tunnel ------------------------------------------------------------

    def _to_tunnel(self, data: bytes) -> None:
        if self._tunnel is not None:
            self._tunnel.tunnel_write(data)

    def tunnel_write(self, data: bytes) -> None:
        self.bytes_sent += len(data)
        self._write(data)
        if not self.writable and self._tunnel is not None:
            self._tunnel.tunnel_pause()

    def tunnel_end(self) -> None:
        self._tunnel = None
        self._shut()

    def tunnel_pause(self) -> None:
        self.pause_request()

    def tunnel_resume(self) -> None:
        self.resume_request()

    # -- ends --------------------------------------------------------------

    def _next(self, seconds: float) -> None:
        """Go on to the next request, once the client has read enough of the last response.

        *seconds* is how long the client may take for it.
        """
        if not self.writable:
            # ``send_timeout`` runs. Responses to what is pipelined must not pile up.
            self._unsent = seconds
            self._pause_reading()
        else:
            self._deadline.set(min(seconds, DRAIN_TIMEOUT) if self.draining else seconds)
            if self._paused:
                self.resume_request()
            self._parser.release()

    def _linger(self) -> None:
        """Close the sending side and read past what the client still sends, for a while."""
        if self._closed:
            return
        if self._close or self._parser.body_pending or self._parser.queued:
            self._half_close(LINGERING_TIME)
        else:
            self._shut()

    def _half_close(self, seconds: float) -> None:
        """Close the sending side; read past what still comes, for *seconds* at most."""
        transport = cast(Any, self.transport)
        half_close = getattr(transport, "loseWriteConnection", None)
        if half_close is None:
            self._shut()
            return
        self._feed = self._discard
        self._linger_until = self._reactor.seconds() + seconds
        self._deadline.set(min(seconds, LINGERING_TIMEOUT))
        self._outbox.flush()
        transport.unregisterProducer()
        if self._paused:
            self.resume_request()
        half_close()

    def _discard(self, data: bytes) -> None:
        left = self._linger_until - self._reactor.seconds()
        if left <= 0:
            self._shut()
        else:
            self._deadline.set(min(left, LINGERING_TIMEOUT))

    def _shut(self) -> None:
        """Deliver what was written, then close."""
        if self._closed:
            return
        self._end()
        self._deadline.set(self.site.default.root.core.send_timeout)
        transport = cast(Any, self.transport)
        transport.unregisterProducer()
        transport.loseConnection()

    def _end(self) -> None:
        """Hand over what is written; neither read nor write anything from now on."""
        self._closed = True
        self._feed = _ignore
        self._outbox.flush()
        self._outbox.close()

    def drain(self) -> None:
        """Graceful stop: finish the response under way, take at most one request more.

        That one may be on its way already, and closing now would reset it. It is answered
        with ``Connection: close``; nginx closes idle connections at once.
        """
        if not self.draining:
            self.draining = True
            self._await_last_request()

    def _await_last_request(self) -> None:
        """Give an idle connection ``DRAIN_TIMEOUT``; a response unread has ``send_timeout``."""
        idle = self.exchange is None and self._tunnel is None and self._parser.idle
        if idle and self._unsent is None and not self._closed and not self._linger_until:
            self._deadline.set(DRAIN_TIMEOUT)

    def cut(self) -> None:
        """Fast stop: close now."""
        if self.transport is not None:
            cast(Any, self.transport).abortConnection()

    def _timed_out(self) -> None:
        exchange, self.exchange = self.exchange, None
        self._feed = _ignore
        if exchange is not None:
            exchange.on_downstream_lost()
        transport = cast(Any, self.transport)
        if exchange is not None or self._closed or not self.writable:
            self._end()
            transport.abortConnection()
        elif self.draining and not self._linger_until:
            self._half_close(DRAIN_TIMEOUT)
        else:
            self._shut()


_KEEP_ALIVE = (b"Connection", b"keep-alive")

_INFORMATIONAL = {
    100: b"Continue",
    101: b"Switching Protocols",
    102: b"Processing",
    103: b"Early Hints",
}


def _ignore(data: object) -> None:
    """Octets after the end of a connection's use."""
