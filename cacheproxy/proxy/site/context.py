"""What the text of directives is rendered on.

``TemplateContext`` is what follows from a route, which is all that cache keys and the fields of
ready answers may read: an exchange's request has it, and so has a ``RouteContext``, which
stands for the GETs of a route. ``RequestContext`` is a request with its client, its
response and what is noted of both: the rest of the ``$variables`` need it. Both are read only.

Imports: ``http``, ``policy``, ``proxy.interfaces``, ``proxy.site.site``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

from cacheproxy.http.fields import Fields, Pairs
from cacheproxy.http.messages import RequestHead
from cacheproxy.policy.stored import StoredResponse
from cacheproxy.proxy.interfaces import Client, World
from cacheproxy.proxy.site.site import CompiledLocation, CompiledServer, Route, Site

__all__ = ["AttemptFacts", "RequestContext", "TemplateContext"]

C = TypeVar("C", bound="TemplateContext")


class CacheFacts(Protocol):
    """What the cache did."""

    @property
    def cache_status(self) -> bytes: ...

    @property
    def validated(self) -> StoredResponse | None: ...


class TemplateContext(Protocol):
    """A route, and what follows from it."""

    @property
    def site(self) -> Site: ...

    @property
    def world(self) -> World: ...

    @property
    def head(self) -> RequestHead: ...

    @property
    def method(self) -> bytes: ...

    @property
    def route(self) -> Route: ...

    @property
    def server(self) -> CompiledServer: ...

    @property
    def location(self) -> CompiledLocation: ...

    @property
    def captures(self) -> dict[str, bytes]: ...

    @property
    def map_values(self) -> dict[str, bytes]: ...

    @property
    def set_values(self) -> Mapping[str, bytes]: ...

    @property
    def uri_changed(self) -> bool: ...

    @property
    def passes_whole_uri(self) -> bool: ...

    @property
    def proxy_host(self) -> bytes | None: ...

    @property
    def slice_range(self) -> bytes: ...

    @property
    def record(self) -> CacheFacts: ...

    def replaced(self: C, head: RequestHead, route: Route) -> C:
        """The same with another head and another route; what maps have answered is forgotten."""


class BodyFacts(Protocol):
    """A request's body, as far as it has come."""

    @property
    def received(self) -> int: ...

    def in_memory(self) -> bytes | None: ...


class ResponseFacts(Protocol):
    """A response, as far as it was sent."""

    @property
    def status(self) -> int: ...

    @property
    def pairs(self) -> Pairs: ...

    @property
    def ended(self) -> bool: ...

    @property
    def body_bytes_sent(self) -> int: ...

    @property
    def gzip_in(self) -> int: ...

    @property
    def gzip_out(self) -> int: ...


class AttemptFacts(Protocol):
    """One attempt on an upstream; times in seconds."""

    @property
    def address(self) -> str: ...

    @property
    def status(self) -> int: ...

    @property
    def connect_time(self) -> float | None: ...

    @property
    def header_time(self) -> float | None: ...

    @property
    def response_time(self) -> float | None: ...

    @property
    def bytes_received(self) -> int: ...

    @property
    def body_received(self) -> int: ...

    @property
    def bytes_sent(self) -> int: ...


class RecordFacts(CacheFacts, Protocol):
    """What is noted of a request."""

    @property
    def started(self) -> float: ...

    @property
    def bytes_before(self) -> int: ...

    @property
    def attempts(self) -> Sequence[AttemptFacts]: ...

    @property
    def upstream_fields(self) -> Fields | None: ...

    @property
    def upstream_trailers(self) -> Fields | None: ...

    def identify(self, random_bytes: Callable[[int], bytes]) -> bytes: ...


class RequestContext(TemplateContext, Protocol):
    """A client's request."""

    @property
    def downstream(self) -> Client: ...

    @property
    def remote_host(self) -> str:
        """The client's address, as trusted proxies tell it (``set_real_ip_from``)."""

    @property
    def remote_port(self) -> int: ...

    @property
    def body(self) -> BodyFacts | None: ...

    @property
    def response(self) -> ResponseFacts: ...

    @property
    def record(self) -> RecordFacts: ...
