"""A client's HTTP/1.1 connection: transport, parser, keep-alive and time limits.

One request is answered at a time, by an ``HttpStream`` of its own (``stream``). A request
that ``proxy.front.hot`` can answer from memory is answered inside the call that delivered
its bytes, without stream or exchange.

Nothing is read from the client while a stream holds its request body, while requests
wait behind the one under way, or while the client has not read the last response; the
turn of the next request, ``_next``, ends the last two.

Time limits, one ``Deadline`` for all: ``client_header_timeout`` from the first byte of a
head to its last, ``send_timeout`` while the client does not read, else
``client_body_timeout`` between pieces of a body; ``keepalive_timeout`` between requests.
Closing lingers (``lingering_close``) where the client may still be sending, because
closing at once would make its kernel discard our answer.

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
from cacheproxy.http.fields import Fields
from cacheproxy.http.messages import RequestHead
from cacheproxy.http.request_parser import RequestParser
from cacheproxy.net.deadline import NEVER, Deadline
from cacheproxy.net.http1.outbox import Outbox, Turn
from cacheproxy.net.http1.stream import HttpStream
from cacheproxy.net.http1.tunnel_ends import ClientTunnel
from cacheproxy.net.reactor.interfaces import LONG_READ, IDirectProtocol, give_way
from cacheproxy.policy.keep_alive import SAFARI, is_keep_alive_disabled
from cacheproxy.policy.options import CoreOptions
from cacheproxy.proxy.front.hot import HotHits
from cacheproxy.proxy.interfaces import TlsInfo
from cacheproxy.proxy.site.site import Site

__all__ = ["HttpConnection"]

#: Seconds that a connection without a request is given to send one when draining, and
#: seconds for which one that has sent none is read, after the FIN, so that nothing is reset.
DRAIN_TIMEOUT = 1.0

_numbers = itertools.count(1)


@implementer(IHalfCloseableProtocol, IPushProducer, IDirectProtocol)
class HttpConnection(Protocol):
    """One client connection (``Client``, ``RequestSink``)."""

    #: ``net.listen`` sets both, from the address that ``accept`` gave.
    peer_host = ""
    peer_port = 0
    local_host = "unix:"
    local_port = 0
    tls: TlsInfo | None = None

    #: Sends, together with what else this turn of the reactor brings.
    write: Callable[[bytes], None]

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
        #: By responses that needed no stream; a stream counts its own.
        self.bytes_sent = 0
        self.writable = True
        #: The request that is being answered, None between requests.
        self.stream: HttpStream | None = None
        self.draining = False
        #: No further request is read: this one asked for it, or framing is in doubt.
        self.closing = False
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
        #: Why nothing is read; ``_paused`` says that the transport was told so.
        self._body_held = False
        self._turn_awaited = False
        self._paused = False
        #: What goes on once the client has read enough of what was written.
        self._when_writable: Callable[[], None] | None = None
        self._closed = False
        self._tunnel: ClientTunnel | None = None
        #: While lingering: monotonic seconds until when, and seconds from read to read.
        self._linger_until = 0.0
        self._linger_timeout = 0.0

    # -- transport ---------------------------------------------------------

    def connectionMade(self) -> None:
        transport = cast(Any, self.transport)
        self._connections.add(self)
        self._outbox = Outbox(self._turn, transport)
        self.write = self._outbox.write
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
        parser = self._parser
        if parser.unread:
            if self.stream is not None:
                if parser.queued:
                    self._await_turn()
            elif not self._reading_head and parser.in_head:
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
        """The client sends nothing more; but for a tunnel it has left then, as for nginx."""
        if self._tunnel is not None:
            self._tunnel.on_client_end()
            return
        self._lose_stream()
        self.shut()

    def writeConnectionLost(self) -> None:
        """The sending side is closed (after ``loseWriteConnection``)."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._end()
        self._deadline.stop()
        self._connections.discard(self)
        if self._tunnel is not None:
            tunnel, self._tunnel = self._tunnel, None
            tunnel.on_client_lost()
        self._lose_stream()

    def _lose_stream(self) -> None:
        """Tell the exchange under way, if there is one, that its client has gone."""
        stream = self.stream
        if stream is not None:
            self._feed = _ignore
            stream.lose()

    def pauseProducing(self) -> None:
        self.writable = False
        stream = self.stream
        if stream is not None:
            stream.writable = False
        self._deadline.set(self._core.send_timeout)

    def resumeProducing(self) -> None:
        self.writable = True
        stream = self.stream
        if stream is not None:
            stream.writable = True
            self._watch_body()
            stream.exchange.on_writable()
            return
        go_on, self._when_writable = self._when_writable, None
        if self._tunnel is not None:
            self._deadline.clear()
            self._tunnel.on_client_writable()
        if go_on is not None:
            go_on()

    def stopProducing(self) -> None:
        """The transport is gone; ``connectionLost`` says so too."""

    @property
    def _core(self) -> CoreOptions:
        """The options of the request under way, or else of the server."""
        stream = self.stream
        if stream is None:
            return self.site.default.root.core
        return stream.exchange.request.location.core

    # -- RequestSink -------------------------------------------------------

    def on_request(self, head: RequestHead) -> None:
        self._reading_head = False
        self.requests += 1
        if head.body_length is None and not self.closing:
            if not self.draining:
                ready = self._hot(self, head)
                if ready is not None:
                    data = ready.http1
                    body = ready.http1_body
                    self.bytes_sent += len(data) + len(body)
                    if body:
                        self.write(data)
                        self.write(body)
                    else:
                        self._outbox.write_now(data)
                    self._next(ready.keepalive_timeout)
                    return
            self._deadline.when = NEVER
        else:
            self._body_expected = True
        stream = self.stream = HttpStream(self, head)
        stream.exchange.start()
        if self.stream is stream:
            if self._body_expected:
                self._watch_body()
            if self._parser.unread and self._parser.queued:
                self._await_turn()

    def on_request_body(self, data: bytes) -> None:
        stream = self.stream
        if stream is not None:
            self._watch_body()
            stream.exchange.on_request_body(data)

    def on_request_end(self, trailers: Fields | None) -> None:
        self._body_expected = False
        stream = self.stream
        if stream is not None:
            self._watch_body()
            stream.exchange.on_request_end(trailers)

    def on_request_error(self, error: ProtocolError) -> None:
        self.closing = True
        stream = self.stream
        if stream is None and self._parser.body_pending:
            # What it belongs to was answered: another response would be taken for that to
            # what the client sends next.
            self._linger(self._core)
        elif stream is None:
            self.refuse(error.status)
        else:
            # The body broke its framing: the rest cannot be read.
            self._body_expected = False
            self._watch_body()
            stream.exchange.refuse_body(error.status)

    def refuse(self, status: int) -> None:
        """Answer what could not be read as a request, and close."""
        self._reading_head = False
        self.closing = True
        stream = self.stream = HttpStream(self, RequestHead(b"", b"", 11, Fields(), None, False))
        stream.exchange.reject(status)

    def _watch_body(self) -> None:
        """Let ``client_body_timeout`` run from now, if it is the client's turn to send."""
        if not self.writable:
            return  # ``send_timeout`` runs
        if self._body_expected and not self._paused:
            self._deadline.set(self._core.client_body_timeout)
        else:
            self._deadline.clear()

    # -- for the stream ----------------------------------------------------

    def may_go_on(self, head: RequestHead, core: CoreOptions) -> bool:
        """Whether another request may follow that with *head*, by *core* of its location."""
        return (
            not self.closing
            and not self.draining
            and core.keepalive_timeout > 0
            and self.requests < core.keepalive_requests
            and self._wall() < self.keep_until
            and not (
                (head.method == b"POST" or SAFARI in core.keepalive_disable)
                and is_keep_alive_disabled(
                    core.keepalive_disable, head.method, head.fields.get(b"user-agent")
                )
            )
        )

    def response_ended(self, core: CoreOptions, keep: bool) -> None:
        """The response is complete: the next request, or the end of the connection."""
        self.stream = None
        if not keep or self.closing:
            self._linger(core)
        else:
            self._body_expected = False
            self._next(core.keepalive_timeout)

    def response_broken_off(self, reset: bool) -> None:
        """Close with the response unfinished, without its end and at once; by *reset* or in order.

        Only a reset tells the end of a response without length from that of a whole one.
        """
        self.stream = None
        self._feed = _ignore
        if not self._closed:
            self._end()
            self._deadline.stop()
            transport = cast(Any, self.transport)
            transport.unregisterProducer()
            if reset:
                transport.abortConnection()
            else:
                transport.loseConnection()

    def hold_body(self) -> None:
        """Read nothing until ``release_body``."""
        self._body_held = True
        self._pause()
        self._watch_body()

    def release_body(self) -> None:
        """Read on, unless requests wait behind the one under way."""
        self._body_held = False
        if not self._turn_awaited:
            self._resume()
        self._watch_body()

    def start_tunnel(self, tunnel: ClientTunnel) -> bytes:
        """Everything that comes is *tunnel*'s; returns what has come already."""
        self.stream = None
        self._tunnel = tunnel
        self._feed = tunnel.on_client_data
        rest = self._parser.take_upgrade()
        self._body_expected = False
        self._deadline.clear()
        self._go_on_reading()
        return rest

    # -- for the tunnel ----------------------------------------------------

    def end_writing(self) -> None:
        """Send nothing more; what was written is delivered first. Reading goes on."""
        if self._closed:
            return
        transport = cast(Any, self.transport)
        half_close = getattr(transport, "loseWriteConnection", None)
        if half_close is None:
            self.shut()
        elif not self.writable:
            self._when_writable = self.end_writing
        else:
            self._outbox.flush()
            transport.unregisterProducer()
            half_close()

    # -- reading -----------------------------------------------------------

    def _await_turn(self) -> None:
        """Read nothing until the request under way is answered and its response sent."""
        self._turn_awaited = True
        self._pause()

    def _go_on_reading(self) -> None:
        self._body_held = self._turn_awaited = False
        self._resume()

    def _pause(self) -> None:
        if not self._paused and not self._closed:
            self._paused = True
            cast(Any, self.transport).pauseProducing()

    def _resume(self) -> None:
        if self._paused and not self._closed:
            self._paused = False
            cast(Any, self.transport).resumeProducing()

    # -- ends --------------------------------------------------------------

    def _next(self, seconds: float) -> None:
        """Go on to the next request, once the client has read enough of the last response.

        *seconds* is how long the client may take for it.
        """
        if not self.writable:
            # ``send_timeout`` runs. Responses to what is pipelined must not pile up.
            self._when_writable = lambda: self._next(seconds)
            self._await_turn()
        else:
            self._deadline.set(min(seconds, DRAIN_TIMEOUT) if self.draining else seconds)
            if self._paused:
                self._go_on_reading()
            self._parser.release()

    def _linger(self, core: CoreOptions) -> None:
        """Close; if *core* says so, by reading past what the client still sends, for a while."""
        if self._closed:
            return
        if not self.writable:
            self._when_writable = lambda: self._linger(core)
            return
        wish = core.lingering_close
        unread = self.closing or self._parser.body_pending or self._parser.queued
        if wish == "always" or (wish == "on" and unread):
            self._half_close(core.lingering_time, core.lingering_timeout)
        else:
            self.shut()

    def _half_close(self, seconds: float, timeout: float) -> None:
        """Close the sending side and read past what still comes.

        For *seconds* at most, and for *timeout* from one read to the next.
        """
        transport = cast(Any, self.transport)
        half_close = getattr(transport, "loseWriteConnection", None)
        if half_close is None:
            self.shut()
            return
        self._feed = self._discard
        self._linger_until = self._reactor.seconds() + seconds
        self._linger_timeout = timeout
        self._deadline.set(min(seconds, timeout))
        self._outbox.flush()
        transport.unregisterProducer()
        self._go_on_reading()
        half_close()

    def _discard(self, data: bytes) -> None:
        left = self._linger_until - self._reactor.seconds()
        if left <= 0:
            self.shut()
        else:
            self._deadline.set(min(left, self._linger_timeout))

    def shut(self) -> None:
        """Deliver what was written, then close."""
        self._tunnel = None
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
        idle = self.stream is None and self._tunnel is None and self._parser.idle
        if idle and self._when_writable is None and not self._closed and not self._linger_until:
            self._deadline.set(DRAIN_TIMEOUT)

    def cut(self) -> None:
        """Fast stop: close now."""
        if self.transport is not None:
            cast(Any, self.transport).abortConnection()

    def _timed_out(self) -> None:
        cuts = self.stream is not None or self._closed or not self.writable
        self._lose_stream()
        self._feed = _ignore
        if cuts:
            self._end()
            cast(Any, self.transport).abortConnection()
        elif self.draining and not self._linger_until:
            self._half_close(DRAIN_TIMEOUT, DRAIN_TIMEOUT)
        else:
            self.shut()


def _ignore(data: object) -> None:
    """Bytes after the end of a connection's use."""
