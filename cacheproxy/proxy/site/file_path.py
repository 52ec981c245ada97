"""Which file a URI names: ``root`` and ``alias``.

The path is made from the normalised URI, which holds no ``..`` segment and no NUL, so
nothing outside the folder can be named. Where ``alias`` replaces the location's prefix,
or ``root`` and ``alias`` have variables, the path is held inside the folder that the
directive names (``policy.containment``), unlike in nginx.

Source: nginx ``ngx_http_map_uri_to_path``, ``try_files``.
Imports: ``errors``, ``http``, ``policy``, ``template``, ``proxy.site.context``.
"""

from __future__ import annotations

from cacheproxy.errors import ProtocolError
from cacheproxy.http.target import resolve_dots
from cacheproxy.policy.containment import climbs, literal_start
from cacheproxy.proxy.site.context import TemplateContext
from cacheproxy.template import Template

__all__ = ["path_of", "path_of_tried"]


def path_of(request: TemplateContext, uri: bytes) -> bytes | None:
    """The file system path of *uri* in the request's location; None where it has none."""
    core = request.location.core
    if core.alias is not None:
        alias = _contained(core.alias, request)
        if alias is None or core.alias_length is None:
            return alias
        rest = uri[core.alias_length :]
        return None if climbs(alias, rest) else alias + rest
    if core.root is None:
        return None
    root = _contained(core.root, request)
    return None if root is None else root.rstrip(b"/") + uri


def path_of_tried(
    request: TemplateContext, name: bytes, literal: bool
) -> tuple[bytes, bytes] | None:
    """The path of *name*, one of ``try_files``, and the URI that it is served as.

    None where it has none. Below an ``alias`` a rendered name stands without the prefix that
    the alias replaces; a *literal* one is taken as it is written. In a location given by a
    regular expression it follows the whole alias.

    Source: ``ngx_http_try_files_handler``.
    """
    core = request.location.core
    if core.alias is None:
        try:
            name = resolve_dots(name) if name else name
        except ProtocolError:
            return None
        root = None if core.root is None else _contained(core.root, request)
        return None if root is None else (root.rstrip(b"/") + name, name)
    alias = _contained(core.alias, request)
    prefix = b"" if core.alias_length is None else request.route.uri[: core.alias_length]
    if prefix and not literal and name.startswith(prefix):
        name = name[len(prefix) :]
    if alias is None or climbs(alias, name):
        return None
    return alias + name, prefix + name


def _contained(folder: Template, request: TemplateContext) -> bytes | None:
    """*folder* rendered; None where a variable leads out of what is literal before it."""
    path = folder.render(request)
    if folder.constant is None:
        literal = literal_start(folder.text)
        if climbs(literal, path[len(literal) :]):
            return None
    return path
