"""Answering from a different location (``X-Accel-Redirect``, ``error_page``).

Source: nginx ``ngx_http_upstream_process_headers``, ``proxy_intercept_errors``.
Imports: ``http``, ``proxy.exchange``.
"""

from __future__ import annotations

from cacheproxy.errors import ProtocolError
from cacheproxy.http.messages import ResponseHead
from cacheproxy.http.target import parse_internal
from cacheproxy.proxy.exchange.exchange import Exchange

__all__ = ["answer_elsewhere", "has_accel_redirect", "is_answered_elsewhere"]

#: Fields of the response with X-Accel-Redirect that the answer from there has too.
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


def is_answered_elsewhere(exchange: Exchange, head: ResponseHead) -> bool:
    """Whether another location answers in place of the response *head*."""
    return has_accel_redirect(exchange, head) or (
        exchange.request.location.proxy.intercept_errors
        and head.status >= 300
        and head.status in exchange.request.location.error_pages
    )


def has_accel_redirect(exchange: Exchange, head: ResponseHead) -> bool:
    """Whether the application names a location that is to answer."""
    ignored = exchange.request.location.proxy.ignore_headers
    return b"x-accel-redirect" in head.fields and b"x-accel-redirect" not in ignored


def answer_elsewhere(exchange: Exchange, head: ResponseHead) -> None:
    """Answer from the location that is to; the response itself has been discarded."""
    if not has_accel_redirect(exchange, head):
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
