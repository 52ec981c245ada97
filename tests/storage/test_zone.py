"""Tests of a cache zone: storing, looking up, updating, purging, and their order."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import os
import shutil
from dataclasses import replace

from cacheproxy.errors import StorageError
from cacheproxy.http.fields import Fields
from cacheproxy.policy.purge import ByKey
from cacheproxy.proxy.interfaces import Entry
from tests.storage.support import (
    LARGE,
    QueueExecutor,
    RecordingSink,
    ZoneCase,
    digest_of,
    head_of,
    read_all,
)


class StoringTests(ZoneCase):
    """What is stored is found, in memory, on disk and after a restart."""

    def test_stored_entry_is_found_in_memory(self) -> None:
        """A hit needs no I/O."""
        harness = self.harness()
        digest = harness.store(b"k", b"body")
        entry = harness.zone.peek(digest)
        assert entry is not None
        self.assertEqual(entry.body, b"body")
        self.assertEqual(entry.stored.body_length, 4)

    def test_file_lies_where_nginx_lays_it(self) -> None:
        """levels=1:2 takes the last digit, then the two before it (proxy_cache_path)."""
        harness = self.harness()
        digest = harness.store(b"k", b"body")
        name = digest.hex()
        path = os.path.join(self.path, name[-1], name[-3:-1], name)
        with open(path, "rb") as file:
            self.assertTrue(file.read().startswith(b"body"))

    def test_unfinished_store_is_invisible_and_leaves_nothing(self) -> None:
        """A response cut short is never visible, in any tier."""
        harness = self.harness()
        digest = digest_of(b"k")
        for body in (b"small", LARGE):
            writer = harness.zone.open_writer(digest, digest, head_of(b"k"))
            assert writer is not None
            writer.write(body)
            self.assertIsNone(harness.look(digest))
            writer.abort()
            self.assertIsNone(harness.look(digest))
        self.assertEqual(os.listdir(os.path.join(self.path, "temp")), [])
        self.assertEqual(self.files(), [])

    def test_restart_keeps_small_and_large(self) -> None:
        """Everything stored is served after a restart, byte by byte."""
        harness = self.harness()
        small, large = harness.store(b"s", b"small"), harness.store(b"l", LARGE)
        harness.restart()
        self.assertEqual(harness.body(small), b"small")
        self.assertEqual(harness.body(large), LARGE)
        entry = harness.look(large)
        assert entry is not None
        self.assertEqual(read_all(entry, 1000, 300_000), LARGE[1000:300_000])
        entry.release()

    def test_empty_body_is_stored(self) -> None:
        """A response without content is an entry as any other."""
        harness = self.harness()
        digest = harness.store(b"k", b"")
        harness.restart()
        self.assertEqual(harness.body(digest), b"")

    def test_replaced_while_read_serves_the_old_to_its_reader(self) -> None:
        """A reader keeps the file it opened; a new look-up gets the new one."""
        pool = QueueExecutor()
        harness = self.harness(pool=pool)
        digest = harness.store(b"k", LARGE)
        pool.run()
        found: list[Entry | None] = []
        harness.zone.lookup(digest, found.append)
        pool.run()
        (entry,) = found
        assert entry is not None
        sink = RecordingSink()
        entry.read(sink, 0, len(LARGE))
        pool.step()
        harness.store(b"k", b"new")
        entry.release()
        pool.run()
        self.assertEqual(sink.body, LARGE)
        self.assertEqual(harness.body(digest), b"new")

    def test_two_stores_of_one_key_end_with_the_later(self) -> None:
        """Whatever order the disk works in, the store that finished last wins."""
        pool, writer = QueueExecutor(), QueueExecutor()
        harness = self.harness(pool=pool, writer=writer)
        writer.run()
        digest = digest_of(b"k")
        first = harness.zone.open_writer(digest, digest, head_of(b"k"))
        second = harness.zone.open_writer(digest, digest, head_of(b"k"))
        assert first is not None and second is not None
        first.write(LARGE)
        second.write(b"second")
        first.finish()
        second.finish()
        writer.run()
        pool.run()
        writer.run()
        harness.forget_memory()
        found: list[Entry | None] = []
        harness.zone.lookup(digest, found.append)
        pool.run()
        assert found[0] is not None
        self.assertEqual(found[0].body, b"second")

    def test_lookup_waits_for_a_finishing_store(self) -> None:
        """Between finish and disk a look-up waits; it does not miss."""
        pool, writer = QueueExecutor(), QueueExecutor()
        harness = self.harness(pool=pool, writer=writer)
        writer.run()
        digest = harness.store(b"k", LARGE)
        found: list[Entry | None] = []
        harness.zone.lookup(digest, found.append)
        self.assertEqual(found, [])
        for _ in range(4):
            pool.run()
            writer.run()
        assert found[0] is not None
        found[0].release()

    def test_concurrent_lookups_share_one(self) -> None:
        """Look-ups of one digest cost one read, and each gets the entry."""
        pool = QueueExecutor()
        harness = self.harness(pool=pool)
        digest = harness.store(b"k", b"body")
        harness.forget_memory()
        found: list[Entry | None] = []
        for _ in range(3):
            harness.zone.lookup(digest, found.append)
        self.assertEqual(len(pool.queue), 1)
        pool.run()
        self.assertEqual([entry is not None for entry in found], [True] * 3)

    def test_after_close(self) -> None:
        """Whoever comes late is answered at once, and nothing is begun."""
        pool, writer = QueueExecutor(), QueueExecutor()
        harness = self.harness(pool=pool, writer=writer)
        writer.run()
        harness.zone.close()
        found: list[Entry | None] = []
        harness.zone.lookup(digest_of(b"k"), found.append)
        self.assertEqual(found, [None])
        self.assertIsNone(harness.zone.open_writer(digest_of(b"k"), digest_of(b"k"), head_of(b"k")))

    def test_bodies_that_fit(self) -> None:
        """``max_size``, or what memory keeps of one body where that is more."""
        harness = self.harness(max_size=200, memory=0)
        self.assertEqual([harness.zone.fits(size) for size in (-1, 100, 101)], [True, True, False])
        harness = self.harness(max_size=None, memory=8000)
        self.assertTrue(harness.zone.fits(1 << 40))
        harness.zone.disk_queue.down = True
        fits = [harness.zone.fits(size) for size in (-1, 1000, 1001)]
        self.assertEqual(fits, [True, True, False])

    def test_congestion_and_drain(self) -> None:
        """A body faster than the disk makes its source pause, and go on later."""
        pool, writer = QueueExecutor(), QueueExecutor()
        harness = self.harness(pool=pool, writer=writer)
        writer.run()
        store = harness.zone.open_writer(digest_of(b"k"), digest_of(b"k"), head_of(b"k"))
        assert store is not None
        drained: list[bool] = []
        store.on_drain(lambda: drained.append(True))
        while not store.congested:
            store.write(bytes(100_000))
        self.assertEqual(drained, [])
        pool.run()
        self.assertTrue(drained)
        self.assertFalse(store.congested)
        store.abort()


class BoundTests(ZoneCase):
    """What the disk culls, and the rest of the zone."""

    def test_lookup_that_read_an_entry_before_it_was_culled_finds_nothing(self) -> None:
        """Nor does it bring the entry back into memory."""
        pool = QueueExecutor()
        harness = self.harness(pool=pool, inactive=100.0)
        digest = harness.store(b"k", b"body")
        harness.forget_memory()
        found: list[Entry | None] = []
        harness.zone.lookup(digest, found.append)
        disk_queue = harness.zone.disk_queue
        call, answers = disk_queue.call_from_thread, QueueExecutor()
        disk_queue.call_from_thread = lambda work, *data: answers.submit(lambda: work(*data))
        pool.run()
        disk_queue.call_from_thread = call
        disk_queue.write(lambda: disk_queue.disk.cull_inactive(harness.scheduler.wall() + 200.0))
        answers.run()
        pool.run()
        self.assertEqual(found, [None])
        self.assertIsNone(harness.zone.peek(digest))

    def test_store_that_culls_itself_is_not_kept_in_memory(self) -> None:
        """The writing thread culls before the zone hears that it stored."""
        harness = self.harness(min_free=1 << 60)
        digest = harness.store(b"k", b"body")
        self.assertEqual(len(harness.zone.memory), 0)
        self.assertIsNone(harness.look(digest))

    def test_store_without_room_on_disk_is_not_kept_in_memory(self) -> None:
        """Its head is larger than the zone: what one tier refuses the other does not serve."""
        harness = self.harness(max_size=300_000)
        fields = Fields([(b"X", bytes(100_000)), (b"Y", bytes(100_000))])
        digest = harness.store(b"k", b"body", head=head_of(b"k", fields=fields))
        self.assertIsNone(harness.zone.peek(digest))
        self.assertEqual(self.files(), [])

    def test_cull_that_fails_does_not_hold_up_who_waits_for_the_store(self) -> None:
        """What was stored is found; the disk is not used again before it is tried."""
        pool, writer = QueueExecutor(), QueueExecutor()
        harness = self.harness(pool=pool, writer=writer, max_size=1 << 20)
        writer.run()

        def fail(limit: int = 0) -> int:
            raise StorageError("cannot cull")

        self.patch(harness.zone.disk_queue.disk, "cull_excess", fail)
        digest = harness.store(b"k", b"body")
        harness.forget_memory()
        found: list[Entry | None] = []
        harness.zone.lookup(digest, found.append)
        writer.run()
        pool.run()
        self.assertEqual(len(found), 1)
        self.assertIn("cannot cull; serving without its disk", harness.lines[0])

    def test_what_memory_alone_holds_leaves_it_when_the_disk_is_back(self) -> None:
        """Stored while the disk failed, it would count for nothing and never be culled."""
        harness = self.harness()
        kept = harness.store(b"kept", b"on disk")
        harness.zone.disk_queue.failed(StorageError("disk is gone"))
        alone = harness.store(b"alone", b"in memory")
        self.assertIsNotNone(harness.zone.peek(alone))
        harness.advance(6.0)
        self.assertFalse(harness.zone.disk_queue.down)
        self.assertIsNone(harness.zone.peek(alone))
        self.assertIsNotNone(harness.zone.peek(kept))

    def test_what_was_lost_with_the_folder_leaves_memory(self) -> None:
        """The zone starts anew, in every tier."""
        harness = self.harness()
        digest = harness.store(b"k", b"body")
        shutil.rmtree(self.path)
        harness.advance(12.0)
        self.assertFalse(harness.zone.disk_queue.down)
        self.assertIsNone(harness.zone.peek(digest))


class UpdatingTests(ZoneCase):
    """Heads freshened by a 304 (RFC 9111 §4.3.4)."""

    def test_update_replaces_the_head_in_both_tiers(self) -> None:
        """The new head is served at once and after a restart, with the old body."""
        harness = self.harness()
        digest = harness.store(b"k", b"body")
        entry = harness.zone.peek(digest)
        assert entry is not None
        harness.zone.update(digest, replace(entry.stored, lifetime=99.0))
        for _ in range(2):
            found = harness.look(digest)
            assert found is not None
            self.assertEqual((found.stored.lifetime, found.body), (99.0, b"body"))
            harness.restart()
        self.assertEqual(entry.stored.lifetime, 60.0)

    def test_update_of_a_store_not_yet_on_disk(self) -> None:
        """A head replaced between finish and disk is the one that stays."""
        pool, writer = QueueExecutor(), QueueExecutor()
        harness = self.harness(pool=pool, writer=writer)
        writer.run()
        digest = harness.store(b"k", LARGE)
        harness.zone.update(digest, head_of(b"k", lifetime=99.0, body_length=len(LARGE)))
        for _ in range(4):
            pool.run()
            writer.run()
        found: list[Entry | None] = []
        harness.zone.lookup(digest, found.append)
        pool.run()
        assert found[0] is not None
        self.assertEqual(found[0].stored.lifetime, 99.0)
        found[0].release()

    def test_update_for_another_body_is_ignored(self) -> None:
        """A head that a replaced body was freshened with does not get the new body."""
        harness = self.harness()
        digest = harness.store(b"k", b"a longer body")
        harness.zone.update(digest, head_of(b"k", lifetime=99.0, body_length=4))
        harness.forget_memory()
        found = harness.look(digest)
        assert found is not None
        self.assertEqual(found.stored.lifetime, 60.0)


class RemovingTests(ZoneCase):
    """Deletion and purging."""

    def test_variants_are_purged_together(self) -> None:
        """A purge removes every variant of the key, and nothing else."""
        harness = self.harness()
        variants = [harness.store(b"k", b"v" + v, v) for v in (b"", b"gzip", b"de")]
        other = harness.store(b"other", b"o")
        harness.zone.memory.remove(variants[1])
        counts: list[int] = []
        harness.zone.purge(ByKey(digest_of(b"k")), counts.append)
        self.assertEqual(counts, [3])
        self.assertEqual([harness.look(digest) for digest in variants], [None] * 3)
        self.assertEqual(harness.body(other), b"o")
        harness.restart()
        self.assertEqual([harness.look(digest) for digest in variants], [None] * 3)
        self.assertEqual(len(self.files()), 1)

    def test_delete_removes_file_and_entry(self) -> None:
        """Nothing of a deleted entry is left."""
        harness = self.harness()
        digest = harness.store(b"k", b"body")
        harness.zone.delete(digest)
        self.assertIsNone(harness.look(digest))
        self.assertEqual(self.files(), [])

    def test_purge_beats_a_lookup_under_way(self) -> None:
        """A look-up started before a purge does not answer with what was purged."""
        pool, writer = QueueExecutor(), QueueExecutor()
        harness = self.harness(pool=pool, writer=writer)
        writer.run()
        digest = harness.store(b"k", b"body")
        writer.run()
        harness.forget_memory()
        found: list[Entry | None] = []
        harness.zone.lookup(digest, found.append)
        harness.zone.purge(ByKey(digest), lambda count: None)
        pool.run()
        writer.run()
        pool.run()
        self.assertEqual(found, [None])
        self.assertIsNone(harness.zone.peek(digest))

    def test_lookup_after_purge_waits_for_it(self) -> None:
        """A look-up asked for after a purge cannot overtake it on disk."""
        pool, writer = QueueExecutor(), QueueExecutor()
        harness = self.harness(pool=pool, writer=writer)
        writer.run()
        digest = harness.store(b"k", b"body")
        writer.run()
        harness.zone.purge(ByKey(digest), lambda count: None)
        found: list[Entry | None] = []
        harness.zone.lookup(digest, found.append)
        pool.run()
        writer.run()
        self.assertEqual(found, [None])

    def test_purge_voids_a_store_under_way(self) -> None:
        """A response asked for before the purge is not stored after it."""
        pool, writer = QueueExecutor(), QueueExecutor()
        harness = self.harness(pool=pool, writer=writer)
        writer.run()
        digest = digest_of(b"k")
        begun = harness.zone.open_writer(digest, digest, head_of(b"k"))
        assert begun is not None
        begun.write(b"old")
        harness.store(b"k", LARGE)
        harness.zone.purge(ByKey(digest), lambda count: None)
        begun.finish()
        for _ in range(4):
            pool.run()
            writer.run()
        found: list[Entry | None] = []
        harness.zone.lookup(digest, found.append)
        pool.run()
        writer.run()
        self.assertEqual(found, [None])
        self.assertEqual(self.files(), [])


class OrderTests(ZoneCase):
    """A look-up in a disk thread while its digest changes."""

    def test_what_was_read_before_a_store_is_not_kept(self) -> None:
        """The old response must not enter memory after the new one was stored."""
        pool = QueueExecutor()
        harness = self.harness(pool=pool)
        digest = harness.store(b"k", b"old")
        harness.forget_memory()
        found: list[Entry | None] = []
        harness.zone.lookup(digest, found.append)
        disk_queue = harness.zone.disk_queue
        call, answers = disk_queue.call_from_thread, QueueExecutor()
        # The thread has read, its answer has not reached the reactor yet.
        disk_queue.call_from_thread = lambda work, *data: answers.submit(lambda: work(*data))
        pool.run()
        disk_queue.call_from_thread = call
        harness.store(b"k", b"new")
        harness.forget_memory()
        answers.run()
        pool.run()
        for entry in (found[0], harness.zone.peek(digest)):
            assert entry is not None
            self.assertEqual(entry.body, b"new")

    def test_nothing_new_is_stored_while_too_much_waits(self) -> None:
        """Finished stores that wait for a slow disk are bounded."""
        pool, writer = QueueExecutor(), QueueExecutor()
        harness = self.harness(pool=pool, writer=writer)
        writer.run()
        digest = digest_of(b"k")
        count = 0
        while harness.zone.open_writer(digest, digest, head_of(b"k")) is not None:
            harness.store(b"%d" % count, bytes(200_000))
            count += 1
            self.assertLess(count, 1000)
        writer.run()
        self.assertEqual(harness.zone._waiting, 0)
        self.assertIsNotNone(harness.zone.open_writer(digest, digest, head_of(b"k")))
