"""The chunked transfer coding, decoded strictly.

RFC 9112 §7.1. Sizes are hexadecimal digits and nothing else, every line ends
with CRLF, extensions are read over within a limit, the trailer section is
bounded like a head. llhttp is not used here because it does not say where in its
input a message ended, and what stands behind the last chunk must not be read as
a message before the exchange in progress is over.

Imports: ``errors``, ``field_lines``, ``fields``.
"""

from __future__ import annotations

import re

from cacheproxy.errors import ProtocolError
from cacheproxy.http.field_lines import read_fields
from cacheproxy.http.fields import HOP_BY_HOP, Fields

__all__ = ["MAX_CHUNK_LINE", "MAX_OVERHEAD", "MAX_TRAILERS", "ChunkedDecoder"]

#: Bytes of one chunk-size line, extensions included.
MAX_CHUNK_LINE = 4096
#: Bytes that chunk-size lines may take beyond what their data makes up for: a sender
#: may sign each large chunk, but not send extensions for their own sake.
MAX_OVERHEAD = 16384
#: What a line may take at no charge, and more for each byte of the chunk's data.
_FREE_LINE, _FREE_PER_BYTE = 16, 2
#: Bytes of the trailer section.
MAX_TRAILERS = 8192

#: chunk-size [ chunk-ext ]; 15 digits stay below 2^60, so no size overflows anywhere.
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})([ \t]*;[\t\x20-\x7e\x80-\xff]*)?")

#: Fields that may not stand in a trailer section (RFC 9110 §6.5.1): they would
#: change framing, routing or the meaning of what was already relayed.
_NOT_IN_TRAILERS = HOP_BY_HOP | {
    b"content-length",
    b"host",
    b"content-encoding",
    b"content-type",
    b"content-range",
    b"set-cookie",
    b"authorization",
    b"cache-control",
    b"expect",
    b"range",
    b"max-forwards",
    b"age",
    b"date",
    b"expires",
    b"location",
    b"retry-after",
    b"vary",
    b"warning",
}


# What is being read.
_SIZE, _DATA, _DATA_END, _TRAILERS, _DONE = range(5)


class ChunkedDecoder:
    """Decodes one body.

    ``feed`` gives the bytes of the body found so far; once ``done`` is true
    ``rest`` holds what stood behind the body and ``trailers`` the trailer fields,
    or None. Raises :class:`ProtocolError` and is of no use afterwards.
    """

    __slots__ = ("_kept", "_overhead", "_remaining", "_state", "done", "rest", "trailers")

    def __init__(self) -> None:
        self._state = _SIZE
        self._kept = b""
        self._remaining = 0
        self._overhead = 0
        self.done = False
        self.rest = b""
        self.trailers: Fields | None = None

    def feed(self, data: bytes) -> bytes:
        """The body's bytes in *data*; empty when there are none yet."""
        if self._kept:
            data = self._kept + data
            self._kept = b""
        pieces: list[bytes] = []
        position = 0
        end = len(data)
        while position < end and not self.done:
            state = self._state
            if state == _DATA:
                piece = data[position : position + self._remaining]
                pieces.append(piece)
                position += len(piece)
                self._remaining -= len(piece)
                if not self._remaining:
                    self._state = _DATA_END
                continue
            if state == _SIZE:
                after = self._size_line(data, position)
            elif state == _DATA_END:
                after = self._data_end(data, position)
            else:
                after = self._trailer_section(data, position)
            if after < 0:
                self._kept = data[position:]
                break
            position = after
        if self.done:
            self.rest = data[position:]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _size_line(self, data: bytes, position: int) -> int:
        eol = data.find(b"\r\n", position, position + MAX_CHUNK_LINE + 2)
        if eol < 0:
            if len(data) - position > MAX_CHUNK_LINE or data.find(b"\n", position) >= 0:
                raise ProtocolError("invalid chunk size line")
            return -1
        match = _SIZE_LINE.fullmatch(data, position, eol)
        if match is None:
            raise ProtocolError("invalid chunk size")
        self._remaining = size = int(match.group(1), 16)
        excess = self._overhead + eol - position - _FREE_LINE - _FREE_PER_BYTE * size
        self._overhead = max(0, excess)
        if excess > MAX_OVERHEAD:
            raise ProtocolError("too many chunk extensions")
        self._state = _DATA if self._remaining else _TRAILERS
        return eol + 2

    def _data_end(self, data: bytes, position: int) -> int:
        if data.startswith(b"\r\n", position):
            self._state = _SIZE
            return position + 2
        if data[position:] == b"\r":
            return -1
        raise ProtocolError("chunk data does not end where its size says")

    def _trailer_section(self, data: bytes, position: int) -> int:
        if data.startswith(b"\r\n", position):
            return self._finish(position + 2)
        end = data.find(b"\r\n\r\n", position, position + MAX_TRAILERS)
        if end < 0:
            if len(data) - position >= MAX_TRAILERS:
                raise ProtocolError("trailer section too large", 431)
            if data.count(b"\n", position) != data.count(b"\r\n", position):
                raise ProtocolError("bare LF in trailer section")
            return -1
        fields = read_fields(data[position : end + 4])
        kept = [pair for pair in fields if pair[0].lower() not in _NOT_IN_TRAILERS]
        if kept:
            self.trailers = Fields(kept)
        return self._finish(end + 4)

    def _finish(self, position: int) -> int:
        self._state = _DONE
        self.done = True
        return position
