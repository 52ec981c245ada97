"""``expires`` and ``add_header``: fields that the operator adds to a response.

nginx: ``ngx_http_headers_filter_module``.

Imports: ``options``, ``http``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from cacheproxy.http.fields import Fields, Pairs
from cacheproxy.http.syntax import format_http_date, parse_http_date
from cacheproxy.policy.options import AddHeader, Expires

__all__ = ["SAFE_STATUSES", "apply_added_fields", "apply_expires", "parse_expires"]

#: Where ``expires``, and ``add_header`` without ``always``, apply.
SAFE_STATUSES = frozenset({200, 201, 204, 206, 301, 302, 303, 304, 307, 308})

_EPOCH = b"Thu, 01 Jan 1970 00:00:01 GMT"
_MAX = b"Thu, 31 Dec 2037 23:55:55 GMT"
_DAY = 86400

#: Fields that ``add_header`` sets rather than adds to.
_REPLACED = frozenset({b"last-modified", b"etag"})

_UNITS = {"y": 31536000, "M": 2592000, "w": 604800, "d": _DAY, "h": 3600, "m": 60, "s": 1, "": 1}
_TIME = re.compile(r"(?:\d+[yMwdhms] *)*\d+[yMwdhms]?")
_TIME_PART = re.compile(r"(\d+)([yMwdhms]?)")
_MAX_SECONDS = 2**31 - 1

_CONTROL = re.compile(rb"[\x00\r\n]")


def apply_expires(
    pairs: Pairs,
    status: int,
    expires: Expires | None,
    context: Any,
    now: float,
    utc_offset: float = 0.0,
) -> Pairs:
    """*pairs* with Expires and Cache-Control as ``expires`` says, or *pairs* itself.

    All lines of both names are replaced. *now* is wall seconds; *utc_offset* the
    local zone's seconds east of UTC, for ``@`` times of day.
    """
    if expires is None or status not in SAFE_STATUSES:
        return pairs
    if expires.template is not None:
        parsed = parse_expires(expires.template.render(context).decode("latin-1"))
        if parsed is None:
            return pairs
        expires = parsed
    kept = [pair for pair in pairs if pair[0].lower() not in (b"expires", b"cache-control")]
    modified = Fields(pairs).get(b"last-modified")
    expiry, control = _values(expires, modified, now, utc_offset)
    kept.append((b"Expires", expiry))
    kept.append((b"Cache-Control", control))
    return kept


def _values(
    expires: Expires, modified: bytes | None, now: float, utc_offset: float
) -> tuple[bytes, bytes]:
    if expires.kind == "epoch":
        return _EPOCH, b"no-cache"
    if expires.kind == "max":
        return _MAX, b"max-age=315360000"
    now = float(int(now))
    end = now + expires.seconds
    if expires.kind == "daily":
        midnight = (now + utc_offset) // _DAY * _DAY - utc_offset
        end = midnight + expires.seconds
        if end <= now:
            end += _DAY
    elif expires.seconds == 0:  # whatever the kind (nginx)
        return format_http_date(now), b"max-age=0"
    elif expires.kind == "modified":
        time = None if modified is None else parse_http_date(modified)
        if time is not None:
            end = time + expires.seconds
    seconds = end - now
    if expires.seconds < 0 or seconds < 0:
        return format_http_date(max(0.0, end)), b"no-cache"
    return format_http_date(end), b"max-age=%d" % seconds


def parse_expires(text: str) -> Expires | None:
    """The value of an ``expires`` variable; None for ``off``, an empty or a bad one.

    Source: nginx ``ngx_http_parse_expires``.
    """
    if text in ("epoch", "max"):
        return Expires(kind=text)
    kind, sign = "delta", 1
    if text.startswith("@"):
        kind, text = "daily", text[1:]
    elif text[:1] in ("+", "-"):
        sign, text = (-1 if text[0] == "-" else 1), text[1:]
    if _TIME.fullmatch(text) is None or len(text) > 64:
        return None
    seconds = sum(int(count) * _UNITS[unit] for count, unit in _TIME_PART.findall(text))
    if seconds > _MAX_SECONDS or (kind == "daily" and seconds > _DAY):
        return None
    return Expires(kind=kind, seconds=sign * seconds)


def apply_added_fields(
    pairs: Pairs, status: int, added: Sequence[AddHeader], context: Any
) -> Pairs:
    """*pairs* with the lines of ``add_header``, in order; empty values add nothing.

    Last-Modified and ETag replace; everything else is one more line. CR, LF and
    NUL that a variable may carry are replaced by spaces.
    """
    if not added:
        return pairs
    safe = status in SAFE_STATUSES
    out = list(pairs)
    for header in added:
        if not safe and not header.always:
            continue
        value = header.value.render(context)
        lower = header.name.lower()
        if lower in _REPLACED:
            out = [pair for pair in out if pair[0].lower() != lower]
        if value:
            out.append((header.name, _CONTROL.sub(b" ", value)))
    return out
