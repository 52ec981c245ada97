"""The target of a redirect as the client sees it.

Source: nginx ``absolute_redirect``, ``server_name_in_redirect``, ``port_in_redirect``.
"""

from __future__ import annotations

from cacheproxy.proxy.site.context import RequestContext

__all__ = ["absolute_location"]

_DEFAULT_PORTS = {b"http": 80, b"https": 443}


def absolute_location(request: RequestContext, location: bytes) -> bytes:
    """``absolute_redirect``: a path becomes a URL with this server's name and port."""
    core = request.location.core
    if not location.startswith(b"/") or not core.absolute_redirect:
        return location
    host = request.server.name if core.server_name_in_redirect else request.route.host
    if not host:
        host = request.downstream.local_host.encode()
        if b":" in host:
            host = b"[" + host + b"]"
    scheme = request.site.scheme
    port = request.downstream.local_port
    if core.port_in_redirect and port and port != _DEFAULT_PORTS[scheme]:
        host += b":%d" % port
    return scheme + b"://" + host + location
