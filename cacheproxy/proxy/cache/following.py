"""Answering from a response that is still being stored.

A collapsed request follows the response of the request before it: it gets the stored head, and
the body as it is written (``GrowingWriter.follow``). Its preconditions and ranges are evaluated
as for a stored response (RFC 9111 §4). The head is not sent before the first byte of the body
has arrived: if the origin fails earlier, the request is sent to the origin again. If it fails
later, the client's connection is closed early, so that the client notices.

Unlike here, in nginx a request waits until the whole response is stored.

Imports: ``policy``, ``proxy.answer``, ``proxy.interfaces``.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING

from cacheproxy.errors import StorageError
from cacheproxy.http.fields import Pairs
from cacheproxy.policy.conditional import Precondition, evaluate_preconditions
from cacheproxy.policy.partial import passes_range
from cacheproxy.policy.ranges import Unsatisfiable, content_range
from cacheproxy.proxy.answer.fields import hit_pairs
from cacheproxy.proxy.answer.representation import (
    ReaderSource,
    asked_ranges,
    not_modified,
    part_of,
)
from cacheproxy.proxy.interfaces import GrowingResponse

if TYPE_CHECKING:
    from cacheproxy.proxy.exchange.exchange import Exchange

__all__ = ["ENCODE_WAIT_LIMIT", "RANGE_LEAD", "FollowDecision", "Following", "decide_following"]

#: Bytes beyond those received at which a range may start and still wait for them; a range that
#: starts later is requested from the origin.
RANGE_LEAD = 1 << 20

#: The longest body, in bytes, that is received completely before it is compressed, once for all
#: clients; a longer one, or one of unknown length, is compressed for each client as it arrives.
ENCODE_WAIT_LIMIT = 1 << 20


class FollowDecision(Enum):
    """How to answer a request while the response is still being stored."""

    FOLLOW = "send the bytes received so far, then the others as they arrive"
    ENCODE = "wait for the end, then compress once"
    WHOLE = "wait for the end: several ranges are requested"
    ASK = "request the range from the origin: waiting would take long"


def decide_following(exchange: Exchange, growing: GrowingResponse) -> FollowDecision:
    """Decide how *exchange* is answered from *growing*."""
    stored, length = growing.stored, growing.length
    if exchange.request.method == b"HEAD":
        return FollowDecision.FOLLOW
    if exchange.would_gzip(stored.status, stored.fields, length):
        small = length is not None and length <= ENCODE_WAIT_LIMIT
        return FollowDecision.ENCODE if small else FollowDecision.FOLLOW
    reach = growing.writer.size + RANGE_LEAD
    if length is None:
        value = exchange.request.head.fields.get(b"range") or b""
        return FollowDecision.ASK if passes_range(value, reach) else FollowDecision.FOLLOW
    decision = asked_ranges(exchange, stored.status, stored.fields, length)
    if decision is None or isinstance(decision, Unsatisfiable):
        return FollowDecision.FOLLOW
    if max(decision.ranges)[0] >= reach:
        return FollowDecision.ASK
    return FollowDecision.FOLLOW if len(decision.ranges) == 1 else FollowDecision.WHOLE


class Following(ReaderSource):
    """One client's answer from a growing response (``Source``, ``BodySink``).

    *forwarded* is the value of Cache-Status; *again* is called if the response fails before
    any of it was sent.
    """

    __slots__ = ("_again", "_begun", "_forwarded", "_growing", "_span")

    def __init__(
        self,
        exchange: Exchange,
        growing: GrowingResponse,
        forwarded: bytes,
        again: Callable[[], None],
    ) -> None:
        super().__init__(exchange)
        self._growing = growing
        self._forwarded = forwarded
        self._again = again
        self._begun = False
        #: The requested bytes [start, stop); None for all.
        self._span: tuple[int, int] | None = None

    def start(self) -> None:
        """Answer at once where the head is enough, else read along."""
        exchange, growing = self._exchange, self._growing
        stored, length = growing.stored, growing.length
        if self._answers_precondition():
            return
        if exchange.request.method == b"HEAD" or stored.status == 204 or length == 0:
            exchange.clear_source()
            self._begin()
            exchange.end()
            return
        span: tuple[int, int | None] = (0, None)
        if length is not None:
            decision = asked_ranges(exchange, stored.status, stored.fields, length)
            if isinstance(decision, Unsatisfiable):
                exchange.answer_status(416, [(b"Content-Range", decision.content_range)])
                return
            if decision is not None:
                span = self._span = decision.ranges[0]
        self._read(*span)

    def _answers_precondition(self) -> bool:
        exchange, stored = self._exchange, self._growing.stored
        outcome = evaluate_preconditions(
            exchange.request.head,
            stored.status,
            stored.fields,
            if_modified_since=exchange.request.location.core.if_modified_since,
            received=stored.response_time,
        )
        if outcome is Precondition.NOT_MODIFIED:
            exchange.clear_source()
            pairs = not_modified(exchange.request, self._pairs(), self._growing.length)
            exchange.begin(304, pairs, None)
            exchange.end()
        elif outcome is Precondition.PRECONDITION_FAILED:
            exchange.answer_status(412)
        return outcome is not Precondition.PROCEED

    def _pairs(self) -> Pairs:
        exchange, stored = self._exchange, self._growing.stored
        age = stored.age(exchange.world.scheduler.wall())
        return hit_pairs(exchange.request.location, stored, age, self._forwarded)

    def _begin(self) -> None:
        """Send the head."""
        self._begun = True
        exchange, growing, span = self._exchange, self._growing, self._span
        pairs = self._pairs()
        if span is None:
            exchange.begin(growing.stored.status, pairs, growing.length, growing.stored.reason)
            return
        start, stop = span
        assert growing.length is not None
        described = content_range(start, stop, growing.length)
        pairs = part_of(exchange.request, pairs, growing.length, described)
        exchange.begin_ranges(pairs, stop - start)

    def _read(self, start: int, stop: int | None) -> None:
        exchange, growing = self._exchange, self._growing
        reader = growing.writer.follow(self, start, stop)
        if reader is None:
            self._again()
            return
        self._reader = reader
        growing.followers += 1
        exchange.answer_from(self)
        reader.resume()

    # -- BodySink ----------------------------------------------------------

    def on_body(self, data: bytes) -> None:
        exchange = self._exchange
        if not self._begun:
            self._begin()
        exchange.send_body(data)
        if not exchange.downstream.writable:
            if self._reader is not None:
                self._reader.pause()
        elif exchange.response.gzip is not None and self._growing.flushed:
            exchange.flush_body()

    def on_body_end(self) -> None:
        self._finish()
        if not self._begun:
            self._begin()
        self._exchange.end()

    def on_body_error(self, error: StorageError) -> None:
        self._finish()
        exchange = self._exchange
        if self._begun:
            exchange.log_error("error", f"{error} while it was sent from there")
            exchange.abort()
        else:
            self._again()

    def _finish(self) -> None:
        if self._reader is not None:
            self._growing.followers -= 1
        super()._finish()
