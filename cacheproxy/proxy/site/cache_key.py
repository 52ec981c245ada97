"""The cache key of a request, or of a target that another request named.

Source: nginx ``proxy_cache_key``; RFC 9111 §2, §4.4.
"""

from __future__ import annotations

import copy

from cacheproxy.errors import ProtocolError
from cacheproxy.http.fields import Fields
from cacheproxy.http.messages import RequestHead
from cacheproxy.policy.key import digest, request_key
from cacheproxy.proxy.site.context import TemplateContext
from cacheproxy.proxy.site.selecting import as_selected
from cacheproxy.proxy.site.site import CompiledLocation, Route, Site

__all__ = [
    "RouteContext",
    "cache_key",
    "key_of_target",
    "keys_of",
    "unsliced_key",
]


class RouteRecord:
    """What is known of every answer that a route gives: nothing but the cache's status."""

    __slots__ = ("cache_status",)

    #: Of what is fresh, nothing is being validated.
    validated = None

    def __init__(self) -> None:
        self.cache_status = b""


class RouteContext:
    """Stands for a GET of a route where there is no request of a client.

    Templates that read only what follows from the route (``ROUTE_VARIABLES``,
    ``$upstream_cache_status``) render on it as they do on a request.
    """

    __slots__ = (
        "captures",
        "head",
        "location",
        "map_values",
        "method",
        "proxy_host",
        "record",
        "route",
        "server",
        "set_values",
        "site",
        "slice_range",
        "uri_changed",
        "world",
    )

    #: No rewrite has led here.
    passes_whole_uri = False

    def __init__(self, site: Site, head: RequestHead, route: Route) -> None:
        self.site = site
        self.world = site.world
        self.head = head
        self.method = b"GET"
        self.route = route
        self.server = route.server
        self.location: CompiledLocation = route.location
        self.captures = route.captures
        self.map_values: dict[str, bytes] = {}
        self.set_values: dict[str, bytes] = {}
        self.record = RouteRecord()
        self.uri_changed = False
        self.proxy_host: bytes | None = None
        self.slice_range = b""

    def replaced(self, head: RequestHead, route: Route) -> RouteContext:
        """The same with another head and another route."""
        other = copy.copy(self)
        other.head = head
        other.route = route
        other.map_values = {}
        return other


def cache_key(context: TemplateContext) -> bytes:
    """``proxy_cache_key``, for a location with a cache, with the part of the query that selects."""
    location = context.location
    template = location.cache_key
    assert template is not None and location.cache is not None
    context = as_selected(context)
    key = template.render(context)
    return key + _where_it_is_passed(context) if location.cache.key_is_default else key


def _where_it_is_passed(context: TemplateContext) -> bytes:
    """What the default key ends in where the origin is asked for another URI than the client's.

    A rewrite, an internal redirect or a ``proxy_pass`` with variables may bring anything of a
    request into that URI: who is asking, for instance. nginx's default key is the URI that is
    passed on. Every part carries its length, so that no two different ones run together.
    """
    target = context.location.proxy.proxy_pass
    made = None if target is None or target.template is None else target.template
    if made is None and not context.uri_changed:
        return b""
    route = context.route
    parts = [
        b"" if made is None else made.render(context),
        route.uri,
        b"?" + route.args if route.has_args else b"",
        b"whole" if context.passes_whole_uri else b"",
    ]
    return b"".join(b" %d:%b" % (len(part), part) for part in parts)


def keys_of(
    request: TemplateContext, converts_head: bool, suffix: bytes
) -> tuple[bytes, bytes, bytes]:
    """The whole key of a request, its URL's digest, and the digest to look it up by.

    *suffix* tells it apart from others for the URL (``UnkeyedFields``): the last two differ then.
    """
    route, method = request.route, request.method
    same = method == b"GET" or (method == b"HEAD" and converts_head)
    if same and route.key is not None:
        key, primary = route.key, route.digest or b""
    else:
        key = request_key(cache_key(request), method, converts_head)
        primary = digest(key)
        if request.location.key_follows_route and method == b"GET":
            route.key, route.digest = key, primary
    if suffix:
        key += suffix
        return key, primary, digest(key)
    return key, primary, primary


def key_of_target(request: TemplateContext, host: bytes, target: bytes) -> bytes | None:
    """The key under which a GET of *target* on *host* is stored; None where it is not.

    Keys that read more of a request than its route and method cannot be made for another.
    """
    context = _context_of_get(request, host, target)
    if context is None or not context.location.get_key_follows_route:
        return None
    return cache_key(context)


def unsliced_key(request: TemplateContext, host: bytes, target: bytes) -> bytes | None:
    """What the keys of all slices of *target* start with, before their ranges.

    None where it is not fetched in slices, or as for ``key_of_target``.
    """
    context = _context_of_get(request, host, target)
    if context is None or not context.location.slice_keys_follow_route:
        return None
    return cache_key(context)


def _context_of_get(request: TemplateContext, host: bytes, target: bytes) -> RouteContext | None:
    head = RequestHead(b"GET", target, 11, Fields([(b"Host", host)]))
    try:
        route = request.site.route(head)
    except ProtocolError:
        return None
    context = RouteContext(request.site, head, route)
    context.location = route.location.for_method(b"GET")
    return context
