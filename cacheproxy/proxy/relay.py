"""Relaying: one request to an upstream, and its response back to the client.

A ``Relay`` makes attempts: it picks a peer, gets a connection, sends the request
(rendered once), and takes the response's head. Until that head has come, an
attempt that fails may be followed by another (``policy.retry``). Then a
``Delivery`` takes the response to the client.

A cache rides along as a ``ResponseTaker`` (``caching``), which may give the request
conditional fields, answer the response's head itself, and have the body stored. The
relay goes on without a client while something is being stored (nginx does the
same), else it stops.

Source: nginx ``ngx_http_upstream.c``; RFC 9110 §7.6, §15.2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

from cacheproxy.errors import ProtocolError, Stage, UpstreamError
from cacheproxy.http.encode import encode_chunk, encode_field_lines, join_request_head
from cacheproxy.http.fields import Fields
from cacheproxy.http.messages import ResponseHead
from cacheproxy.http.target import parse_internal, split_url
from cacheproxy.http.upgrade import answers_handshake, is_websocket_handshake
from cacheproxy.policy.combining import Union
from cacheproxy.policy.retry import (
    Attempt,
    condition_of_error,
    condition_of_status,
    decide_next_upstream,
    may_retry_fresh,
)
from cacheproxy.policy.routing import proxy_uri
from cacheproxy.proxy.body import RequestBody
from cacheproxy.proxy.counted import counted
from cacheproxy.proxy.delivery import READ_ON, Delivery
from cacheproxy.proxy.interfaces import (
    Cancellable,
    Entry,
    UpstreamChoice,
    UpstreamPeer,
    UpstreamStream,
)
from cacheproxy.proxy.records import UpstreamRecord
from cacheproxy.proxy.splice import Splice

if TYPE_CHECKING:
    from cacheproxy.proxy.exchange import Exchange

__all__ = ["Relay", "ResponseTaker"]

T = TypeVar("T")

LAST_CHUNK = b"0\r\n\r\n"

#: Fields that ask whether what is stored still holds.
_VALIDATION = frozenset({b"if-modified-since", b"if-none-match"})

Pairs = list[tuple[bytes, bytes]]


class ResponseTaker(Protocol):
    """What rides along a relay to store, replace or note its response (``caching``)."""

    @property
    def converts_head(self) -> bool:
        """Whether HEAD is sent as GET."""

    @property
    def answers_conditions(self) -> bool:
        """Whether preconditions and ranges are answered here, and not by the origin."""

    @property
    def fills(self) -> bool:
        """Whether the response may be stored, so that it is worth reading without a client."""

    def on_response(self, relay: Relay, head: ResponseHead) -> bool:
        """The head has come; True if the relay is not to send the response on."""

    def on_failure(self, relay: Relay, status: int, problem: UpstreamError | None) -> bool:
        """No response could be had; True if something else answers."""

    def on_fill_end(self, complete: bool) -> None:
        """The relay has ended."""


class Relay:
    """One proxied request (``UpstreamSink``, ``Source``, ``BodyTarget``)."""

    __slots__ = (
        "_address",
        "_attempt",
        "_body",
        "_choice",
        "_chunked_request",
        "_fresh_retry_used",
        "_head",
        "_method",
        "_now",
        "_on_end",
        "_peer",
        "_record",
        "_request_body",
        "_started",
        "_stream",
        "_tried",
        "_tries",
        "cache",
        "conditional",
        "counts",
        "delivery",
        "exchange",
        "finished",
        "request",
        "splice",
    )

    def __init__(self, exchange: Exchange, cache: ResponseTaker | None = None) -> None:
        self.exchange = exchange
        self.cache = cache
        #: The response under way; None until a final head has come.
        self.delivery: Delivery | None = None
        #: Fields that ask the upstream to validate a stored response.
        self.conditional: Pairs = []
        #: What the response is put together by, where a part of it is stored.
        self.splice: Splice | None = None
        #: What is passed on of the client's request; a cache leaves out what does not count
        #: (``proxy.counted``), and with *counts* so it is with the query.
        self.request = exchange.head
        self.counts = False
        self.finished = False
        self._attempt: Cancellable | None = None
        self._stream: UpstreamStream | None = None
        self._choice: UpstreamChoice | None = None
        self._peer: UpstreamPeer | None = None
        self._address = ""
        self._record: UpstreamRecord | None = None
        self._head = b""
        self._method = b""
        #: What is sent behind the head: the body where memory holds all of it.
        self._body: bytes | None = None
        self._request_body: RequestBody | None = None
        self._chunked_request = False
        self._tried: frozenset[str] = frozenset()
        self._tries = 0
        self._fresh_retry_used = False
        #: Called at the response's end in place of ending the exchange.
        self._on_end: Callable[[], None] | None = None
        self._now = exchange.world.scheduler.monotonic
        self._started = 0.0

    # -- the request -------------------------------------------------------

    def start(self) -> None:
        """Choose where to, collect the body if it is to be collected, and send."""
        exchange = self.exchange
        exchange.source = self
        proxy = exchange.location.proxy
        try:
            uri = self._as_counted(self._resolve)
        except (ProtocolError, UpstreamError) as problem:
            exchange.log_error("error", problem.message)
            self._give_up(500)
            return
        template = proxy.method
        self._method = exchange.method
        if template is not None:
            self._method = self._as_counted(lambda: template.render(exchange)).upper()
        if self.cache is not None and self._method == b"HEAD" and self.cache.converts_head:
            self._method = b"GET"
        length = exchange.head.body_length
        if length is not None and proxy.pass_request_body and self._takes_body():
            self._request_body = exchange.take_body()
        body = self._request_body
        if body is not None and body.streaming and not body.replayable:
            # An attempt in another location has sent part of it already.
            self._give_up(502)
            return
        set_body = proxy.set_body
        if set_body is not None:
            self._body = self._as_counted(lambda: set_body.render(exchange))
            self._send_with(uri, len(self._body))
        elif body is None:
            # An empty body that the client declared stays declared: some origins ask for it.
            declared = b"content-length" in exchange.head.fields and proxy.pass_request_body
            self._send_with(uri, 0 if declared and self._takes_body() else None)
        elif proxy.request_buffering or (body.length < 0 and proxy.http_version == "1.0"):
            body.when_whole(lambda: self._send_with(uri, body.received))
        else:
            body.streaming = True
            self._chunked_request = body.length < 0
            self._send_with(uri, body.length)

    def _as_counted(self, make: Callable[[], T]) -> T:
        """What *make* makes of the exchange, with the query that is to be sent."""
        return counted(self.exchange, lambda _: make()) if self.counts else make()

    def _takes_body(self) -> bool:
        method = self.exchange.method
        if method != self.exchange.head.method:
            return False  # it belonged to the request that an error page stands in for
        # A cached answer stands for a GET without content (RFC 9110 §9.3.1).
        return self.cache is None or method not in (b"GET", b"HEAD")

    def _resolve(self) -> bytes:
        """Find the upstream group; returns the request-target to send."""
        exchange = self.exchange
        location = exchange.location
        target = location.proxy.proxy_pass
        assert target is not None
        if target.template is None:
            self._choice = location.upstream
            exchange.proxy_host = None
            replacement = target.uri
        else:
            scheme, authority, uri = split_url(target.template.render(exchange))
            ssl = location.proxy.ssl if scheme == b"https" else None
            self._choice = exchange.world.resolve_upstream(scheme, authority, ssl)
            exchange.proxy_host = authority
            if uri:
                return uri
            replacement = None
        route = exchange.route
        return proxy_uri(
            location.location.pattern,
            replacement,
            route.uri,
            None if exchange.uri_changed else route.target.path,
            route.args if route.has_args else None,
        )

    def _send_with(self, uri: bytes, length: int | None) -> None:
        exchange = self.exchange
        location = exchange.location
        cache = self.cache
        if cache is not None and cache.answers_conditions:
            rewriter = location.request_rewriter
        else:
            rewriter = location.request_rewriter_uncached
        assert rewriter is not None
        own = self.conditional
        if own:
            # As in nginx proxy_set_header has the last word, also on what is asked.
            said = {name.lower() for name, _ in location.proxy.set_header} & _VALIDATION
            own = [pair for pair in own if pair[0].lower() not in said]
        if length is not None:
            if self._chunked_request:
                own = [(b"Transfer-Encoding", b"chunked"), *own]
            elif length or exchange.method not in (b"GET", b"HEAD"):
                own = [(b"Content-Length", b"%d" % length), *own]
        version = 10 if location.proxy.http_version == "1.0" else 11
        try:
            if location.proxy.websocket and is_websocket_handshake(exchange.head):
                names = (b"connection", b"upgrade")
                pairs = self._as_counted(lambda: rewriter.render(exchange, self.request))
                pairs = [pair for pair in pairs if pair[0].lower() not in names]
                pairs += [*own, (b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")]
                lines = encode_field_lines(pairs)
            else:
                lines = self._as_counted(lambda: rewriter.encode(exchange, self.request))
                if own:
                    lines += encode_field_lines(own)
            self._head = join_request_head(self._method, uri, lines, version)
        except ValueError:
            # A variable brought a line break into the request.
            self._give_up(400)
            return
        body = self._request_body
        if body is not None and not body.streaming and self._body is None:
            self._body = body.in_memory()
        self._try()

    def _try(self, fresh: bool = False) -> None:
        """Make an attempt; *fresh* asks for a connection that was never used."""
        exchange = self.exchange
        choice = self._choice
        assert choice is not None
        if not fresh or self._peer is None:
            picked = choice.pick(self._tried)
            if picked is None:
                message = f'no live upstreams while connecting to "{choice.name}"'
                exchange.log_error("error", message)
                exchange.upstream_records.append(UpstreamRecord(choice.name, self._now()))
                self._give_up(502)
                return
            self._address, self._peer = picked
        record = self._record = UpstreamRecord(self._address, self._now())
        if not self._tries:
            self._started = record.started
        self._tries += not fresh
        exchange.upstream_records.append(record)
        proxy = exchange.location.proxy
        self._attempt = self._peer.acquire(
            self, proxy.connect_timeout, proxy.send_timeout, proxy.read_timeout, fresh
        )

    def on_connected(self, stream: UpstreamStream) -> None:
        self._attempt = None
        self._stream = stream
        record = self._record
        assert record is not None
        record.connect_time = 0.0 if stream.reused else self._now() - record.started
        if self.exchange.location.proxy.socket_keepalive:
            stream.probe_idle()
        body = self._request_body
        if self._body is not None:
            record.bytes_sent = len(self._head) + len(self._body)
            stream.send_request(self._method, self._head + self._body, True)
        elif body is None:
            record.bytes_sent = len(self._head)
            stream.send_request(self._method, self._head, True)
        else:
            record.bytes_sent = len(self._head)
            stream.send_request(self._method, self._head, False)
            body.send_to(self)

    # -- BodyTarget: the request's body to the upstream --------------------

    @property
    def takes_body(self) -> bool:
        return self._stream is not None and self._stream.writable

    def on_body_piece(self, data: bytes, complete: bool) -> None:
        stream, record = self._stream, self._record
        if stream is None or record is None:
            return
        if self._chunked_request:
            data = (encode_chunk(data) if data else b"") + (LAST_CHUNK if complete else b"")
        record.bytes_sent += len(data)
        stream.send_body(data, complete)

    def on_body_failed(self) -> None:
        self._drop_stream()
        self.exchange.log_error("crit", "the request body's temporary file failed")
        self._give_up(500)

    def on_upstream_writable(self) -> None:
        if self._request_body is not None:
            self._request_body.on_target_writable()

    # -- UpstreamSink: the response ----------------------------------------

    def on_informational(self, head: ResponseHead) -> None:
        # RFC 9110 §15.2: 1xx are relayed, apart from 100, which was for us.
        exchange = self.exchange
        if head.status != 100 and exchange.head.version >= 11 and not exchange.lost:
            rewriter = exchange.location.response_rewriter
            assert rewriter is not None
            exchange.downstream.send_informational(head.status, rewriter.render(head))

    def on_response(self, head: ResponseHead) -> None:
        exchange = self.exchange
        record = self._record
        assert record is not None
        record.status = head.status
        record.header_time = self._now() - record.started
        if head.status >= 403 and self._retries_status(head.status):
            self._drop_stream()
            # A client's fault, or a limit, does not speak against the peer.
            self._end_attempt(failed=head.status not in (403, 404, 429))
            self._tried |= {self._address}
            self._try()
            return
        assert self._choice is not None
        self._choice.succeeded(self._address)
        exchange.upstream_fields = head.fields
        if head.status == 101:
            self._switch(head)
            return
        delivery = self.delivery = Delivery(exchange, self._stream)
        if self.cache is not None and self.cache.on_response(self, head):
            if delivery.writer is None and self._on_end is None and not self.finished:
                self._drop_unwanted(delivery)
        elif self.goes_elsewhere(head):
            self._go_elsewhere(head)
        elif not exchange.location.proxy.force_ranges or not delivery.answer_range(head):
            delivery.begin(head)
        elif delivery.muted and delivery.writer is None:
            self._discard_for_all()
        if delivery.tail > READ_ON:
            # Set here alone, because it makes a cycle of the two.
            delivery.on_enough = self._discard_for_all

    def _drop_unwanted(self, delivery: Delivery) -> None:
        """Nobody stores the response: unless the client still reads, let it go."""
        if delivery.muted or self.exchange.lost:
            self._discard_for_all()

    def _discard_for_all(self) -> None:
        """Nobody gets the response, those who wait for it to be stored included."""
        self.discard_response()
        if self.cache is not None:
            self.cache.on_fill_end(False)

    def goes_elsewhere(self, head: ResponseHead) -> bool:
        """Whether something else answers than the response: a place it names, or an error page."""
        exchange = self.exchange
        return self._names_another(head) or (
            exchange.location.proxy.intercept_errors
            and head.status >= 300
            and head.status in exchange.location.error_pages
        )

    def _names_another(self, head: ResponseHead) -> bool:
        ignored = self.exchange.location.proxy.ignore_headers
        return b"x-accel-redirect" in head.fields and b"x-accel-redirect" not in ignored

    def _go_elsewhere(self, head: ResponseHead) -> None:
        if self._names_another(head):
            self._accel_redirect(head)
        else:
            self._discard_for_all()
            self.exchange.answer_status(head.status)

    def on_response_body(self, data: bytes) -> None:
        if self._record is not None:
            self._record.body_received += len(data)
        if self.splice is not None:
            self.splice.take(data)
        elif self.delivery is not None:
            self.delivery.feed(data)

    def on_response_end(self, trailers: Fields | None) -> None:
        self._let_go()
        self._end_attempt(failed=False)
        if self.splice is not None:
            self.splice.take_end()
        else:
            self.end_response(trailers)

    def end_response(self, trailers: Fields | None) -> None:
        """The response has come to its end, whatever it was made of."""
        delivery = self.delivery
        assert delivery is not None
        self.exchange.upstream_trailers = trailers
        self.finished = True
        if delivery.writer is not None:
            delivery.finish_store(complete=True)
        if self.cache is not None:
            self.cache.on_fill_end(True)
        if self._on_end is not None:
            self._on_end()
        else:
            delivery.finish(trailers)

    def on_upstream_error(self, problem: UpstreamError) -> None:
        exchange = self.exchange
        self._attempt = None
        self._let_go()
        if self._request_body is not None:
            self._request_body.detach()
        if self.delivery is not None:
            self._fail_midway(problem, self.delivery)
            return
        if self._record is not None:
            self._record.status = problem.status
        retry = self._retry(problem)
        exchange.log_error("error", f"{problem.message} while {_doing(problem)} upstream")
        if retry == "same":
            self._fresh_retry_used = True
            self._end_attempt(failed=False, release=False)
            self._try(fresh=True)
        elif retry == "next":
            self._end_attempt(failed=True)
            self._tried |= {self._address}
            self._try()
        else:
            self._end_attempt(failed=True)
            self._give_up(problem.status, problem)

    # -- retries -----------------------------------------------------------

    def _retry(self, problem: UpstreamError) -> str:
        """"same": again on a fresh connection; "next": another peer; "": give up."""
        method = self.exchange.method
        if not self._fresh_retry_used and may_retry_fresh(problem, method, self._replayable()):
            return "same"
        condition = condition_of_error(problem)
        return "next" if self._next_upstream(condition, problem.request_sent) else ""

    def _retries_status(self, status: int) -> bool:
        condition = condition_of_status(status)
        return condition is not None and self._next_upstream(condition, True)

    def _next_upstream(self, condition: str, request_sent: bool) -> bool:
        assert self._choice is not None
        attempt = Attempt(
            self.exchange.method,
            request_sent,
            self._tries,
            self._choice.size - len(self._tried | {self._address}),
            self._now() - self._started,
            self._replayable(),
        )
        return decide_next_upstream(self.exchange.location.proxy, condition, attempt).retry

    def _replayable(self) -> bool:
        body = self._request_body
        return body is None or body.replayable

    def _end_attempt(self, *, failed: bool, release: bool = True) -> None:
        record, choice = self._record, self._choice
        if record is None or choice is None:
            return
        self._record = None
        record.response_time = self._now() - record.started
        if failed:
            choice.failed(self._address)
        if release:
            choice.finished(self._address)

    # -- ends --------------------------------------------------------------

    def _give_up(self, status: int, problem: UpstreamError | None = None) -> None:
        self.finished = True
        if self.cache is not None and self.cache.on_failure(self, status, problem):
            return
        if self.exchange.lost:
            self._close_exchange()
        else:
            self.exchange.answer_status(status)

    def _fail_midway(self, problem: UpstreamError, delivery: Delivery) -> None:
        self._end_attempt(failed=True)
        self.finished = True
        if self.splice is not None:
            self.splice.close()
        delivery.finish_store(complete=False)
        if self.cache is not None:
            self.cache.on_fill_end(False)
        self.exchange.log_error("error", f"{problem.message} while reading upstream")
        if self._on_end is not None:
            self.exchange.answer_status(502)
        elif not self.exchange.lost:
            delivery.fail()

    def splice_with(self, entry: Entry, union: Union) -> None:
        """Put the response together with the stored part *entry*, once the delivery is ready."""
        delivery, stream = self.delivery, self._stream
        assert delivery is not None and stream is not None
        self.splice = Splice(self, delivery, entry, union, stream)
        delivery.held_up_at(self.splice)

    def break_off(self, message: str) -> None:
        """What is being sent cannot be brought to its end: nothing of it may look whole."""
        delivery = self.delivery
        assert delivery is not None
        self.discard_response()
        if self.cache is not None:
            self.cache.on_fill_end(False)
        self.exchange.log_error("error", message)
        if not self.exchange.lost:
            delivery.fail()

    def take_over(self, on_end: Callable[[], None]) -> None:
        """The cache answers itself, once this response has ended."""
        self._on_end = on_end

    def _accel_redirect(self, head: ResponseHead) -> None:
        """``X-Accel-Redirect``: the application names another place that answers."""
        exchange = self.exchange
        self._discard_for_all()
        exchange.told = b""
        uri = head.fields.get(b"x-accel-redirect") or b""
        exchange.accel_fields = [
            pair for pair in head.fields.pairs if pair[0].lower() in _ACCEL_KEPT
        ]
        if uri.startswith(b"@"):
            exchange.enter_named(uri)
            return
        try:
            path, args = parse_internal(uri)
        except ProtocolError as problem:
            exchange.log_error("error", problem.message)
            exchange.answer_status(problem.status)
            return
        if exchange.method != b"HEAD":
            exchange.method = b"GET"
        exchange.internal_redirect(path, args)

    def _close_exchange(self) -> None:
        exchange = self.exchange
        exchange.source = None
        if exchange.body is not None:
            exchange.body.close()

    def _drop_stream(self) -> None:
        if self._request_body is not None:
            self._request_body.detach()
        if self._attempt is not None:
            self._attempt.cancel()
            self._attempt = None
        if self.splice is not None:
            self.splice.close()
        stream = self._let_go()
        if stream is not None:
            stream.abort()

    def _let_go(self) -> UpstreamStream | None:
        """The stream is not ours any more; what came over it is noted."""
        stream, self._stream = self._stream, None
        if stream is not None and self._record is not None:
            self._record.bytes_received = stream.bytes_received
        return stream

    def discard_response(self) -> None:
        """The response is not wanted: let go of the upstream, and of what was to be stored."""
        self._drop_stream()
        if self.delivery is not None:
            self.delivery.finish_store(complete=False)
        self._end_attempt(failed=False)
        self.finished = True

    # -- Source: the client ------------------------------------------------

    def on_writable(self) -> None:
        if self.delivery is not None:
            self.delivery.on_writable()

    def on_downstream_lost(self) -> None:
        delivery = self.delivery
        if delivery is not None:
            delivery.on_downstream_lost()
        if self.finished or self._goes_on_alone(delivery):
            return
        self._drop_stream()
        self._end_attempt(failed=False)
        self.finished = True
        if delivery is not None:
            delivery.finish_store(complete=False)
        if self.cache is not None:
            self.cache.on_fill_end(False)

    def _goes_on_alone(self, delivery: Delivery | None) -> bool:
        """Whether the upstream is read on although the client has gone: for what is stored."""
        body = self._request_body
        if body is not None and not body.complete:
            return False
        if delivery is None:
            wanted = self.cache is not None and self.cache.fills
        else:
            wanted = delivery.writer is not None
        return wanted or self.exchange.location.proxy.ignore_client_abort

    # -- upgrade -----------------------------------------------------------

    def _switch(self, head: ResponseHead) -> None:
        """101: both connections carry bytes from now on (RFC 9110 §7.8)."""
        exchange = self.exchange
        asked = b"upgrade" in exchange.head.fields and b"\r\nupgrade:" in self._head.lower()
        if not asked or not answers_handshake(exchange.head, head):
            # Nobody asked for it (the client did not, or was not passed on), or it proves nothing.
            exchange.log_error("error", "upstream switched protocols without being asked to")
            self._drop_stream()
            self._end_attempt(failed=True)
            self._give_up(502)
            return
        rewriter = exchange.location.response_rewriter
        assert rewriter is not None
        pairs = rewriter.render(head)
        upgrade = head.fields.get(b"upgrade") or b"websocket"
        pairs += [(b"Connection", b"upgrade"), (b"Upgrade", upgrade)]
        stream = self._stream
        assert stream is not None
        self._stream = None
        self.finished = True
        exchange.switch(pairs, head.reason, stream)
        self._end_attempt(failed=False)


#: Fields of the response that named another place which are kept for that one.
_ACCEL_KEPT = frozenset(
    {
        b"accept-ranges",
        b"cache-control",
        b"content-disposition",
        b"content-type",
        b"expires",
        b"set-cookie",
    }
)

def _doing(problem: UpstreamError) -> str:
    if problem.stage in (Stage.CONNECT, Stage.TLS):
        return "connecting to"
    if problem.stage is Stage.SEND:
        return "sending request to"
    return "reading response header from"
