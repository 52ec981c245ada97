"""Rows of gateways that are not served: FastCGI, SCGI, gRPC, memcached.

In nginx their directives do nothing in a location that is handled otherwise, and
configurations carry them along (``include fastcgi_params``, ``scgi_temp_path``): they are
accepted. What would hand requests to such a gateway is refused by name.
"""

from __future__ import annotations

from cacheproxy.config.source import NGINX_DIRECTIVES
from cacheproxy.config.table import HSL, MANY, Context, Row, accepted, refused

__all__ = ["ROWS"]

#: What to write instead of each gateway's ``*_pass``.
_INSTEAD = {
    "fastcgi": 'serve the application by HTTP or uwsgi and write "proxy_pass" or "uwsgi_pass"',
    "grpc": 'write "proxy_pass" where the server also speaks HTTP/1.1, or let clients reach it '
    "past this proxy",
    "memcached": 'write "proxy_pass" to the application, with "proxy_cache" for what it repeats',
    "scgi": 'serve the application by HTTP or uwsgi and write "proxy_pass" or "uwsgi_pass"',
}


def _rows(gateway: str, instead: str) -> list[Row]:
    rows = [refused(f"{gateway}_pass", Context.LOCATION, instead)]
    note = f"Says something about {gateway}_pass, which is not served."
    for name in sorted(NGINX_DIRECTIVES):
        if name.startswith(f"{gateway}_") and name != f"{gateway}_pass":
            contexts = Context.HTTP if name.endswith("_cache_path") else HSL
            rows += accepted(name, contexts, note, (1, MANY))
    return rows


ROWS: list[Row] = [row for gateway, instead in _INSTEAD.items() for row in _rows(gateway, instead)]
