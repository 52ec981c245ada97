"""Requests of one HTTP/1.1 connection: bytes in, calls on a sink out; no sockets.

RFC 9112. How the work is shared out:

- a head is cut from the input at its empty line; the start line is read here, the
  field lines by llhttp (``field_lines``), and ``framing`` decides what the body is;
- bytes of a body are passed on as slices of what was read, counted or de-chunked here,
  so the first byte behind a message is always known;
- what stands behind a request (pipelined requests, or another protocol after an
  upgrade) stays unread until the exchange in progress is released.

The fields of successive requests are mostly the same to the byte, so the result
of parsing a field section is kept for a while: a pure function of its text.

Lines end with CRLF; a bare LF is refused, which nginx takes, because what stands behind or
before us may see another request in the same bytes.

Imports: ``errors``, ``chunked``, ``fields``, ``framing``, ``messages``, ``syntax``, ``target``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from cacheproxy.errors import ProtocolError
from cacheproxy.http.chunked import ChunkedDecoder
from cacheproxy.http.fields import Fields
from cacheproxy.http.framing import FieldFacts, facts_reader, request_framing
from cacheproxy.http.messages import RequestHead
from cacheproxy.http.syntax import is_token
from cacheproxy.http.target import parse_target

__all__ = ["MAX_HELD", "RequestLimits", "RequestParser", "RequestSink"]

#: Bytes kept behind an unfinished request; a connection that pauses its transport
#: while ``queued`` stays far below.
MAX_HELD = 1 << 20
#: Empty lines read over before a request line (RFC 9112 §2.2), in bytes.
MAX_BLANK = 16

#: What a request-target may consist of; everything that nginx lets pass.
_TARGET_BYTES = bytes(range(0x21, 0x7F)) + bytes(range(0x80, 0x100))
_VERSION = re.compile(rb"HTTP/([0-9])\.([0-9])")
_METHODS = frozenset(
    (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"PROPFIND", b"PURGE")
)

# What is being read.
_HEAD, _FIXED, _CHUNKED = range(3)


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


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """Bounds on a request's head, and which field names pass.

    ``header_buffer_size``: client_header_buffer_size; ``large_buffers``: number and
    bytes of large_client_header_buffers; ``max_headers`` lines; ``underscores``:
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
    ``unread``: what was received and is not parsed yet; mostly nothing, so that a connection
    looks at it before it asks whether something is ``queued`` or ``in_head``.
    ``dead``: an error was reported, ``close`` was called or the connection was
    upgraded; input is ignored.
    """

    __slots__ = (
        "_blank",
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
        "unread",
    )

    def __init__(self, sink: RequestSink, limits: RequestLimits) -> None:
        self._sink = sink
        self._limits = limits
        self.unread = b""
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
        """Bytes wait for ``release``: the transport should be paused."""
        return self.busy and self._state == _HEAD and bool(self.unread)

    @property
    def idle(self) -> bool:
        """Between requests: nothing is in progress and nothing waits."""
        return not (self.busy or self.unread or self._state or self.dead)

    @property
    def in_head(self) -> bool:
        """Part of a head has been received."""
        return not self.busy and self._state == _HEAD and bool(self.unread)

    @property
    def body_pending(self) -> bool:
        """The body of the current (or just released) request is still arriving."""
        return self._state != _HEAD

    def __repr__(self) -> str:
        state = ("head", "body", "chunked body")[self._state]
        return f"<RequestParser {state} busy={self.busy} dead={self.dead}>"

    def feed(self, data: bytes) -> None:
        """Take bytes from the client."""
        if self.dead or self._overflow:
            return
        if self.unread:
            if len(self.unread) > MAX_HELD:
                # Reported once the requests before the gap have been answered.
                self._overflow = True
                return
            data = self.unread + data
        self.unread = data
        if not self._running:
            self._run()

    def release(self) -> None:
        """The exchange is finished: go on with what was received behind its request.

        What is still to come of its body is discarded silently.
        """
        self.busy = False
        self._discard = True
        if self.unread and not self._running and not self.dead:
            self._run()

    def close(self) -> None:
        """Deliver nothing any more."""
        self.dead = True
        self.unread = b""

    def eof(self) -> bool:
        """The client has ended its sending side; whether that truncates a message."""
        return not self.dead and (self._state != _HEAD or self.in_head)

    def take_upgrade(self) -> bytes:
        """Leave HTTP: the bytes received behind the current request's head.

        Raises :class:`ProtocolError` if more came than is kept.
        """
        data = self.unread
        self.close()
        if self._overflow:
            raise ProtocolError("too much received behind a request")
        return data

    def _run(self) -> None:
        self._running = True
        try:
            while self.unread and not self.dead:
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
        data = self.unread
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
        if not target or target.translate(None, _TARGET_BYTES):
            raise ProtocolError("invalid request-target")
        facts = limits.facts(data[eol + 2 : end])
        fields = facts.fields
        if facts.simple and version == 11 and target[0] == 47 and method != b"CONNECT":
            body_length = None
            keep_alive = True
        else:
            body_length, keep_alive = request_framing(method, target, version, facts)
            fields = _with_host_of(target, method, fields)
        self.unread = data[end:]
        self._blank = 0
        self.busy = True
        self._discard = False
        if body_length is not None:
            self._expect_body(body_length)
        self._sink.on_request(RequestHead(method, target, version, fields, body_length, keep_alive))
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
            if line.translate(None, b" " + _TARGET_BYTES):
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
        self.unread = data[2:]

    def _check_lines(self, head: bytes) -> None:
        limits = self._limits
        if head.find(b"\r\n") > limits.max_line:
            raise ProtocolError("request line too long", 414)
        if len(head) > limits.max_head:
            raise ProtocolError("head too large", 431)
        if max(map(len, head.split(b"\r\n"))) > limits.max_line:
            raise ProtocolError("field line too long", 431)

    def _read_fixed(self) -> None:
        data = self.unread
        remaining = self._remaining
        if len(data) <= remaining:
            self.unread = b""
        else:
            self.unread = data[remaining:]
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
        data = decoder.feed(self.unread)
        done = decoder.done
        self.unread = decoder.rest if done else b""
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
    if not parts[1] or parts[1].translate(None, _TARGET_BYTES):
        raise ProtocolError("invalid request-target")
    _version(parts[2])
