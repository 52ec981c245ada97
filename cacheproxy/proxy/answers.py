"""Whole answers that a location's directives give: ``return`` and redirects.

Source: nginx ``ngx_http_rewrite_module`` (``return``), ``ngx_http_send_response``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cacheproxy.policy.options import Return
from cacheproxy.proxy.hot import media_type
from cacheproxy.proxy.pages import error_page
from cacheproxy.proxy.redirects import absolute_location

if TYPE_CHECKING:
    from cacheproxy.proxy.exchange import Exchange

__all__ = ["answer_redirect", "answer_return"]

_REDIRECTS = frozenset({301, 302, 303, 307, 308})


def answer_return(exchange: Exchange, directive: Return) -> None:
    """``return``: 444 closes without an answer; a redirect's text is its target."""
    status = exchange.status = directive.status
    text = None if directive.text is None else directive.text.render(exchange)
    if status == 444:
        exchange.abort()
    elif status in _REDIRECTS and text is not None:
        answer_redirect(exchange, status, text)
    elif text is None:
        if status in (204, 205) or status < 300:
            exchange.answer(status, b"", exchange.location.core.default_type)
        else:
            exchange.answer_status(status)
    else:
        exchange.answer(status, text, media_type(exchange.location.core, exchange.route.uri))


def answer_redirect(exchange: Exchange, status: int, location: bytes) -> None:
    """A redirect to *location*, made absolute as the directives say."""
    target = absolute_location(exchange, location)
    body = error_page(status, exchange.location.core.server_tokens)
    exchange.answer(status, body, b"text/html", [(b"Location", target)])
