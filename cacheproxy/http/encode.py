"""HTTP/1.1 messages as bytes: heads, chunks, trailers.

RFC 9112 §3–§5 and §7.1. Every encoder refuses CR, LF and NUL in whatever it is
given, so that no value can end its line (response splitting).

Imports: ``fields``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from cacheproxy.http.fields import Fields

__all__ = [
    "LAST_CHUNK",
    "encode_chunk",
    "encode_chunk_parts",
    "encode_field_lines",
    "encode_request_head",
    "encode_response_head",
    "encode_trailers",
    "join_request_head",
]

#: The end of a chunked body without trailers.
LAST_CHUNK = b"0\r\n\r\n"

_FORBIDDEN = re.compile(rb"[\r\n\x00]")

#: One pair as a line, without its end.
_line = b": ".join


def encode_field_lines(pairs: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The pairs as lines; ValueError where a name or value would break out of its line."""
    lines = [*map(_line, pairs), b""]
    text = b"\r\n".join(lines)
    # One look at the whole: as many line ends as were put in, and no NUL.
    if len(text) - len(text.translate(None, b"\r\n\0")) != 2 * (len(lines) - 1):
        raise ValueError("CR, LF or NUL in a field")
    return text


def encode_request_head(
    method: bytes, target: bytes, pairs: Iterable[tuple[bytes, bytes]], version: int = 11
) -> bytes:
    """A request's head, of HTTP/1.1 or 1.0; ValueError for CR, LF or NUL in any part."""
    return join_request_head(method, target, encode_field_lines(pairs), version)


def join_request_head(method: bytes, target: bytes, lines: bytes, version: int = 11) -> bytes:
    """The same with the *lines* that ``encode_field_lines`` made."""
    line = b"%b %b HTTP/1.%d" % (method, target, version - 10)
    if len(line.translate(None, b" \r\n\0")) != len(line) - 2:
        raise ValueError("invalid request line")
    return b"%b\r\n%b\r\n" % (line, lines)


def encode_response_head(status: int, reason: bytes, pairs: Iterable[tuple[bytes, bytes]]) -> bytes:
    """An HTTP/1.1 response's head; ValueError for CR, LF or NUL in any part."""
    return b"%b%b\r\n" % (_status_line(status, reason), encode_field_lines(pairs))


@lru_cache(maxsize=128)
def _status_line(status: int, reason: bytes) -> bytes:
    if _FORBIDDEN.search(reason):
        raise ValueError("CR, LF or NUL in a reason phrase")
    return b"HTTP/1.1 %d %b\r\n" % (status, reason)


def encode_chunk(data: bytes) -> bytes:
    """*data* as one chunk; nothing for empty data, which would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def encode_chunk_parts(data: bytes) -> list[bytes]:
    """*data* as one chunk in parts for ``writelines``, so that it is not copied."""
    return [b"%x\r\n" % len(data), data, b"\r\n"] if data else []


def encode_trailers(fields: Fields | None) -> bytes:
    """The last chunk and the trailer section; ValueError as for heads."""
    return b"0\r\n%b\r\n" % encode_field_lines(fields) if fields else LAST_CHUNK
