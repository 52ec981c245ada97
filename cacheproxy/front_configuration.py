"""The configuration that stands before one application where nobody has written one.

``twistd cacheproxy --upstream`` (``tap``) and ``CachingProxyResource`` (``resource``) start
from it: a cache that keeps what the application marks, gzip, and the ``X-Forwarded-*`` fields
that frameworks read, none of which a client is believed in.

The text is nginx's syntax; who calls has checked or quoted the values. Imports nothing.
"""

from __future__ import annotations

__all__ = ["front_configuration"]

_CONFIGURATION = """\
http {{
    access_log off;
    server_tokens off;
    proxy_cache_path {directory} levels=1:2 keys_zone={zone}:10m max_size={max_size}
                     inactive={inactive} memory={memory} use_temp_path=off;
    gzip {gzip};
    gzip_comp_level 5;
    gzip_min_length 512;
    gzip_proxied any;
    gzip_vary on;
    gzip_types text/plain text/css text/xml text/javascript application/javascript
               application/json application/xml application/rss+xml application/atom+xml
               application/manifest+json image/svg+xml font/ttf;
    client_max_body_size {max_body};
    server {{
{listen}
        location / {{
            proxy_pass {upstream};
            proxy_set_header Host $http_host;
            proxy_set_header X-Real-IP $remote_addr;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Host $http_host;
            proxy_set_header X-Forwarded-Port $server_port;
            proxy_set_header Forwarded "";
            proxy_cache {zone};
            proxy_cache_lock on;
            proxy_cache_use_stale error timeout http_502 http_503 http_504;
{directives}
        }}
    }}
}}
"""


def front_configuration(
    upstream: str,
    *,
    zone: str,
    directory: str,
    max_size: str = "1g",
    inactive: str = "24h",
    memory: str = "64m",
    max_body: str = "100m",
    gzip: bool = True,
    listen: str = "",
    directives: str = "",
) -> str:
    """The text for *upstream*, a URL; the cache is in *directory*.

    *directives* is more text for the location, *listen* the address of the server.
    """
    return _CONFIGURATION.format(
        upstream=upstream,
        zone=zone,
        directory=directory,
        max_size=max_size,
        inactive=inactive,
        memory=memory,
        max_body=max_body,
        gzip="on" if gzip else "off",
        listen=f"        listen {listen};" if listen else "",
        directives=directives,
    )
