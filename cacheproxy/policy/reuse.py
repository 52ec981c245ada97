"""Whether a stored response answers a request: RFC 9111 §4, §4.2.4, §4.4, §5.2.1; RFC 5861.

nginx: ``ngx_http_upstream_cache``, ``ngx_http_file_cache_read``,
``proxy_cache_use_stale``. Each verdict carries its reason and the word for
``$upstream_cache_status``.

The request's own Cache-Control is obeyed where no directive says otherwise,
unlike in nginx, which ignores it.

Imports: ``cache_control``, ``key``, ``options``, ``stored``, ``http``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from urllib.parse import urljoin, urlsplit

from cacheproxy.http.messages import RequestHead, ResponseHead
from cacheproxy.policy.cache_control import (
    NO_REQUEST_DIRECTIVES,
    UNLIMITED,
    RequestDirectives,
    request_directives,
)
from cacheproxy.policy.key import matches
from cacheproxy.policy.options import CacheOptions
from cacheproxy.policy.stored import StoredResponse

__all__ = [
    "SAFE_METHODS",
    "STEERING_FIELDS",
    "Action",
    "Reason",
    "Verdict",
    "decide_reuse",
    "invalidated_targets",
    "invalidates",
    "may_serve_stale",
    "represents_target",
    "reusable_until",
]

#: Safe methods (RFC 9110 §9.2.1, RFC 4918, RFC 3253); what else succeeds invalidates.
SAFE_METHODS = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PROPFIND", b"REPORT", b"SEARCH"})

#: A request without any of these is answered by a fresh stored response as it
#: stands: 200 with the whole body, no directive to weigh, no precondition.
STEERING_FIELDS = frozenset(
    {
        b"cache-control",
        b"pragma",
        b"range",
        b"if-match",
        b"if-none-match",
        b"if-modified-since",
        b"if-unmodified-since",
    }
)


class Action(Enum):
    """What to do with the request."""

    FRESH = "fresh"
    STALE = "stale"
    REVALIDATE = "revalidate"
    MISS = "miss"
    BYPASS = "bypass"
    GATEWAY_TIMEOUT = "gateway timeout"


class Reason(Enum):
    """Why; the value is for people and logs."""

    FRESH = "fresh"
    NOT_STORED = "not stored"
    OTHER_KEY = "another key has the same digest"
    OTHER_VARIANT = "selecting fields differ"
    PROXY_CACHE_BYPASS = "proxy_cache_bypass"
    EXPIRED = "lifetime is over"
    NO_CACHE = "stored response says no-cache"
    REQUEST_NO_CACHE = "request says no-cache"
    REQUEST_MAX_AGE = "older than the request's max-age"
    REQUEST_MIN_FRESH = "not fresh for as long as min-fresh asks"
    REQUEST_MAX_STALE = "request's max-stale allows it"
    STALE_WHILE_REVALIDATE = "within stale-while-revalidate"
    UPDATING = "proxy_cache_use_stale updating"
    ONLY_IF_CACHED = "only-if-cached and nothing usable is stored"


@dataclass(slots=True)
class Verdict:
    """*age* is the current age in seconds (0 without a stored response).

    *refresh*: a STALE answer after or beside which the stored response is to be
    revalidated in the background. *status* is the word for ``$upstream_cache_status``
    if the verdict is carried out and the origin gives a full response.
    """

    action: Action
    reason: Reason
    status: bytes
    age: float = 0.0
    refresh: bool = False


def decide_reuse(
    stored: StoredResponse | None,
    request: RequestHead,
    now: float,
    options: CacheOptions,
    *,
    key: bytes | None = None,
    bypass: bool = False,
    updating: bool = False,
) -> Verdict:
    """What to do with *request*, given what the lookup found.

    *key* is the request's whole key, compared with the stored one; *bypass*
    whether a ``proxy_cache_bypass`` condition held; *updating* whether another
    request is already refreshing this entry; *now* wall seconds.
    """
    fields = request.fields
    asked = NO_REQUEST_DIRECTIVES
    if b"cache-control" in fields or b"pragma" in fields:
        asked = request_directives(fields)
    if bypass:
        return Verdict(Action.BYPASS, Reason.PROXY_CACHE_BYPASS, b"BYPASS")
    if stored is None:
        return _unusable(asked, Reason.NOT_STORED)
    if key is not None and stored.key != key:
        return _unusable(asked, Reason.OTHER_KEY)
    if stored.vary and not matches(stored.vary, fields):
        return _unusable(asked, Reason.OTHER_VARIANT)
    age = stored.age(now)
    reason = _obstacle(stored, asked, age)
    if reason is None:
        return Verdict(Action.FRESH, Reason.FRESH, b"HIT", age)
    if reason is Reason.EXPIRED:
        verdict = _stale(stored, asked, age, options, updating)
        if verdict is not None:
            return verdict
    if asked.only_if_cached:
        return Verdict(Action.GATEWAY_TIMEOUT, Reason.ONLY_IF_CACHED, b"MISS", age)
    return Verdict(Action.REVALIDATE, reason, b"EXPIRED", age)


def _unusable(asked: RequestDirectives, reason: Reason) -> Verdict:
    if asked.only_if_cached:
        return Verdict(Action.GATEWAY_TIMEOUT, Reason.ONLY_IF_CACHED, b"MISS")
    return Verdict(Action.MISS, reason, b"MISS")


def _obstacle(stored: StoredResponse, asked: RequestDirectives, age: float) -> Reason | None:
    """What keeps the stored response from being used as fresh; None if nothing does."""
    if stored.always_validate:
        return Reason.NO_CACHE
    if asked.no_cache:
        return Reason.REQUEST_NO_CACHE
    # max-stale makes up for max-age only as far as staleness goes (§5.2.1.1-2).
    if asked.max_age is not None and age > asked.max_age and asked.max_stale is None:
        return Reason.REQUEST_MAX_AGE
    if age >= stored.lifetime:
        return Reason.EXPIRED
    if asked.min_fresh is not None and stored.lifetime - age < asked.min_fresh:
        return Reason.REQUEST_MIN_FRESH
    return None


def _stale(
    stored: StoredResponse,
    asked: RequestDirectives,
    age: float,
    options: CacheOptions,
    updating: bool,
) -> Verdict | None:
    """A verdict that serves the stale response without waiting, where that is allowed."""
    staleness = age - stored.lifetime
    if stored.must_revalidate or asked.min_fresh is not None:
        return None
    if asked.max_stale is not None:
        if staleness <= asked.max_stale or asked.max_stale == UNLIMITED:
            return Verdict(Action.STALE, Reason.REQUEST_MAX_STALE, b"STALE", age)
        return None
    if asked.max_age is not None:
        return None
    status = b"UPDATING" if updating else b"STALE"
    if staleness < stored.stale_while_revalidate:
        return Verdict(
            Action.STALE, Reason.STALE_WHILE_REVALIDATE, status, age, refresh=not updating
        )
    if "updating" in options.use_stale and (updating or options.background_update):
        return Verdict(Action.STALE, Reason.UPDATING, status, age, refresh=not updating)
    return None


def may_serve_stale(
    stored: StoredResponse,
    condition: str,
    now: float,
    options: CacheOptions,
    request: RequestHead | None = None,
) -> bool:
    """Whether *stored* may answer although the origin failed with *condition*.

    *condition* is a word of ``proxy_cache_use_stale``: ``error``, ``timeout``,
    ``invalid_header``, ``http_500`` and its kin. The operator's directive allows
    it without limit; ``stale-if-error`` of the response, or of the *request*,
    for its seconds, for failures and 500, 502, 503, 504 (RFC 5861 §4). A response
    that must be revalidated is never served stale (RFC 9111 §4.2.4).
    """
    if stored.must_revalidate or stored.always_validate:
        return False
    if condition in options.use_stale:
        return True
    if condition not in _ERRORS:
        return False
    window = stored.stale_if_error
    if request is not None and b"cache-control" in request.fields:
        window = max(window, float(request_directives(request.fields).stale_if_error or 0))
    # Without a window an error passes, also where a request had what is fresh validated.
    return window > 0 and stored.age(now) - stored.lifetime < window


_ERRORS = frozenset(
    {"error", "timeout", "invalid_header", "http_500", "http_502", "http_503", "http_504"}
)


def reusable_until(stored: StoredResponse) -> float:
    """The wall time until which *stored* answers, with no further thought, every
    request of its variant that has none of `STEERING_FIELDS`; 0 if it never does.
    """
    return 0.0 if stored.always_validate else stored.fresh_until


def invalidates(method: bytes, status: int) -> bool:
    """Whether a response of *status* to *method* invalidates what is stored (RFC 9111 §4.4)."""
    return method not in SAFE_METHODS and 200 <= status < 400


def invalidated_targets(
    scheme: bytes, authority: bytes, target: bytes, response: ResponseHead
) -> list[bytes]:
    """The targets (path and query) that a non-error response to an unsafe method invalidates.

    The request's own *target*, in origin-form, first; then those of Location and
    Content-Location where their origin is the same (RFC 9111 §4.4).
    """
    targets = [target]
    for name in (b"location", b"content-location"):
        value = response.fields.get(name)
        if value is None:
            continue
        resolved = _same_origin_target(scheme.lower(), authority.lower(), target, value)
        if resolved is not None and resolved not in targets:
            targets.append(resolved)
    return targets


def represents_target(
    method: bytes, scheme: bytes, authority: bytes, target: bytes, response: ResponseHead
) -> bool:
    """Whether a *response* to POST says that it is what a GET of *target* would get.

    Its Content-Location is the target's URI (RFC 9110 §8.7, §9.3.3).
    """
    values = response.fields.get_all(b"content-location")
    if method != b"POST" or response.status != 200 or len(values) != 1:
        return False
    located = _same_origin_target(scheme.lower(), authority.lower(), target, values[0])
    return located == target


_DEFAULT_PORTS = {"http": 80, "https": 443}


def _same_origin_target(
    scheme: bytes, authority: bytes, target: bytes, reference: bytes
) -> bytes | None:
    base = f"{scheme.decode('latin-1')}://{authority.decode('latin-1')}"
    try:
        absolute = urljoin(base + target.decode("latin-1"), reference.strip().decode("latin-1"))
        found, own = urlsplit(absolute), urlsplit(base)
        if found.scheme not in _DEFAULT_PORTS or found.scheme != own.scheme:
            return None
        ports = [part.port or _DEFAULT_PORTS[own.scheme] for part in (found, own)]
    except ValueError:  # a malformed reference names no target
        return None
    if found.hostname != own.hostname or ports[0] != ports[1]:
        return None
    query = f"?{found.query}" if found.query else ""
    return ((found.path or "/") + query).encode("latin-1")
