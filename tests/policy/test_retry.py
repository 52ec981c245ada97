"""``policy.retry``: ``proxy_next_upstream`` and the one silent retry."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.errors import Stage, UpstreamError
from cacheproxy.policy.options import ProxyOptions
from cacheproxy.policy.retry import (
    Attempt,
    RetryReason,
    condition_of_error,
    condition_of_status,
    decide_next_upstream,
    may_retry_fresh,
)


def attempt(**changes: Any) -> Attempt:
    """A GET that was sent once, with one more peer to try."""
    values: dict[str, Any] = {
        "method": b"GET",
        "request_sent": True,
        "tries": 1,
        "peers": 1,
        "elapsed": 0.0,
    }
    values.update(changes)
    return Attempt(**values)


class ConditionTests(SynchronousTestCase):
    """The words of the directive."""

    def test_errors(self) -> None:
        """A malformed answer, a time-out, any other fault."""
        stage = Stage.HEAD
        self.assertEqual(condition_of_error(UpstreamError("", stage)), "error")
        self.assertEqual(condition_of_error(UpstreamError("", stage, timeout=True)), "timeout")
        malformed = UpstreamError("", stage, malformed=True)
        self.assertEqual(condition_of_error(malformed), "invalid_header")

    def test_statuses(self) -> None:
        """Those that nginx has words for."""
        for status in (403, 404, 429, 500, 502, 503, 504):
            self.assertEqual(condition_of_status(status), f"http_{status}")
        for status in (200, 301, 400, 501, 599):
            self.assertIsNone(condition_of_status(status))


class NextUpstreamTests(SynchronousTestCase):
    """nginx ``ngx_http_upstream_next``."""

    def reason(
        self, condition: str | None, options: ProxyOptions | None = None, **changes: Any
    ) -> RetryReason:
        """The reason of the verdict, which agrees with its flag."""
        verdict = decide_next_upstream(options or ProxyOptions(), condition, attempt(**changes))
        self.assertEqual(verdict.retry, verdict.reason is RetryReason.RETRY)
        return verdict.reason

    def test_defaults(self) -> None:
        """``error timeout``."""
        self.assertIs(self.reason("error"), RetryReason.RETRY)
        self.assertIs(self.reason("timeout"), RetryReason.RETRY)
        self.assertIs(self.reason("http_502"), RetryReason.NOT_LISTED)
        self.assertIs(self.reason(None), RetryReason.NOT_LISTED)
        off = ProxyOptions(next_upstream=frozenset({"off"}))
        self.assertIs(self.reason("error", off), RetryReason.NOT_LISTED)

    def test_limits(self) -> None:
        """Peers, tries and time run out."""
        self.assertIs(self.reason("error", peers=0), RetryReason.NO_PEER)
        options = ProxyOptions(next_upstream_tries=2, next_upstream_timeout=5.0)
        self.assertIs(self.reason("error", options), RetryReason.RETRY)
        self.assertIs(self.reason("error", options, tries=2), RetryReason.TRIES)
        self.assertIs(self.reason("error", options, elapsed=5.0), RetryReason.TIMEOUT)

    def test_non_idempotent(self) -> None:
        """A POST that was sent is sent again only when the operator says so."""
        self.assertIs(self.reason("error", method=b"POST"), RetryReason.NON_IDEMPOTENT)
        unsent: dict[str, Any] = {"method": b"POST", "request_sent": False}
        self.assertIs(self.reason("error", **unsent), RetryReason.RETRY)
        options = ProxyOptions(next_upstream=frozenset({"error", "non_idempotent"}))
        self.assertIs(self.reason("error", options, method=b"POST"), RetryReason.RETRY)
        self.assertIs(self.reason("error", method=b"PUT"), RetryReason.RETRY)

    def test_what_is_gone_cannot_be_repeated(self) -> None:
        """A body that was not kept, an answer that has begun."""
        self.assertIs(self.reason("error", replayable=False), RetryReason.NOT_REPLAYABLE)
        unsent: dict[str, Any] = {"replayable": False, "request_sent": False}
        self.assertIs(self.reason("error", **unsent), RetryReason.RETRY)
        self.assertIs(self.reason("error", response_started=True), RetryReason.RESPONSE_STARTED)


class FreshConnectionTests(SynchronousTestCase):
    """RFC 9112 §9.3.1."""

    def error(self, **flags: Any) -> UpstreamError:
        """A kept connection that died after the request was sent."""
        return UpstreamError(
            "", **{"stage": Stage.HEAD, "reused": True, "request_sent": True, **flags}
        )

    def test_reused_connection_died(self) -> None:
        """An idempotent request goes again; a POST only if none of it was sent."""
        self.assertTrue(may_retry_fresh(self.error(), b"GET", True))
        self.assertFalse(may_retry_fresh(self.error(), b"POST", True))
        self.assertTrue(may_retry_fresh(self.error(request_sent=False), b"POST", True))

    def test_every_other_fault_is_final(self) -> None:
        """A fresh connection, a time-out, half an answer, a body that is gone."""
        for flags in (
            {"reused": False},
            {"timeout": True},
            {"malformed": True},
            {"stage": Stage.BODY},
        ):
            self.assertFalse(may_retry_fresh(self.error(**flags), b"GET", True), flags)
        self.assertFalse(may_retry_fresh(self.error(), b"GET", False))
        self.assertFalse(may_retry_fresh(self.error(), b"GET", True, response_started=True))
