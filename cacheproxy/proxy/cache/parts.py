"""Stored parts of a representation, and what they answer: RFC 9111 §3.3, §3.4, §4.

One part is kept for each URL, under a digest of its own. While the whole is not stored, the
part answers requests with a Range within it. If a request asks for more, or for the bytes
right before or after the part, only the missing bytes are requested from the origin. The
combined response answers the request and replaces the stored part (``policy.combining``,
``proxy.upstream.joined_body``).

Imports: ``policy``, ``proxy``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cacheproxy.http.messages import RequestHead, ResponseHead
from cacheproxy.policy.combining import Rest, Union, combine, requested_span, rest_of
from cacheproxy.policy.conditional import PRECONDITION_FIELDS
from cacheproxy.policy.key import Vary, variant_digest
from cacheproxy.policy.options import CacheOptions
from cacheproxy.policy.partial import ASKED, keyed_by_range, plain_range, reuse_part
from cacheproxy.policy.ranges import content_range
from cacheproxy.policy.reuse import Action, Verdict, decide_reuse
from cacheproxy.policy.stored import StoredResponse
from cacheproxy.proxy.answer.fields import hit_pairs
from cacheproxy.proxy.answer.representation import send_part
from cacheproxy.proxy.interfaces import Entry, KnownParts

if TYPE_CHECKING:
    from cacheproxy.proxy.exchange.exchange import Exchange
    from cacheproxy.proxy.upstream.response_taker import RelayedResponse

__all__ = [
    "MissingRange",
    "answer_part",
    "combined_selection",
    "judge_part",
    "may_take_part",
    "part_digest",
]

def may_take_part(
    exchange: Exchange, options: CacheOptions, known: KnownParts, primary: bytes
) -> bool:
    """Whether a stored part could answer, and no directive of the operator handles ranges."""
    head = exchange.request.head
    if b"range" in head.fields:
        useful = plain_range(head) is not None
    else:
        useful = (
            known.has(primary)
            and exchange.request.method == b"GET"
            and PRECONDITION_FIELDS.isdisjoint(head.fields.names())
        )
    return (
        useful
        and not keyed_by_range(options)
        and all(name.lower() != b"range" for name, _ in exchange.request.location.proxy.set_header)
    )


def part_digest(key: bytes) -> bytes:
    """The digest under which the part for this cache key is stored."""
    return variant_digest(key, ((ASKED, None),))


def judge_part(
    stored: StoredResponse, request: RequestHead, now: float, options: CacheOptions, key: bytes
) -> Verdict:
    """Decide whether a stored part may be reused for *request*, whatever its Range.

    *now*: wall seconds. The Range of the request that fetched the part is not compared.
    """
    selected = replace(stored, vary=tuple(pair for pair in stored.vary if pair[0] != ASKED))
    return decide_reuse(selected, request, now, options, key=key)


def answer_part(exchange: Exchange, entry: Entry, verdict: Verdict) -> bool:
    """Answer from the stored part *entry* and take it over; False if that is not possible."""
    stored = entry.stored
    piece = reuse_part(stored, exchange.request.head)
    if verdict.action is not Action.FRESH or piece is None:
        return False
    exchange.record.note_cache_status(verdict.status)
    send_part(exchange, hit_pairs(exchange.request.location, stored, verdict.age), entry, piece)
    return True


def combined_selection(vary: Vary) -> Vary:
    """The Vary of a combined part, which does not match the Range of any one request."""
    return ((ASKED, None), *(pair for pair in vary if pair[0] != ASKED))


class MissingRange:
    """The bytes that a request needs beside the stored part *entry*, which is held."""

    __slots__ = ("_entry", "_exchange", "_union", "rest")

    def __init__(self, exchange: Exchange, entry: Entry, rest: Rest) -> None:
        self._exchange = exchange
        self._entry: Entry | None = entry
        self._union: Union | None = None
        self.rest = rest

    @classmethod
    def of(
        cls, exchange: Exchange, entry: Entry, verdict: Verdict, whole: bool
    ) -> MissingRange | None:
        """The missing bytes if the part can be used, and *entry* is taken over; else None.

        *whole*: without the part, the whole would be fetched. The part need not be fresh: the
        entity-tag of the missing bytes validates it.
        """
        stored = entry.stored
        if verdict.action not in (Action.FRESH, Action.STALE, Action.REVALIDATE):
            return None
        wanted = requested_span(exchange.request.head, stored, whole)
        rest = None if wanted is None else rest_of(stored, wanted)
        return None if rest is None else cls(exchange, entry, rest)

    def combined(self, relayed: RelayedResponse, head: ResponseHead) -> ResponseHead | None:
        """The head of the part combined with the origin's response; None if they do not match."""
        entry = self._entry
        assert entry is not None
        union = self._union = combine(entry.stored, self.rest, head)
        if union is None or b"x-accel-redirect" in head.fields:
            return None
        self._entry = None
        relayed.join_with(entry, union)
        return union.head

    def answer(self, relayed: RelayedResponse) -> None:
        """Start to send the combined response; if it is stored, then all of it."""
        delivery, union = relayed.delivery, self._union
        assert delivery is not None and union is not None
        head, rest = union.head, self.rest
        if self._exchange.lost:
            delivery.client_done = True
        elif head.status == 206:
            described = content_range(rest.start, rest.stop, rest.part.total)
            start = rest.start - union.start
            delivery.begin_window(head, start, start + rest.stop - rest.start, described)
        elif not delivery.answer_partially(head):
            delivery.begin(head)
        relayed.start_joined()

    def release(self) -> None:
        """The part is not needed any more."""
        entry, self._entry = self._entry, None
        if entry is not None:
            entry.release()
