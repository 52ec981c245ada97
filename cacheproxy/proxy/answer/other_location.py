"""Answers from another place than the one that was asked: ``X-Accel-Redirect``, error pages.

Source: nginx ``ngx_http_upstream_process_headers``, ``proxy_intercept_errors``.
Imports: ``http``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cacheproxy.errors import ProtocolError
from cacheproxy.http.messages import ResponseHead
from cacheproxy.http.target import parse_internal

if TYPE_CHECKING:
    from cacheproxy.proxy.exchange.exchange import Exchange

__all__ = ["go_elsewhere", "goes_elsewhere", "names_another"]

#: Fields of the response that named another place which are kept for that one.
_KEPT = frozenset(
    {
        b"accept-ranges",
        b"cache-control",
        b"content-disposition",
        b"content-type",
        b"expires",
        b"set-cookie",
    }
)


def goes_elsewhere(exchange: Exchange, head: ResponseHead) -> bool:
    """Whether something else answers than the response: a place it names, or an error page."""
    return names_another(exchange, head) or (
        exchange.request.location.proxy.intercept_errors
        and head.status >= 300
        and head.status in exchange.request.location.error_pages
    )


def names_another(exchange: Exchange, head: ResponseHead) -> bool:
    """Whether the application names another place that answers (``X-Accel-Redirect``)."""
    ignored = exchange.request.location.proxy.ignore_headers
    return b"x-accel-redirect" in head.fields and b"x-accel-redirect" not in ignored


def go_elsewhere(exchange: Exchange, head: ResponseHead) -> None:
    """Have the exchange answered there; the response itself was let go of."""
    if not names_another(exchange, head):
        exchange.answer_status(head.status)
        return
    exchange.response.say_cache_status(b"")
    uri = head.fields.get(b"x-accel-redirect") or b""
    kept = [pair for pair in head.fields.pairs if pair[0].lower() in _KEPT]
    exchange.response.keep_fields(kept)
    if uri.startswith(b"@"):
        exchange.enter_named(uri)
        return
    try:
        path, args = parse_internal(uri)
    except ProtocolError as problem:
        exchange.log_error("error", problem.message)
        exchange.answer_status(problem.status)
        return
    exchange.request.become_get()
    exchange.internal_redirect(path, args)
