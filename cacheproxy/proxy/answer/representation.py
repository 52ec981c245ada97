"""Answering from a complete representation: preconditions, ranges, gzip, then the body.

Static files and stored responses are both complete, so both go out this way:
304 and 412 (RFC 9110 §13.2.2), 206 and 416 (§14), the gzip variant of a stored
response, and a body that is either in memory or read as the client takes it.

One rule for ranges and compression holds for files, hits, misses and responses that are
followed (docs/caching.rst): a response that ``gzip`` compresses for the client is sent
whole, whether it is compressed now or was when it was stored, as in nginx; ranges are
those of the plain form. A 206 and a 304 have the fields that their 200 would have
(``exchange.compression``), so Vary says that there is another form.

Imports: ``http``, ``policy``, ``proxy.interfaces``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from cacheproxy.errors import StorageError
from cacheproxy.http.fields import Fields, Pairs
from cacheproxy.http.messages import ResponseHead
from cacheproxy.policy.conditional import Precondition, evaluate_preconditions, if_range_holds
from cacheproxy.policy.partial import Slice
from cacheproxy.policy.ranges import (
    Ranges,
    Unsatisfiable,
    content_range,
    decide_ranges,
    may_be_ranged,
    multipart,
)
from cacheproxy.policy.reuse import STEERING_FIELDS
from cacheproxy.proxy.exchange.compression import head_of_200, head_of_206
from cacheproxy.proxy.interfaces import BodyReader, BodySink
from cacheproxy.proxy.site.context import TemplateContext

if TYPE_CHECKING:
    from cacheproxy.proxy.exchange.exchange import Exchange

__all__ = [
    "Readable",
    "ReaderSource",
    "Representation",
    "add_cache_status",
    "asked_ranges",
    "not_modified",
    "part_of",
    "send",
    "send_part",
]

#: Fields that describe content, which a 304 has none of (RFC 9110 §15.4.5).
_CONTENT_FIELDS = frozenset(
    {
        b"accept-ranges",
        b"content-encoding",
        b"content-length",
        b"content-range",
        b"content-type",
    }
)


class Readable(Protocol):
    """A stored body or an open file."""

    def read(self, sink: BodySink, start: int, stop: int) -> BodyReader: ...


class Representation:
    """A status, fields and a body of known length. *pairs* are what is sent, *fields* the same.

    The *length* of an answer to HEAD that was stored as such may be unknown: None.
    """

    __slots__ = (
        "body",
        "fields",
        "judged",
        "length",
        "pairs",
        "readable",
        "reason",
        "received",
        "status",
    )

    def __init__(
        self,
        status: int,
        reason: bytes | None,
        pairs: Pairs,
        fields: Fields,
        length: int | None,
        readable: Readable,
        body: bytes | None = None,
        received: float | None = None,
        judged: Fields | None = None,
    ) -> None:
        self.status = status
        self.reason = reason
        self.pairs = pairs
        self.fields = fields
        self.length = length
        self.readable = readable
        self.body = body
        #: When it was stored (wall seconds), for validation without validators.
        self.received = received
        #: What preconditions are judged by: the fields before compression, as in nginx, where
        #: what compresses comes later. So it is for what is compressed as it is sent.
        self.judged = fields if judged is None else judged


def send(exchange: Exchange, it: Representation) -> None:
    """Answer the exchange's request from a complete representation."""
    asked = exchange.request.head.fields.names()
    if not STEERING_FIELDS.isdisjoint(asked) and (
        _answer_precondition(exchange, it) or _answer_ranges(exchange, it)
    ):
        return
    body = getattr(it.readable, "content", None) if it.body is None else it.body
    exchange.begin(it.status, it.pairs, it.length, it.reason)
    if not exchange.response.has_body or not it.length:
        _close(it)
        exchange.end()
        return
    start, stop = exchange.needed_range(it.length)
    if body is not None:
        exchange.send_body(body[start:stop])
        _close(it)
        exchange.end()
    else:
        BodySource(exchange, it.readable, [(b"", start, stop)], b"").start()


def send_part(exchange: Exchange, pairs: Pairs, readable: Readable, piece: Slice) -> None:
    """Answer 206 with *piece* of a stored part, whose fields are *pairs*."""
    length = piece.stop - piece.start
    described = content_range(piece.first, piece.first + length, piece.total)
    exchange.begin(206, part_of(exchange.request, pairs, piece.total, described), length)
    BodySource(exchange, readable, [(b"", piece.start, piece.stop)], b"").start()


def add_cache_status(exchange: Exchange, value: bytes, head: ResponseHead) -> None:
    """Have Cache-Status end with *value*, after what caches nearer to the origin say in *head*.

    Source: RFC 9211 §2.
    """
    theirs = None
    if b"cache-status" not in exchange.request.location.proxy.hide_header:
        theirs = head.fields.combined(b"cache-status")
    exchange.response.say_cache_status(value if theirs is None else theirs + b", " + value)


def _answer_precondition(exchange: Exchange, it: Representation) -> bool:
    outcome = evaluate_preconditions(
        exchange.request.head,
        it.status,
        it.judged,
        if_modified_since=exchange.request.location.core.if_modified_since,
        received=it.received,
    )
    if outcome is Precondition.PROCEED:
        return False
    _close(it)
    if outcome is Precondition.NOT_MODIFIED:
        exchange.begin(304, not_modified(exchange.request, it.pairs, it.length), None)
        exchange.end()
    else:
        exchange.answer_status(412)
    return True


