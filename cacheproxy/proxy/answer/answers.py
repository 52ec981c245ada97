"""Whole answers made here: ``return``, redirects, errors and their ``error_page``.

Source: nginx ``ngx_http_rewrite_module`` (``return``), ``ngx_http_send_response``,
``ngx_http_special_response``.
"""

from __future__ import annotations

from cacheproxy.http.fields import Pairs
from cacheproxy.policy.options import ErrorPage, Return
from cacheproxy.proxy.answer.fields import media_type
from cacheproxy.proxy.answer.pages import error_page
from cacheproxy.proxy.answer.redirects import absolute_location
from cacheproxy.proxy.exchange.exchange import Exchange

__all__ = ["answer_error", "answer_redirect", "answer_return"]

_REDIRECTS = frozenset({301, 302, 303, 307, 308})

#: Fields kept from a response with X-Accel-Redirect that are not true of the page of an error.
_NOT_OF_PAGES = frozenset(
    {b"accept-ranges", b"content-disposition", b"content-type", b"last-modified"}
)


def answer_return(exchange: Exchange, directive: Return) -> None:
    """``return``: 444 closes without an answer; a redirect's text is its target."""
    status = directive.status
    exchange.response.note_status(status)
    text = None if directive.text is None else directive.text.render(exchange.request)
    if status == 444:
        exchange.abort()
    elif status in _REDIRECTS and text is not None:
        answer_redirect(exchange, status, text)
    elif text is None:
        if status in (204, 205) or status < 300:
            exchange.answer(status, b"", exchange.request.location.core.default_type)
        else:
            exchange.answer_status(status)
    else:
        request = exchange.request
        exchange.answer(status, text, media_type(request.location.core, request.route.uri))


def answer_redirect(exchange: Exchange, status: int, location: bytes) -> None:
    """A redirect to *location*, made absolute as the directives say.

    As in nginx it stays a redirect where the page of an error leads to it.
    """
    exchange.response.override_status(0)
    target = absolute_location(exchange.request, location)
    body = error_page(status, exchange.request.location.core.server_tokens)
    exchange.answer(status, body, b"text/html", [(b"Location", target)])


def answer_error(exchange: Exchange, status: int, extra: Pairs | None) -> None:
    """Answer with *status* through ``error_page``, or with the page made here."""
    page = exchange.request.location.error_pages.get(status)
    if page is not None and not (
        exchange.request.is_error_page and not exchange.request.location.core.recursive_error_pages
    ):
        _redirect_error(exchange, status, page)
        return
    response = exchange.response
    if response.kept_fields:
        # They were of the resource, which this page is not.
        response.keep_fields(
            [pair for pair in response.kept_fields if pair[0].lower() not in _NOT_OF_PAGES]
        )
    # As nginx: an error on the way to an error page is the one that is answered.
    response.override_status(0)
    shown = 400 if status in (494, 495, 496, 497) else status
    body = error_page(status, exchange.request.location.core.server_tokens)
    exchange.answer(shown, body, b"text/html", extra)


def _redirect_error(exchange: Exchange, status: int, page: ErrorPage) -> None:
    exchange.request.note_error_page()
    override = status if page.response is None else page.response
    exchange.response.override_status(override)
    uri = page.uri.render(exchange.request)
    if uri.startswith(b"@"):
        exchange.enter_named(uri)
    elif uri.startswith(b"/"):
        exchange.request.become_get()
        path, _, args = uri.partition(b"?")
        # As in nginx it is not decoded: $uri has been.
        exchange.internal_redirect(path, args)
    else:
        answer_redirect(exchange, override if override in _REDIRECTS else 302, uri)
