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

#: The beginning of an id, for what the older release alone asks.
_OLDER = {"age-parse-": _AGE, "surrogate-": _SURROGATE, "stale-close-": _UNREACHABLE}

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
        known = next((text for start, text in _OLDER.items() if name.startswith(start)), "open")
    return known
