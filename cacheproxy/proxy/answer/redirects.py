"""The target of a redirect as the client sees it.

Source: nginx ``absolute_redirect``, ``server_name_in_redirect``, ``port_in_redirect``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cacheproxy.proxy.exchange.exchange import Exchange

__all__ = ["absolute_location"]

_DEFAULT_PORTS = {b"http": 80, b"https": 443}


def absolute_location(exchange: Exchange, location: bytes) -> bytes:
    """``absolute_redirect``: a path becomes a URL with this server's name and port."""
    core = exchange.location.core
    if not location.startswith(b"/") or not core.absolute_redirect:
        return location
    host = exchange.server.name if core.server_name_in_redirect else exchange.route.host
    if not host:
        host = exchange.downstream.local_host.encode()
        if b":" in host:
            host = b"[" + host + b"]"
    scheme = exchange.site.scheme
    port = exchange.downstream.local_port
    if core.port_in_redirect and port and port != _DEFAULT_PORTS[scheme]:
        host += b":%d" % port
    return scheme + b"://" + host + location
