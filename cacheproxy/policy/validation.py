"""Validating a stored response with the origin: RFC 9111 §3.2, §4.3.

nginx: ``proxy_cache_revalidate`` (which never updates stored fields on a 304;
here they are, as §3.2 demands).

Imports: ``cache_control``, ``conditional``, ``key``, ``storing``, ``stored``, ``http``.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import replace
from enum import Enum

from cacheproxy.http.fields import Fields, Pairs
from cacheproxy.http.messages import RequestHead, ResponseHead
from cacheproxy.http.syntax import format_http_date
from cacheproxy.policy.cache_control import response_directives
from cacheproxy.policy.conditional import weak_match
from cacheproxy.policy.key import Vary, selecting, vary_names
from cacheproxy.policy.options import CacheOptions
from cacheproxy.policy.stored import StoredResponse
from cacheproxy.policy.storing import NoStore, NoStoreReason, decide_storing, storable_fields

__all__ = [
    "NOT_UPDATED",
    "HeadComparison",
    "compare_head",
    "freshen",
    "outdated",
    "same_representation",
    "selects",
    "transient_fields",
    "updated_fields",
    "validation_fields",
]

#: Fields of a 304 that never replace stored ones: they describe how the stored
#: body is encoded or was selected, on which its use depends (§3.2), or the transfer.
NOT_UPDATED = frozenset(
    {
        b"content-encoding",
        b"content-length",
        b"content-md5",
        b"content-range",
        b"transfer-encoding",
        b"vary",
    }
)


def validation_fields(stored: StoredResponse) -> Pairs:
    """The field lines that make a request a validation of *stored*; empty without a validator.

    Both validators are sent where both are known (RFC 9111 §4.3.1).
    """
    lines = []
    etag = stored.fields.get(b"etag")
    if etag is not None:
        lines.append((b"If-None-Match", etag))
    modified = stored.fields.get(b"last-modified")
    if modified is not None:
        lines.append((b"If-Modified-Since", modified))
    return lines


def selects(stored: StoredResponse, response: ResponseHead) -> bool:
    """Whether a 304 is about *stored*: its validators, where it has any, must be the same.

    Source: RFC 9111 §4.3.4. A 304 without a validator is about what was asked for.
    """
    etag = response.fields.get(b"etag")
    if etag is not None:
        known = stored.fields.get(b"etag")
        return known is None or weak_match(etag, known)
    modified = response.fields.get(b"last-modified")
    if modified is not None:
        known = stored.fields.get(b"last-modified")
        return known is None or known == modified
    return True


class HeadComparison(Enum):
    """What the response to a HEAD says of a stored response to a GET."""

    SAME = "it is still what a GET gets"
    OTHER = "a GET gets something else"
    NOTHING = "nothing about it"


def compare_head(stored: StoredResponse, response: ResponseHead) -> HeadComparison:
    """What the origin's *response* to a HEAD says of *stored* (RFC 9111 §4.3.5).

    SAME: `freshen` may update it. OTHER: it is to be taken for stale (`outdated`).

    Stricter than §4.3.5, which takes a response without any validator and length for
    SAME: there is nothing in it by which the two could differ, and so it says nothing.
    A 404 or 410 is OTHER; other errors are about the moment.
    """
    if response.status != stored.status:
        gone = response.status in (404, 410)
        return HeadComparison.OTHER if gone or response.status == 200 else HeadComparison.NOTHING
    says = HeadComparison.NOTHING
    for name in (b"etag", b"last-modified"):
        values = response.fields.get_all(name)
        if values:
            if values != stored.fields.get_all(name):
                return HeadComparison.OTHER
            says = HeadComparison.SAME
    lengths = response.fields.get_all(b"content-length")
    if lengths and stored.body_length >= 0:
        if any(length != b"%d" % stored.body_length for length in lengths):
            return HeadComparison.OTHER
        says = HeadComparison.SAME
    return says


def outdated(stored: StoredResponse, now: float) -> StoredResponse:
    """*stored*, not fresh any more from wall time *now* on, and not to be used unvalidated.

    ``stale-if-error`` still holds: the origin may be away when it is wanted.
    """
    lifetime = max(0.0, min(stored.lifetime, stored.age(now)))
    return replace(stored, lifetime=lifetime, stale_while_revalidate=0.0)


def updated_fields(stored: Fields, received: Fields) -> Fields:
    """The stored field lines with those of a 304 (or HEAD) put in their place (§3.2).

    Every name that *received* has replaces all stored lines of that name, at the
    end; `NOT_UPDATED` and what may not be stored stay as they are.
    """
    fresh = storable_fields(received, response_directives(received)).without(NOT_UPDATED)
    names: Set[bytes] = set(fresh.names())
    return Fields([*stored.without(names).pairs, *fresh.pairs])


def freshen(
    stored: StoredResponse,
    request: RequestHead,
    response: ResponseHead,
    options: CacheOptions,
    ignore: Set[bytes],
    request_time: float,
    response_time: float,
    no_cache: bool = False,
) -> StoredResponse | NoStore:
    """*stored*, brought up to date by the origin's 304 *response* to its validation.

    The updated head is judged anew, as if it had just come whole: the result is
    NoStore when the origin now forbids storing, and the entry is then to be
    deleted; the 304 still confirms its body for this one answer (made with
    `updated_fields`). Where the 304 says nothing of freshness the stored fields
    say it again. What the origin tells a client whose answers are not to be stored
    (Authorization, no-store, *no_cache*) changes nothing for the others. Fields that
    Vary lists for the first time select what is stored from now on.
    Parameters are those of ``storing.decide_storing``.
    """
    received = response.fields
    if b"date" not in received:  # the time of receipt stands in (RFC 9110 §6.6.1)
        received = Fields([*received.pairs, (b"Date", format_http_date(response_time))])
    fields = updated_fields(stored.fields, received)
    whole = Fields([*fields.pairs, *transient_fields(response.fields)])
    head = ResponseHead(stored.status, whole, stored.reason)
    vary = stored.vary if b"vary" in ignore else _vary(stored, request, response)
    if vary is None:
        return NoStore(NoStoreReason.VARY_ANY)
    decision = decide_storing(
        request, head, options, ignore, no_cache, stored.key, request_time, response_time
    )
    if isinstance(decision, NoStore) and decision.reason in _OF_REQUEST:
        # It was said to one client. That nothing may be shared any more is said to all.
        anybody = RequestHead(b"GET", request.target, request.version, Fields())
        decision = decide_storing(
            anybody, head, options, ignore, False, stored.key, request_time, response_time
        )
        return decision if isinstance(decision, NoStore) and _forbids(decision) else stored
    if vary != stored.vary:
        fields = Fields([*fields.pairs, *_lines(response.fields, b"vary")])
    if isinstance(decision, NoStore):
        if _forbids(decision):
            return decision
        return replace(stored, fields=fields, vary=vary)
    fresh = decision.stored
    fresh.fields = fields
    fresh.vary = vary
    fresh.body_length = stored.body_length
    fresh.host = stored.host
    return fresh


def _vary(stored: StoredResponse, request: RequestHead, response: ResponseHead) -> Vary | None:
    """What selects *stored*, with what the origin's *response* to *request* adds; None for ``*``.

    Nothing is taken away: what is stored was not made for others.
    """
    names = vary_names(response.fields)
    if names is None:
        return None
    known = {name for name, _ in stored.vary}
    added = [name for name in names if name not in known]
    if not added:
        return stored.vary
    return tuple(sorted([*stored.vary, *selecting(added, request.fields)]))


def _lines(fields: Fields, name: bytes) -> Pairs:
    return [pair for pair in fields.pairs if pair[0].lower() == name]


def same_representation(one: Fields, other: Fields) -> bool:
    """Whether nothing in the validators of two heads says that they are of different bodies."""
    for name in (b"etag", b"last-modified"):
        first, second = one.get(name), other.get(name)
        if first is not None and second is not None:
            return weak_match(first, second) if name == b"etag" else first == second
    return True


def transient_fields(received: Fields) -> Pairs:
    """The field lines that count in the decision about storing though they are not kept."""
    return [pair for pair in received.pairs if pair[0].lower() in _TRANSIENT]


_TRANSIENT = frozenset({b"age", b"x-accel-expires", b"set-cookie", b"set-cookie2", b"connection"})


def _forbids(decision: NoStore) -> bool:
    """Whether it says that what is stored is not to be kept."""
    return decision.reason not in _KEEPS_ENTRY


#: The exchange at hand may not store, but that says nothing about what is stored.
_OF_REQUEST = frozenset(
    {
        NoStoreReason.METHOD,
        NoStoreReason.REQUEST_NO_STORE,
        NoStoreReason.CACHE_OFF,
        NoStoreReason.AUTHORIZATION,
        NoStoreReason.COOKIE,
        NoStoreReason.PROXY_NO_CACHE,
    }
)

#: Nor does it where the 304 gives no lifetime.
_KEEPS_ENTRY = _OF_REQUEST | {NoStoreReason.NO_FRESHNESS, NoStoreReason.EXPIRED}
