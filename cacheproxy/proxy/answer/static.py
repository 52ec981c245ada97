"""Static files: ``root``, ``alias``, ``index``; conditional requests and ranges.

The path is made from the normalised URI, which holds no ``..`` segment and no NUL, so
nothing outside the folder can be named. Where ``alias`` replaces the location's prefix,
or ``root`` and ``alias`` have variables, the path is held inside the folder that the
directive names (``policy.containment``), unlike in nginx. Only regular files are served.

Source: nginx ``ngx_http_static_module``, ``ngx_http_index_module``,
``ngx_http_map_uri_to_path``; RFC 9110 §13, §14.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cacheproxy.http.fields import Fields
from cacheproxy.http.target import escape_uri
from cacheproxy.policy.containment import climbs, literal_start
from cacheproxy.proxy.answer.fields import file_pairs
from cacheproxy.proxy.answer.representation import Representation, send
from cacheproxy.template import Template

if TYPE_CHECKING:
    from cacheproxy.proxy.exchange.exchange import Exchange

__all__ = ["path_of", "serve"]

#: nginx's default of ``index``.
DEFAULT_INDEX = (b"index.html",)



def serve(exchange: Exchange) -> None:
    """Answer with the file that the URI names, or with its index.

    As in nginx POST finds out whether there is one before it is refused.
    """
    if exchange.method not in (b"GET", b"HEAD", b"POST"):
        exchange.answer_status(405)
        return
    uri = exchange.route.uri
    path = path_of(exchange, uri)
    if path is None:
        exchange.answer_status(404)
    elif uri.endswith(b"/"):
        _serve_index(exchange, uri, path)
    else:
        _serve_path(exchange, uri, path)


def _serve_index(exchange: Exchange, uri: bytes, path: bytes) -> None:
    core = exchange.location.core
    names = [template.render(exchange) for template in core.index] or list(DEFAULT_INDEX)
    files = exchange.world.files
    for name in names:
        if name.startswith(b"/"):
            exchange.internal_redirect(name)
            return
        if not climbs(path, name) and files.is_file(path + name):
            # As nginx: the index may belong to another location.
            args = exchange.route.args if exchange.route.has_args else None
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
            route = exchange.route
            target = escape_uri(uri) + b"/"
            if route.has_args:
                target += b"?" + route.args
            exchange.redirect(301, target)
        else:
            _not_found(exchange, path, opened)
        return
    if exchange.method == b"POST":
        opened.close()
        exchange.answer_status(405)
        return
    pairs = exchange.own_pairs() + file_pairs(exchange.location, opened, uri)
    fields = Fields(pairs)
    remembers = exchange.site.remembers
    if remembers is not None and not exchange.would_gzip(200, fields, opened.size):
        remembers.remember_file(exchange, path, opened)
    send(exchange, Representation(200, b"OK", pairs, fields, opened.size, opened))


def _not_found(exchange: Exchange, path: bytes, status: int) -> None:
    if exchange.location.core.log_not_found or status != 404:
        reason = {403: "permission denied", 404: "no such file"}.get(status, "cannot be read")
        exchange.log_error("error", f'open() "{path.decode("utf-8", "replace")}" failed ({reason})')
    exchange.answer_status(status)


def path_of(exchange: Exchange, uri: bytes) -> bytes | None:
    """The file system path of *uri* in the exchange's location; None where it has none."""
    core = exchange.location.core
    if core.alias is not None:
        alias = _contained(core.alias, exchange)
        if alias is None or core.alias_length is None:
            return alias
        rest = uri[core.alias_length :]
        return None if climbs(alias, rest) else alias + rest
    if core.root is None:
        return None
    root = _contained(core.root, exchange)
    return None if root is None else root.rstrip(b"/") + uri


def _contained(folder: Template, exchange: Exchange) -> bytes | None:
    """*folder* rendered; None where a variable leads out of what is literal before it."""
    path = folder.render(exchange)
    if folder.constant is None:
        literal = literal_start(folder.text)
        if climbs(literal, path[len(literal) :]):
            return None
    return path
