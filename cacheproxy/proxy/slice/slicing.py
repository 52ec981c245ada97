"""Fetch a large response slice by slice, each cached separately: nginx ``slice``.

A ``Slicing`` is the ``Source`` of a client's exchange. It makes one exchange of its own for
each slice, a ``SliceExchange``, which uses the cache and the origin like any other exchange,
with ``$slice_range`` set, and passes the response to the ``Slicing`` instead of a client.
The first slice decides the head: its 206 becomes a 200 of the whole, or a 206 or 416 for the
client's own Range (RFC 9110 §14). Any other response to the first slice is forwarded unchanged.
The next slice is requested when the client's connection can take more data, so that at most one
is buffered, whatever the size of the file and the speed of the client.

Unlike nginx, a cached slice that does not match the slices before it is removed and requested
again, and a slice that broke off is requested again if an entity-tag can show that it has not
changed. If the response must be aborted after all, the first slice is removed from the cache, so
that the next request starts with a current one.

Source: nginx ``ngx_http_slice_filter_module``; RFC 9110 §14, §15.3.7.
Imports: ``http``, ``policy``, ``proxy`` below it.
"""

from __future__ import annotations

from collections.abc import Callable

from cacheproxy.http.fields import Fields, Pairs
from cacheproxy.http.messages import RequestHead
from cacheproxy.policy.conditional import PRECONDITION_FIELDS, if_range_holds
from cacheproxy.policy.ranges import (
    RangeDecision,
    Ranges,
    Unsatisfiable,
    Whole,
    WholeReason,
    content_range,
    decide_ranges,
)
from cacheproxy.policy.slices import MisfitSlice, SlicePart, first_slice, judge_slice, slice_range
from cacheproxy.proxy.answer.representation import part_of
from cacheproxy.proxy.cache import lookup as caching
from cacheproxy.proxy.exchange.exchange import Exchange
from cacheproxy.proxy.exchange.response import ResponseState
from cacheproxy.proxy.slice.slice_exchange import SliceExchange
from cacheproxy.proxy.upstream import file_copy as store
from cacheproxy.proxy.upstream.relay import Relay

__all__ = ["Slicing", "applies"]

#: Request fields about the client's connection and content, which slices do not send.
_NOT_OF_SLICES = frozenset(
    {b"content-length", b"expect", b"transfer-encoding", b"upgrade"}
)

#: Preconditions, which only the first slice evaluates.
_CONDITIONS = PRECONDITION_FIELDS | {b"if-range"}

#: Response fields that describe the slice and not the whole.
_OF_THE_SLICE = frozenset({b"accept-ranges", b"content-range"})

#: ``$upstream_cache_status`` of responses from the cache.
_FROM_CACHE = frozenset({b"HIT", b"STALE", b"UPDATING"})


def applies(exchange: Exchange) -> bool:
    """Whether the request is answered in slices; the location has ``slice``.

    Unlike in nginx not for methods other than GET and HEAD, for which Range has no
    meaning and a request must not be repeated (RFC 9110 §9.2.2, §14.2), and not with
    content that the origin is to get.
    """
    if exchange.request.method not in (b"GET", b"HEAD"):
        return False
    return exchange.request.head.body_length is None or exchange.request.location.cache is not None


