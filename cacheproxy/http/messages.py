"""Heads of requests and responses, the same for every HTTP version.

RFC 9110 §6. Bytes end to end; versions are integers (10, 11, 20).

Imports: ``fields``.
"""

from __future__ import annotations

from cacheproxy.http.fields import Fields

__all__ = ["REASONS", "RequestHead", "ResponseHead", "reason_phrase"]


REASONS: dict[int, bytes] = {
    100: b"Continue",
    101: b"Switching Protocols",
    102: b"Processing",
    103: b"Early Hints",
    200: b"OK",
    201: b"Created",
    202: b"Accepted",
    203: b"Non-Authoritative Information",
    204: b"No Content",
    205: b"Reset Content",
    206: b"Partial Content",
    300: b"Multiple Choices",
    301: b"Moved Permanently",
    302: b"Moved Temporarily",
    303: b"See Other",
    304: b"Not Modified",
    307: b"Temporary Redirect",
    308: b"Permanent Redirect",
    400: b"Bad Request",
    401: b"Unauthorized",
    402: b"Payment Required",
    403: b"Forbidden",
    404: b"Not Found",
    405: b"Not Allowed",
    406: b"Not Acceptable",
    408: b"Request Time-out",
    409: b"Conflict",
    410: b"Gone",
    411: b"Length Required",
    412: b"Precondition Failed",
    413: b"Request Entity Too Large",
    414: b"Request-URI Too Large",
    415: b"Unsupported Media Type",
    416: b"Requested Range Not Satisfiable",
    417: b"Expectation Failed",
    421: b"Misdirected Request",
    426: b"Upgrade Required",
    429: b"Too Many Requests",
    431: b"Request Header Fields Too Large",
    500: b"Internal Server Error",
    501: b"Not Implemented",
    502: b"Bad Gateway",
    503: b"Service Temporarily Unavailable",
    504: b"Gateway Time-out",
    505: b"HTTP Version Not Supported",
    507: b"Insufficient Storage",
}


def reason_phrase(status: int) -> bytes:
    """nginx's reason phrase for *status*; empty for a code that it does not know."""
    return REASONS.get(status, b"")


class RequestHead:
    """A request's control data and fields.

    ``target`` is the request-target as received. ``body_length`` is None when
    the request has no body, an integer when Content-Length says so, and -1
    (``CHUNKED``) for the chunked transfer coding. ``keep_alive`` is what the
    message itself says about persistence (RFC 9112 §9.3).
    """

    __slots__ = ("body_length", "fields", "keep_alive", "method", "target", "version")

    CHUNKED = -1

    def __init__(
        self,
        method: bytes,
        target: bytes,
        version: int,
        fields: Fields,
        body_length: int | None = None,
        keep_alive: bool = True,
    ) -> None:
        self.method = method
        self.target = target
        self.version = version
        self.fields = fields
        self.body_length = body_length
        self.keep_alive = keep_alive

    def __repr__(self) -> str:
        return f"<RequestHead {self.method!r} {self.target!r} {self.version}>"


class ResponseHead:
    """A response's control data and fields.

    ``body_length``: bytes, ``CHUNKED`` (-1) for the chunked coding,
    ``UNTIL_CLOSE`` (-2) where only the end of the connection delimits the body
    (RFC 9112 §6.3); 0 for responses that have none by definition. ``keep_alive``
    tells whether the connection may carry another message after this one. ``steers``: it
    has fields by which an application tells the proxy how to answer or to buffer.
    """

    __slots__ = ("body_length", "fields", "keep_alive", "reason", "status", "steers", "version")

    CHUNKED = -1
    UNTIL_CLOSE = -2

    def __init__(
        self,
        status: int,
        fields: Fields,
        reason: bytes | None = None,
        version: int = 11,
        body_length: int = 0,
        keep_alive: bool = True,
    ) -> None:
        self.status = status
        self.reason = reason_phrase(status) if reason is None else reason
        self.version = version
        self.fields = fields
        self.body_length = body_length
        self.keep_alive = keep_alive
        # Known once for all who would look the two up: a head is mostly read more than once.
        names = fields.names()
        self.steers = b"x-accel-redirect" in names or b"x-accel-buffering" in names

    def __repr__(self) -> str:
        return f"<ResponseHead {self.status} {self.reason!r}>"
