"""Stored parts of a representation, and what they answer: RFC 9111 §3.3, §3.4, §4.

Of each URL one part is kept, under a digest of its own. A request with a Range that lies
within it is answered from it while the whole is not stored. Of one that asks for more, or
for what comes right before or after, the origin is asked only for the rest; the
combination answers, and takes the part's place (``policy.combining``,
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
    "Missing",
    "answer_part",
    "combined_selection",
    "judge_part",
    "may_take_part",
    "part_digest",
]

def may_take_part(
    exchange: Exchange, options: CacheOptions, known: KnownParts, primary: bytes
) -> bool:
    """Whether a part could answer, and the operator has not taken ranges in hand."""
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
    """Where the part of what has this cache key is stored."""
    return variant_digest(key, ((ASKED, None),))


def judge_part(
    stored: StoredResponse, request: RequestHead, now: float, options: CacheOptions, key: bytes
) -> Verdict:
    """What may be done with a stored part for *request*, as the cache sees it, whatever its Range.

    *now*: wall seconds. The Range that the part came for does not select it.
    """
    selected = replace(stored, vary=tuple(pair for pair in stored.vary if pair[0] != ASKED))
    return decide_reuse(selected, request, now, options, key=key)


def answer_part(exchange: Exchange, entry: Entry, verdict: Verdict) -> bool:
    """Answer from the stored part *entry*, which is then taken over; False if it does not do."""
    stored = entry.stored
    piece = reuse_part(stored, exchange.request.head)
    if verdict.action is not Action.FRESH or piece is None:
        return False
    exchange.record.note_cache_status(verdict.status)
    send_part(exchange, hit_pairs(exchange.request.location, stored, verdict.age), entry, piece)
    return True


def combined_selection(vary: Vary) -> Vary:
    """*vary* of a combination: it is no answer, as it stands, to any one Range."""
    return ((ASKED, None), *(pair for pair in vary if pair[0] != ASKED))


class Missing:
    """What a request wants beside the stored part *entry*, which is held."""

    __slots__ = ("_entry", "_exchange", "_union", "rest")

    def __init__(self, exchange: Exchange, entry: Entry, rest: Rest) -> None:
        self._exchange = exchange
        self._entry: Entry | None = entry
        self._union: Union | None = None
        self.rest = rest

    @classmethod
    def of(
        cls, exchange: Exchange, entry: Entry, verdict: Verdict, whole: bool
    ) -> Missing | None:
        """What is missing, where the part is of use; *entry* is then taken over.

        *whole*: the origin would be asked for all of it. The part need not be fresh: the
        entity-tag of the rest validates it.
        """
        stored = entry.stored
        if verdict.action not in (Action.FRESH, Action.STALE, Action.REVALIDATE):
            return None
        wanted = requested_span(exchange.request.head, stored, whole)
        rest = None if wanted is None else rest_of(stored, wanted)
        return None if rest is None else cls(exchange, entry, rest)

    def combined(self, relayed: RelayedResponse, head: ResponseHead) -> ResponseHead | None:
        """The head of the combination with the origin's answer; None if it is none."""
        entry = self._entry
        assert entry is not None
        union = self._union = combine(entry.stored, self.rest, head)
        if union is None or b"x-accel-redirect" in head.fields:
            return None
        self._entry = None
        relayed.join_with(entry, union)
        return union.head

    def answer(self, relayed: RelayedResponse) -> None:
        """Begin to send the combination; it is stored, where it is, from the first byte."""
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
