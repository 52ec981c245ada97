"""A client's preconditions, evaluated against what would be sent: RFC 9110 §13, RFC 9111 §4.3.2.

nginx: ``ngx_http_not_modified_filter_module``, ``if_modified_since``. Unlike
nginx, If-None-Match, where present, makes If-Modified-Since void (§13.2.2).

Imports: ``http``.
"""

from __future__ import annotations

import re
from enum import Enum

from cacheproxy.http.fields import Fields
from cacheproxy.http.messages import RequestHead
from cacheproxy.http.syntax import parse_http_date

__all__ = [
    "PRECONDITION_FIELDS",
    "Precondition",
    "evaluate_preconditions",
    "if_range_holds",
    "strong_match",
    "weak_match",
]

#: The fields of a request that make evaluating preconditions worth the call.
PRECONDITION_FIELDS = frozenset(
    {b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since"}
)

#: One entity-tag (RFC 9110 §8.8.3); an unquoted one is taken up to the comma,
#: as some clients send back what some origins wrongly make.
_ENTITY_TAG = re.compile(rb'(?:W/)?"[^"]*"|[^ \t,"][^,]*')

#: Seconds that Date must be after Last-Modified for it to be a strong validator (§8.8.2.2).
_STRONG_DATE_DISTANCE = 1.0


class Precondition(Enum):
    """The outcome; the value is the status it leads to, 0 for the response itself."""

    PROCEED = 0
    NOT_MODIFIED = 304
    PRECONDITION_FAILED = 412


def evaluate_preconditions(
    request: RequestHead,
    status: int,
    fields: Fields,
    *,
    if_modified_since: str = "exact",
    received: float | None = None,
) -> Precondition:
    """What the preconditions of *request* make of a response of *status* with *fields*.

    *if_modified_since* is nginx's directive: ``off``, ``exact`` or ``before``.
    *received* (wall seconds) stands in for an absent Last-Modified and Date of a
    stored response (RFC 9111 §4.3.2). Order: RFC 9110 §13.2.2.
    """
    if not 200 <= status < 300:
        return Precondition.PROCEED
    asked = request.fields
    etag = fields.get(b"etag")
    value = asked.combined(b"if-match")
    if value is not None:
        holds = strong_match(value, etag)
    else:
        value = asked.get(b"if-unmodified-since")
        holds = value is None or _unmodified_since(value, fields)
    if not holds:
        return Precondition.PRECONDITION_FAILED
    reading = request.method in (b"GET", b"HEAD")
    value = asked.combined(b"if-none-match")
    if value is not None:
        if not weak_match(value, etag):
            return Precondition.PROCEED
        return Precondition.NOT_MODIFIED if reading else Precondition.PRECONDITION_FAILED
    value = asked.get(b"if-modified-since")
    if value is None or not reading or if_modified_since == "off":
        return Precondition.PROCEED
    if _modified_since(value, fields, if_modified_since == "exact", received):
        return Precondition.PROCEED
    return Precondition.NOT_MODIFIED


def if_range_holds(request: RequestHead, fields: Fields) -> bool:
    """Whether the request's Range counts, as far as If-Range says (RFC 9110 §13.1.5).

    True without If-Range. The comparison is strong: a weak entity-tag, or a date
    that is not the exact and strong Last-Modified, does not hold.
    """
    value = request.fields.get(b"if-range")
    if value is None:
        return True
    value = value.strip(b" \t")
    if value.startswith((b'"', b"W/")):
        return strong_match(value, fields.get(b"etag"))
    modified = fields.get(b"last-modified")
    wanted = parse_http_date(value)
    if modified is None or wanted is None or parse_http_date(modified) != wanted:
        return False
    date = fields.get(b"date")
    made = None if date is None else parse_http_date(date)
    return made is None or made - wanted >= _STRONG_DATE_DISTANCE


def weak_match(value: bytes, etag: bytes | None) -> bool:
    """Whether a list of entity-tags, or ``*``, has *etag* by weak comparison (§8.8.3.2)."""
    value = value.strip(b" \t")
    if value == b"*":
        return True
    if etag is None:
        return False
    wanted = _opaque(etag.strip(b" \t"))
    return any(_opaque(tag) == wanted for tag in _entity_tags(value))


def strong_match(value: bytes, etag: bytes | None) -> bool:
    """Whether a list of entity-tags, or ``*``, has *etag* by strong comparison (§8.8.3.2)."""
    value = value.strip(b" \t")
    if value == b"*":
        return True
    if etag is None:
        return False
    wanted = etag.strip(b" \t")
    return not wanted.startswith(b"W/") and wanted in _entity_tags(value)


def _entity_tags(value: bytes) -> list[bytes]:
    return [tag.rstrip(b" \t") for tag in _ENTITY_TAG.findall(value)]


def _opaque(tag: bytes) -> bytes:
    return tag[2:] if tag.startswith(b"W/") else tag


def _unmodified_since(value: bytes, fields: Fields) -> bool:
    """True where the date is no date: the field is then ignored (§13.1.4)."""
    limit = parse_http_date(value)
    if limit is None:
        return True
    modified = fields.get(b"last-modified")
    time = None if modified is None else parse_http_date(modified)
    return time is not None and time <= limit


def _modified_since(value: bytes, fields: Fields, exact: bool, received: float | None) -> bool:
    limit = parse_http_date(value)
    if limit is None:
        return True
    modified = fields.get(b"last-modified")
    if modified is not None:
        time = parse_http_date(modified)
        if time is None:
            return True
        return time != limit if exact else time > limit
    if received is None:
        return True
    date = fields.get(b"date")
    time = None if date is None else parse_http_date(date)
    return (received if time is None else time) > limit
