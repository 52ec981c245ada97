"""Responses to HEAD: the length stored with them, and how they update a stored GET.

RFC 9110 §9.3.2, RFC 9111 §4.3.5. Only where ``proxy_cache_convert_head`` is off does a HEAD
reach the origin. Its response has the fields of a response to GET: if validators and length
equal those of the stored response, it freshens that, otherwise it makes it stale. nginx does
neither.

Imports: ``policy``, ``proxy.interfaces``, ``proxy.site.cache_key``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cacheproxy.http.fields import Fields, Pairs
from cacheproxy.http.messages import RequestHead, ResponseHead
from cacheproxy.policy.key import digest, matches, selecting, variant_digest
from cacheproxy.policy.stored import StoredResponse
from cacheproxy.policy.storing import NoStore
from cacheproxy.policy.validation import HeadComparison, compare_head, freshen, outdated
from cacheproxy.proxy.interfaces import Entry, Storage
from cacheproxy.proxy.site.cache_key import cache_key, key_of_target
from cacheproxy.proxy.site.selecting import selected_request

if TYPE_CHECKING:
    from cacheproxy.proxy.exchange.exchange import Exchange

__all__ = ["keep_length", "split_length", "update_get"]


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
    if key is not None:
        _Update(exchange, storage, key, head, request_time).start()


class _Update:
    """What the answer to one HEAD does to the stored GET of *key*."""

    __slots__ = ("_exchange", "_head", "_key", "_now", "_request", "_request_time", "_storage")

    def __init__(
        self,
        exchange: Exchange,
        storage: Storage,
        key: bytes,
        head: ResponseHead,
        request_time: float,
    ) -> None:
        asked, _, _ = selected_request(exchange.request)
        self._exchange = exchange
        self._storage = storage
        self._key = key
        self._head = head
        self._request = RequestHead(b"GET", asked.target, asked.version, asked.fields)
        self._request_time = request_time
        self._now = exchange.world.scheduler.wall()

    def start(self) -> None:
        """Look for it."""
        self._storage.lookup(digest(self._key), self._found)

    def _found(self, entry: Entry | None) -> None:
        if entry is None:
            return
        stored, fields = entry.stored, self._request.fields
        if stored.key == self._key and stored.vary and not matches(stored.vary, fields):
            names = [name for name, _ in stored.vary]
            entry.release()
            own = variant_digest(self._key, selecting(names, fields))
            self._storage.lookup(own, self._judge)
        else:
            self._judge(entry)

    def _judge(self, entry: Entry | None) -> None:
        if entry is None:
            return
        stored = entry.stored
        if stored.key == self._key and matches(stored.vary, self._request.fields):
            says = compare_head(stored, self._head)
            if says is HeadComparison.SAME:
                self._storage.update(entry.digest, self._freshened(stored))
            elif says is HeadComparison.OTHER:
                self._storage.update(entry.digest, outdated(stored, self._now))
        entry.release()

    def _freshened(self, stored: StoredResponse) -> StoredResponse:
        location = self._exchange.request.location
        options = location.cache
        assert options is not None
        updated = freshen(
            stored,
            self._request,
            self._head,
            options,
            location.proxy.ignore_headers,
            self._request_time,
            self._now,
        )
        # If it may not be kept like this, the next GET decides.
        return outdated(stored, self._now) if isinstance(updated, NoStore) else updated


def _key_of_get(exchange: Exchange) -> bytes | None:
    """The key under which the answer to a GET in place of this HEAD is stored."""
    template = exchange.request.location.cache_key
    assert template is not None
    if "request_method" not in template.variables:
        return cache_key(exchange.request)
    asked = exchange.request.head
    host = asked.fields.get(b"host") or exchange.request.route.host
    return key_of_target(exchange.request, host, asked.target)
