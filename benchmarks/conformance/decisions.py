"""Tests of the suite that are not passed on purpose, and the reason for each.

The suite's release in the registry is older than RFC 9111; where its tests ask for the
opposite of what the suite's sources ask for today, the reason says so.
"""

from __future__ import annotations

__all__ = ["reason"]

_COOKIE = (
    "By decision: a cookie is for one user. A response that sets one is not stored unless "
    "``proxy_ignore_headers Set-Cookie`` says so, and a stored copy never carries it."
)

_AGE = (
    "By decision: RFC 9111 §5.1 takes the first member of a list, and ignores what is no number. "
    "The suite's current sources ask for that; its older release asks for the opposite."
)

_SURROGATE = (
    "By decision: Surrogate-Control is a note of the W3C that RFC 9213 has replaced by "
    "CDN-Cache-Control, which is obeyed, as the suite's current sources ask."
)

_UNREACHABLE = (
    "By decision: the origin is away and a stale response is forbidden, so that 502 answers. "
    "The older release of the suite takes that for an answer from the cache; its current sources "
    "do not."
)

#: Beginnings of ids, for what the older release alone asks.
_OLDER = {"age-parse-": _AGE, "surrogate-": _SURROGATE, "stale-close-": _UNREACHABLE}

_MALFORMED = (
    "A lifetime that is given twice counts with the smallest value, a malformed one is 0: what "
    "contradicts itself, or cannot be read, is stale (RFC 9111 §4.2.1)."
)
_AGE_PARAMETER = "Age has no parameters. What is no number is ignored (RFC 9111 §5.1)."
_WARNING = "Warning is obsolete (RFC 9111 §5.5)."
_HEURISTIC = "A tenth of so short a time is over at once (RFC 9111 §4.2.2)."
_UNQUOTED = (
    "An entity-tag without quotes is malformed. It is compared, and sent back, as it came: it "
    "means what the origin means by it, and is no other tag."
)
_FORWARDED = (
    "On a miss the whole is asked for, so that it can be stored; the client's own condition is "
    "answered from it, with 304 where it holds."
)
_NOT_UPDATED = (
    "A 304 does not change how the stored body was made or which part it is, on which its use "
    "depends (RFC 9111 §3.2)."
)
_HEAD = (
    "``proxy_cache_convert_head``, which is on by default as in nginx, asks for the whole in "
    "place of a HEAD, so that it is stored. With ``off`` the HEAD reaches the origin, and its "
    "answer freshens what is stored, or makes it stale (RFC 9111 §4.3.5)."
)

#: Checks, by the beginnings of their ids: there is no right answer, but a reason for ours.
_CHECKS: dict[str, str] = {
    "freshness-max-age-two-": _MALFORMED,
    "freshness-max-age-decimal-": _MALFORMED,
    "freshness-max-age-a100": _MALFORMED,
    "freshness-max-age-100a": _MALFORMED,
    "age-parse-parameter": _AGE_PARAMETER,
    "age-parse-numeric-parameter": _AGE_PARAMETER,
    "stale-503": (
        "A server error is passed on, unless ``stale-if-error`` or ``proxy_cache_use_stale`` "
        "says otherwise."
    ),
    "stale-warning-": _WARNING,
    "heuristic-delta-": _HEURISTIC,
    "ccreq-max-stale-age": (
        "What arrives stale, and has no validator, is not stored: nearly nobody could use it."
    ),
    "ccreq-no-store": (
        "``no-store`` in a request is about storing. A stored response answers it (RFC 9111 "
        "§5.2.1.5)."
    ),
    "conditional-etag-strong-respond-obs-text": (
        "The suite's origin sends the letter as two octets, its client as one. They differ."
    ),
    "conditional-etag-quoted-respond-unquoted": _UNQUOTED,
    "conditional-etag-unquoted-respond-quoted": _UNQUOTED,
    "conditional-etag-strong-generate-unquoted": _UNQUOTED,
    "conditional-etag-vary-headers-mismatch": (
        "The origin is not asked about the variants of others: a 304 would leave nothing to "
        "store for this one, so that every request for it would go to the origin."
    ),
    "conditional-etag-forward": _FORWARDED,
    "304-etag-update-response-Content-": _NOT_UPDATED,
    "head-": _HEAD,
    "other-age-delay": (
        "A response that the origin has just made for this request has no Age (RFC 9111 §5.1)."
    ),
    "cdn-max-age-case-insensitive": (
        "The field is a Dictionary, whose keys are in lower case (RFC 8941 §3.1.2). One that is "
        "malformed is ignored."
    ),
}

_DECIDED: dict[str, str] = {
    "headers-store-Set-Cookie": _COOKIE,
    "other-set-cookie": _COOKIE,
    "304-etag-update-response-Set-Cookie": _COOKIE,
    "304-etag-update-response-Set-Cookie2": _COOKIE,
    "304-etag-update-response-ETag": (
        "By decision: a 304 with another entity-tag than the stored one is about another "
        "representation (RFC 9111 §4.3.4), so that the whole is asked for again."
    ),
    "headers-store-Set-Cookie2": (
        "By decision: obsolete (RFC 6265), but some clients still take it for a cookie. It is "
        "never part of a stored copy."
    ),
    "headers-store-Transfer-Encoding": (
        "By decision: the origin uses a transfer coding that does not exist. Where such a message "
        "ends, and what its content is, cannot be known (RFC 9112 §6.3, §7); the answer is 502, "
        "as nginx, Squid, Varnish and Traffic Server answer."
    ),
    "vary-normalise-lang-select": (
        "By decision: to choose among stored responses by their Content-Language is to guess "
        "what the origin would choose. RFC 9111 §4.1 wants the selecting fields to match."
    ),
    "conditional-lm-fresh-no-lm": (
        "By decision: the test asks for changes since a time 3000 seconds before the response's "
        "Date and expects 304. Without Last-Modified it is Date that counts (RFC 9111 §4.3.2), "
        "and it is later: 200."
    ),
    "partial-store-partial-reuse-partial-suffix": (
        "By decision: the origin of the test sends five octets as ``bytes 4-9/10``, which are "
        "six. They are taken for octets 4 to 8, so that the last one, which is asked for, is "
        "not there."
    ),
    "partial-store-partial-complete": (
        "By decision: the part has no validator. Parts are combined only if they share a strong "
        "one (RFC 9111 §3.4), so that to ask for the rest would be in vain: the whole is asked for."
    ),
}


def reason(name: str) -> str:
    """Why the test with this id is not passed; ``open`` where that was not decided."""
    known = _DECIDED.get(name)
    if known is None:
        starts = {**_CHECKS, **_OLDER}
        known = next((text for start, text in starts.items() if name.startswith(start)), "open")
    return known
