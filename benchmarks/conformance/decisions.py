"""Tests of the suite that are not passed on purpose, and the reason for each."""

from __future__ import annotations

__all__ = ["DECIDED"]

_COOKIE = (
    "By decision: a cookie is for one user. A response that sets one is not stored unless "
    "``proxy_ignore_headers Set-Cookie`` says so, and a stored copy never carries it."
)

DECIDED: dict[str, str] = {
    "headers-store-Set-Cookie": _COOKIE,
    "other-set-cookie": _COOKIE,
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
