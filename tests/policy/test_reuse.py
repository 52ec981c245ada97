"""``policy.reuse``: which stored response answers which request, and what invalidates it."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.policy.options import CacheOptions
from cacheproxy.policy.reuse import (
    STEERING_FIELDS,
    Action,
    Reason,
    Verdict,
    decide_reuse,
    invalidated_targets,
    invalidates,
    may_serve_stale,
    represents_target,
    reusable_until,
)
from cacheproxy.policy.stored import StoredResponse
from tests.policy.builders import NOW, cache_options, request, response, stored

STALE = NOW + 130


def decide(
    kept: StoredResponse | None,
    control: bytes | None = None,
    now: float = NOW + 10,
    options: CacheOptions | None = None,
    **others: Any,
) -> Verdict:
    """The verdict for a request with ``Cache-Control: control``."""
    asked = request() if control is None else request((b"Cache-Control", control))
    return decide_reuse(kept, asked, now, options or cache_options(), **others)

#: ``proxy_cache_use_stale off``.
OFF = cache_options(use_stale=frozenset())


class ReuseTests(SynchronousTestCase):
    """RFC 9111 §4."""

    def assert_verdict(
        self, verdict: Verdict, action: Action, reason: Reason, status: bytes
    ) -> None:
        """All three parts of a verdict."""
        self.assertEqual((verdict.action, verdict.reason, verdict.status), (action, reason, status))

    def test_fresh(self) -> None:
        """Until the age reaches the lifetime, and not at it."""
        verdict = decide(stored(initial_age=5.0))
        self.assert_verdict(verdict, Action.FRESH, Reason.FRESH, b"HIT")
        self.assertEqual(verdict.age, 15.0)
        self.assertIs(decide(stored(), now=NOW + 99.9).action, Action.FRESH)
        self.assert_verdict(
            decide(stored(), now=NOW + 100), Action.REVALIDATE, Reason.EXPIRED, b"EXPIRED"
        )

    def test_nothing_usable(self) -> None:
        """Not stored, another key under the same digest, another variant."""
        self.assert_verdict(decide(None), Action.MISS, Reason.NOT_STORED, b"MISS")
        other = decide(stored(), key=b"another")
        self.assert_verdict(other, Action.MISS, Reason.OTHER_KEY, b"MISS")
        variant = decide(stored(vary=((b"foo", b"1"),)))
        self.assert_verdict(variant, Action.MISS, Reason.OTHER_VARIANT, b"MISS")

    def test_bypass(self) -> None:
        """``proxy_cache_bypass`` comes before everything else."""
        verdict = decide(stored(), b"only-if-cached", bypass=True)
        self.assert_verdict(verdict, Action.BYPASS, Reason.PROXY_CACHE_BYPASS, b"BYPASS")

    def test_no_cache(self) -> None:
        """Of the response or of the request: validated first (§5.2.1.4, §5.2.2.4)."""
        kept = stored(always_validate=True)
        self.assert_verdict(decide(kept), Action.REVALIDATE, Reason.NO_CACHE, b"EXPIRED")
        self.assertIs(decide(stored(), b"no-cache").reason, Reason.REQUEST_NO_CACHE)

    def test_request_limits(self) -> None:
        """max-age and min-fresh of the request (§5.2.1.1, §5.2.1.3)."""
        self.assertIs(decide(stored(), b"max-age=9").reason, Reason.REQUEST_MAX_AGE)
        self.assertIs(decide(stored(), b"max-age=10").action, Action.FRESH)
        self.assertIs(decide(stored(), b"min-fresh=91").reason, Reason.REQUEST_MIN_FRESH)
        self.assertIs(decide(stored(), b"min-fresh=90").action, Action.FRESH)

    def test_max_stale(self) -> None:
        """§5.2.1.2; never where the response must be revalidated (§5.2.2.2)."""
        for control in (b"max-stale", b"max-stale=30"):
            verdict = decide(stored(), control, STALE)
            self.assert_verdict(verdict, Action.STALE, Reason.REQUEST_MAX_STALE, b"STALE")
        self.assertIs(decide(stored(), b"max-stale=29", STALE).action, Action.REVALIDATE)
        strict = stored(must_revalidate=True)
        self.assertIs(decide(strict, b"max-stale", STALE).action, Action.REVALIDATE)

    def test_only_if_cached(self) -> None:
        """504 without touching the origin (§5.2.1.7)."""
        self.assertIs(decide(None, b"only-if-cached").action, Action.GATEWAY_TIMEOUT)
        self.assertIs(decide(stored(), b"only-if-cached", STALE).action, Action.GATEWAY_TIMEOUT)
        self.assertIs(decide(stored(), b"only-if-cached").action, Action.FRESH)

    def test_stale_while_revalidate(self) -> None:
        """From the header alone (RFC 5861 §3), within its window, refreshed once."""
        kept = stored(stale_while_revalidate=31.0)
        first = decide(kept, now=STALE)
        self.assert_verdict(first, Action.STALE, Reason.STALE_WHILE_REVALIDATE, b"STALE")
        self.assertTrue(first.refresh)
        second = decide(kept, now=STALE, updating=True)
        self.assertEqual((second.status, second.refresh), (b"UPDATING", False))
        self.assertIs(decide(kept, now=NOW + 131).action, Action.REVALIDATE)
        self.assertIs(decide(kept, b"max-age=1000", STALE).action, Action.REVALIDATE)
        strict = stored(stale_while_revalidate=31.0, must_revalidate=True)
        self.assertIs(decide(strict, now=STALE).action, Action.REVALIDATE)

    def test_use_stale_updating(self) -> None:
        """Others get the stale response; the first too with background_update (nginx)."""
        options = cache_options(use_stale=frozenset({"updating"}))
        self.assertIs(decide(stored(), now=STALE, options=options).action, Action.REVALIDATE)
        other = decide(stored(), now=STALE, options=options, updating=True)
        self.assert_verdict(other, Action.STALE, Reason.UPDATING, b"UPDATING")
        options = cache_options(use_stale=frozenset({"updating"}), background_update=True)
        first = decide(stored(), now=STALE, options=options)
        self.assertEqual((first.status, first.refresh), (b"STALE", True))

    @given(
        st.floats(0, 500),
        st.floats(0, 500),
        st.floats(0, 500),
        st.booleans(),
        st.floats(-10, 1000),
    )
    def test_fast_path_agrees(
        self, lifetime: float, age: float, window: float, validate: bool, passed: float
    ) -> None:
        """Before `reusable_until` a plain request is a hit, and from then on it is not."""
        kept = stored(
            lifetime=lifetime,
            initial_age=age,
            stale_while_revalidate=window,
            always_validate=validate,
        )
        now = NOW + passed
        if passed < 0:
            return
        fresh = decide(kept, now=now).action is Action.FRESH
        if abs(now - reusable_until(kept)) > 1e-3:
            self.assertEqual(fresh, now < reusable_until(kept))

    def test_steering_fields_are_lower_case(self) -> None:
        """They are compared with lower-case names."""
        self.assertEqual({name.lower() for name in STEERING_FIELDS}, STEERING_FIELDS)


class ServeStaleTests(SynchronousTestCase):
    """``proxy_cache_use_stale`` and RFC 5861 §4."""

    def test_operator_allows_without_limit(self) -> None:
        """The condition listed, at any age."""
        options = cache_options(use_stale=frozenset({"error", "http_404"}))
        self.assertTrue(may_serve_stale(stored(), "error", NOW + 1e6, options))
        self.assertTrue(may_serve_stale(stored(), "http_404", NOW + 1e6, options))
        self.assertFalse(may_serve_stale(stored(), "timeout", STALE, options))

    def test_stale_if_error(self) -> None:
        """The response's own window, for failures and server errors only."""
        kept = stored(stale_if_error=31.0)
        for condition in ("error", "timeout", "invalid_header", "http_500", "http_503"):
            self.assertTrue(may_serve_stale(kept, condition, STALE, cache_options()), condition)
            self.assertFalse(may_serve_stale(kept, condition, NOW + 131, OFF))
        self.assertFalse(may_serve_stale(kept, "http_404", STALE, cache_options()))

    def test_error_while_what_is_fresh_is_validated(self) -> None:
        """A client that asked for validation sees the error, unless a window covers it."""
        self.assertFalse(may_serve_stale(stored(), "http_500", NOW + 1, OFF))
        self.assertTrue(may_serve_stale(stored(stale_if_error=1.0), "http_500", NOW + 1, OFF))

    def test_request_may_ask(self) -> None:
        """``stale-if-error`` in the request widens the window (RFC 5861 §4)."""
        asked = request((b"Cache-Control", b"stale-if-error=40"))
        self.assertTrue(may_serve_stale(stored(), "error", STALE, OFF, asked))
        self.assertFalse(may_serve_stale(stored(), "error", STALE, OFF))

    def test_unreachable_origin(self) -> None:
        """Where the directive is not written, no answer is worse than a stale one (§4.2.4)."""
        for condition in ("error", "timeout"):
            self.assertTrue(may_serve_stale(stored(), condition, STALE, cache_options()))
        for condition in ("invalid_header", "http_500", "http_503", "updating"):
            self.assertFalse(may_serve_stale(stored(), condition, STALE, cache_options()))

    def test_must_revalidate_forbids(self) -> None:
        """RFC 9111 §4.2.4: neither the operator nor the header may."""
        options = cache_options(use_stale=frozenset({"error"}))
        for flag in ("must_revalidate", "always_validate"):
            kept = stored(stale_if_error=1000.0, **{flag: True})
            self.assertFalse(may_serve_stale(kept, "error", STALE, options))


