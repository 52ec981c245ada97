"""Which file a URI names: ``root`` and ``alias``.

The path is made from the normalised URI, which holds no ``..`` segment and no NUL, so
nothing outside the folder can be named. Where ``alias`` replaces the location's prefix,
or ``root`` and ``alias`` have variables, the path is held inside the folder that the
directive names (``policy.containment``), unlike in nginx.

Source: nginx ``ngx_http_map_uri_to_path``.
Imports: ``policy``, ``template``, ``proxy.site.context``.
"""

from __future__ import annotations

from cacheproxy.policy.containment import climbs, literal_start
from cacheproxy.proxy.site.context import TemplateContext
from cacheproxy.template import Template

__all__ = ["path_of"]


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


def _contained(folder: Template, request: TemplateContext) -> bytes | None:
    """*folder* rendered; None where a variable leads out of what is literal before it."""
    path = folder.render(request)
    if folder.constant is None:
        literal = literal_start(folder.text)
        if climbs(literal, path[len(literal) :]):
            return None
    return path
