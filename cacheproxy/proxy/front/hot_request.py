"""A request that ready bytes have answered, for the lines that log it.

It is all that the fast path makes for a request, and only where an access log is written: a
``RequestContext`` that is its own response and its own record. What is the same for every
such request is said by the class.

Imports: ``http``, ``policy``, ``proxy.interfaces``, ``proxy.site``, ``proxy.exchange.record``.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from cacheproxy.http.fields import Fields, Pairs
from cacheproxy.http.messages import RequestHead
from cacheproxy.policy.real_ip import Peer
from cacheproxy.policy.stored import StoredResponse
from cacheproxy.proxy.exchange.record import REQUEST_ID_BYTES
from cacheproxy.proxy.interfaces import Client, World
from cacheproxy.proxy.site.context import AttemptFacts
from cacheproxy.proxy.site.ready import Ready
from cacheproxy.proxy.site.site import CompiledLocation, CompiledServer, Route, Site

__all__ = ["HotRequest"]


class HotRequest:
    """The request with *head* on *downstream*, at the moment before *ready* is sent there."""

    __slots__ = (
        "_request_id",
        "captures",
        "downstream",
        "head",
        "map_values",
        "ready",
        "route",
        "site",
    )

    # The request.
    method = b"GET"
    body = None
    #: Where the rewrite module is at work nothing is answered hot.
    set_values: Mapping[str, bytes] = MappingProxyType({})
    uri_changed = False
    passes_whole_uri = False
    proxy_host: bytes | None = None
    slice_range = b""
    # The response.
    ended = True
    gzip_in = 0
    gzip_out = 0
    # The record.
    attempts: Sequence[AttemptFacts] = ()
    upstream_trailers: Fields | None = None
    validated: StoredResponse | None = None

    def __init__(
        self, site: Site, downstream: Client, head: RequestHead, route: Route, ready: Ready
    ) -> None:
        self.site = site
        self.downstream = downstream
        self.head = head
        self.route = route
        self.ready = ready
        #: What expressions have captured: those of server and location, then of a ``map``.
        self.captures = route.captures
        self.map_values: dict[str, bytes] = {}
        self._request_id = b""

    # -- the request -------------------------------------------------------

    @property
    def world(self) -> World:
        """Everything outside the site."""
        return self.site.world

    @property
    def server(self) -> CompiledServer:
        """The server that the route leads to."""
        return self.route.server

    @property
    def location(self) -> CompiledLocation:
        """The location that the route leads to."""
        return self.route.location

    @property
    def response(self) -> HotRequest:
        """What is sent, as a response's facts."""
        return self

    @property
    def record(self) -> HotRequest:
        """What is noted of it, as a record's facts."""
        return self

    @property
    def remote_host(self) -> str:
        """The client's address, as trusted proxies tell it."""
        peer = self._real_peer()
        return self.downstream.peer_host if peer is None else peer.host

    @property
    def remote_port(self) -> int:
        """The client's port, likewise."""
        peer = self._real_peer()
        return self.downstream.peer_port if peer is None else peer.port

    def _real_peer(self) -> Peer | None:
        find = self.location.real_peer
        return None if find is None else find(self.downstream.peer_host, self.head.fields)

    def replaced(self, head: RequestHead, route: Route) -> HotRequest:
        """The same with another head and another route."""
        other = copy.copy(self)
        other.head = head
        other.route = route
        other.map_values = {}
        return other

    # -- the response ------------------------------------------------------

    @property
    def status(self) -> int:
        """The status that is sent."""
        return self.ready.status

    @property
    def pairs(self) -> Pairs:
        """The fields that are sent."""
        return self.ready.http1_pairs

    @property
    def body_bytes_sent(self) -> int:
        """Bytes of the body."""
        return len(self.ready.body)

    # -- the record --------------------------------------------------------

    @property
    def started(self) -> float:
        """Now, in monotonic seconds: it takes no time."""
        return self.site.world.scheduler.monotonic()

    @property
    def bytes_before(self) -> int:
        """What the connection had sent before, had it sent the answer by now."""
        ready = self.ready
        return self.downstream.bytes_sent - len(ready.http1) - len(ready.http1_body)

    @property
    def cache_status(self) -> bytes:
        """``$upstream_cache_status``."""
        return self.ready.cache_status

    @property
    def upstream_fields(self) -> Fields | None:
        """The fields of the stored response."""
        return self.ready.upstream_fields

    def identify(self, random_bytes: Callable[[int], bytes]) -> bytes:
        """``$request_id``: made when first asked for, then the same."""
        if not self._request_id:
            self._request_id = random_bytes(REQUEST_ID_BYTES).hex().encode()
        return self._request_id