def asked_ranges(
    exchange: Exchange, status: int, fields: Fields, length: int
) -> Ranges | Unsatisfiable | None:
    """The ranges that the request is to get of a representation; None for all of it."""
    head = exchange.request.head
    value = head.fields.get(b"range")
    if value is None or exchange.request.method != b"GET" or status != 200:
        return None
    if exchange.response.gzipped or exchange.would_gzip(status, fields, length):
        return None
    if not if_range_holds(head, fields):
        return None
    if not may_be_ranged(fields, exchange.request.location.proxy.force_ranges):
        return None
    decision = decide_ranges(value, length, exchange.request.location.core.max_ranges)
    return decision if isinstance(decision, Ranges | Unsatisfiable) else None


def _answer_ranges(exchange: Exchange, it: Representation) -> bool:
    if it.length is None:
        return False
    decision = asked_ranges(exchange, it.status, it.fields, it.length)
    if isinstance(decision, Unsatisfiable):
        _close(it)
        exchange.answer_status(416, [(b"Content-Range", decision.content_range)])
        return True
    if decision is None:
        return False
    if len(decision.ranges) == 1:
        start, stop = decision.ranges[0]
        described = content_range(start, stop, it.length)
        pairs = part_of(exchange.request, it.pairs, it.length, described)
        exchange.begin_ranges(pairs, stop - start)
        parts, trailer = [(b"", start, stop)], b""
    else:
        boundary = exchange.world.random_bytes(12).hex().encode()
        kind = it.fields.get(b"content-type")
        plan = multipart(decision.ranges, it.length, kind, boundary)
        pairs = head_of_206(exchange.request, it.pairs, it.length)
        pairs = [pair for pair in pairs if pair[0].lower() != b"content-type"]
        pairs.append((b"Content-Type", plan.content_type))
        exchange.begin_ranges(pairs, plan.content_length)
        parts = [
            (head, start, stop)
            for head, (start, stop) in zip(plan.heads, plan.ranges, strict=True)
        ]
        trailer = plan.trailer
    BodySource(exchange, it.readable, parts, trailer).start()
    return True


def part_of(
    request: TemplateContext, pairs: Pairs, length: int | None, described: bytes
) -> Pairs:
    """*pairs* of a whole of *length* bytes as a 206 has them; *described* is its Content-Range."""
    return [*head_of_206(request, pairs, length), (b"Content-Range", described)]


def not_modified(request: TemplateContext, pairs: Pairs, length: int | None) -> Pairs:
    """*pairs* of a 200 as a 304 has them: what describes content alone is left out."""
    kept = head_of_200(request, pairs, length)
    return [pair for pair in kept if pair[0].lower() not in _CONTENT_FIELDS]


def _close(it: Representation) -> None:
    close = getattr(it.readable, "close", None) or getattr(it.readable, "release", None)
    if close is not None:
        close()


class ReaderSource:
    """A ``Source`` whose bytes come from a reader, at the pace of the client."""

    __slots__ = ("_exchange", "_reader")

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._reader: BodyReader | None = None

    def on_writable(self) -> None:
        if self._reader is not None:
            self._reader.resume()

    def on_downstream_lost(self) -> None:
        self._finish()

    def _finish(self) -> None:
        """Nothing more is read; the exchange has no source."""
        self._exchange.clear_source()
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()


class BodySource(ReaderSource):
    """Sends parts of a body, each (head, start, stop), then a trailer.

    A ``Source`` for the exchange and a ``BodySink`` for what is read.
    """

    __slots__ = ("_index", "_parts", "_readable", "_trailer")

    def __init__(
        self,
        exchange: Exchange,
        readable: Readable,
        parts: list[tuple[bytes, int, int]],
        trailer: bytes,
    ) -> None:
        super().__init__(exchange)
        self._readable = readable
        self._parts = parts
        self._trailer = trailer
        self._index = 0

    def start(self) -> None:
        """Send the first part; the exchange has begun its response."""
        self._exchange.answer_from(self)
        self._next()

    def _next(self) -> None:
        head, start, stop = self._parts[self._index]
        self._index = index = self._index + 1
        if head:
            self._exchange.send_body(head)
        self._reader = None
        reader = self._readable.read(self, start, stop)
        # A body that is in memory may have been delivered, and more, before this.
        if self._exchange.source is self and self._index == index:
            self._reader = reader
            if not self._exchange.downstream.writable:
                reader.pause()

    def on_body(self, data: bytes) -> None:
        exchange = self._exchange
        exchange.send_body(data)
        if not exchange.downstream.writable and self._reader is not None:
            self._reader.pause()

    def on_body_end(self) -> None:
        if self._index < len(self._parts):
            self._next()
            return
        self._finish()
        if self._trailer:
            self._exchange.send_body(self._trailer)
        self._exchange.end()

    def on_body_error(self, error: StorageError) -> None:
        self._finish()
        self._exchange.log_error("crit", f"reading a body failed: {error}")
        self._exchange.abort()

    def _finish(self) -> None:
        super()._finish()
        close = getattr(self._readable, "close", None) or getattr(self._readable, "release", None)
        if close is not None:
            close()
