"""Whether a response is stored, and which parts of it: RFC 9111 §3 and nginx's overrides.

nginx: ``ngx_http_upstream_process_*`` and ``ngx_http_upstream_send_response``.
What the operator or the application's ``X-Accel-Expires`` says wins over
Cache-Control, that over Expires, that over ``proxy_cache_valid``.

Stricter than nginx: a request with Authorization (RFC 9111 §3.5), one that says
``no-store``, and qualified ``no-cache``/``private`` are obeyed; what is storable by the
operator's word alone must not look like web cache deception (``deception``), and
``proxy_cache_valid any`` does not mean an answer to one client's malformed request.
Laxer: a response that sets a cookie and expressly may be shared is stored, without it.

Imports: ``cache_control``, ``deception``, ``freshness``, ``key``, ``options``, ``partial``,
``stored``, ``tags``, ``http``.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from enum import Enum

from cacheproxy.http.fields import HOP_BY_HOP, Fields
from cacheproxy.http.messages import RequestHead, ResponseHead
from cacheproxy.http.syntax import format_http_date, list_tokens
from cacheproxy.policy.cache_control import (
    NO_RESPONSE_DIRECTIVES,
    ResponseDirectives,
    parse_accel_expires,
    parse_targeted_directives,
    request_directives,
    response_directives,
)
from cacheproxy.policy.deception import deceives, declared_shareable
from cacheproxy.policy.freshness import (
    Lifetime,
    LifetimeSource,
    explicit_lifetime,
    heuristic_lifetime,
    initial_age,
)
from cacheproxy.policy.key import selecting, vary_names
from cacheproxy.policy.options import CacheOptions
from cacheproxy.policy.partial import ASKED, keyed_by_range, part_of, plain_range
from cacheproxy.policy.stored import StoredResponse
from cacheproxy.policy.tags import TagLimitError, tags_of

__all__ = [
    "REQUEST_FAULTS",
    "UNDERSTOOD_STATUSES",
    "NoStore",
    "NoStoreReason",
    "Store",
    "StoringDecision",
    "connection_options",
    "decide_storing",
    "storable_fields",
    "supersedes",
]

#: Status codes whose caching rules are known here (for ``must-understand``, §5.2.2.3).
UNDERSTOOD_STATUSES = frozenset(
    {200, 203, 204, 300, 301, 302, 303, 307, 308}
    | {400, 401, 403, 404, 405, 406, 409, 410, 411, 412, 413, 414, 415, 416, 417}
    | {421, 422, 425, 426, 428, 429, 431, 451}
    | {500, 501, 502, 503, 504, 505, 506, 507, 508, 511}
)

#: Status codes by which an origin finds fault with one request: its credentials, its fields,
#: its size, its rate. ``proxy_cache_valid`` must name them to have them stored (``any`` does
#: not), or one client's bad header is everybody's error page.
REQUEST_FAULTS = frozenset(
    {400, 401, 406, 407, 408, 411, 412, 413, 415, 416, 417, 421, 422, 425, 426, 428, 429, 431}
)

#: Where nothing but the operator's word makes a response storable.
_OPERATORS_WORD = frozenset({LifetimeSource.PROXY_CACHE_VALID, LifetimeSource.HEURISTIC})

#: Never stored: they concern one connection, one user or this hop. Content-Length
#: is framing, which ``StoredResponse.body_length`` carries.
_NOT_STORED = HOP_BY_HOP | {
    b"age",
    b"content-length",
    b"proxy-authentication-info",
    b"set-cookie",
    b"set-cookie2",
    b"x-accel-buffering",
    b"x-accel-charset",
    b"x-accel-expires",
    b"x-accel-limit-rate",
    b"x-accel-redirect",
}


class NoStoreReason(Enum):
    """Every way of not storing a response; the value is for people and logs."""

    CACHE_OFF = "proxy_cache is off"
    PROXY_NO_CACHE = "proxy_no_cache"
    METHOD = "method is not in proxy_cache_methods"
    REQUEST_NO_STORE = "request says no-store"
    STATUS = "status cannot be stored"
    PARTIAL = "partial content that does not say which part it is"
    NOT_UNDERSTOOD = "must-understand and status not understood"
    NO_STORE = "Cache-Control: no-store"
    PRIVATE = "Cache-Control: private"
    NO_CACHE = "Cache-Control: no-cache without a validator"
    AUTHORIZATION = "request has Authorization and the response does not allow it"
    SET_COOKIE = "response sets a cookie"
    COOKIE = "request has a cookie and only a heuristic gives a lifetime"
    DECEPTION = "URL or media type is suspect and the response does not allow sharing"
    VARY_ANY = "Vary: *, or a Vary that names no fields, or too many"
    ACCEL_EXPIRES = "X-Accel-Expires forbids it"
    NO_FRESHNESS = "neither the response nor proxy_cache_valid gives a lifetime"
    EXPIRED = "already stale and without a validator"
    TAGS = "more tags than are kept"


@dataclass(slots=True)
class NoStore:
    """The response is not stored; *detail* is the offending value, if there is one."""

    reason: NoStoreReason
    detail: str = ""


@dataclass(slots=True)
class Store:
    """The response is stored as *stored*; *source* says where its lifetime comes from."""

    stored: StoredResponse
    source: LifetimeSource


StoringDecision = Store | NoStore


def decide_storing(
    request: RequestHead,
    response: ResponseHead,
    options: CacheOptions,
    ignore: Set[bytes],
    no_cache: bool,
    key: bytes,
    request_time: float,
    response_time: float,
    host: bytes = b"",
) -> StoringDecision:
    """Store or not, for the final *response* of the origin to *request*.

    *request* is the client's; *response* as it came, before any rewriting.
    *ignore* holds the lower-case names of ``proxy_ignore_headers``; *no_cache* is
    whether a ``proxy_no_cache`` condition held; *key* the whole cache key (see
    ``key.request_key``); times are wall seconds; *host* is the request's, lower-case
    and without port. Never raises.
    """
    reason = _forbidden_by_request(request, options, no_cache)
    if reason is not None:
        return NoStore(reason)
    fields = response.fields
    directives, targeted = _directives(fields, ignore)
    accel = _accel_expires(fields, ignore, response_time)
    refusal = _forbidden_by_response(request, response, options, ignore, directives, accel)
    if refusal is not None:
        return refusal
    names = _selecting_names(fields, ignore)
    if names is None:
        return NoStore(NoStoreReason.VARY_ANY)
    age = initial_age(fields, request_time, response_time)
    lifetime = _lifetime(response, options, ignore, directives, accel, age, response_time)
    if lifetime is None:
        return NoStore(NoStoreReason.NO_FRESHNESS)
    if lifetime.source in _OPERATORS_WORD:
        refusal = _forbidden_to_guess(request, response, options, lifetime, names, response_time)
        if refusal is not None:
            return refusal
    if targeted and lifetime.source in (LifetimeSource.S_MAXAGE, LifetimeSource.MAX_AGE):
        lifetime = Lifetime(lifetime.seconds, LifetimeSource.TARGETED)
    stored = _stored(response, directives, accel, lifetime, key, request_time, response_time)
    stored.initial_age = age
    stored.host = host
    stored.vary = selecting(names, request.fields)
    if response.status == 206 and not keyed_by_range(options):
        stored.vary = ((ASKED, plain_range(request)), *stored.vary)
    if not _tags_are_kept(fields, stored.fields):
        return NoStore(NoStoreReason.TAGS)
    return _useless(stored, lifetime, age) or Store(stored, lifetime.source)


def _selecting_names(fields: Fields, ignore: Set[bytes]) -> tuple[bytes, ...] | None:
    """The request fields that select the response; None for ``Vary: *``."""
    if b"vary" in ignore:
        return ()
    names = vary_names(fields)
    if names is not None and b"content-encoding" in fields:
        # Whether it says so or not: not every client can read it.
        names = tuple(sorted({*names, b"accept-encoding"}))
    return names


def _useless(stored: StoredResponse, lifetime: Lifetime, age: float) -> NoStore | None:
    """Why *stored* could never answer: not as it is, and not after a validation."""
    if b"etag" in stored.fields or b"last-modified" in stored.fields:
        return None
    if stored.always_validate:
        return NoStore(NoStoreReason.NO_CACHE)
    if lifetime.seconds <= age and not (stored.stale_while_revalidate or stored.stale_if_error):
        return NoStore(NoStoreReason.EXPIRED, f"{lifetime.source.value} {lifetime.seconds:g}")
    return None


def _tags_are_kept(received: Fields, kept: Fields) -> bool:
    """Whether a purge by any tag of the response will find what is stored of it.

    It would not where there are too many, or where the line that has them is dropped.
    """
    try:
        return tags_of(received) == tags_of(kept)
    except TagLimitError:
        return False


def supersedes(decision: NoStore, status: int) -> bool:
    """Whether a full response that is not stored makes the older stored one useless even stale.

    So it is when the origin says that nothing is to be shared, or that nothing is there
    any more: an older copy must not come back when the origin is away (§4.2.4, §4.3.3).
    What one client's request or cookie was the reason for says nothing of the others'.
    """
    if decision.reason in (NoStoreReason.NO_STORE, NoStoreReason.PRIVATE):
        return True
    about_response = decision.reason in (NoStoreReason.NO_FRESHNESS, NoStoreReason.EXPIRED)
    return about_response and status in (404, 410, 451)


def _forbidden_by_request(
    request: RequestHead, options: CacheOptions, no_cache: bool
) -> NoStoreReason | None:
    if options.cache is None:
        return NoStoreReason.CACHE_OFF
    if no_cache:
        return NoStoreReason.PROXY_NO_CACHE
    if request.method not in options.methods:
        return NoStoreReason.METHOD
    if b"cache-control" in request.fields and request_directives(request.fields).no_store:
        return NoStoreReason.REQUEST_NO_STORE
    return None


def _forbidden_by_response(
    request: RequestHead,
    response: ResponseHead,
    options: CacheOptions,
    ignore: Set[bytes],
    directives: ResponseDirectives,
    accel: float | None,
) -> NoStore | None:
    fields, status = response.fields, response.status
    if (
        status == 206
        and not keyed_by_range(options)
        and (plain_range(request) is None or part_of(response) is None)
    ):
        return NoStore(NoStoreReason.PARTIAL)
    # 416 is about the range that one client asked for.
    if status < 200 or status in (304, 416):
        return NoStore(NoStoreReason.STATUS, str(status))
    if directives.must_understand and status not in UNDERSTOOD_STATUSES:
        return NoStore(NoStoreReason.NOT_UNDERSTOOD, str(status))
    if (
        (b"set-cookie" in fields or b"set-cookie2" in fields)
        and b"set-cookie" not in ignore
        and not _shared_without_cookie(directives)
    ):
        return NoStore(NoStoreReason.SET_COOKIE)
    if b"authorization" in request.fields and not _authorized(options, directives):
        return NoStore(NoStoreReason.AUTHORIZATION)
    if accel is not None:
        return NoStore(NoStoreReason.ACCEL_EXPIRES) if accel <= 0 else None
    # A response that has no-store only as the fallback of must-understand may be
    # stored, once its status is known to be understood (§5.2.2.3).
    if directives.no_store and not directives.must_understand:
        return NoStore(NoStoreReason.NO_STORE)
    if directives.private:
        return NoStore(NoStoreReason.PRIVATE)
    return None


def _forbidden_to_guess(
    request: RequestHead,
    response: ResponseHead,
    options: CacheOptions,
    lifetime: Lifetime,
    names: tuple[bytes, ...],
    response_time: float,
) -> NoStore | None:
    """What forbids to store a response whose lifetime its origin did not state.

    With ``proxy_cache_valid`` the operator has decided, cookies or not, as in nginx. A
    heuristic is no decision about the pages of those who are logged in.
    """
    if declared_shareable(response, response_time):
        return None
    if (
        lifetime.source is LifetimeSource.HEURISTIC
        and b"cookie" in request.fields
        and b"cookie" not in names
    ):
        return NoStore(NoStoreReason.COOKIE)
    suspect = deceives(request, response) if options.deception_armor else ""
    return NoStore(NoStoreReason.DECEPTION, suspect) if suspect else None


def _shared_without_cookie(directives: ResponseDirectives) -> bool:
    """Whether a response that sets a cookie says that all but the cookie may be shared.

    By its name in ``no-cache`` or ``private`` (RFC 9111 §5.2.2.4, .7), or by ``s-maxage``,
    or ``public`` with a lifetime. Not by ``public, max-age=0``, which frameworks send with
    every page: each validation would then take a cookie from somebody.
    """
    if b"set-cookie" in directives.no_cache_fields | directives.private_fields:
        return True
    return bool(directives.s_maxage or (directives.public and directives.max_age))


def _authorized(options: CacheOptions, directives: ResponseDirectives) -> bool:
    """Whether a response to a request with Authorization may be shared (§3.5).

    A key that holds ``$http_authorization`` keeps users apart by itself.
    """
    if directives.public or directives.must_revalidate or directives.s_maxage is not None:
        return True
    return options.key is not None and "http_authorization" in options.key.variables


def _directives(fields: Fields, ignore: Set[bytes]) -> tuple[ResponseDirectives, bool]:
    """The directives that count, and whether they come from a targeted field (RFC 9213 §2.2)."""
    if b"cdn-cache-control" not in ignore:
        value = fields.combined(b"cdn-cache-control")
        if value is not None:
            targeted = parse_targeted_directives(value)
            if targeted is not None:
                return targeted, True
    if b"cache-control" in ignore:
        return NO_RESPONSE_DIRECTIVES, False
    return response_directives(fields), False


def _accel_expires(fields: Fields, ignore: Set[bytes], now: float) -> float | None:
    if b"x-accel-expires" in ignore:
        return None
    granted = [
        seconds
        for value in fields.get_all(b"x-accel-expires")
        if (seconds := parse_accel_expires(value, now)) is not None
    ]
    return min(granted) if granted else None


def _lifetime(
    response: ResponseHead,
    options: CacheOptions,
    ignore: Set[bytes],
    directives: ResponseDirectives,
    accel: float | None,
    age: float,
    response_time: float,
) -> Lifetime | None:
    if accel is not None:  # counts from now, whatever the age
        return Lifetime(accel + age, LifetimeSource.X_ACCEL_EXPIRES)
    lifetime = explicit_lifetime(
        response.fields, directives, response_time, expires=b"expires" not in ignore
    )
    if lifetime is not None:
        return lifetime
    valid, status = options.valid, response.status
    seconds = valid.get(status, None if status in REQUEST_FAULTS else valid.get(None))
    if seconds:  # 0 means: do not store (nginx)
        return Lifetime(seconds + age, LifetimeSource.PROXY_CACHE_VALID)
    if options.heuristic:
        heuristic = heuristic_lifetime(
            response.fields,
            response.status,
            response_time,
            options.heuristic,
            directives.public,
        )
        if heuristic is not None:
            return heuristic
    if directives.no_cache:  # it can be stored to be validated, which needs no lifetime
        return Lifetime(0.0, LifetimeSource.NONE)
    return None


def _stored(
    response: ResponseHead,
    directives: ResponseDirectives,
    accel: float | None,
    lifetime: Lifetime,
    key: bytes,
    request_time: float,
    response_time: float,
) -> StoredResponse:
    fields = storable_fields(response.fields, directives)
    stored = StoredResponse(
        key=key,
        status=response.status,
        reason=response.reason,
        fields=_dated(fields, response_time),
        request_time=request_time,
        response_time=response_time,
        lifetime=lifetime.seconds,
    )
    if accel is None:
        stored.always_validate = directives.no_cache
        stored.must_revalidate = (
            directives.must_revalidate
            or directives.proxy_revalidate
            or directives.s_maxage is not None
        )
    stored.stale_while_revalidate = float(directives.stale_while_revalidate or 0)
    stored.stale_if_error = float(directives.stale_if_error or 0)
    return stored


def _dated(fields: Fields, response_time: float) -> Fields:
    """*fields* with Date, for which the time of receipt stands in (RFC 9110 §6.6.1)."""
    if b"date" in fields:
        return fields
    return Fields([*fields.pairs, (b"Date", format_http_date(response_time))])


def storable_fields(fields: Fields, directives: ResponseDirectives) -> Fields:
    """The field lines of a response that a stored copy keeps (RFC 9111 §3.1)."""
    drop: Set[bytes] = _NOT_STORED
    if b"connection" in fields:
        drop = drop | connection_options(fields)
    if directives.no_cache_fields or directives.private_fields:
        drop = drop | directives.no_cache_fields | directives.private_fields
    return fields.without(drop)


def connection_options(fields: Fields) -> frozenset[bytes]:
    """The lower-case names that Connection nominates (RFC 9110 §7.6.1)."""
    return frozenset(list_tokens(fields.combined(b"connection") or b""))
