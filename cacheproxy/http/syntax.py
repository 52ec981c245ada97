"""The small grammars that fields share.

RFC 9110 §5.6 (tokens, lists, quoted strings, parameters), §5.6.7 (HTTP-date),
§12.4.2 (quality values); RFC 9111 §1.2.2 (delta-seconds).
A parser answers None for what does not follow its grammar; the caller knows
whether that means to ignore the field or to refuse the message.

Imports nothing of the project.
"""

from __future__ import annotations

import re
from calendar import monthrange, timegm
from datetime import datetime, timedelta
from functools import lru_cache

__all__ = [
    "MAX_DELTA_SECONDS",
    "format_http_date",
    "is_token",
    "list_tokens",
    "parse_delta_seconds",
    "parse_http_date",
    "parse_parameters",
    "parse_qvalues",
    "split_list",
    "unquote",
]

_TOKEN_OCTETS = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

#: What a larger delta-seconds counts as (RFC 9111 §1.2.2).
MAX_DELTA_SECONDS = 2**31

# One list member: anything but commas, where quoted strings may hold commas.
_MEMBER = re.compile(rb'(?:[^,"]|"(?:[^"\\]|\\.)*"?)+', re.DOTALL)
_QUOTED = re.compile(rb'"((?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*)"')
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_PARAMETER = re.compile(
    rb"[ \t]*;[ \t]*(?:([!#$%&'*+.^_`|~0-9A-Za-z-]+)="
    rb'([!#$%&\'*+.^_`|~0-9A-Za-z-]+|"(?:[^"\\]|\\.)*"))?'
)
_QVALUE = re.compile(rb"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")
_DELTA = re.compile(rb"[0-9]+")

