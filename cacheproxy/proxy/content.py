"""What a location answers with: ``return``, ``try_files``, ``proxy_pass`` or files.

Source: nginx ``ngx_http_rewrite_module`` (``return``), ``ngx_http_try_files_module``,
``ngx_http_core_module`` (``absolute_redirect`` and its kin).

Imports: ``policy``, ``proxy`` below ``exchange``; ``exchange`` calls this module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cacheproxy.errors import ProtocolError
from cacheproxy.http.target import escape_uri, normalize_path
from cacheproxy.policy.options import Return, TryFiles
from cacheproxy.proxy import caching, static
from cacheproxy.proxy.pages import error_page
from cacheproxy.proxy.redirects import absolute_location
from cacheproxy.proxy.relay import Relay

if TYPE_CHECKING:
    from cacheproxy.proxy.exchange import Exchange

__all__ = ["answer_redirect", "answer_return", "serve"]

_REDIRECTS = frozenset({301, 302, 303, 307, 308})


def serve(exchange: Exchange) -> None:
    """Run the content phase of the exchange's location."""
    location = exchange.location
    if location.core.try_files is not None and not _try_files(exchange, location.core.try_files):
        return
    if location.proxy.proxy_pass is None:
        static.serve(exchange)
    elif location.cache is None:
        Relay(exchange).start()
    else:
        caching.serve(exchange)


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
        exchange.answer(status, text, static.content_type(exchange, exchange.route.uri))


def answer_redirect(exchange: Exchange, status: int, location: bytes) -> None:
    """A redirect to *location*, made absolute as the directives say."""
    target = absolute_location(exchange, location)
    body = error_page(status, exchange.location.core.server_tokens)
    exchange.answer(status, body, b"text/html", [(b"Location", target)])


def _try_files(exchange: Exchange, directive: TryFiles) -> bool:
    """Whether the content phase goes on here, with ``$uri`` set to the file found."""
    files = exchange.world.files
    for template, wants_directory in directive.files:
        uri = template.render(exchange)
        try:
            uri = normalize_path(escape_uri(uri), False) if uri else b"/"
        except ProtocolError:
            continue
        path = static.path_of(exchange, uri)
        if path is None:
            continue
        if files.is_directory(path) if wants_directory else files.is_file(path):
            if wants_directory and not uri.endswith(b"/"):
                uri += b"/"
            exchange.set_uri(uri)
            return True
    if directive.status is not None:
        exchange.answer_status(directive.status)
    else:
        assert directive.uri is not None
        uri = directive.uri.render(exchange)
        if uri.startswith(b"@"):
            exchange.enter_named(uri)
        else:
            path, question, args = uri.partition(b"?")
            exchange.internal_redirect(path or b"/", args if question else None)
    return False