class RepresentsTargetTests(SynchronousTestCase):
    """RFC 9110 §9.3.3: a response to POST that is what a GET would get."""

    def says(self, *located: bytes, method: bytes = b"POST", status: int = 200) -> bool:
        answer = response(*((b"Content-Location", value) for value in located), status=status)
        return represents_target(method, b"http", b"a.test", b"/x?y", answer)

    def test_same(self) -> None:
        """Its Content-Location is the target, relative or absolute."""
        for value in (b"/x?y", b"?y", b"http://a.test/x?y", b"http://A.test:80/x?y"):
            self.assertTrue(self.says(value), value)

    def test_other(self) -> None:
        """Another place, another origin, two places, none; another method or status."""
        for value in (b"/x", b"/x?z", b"http://b.test/x?y", b"https://a.test/x?y", b"http://[/x"):
            self.assertFalse(self.says(value), value)
        self.assertFalse(self.says())
        self.assertFalse(self.says(b"/x?y", b"/x?y"))
        self.assertFalse(self.says(b"/x?y", method=b"PUT"))
        self.assertFalse(self.says(b"/x?y", status=201))


class InvalidationTests(SynchronousTestCase):
    """RFC 9111 §4.4."""

    def test_unsafe_success_invalidates(self) -> None:
        """Unknown methods are unsafe; errors invalidate nothing."""
        for method in (b"POST", b"PUT", b"DELETE", b"M-SEARCH"):
            self.assertTrue(invalidates(method, 200))
            self.assertTrue(invalidates(method, 303))
            self.assertFalse(invalidates(method, 404))
            self.assertFalse(invalidates(method, 500))
        for method in (b"GET", b"HEAD", b"OPTIONS", b"TRACE"):
            self.assertFalse(invalidates(method, 200))

    def targets(self, *pairs: tuple[bytes, bytes]) -> list[bytes]:
        """What a POST to /a/b?c invalidates."""
        return invalidated_targets(b"https", b"example.com", b"/a/b?c", response(*pairs))

    def test_location_and_content_location(self) -> None:
        """Resolved against the target, on the same origin only."""
        self.assertEqual(self.targets(), [b"/a/b?c"])
        self.assertEqual(
            self.targets(
                (b"Location", b"d?e"), (b"Content-Location", b"https://Example.com:443/f")
            ),
            [b"/a/b?c", b"/a/d?e", b"/f"],
        )
        for elsewhere in (b"https://other.com/x", b"http://example.com/x", b"//x/y", b"https://["):
            self.assertEqual(self.targets((b"Location", elsewhere)), [b"/a/b?c"], elsewhere)

    @given(st.binary(max_size=30))
    def test_hostile_location(self, value: bytes) -> None:
        """Any value gives targets, never an error."""
        for target in self.targets((b"Location", value)):
            self.assertTrue(target.startswith(b"/"), target)
