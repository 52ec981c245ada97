"""Hits from memory, answered without an exchange: the fast path.

A hit that the general path (``caching``) has just answered is remembered on its
``Route`` as a ``ReadyResponse``: the head as it will be sent, with the body. The next
request that is equal in all that matters (a GET on a kept connection, the same
Host and target, the same Accept-Encoding after normalisation, nothing that asks
for more thought) is answered with those octets, as long as the entry is the one
in memory and is fresh. Once a second the head is rendered anew, for ``Age`` and for
what ``expires`` makes of the time.

This is an optimisation of the general path and nothing else: a test holds the two
equal, octet by octet.

Imports: ``http``, ``policy``, ``proxy.site``, ``proxy.keys``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cacheproxy.http.fields import Fields
from cacheproxy.http.h1 import encode_response_head
from cacheproxy.http.messages import RequestHead
from cacheproxy.policy.encoding import may_encode, vary_accept_encoding
from cacheproxy.policy.key import normal_accept_encoding
from cacheproxy.policy.reuse import STEERING_FIELDS, reusable_until
from cacheproxy.policy.stored import StoredResponse
from cacheproxy.proxy.interfaces import Downstream, Entry, Storage
from cacheproxy.proxy.keys import RouteContext
from cacheproxy.proxy.pages import SERVER, SERVER_WITH_VERSION
from cacheproxy.proxy.site import CompiledLocation, Route, Site

if TYPE_CHECKING:
    from cacheproxy.proxy.exchange import Exchange

__all__ = ["HotHits", "ReadyResponse", "Traits", "hit_pairs", "remember"]

#: Differently encoded forms remembered for one route.
MAX_READY = 8

#: Bodies longer than this are written beside the head, not joined with it.
JOIN_LIMIT = 16 * 1024

#: Fields that leave a request to the general path.
_SLOW_FIELDS = STEERING_FIELDS | {
    b"authorization",
    b"expect",
    b"if-range",
    b"upgrade",
    b"via",
}

Pairs = list[tuple[bytes, bytes]]


class Traits:
    """What the fast path wants to know of a request's fields."""

    __slots__ = ("encoding", "host", "simple")

    def __init__(self, fields: Fields) -> None:
        self.host = fields.get(b"host")
        self.encoding = normal_accept_encoding(fields.combined(b"accept-encoding"))
        connection = fields.combined(b"connection")
        agent = fields.get(b"user-agent")
        self.simple = (
            _SLOW_FIELDS.isdisjoint(fields.names())
            and (connection is None or connection.lower() == b"keep-alive")
            and (agent is None or b"MSIE " not in agent)
        )


def hit_pairs(location: CompiledLocation, stored: StoredResponse, age: float) -> Pairs:
    """The fields of a hit, before ``add_header`` and framing: the stored ones and Age."""
    pairs: Pairs = [
        (b"Server", SERVER_WITH_VERSION if location.core.server_tokens else SERVER)
    ]
    rewriter = location.stored_rewriter
    fields = stored.fields
    gzip = location.gzip
    if (
        gzip is not None
        and gzip.vary
        and may_encode(stored.status, fields, stored.body_length, gzip)
    ):
        fields = vary_accept_encoding(fields)
    pairs += fields.pairs if rewriter is None else rewriter.lines(fields)
    pairs.append((b"Age", b"%d" % age))
    return pairs


class ReadyResponse:
    """A hit that is ready to send."""

    __slots__ = ("base", "body", "context", "data", "digest", "entry", "second", "storage", "until")

    def __init__(
        self, context: RouteContext, storage: Storage, base: Entry, entry: Entry, body: bytes
    ) -> None:
        self.context = context
        self.storage = storage
        self.base = base
        self.digest = base.digest
        self.entry = entry
        self.until = reusable_until(base.stored)
        self.second = -1
        self.data = b""
        #: Written after *data* where the two are not joined.
        self.body = body

    def render(self, now: float) -> None:
        """Make the octets for the second of *now*."""
        self.second = int(now)
        context = self.context
        stored = self.entry.stored
        location = context.location
        pairs = hit_pairs(location, stored, stored.age(now))
        if location.field_adder is not None:
            pairs = location.field_adder.render(context, stored.status, pairs, now)
        body = self.entry.body or b""
        if stored.status not in (204, 304):
            pairs.append((b"Content-Length", b"%d" % len(body)))
        pairs.append((b"Connection", b"keep-alive"))
        if location.core.keepalive_timeout_header is not None:
            pairs.append((b"Keep-Alive", b"timeout=%d" % location.core.keepalive_timeout_header))
        head = encode_response_head(stored.status, stored.reason, pairs)
        if len(body) > JOIN_LIMIT:
            self.data, self.body = head, body
        else:
            self.data, self.body = head + body, b""


class HotHits:
    """The fast path of one listening address; *exchange* makes one, for the log."""

    def __init__(
        self, site: Site, exchange: Callable[[Site, Downstream, RequestHead], Exchange]
    ) -> None:
        self._site = site
        self._exchange = exchange
        self._known = site.routes
        self._wall = site.world.scheduler.wall

    def answer(self, downstream: Downstream, head: RequestHead) -> ReadyResponse | None:
        """What answers *head*, a request without body; None leaves it to the general path."""
        fields = head.fields
        traits = fields.traits
        if traits is None:
            traits = fields.traits = Traits(fields)
        if not traits.simple or head.method != b"GET" or head.version != 11:
            return None
        route = self._known.get((traits.host, head.target))
        if route is None:
            return None
        ready: ReadyResponse | None = route.ready.get(traits.encoding)
        if ready is None:
            return None
        now = self._wall()
        if now >= ready.until or ready.storage.peek(ready.digest) is not ready.base:
            del route.ready[traits.encoding]
            return None
        if ready.second != int(now):
            ready.render(now)
        if route.location.logs:
            self._log(downstream, head, route, ready)
        return ready

    def _log(
        self, downstream: Downstream, head: RequestHead, route: Route, ready: ReadyResponse
    ) -> None:
        exchange = self._exchange(self._site, downstream, head)
        exchange.adopt(route)
        stored = ready.entry.stored
        exchange.status = stored.status
        exchange.cache_status = b"HIT"
        exchange.body_bytes_sent = stored.body_length
        exchange.bytes_before = downstream.bytes_sent - len(ready.data) - len(ready.body)
        exchange.log()


def remember(exchange: Exchange, storage: Storage, base: Entry, entry: Entry) -> None:
    """Note that *entry*, found through *base*, answers requests like this one."""
    location = exchange.location
    route = exchange.route
    body = entry.body
    if not location.hot or exchange.uri_changed or body is None or exchange.method != b"GET":
        return
    traits = exchange.head.fields.traits
    if traits is None or not traits.simple or exchange.head.version != 11:
        return
    vary = base.stored.vary
    if vary and any(name != b"accept-encoding" for name, _ in vary):
        return
    if entry is base and entry.stored.body_length > 0 and location.gzip is not None:
        # The plain form of what could be compressed, while that is being made.
        stored = entry.stored
        if exchange.would_gzip(stored.status, stored.fields, stored.body_length):
            return
    if len(route.ready) >= MAX_READY:
        route.ready.clear()
    context = RouteContext(exchange.site, exchange.head, route)
    route.ready[traits.encoding] = ReadyResponse(context, storage, base, entry, body)
