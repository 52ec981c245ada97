"""How long a response stays fresh and how old it already is: RFC 9111 §4.2.

Dates are compared without case, which §4.2 asks of caches alone.

Imports: ``cache_control``, ``http``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from cacheproxy.http.fields import Fields
from cacheproxy.http.syntax import parse_delta_seconds, parse_http_date
from cacheproxy.policy.cache_control import MAX_DELTA, ResponseDirectives

__all__ = [
    "HEURISTIC_STATUSES",
    "Lifetime",
    "LifetimeSource",
    "date_value",
    "explicit_lifetime",
    "heuristic_lifetime",
    "initial_age",
    "received_age",
]

#: Heuristically cacheable status codes (RFC 9110 §15.1).
HEURISTIC_STATUSES = frozenset({200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501})

#: The share of the time since the last modification (RFC 9111 §4.2.2).
_HEURISTIC_SHARE = 0.1


class LifetimeSource(Enum):
    """Where a freshness lifetime comes from, strongest first."""

    X_ACCEL_EXPIRES = "X-Accel-Expires"
    TARGETED = "CDN-Cache-Control"
    S_MAXAGE = "s-maxage"
    MAX_AGE = "max-age"
    EXPIRES = "Expires"
    PROXY_CACHE_VALID = "proxy_cache_valid"
    HEURISTIC = "heuristic"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Lifetime:
    """A freshness lifetime in seconds from an age of zero, never negative, and its source."""

    seconds: float
    source: LifetimeSource


def _date(value: bytes) -> int | None:
    """An HTTP-date in any case; None if malformed."""
    seconds = parse_http_date(value)
    return parse_http_date(value.title().replace(b"Gmt", b"GMT")) if seconds is None else seconds


def date_value(fields: Fields, response_time: float) -> float:
    """The Date of a response in wall seconds; *response_time* where absent or malformed.

    Source: RFC 9110 §6.6.1. Of several Date lines the earliest counts: it makes
    the response the oldest.
    """
    dates = [_date(value) for value in fields.get_all(b"date")]
    if not dates:
        return response_time
    known = [date for date in dates if date is not None]
    return min(known) if len(known) == len(dates) else min([response_time, *known])


def explicit_lifetime(
    fields: Fields,
    directives: ResponseDirectives,
    response_time: float,
    *,
    expires: bool = True,
) -> Lifetime | None:
    """The lifetime for a shared cache that the response itself states; None if it does not.

    With *expires* false the Expires field is not looked at. A malformed lifetime
    is 0 (RFC 9111 §4.2.1, §5.3). Source: RFC 9111 §4.2.1.
    """
    if directives.s_maxage is not None:
        return Lifetime(float(directives.s_maxage), LifetimeSource.S_MAXAGE)
    if directives.max_age is not None:
        return Lifetime(float(directives.max_age), LifetimeSource.MAX_AGE)
    if not expires:
        return None
    values = fields.get_all(b"expires")
    if not values:
        return None
    dates = [_date(value) for value in values]
    date = date_value(fields, response_time)
    seconds = min(0.0 if expiry is None else expiry - date for expiry in dates)
    return Lifetime(max(0.0, seconds), LifetimeSource.EXPIRES)


def heuristic_lifetime(
    fields: Fields, status: int, response_time: float, limit: float, public: bool = False
) -> Lifetime | None:
    """A tenth of the time since Last-Modified, at most *limit* seconds; None where not allowed.

    Source: RFC 9111 §4.2.2.
    """
    if status not in HEURISTIC_STATUSES and not public:
        return None
    value = fields.get(b"last-modified")
    modified = None if value is None else parse_http_date(value)
    if modified is None:
        return None
    seconds = (date_value(fields, response_time) - modified) * _HEURISTIC_SHARE
    return Lifetime(max(0.0, min(seconds, limit)), LifetimeSource.HEURISTIC)


def received_age(fields: Fields) -> int:
    """The Age that the response came with, in seconds; 0 where absent.

    Of a list, on one line or several, the first member counts, and what is not a
    number counts as absent (RFC 9111 §5.1). Date still tells the apparent age.
    """
    value = fields.get(b"age")
    if value is None:
        return 0
    seconds = parse_delta_seconds(value.split(b",", 1)[0].strip(b" \t"))
    return 0 if seconds is None else min(seconds, MAX_DELTA)


def initial_age(fields: Fields, request_time: float, response_time: float) -> float:
    """The corrected initial age in seconds, never negative.

    *request_time* and *response_time* are wall seconds. Source: RFC 9111 §4.2.3.
    """
    apparent_age = max(0.0, response_time - date_value(fields, response_time))
    response_delay = max(0.0, response_time - request_time)
    # An HTTP-date has whole seconds: a response made this very second looks up
    # to one second old. That much is rounding, not age.
    if apparent_age < 1.0:
        apparent_age = 0.0
    return max(apparent_age, received_age(fields) + response_delay)
