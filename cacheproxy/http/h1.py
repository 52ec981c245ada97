"""HTTP/1.1 on one connection, either side: bytes in, calls on a sink out; no sockets.

RFC 9112. How the work is shared out:

- a head is cut from the input at its empty line; the start line is read here, the
  field lines by llhttp (``field_lines``), and ``framing`` decides what the body is;
- body octets are passed on as slices of what was read, counted or de-chunked here,
  so the first octet behind a message is always known;
- what stands behind a request (pipelined requests, or another protocol after an
  upgrade) stays unread octets until the exchange in progress is released.

The fields of successive requests are mostly the same to the octet, so the result
of parsing a field section is kept for a while: a pure function of its text.

Longer than most modules: the two directions differ in what may follow what, but
are read against each other. The encoders of ``encode`` are offered here too.

Imports: ``errors``, ``chunked``, ``encode``, ``field_lines``, ``fields``, ``framing``,
``messages``, ``syntax``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

from cacheproxy.errors import ProtocolError
from cacheproxy.http.chunked import ChunkedDecoder
from cacheproxy.http.encode import (
    LAST_CHUNK,
    encode_chunk,
    encode_chunk_parts,
    encode_request_head,
    encode_response_head,
    encode_trailers,
)
from cacheproxy.http.field_lines import read_fields
from cacheproxy.http.fields import Fields
from cacheproxy.http.framing import (
    FieldFacts,
    facts_reader,
    request_framing,
    response_framing,
)
from cacheproxy.http.messages import RequestHead, ResponseHead
from cacheproxy.http.syntax import is_token
from cacheproxy.http.target import parse_target

__all__ = [
    "LAST_CHUNK",
    "MAX_HELD",
    "MAX_INFORMATIONAL",
    "RequestLimits",
    "RequestParser",
    "RequestSink",
    "ResponseParser",
    "ResponseSink",
    "encode_chunk",
    "encode_chunk_parts",
    "encode_request_head",
    "encode_response_head",
    "encode_trailers",
]

#: Octets kept behind an unfinished request; a connection that pauses its transport
#: while ``queued`` stays far below.
MAX_HELD = 1 << 20
#: Empty lines read over before a request line (RFC 9112 §2.2), in octets.
MAX_BLANK = 16
#: Interim responses taken before the final one.
MAX_INFORMATIONAL = 16
#: Field lines of a response.
MAX_RESPONSE_FIELDS = 1000
#: Octets of the longest response head that is kept.
_HEAD_KEPT_SIZE = 2048

#: What a request-target may consist of; everything that nginx lets pass.
_TARGET_OCTETS = bytes(range(0x21, 0x7F)) + bytes(range(0x80, 0x100))
_VERSION = re.compile(rb"HTTP/([0-9])\.([0-9])")
_METHODS = frozenset(
    (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"PROPFIND", b"PURGE")
)

# What is being read.
_HEAD, _FIXED, _CHUNKED, _UNTIL_CLOSE = range(4)


class RequestSink(Protocol):
    """Takes one connection's requests, one at a time.

    ``on_request`` comes with the head; where ``head.body_length`` is not None,
    body calls and exactly one ``on_request_end`` follow. ``on_request_error`` is
    the last call.
    """

    def on_request(self, head: RequestHead) -> None: ...

    def on_request_body(self, data: bytes) -> None: ...

    def on_request_end(self, trailers: Fields | None) -> None: ...

    def on_request_error(self, error: ProtocolError) -> None: ...


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


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """Bounds on a request's head, and which field names pass.

    ``header_buffer_size``: client_header_buffer_size; ``large_buffers``: number and
    octets of large_client_header_buffers; ``max_headers`` lines; ``underscores``:
    underscores_in_headers; ``ignore_invalid``: ignore_invalid_headers.

    One object serves every connection with these limits: it keeps the field
    sections parsed lately.
    """

    header_buffer_size: int = 1024
    large_buffers: tuple[int, int] = (4, 8192)
    max_headers: int = 1000
    underscores: bool = False
    ignore_invalid: bool = True
    max_line: int = field(init=False)
    max_head: int = field(init=False)
    facts: Callable[[bytes], FieldFacts] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        number, size = self.large_buffers
        line = max(size, self.header_buffer_size)
        object.__setattr__(self, "max_line", line)
        object.__setattr__(self, "max_head", max(number * size, line))
        reader = facts_reader(self.max_headers, self.underscores, self.ignore_invalid)
        object.__setattr__(self, "facts", reader)


class RequestParser:
    """Reads requests. See the module for how; ``feed`` never raises for any input.

    ``busy``: a request was delivered and ``release`` has not been called for it.
    ``dead``: an error was reported, ``close`` was called or the connection was
    upgraded; input is ignored.
    """

    __slots__ = (
        "_blank",
        "_buffer",
        "_decoder",
        "_discard",
        "_limits",
        "_overflow",
        "_remaining",
        "_running",
        "_scanned",
        "_sink",
        "_state",
        "busy",
        "dead",
    )

    def __init__(self, sink: RequestSink, limits: RequestLimits) -> None:
        self._sink = sink
        self._limits = limits
        self._buffer = b""
        self._scanned = 0
        self._blank = 0
        self._state = _HEAD
        self._remaining = 0
        self._decoder: ChunkedDecoder | None = None
        self._discard = False
        self._overflow = False
        self._running = False
        self.busy = False
        self.dead = False

    @property
    def queued(self) -> bool:
        """Octets wait for ``release``: the transport should be paused."""
        return self.busy and self._state == _HEAD and bool(self._buffer)

    @property
    def idle(self) -> bool:
        """Between requests: nothing is in progress and nothing waits."""
        return not (self.busy or self._buffer or self._state or self.dead)

    @property
    def in_head(self) -> bool:
        """Part of a head has been received."""
        return not self.busy and self._state == _HEAD and bool(self._buffer)

    @property
    def body_pending(self) -> bool:
        """The body of the current (or just released) request is still arriving."""
        return self._state != _HEAD

    def __repr__(self) -> str:
        state = ("head", "body", "chunked body")[self._state]
        return f"<RequestParser {state} busy={self.busy} dead={self.dead}>"

    def feed(self, data: bytes) -> None:
        """Take octets from the client."""
        if self.dead or self._overflow:
            return
        if self._buffer:
            if len(self._buffer) > MAX_HELD:
                # Reported once the requests before the gap have been answered.
                self._overflow = True
                return
            data = self._buffer + data
        self._buffer = data
        if not self._running:
            self._run()

    def release(self) -> None:
        """The exchange is finished: go on with what was received behind its request.

        What is still to come of its body is discarded silently.
        """
        self.busy = False
        self._discard = True
        if self._buffer and not self._running and not self.dead:
            self._run()

    def close(self) -> None:
        """Deliver nothing any more."""
        self.dead = True
        self._buffer = b""

    def eof(self) -> bool:
        """The client has ended its sending side; whether that truncates a message."""
        return not self.dead and (self._state != _HEAD or self.in_head)

    def take_upgrade(self) -> bytes:
        """Leave HTTP: the octets received behind the current request's head.

        Raises :class:`ProtocolError` if more came than is kept.
        """
        data = self._buffer
        self.close()
        if self._overflow:
            raise ProtocolError("too much received behind a request")
        return data

    def _run(self) -> None:
        self._running = True
        try:
            while self._buffer and not self.dead:
                state = self._state
                if state == _HEAD:
                    if self.busy or not self._read_head():
                        break
                elif state == _FIXED:
                    self._read_fixed()
                else:
                    self._read_chunked()
            if self._overflow and not self.busy and not self.dead:
                raise ProtocolError("too much received behind a request")
        except ProtocolError as error:
            self.close()
            self._sink.on_request_error(error)
        finally:
            self._running = False

    def _read_head(self) -> bool:
        """Read a head from the buffer; False when it is not complete."""
        data = self._buffer
        limits = self._limits
        end = data.find(b"\r\n\r\n", self._scanned)
        if end < 0:
            return not self._partial(data)
        self._scanned = 0
        eol = data.find(b"\r\n")
        if not eol:
            self._skip_blank(data)
            return True
        end += 4
        if end > limits.max_line:
            self._check_lines(data[:end])
        line = data[:eol]
        try:
            method, target, version_text = line.split(b" ")
        except ValueError:
            raise ProtocolError("invalid request line") from None
        version = 11 if version_text == b"HTTP/1.1" else _version(version_text)
        if method not in _METHODS and not is_token(method):
            raise ProtocolError("invalid method")
        if not target or target.translate(None, _TARGET_OCTETS):
            raise ProtocolError("invalid request-target")
        facts = limits.facts(data[eol + 2 : end])
        fields = facts.fields
        if facts.simple and version == 11 and target[0] == 47 and method != b"CONNECT":
            body_length = None
            keep_alive = True
        else:
            body_length, keep_alive = request_framing(method, target, version, facts)
            fields = _with_host_of(target, method, fields)
        self._buffer = data[end:]
        self._blank = 0
        self.busy = True
        self._discard = False
        if body_length is not None:
            self._expect_body(body_length)
        self._sink.on_request(
            RequestHead(method, target, version, fields, body_length, keep_alive)
        )
        return True

    def _expect_body(self, body_length: int) -> None:
        if body_length == RequestHead.CHUNKED:
            self._state = _CHUNKED
            self._decoder = ChunkedDecoder()
        else:
            self._state = _FIXED
            self._remaining = body_length

    def _partial(self, data: bytes) -> bool:
        """Refuse what cannot become a head; False if something was consumed."""
        eol = data.find(b"\r\n")
        if not eol:
            self._skip_blank(data)
            return False
        limits = self._limits
        if eol < 0:
            if len(data) > limits.max_line:
                raise ProtocolError("request line too long", 414)
            line = data[:-1] if data[-1] == 13 else data
            if line.translate(None, b" " + _TARGET_OCTETS):
                raise ProtocolError("invalid request line")
            return True
        # Everything up to the last complete line is known to be sound after one look.
        start = min(self._scanned, len(data))
        if not start:
            _check_request_line(data[:eol], limits.max_line)
            start = eol
        if data.count(b"\n", start) != data.count(b"\r\n", start):
            raise ProtocolError("bare LF in a head")
        last = data.rfind(b"\r\n")
        if len(data) - last > limits.max_line + 2:
            raise ProtocolError("field line too long", 431)
        if len(data) > limits.max_head:
            raise ProtocolError("head too large", 431)
        self._scanned = last
        return True

    def _skip_blank(self, data: bytes) -> None:
        self._blank += 2
        self._scanned = 0
        if self._blank > MAX_BLANK:
            raise ProtocolError("empty lines instead of a request")
        self._buffer = data[2:]

    def _check_lines(self, head: bytes) -> None:
        limits = self._limits
        if head.find(b"\r\n") > limits.max_line:
            raise ProtocolError("request line too long", 414)
        if len(head) > limits.max_head:
            raise ProtocolError("head too large", 431)
        if max(map(len, head.split(b"\r\n"))) > limits.max_line:
            raise ProtocolError("field line too long", 431)

    def _read_fixed(self) -> None:
        data = self._buffer
        remaining = self._remaining
        if len(data) <= remaining:
            self._buffer = b""
        else:
            self._buffer = data[remaining:]
            data = data[:remaining]
        self._remaining = remaining = remaining - len(data)
        if not remaining:
            self._state = _HEAD
        if not self._discard:
            self._sink.on_request_body(data)
            if not remaining and not self._discard and not self.dead:
                self._sink.on_request_end(None)

    def _read_chunked(self) -> None:
        decoder = self._decoder
        assert decoder is not None
        data = decoder.feed(self._buffer)
        done = decoder.done
        self._buffer = decoder.rest if done else b""
        if done:
            self._state = _HEAD
            self._decoder = None
        if data and not self._discard:
            self._sink.on_request_body(data)
        if done and not self._discard and not self.dead:
            self._sink.on_request_end(decoder.trailers)


def _with_host_of(target: bytes, method: bytes, fields: Fields) -> Fields:
    """*fields* with Host replaced by the authority of an absolute-form target.

    RFC 9112 §3.2.2: the received Host is ignored and not passed on, so that nothing
    behind us can take the request for another site's.
    """
    if target[:1] == b"/":
        return fields
    authority = parse_target(target, method).authority
    if authority is None:
        return fields
    rest = fields.without({b"host"})
    return Fields([(b"Host", authority), *rest.pairs])


def _version(text: bytes) -> int:
    match = _VERSION.fullmatch(text)
    if match is None:
        raise ProtocolError("invalid request line")
    if match.group(1) != b"1":
        raise ProtocolError("HTTP version not supported", 505)
    return 10 if match.group(2) == b"0" else 11


def _check_request_line(line: bytes, max_line: int) -> None:
    """Refuse a request line early, before its fields have arrived."""
    if len(line) > max_line:
        raise ProtocolError("request line too long", 414)
    parts = line.split(b" ")
    if len(parts) != 3 or not is_token(parts[0]):
        raise ProtocolError("invalid request line")
    if not parts[1] or parts[1].translate(None, _TARGET_OCTETS):
        raise ProtocolError("invalid request-target")
    _version(parts[2])


_STATUS_LINE = re.compile(rb"HTTP/([0-9])\.([0-9]) ([1-9][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?")


@lru_cache(maxsize=64)
def _status_line(line: bytes) -> tuple[int, int, bytes]:
    """``(version, status, reason)`` of a status line."""
    match = _STATUS_LINE.fullmatch(line)
    if match is None or match.group(1) != b"1":
        raise ProtocolError("invalid status line")
    return 10 if match.group(2) == b"0" else 11, int(match.group(3)), match.group(4) or b""


def _response_head(method: bytes, text: bytes) -> ResponseHead:
    """The head whose octets are *text*, answering a request with *method*."""
    eol = text.find(b"\r\n")
    version, status, reason = _status_line(text[:eol])
    fields = read_fields(text[eol + 2 :])
    if len(fields.pairs) > MAX_RESPONSE_FIELDS:
        raise ProtocolError("too many field lines")
    body_length, keep_alive = response_framing(method, status, version, fields)
    return ResponseHead(status, fields, reason, version, body_length, keep_alive)


class ResponseParser:
    """Reads an origin's responses, each announced by ``expect``.

    ``busy``: from ``expect`` to the end of the response. ``excess``: octets came
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
        # same head, to the octet: the last one is kept as read, with its method and text.
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
        """Take octets from the origin; never raises for any input."""
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
        self._fail(ProtocolError("connection closed within a response"))

    def close(self) -> None:
        """Deliver nothing any more."""
        self.dead = True
        self._buffer = b""

    def take_upgrade(self) -> bytes:
        """Leave HTTP after a 101: the octets received behind its head."""
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
        end = data.find(b"\r\n\r\n", self._scanned)
        if end < 0:
            self._partial(data)
            return False
        self._scanned = 0
        end += 4
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
        if data.count(b"\n", self._scanned) != data.count(b"\r\n", self._scanned):
            raise ProtocolError("bare LF in a head")
        # Not from the last line's start: a line without end that comes octet by octet would
        # be read over and over. Three octets may begin the end of the head; no CRLF is split.
        start = max(len(data) - 3, 0)
        self._scanned = start - 1 if start and data[start] == 10 else start

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
