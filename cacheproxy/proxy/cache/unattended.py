"""Exchanges without a client: a stored response is refreshed in the background.

A stale response was sent at once (``stale-while-revalidate``,
``proxy_cache_background_update``); a second exchange validates or replaces what is
stored (``cache.lookup.refresh``). It writes no access log, and its client is a ``NoClient``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cacheproxy.http.messages import RequestHead
from cacheproxy.policy.reuse import STEERING_FIELDS
from cacheproxy.proxy.exchange.no_client import NoClient

if TYPE_CHECKING:
    from cacheproxy.proxy.exchange.exchange import Exchange

__all__ = ["unattended"]

#: Fields about the client's own copy or its connection, which the refresh does not send.
_NOT_REFRESHED = STEERING_FIELDS | {b"expect", b"upgrade", b"connection"}


def unattended(cause: Exchange) -> Exchange:
    """An exchange without a client that repeats the request of *cause*, a GET or HEAD."""
    head, options = cause.request.head, cause.request.location.cache
    fields = head.fields.without(_NOT_REFRESHED)
    # The answer to a HEAD that was sent as such is stored apart.
    converted = options is None or options.convert_head
    method = b"GET" if converted else cause.request.method
    request = RequestHead(method, head.target, head.version, fields)
    return cause.detached(NoClient(cause.downstream), request)