class Slicing:
    """One response to a client, made of slices (``Source``)."""

    __slots__ = (
        "_dropped",
        "_forget_first",
        "_last_part",
        "_offset",
        "_part",
        "_passing_through",
        "_position",
        "_retrying",
        "_running",
        "_size",
        "_slice",
        "_start",
        "_stop",
        "_unsliced",
        "exchange",
    )

    def __init__(self, exchange: Exchange) -> None:
        #: The client's.
        self.exchange = exchange
        self._size = exchange.request.location.proxy.slice
        self._slice: SliceExchange | None = None
        #: Where the current or next slice starts.
        self._start = 0
        self._part: SlicePart | None = None
        #: The last slice that matched.
        self._last_part: SlicePart | None = None
        #: The position in the whole of the slice's next byte.
        self._offset = 0
        #: The range of the whole that is still to be sent to the client.
        self._position = 0
        self._stop = 0
        #: The first response is not a slice and is forwarded.
        self._passing_through = False
        #: The file is empty, so that the request is sent without a range.
        self._unsliced = False
        #: The slice is being requested for the second time.
        self._retrying = False
        self._running = False
        #: Removes the first slice from the cache.
        self._forget_first: Callable[[], None] | None = None
        #: What was dropped while it was being started.
        self._dropped: SliceExchange | None = None

    @property
    def waiting(self) -> bool:
        """Whether the client has got no head yet."""
        return self.exchange.response.state is ResponseState.WAITING

    def start(self) -> None:
        """Ask for the first slice."""
        exchange = self.exchange
        exchange.answer_from(self)
        if self._may_have_range():
            self._start = first_slice(exchange.request.head.fields, self._size)
        self._advance()

    def _may_have_range(self) -> bool:
        exchange = self.exchange
        return (
            exchange.request.method == b"GET"
            and exchange.request.location.core.max_ranges != 0
            and not exchange.response.is_overridden
        )

    # -- asking ------------------------------------------------------------

    def _advance(self) -> None:
        """Request slices as long as they are answered at once and the client can take data."""
        if self._running:
            return
        self._running = True
        exchange = self.exchange
        try:
            while (
                exchange.source is self
                and not exchange.lost
                and self._slice is None
                and (self.waiting or exchange.downstream.writable)
            ):
                self._ask()
                dropped, self._dropped = self._dropped, None
                if dropped is not None:
                    dropped.on_downstream_lost()
        finally:
            self._running = False

    def _ask(self) -> None:
        exchange = self.exchange
        first = self.waiting
        head = exchange.request.head
        fields = head.fields
        dropped = _NOT_OF_SLICES
        if not first and exchange.request.location.cache is not None:
            dropped = dropped | _CONDITIONS
        if not dropped.isdisjoint(fields.names()):
            fields = fields.without(dropped)
        asked = b"" if self._unsliced else slice_range(self._start, self._size)
        made = self._slice = SliceExchange(
            self, asked, RequestHead(exchange.request.method, head.target, head.version, fields)
        )
        if first:
            exchange.request.note_slice(asked)
            made.record.share_attempts(exchange.record)
        if exchange.request.location.cache is not None:
            caching.serve(made)
        elif exchange.request.location.proxy.store:
            store.serve(made)
        else:
            Relay(made).start()

    def _drop(self) -> None:
        """Detach the current slice; it continues only if it is being stored."""
        dropped, self._slice = self._slice, None
        if dropped is None:
            return
        dropped.forget()
        # Not at once: the slice's own exchange is calling.
        if self._running:
            self._dropped = dropped
        else:
            self.exchange.world.scheduler.call_later(0, dropped.on_downstream_lost)

    # -- what a slice's exchange tells -------------------------------------

    def on_head(
        self, made: SliceExchange, pairs: Pairs, length: int | None, reason: bytes | None
    ) -> None:
        """The head of the slice under way has come."""
        exchange = self.exchange
        first = self.waiting
        if first:
            self._take_over(made)
            if made.response.status != 206 or made.is_range_of_full or self._unsliced:
                self._pass_on(made, pairs, length, reason)
                return
        fields = Fields(pairs)
        status = 200 if made.is_range_of_full else made.response.status
        part = judge_slice(status, fields, self._start, self._size, self._last_part)
        if (
            isinstance(part, SlicePart)
            and made.response.has_body
            and length is not None
            and length != part.stop - part.start
        ):
            part = MisfitSlice(f"unexpected length in slice response: {length}")
        if isinstance(part, MisfitSlice):
            self._refuse(made, part)
            return
        self._last_part = self._part = part
        self._offset = part.start
        if first:
            self._forget_first = caching.stored_response_remover(made)
            self._begin(fields, part)
        elif exchange.response.state is not ResponseState.BODY:
            self._drop()

    def _take_over(self, made: SliceExchange) -> None:
        """Copy what variables read from the first slice to the client's exchange."""
        exchange = self.exchange
        exchange.record.take_answer(made.record)
        exchange.request.note_proxy_host(made.request.proxy_host)
        exchange.response.share_kept_fields(made.response)

    def _pass_on(
        self, made: SliceExchange, pairs: Pairs, length: int | None, reason: bytes | None
    ) -> None:
        exchange = self.exchange
        fields = made.record.upstream_fields
        if fields is None or b"content-range" not in fields:
            exchange.request.note_slice(b"")
        empty = not self._start or Fields(pairs).get(b"content-range") == b"bytes */0"
        if made.response.status == 416 and empty and not self._unsliced:
            # The file is empty: no range of it can be requested.
            self._unsliced = True
            self._drop()
            self._advance()
            return
        self._passing_through = True
        exchange.response.take_coding(made.response)
        exchange.begin(made.response.status, pairs, length, reason)
        made.response.share_compression(exchange.response)

    def _begin(self, fields: Fields, part: SlicePart) -> None:
        """Send the head of the whole, or of the client's range of it."""
        exchange = self.exchange
        total = part.total
        kept = fields.without(_OF_THE_SLICE)
        decision = self._decide(kept, total)
        if isinstance(decision, Unsatisfiable):
            self._drop()
            exchange.answer_status(416, [(b"Content-Range", decision.content_range)])
            return
        if isinstance(decision, Ranges):
            self._position, self._stop = decision.ranges[0]
            described = content_range(self._position, self._stop, total)
            pairs = part_of(exchange.request, kept.pairs, total, described)
            exchange.begin(206, pairs, self._stop - self._position)
        else:
            self._stop = total
            pairs = kept.pairs
            if self._may_have_range() or exchange.request.method == b"HEAD":
                pairs = [*pairs, (b"Accept-Ranges", b"bytes")]
            exchange.begin(200, pairs, total)
        if not exchange.response.has_body:
            self._end()
        elif not part.start <= self._position < part.stop:
            # A range from the end, whose start was unknown before.
            self._start = self._position // self._size * self._size
            self._drop()
            self._advance()

    def _decide(self, fields: Fields, total: int) -> RangeDecision:
        exchange = self.exchange
        head = exchange.request.head
        value = head.fields.get(b"range")
        if (
            value is None
            or not self._may_have_range()
            or exchange.would_gzip(200, fields, total)
            or not if_range_holds(head, fields)
        ):
            return Whole(WholeReason.NO_RANGE)
        # Many ranges, however short, would each cost a slice.
        return decide_ranges(value, total, 1)

    def needed_range(self, length: int) -> tuple[int, int]:
        """Which bytes of the current slice, which is in the cache, the client needs."""
        part = self._part
        if self._passing_through or part is None or length != part.stop - part.start:
            return 0, length
        start = max(0, self._position - part.start)
        self._offset = part.start + start
        return start, min(length, self._stop - part.start)

    def on_body(self, data: bytes) -> None:
        """Bytes of the slice under way, or of what is passed on."""
        exchange = self.exchange
        if self._passing_through:
            exchange.send_body(data)
            return
        part = self._part
        assert part is not None
        at = self._offset
        self._offset = after = at + len(data)
        if after > part.stop:
            data = data[: part.stop - at]
            after = part.stop
        skipped = self._position - at
        if skipped > 0:
            data = data[skipped:]
        if after > self._stop:
            data = data[: self._stop - after]
        if data:
            self._position += len(data)
            exchange.send_body(data)
            if self._position >= self._stop:
                self._end()

    def _end(self) -> None:
        """The client has everything."""
        exchange = self.exchange
        self._drop()
        exchange.request.note_slice(b"")
        exchange.end()

    def on_end(self, trailers: Fields | None) -> None:
        """The slice under way has ended."""
        self._slice = None
        if self._passing_through:
            self.exchange.end(trailers)
            return
        part = self._part
        if part is None or self._offset != part.stop:
            self.on_abort()
            return
        self._part = None
        self._retrying = False
        self._start = part.stop
        self._advance()

    def on_abort(self) -> None:
        """The slice under way, or what is passed on, broke off."""
        self._slice = self._part = None
        known = self._last_part
        if self._passing_through:
            self.exchange.abort()
        elif self._retrying or known is None or known.etag is None:
            self._give_up("missing slice response", outdated=False)
        else:
            self._retrying = True
            self._advance()

    def on_status(self, made: SliceExchange, status: int, extra: Pairs | None) -> None:
        """The current slice was answered here with *status*."""
        self._slice = None
        if self.waiting:
            self._take_over(made)
            self.exchange.request.note_slice(b"")
            self.exchange.answer_status(status, extra)
        else:
            self._give_up(
                f"unexpected status code {status} in slice response", outdated=status < 500
            )

    def on_redirect(self, made: SliceExchange) -> bool:
        """Whether the client is sent to where the first slice's answer names (X-Accel-Redirect)."""
        self._slice = None
        if not self.waiting:
            self._give_up("unexpected redirection in slice response", outdated=True)
            return False
        self._take_over(made)
        exchange = self.exchange
        exchange.request.note_slice(b"")
        exchange.clear_source()
        exchange.request.take_method(made.request)
        return True

    # -- slices that do not fit --------------------------------------------

    def _refuse(self, made: SliceExchange, misfit: MisfitSlice) -> None:
        """Request a mismatching slice again if it came from the cache; otherwise give up."""
        cached = made.record.cache_status in _FROM_CACHE
        forget = caching.stored_response_remover(made) if cached else None
        self._drop()
        if self._retrying or forget is None or made.response.status != 206:
            self._give_up(misfit.reason, misfit.outdated)
            return
        forget()
        self._retrying = True
        self._advance()

    def _give_up(self, reason: str, outdated: bool) -> None:
        exchange = self.exchange
        exchange.log_error("error", reason)
        if self.waiting:
            exchange.request.note_slice(b"")
            exchange.answer_status(502)
            return
        if outdated and self._forget_first is not None:
            self._forget_first()
        exchange.request.note_slice(b"")
        exchange.abort()

    # -- Source ------------------------------------------------------------

    def on_writable(self) -> None:
        """The client can take more."""
        if self._slice is not None:
            self._slice.on_writable()
        else:
            self._advance()

    def on_downstream_lost(self) -> None:
        """The client has disconnected: a slice that is being stored is completed."""
        made, self._slice = self._slice, None
        if made is not None:
            made.forget()
            made.on_downstream_lost()
