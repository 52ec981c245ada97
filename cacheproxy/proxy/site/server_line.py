"""The name that the proxy gives itself: ``Server``, and the foot of its pages.

Source: nginx ``server_tokens``; RFC 9110 §10.2.4.
Imports: ``policy``.
"""

from __future__ import annotations

from cacheproxy import __version__
from cacheproxy.policy.options import CoreOptions

__all__ = ["SERVER", "SERVER_WITH_VERSION", "server_line"]

SERVER = b"cacheproxy"
SERVER_WITH_VERSION = b"cacheproxy/" + __version__.encode()

#: Our Server line, by ``server_tokens``.
_SERVER_LINES = {False: (b"Server", SERVER), True: (b"Server", SERVER_WITH_VERSION)}


def server_line(core: CoreOptions) -> tuple[bytes, bytes]:
    """Our Server line, with the version where ``server_tokens`` is on."""
    return _SERVER_LINES[core.server_tokens]
