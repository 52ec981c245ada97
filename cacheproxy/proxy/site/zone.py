"""Which cache zone a location stores in.

Imports: ``proxy.interfaces``, ``proxy.site.context``.
"""

from __future__ import annotations

from cacheproxy.proxy.interfaces import Storage
from cacheproxy.proxy.site.context import TemplateContext

__all__ = ["zone_of"]


def zone_of(request: TemplateContext) -> Storage | None:
    """The zone of the request's location, None for none.

    Errors: ``LookupError`` where no zone has the name that it is given.

    Source: nginx ``ngx_http_upstream_cache_get``.
    """
    location = request.location
    options = location.cache
    if location.storage is not None or options is None or options.cache is None:
        return location.storage
    if isinstance(options.cache, str):
        return None
    name = options.cache.render(request).decode("utf-8", "replace")
    storage = request.world.storage(name)
    if storage is None and name not in ("", "off"):
        raise LookupError(f'cache "{name}" not found')
    return storage
