"""HTTP/1.1 messages as octets: heads, chunks, trailers.

RFC 9112 §3–§5 and §7.1. Every encoder refuses CR, LF and NUL in whatever it is
given, so that no value can end its line (response splitting).

Imports: ``fields``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from cacheproxy.http.fields import Fields

__all__ = [
    "LAST_CHUNK",
    "encode_chunk",
    "encode_chunk_parts",
    "encode_request_head",
    "encode_response_head",
    "encode_trailers",
]

#: The end of a chunked body without trailers.
LAST_CHUNK = b"0\r\n\r\n"

_FORBIDDEN = re.compile(rb"[\r\n\x00]")


def _field_lines(pairs: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The pairs as lines; ValueError where a name or value would break out of its line."""
    lines = [b"%b: %b" % pair for pair in pairs]
    text = b"\r\n".join(lines)
    # One look at the whole: as many line ends as were put in, and no NUL.
    ends = len(lines) - 1 if lines else 0
    if text.count(b"\n") != ends or text.count(b"\r") != ends or b"\0" in text:
        raise ValueError("CR, LF or NUL in a field")
    return text + b"\r\n" if lines else b""


def encode_request_head(
    method: bytes, target: bytes, pairs: Iterable[tuple[bytes, bytes]], version: int = 11
) -> bytes:
    """A request's head, of HTTP/1.1 or 1.0; ValueError for CR, LF or NUL in any part."""
    line = b"%b %b HTTP/1.%d" % (method, target, version - 10)
    if _FORBIDDEN.search(line) or line.count(b" ") != 2:
        raise ValueError("invalid request line")
    return b"%b\r\n%b\r\n" % (line, _field_lines(pairs))


def encode_response_head(status: int, reason: bytes, pairs: Iterable[tuple[bytes, bytes]]) -> bytes:
    """An HTTP/1.1 response's head; ValueError for CR, LF or NUL in any part."""
    if _FORBIDDEN.search(reason):
        raise ValueError("CR, LF or NUL in a reason phrase")
    return b"HTTP/1.1 %d %b\r\n%b\r\n" % (status, reason, _field_lines(pairs))


def encode_chunk(data: bytes) -> bytes:
    """*data* as one chunk; nothing for empty data, which would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def encode_chunk_parts(data: bytes) -> list[bytes]:
    """*data* as one chunk in parts for ``writelines``, so that it is not copied."""
    return [b"%x\r\n" % len(data), data, b"\r\n"] if data else []


def encode_trailers(fields: Fields | None) -> bytes:
    """The last chunk and the trailer section; ValueError as for heads."""
    return b"0\r\n%b\r\n" % _field_lines(fields) if fields else LAST_CHUNK
