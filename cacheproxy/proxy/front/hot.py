"""Answers from memory without an exchange: the fast path of hits and small files.

What the general path has just answered with is kept on its ``Route`` (``remembering``) as
a ``ReadyAnswer``. The next request that is equal in all that matters (a GET on a kept
connection, the same Host and target, the same Accept-Encoding after normalisation, the
same cookies if they matter, the same fields that could steer the answer, nothing that
asks for more thought) is answered with its bytes, as long as the entry is the one
in memory and is fresh, or the file the one on disk.

This is an optimisation of the general path and nothing else: a test holds the two
equal, byte by byte.

Imports: ``http``, ``proxy.front``, ``proxy.site``.
"""

from __future__ import annotations

from cacheproxy.http.fields import Fields
from cacheproxy.http.messages import RequestHead
from cacheproxy.proxy.front.hot_request import HotRequest
from cacheproxy.proxy.front.traits import Traits, traits_of
from cacheproxy.proxy.site.context import RequestContext
from cacheproxy.proxy.site.ready import KeptClient, Ready
from cacheproxy.proxy.site.site import Route, Site

__all__ = ["HotHits"]


class HotHits:
    """The fast path of one listening address."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._known = site.routes
        self._wall = site.world.scheduler.wall

    def answer(self, client: KeptClient, head: RequestHead) -> Ready | None:
        """What answers *head*, a request without body; None leaves it to the general path."""
        fields = head.fields
        route = self._known.get((fields.get(b"host"), head.target))
        if route is None or not route.ready:
            return None
        # As ``is_simple``, without the call.
        traits = traits_of(fields)
        if not traits.simple or head.method != b"GET" or head.version != 11:
            return None
        ready = (
            route.ready.get(traits.encoding) if traits.bare else _selected(route, traits, fields)
        )
        if ready is None or client.requests >= ready.keepalive_requests:
            return None
        access = route.location.access
        if access is not None:
            real_peer = route.location.real_peer
            peer = None if real_peer is None else real_peer(client.peer_host, fields)
            if not access.allows(client.peer_host if peer is None else peer.host):
                return None  # refused, and logged, by the general path
        now = self._wall()
        if now >= client.keep_until:
            return None
        if not ready.is_current(now):
            del route.ready[ready.selector]
            return None
        if ready.second != int(now):
            ready.render(now)
        logs = route.location.logs
        if logs:
            request: RequestContext = HotRequest(self._site, client, head, route, ready)
            for line in logs:
                line.log(request)
        return ready


def _selected(route: Route, traits: Traits, fields: Fields) -> Ready | None:
    """What is ready for a request that has cookies, or fields that could steer the answer."""
    known = route.ready
    selector = traits.selector_for(route.location.selection, fields)
    ready: Ready | None = known.get(selector)
    if ready is None and selector is not traits.cookieless:
        ready = known.get(traits.cookieless)
        if ready is not None and ready.by_cookie:
            return None  # it is for those who have no cookie
    return ready
