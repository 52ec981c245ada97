"""The small HTML pages that the proxy answers with itself.

The same shape as nginx's special responses: a title, a heading, and the server's
name where ``server_tokens`` allows it.

Imports: ``http.messages``, ``proxy.site.server_line``.
"""

from __future__ import annotations

from functools import lru_cache

from cacheproxy.http.messages import reason_phrase
from cacheproxy.proxy.site.server_line import SERVER, SERVER_WITH_VERSION

__all__ = ["error_page"]

#: Statuses of nginx's own that are answered as another one, with their titles.
_TITLES = {
    431: b"431 Request Header Or Cookie Too Large",
    497: b"400 The plain HTTP request was sent to HTTPS port",
}

_NOTES = {
    431: b"<center>Request Header Or Cookie Too Large</center>\r\n",
    497: b"<center>The plain HTTP request was sent to HTTPS port</center>\r\n",
}


@lru_cache(maxsize=256)
def error_page(status: int, server_tokens: bool = True) -> bytes:
    """The HTML page for *status*; 497 gives the page that goes with its 400."""
    shown = 400 if status == 497 else status
    title = _TITLES.get(status) or b"%d %s" % (shown, reason_phrase(shown))
    heading = b"%d %s" % (shown, reason_phrase(shown))
    server = SERVER_WITH_VERSION if server_tokens else SERVER
    return (
        b"<html>\r\n<head><title>" + title + b"</title></head>\r\n<body>\r\n"
        b"<center><h1>" + heading + b"</h1></center>\r\n" + _NOTES.get(status, b"") +
        b"<hr><center>" + server + b"</center>\r\n</body>\r\n</html>\r\n"
    )
