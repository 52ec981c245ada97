"""Tests of a zone's bounds and its filter of digests."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import os
from dataclasses import replace

from cacheproxy.proxy.interfaces import Entry
from tests.storage.support import LARGE, QueueExecutor, ZoneCase, digest_of


class BoundsTests(ZoneCase):
    """max_size, inactive, memory, min_uses."""

    def folder_size(self) -> int:
        """Bytes that the zone's folder occupies, its index included."""
        return sum(
            os.stat(os.path.join(folder, name)).st_blocks * 512
            for folder, _, names in os.walk(self.path)
            for name in names
        )

    def test_what_max_size_takes_from_disk_leaves_memory(self) -> None:
        """Forty responses of 64 KB in a zone of 2 MB: as many are found as the disk holds."""
        harness = self.harness(max_size=2 << 20, memory=64 << 20)
        digests = [harness.store(b"%d" % number, bytes(65_536)) for number in range(40)]
        held = [digest for digest in digests if harness.zone.peek(digest) is not None]
        self.assertEqual(
            {digest.hex() for digest in held}, set(map(os.path.basename, self.files()))
        )
        self.assertGreater(len(held), 20)
        found = [digest for digest in digests if harness.look(digest) is not None]
        self.assertEqual(found, held)

    def test_whole_folder_keeps_to_max_size(self) -> None:
        """Bodies, table, log and shared memory together, even in a small zone."""
        for bound, size in ((288 << 10, 100), (1 << 20, 3000), (4 << 20, 100)):
            self.setUp()
            harness = self.harness(max_size=bound)
            for number in range(1500):
                harness.store(b"%d" % number, bytes(size))
                if number % 100 == 0:
                    harness.advance(5.0)
                    self.assertLessEqual(self.folder_size(), bound)
            self.assertGreater(len(self.files()), 20)

    def test_memory_is_never_larger_than_the_zone(self) -> None:
        """``memory=`` says 64 MB."""
        harness = self.harness(max_size=1 << 20)
        for number in range(300):
            harness.store(b"%d" % number, bytes(10_000))
        self.assertLessEqual(harness.zone.memory.size, 1 << 20)

    def test_inactive_entry_leaves_disk_and_memory_in_the_same_round(self) -> None:
        """The last use counts, whether or not it was written down."""
        harness = self.harness(inactive=100.0)
        digest = harness.store(b"k", b"body")
        entry = harness.zone.peek(digest)
        assert entry is not None
        harness.zone.memory.take_used(harness.scheduler.wall())
        harness.zone.disk_queue.disk.touch([digest], harness.scheduler.wall() - 200.0)
        entry.last_used = entry.touched = harness.scheduler.wall() - 50.0
        harness.advance(5.0)
        self.assertEqual(len(self.files()), 1)
        self.assertEqual(len(harness.zone.memory), 1)
        harness.advance(50.0)
        self.assertEqual(self.files(), [])
        self.assertEqual(len(harness.zone.memory), 0)

    def test_what_min_free_takes_from_disk_leaves_memory(self) -> None:
        """A zone that has no room on its file system holds nothing."""
        harness = self.harness(min_free=1 << 60)
        digest = harness.store(b"k", b"body")
        self.assertIsNone(harness.zone.peek(digest))
        self.assertIsNone(harness.look(digest))

    def test_use_of_an_entry_in_memory_keeps_it_on_disk(self) -> None:
        """Even where it is not written down before the zone culls."""
        harness = self.harness(max_size=1 << 20, inactive=3600.0)
        kept = harness.store(b"kept", bytes(9000))
        for number in range(50):
            self.assertIsNotNone(harness.zone.peek(kept))
            harness.advance(1.0)
            for serial in range(9):
                harness.store(b"%d-%d" % (number, serial), bytes(9000))
            self.assertIsNotNone(harness.zone.peek(kept), number)

    def test_encoded_sibling_goes_with_its_entry(self) -> None:
        """It counts in max_size, and is not served from memory after its entry was culled."""
        harness = self.harness(max_size=1 << 20)
        digest = harness.store(b"k", os.urandom(30_000))
        entry = harness.zone.peek(digest)
        assert entry is not None
        head = replace(entry.stored, reason=b"gzip")
        harness.zone.encoded(entry, b"gzip", 1, head, lambda sibling: None)
        self.assertEqual(len(self.files()), 2)
        harness.advance(10.0)
        for number in range(100):
            harness.store(b"%d" % number, bytes(20_000))
        harness.advance(10.0)
        self.assertIsNone(harness.zone.peek(digest))
        self.assertLessEqual(self.folder_size(), 1 << 20)

    def usage(self) -> int:
        """Bytes that the zone's body files occupy, in whole blocks."""
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
        self.assertGreater(self.usage(), bound * 0.8)

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
        harness.zone.maintenance._filter = None
        harness.zone.maintenance._load()
        writer.run()
        self.assertIsNotNone(harness.zone.maintenance._filter)
        for _ in range(4):
            pool.run()
            writer.run()
        found: list[Entry | None] = []
        harness.zone.lookup(digest, found.append)
        pool.run()
        assert found[0] is not None
        found[0].release()
