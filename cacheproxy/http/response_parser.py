"""Responses on one HTTP/1.1 connection to an origin: bytes in, calls on a sink out; no sockets.

RFC 9112. A head is cut from the input at its empty line; the status line is read here, the
field lines by llhttp (``field_lines``), and ``framing`` decides what the body is. Bytes of a
body are passed on as slices of what was read.

Lines of a head end with CRLF or with a bare LF, which many small origins send; nginx, curl
and browsers take it (RFC 9112 §2.2). The head that goes on is written anew, so that nobody
behind us has to. The framing of chunks is strict: CRLF alone.

An origin that is asked for the same thing again within a second mostly gives the same
head, to the byte: the last one is kept as read.

Imports: ``errors``, ``chunked``, ``field_lines``, ``fields``, ``framing``, ``messages``.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Protocol

from cacheproxy.errors import ProtocolError
from cacheproxy.http.chunked import ChunkedDecoder
from cacheproxy.http.field_lines import read_fields
from cacheproxy.http.fields import Fields
from cacheproxy.http.framing import response_framing
from cacheproxy.http.messages import ResponseHead

__all__ = ["MAX_INFORMATIONAL", "MAX_RESPONSE_FIELDS", "ResponseParser", "ResponseSink"]

#: Interim responses taken before the final one.
MAX_INFORMATIONAL = 16
#: Field lines of a response.
MAX_RESPONSE_FIELDS = 1000
#: Bytes of the longest response head that is kept.
_HEAD_KEPT_SIZE = 2048

# What is being read.
_HEAD, _FIXED, _CHUNKED, _UNTIL_CLOSE = range(4)


class ResponseSink(Protocol):
    """Takes the responses of one connection to an origin.

    Interim responses, then ``on_response``, body calls and one ``on_response_end``
    (also where there is no body); ``on_response_error`` is the last call.
    After a 101 nothing follows.
    """

    def on_informational(self, head: ResponseHead) -> None: ...

    def on_response(self, head: ResponseHead) -> None: ...

    def on_response_body(self, data: bytes) -> None: ...

    def on_response_end(self, trailers: Fields | None) -> None: ...

    def on_response_error(self, error: ProtocolError) -> None: ...


_BARE_LF = re.compile(rb"(?<!\r)\n")
_STATUS_LINE = re.compile(rb"HTTP/([0-9])\.([0-9]) ([1-9][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?")


@lru_cache(maxsize=64)
def _status_line(line: bytes) -> tuple[int, int, bytes]:
    """``(version, status, reason)`` of a status line."""
    match = _STATUS_LINE.fullmatch(line)
    if match is None or match.group(1) != b"1":
        raise ProtocolError("invalid status line")
    return 10 if match.group(2) == b"0" else 11, int(match.group(3)), match.group(4) or b""


def _response_head(method: bytes, text: bytes) -> ResponseHead:
    """The head whose bytes are *text*, answering a request with *method*."""
    if text.count(b"\n") != text.count(b"\r\n"):
        text = _BARE_LF.sub(b"\r\n", text)
    eol = text.find(b"\r\n")
    version, status, reason = _status_line(text[:eol])
    fields = read_fields(text[eol + 2 :])
    if len(fields.pairs) > MAX_RESPONSE_FIELDS:
        raise ProtocolError("too many field lines")
    body_length, keep_alive = response_framing(method, status, version, fields)
    return ResponseHead(status, fields, reason, version, body_length, keep_alive)


class ResponseParser:
    """Reads an origin's responses, each announced by ``expect``.

    ``busy``: from ``expect`` to the end of the response. ``excess``: bytes came
    that belong to no response: the connection must not be used again. ``dead``: an
    error was reported, ``close`` was called or the connection was upgraded.
    """

    __slots__ = (
        "_buffer",
        "_decoder",
        "_informational",
        "_last",
        "_max_head",
        "_method",
        "_remaining",
        "_running",
        "_scanned",
        "_sink",
        "_state",
        "_upgraded",
        "busy",
        "dead",
        "excess",
    )

    def __init__(self, sink: ResponseSink, max_head: int = 65536) -> None:
        self._sink = sink
        self._max_head = max_head
        self._buffer = b""
        self._scanned = 0
        self._state = _HEAD
        self._remaining = 0
        self._decoder: ChunkedDecoder | None = None
        self._method = b""
        # An origin that is asked for the same thing again within a second mostly gives the
        # same head, to the byte: the last one is kept as read, with its method and text.
        self._last: tuple[bytes, bytes, ResponseHead] | None = None
        self._informational = 0
        self._running = False
        self._upgraded = False
        self.busy = False
        self.dead = False
        self.excess = False

    def __repr__(self) -> str:
        state = ("head", "body", "chunked body", "body until close")[self._state]
        return f"<ResponseParser {state} busy={self.busy} dead={self.dead}>"

    def expect(self, method: bytes) -> None:
        """A request with *method* is about to be sent."""
        self._method = method
        self._informational = 0
        self.busy = True

    def feed(self, data: bytes) -> None:
        """Take bytes from the origin; never raises for any input."""
        if self._upgraded:
            self._buffer += data
            return
        if self.dead or not data:
            return
        if not self.busy:
            self.excess = True
            return
        self._buffer = self._buffer + data if self._buffer else data
        if not self._running:
            self._run()

    def eof(self) -> None:
        """The origin has closed: the end of a body that only this delimits, else an error."""
        if self.dead or not self.busy or self._upgraded:
            return
        if self._state == _UNTIL_CLOSE:
            self._end(None)
            return
        self._fail(ProtocolError("upstream prematurely closed connection"))

    def close(self) -> None:
        """Deliver nothing any more."""
        self.dead = True
        self._buffer = b""

    def take_upgrade(self) -> bytes:
        """Leave HTTP after a 101: the bytes received behind its head."""
        data = self._buffer
        self._upgraded = False
        self.close()
        return data

    def _run(self) -> None:
        self._running = True
        try:
            while self._buffer and not self.dead and not self._upgraded:
                if not self.busy:
                    self.excess = True
                    self._buffer = b""
                    return
                state = self._state
                if state == _HEAD:
                    if not self._read_head():
                        return
                elif state == _FIXED:
                    self._read_fixed()
                elif state == _CHUNKED:
                    self._read_chunked()
                else:
                    data = self._buffer
                    self._buffer = b""
                    self._sink.on_response_body(data)
        except ProtocolError as error:
            self._fail(error)
        finally:
            self._running = False

    def _fail(self, error: ProtocolError) -> None:
        self.busy = False
        self.close()
        self._sink.on_response_error(error)

    def _read_head(self) -> bool:
        data = self._buffer
        # The first empty line, whichever way it and the one before end.
        end = data.find(b"\n\r\n", self._scanned)
        bare = data.find(b"\n\n", self._scanned, end + 1 if end >= 0 else len(data))
        if end < 0 and bare < 0:
            self._partial(data)
            return False
        self._scanned = 0
        end = end + 3 if bare < 0 else bare + 2
        if end > self._max_head:
            raise ProtocolError("head too large")
        text = data[:end]
        last = self._last
        if last is not None and last[1] == text and last[0] == self._method:
            head = last[2]
        else:
            head = _response_head(self._method, text)
            self._last = (self._method, text, head) if end <= _HEAD_KEPT_SIZE else None
        self._buffer = data[end:]
        if head.status < 200:
            self._interim(head)
        else:
            self._final(head)
        return True

    def _interim(self, head: ResponseHead) -> None:
        if head.status == 101:
            self._upgraded = True
            self._sink.on_response(head)
            return
        self._informational += 1
        if self._informational > MAX_INFORMATIONAL:
            raise ProtocolError("too many interim responses")
        self._sink.on_informational(head)

    def _final(self, head: ResponseHead) -> None:
        length = head.body_length
        if length > 0:
            self._state = _FIXED
            self._remaining = length
        elif length == ResponseHead.CHUNKED:
            self._state = _CHUNKED
            self._decoder = ChunkedDecoder()
        elif length == ResponseHead.UNTIL_CLOSE:
            self._state = _UNTIL_CLOSE
        self._sink.on_response(head)
        if not length and not self.dead:
            self._end(None)

    def _partial(self, data: bytes) -> None:
        """Refuse what cannot become a head."""
        if len(data) > self._max_head:
            raise ProtocolError("head too large")
        if not data.startswith(b"HTTP/1."[: len(data)]):
            raise ProtocolError("not an HTTP response")
        # Not from the last line's start: a line without end that comes byte by byte would
        # be read over and over. Two bytes may begin the end of the head.
        self._scanned = max(len(data) - 2, 0)

    def _read_fixed(self) -> None:
        data = self._buffer
        remaining = self._remaining
        if len(data) <= remaining:
            self._buffer = b""
        else:
            self._buffer = data[remaining:]
            data = data[:remaining]
        self._remaining = remaining = remaining - len(data)
        self._sink.on_response_body(data)
        if not remaining and not self.dead:
            self._end(None)

    def _read_chunked(self) -> None:
        decoder = self._decoder
        assert decoder is not None
        data = decoder.feed(self._buffer)
        self._buffer = decoder.rest if decoder.done else b""
        if data:
            self._sink.on_response_body(data)
        if decoder.done and not self.dead:
            self._end(decoder.trailers)

    def _end(self, trailers: Fields | None) -> None:
        self._state = _HEAD
        self._decoder = None
        self.busy = False
        if self._buffer:
            # Known before the end is reported, so that the pool is not given it.
            self.excess = True
            self._buffer = b""
        self._sink.on_response_end(trailers)
