"""``policy.cache_status``: the words of RFC 9211."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.policy.cache_status import FORWARD_REASONS, forward_value, hit_value
from cacheproxy.policy.reuse import Reason

#: The registered forward reasons (RFC 9211 §2.2).
REGISTERED = {b"bypass", b"method", b"uri-miss", b"vary-miss", b"miss", b"request", b"stale"}


class CacheStatusTests(SynchronousTestCase):
    """Parameters and their order."""

    def test_hit(self) -> None:
        """ttl may be negative (§2.4)."""
        self.assertEqual(hit_value(60.0, 7.9), b"cacheproxy; hit; ttl=53")
        self.assertEqual(hit_value(60.0, 75.0), b"cacheproxy; hit; ttl=-15")

    @given(st.integers(0, 10**6), st.floats(0, 10**6))
    def test_ttl_and_age_make_the_lifetime(self, lifetime: int, age: float) -> None:
        """Whatever the fractions of a second."""
        ttl = int(hit_value(float(lifetime), age).rpartition(b"=")[2])
        self.assertEqual(ttl + int(age), lifetime)

    def test_forward(self) -> None:
        """Only what is so is said."""
        self.assertEqual(forward_value(b"stale"), b"cacheproxy; fwd=stale")
        self.assertEqual(
            forward_value(b"stale", 304, stored=True, collapsed=True, detail=b"x"),
            b"cacheproxy; fwd=stale; fwd-status=304; stored; collapsed; detail=x",
        )

    def test_reasons_are_registered(self) -> None:
        """Every verdict that goes to the origin has one."""
        self.assertLessEqual(set(FORWARD_REASONS.values()), REGISTERED)
        answered = {
            Reason.FRESH,
            Reason.REQUEST_MAX_STALE,
            Reason.STALE_WHILE_REVALIDATE,
            Reason.UPDATING,
            Reason.ONLY_IF_CACHED,
        }
        self.assertEqual(set(FORWARD_REASONS), set(Reason) - answered)
