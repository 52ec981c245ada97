"""Tests of a zone's bounds and its filter of digests."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import os

from cacheproxy.proxy.interfaces import Entry
from tests.storage.support import LARGE, QueueExecutor, ZoneCase, digest_of


class BoundsTests(ZoneCase):
    """max_size, inactive, memory, min_uses."""

    def usage(self) -> int:
        """Octets that the zone's body files occupy, in whole blocks."""
        return sum(-(-os.path.getsize(path) // 4096) * 4096 for path in self.files())

    def test_max_size_is_honoured(self) -> None:
        """After every store the zone is within its bound, and not needlessly empty."""
        bound = 2 << 20
        harness = self.harness(max_size=bound)
        for number in range(400):
            harness.store(b"%d" % number, bytes(10_000 + number))
            if number % 40 == 0:
                self.assertLessEqual(self.usage(), bound * 1.01)
        self.assertLessEqual(self.usage(), bound * 1.01)
        self.assertGreater(self.usage(), bound * 0.9)

    def test_least_recently_used_go_first(self) -> None:
        """An entry that is used outlives those that are not."""
        harness = self.harness(max_size=1 << 20)
        kept = harness.store(b"kept", bytes(9000))
        for number in range(300):
            self.assertIsNotNone(harness.look(kept))
            harness.store(b"%d" % number, bytes(9000))
            harness.advance(6.0)
        harness.restart()
        self.assertIsNotNone(harness.look(kept))
        self.assertIsNone(harness.look(digest_of(b"0")))

    def test_inactive_entries_go_and_used_ones_stay(self) -> None:
        """``inactive`` counts from the last use, whatever the freshness."""
        harness = self.harness(inactive=100.0)
        used, unused = harness.store(b"used", b"u"), harness.store(b"unused", b"n")
        for _ in range(6):
            harness.advance(30.0)
            self.assertIsNotNone(harness.look(used))
        self.assertIsNone(harness.look(unused))
        self.assertEqual(len(self.files()), 1)
        harness.advance(200.0)
        self.assertEqual(self.files(), [])
        self.assertEqual(len(harness.zone.memory), 0)

    def test_object_larger_than_the_zone_is_not_stored(self) -> None:
        """A body that cannot fit displaces nothing."""
        harness = self.harness(max_size=1 << 20)
        small = harness.store(b"small", b"s")
        large = harness.store(b"large", LARGE)
        self.assertIsNone(harness.look(large))
        self.assertEqual(harness.body(small), b"s")

    def test_uses_are_counted_within_a_bound(self) -> None:
        """proxy_cache_min_uses: the count grows by one a request; the table is bounded."""
        harness = self.harness(keys_size=1)
        digest = digest_of(b"k")
        self.assertEqual([harness.zone.note_use(digest) for _ in range(3)], [1, 2, 3])
        for number in range(5000):
            harness.zone.note_use(digest_of(b"%d" % number))
        self.assertEqual(len(harness.zone._uses), 1024)
        self.assertEqual(harness.zone.note_use(digest), 1)

    def test_cold_miss_needs_no_disk(self) -> None:
        """Once the filter is loaded an unknown digest is answered at once."""
        pool = QueueExecutor()
        harness = self.harness(pool=pool)
        known = harness.store(b"k", b"body")
        harness.zone.close()
        harness.zone = harness.make()
        harness.advance(2.0)
        self.assertIsNone(harness.look(digest_of(b"unknown")))
        self.assertEqual(len(pool.queue), 0)
        found: list[Entry | None] = []
        harness.zone.lookup(known, found.append)
        pool.run()
        self.assertIsNotNone(found[0])

    def test_filter_knows_a_store_that_was_not_on_disk_when_it_was_loaded(self) -> None:
        """A store that finished before the loading and is committed after it is found."""
        pool, writer = QueueExecutor(), QueueExecutor()
        harness = self.harness(pool=pool, writer=writer)
        writer.run()
        digest = harness.store(b"k", LARGE)
        harness.zone.upkeep._filter = None
        harness.zone.upkeep._load()
        writer.run()
        self.assertIsNotNone(harness.zone.upkeep._filter)
        for _ in range(4):
            pool.run()
            writer.run()
        found: list[Entry | None] = []
        harness.zone.lookup(digest, found.append)
        pool.run()
        assert found[0] is not None
        found[0].release()
