"""Byte ranges of a complete representation: RFC 9110 §14, RFC 9111 §3.3-3.4.

nginx: ``ngx_http_range_filter_module``, ``max_ranges``. A malformed specifier
gets 416 as in nginx (§14.2 leaves the choice), one that ends before it starts is
passed over, and a set of ranges that asks for more bytes than there are, or for
too many parts, gets the whole, as does every range of an empty representation.

Laxer than nginx: empty list members are skipped (§5.6.1.2) and positions of any
number of digits are understood; it answers 416 to both.

Imports: ``http`` only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from cacheproxy.http.fields import Fields, Pairs

__all__ = [
    "MAX_RANGES",
    "Multipart",
    "RangeDecision",
    "Ranges",
    "Unsatisfiable",
    "Whole",
    "WholeReason",
    "content_range",
    "decide_ranges",
    "may_be_ranged",
    "multipart",
    "offering_ranges",
    "unsatisfied_content_range",
]

#: Parts in one response where ``max_ranges`` is not set (nginx: no limit).
MAX_RANGES = 200

_SPECIFIER = re.compile(rb"[ \t]*(?:([0-9]+)[ \t]*-[ \t]*([0-9]*)|-[ \t]*([0-9]+))[ \t]*")

#: Digits beyond which a position is past the end of anything.
_MAX_DIGITS = 19


class WholeReason(Enum):
    """Why a Range field is not applied; the value is for people and logs."""

    NO_RANGE = "no Range"
    OTHER_UNIT = "unit is not bytes"
    EMPTY = "nothing is there"
    DISABLED = "max_ranges 0"
    TOO_MANY = "more ranges than max_ranges"
    TOO_MUCH = "ranges ask for more than the whole"


@dataclass(slots=True)
class Whole:
    """The Range field is ignored: 200 with everything."""

    reason: WholeReason


@dataclass(slots=True)
class Unsatisfiable:
    """416; *content_range* is the value of the Content-Range field to send."""

    content_range: bytes


@dataclass(slots=True)
class Ranges:
    """206 with *ranges*, each [start, stop) in bytes; one, or several as multipart."""

    ranges: list[tuple[int, int]]


RangeDecision = Whole | Unsatisfiable | Ranges


@dataclass(slots=True)
class Multipart:
    """A multipart/byteranges body: ``heads[i]``, then bytes of ``ranges[i]``, …, ``trailer``.

    *content_length* is the length of all of it, in bytes.
    """

    content_type: bytes
    heads: list[bytes]
    ranges: list[tuple[int, int]]
    trailer: bytes
    content_length: int


def decide_ranges(value: bytes | None, length: int, max_ranges: int | None) -> RangeDecision:
    """What a Range field *value* asks of a representation of *length* bytes.

    To be asked for GET and status 200 only, when If-Range holds (RFC 9110 §14.2,
    ``conditional.if_range_holds``). *max_ranges* is nginx's directive, None where
    it is not set. Never raises.
    """
    if value is None:
        return Whole(WholeReason.NO_RANGE)
    if max_ranges == 0:
        return Whole(WholeReason.DISABLED)
    if value[:6].lower() != b"bytes=" or len(value) == 6:
        return Whole(WholeReason.OTHER_UNIT)
    if length == 0:
        return Whole(WholeReason.EMPTY)
    limit = MAX_RANGES if max_ranges is None else max_ranges
    ranges: list[tuple[int, int]] = []
    total = 0
    specifiers = value[6:].split(b",", limit * 2 + 1)
    for specifier in specifiers:
        if not specifier.strip(b" \t") and len(specifiers) > 1:
            continue  # an empty list member (§5.6.1.2)
        match = _SPECIFIER.fullmatch(specifier)
        if match is None:
            return Unsatisfiable(unsatisfied_content_range(length))
        found = _resolve(match, length)
        if found[0] >= found[1]:
            continue  # past the end
        ranges.append(found)
        total += found[1] - found[0]
        if len(ranges) > limit:
            return Whole(WholeReason.TOO_MANY)
    if not ranges:
        return Unsatisfiable(unsatisfied_content_range(length))
    if total > length:
        return Whole(WholeReason.TOO_MUCH)
    return Ranges(ranges)


def _resolve(match: re.Match[bytes], length: int) -> tuple[int, int]:
    """[start, stop) of one specifier, empty if there is nothing of it."""
    first, last, suffix = match.groups()
    if suffix is not None:
        count = _position(suffix, length)
        return max(0, length - count), length
    start = _position(first, length)
    if not last:
        return start, length
    return start, min(_position(last, length) + 1, length)


def _position(digits: bytes, length: int) -> int:
    digits = digits.lstrip(b"0")
    return length if len(digits) > _MAX_DIGITS else min(int(digits or b"0"), length)


def may_be_ranged(fields: Fields, force: bool | None) -> bool:
    """Whether ranges of a whole response with *fields* are answered here.

    *force* is ``proxy_force_ranges``, None where it is not set: a cache that has the whole
    may answer them whatever Accept-Ranges says (RFC 9111 §4; RFC 9110 §14.3). With ``off``
    the origin must have sent that field, whatever its value (nginx).
    """
    return force is not False or b"accept-ranges" in fields


def offering_ranges(
    status: int, length: int | None, pairs: Pairs, max_ranges: int | None
) -> Pairs:
    """The fields of a response whose ranges are answered: with ``Accept-Ranges: bytes``.

    Only a 200 of known *length* has ranges; any other loses the field (nginx).
    """
    kept = [pair for pair in pairs if pair[0].lower() != b"accept-ranges"]
    if status == 200 and length is not None and length >= 0 and max_ranges != 0:
        kept.append((b"Accept-Ranges", b"bytes"))
    return kept


def content_range(start: int, stop: int, length: int) -> bytes:
    """The Content-Range value for [start, stop) of *length* bytes."""
    return b"bytes %d-%d/%d" % (start, stop - 1, length)


def unsatisfied_content_range(length: int) -> bytes:
    """The Content-Range value of a 416."""
    return b"bytes */%d" % length


def multipart(
    ranges: list[tuple[int, int]], length: int, content_type: bytes | None, boundary: bytes
) -> Multipart:
    """Plan the multipart/byteranges body of *ranges* (RFC 9110 §14.6).

    *boundary* is 1 to 70 characters that do not occur in the content.
    """
    opening = b"\r\n--" + boundary + b"\r\n"
    if content_type:
        opening += b"Content-Type: " + content_type + b"\r\n"
    heads = [
        opening + b"Content-Range: " + content_range(start, stop, length) + b"\r\n\r\n"
        for start, stop in ranges
    ]
    trailer = b"\r\n--" + boundary + b"--\r\n"
    total = len(trailer) + sum(map(len, heads)) + sum(stop - start for start, stop in ranges)
    return Multipart(b"multipart/byteranges; boundary=" + boundary, heads, ranges, trailer, total)
