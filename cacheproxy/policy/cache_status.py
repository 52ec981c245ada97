"""The Cache-Status field: what the cache did with a request, and why (RFC 9211).

A directive of ours, ``proxy_cache_status``, which nginx has not; its
``$upstream_cache_status`` says less.

Imports: ``reuse``.
"""

from __future__ import annotations

from cacheproxy.policy.reuse import Reason

__all__ = ["FORWARD_REASONS", "NAME", "forward_value", "hit_value"]

NAME = b"Cache-Status"

#: Why a request was forwarded, by the verdict on what was stored (§2.2).
FORWARD_REASONS = {
    Reason.NOT_STORED: b"uri-miss",
    Reason.OTHER_KEY: b"uri-miss",
    Reason.OTHER_VARIANT: b"vary-miss",
    Reason.PROXY_CACHE_BYPASS: b"bypass",
    Reason.EXPIRED: b"stale",
    Reason.NO_CACHE: b"stale",
    Reason.REQUEST_NO_CACHE: b"request",
    Reason.REQUEST_MAX_AGE: b"request",
    Reason.REQUEST_MIN_FRESH: b"request",
}


def hit_value(lifetime: float, age: float) -> bytes:
    """The value for a response from the cache; the ``ttl`` of a stale one is negative (§2.1, §2.4).

    With the Age that is sent beside it, it adds up to the whole lifetime.
    """
    return b"cacheproxy; hit; ttl=%d" % (int(lifetime) - int(age))


def forward_value(
    why: bytes,
    status: int = 0,
    *,
    stored: bool = False,
    collapsed: bool = False,
    detail: bytes = b"",
) -> bytes:
    """The value for a request that went to the origin because of *why*.

    *status* is the origin's, given where it is not that of the answer (§2.3); *stored*
    whether its response is (§2.5); *collapsed* whether another request's response was
    waited for (§2.6). *detail* is a token (§2.8).
    """
    value = b"cacheproxy; fwd=" + why
    if status:
        value += b"; fwd-status=%d" % status
    if stored:
        value += b"; stored"
    if collapsed:
        value += b"; collapsed"
    if detail:
        value += b"; detail=" + detail
    return value
