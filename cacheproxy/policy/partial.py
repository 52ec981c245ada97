"""Partial responses, stored and reused: RFC 9111 §3.3, §4; RFC 9110 §14.4, §15.3.7.

nginx (``proxy_cache_max_range_offset``) passes a range that lies far inside to the
origin and does not store the answer. Here it is stored, as one part of the whole.

What came is anchored at the first position that Content-Range names: content
shorter than the field says has lost its end. What is there of it is used, what the
field promises beyond is not; content longer than the field says is not used at all.

Where the operator has put the range into ``proxy_cache_key``, each is a thing of its
own, as in nginx, and nothing here applies to it.

Imports: ``conditional``, ``options``, ``ranges``, ``stored``, ``http``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from cacheproxy.http.fields import Fields
from cacheproxy.http.messages import RequestHead, ResponseHead
from cacheproxy.policy.conditional import if_range_holds
from cacheproxy.policy.options import CacheOptions
from cacheproxy.policy.ranges import Ranges, decide_ranges
from cacheproxy.policy.stored import StoredResponse

__all__ = [
    "ASKED",
    "Part",
    "Slice",
    "keyed_by_range",
    "part_of",
    "passes_range",
    "plain_range",
    "reuse_part",
    "stored_part",
]

#: Stands among the selecting fields of a stored part, where no field can have this
#: name, for the Range that the part answers.
ASKED = b":range"

_CONTENT_RANGE = re.compile(rb"bytes[ \t]+([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})")
_START = re.compile(rb"bytes=[ \t]*(-)?([0-9]{1,18})", re.IGNORECASE)

_RANGE_VARIABLES = frozenset({"http_range", "slice_range"})

#: With one of these a Range is not the only thing that decides about the answer.
_PRECONDITIONS = frozenset(
    {b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since"}
)


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes *first* to *last*, inclusive, of *total*."""

    first: int
    last: int
    total: int


@dataclass(frozen=True, slots=True)
class Slice:
    """Bytes [start, stop) of a stored part's body; *first* is where it lies in the whole."""

    start: int
    stop: int
    first: int
    total: int


def keyed_by_range(options: CacheOptions) -> bool:
    """Whether ``proxy_cache_key`` tells ranges apart."""
    key = options.key
    return key is not None and not _RANGE_VARIABLES.isdisjoint(key.variables)


def part_of(response: ResponseHead) -> Part | None:
    """Which part of the whole a 206 is; None unless it says so, once and without contradiction."""
    if response.status != 206:
        return None
    part = _content_range(response.fields)
    if part is None or response.body_length > part.last - part.first + 1:
        return None
    return part


def stored_part(stored: StoredResponse) -> Part | None:
    """Which part a stored 206 is, if it has every byte that it says; else None."""
    part = _content_range(stored.fields) if stored.status == 206 else None
    if part is None or stored.body_length != part.last - part.first + 1:
        return None
    return part


def _content_range(fields: Fields) -> Part | None:
    values = fields.get_all(b"content-range")
    match = _CONTENT_RANGE.fullmatch(values[0].strip(b" \t")) if len(values) == 1 else None
    if match is None:
        return None
    first, last, total = map(int, match.groups())
    return Part(first, last, total) if first <= last < total else None


def plain_range(request: RequestHead) -> bytes | None:
    """The Range of a request that has one and no precondition but If-Range; else None."""
    fields = request.fields
    if b"range" not in fields or request.method != b"GET":
        return None
    values = fields.get_all(b"range")
    if len(values) > 1 or not _PRECONDITIONS.isdisjoint(fields.names()):
        return None
    return values[0].strip(b" \t")


def passes_range(value: bytes, limit: int | None) -> bool:
    """Whether the origin is asked for the range alone, not for the whole, on a miss.

    *limit* is ``proxy_cache_max_range_offset``. Where it is not set, that is so for
    the end of something (``bytes=-N``), before which all the rest would have to come.
    Source: nginx ``ngx_http_upstream_cache_check_range``.
    """
    match = _START.match(value)
    if match is None:
        return False
    if match.group(1):
        return True
    return limit is not None and int(match.group(2)) >= limit


def reuse_part(stored: StoredResponse, request: RequestHead) -> Slice | None:
    """What of a stored part answers *request*; None if it does not.

    The range must lie within the part (RFC 9111 §4); an answer may then be shorter
    than what was asked for (RFC 9110 §15.3.7). The Range that the part came for is
    answered by all of it.
    """
    value = plain_range(request)
    part = _content_range(stored.fields)
    length = stored.body_length
    if value is None or part is None or not 0 < length <= part.last - part.first + 1:
        return None
    if not if_range_holds(request, stored.fields):
        return None
    if (ASKED, value) in stored.vary:
        return Slice(0, length, part.first, part.total)
    decision = decide_ranges(value, part.total, None)
    if not isinstance(decision, Ranges) or len(decision.ranges) != 1:
        return None
    start, stop = decision.ranges[0]
    if not part.first <= start < part.first + length or stop - 1 > part.last:
        return None
    return Slice(start - part.first, min(stop - part.first, length), start, part.total)
