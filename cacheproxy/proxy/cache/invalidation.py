"""Invalidation of stored responses by unsafe requests: RFC 9111 §4.4, RFC 9110 §9.3.3.

nginx does not invalidate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from cacheproxy.errors import UpstreamError
from cacheproxy.http.messages import RequestHead, ResponseHead
from cacheproxy.policy import cache_status
from cacheproxy.policy.freshness import LifetimeSource
from cacheproxy.policy.key import digest
from cacheproxy.policy.purge import ByKey, ByPrefix
from cacheproxy.policy.reuse import invalidated_targets, invalidates, represents_target
from cacheproxy.policy.stored import StoredResponse
from cacheproxy.policy.storing import Store, decide_storing
from cacheproxy.proxy.answer.representation import add_cache_status
from cacheproxy.proxy.interfaces import Storage
from cacheproxy.proxy.site.cache_key import key_of_target, unsliced_key
from cacheproxy.proxy.site.conditions import holds
from cacheproxy.proxy.site.selecting import selected_request, selects_with_all
from cacheproxy.proxy.upstream.response_taker import FailureVerdict, RelayedResponse, Verdict

if TYPE_CHECKING:
    from cacheproxy.proxy.exchange.exchange import Exchange

__all__ = ["Invalidation"]

_NO_VALID: Mapping[int | None, int] = MappingProxyType({})


class Invalidation:
    """Removes stored responses when an unsafe request succeeds (RFC 9111 §4.4).

    If the response to a POST declares itself the response to GET, it is stored as such
    (RFC 9110 §9.3.3).
    """

    __slots__ = (
        "_exchange",
        "_request_time",
        "_storage",
        "answers_conditions",
        "converts_head",
        "fills",
    )

    def __init__(self, exchange: Exchange, storage: Storage) -> None:
        self._exchange = exchange
        self._storage = storage
        self.converts_head = False
        # If-Match is what keeps two writers apart: only the origin can judge it.
        self.answers_conditions = False
        self.fills = False
        self._request_time = storage.asked_now()

    def on_response(self, relayed: RelayedResponse, head: ResponseHead) -> Verdict:
        exchange = self._exchange
        options = exchange.request.location.cache
        if options is not None and options.status:
            add_cache_status(exchange, cache_status.forward_value(b"method"), head)
        if invalidates(exchange.request.method, head.status):
            host = exchange.request.head.fields.get(b"host") or exchange.request.route.host
            targets = invalidated_targets(
                exchange.site.scheme, host, exchange.request.head.target, head
            )
            for target in targets:
                whole = unsliced_key(exchange.request, host, target)
                if whole is not None:
                    self._storage.purge(ByPrefix(whole + b"bytes="), lambda count: None)
                    self._storage.purge(ByKey(digest(whole)), lambda count: None)
                key = key_of_target(exchange.request, host, target)
                if key is not None:
                    place = digest(key)
                    stored: StoredResponse | None = None
                    if (
                        target == exchange.request.head.target
                        and represents_target(
                            exchange.request.method, exchange.site.scheme, host, target, head
                        )
                        # Nothing that a GET's answer could not depend on has reached the origin.
                        and selects_with_all(exchange.request)
                    ):
                        stored = self._storable(head, key, place)
                    self._storage.purge(ByKey(place), lambda count: None)
                    if stored is not None:
                        self._store(relayed, place, stored)
        return Verdict.PASS_ON

    def _storable(self, head: ResponseHead, key: bytes, place: bytes) -> StoredResponse | None:
        """The response as what a GET would get, if it may be stored as that."""
        exchange = self._exchange
        location = exchange.request.location
        options = location.cache
        assert options is not None
        asked, _, _ = selected_request(exchange.request)
        decision = decide_storing(
            RequestHead(b"GET", asked.target, asked.version, asked.fields),
            head,
            # Only a lifetime that the response itself states makes it storable.
            replace(options, valid=_NO_VALID, heuristic=0.0),
            location.proxy.ignore_headers,
            bool(options.no_cache) and holds(options.no_cache, exchange.request),
            key,
            self._request_time,
            exchange.world.scheduler.wall(),
            exchange.request.route.host,
        )
        if not isinstance(decision, Store) or decision.source is LifetimeSource.NONE:
            return None
        if self._storage.is_purged(place, decision.stored):
            return None
        return decision.stored

    def _store(self, relayed: RelayedResponse, place: bytes, stored: StoredResponse) -> None:
        """Store what the purge that it causes itself does not mean: it was made after it."""
        delivery = relayed.delivery
        assert delivery is not None
        now = self._storage.asked_now()
        writer = self._storage.open_writer(place, place, replace(stored, request_time=now))
        if writer is not None:
            delivery.store_to(writer)

    def on_failure(self, problem: UpstreamError | None) -> FailureVerdict:
        return FailureVerdict.ERROR

    def on_fill_end(self, complete: bool) -> None:
        """Nothing was stored."""
