"""Whether a failed attempt is made again: ``proxy_next_upstream``, RFC 9110 §9.2.2.

nginx: ``ngx_http_upstream_next``, ``ngx_http_upstream_test_next``. Decides only;
the exchange carries it out.

Imports: ``errors``, ``options``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from cacheproxy.errors import Stage, UpstreamError
from cacheproxy.policy.options import ProxyOptions

__all__ = [
    "IDEMPOTENT_METHODS",
    "NON_IDEMPOTENT",
    "Attempt",
    "NextUpstream",
    "RetryReason",
    "condition_of_error",
    "condition_of_status",
    "decide_next_upstream",
    "may_retry_fresh",
]

#: RFC 9110 §9.2.2, with WebDAV's (RFC 4918) and other registered ones.
IDEMPOTENT_METHODS = frozenset(
    {b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"}
    | {b"PROPFIND", b"PROPPATCH", b"MKCOL", b"COPY", b"MOVE", b"REPORT", b"SEARCH", b"UNLOCK"}
)

#: What nginx takes for not idempotent; every other method it tries again.
NON_IDEMPOTENT = frozenset({b"POST", b"LOCK", b"PATCH"})

_STATUSES = frozenset({403, 404, 429, 500, 502, 503, 504})


class RetryReason(Enum):
    """Why an attempt is made again or not; the value is for people and logs."""

    RETRY = "proxy_next_upstream"
    NOT_LISTED = "condition is not in proxy_next_upstream"
    RESPONSE_STARTED = "part of the response was already sent"
    NON_IDEMPOTENT = "request may have been processed and is not idempotent"
    NOT_REPLAYABLE = "request body is gone"
    NO_PEER = "no further peer"
    TRIES = "proxy_next_upstream_tries"
    TIMEOUT = "proxy_next_upstream_timeout"


@dataclass(slots=True)
class Attempt:
    """What is known of a request when one attempt has failed.

    *tries* made so far, this one included; *peers* that can still be tried after
    it; *elapsed* monotonic seconds since the first try; *replayable* whether the
    body, if any, can be sent again; *response_started* whether any of the answer
    has gone to the client.
    """

    method: bytes
    request_sent: bool
    tries: int
    peers: int
    elapsed: float
    replayable: bool = True
    response_started: bool = False


@dataclass(slots=True)
class NextUpstream:
    """*retry* on the next peer or not, and why."""

    retry: bool
    reason: RetryReason


def condition_of_error(error: UpstreamError) -> str:
    """The word of ``proxy_next_upstream`` and ``proxy_cache_use_stale`` for *error*."""
    if error.malformed:
        return "invalid_header"
    return "timeout" if error.timeout else "error"


def condition_of_status(status: int) -> str | None:
    """The word for a response's *status*, ``http_502`` for example; None if it has none."""
    return f"http_{status}" if status in _STATUSES else None


def decide_next_upstream(
    options: ProxyOptions, condition: str | None, attempt: Attempt
) -> NextUpstream:
    """Whether to try the next peer after an attempt that ended with *condition*.

    *condition* comes from `condition_of_error` or `condition_of_status`. When the
    answer is no, an error is answered with its own status and a response is
    passed on as it is.
    """
    reason = RetryReason.RETRY
    listed = options.next_upstream
    if condition is None or "off" in listed or condition not in listed:
        reason = RetryReason.NOT_LISTED
    elif attempt.response_started:
        reason = RetryReason.RESPONSE_STARTED
    elif attempt.request_sent and not attempt.replayable:
        reason = RetryReason.NOT_REPLAYABLE
    elif (
        attempt.request_sent and attempt.method in NON_IDEMPOTENT and "non_idempotent" not in listed
    ):
        reason = RetryReason.NON_IDEMPOTENT
    elif attempt.peers <= 0:
        reason = RetryReason.NO_PEER
    elif 0 < options.next_upstream_tries <= attempt.tries:
        reason = RetryReason.TRIES
    elif 0 < options.next_upstream_timeout <= attempt.elapsed:
        reason = RetryReason.TIMEOUT
    return NextUpstream(reason is RetryReason.RETRY, reason)


def may_retry_fresh(
    error: UpstreamError, method: bytes, replayable: bool, response_started: bool = False
) -> bool:
    """Whether a request whose kept connection died is sent once more, on a fresh one.

    Independent of ``proxy_next_upstream`` and of the number of peers: the peer
    closed an idle connection just as the request went out (RFC 9112 §9.3.1). Only
    before any byte of a response, never after a time-out, and a request that is
    not idempotent only if none of it was sent.
    """
    if not error.reused or error.timeout or error.malformed or response_started:
        return False
    if error.stage is Stage.BODY or not replayable:
        return False
    return not error.request_sent or method in IDEMPOTENT_METHODS