_DAYS = (b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun")
_MONTHS = (
    *(b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun"),
    *(b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"),
)
_MONTH_NUMBERS = {name: number for number, name in enumerate(_MONTHS, 1)}
_TIME = rb"(?P<hour>[0-2][0-9]):(?P<minute>[0-5][0-9]):(?P<second>[0-5][0-9]|60)"
_DAY = rb"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_MONTH = rb"(?P<month>Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_DATES = (
    # IMF-fixdate
    re.compile(
        _DAY + rb", (?P<day>[0-3][0-9]) " + _MONTH + rb" (?P<year>[0-9]{4}) " + _TIME + rb" GMT"
    ),
    # rfc850-date
    re.compile(
        rb"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day, (?P<day>[0-3][0-9])-"
        + _MONTH
        + rb"-(?P<year>[0-9]{2}) "
        + _TIME
        + rb" GMT"
    ),
    # asctime-date
    re.compile(
        _DAY + rb" " + _MONTH + rb" (?P<day>[ 0-3][0-9]) " + _TIME + rb" (?P<year>[0-9]{4})"
    ),
)
_EPOCH = datetime(1970, 1, 1)


def is_token(value: bytes) -> bool:
    """Whether *value* is a ``token`` (RFC 9110 §5.6.2)."""
    return bool(value) and not value.translate(None, _TOKEN_OCTETS)


def list_tokens(value: bytes) -> list[bytes]:
    """The members of a comma-separated list of tokens, lower-cased, empty ones left out.

    For fields whose members are tokens only (``Connection``, ``Upgrade`` …); a
    quoted string is not understood. Source: RFC 9110 §5.6.1.2.
    """
    members = [member.strip(b" \t") for member in value.lower().split(b",")]
    return [member for member in members if member]


def split_list(value: bytes) -> list[bytes]:
    """The members of a list, as they stand, empty ones left out.

    Commas in quoted strings do not separate; an unclosed string runs to the end.
    Source: RFC 9110 §5.6.1.
    """
    if b'"' not in value:
        members = [member.strip(b" \t") for member in value.split(b",")]
    else:
        members = [member.strip(b" \t") for member in _MEMBER.findall(value)]
    return [member for member in members if member]


def unquote(value: bytes) -> bytes | None:
    """The text of a token or quoted-string; None if it is neither (RFC 9110 §5.6.4)."""
    match = _QUOTED.fullmatch(value)
    if match is not None:
        return _ESCAPED.sub(rb"\1", match.group(1))
    return value if is_token(value) else None


def parse_parameters(value: bytes) -> tuple[bytes, dict[bytes, bytes]] | None:
    """``(item, parameters)`` of ``item;name=value…``; None where the syntax is broken.

    Names are in lower case; of a repeated name the first counts.
    Source: RFC 9110 §5.6.6.
    """
    item, semicolon, rest = value.partition(b";")
    item = item.strip(b" \t")
    parameters: dict[bytes, bytes] = {}
    text = (semicolon + rest).rstrip(b" \t")
    position = 0
    while position < len(text):
        match = _PARAMETER.match(text, position)
        if match is None or match.end() == position:
            return None
        position = match.end()
        if match.group(1) is None:
            continue
        content = unquote(match.group(2))
        if content is None:
            return None
        parameters.setdefault(match.group(1).lower(), content)
    return item, parameters


def parse_qvalues(value: bytes) -> list[tuple[bytes, float]]:
    """``(member, weight)`` of each member of an Accept-like list, in order.

    Members are lower-cased and without parameters; a missing weight is 1.0 and a
    member whose weight is malformed is left out. Source: RFC 9110 §12.4.2.
    """
    found: list[tuple[bytes, float]] = []
    for member in split_list(value.lower()):
        if b";" not in member:
            found.append((member, 1.0))
            continue
        parsed = parse_parameters(member)
        if parsed is None or not parsed[0]:
            continue
        weight = parsed[1].get(b"q", b"1")
        if _QVALUE.fullmatch(weight) is not None:
            found.append((parsed[0], float(weight)))
    return found


def parse_delta_seconds(value: bytes) -> int | None:
    """Seconds, at most ``MAX_DELTA_SECONDS``; None for anything but digits."""
    if _DELTA.fullmatch(value) is None:
        return None
    return min(int(value), MAX_DELTA_SECONDS) if len(value) <= 12 else _long_delta(value)


def _long_delta(value: bytes) -> int:
    digits = value.lstrip(b"0")
    return min(int(digits or b"0"), MAX_DELTA_SECONDS) if len(digits) <= 12 else MAX_DELTA_SECONDS


def parse_http_date(value: bytes) -> int | None:
    """Seconds since the epoch of an HTTP-date in any of the three forms, or None.

    Strict: case, digits and ``GMT`` as in RFC 9110 §5.6.7; the name of the day is
    not compared with the date. A two-digit year below 70 is 20xx, as in nginx,
    so that the meaning does not hang on the current date.
    """
    return _parse_date(value) if len(value) <= 33 else None


@lru_cache(maxsize=1024)
def _parse_date(value: bytes) -> int | None:
    for pattern in _DATES:
        match = pattern.fullmatch(value)
        if match is not None:
            break
    else:
        return None
    year = int(match["year"])
    if len(match["year"]) == 2:
        year += 2000 if year < 70 else 1900
    month = _MONTH_NUMBERS[match["month"]]
    day, hour = int(match["day"]), int(match["hour"])
    if year < 1 or hour > 23 or not 1 <= day <= monthrange(year, month)[1]:
        return None
    return timegm((year, month, day, hour, int(match["minute"]), int(match["second"])))


def format_http_date(seconds: float) -> bytes:
    """The IMF-fixdate of *seconds* since the epoch, fractions dropped."""
    return _format_date(int(seconds))


@lru_cache(maxsize=256)
def _format_date(seconds: int) -> bytes:
    moment = _EPOCH + timedelta(seconds=seconds)
    return b"%b, %02d %b %04d %02d:%02d:%02d GMT" % (
        _DAYS[moment.weekday()],
        moment.day,
        _MONTHS[moment.month - 1],
        moment.year,
        moment.hour,
        moment.minute,
        moment.second,
    )
