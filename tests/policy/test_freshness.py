"""``policy.freshness``: lifetimes and ages."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.http.fields import Fields
from cacheproxy.policy.cache_control import MAX_DELTA, response_directives
from cacheproxy.policy.freshness import (
    LifetimeSource,
    date_value,
    explicit_lifetime,
    heuristic_lifetime,
    initial_age,
    received_age,
)
from tests.policy.builders import NOW, date, fields, stored


def lifetime(found: Fields) -> float | None:
    """The explicit lifetime's seconds."""
    result = explicit_lifetime(found, response_directives(found), NOW)
    return None if result is None else result.seconds


class LifetimeTests(SynchronousTestCase):
    """RFC 9111 §4.2.1, §5.3."""

    def test_precedence(self) -> None:
        """s-maxage before max-age before Expires, even where the first is shorter."""
        everything = [(b"Expires", date(30)), (b"Date", date()), (b"Cache-Control", b"max-age=20")]
        found = explicit_lifetime(
            fields(*everything, (b"Cache-Control", b"s-maxage=10")),
            response_directives(fields((b"Cache-Control", b"s-maxage=10, max-age=20"))),
            NOW,
        )
        assert found is not None
        self.assertEqual((found.seconds, found.source), (10.0, LifetimeSource.S_MAXAGE))
        self.assertEqual(lifetime(fields(*everything)), 20.0)
        self.assertEqual(lifetime(fields(*everything[:2])), 30.0)
        self.assertIsNone(lifetime(fields((b"Date", date()))))

    def test_expires_is_measured_against_date(self) -> None:
        """Not against our clock; without a usable Date, against the time of receipt."""
        self.assertEqual(lifetime(fields((b"Expires", date(100)), (b"Date", date(40)))), 60.0)
        self.assertEqual(lifetime(fields((b"Expires", date(100)), (b"Date", date(200)))), 0.0)
        self.assertEqual(lifetime(fields((b"Expires", date(100)))), 100.0)
        self.assertEqual(lifetime(fields((b"Expires", date(100)), (b"Date", b"foo"))), 100.0)

    def test_invalid_expires_is_past(self) -> None:
        """``0`` above all (§5.3); one bad line among several spoils them."""
        for value in (b"0", b"-1", b"", b"tomorrow", b"Thu, 18 Aug 2050 02:01:18 AEST"):
            self.assertEqual(lifetime(fields((b"Expires", value), (b"Date", date()))), 0.0, value)
        two = fields((b"Expires", date(100)), (b"Expires", b"0"), (b"Date", date()))
        self.assertEqual(lifetime(two), 0.0)

    def test_expires_can_be_ignored(self) -> None:
        """``proxy_ignore_headers Expires``."""
        found = fields((b"Expires", date(100)))
        self.assertIsNone(explicit_lifetime(found, response_directives(found), NOW, expires=False))

    def test_heuristic(self) -> None:
        """A tenth of the age of the content, limited, for the statuses that allow it (§4.2.2)."""
        found = fields((b"Last-Modified", date(-1000)), (b"Date", date()))
        result = heuristic_lifetime(found, 200, NOW, 3600.0)
        assert result is not None
        self.assertAlmostEqual(result.seconds, 100.0)
        limited = heuristic_lifetime(found, 200, NOW, 10.0)
        assert limited is not None
        self.assertEqual(limited.seconds, 10.0)
        self.assertIsNone(heuristic_lifetime(found, 302, NOW, 10.0))
        self.assertIsNotNone(heuristic_lifetime(found, 599, NOW, 10.0, public=True))
        self.assertIsNone(heuristic_lifetime(fields(), 200, NOW, 10.0))
        future = heuristic_lifetime(fields((b"Last-Modified", date(50))), 200, NOW, 10.0)
        assert future is not None
        self.assertEqual(future.seconds, 0.0)


class AgeTests(SynchronousTestCase):
    """RFC 9111 §4.2.3, §5.1."""

    def test_dates_in_any_case(self) -> None:
        """A cache compares dates without case (§4.2)."""
        for value in (b"TUE, 14 Nov 2023 23:13:20 GMT", b"Tue, 14 NOV 2023 23:13:20 GMT",
                      b"tue, 14 nov 2023 23:13:20 gmt"):  # fmt: skip
            given = fields((b"Date", b"Tue, 14 Nov 2023 22:13:20 GMT"), (b"Expires", value))
            self.assertEqual(lifetime(given), 3600.0, value)

    def test_received_age(self) -> None:
        """One number; of a list the first."""
        self.assertEqual(received_age(fields()), 0)
        self.assertEqual(received_age(fields((b"Age", b"30"))), 30)
        self.assertEqual(received_age(fields((b"Age", b"0,7200"))), 0)
        self.assertEqual(received_age(fields((b"Age", b"7200,0"))), 7200)

    def test_malformed_age_is_ignored(self) -> None:
        """What is not a number of seconds says nothing (§5.1); the first of several counts."""
        for value in (b"", b"abc", b"-1", b"1.5", b"+1", b"0x1", b'"5"', b"7200;a=1", b", 7"):
            self.assertEqual(received_age(fields((b"Age", value))), 0, value)
        self.assertEqual(received_age(fields((b"Age", b"9"), (b"Age", b"0"))), 9)
        self.assertEqual(received_age(fields((b"Age", b"0, 0"))), 0)
        self.assertEqual(received_age(fields((b"Age", b"9" * 50))), MAX_DELTA)

    def test_initial_age(self) -> None:
        """The greater of apparent age and received age with the response delay."""
        self.assertEqual(initial_age(fields((b"Date", date(-60))), NOW, NOW), 60.0)
        self.assertEqual(initial_age(fields((b"Date", date(-60)), (b"Age", b"90")), NOW, NOW), 90.0)
        self.assertEqual(initial_age(fields((b"Date", date())), NOW - 5, NOW), 5.0)
        self.assertEqual(initial_age(fields((b"Age", b"10")), NOW - 5, NOW), 15.0)
        self.assertEqual(initial_age(fields((b"Date", date(500))), NOW + 3, NOW), 0.0)

    def test_rounding_of_date_is_no_age(self) -> None:
        """A Date of this very second does not make the response a fraction old."""
        self.assertEqual(initial_age(fields((b"Date", date())), NOW + 0.9, NOW + 0.9), 0.0)

    def test_earliest_date_counts(self) -> None:
        """Of two Date lines, the one that makes the response older."""
        self.assertEqual(date_value(fields((b"Date", date()), (b"Date", date(-9))), NOW), NOW - 9)

    @given(
        st.integers(-1000, 1000),
        st.integers(0, 1000),
        st.floats(0, 100),
        st.floats(0, 10_000),
        st.floats(0, 10_000),
    )
    def test_age_never_falls(
        self, skew: int, age: int, delay: float, first: float, second: float
    ) -> None:
        """Time passing makes a stored response older, whatever its Date and Age say."""
        head = fields((b"Date", date(skew)), (b"Age", b"%d" % age))
        initial = initial_age(head, NOW - delay, NOW)
        self.assertGreaterEqual(initial, age)
        kept = stored(initial_age=initial)
        early, late = sorted((first, second))
        self.assertLessEqual(kept.age(NOW + early), kept.age(NOW + late))
        self.assertGreaterEqual(kept.age(NOW - early), 0.0)
