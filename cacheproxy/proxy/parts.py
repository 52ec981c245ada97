"""Stored parts of a representation, and what they answer: RFC 9111 §3.3, §4.

Of each URL one part is kept, under a digest of its own. A request with a Range that lies
within it is answered from it while the whole is not stored.

Imports: ``policy``, ``proxy.interfaces``, ``proxy.hot``, ``proxy.representation``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cacheproxy.policy.key import variant_digest
from cacheproxy.policy.options import CacheOptions
from cacheproxy.policy.partial import ASKED, keyed_by_range, plain_range, reuse_part
from cacheproxy.policy.reuse import Action, decide_reuse
from cacheproxy.proxy import hot
from cacheproxy.proxy.interfaces import Entry
from cacheproxy.proxy.representation import send_part

if TYPE_CHECKING:
    from cacheproxy.proxy.exchange import Exchange

__all__ = ["answer_part", "may_take_part", "part_digest"]


def may_take_part(exchange: Exchange, options: CacheOptions) -> bool:
    """Whether a part could answer, and the operator has not taken ranges in hand."""
    return (
        plain_range(exchange.head) is not None
        and not keyed_by_range(options)
        and all(name.lower() != b"range" for name, _ in exchange.location.proxy.set_header)
    )


def part_digest(key: bytes) -> bytes:
    """Where the part of what has this cache key is stored."""
    return variant_digest(key, ((ASKED, None),))


def answer_part(exchange: Exchange, options: CacheOptions, key: bytes, entry: Entry) -> bool:
    """Answer from the stored part *entry*, which is then taken over; False if it does not do."""
    stored = entry.stored
    # The Range that it came for does not select it.
    selected = replace(stored, vary=tuple(pair for pair in stored.vary if pair[0] != ASKED))
    verdict = decide_reuse(
        selected, exchange.head, exchange.world.scheduler.wall(), options, key=key
    )
    piece = reuse_part(stored, exchange.head)
    if verdict.action is not Action.FRESH or piece is None:
        return False
    exchange.cache_status = verdict.status
    send_part(exchange, hot.hit_pairs(exchange.location, stored, verdict.age), entry, piece)
    return True
