"""Which variables follow from a request's route alone: its address, Host and target.

What is made of these is the same for all requests with the same route, so that it can
be made once: a cache key, or an answer that is kept ready to send.

Imports: ``template``.
"""

from __future__ import annotations

from collections.abc import Set

from cacheproxy.template import Template

__all__ = ["HIT_VARIABLES", "ROUTE_VARIABLES", "follows_route", "is_of_route"]

#: Variables whose value follows from (listening address, Host, request-target).
ROUTE_VARIABLES = frozenset(
    {
        "args",
        "document_uri",
        "host",
        "http_host",
        "https",
        "is_args",
        "is_request_port",
        "proxy_host",
        "proxy_port",
        "query_string",
        "request_port",
        "request_uri",
        "scheme",
        "server_name",
        "uri",
    }
)

#: Those that are known of every hit.
HIT_VARIABLES = frozenset(
    {"upstream_cache_etag", "upstream_cache_last_modified", "upstream_cache_status"}
)


def is_of_route(name: str) -> bool:
    """Whether the variable *name* follows from the route; arguments do."""
    return name in ROUTE_VARIABLES or name.startswith("arg_")


def follows_route(template: Template, others: Set[str] = frozenset()) -> bool:
    """Whether the value is the same for all requests with the same route and the same *others*.

    Captures follow from the route too.
    """
    return all(is_of_route(name) or name in others or name.isdigit() for name in template.variables)
