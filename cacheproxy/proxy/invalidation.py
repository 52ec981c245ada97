"""What an unsafe request does to what is stored: RFC 9111 §4.4, RFC 9110 §9.3.3.

nginx does nothing of it.
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
from cacheproxy.policy.reuse import invalidated_targets, invalidates, represents_target
from cacheproxy.policy.storing import Store, decide_storing
from cacheproxy.proxy.interfaces import Storage
from cacheproxy.proxy.keys import holds, key_of_target
from cacheproxy.proxy.relay import Relay
from cacheproxy.proxy.representation import tell

if TYPE_CHECKING:
    from cacheproxy.proxy.exchange import Exchange

__all__ = ["Invalidation"]

_NO_VALID: Mapping[int | None, int] = MappingProxyType({})


class Invalidation:
    """Rides along an unsafe request: its success removes what is stored (RFC 9111 §4.4).

    The response to a POST that says of itself that it is what a GET would get is then
    stored as that (RFC 9110 §9.3.3).
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
        self._request_time = exchange.world.scheduler.wall()

    def on_response(self, relay: Relay, head: ResponseHead) -> bool:
        exchange = self._exchange
        options = exchange.location.cache
        if options is not None and options.status:
            tell(exchange, cache_status.forward_value(b"method"), head)
        if invalidates(exchange.method, head.status):
            host = exchange.head.fields.get(b"host") or exchange.route.host
            targets = invalidated_targets(
                exchange.site.scheme, host, exchange.head.target, head
            )
            for target in targets:
                key = key_of_target(exchange, host, target)
                if key is not None:
                    self._storage.purge(digest(key), lambda count: None)
                    if target == exchange.head.target and represents_target(
                        exchange.method, exchange.site.scheme, host, target, head
                    ):
                        self._store(relay, head, key)
        return False

    def _store(self, relay: Relay, head: ResponseHead, key: bytes) -> None:
        exchange = self._exchange
        location = exchange.location
        options = location.cache
        delivery = relay.delivery
        assert options is not None and delivery is not None
        asked = exchange.head
        decision = decide_storing(
            RequestHead(b"GET", asked.target, asked.version, asked.fields),
            head,
            # Only a lifetime that the response itself states makes it storable.
            replace(options, valid=_NO_VALID, heuristic=0.0),
            location.proxy.ignore_headers,
            bool(options.no_cache) and holds(options.no_cache, exchange),
            key,
            self._request_time,
            exchange.world.scheduler.wall(),
        )
        if isinstance(decision, Store) and decision.source is not LifetimeSource.NONE:
            place = digest(key)
            writer = self._storage.open_writer(place, place, decision.stored)
            if writer is not None:
                delivery.store_to(writer)

    def on_failure(self, relay: Relay, status: int, problem: UpstreamError | None) -> bool:
        return False

    def on_fill_end(self, complete: bool) -> None:
        """Nothing was stored."""
