"""Tests of the memory of purges."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.http.fields import Fields
from cacheproxy.policy.purge import ByHost, ByKey, ByPrefix, ByTags, Everything, Selection
from cacheproxy.storage.upkeep import purges as purging
from cacheproxy.storage.upkeep.purges import RECENT_TIME, RecentPurges
from tests.storage.support import digest_of, head_of

KEY = b"http://a.test/x"


class RecentPurgesTests(SynchronousTestCase):
    """``RecentPurges``: what was asked for before a purge is not stored after it."""

    def setUp(self) -> None:
        self.recent = RecentPurges()

    def purge(self, selection: Selection, at: float, monotonic: float | None = None) -> None:
        self.recent.note(selection, at, at if monotonic is None else monotonic)

    def covers(self, asked: float, key: bytes = KEY) -> bool:
        fields = Fields([(b"Surrogate-Key", b"a b")])
        head = head_of(key, request_time=asked, host=b"a.test", fields=fields)
        return self.recent.covers(digest_of(key), head)

    def test_nothing_was_purged(self) -> None:
        self.assertFalse(self.covers(0.0))

    def test_each_selection(self) -> None:
        """What it selects is refused if it was asked for before, and only then."""
        for selection in (
            ByKey(digest_of(KEY)),
            ByPrefix(b""),
            ByPrefix(b"http://a.test/"),
            ByHost(b"a.test"),
            ByTags(frozenset({b"z", b"b"})),
            Everything(),
        ):
            self.recent = RecentPurges()
            self.purge(selection, 100.0)
            self.assertTrue(self.covers(99.9), selection)
            self.assertFalse(self.covers(100.1), selection)

    def test_within_one_reading_of_the_clock(self) -> None:
        """Before is refused; after, by the time that ``latest`` gives, is not."""
        for _ in range(3):
            asked = max(100.0, self.recent.latest)
            self.purge(ByKey(digest_of(KEY)), 100.0)
            self.assertTrue(self.covers(asked))
            self.assertFalse(self.covers(max(100.0, self.recent.latest)))

    def test_asked_for_after_a_step_back_of_the_clock(self) -> None:
        """It is not refused for as long as the step."""
        self.purge(Everything(), 5000.0, 10.0)
        self.purge(ByKey(digest_of(KEY)), 1000.0, 11.0)
        self.assertTrue(self.covers(5000.5))
        self.assertFalse(self.covers(max(1000.1, self.recent.latest)))

    def test_others_are_not_taken(self) -> None:
        for selection in (
            ByKey(digest_of(b"other")),
            ByPrefix(b"http://b"),
            ByPrefix(KEY + b"/y"),
            ByHost(b"b.test"),
            ByTags(frozenset({b"z"})),
        ):
            self.purge(selection, 100.0)
        self.assertFalse(self.covers(99.0))

    def test_the_last_of_the_same_counts(self) -> None:
        self.purge(ByHost(b"a.test"), 100.0)
        self.purge(ByHost(b"a.test"), 200.0)
        self.assertTrue(self.covers(150.0))

    def test_long_ago(self) -> None:
        """What is forgotten is made up for by refusing all that was asked for before it."""
        self.purge(ByKey(digest_of(b"other")), 100.0)
        self.purge(ByKey(digest_of(b"another")), 100.0 + RECENT_TIME + 1)
        self.assertTrue(self.covers(99.0))
        self.assertFalse(self.covers(101.0))

    def test_too_many(self) -> None:
        """Beyond the limit the same: nothing is stored that may be what was purged."""
        with mock.patch.object(purging, "RECENT_LIMIT", 3):
            for number in range(5):
                self.purge(ByPrefix(b"%d" % number), 100.0 + number)
        self.assertTrue(self.covers(100.5))
        self.assertFalse(self.covers(101.5))
        self.assertTrue(self.covers(101.5, b"2/x"))

    def test_clock_set_back(self) -> None:
        """A purge after the clock was set back is later than what was asked for before that."""
        self.purge(ByHost(b"b.test"), 10_000.0, 1.0)
        self.purge(ByHost(b"a.test"), 6_400.0, 2.0)
        self.assertTrue(self.covers(10_000.5))
        self.assertFalse(self.covers(10_001.5))

    def test_clock_that_is_slewed(self) -> None:
        """Small corrections do not add up to refusals."""
        self.purge(ByHost(b"b.test"), 100.0, 1.0)
        self.purge(ByHost(b"a.test"), 100.5, 2.0)
        self.assertFalse(self.covers(100.6))
