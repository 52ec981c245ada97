"""Slices of a large representation: which one comes first, and whether what came fits.

nginx: ``ngx_http_slice_filter_module`` (``slice``, ``$slice_range``); RFC 9110 §14.4,
§15.3.7. A slice is a part that starts at a multiple of the slice's size and is that long,
but for the last one.

Stricter than nginx: every slice must be of the same total length, and, where there is no
entity-tag, of the same Last-Modified. What is put together must be one thing (§15.3.7.3).

Imports: ``http`` only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from cacheproxy.http.fields import Fields

__all__ = ["MisfitSlice", "SlicePart", "first_slice", "judge_slice", "slice_range"]

_CONTENT_RANGE = re.compile(rb"bytes +([0-9]{1,19}) *- *([0-9]{1,19}) */ *([0-9]{1,19}|\*) *")
_START = re.compile(rb"bytes= *([0-9]{1,19})", re.IGNORECASE)

#: The greatest position that nginx reads (``NGX_MAX_OFF_T_VALUE``).
_MAX_POSITION = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class SlicePart:
    """A slice that fits: bytes [start, stop) of *total*, and what tells versions apart."""

    start: int
    stop: int
    total: int
    etag: bytes | None
    modified: bytes | None


@dataclass(frozen=True, slots=True)
class MisfitSlice:
    """A slice that cannot be used; *reason* is the line for the error log, nginx's words.

    *outdated*: it may be of another version than those before it, or than the origin has.
    """

    reason: str
    outdated: bool = True


def first_slice(fields: Fields, size: int) -> int:
    """The position of the first slice for a GET with *fields*.

    0 unless one range is asked for, from a position, and without a condition.
    Source: nginx ``ngx_http_slice_get_start``.
    """
    value = fields.get(b"range")
    if value is None or b"if-range" in fields or b"," in value:
        return 0
    match = _START.match(value)
    start = 0 if match is None else int(match.group(1))
    return start // size * size if start <= _MAX_POSITION else 0


def slice_range(start: int, size: int) -> bytes:
    """``$slice_range``: the Range value for the slice at *start*."""
    return b"bytes=%d-%d" % (start, start + size - 1)


def judge_slice(
    status: int, fields: Fields, start: int, size: int, known: SlicePart | None
) -> SlicePart | MisfitSlice:
    """Whether a response is the slice of *size* bytes at *start*.

    *known* is the slice before it. Never raises. Source: nginx
    ``ngx_http_slice_header_filter``.
    """
    if status != 206:
        return MisfitSlice(f"unexpected status code {status} in slice response", status < 500)
    etag = fields.get(b"etag")
    if known is not None and known.etag is not None and etag != known.etag:
        return MisfitSlice("etag mismatch in slice response")
    values = fields.get_all(b"content-range")
    match = _CONTENT_RANGE.fullmatch(values[0]) if len(values) == 1 else None
    if match is None:
        return MisfitSlice("invalid range in slice response")
    first, last = int(match.group(1)), int(match.group(2))
    if match.group(3) == b"*":
        return MisfitSlice("no complete length in slice response")
    total = int(match.group(3))
    stop = min(start + size, total)
    if first != start or last + 1 != stop or first > last:
        return MisfitSlice(
            f"unexpected range in slice response: {first}-{last + 1}, expected: {start}-{stop}"
        )
    modified = fields.get(b"last-modified")
    if known is not None:
        if total != known.total:
            return MisfitSlice(
                f"unexpected complete length in slice response: {total}, expected: {known.total}"
            )
        if known.etag is None and known.modified is not None and modified != known.modified:
            return MisfitSlice("last modified mismatch in slice response")
    return SlicePart(start, stop, total, etag, modified)
