"""Answers to HEAD: the length that they keep, and what they say of a stored GET.

RFC 9110 §9.3.2, RFC 9111 §4.3.5. Only where ``proxy_cache_convert_head`` is off does a HEAD
reach the origin. Its answer has the fields that a GET would have got: one that has the validators
and the length of what is stored freshens it, one that has others makes it stale. nginx does
nothing of it.

Imports: ``policy``, ``proxy.interfaces``, ``proxy.keys``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cacheproxy.http.fields import Fields
from cacheproxy.http.messages import RequestHead, ResponseHead
from cacheproxy.policy.key import digest, matches, selecting, variant_digest
from cacheproxy.policy.stored import StoredResponse
from cacheproxy.policy.storing import NoStore
from cacheproxy.policy.validation import HeadSays, freshen, head_says, outdated
from cacheproxy.proxy.counted import count
from cacheproxy.proxy.interfaces import Entry, Storage
from cacheproxy.proxy.keys import cache_key, key_of_target

if TYPE_CHECKING:
    from cacheproxy.proxy.exchange import Exchange

__all__ = ["keep_length", "split_length", "update_get"]

Pairs = list[tuple[bytes, bytes]]


def keep_length(stored: StoredResponse, head: ResponseHead) -> None:
    """Have *stored*, the answer to a HEAD, keep the length that it declares of a GET's content."""
    declared = head.fields.get(b"content-length")
    if declared is not None and declared.isdigit():
        stored.fields = Fields([*stored.fields.pairs, (b"Content-Length", declared)])


def split_length(stored: StoredResponse, pairs: Pairs) -> tuple[Pairs, int | None]:
    """*pairs*, made of *stored*, without the length that ``keep_length`` kept, and that length."""
    declared = stored.fields.get(b"content-length")
    kept = [pair for pair in pairs if pair[0].lower() != b"content-length"]
    return kept, None if declared is None else int(declared)


def update_get(
    exchange: Exchange, storage: Storage, head: ResponseHead, request_time: float
) -> None:
    """Let *head*, the origin's answer to a HEAD that *request_time* saw, act on the stored GET."""
    key = _key_of_get(exchange)
    if key is None:
        return
    asked, _, _ = count(exchange)
    request = RequestHead(b"GET", asked.target, asked.version, asked.fields)
    now = exchange.world.scheduler.wall()

    def found(entry: Entry | None) -> None:
        if entry is None:
            return
        stored = entry.stored
        if stored.key == key and stored.vary and not matches(stored.vary, asked.fields):
            names = [name for name, _ in stored.vary]
            entry.release()
            storage.lookup(variant_digest(key, selecting(names, asked.fields)), judge)
        else:
            judge(entry)

    def judge(entry: Entry | None) -> None:
        if entry is None:
            return
        stored = entry.stored
        if stored.key == key and matches(stored.vary, asked.fields):
            says = head_says(stored, head)
            if says is HeadSays.SAME:
                _freshen(entry)
            elif says is HeadSays.OTHER:
                storage.update(entry.digest, outdated(stored, now))
        entry.release()

    def _freshen(entry: Entry) -> None:
        location = exchange.location
        options = location.cache
        assert options is not None
        ignore = location.proxy.ignore_headers
        updated = freshen(entry.stored, request, head, options, ignore, request_time, now)
        if isinstance(updated, NoStore):
            # It may not be kept like this; the next GET decides.
            updated = outdated(entry.stored, now)
        storage.update(entry.digest, updated)

    storage.lookup(digest(key), found)


def _key_of_get(exchange: Exchange) -> bytes | None:
    """The key under which the answer to a GET in place of this HEAD is stored."""
    template = exchange.location.cache_key
    assert template is not None
    if "request_method" not in template.variables:
        return cache_key(exchange)
    asked = exchange.head
    host = asked.fields.get(b"host") or exchange.route.host
    return key_of_target(exchange, host, asked.target)
