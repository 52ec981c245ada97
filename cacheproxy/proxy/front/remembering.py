"""Which answers of the general path are kept ready for the fast path, within a bound.

``proxy.cache.stored_answer`` and ``proxy.answer.static`` report what they have just
answered with to the ``RemembersAnswers`` of their site. Where the same is good for every
request that is equal in what selects an answer, it is kept on its ``Route``.

Imports: ``http``, ``proxy.front.ready``, ``proxy.front.traits``, ``proxy.site``.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from cacheproxy.http.fields import Fields
from cacheproxy.http.messages import RequestHead
from cacheproxy.proxy.front.ready import ReadyAnswer, ReadyFile, ReadyHit
from cacheproxy.proxy.front.traits import is_simple, traits_of
from cacheproxy.proxy.interfaces import Entry, OpenFile, Storage
from cacheproxy.proxy.site.cache_key import RouteContext
from cacheproxy.proxy.site.site import Route

if TYPE_CHECKING:
    from cacheproxy.proxy.exchange.exchange import Exchange

__all__ = ["MAX_READY", "READY_SIZE", "RememberedAnswers"]

#: Answers kept for one route: they differ by coding, cookies, steering fields.
MAX_READY = 8

#: The longest selector, in bytes, that an answer is kept by: it holds cookies.
MAX_SELECTOR = 2048

#: Bytes of all that is kept for one listening address. The bodies are mostly those in the
#: zone's memory or among the files kept there; but one that has left its place must
#: not live on here without a bound.
READY_SIZE = 32 << 20

#: By which fields a variant may be selected that is kept.
_SELECTING = frozenset({b"accept-encoding", b"cookie"})


class RememberedAnswers:
    """What is kept ready for one listening address (a ``RemembersAnswers``)."""

    __slots__ = ("order", "size")

    def __init__(self) -> None:
        #: All that is kept, the oldest first, and its bytes.
        self.order: deque[tuple[Route, bytes, ReadyAnswer]] = deque()
        self.size = 0

    def remember_hit(
        self, exchange: Exchange, storage: Storage, base: Entry, entry: Entry
    ) -> None:
        """Note that *entry*, found through *base*, answers requests like this one."""
        if entry.body is None or not _repeats(exchange):
            return
        names = [name for name, _ in base.stored.vary]
        if names and not _SELECTING.issuperset(names):
            return
        rules = exchange.request.location.selection
        if names and rules is not None and not rules.made_fields.keys().isdisjoint(names):
            return  # it is not the client's own field that selected it
        ready = ReadyHit(_context(exchange), storage, base, entry)
        ready.by_cookie = b"cookie" in names
        self._keep(exchange, ready)

    def remember_file(self, exchange: Exchange, path: bytes, file: OpenFile) -> None:
        """Note that *file* at *path* answers requests like this one."""
        if file.content is not None and _repeats(exchange):
            self._keep(exchange, ReadyFile(_context(exchange), path, file))

    def forget_all(self) -> None:
        """Nothing is ready any more: the routes that it was kept on are gone."""
        self.order.clear()
        self.size = 0

    def _keep(self, exchange: Exchange, ready: ReadyAnswer) -> None:
        route = exchange.request.route
        head = exchange.request.head
        fields = head.fields
        traits = traits_of(fields)
        if exchange.site.routes.get((fields.get(b"host"), head.target)) is not route:
            return  # nobody would find it
        rules = route.location.selection
        selector = traits.selector_for(rules, fields)
        if ready.by_cookie and selector is not traits.cookieless:
            if rules is None or rules.cookies is None or len(selector) > MAX_SELECTOR:
                return  # every visitor's cookies are different
        else:
            selector = traits.cookieless
        ready.selector = selector
        ready.cost += len(selector)
        known = route.ready
        if len(known) >= MAX_READY and selector not in known:
            # Those for single visitors go first.
            del known[next((old for old in known if b"\n" in old), next(iter(known)))]
        known[selector] = ready
        self.order.append((route, selector, ready))
        self.size += ready.cost
        self._shrink()

    def _shrink(self) -> None:
        """Keep to the bound: what was kept first goes first."""
        while self.size > READY_SIZE:
            route, selector, ready = self.order.popleft()
            self.size -= ready.cost
            if route.ready.get(selector) is ready:
                del route.ready[selector]


def _repeats(exchange: Exchange) -> bool:
    """Whether the same answer is good for every request with the same route and selector."""
    request = exchange.request
    return request.location.hot and not request.uri_changed and is_simple(request.head)


def _context(exchange: Exchange) -> RouteContext:
    """The route's context, with nothing of this request that does not follow from it."""
    head = exchange.request.head
    host = head.fields.get(b"host")
    fields = Fields([] if host is None else [(b"Host", host)])
    get = RequestHead(b"GET", head.target, head.version, fields)
    return RouteContext(exchange.site, get, exchange.request.route)
