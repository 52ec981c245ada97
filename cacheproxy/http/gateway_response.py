"""Responses of gateway protocols (uwsgi, and CGI's other heirs): one on each connection.

A head is a status line or, without one, field lines of which ``Status`` holds the
status; without that it is 302 where there is a ``Location``, else 200. The body goes to
Content-Length, or to the end of the connection; nothing is chunked. As in nginx lines may
end in LF alone, and fields that only a connection of HTTP could mean (Transfer-Encoding)
say nothing about the body.

Source: nginx ``ngx_http_uwsgi_process_status_line``, ``ngx_http_uwsgi_process_header``;
RFC 3875 §6. ``Status`` goes on to the client. Unlike nginx: interim statuses are refused,
as nothing follows them here; so are lines without a colon.
Imports: ``errors``, ``field_lines``, ``fields``, ``framing``, ``messages``,
``response_parser``.
"""

from __future__ import annotations

import re

from cacheproxy.errors import ProtocolError
from cacheproxy.http.field_lines import read_fields
from cacheproxy.http.fields import Fields
from cacheproxy.http.framing import content_length
from cacheproxy.http.messages import ResponseHead
from cacheproxy.http.response_parser import MAX_RESPONSE_FIELDS, ResponseSink

__all__ = ["GatewayResponseParser"]

_STATUS_LINE = re.compile(rb"HTTP/[0-9]+\.[0-9]+ ([1-9][0-9]{2})(?: ([^\r\n\0]*))?")
_STATUS = re.compile(rb"([1-9][0-9]{2})(?: ([^\r\n\0]*))?")
#: The empty line that ends a head, and the one that is all of it.
_END = re.compile(rb"\n\r?\n")
_EMPTY = re.compile(rb"\r?\n")


class GatewayResponseParser:
    """Reads one response (a ``ResponseReader``); ``feed`` never raises for any input."""

    __slots__ = (
        "_buffer",
        "_ended",
        "_max_head",
        "_method",
        "_remaining",
        "_scanned",
        "_sink",
        "excess",
    )

    def __init__(self, sink: ResponseSink, max_head: int = 65536) -> None:
        self._sink = sink
        self._max_head = max_head
        self._method = b""
        self._buffer = b""
        #: Where the end of the head is looked for: all before has been looked at.
        self._scanned = 0
        #: Bytes of the body that are to come: None before the head, -1 up to the end.
        self._remaining: int | None = None
        self._ended = True
        self.excess = False

    def __repr__(self) -> str:
        state = "ended" if self._ended else "head" if self._remaining is None else "body"
        return f"<GatewayResponseParser {state}>"

    def expect(self, method: bytes) -> None:
        """A request with *method* is about to be sent."""
        self._method = method
        self._ended = False

    def feed(self, data: bytes) -> None:
        """Take bytes from the upstream."""
        if self._ended:
            self.excess = self.excess or bool(data)
            return
        if self._remaining is None:
            self._buffer += data
            try:
                data = self._read_head()
            except ProtocolError as problem:
                self._ended = True
                self._buffer = b""
                self._sink.on_response_error(problem)
                return
        if data and not self._ended:
            self._read_body(data)

    def eof(self) -> None:
        """The connection has ended: so has a body without length, else it is an error."""
        if self._ended:
            return
        if self._remaining == -1:
            self._end()
            return
        self._ended = True
        self._sink.on_response_error(ProtocolError("upstream prematurely closed connection"))

    def take_upgrade(self) -> bytes:
        """No response here changes protocols, so nothing is ever behind one."""
        return b""

    def _read_head(self) -> bytes:
        """Read the head if it is whole; returns what stands behind it."""
        data = self._buffer
        end = _EMPTY.match(data) or _END.search(data, self._scanned)
        size = len(data) if end is None else end.end()
        if size > self._max_head:
            raise ProtocolError("head too large")
        if end is None:
            self._scanned = max(len(data) - 2, 0)
            return b""
        head = _head(self._method, data[:size])
        self._buffer = b""
        length = self._remaining = head.body_length
        if length == ResponseHead.UNTIL_CLOSE:
            self._remaining = -1
        self._sink.on_response(head)
        if not length and not self._ended:
            self.excess = len(data) > size
            self._end()
        return data[size:]

    def _read_body(self, data: bytes) -> None:
        remaining = self._remaining
        assert remaining is not None
        if remaining < 0:
            self._sink.on_response_body(data)
            return
        if len(data) > remaining:
            self.excess = True
            data = data[:remaining]
        self._remaining = remaining - len(data)
        self._sink.on_response_body(data)
        if not self._remaining and not self._ended:
            self._end()

    def _end(self) -> None:
        self._ended = True
        self._sink.on_response_end(None)


def _head(method: bytes, text: bytes) -> ResponseHead:
    """The head whose bytes are *text*, answering a request with *method*."""
    lines = [line[:-1] if line.endswith(b"\r") else line for line in text.split(b"\n")][:-2]
    match = _STATUS_LINE.fullmatch(lines[0]) if lines else None
    if match is not None:
        del lines[0]
    fields = read_fields(b"".join([line + b"\r\n" for line in [*lines, b""]]))
    if len(fields.pairs) > MAX_RESPONSE_FIELDS:
        raise ProtocolError("too many field lines")
    if match is not None:
        status, reason = int(match[1]), match[2]
    else:
        status, reason = _status_of(fields)
    if status < 200:
        raise ProtocolError("interim status in a gateway's response")
    length = _length(method, status, fields)
    fields = fields.without({b"transfer-encoding"})
    return ResponseHead(status, fields, reason, 11, length, keep_alive=False)


def _status_of(fields: Fields) -> tuple[int, bytes | None]:
    """The status that fields without a status line say."""
    given = fields.get(b"status")
    if given is None:
        return (302 if b"location" in fields else 200), None
    match = _STATUS.fullmatch(given)
    if match is None:
        raise ProtocolError("invalid status")
    return int(match[1]), match[2]


def _length(method: bytes, status: int, fields: Fields) -> int:
    """The length of the body, as ``ResponseHead.body_length`` has it."""
    length = content_length(fields.get_all(b"content-length"))
    if length is not None and b"transfer-encoding" in fields:
        raise ProtocolError("both Content-Length and Transfer-Encoding")
    if status in (204, 304) or method == b"HEAD":
        return 0
    return ResponseHead.UNTIL_CLOSE if length is None else length
