"""Static files: ``root``, ``alias``, ``index``; conditional requests and ranges.

Only regular files are served; ``site.file_path`` says which one a URI names.

Source: nginx ``ngx_http_static_module``, ``ngx_http_index_module``; RFC 9110 §13, §14.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cacheproxy.http.fields import Fields
from cacheproxy.http.target import escape_uri
from cacheproxy.policy.containment import climbs
from cacheproxy.proxy.answer.fields import file_pairs
from cacheproxy.proxy.answer.representation import Representation, send
from cacheproxy.proxy.site.file_path import path_of

if TYPE_CHECKING:
    from cacheproxy.proxy.exchange.exchange import Exchange

__all__ = ["serve"]

#: nginx's default of ``index``.
DEFAULT_INDEX = (b"index.html",)


def serve(exchange: Exchange, path: bytes | None = None) -> None:
    """Answer with the file that the URI names, or with its index.

    *path* is where ``try_files`` has found it. As in nginx POST finds out whether there is
    one before it is refused.
    """
    if exchange.request.method not in (b"GET", b"HEAD", b"POST"):
        exchange.answer_status(405)
        return
    uri = exchange.request.route.uri
    if path is None:
        path = path_of(exchange.request, uri)
    if path is None:
        exchange.answer_status(404)
    elif uri.endswith(b"/"):
        _serve_index(exchange, uri, path)
    else:
        _serve_path(exchange, uri, path)


def _serve_index(exchange: Exchange, uri: bytes, path: bytes) -> None:
    core = exchange.request.location.core
    names = [template.render(exchange.request) for template in core.index] or list(DEFAULT_INDEX)
    files = exchange.world.files
    for name in names:
        if name.startswith(b"/"):
            exchange.internal_redirect(name)
            return
        if not climbs(path, name) and files.is_file(path + name):
            # As nginx: the index may belong to another location.
            args = exchange.request.route.args if exchange.request.route.has_args else None
            exchange.internal_redirect(uri + name, args)
            return
    if files.is_directory(path):
        exchange.log_error("error", f"directory index of {path!r} is forbidden")
        exchange.answer_status(403)
    else:
        _not_found(exchange, path, 404)


def _serve_path(exchange: Exchange, uri: bytes, path: bytes) -> None:
    opened = exchange.world.files.open(path)
    if isinstance(opened, int):
        if opened == 301:
            route = exchange.request.route
            target = escape_uri(uri) + b"/"
            if route.args:
                target += b"?" + route.args
            exchange.redirect(301, target)
        else:
            _not_found(exchange, path, opened)
        return
    if exchange.request.method == b"POST":
        opened.close()
        exchange.answer_status(405)
        return
    pairs = exchange.own_pairs() + file_pairs(exchange.request.location, opened, uri)
    fields = Fields(pairs)
    remembers = exchange.site.remembers
    if remembers is not None and not exchange.would_gzip(200, fields, opened.size):
        remembers.remember_file(exchange, path, opened)
    send(exchange, Representation(200, b"OK", pairs, fields, opened.size, opened))


def _not_found(exchange: Exchange, path: bytes, status: int) -> None:
    if exchange.request.location.core.log_not_found or status != 404:
        reason = {403: "permission denied", 404: "no such file"}.get(status, "cannot be read")
        exchange.log_error("error", f'open() "{path.decode("utf-8", "replace")}" failed ({reason})')
    exchange.answer_status(status)
