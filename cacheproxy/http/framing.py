"""How long a message's body is, and every message that is refused because that is in doubt.

RFC 9112 §6 and §9.3 (persistence), RFC 9110 §7.2 (Host) and §10.1.1 (Expect).
Everything here is decided from parsed field lines; llhttp's own opinion on
framing is not consulted.

Imports: ``errors``, ``field_lines``, ``fields``, ``messages``, ``syntax``, ``target``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from cacheproxy.errors import ProtocolError
from cacheproxy.http.field_lines import read_fields
from cacheproxy.http.fields import Fields
from cacheproxy.http.messages import RequestHead, ResponseHead
from cacheproxy.http.syntax import list_tokens
from cacheproxy.http.target import parse_target, split_host

__all__ = [
    "MAX_CONTENT_LENGTH",
    "FieldFacts",
    "content_length",
    "facts_reader",
    "request_framing",
    "response_framing",
]

#: The largest body length taken (bytes): what fits nginx's ``off_t``.
MAX_CONTENT_LENGTH = 2**63 - 1

#: Field sections kept parsed for each set of limits, and the bytes of the longest one;
#: sections remembered by their hash. When one of the two is full, it is emptied.
_SECTIONS_KEPT = 256
_SECTIONS_SEEN = 1024
_SECTION_KEPT_SIZE = 2048

_CHUNKED = RequestHead.CHUNKED


def content_length(values: list[bytes]) -> int | None:
    """The bytes that Content-Length announces; None without the field.

    Stricter than RFC 9112 §6.3, which lets identical values pass: a repeated
    field or a list is refused, because parsers behind us may disagree on it.
    """
    if not values:
        return None
    if len(values) > 1:
        raise ProtocolError("repeated Content-Length")
    value = values[0]
    # bytes.isdigit() is ASCII only: no sign, white space, underscore or list passes.
    if not value.isdigit() or len(value) > 19:
        raise ProtocolError("invalid Content-Length")
    length = int(value)
    if length > MAX_CONTENT_LENGTH:
        raise ProtocolError("Content-Length too large")
    return length


def _is_chunked(values: list[bytes]) -> bool:
    """Whether Transfer-Encoding is present; anything but one ``chunked`` is refused.

    501 for a coding we do not know, as RFC 9112 §6.1 says and nginx answers; 400
    where ``chunked`` is repeated or not last (§6.3). The connection ends in both.
    """
    if not values:
        return False
    codings = [coding.strip(b" \t").lower() for value in values for coding in value.split(b",")]
    if codings == [b"chunked"]:
        return True
    if not all(codings) or codings.count(b"chunked") > 1 or b"chunked" in codings[:-1]:
        raise ProtocolError("chunked is not the final transfer coding")
    raise ProtocolError("unknown transfer coding", 501)


@lru_cache(maxsize=64)
def _connection_options(value: bytes) -> list[bytes]:
    return list_tokens(value)


class FieldFacts:
    """What a section of field lines says about framing, whatever request line it follows.

    ``simple``: exactly one valid Host and nothing that touches framing or
    persistence, so that an HTTP/1.1 request with it has no body and keeps the
    connection. Raises :class:`ProtocolError` for what no request line excuses.
    """

    __slots__ = ("chunked", "close", "expect", "fields", "host", "keep_alive", "length", "simple")

    def __init__(self, fields: Fields) -> None:
        self.fields = fields
        names = fields.names()
        self.host: bytes | None = None
        self.length: int | None = None
        self.expect: bytes | None = None
        self.chunked = self.close = self.keep_alive = False
        if b"host" in names:
            hosts = fields.get_all(b"host")
            if len(hosts) > 1:
                raise ProtocolError("repeated Host")
            self.host = hosts[0]
            split_host(self.host)
        if b"content-length" in names:
            self.length = content_length(fields.get_all(b"content-length"))
        if b"transfer-encoding" in names:
            self.chunked = _is_chunked(fields.get_all(b"transfer-encoding"))
            if self.length is not None:
                raise ProtocolError("both Content-Length and Transfer-Encoding")
        if b"connection" in names:
            options = _connection_options(fields.combined(b"connection") or b"")
            self.close = b"close" in options
            self.keep_alive = b"keep-alive" in options
        if b"expect" in names:
            self.expect = fields.combined(b"expect")
        self.simple = (
            self.host is not None
            and self.length is None
            and not self.chunked
            and not self.close
            and self.expect is None
        )


def facts_reader(
    max_headers: int, underscores: bool, ignore_invalid: bool
) -> Callable[[bytes], FieldFacts]:
    """The function from a field section to its facts, keeping the latest results.

    The arguments are those of ``request_parser.RequestLimits``.
    """
    allowed = b"-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    if underscores:
        allowed += b"_"

    def read(section: bytes) -> FieldFacts:
        fields = read_fields(section)
        if len(fields.pairs) > max_headers:
            raise ProtocolError("too many field lines")
        if ignore_invalid and b"".join(fields.names()).translate(None, allowed):
            fields = Fields(pair for pair in fields if not pair[0].translate(None, allowed))
        return FieldFacts(fields)

    kept: dict[bytes, FieldFacts] = {}
    seen: set[int] = set()

    def facts(section: bytes) -> FieldFacts:
        found = kept.get(section)
        if found is None:
            found = read(section)
            # Kept when it comes again: many a section, with its Cookie or Referer, never does.
            digest = hash(section)
            if digest not in seen:
                if len(seen) >= _SECTIONS_SEEN:
                    seen.clear()
                seen.add(digest)
            elif len(section) <= _SECTION_KEPT_SIZE:
                if len(kept) >= _SECTIONS_KEPT:
                    kept.clear()
                kept[section] = found
        return found

    return facts


def request_framing(
    method: bytes, target: bytes, version: int, facts: FieldFacts
) -> tuple[int | None, bool]:
    """``(body_length, keep_alive)`` of a request, as :class:`RequestHead` has them.

    Raises :class:`ProtocolError` with the status to answer with.
    """
    _check_host(method, target, version, facts.host)
    if facts.chunked and version < 11:
        # RFC 9112 §6.1: faulty framing; a 1.0 peer behind us would not see the end.
        raise ProtocolError("Transfer-Encoding in an HTTP/1.0 request")
    body_length = _CHUNKED if facts.chunked else (facts.length or None)
    if body_length is not None and method == b"TRACE":
        raise ProtocolError("TRACE request with a body")
    if facts.expect is not None and version >= 11 and facts.expect.lower() != b"100-continue":
        raise ProtocolError("unknown expectation", 417)
    if method == b"CONNECT":
        # Never granted; what the client sends behind the head is no message.
        return body_length, False
    keep_alive = not facts.close and (version >= 11 or facts.keep_alive)
    return body_length, keep_alive


def _check_host(method: bytes, target: bytes, version: int, host: bytes | None) -> None:
    if host is None and version >= 11:
        raise ProtocolError("HTTP/1.1 request without Host")
    if target[:1] != b"/" or method == b"CONNECT":
        parse_target(target, method)


def response_framing(method: bytes, status: int, version: int, fields: Fields) -> tuple[int, bool]:
    """``(body_length, keep_alive)`` of a response to *method*, as :class:`ResponseHead` has them.

    Stricter than RFC 9112 §6.3: contradictory or unknown framing is an error
    rather than something to repair, since the answer may be stored and replayed.
    """
    names = fields.names()
    length = None
    if b"content-length" in names:
        length = content_length(fields.get_all(b"content-length"))
    chunked = b"transfer-encoding" in names and _is_chunked(fields.get_all(b"transfer-encoding"))
    if chunked and length is not None:
        raise ProtocolError("both Content-Length and Transfer-Encoding")
    if chunked and version < 11:
        raise ProtocolError("Transfer-Encoding in an HTTP/1.0 response")
    keep_alive = version >= 11
    connection = fields.combined(b"connection")
    if connection is not None and not (connection == b"keep-alive" and keep_alive):
        options = _connection_options(connection)
        keep_alive = b"close" not in options and (keep_alive or b"keep-alive" in options)
    if status < 200:
        if chunked or length is not None:
            raise ProtocolError("informational response with a body length")
        return 0, keep_alive
    if status == 204:
        # No body by definition; an origin that announces one cannot be trusted to
        # have sent none, so its connection is not used again.
        return 0, keep_alive and not chunked and not length
    if status == 304 or method == b"HEAD":
        return 0, keep_alive
    if method == b"CONNECT" and status < 300:
        return 0, False
    if chunked:
        return ResponseHead.CHUNKED, keep_alive
    if length is not None:
        return length, keep_alive
    return ResponseHead.UNTIL_CLOSE, False
