"""Tests of how ``max_size`` is divided."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.policy.zone_size import (
    INDEX_BASE,
    LEAST_SIZE,
    PAGE_SIZE,
    log_pages,
    memory_size,
    room,
)


class ZoneSizeTests(SynchronousTestCase):
    """What the index takes, and what is left."""

    def test_index_and_responses_fit_together_from_the_least_size_on(self) -> None:
        """The folder as a whole is within max_size."""
        for size in (LEAST_SIZE, 1 << 20, 10 << 20, 1 << 30, 1 << 40):
            self.assertLessEqual(room(size) + INDEX_BASE + log_pages(size) * PAGE_SIZE, size)

    def test_large_zone_gives_nearly_all_to_responses(self) -> None:
        """The log stops growing at 4 MB."""
        self.assertGreater(room(1 << 30), 0.99 * (1 << 30))
        self.assertEqual(log_pages(1 << 40), log_pages(None))

    def test_zone_that_is_too_small_still_has_room_for_responses(self) -> None:
        """Half of it."""
        self.assertEqual(room(100_000), 50_000)
        self.assertEqual(room(0), 0)

    @given(st.integers(0, 1 << 40))
    def test_room_is_within_max_size_and_at_least_half_of_it(self, size: int) -> None:
        """For every size."""
        self.assertTrue(size // 2 <= room(size) <= size)

    def test_memory_is_within_max_size(self) -> None:
        """``memory=`` is a part of the zone."""
        self.assertEqual(memory_size(64 << 20, 1 << 20), 1 << 20)
        self.assertEqual(memory_size(64 << 20, 1 << 30), 64 << 20)
        self.assertEqual(memory_size(64 << 20, None), 64 << 20)
