"""Tests of a failing disk and of damage on it."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import gc
import os
import shutil
import sqlite3
from collections.abc import Sequence
from types import SimpleNamespace

from cacheproxy.errors import StorageError
from cacheproxy.policy.purge import ByKey, Everything
from cacheproxy.proxy.interfaces import Entry
from cacheproxy.storage.disk import queue as queue_module
from cacheproxy.storage.disk.body_file import new_token
from cacheproxy.storage.disk.disk import Store
from cacheproxy.storage.disk.entry import SEAL_SIZE, Header
from cacheproxy.storage.disk.index import PUT_LIMIT, CorruptIndexError, Index
from cacheproxy.storage.disk.purge_steps import DiskPurge, Step
from tests.storage.support import (
    LARGE,
    Harness,
    QueueExecutor,
    ZoneCase,
    digest_of,
    head_of,
    read_all,
)


class OrderTests(ZoneCase):
    """Writes happen in the order in which they were asked for; stores in a row share a commit."""

    def setUp(self) -> None:
        super().setUp()
        self.thread = QueueExecutor()
        self.made = self.harness(writer=self.thread)
        self.thread.run()
        self.disk_queue = self.made.zone.disk_queue
        self.groups: list[list[bytes]] = []
        commit_all = self.disk_queue.disk.commit_all

        def noted(stores: Sequence[Store]) -> list[bool | StorageError]:
            self.groups.append([store.header.stored.key for store in stores])
            return commit_all(stores)

        self.disk_queue.disk.commit_all = noted  # type: ignore[method-assign]

    def test_stores_in_a_row_share_a_transaction(self) -> None:
        """The thread is told once and takes what waits, up to a bound."""
        digests = [self.made.store(b"%d" % number, b"body") for number in range(PUT_LIMIT + 3)]
        self.assertEqual(len(self.thread.queue), 1)
        self.thread.run()
        self.assertEqual([len(group) for group in self.groups], [PUT_LIMIT, 3])
        self.assertEqual(self.disk_queue.disk.index.usage()[0], len(digests))

    def test_large_stores_share_none(self) -> None:
        """Or the zone would outgrow ``max_size`` by a whole group of them."""
        large = bytes(queue_module.GROUP_SIZE // 2 + 1)
        for number in range(5):
            self.made.store(b"%d" % number, b"small" if number == 4 else large)
        self.thread.run()
        self.assertEqual([len(group) for group in self.groups], [2, 2, 1])

    def test_what_comes_between_stays_between(self) -> None:
        """A removal takes the store before it, not the one after."""
        self.made.store(b"a", b"1")
        digest = self.made.store(b"k", b"older")
        self.made.zone.delete(digest)
        self.made.store(b"k", b"newer")
        self.thread.run()
        self.assertEqual(self.groups, [[b"a", b"k"], [b"k"]])
        self.made.restart()
        self.thread.run()
        found: list[Entry | None] = []
        self.made.zone.lookup(digest, found.append)
        self.thread.run()
        assert found[0] is not None
        self.assertEqual(read_all(found[0]), b"newer")

    def test_ordered_look_up_comes_after_what_was_asked_for(self) -> None:
        """While a zone is being purged, a look-up sees what the purge left."""
        digest = self.made.store(b"k", b"body")
        self.thread.run()
        self.made.forget_memory()
        self.made.zone.delete(digest)
        found: list[Entry | None] = []
        self.made.zone.lookup(digest, found.append)
        self.assertEqual(found, [])
        self.thread.run()
        self.assertEqual(found, [None])

    def test_fault_in_one_that_is_told_spares_the_others(self) -> None:
        """The others of the group are told, and the fault is logged."""
        told: list[bool] = []

        def fault(stored: bool) -> None:
            raise ValueError("fault of the program")

        for number, done in enumerate((told.append, fault, told.append)):
            digest = digest_of(b"%d" % number)
            header = Header(head_of(b"%d" % number, body_length=1), new_token(), new_token())
            self.disk_queue.store(
                Store(digest, digest, header, None, b"x", 1_000_000.0, lambda: True), done
            )
        self.thread.run()
        self.assertEqual(told, [True, True])
        self.assertIn("fault of the program", "".join(self.made.lines))


    def test_fault_in_a_write_spares_those_behind_it(self) -> None:
        """What waits is done all the same; the thread's own loop logs the fault."""

        def fault() -> None:
            raise ValueError("fault of the program")

        self.disk_queue.write(fault)
        digest = self.made.store(b"k", b"body")
        self.assertRaises(ValueError, self.thread.run)
        self.thread.run()
        self.assertIsNotNone(self.disk_queue.disk.index.find(digest))


class FailureTests(ZoneCase):
    """A failing disk costs the cache, never the request."""

    def failing(self, descriptor: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    def test_full_disk_serves_from_memory_and_recovers(self) -> None:
        """One line a minute, memory meanwhile, and the disk again when it has room."""
        harness = self.harness()
        disk = harness.zone.disk_queue.disk
        write, disk.write = disk.write, self.failing
        first = harness.store(b"first", b"1")
        self.assertEqual(harness.body(first), b"1")
        for number in range(50):
            harness.store(b"%d" % number, b"x")
            harness.advance(1.0)
        self.assertEqual(len(harness.lines), 1, harness.lines)
        self.assertIn("No space left", harness.lines[0])
        large = harness.store(b"large", LARGE)
        self.assertIsNone(harness.look(large))
        disk.write = write
        harness.advance(6.0)
        self.assertFalse(harness.zone.disk_queue.down)
        again = harness.store(b"again", b"2")
        harness.restart()
        self.assertEqual(harness.body(again), b"2")
        self.assertEqual(os.listdir(os.path.join(self.path, "temp")), [])

    def test_full_disk_in_the_middle_of_a_body(self) -> None:
        """A large body that meets a full disk is dropped; the writer goes on taking it."""
        pool, writer = QueueExecutor(), QueueExecutor()
        harness = self.harness(pool=pool, writer=writer)
        writer.run()
        disk = harness.zone.disk_queue.disk
        store = harness.zone.open_writer(digest_of(b"k"), digest_of(b"k"), head_of(b"k"))
        assert store is not None
        store.write(LARGE)
        pool.run()
        disk.write = self.failing
        store.write(LARGE)
        pool.run()
        store.write(LARGE)
        self.assertFalse(store.congested)
        store.finish()
        pool.run()
        self.assertIsNone(harness.look(digest_of(b"k")))
        self.assertEqual(os.listdir(os.path.join(self.path, "temp")), [])

    def test_what_a_failed_store_was_to_replace_does_not_come_back(self) -> None:
        """The older entry is removed before the disk is used again."""
        harness = self.harness()
        digest = harness.store(b"k", b"old")
        disk = harness.zone.disk_queue.disk
        write, disk.write = disk.write, self.failing
        harness.store(b"k", b"new")
        self.assertEqual(harness.body(digest), b"new")
        disk.write = write
        harness.advance(6.0)
        harness.forget_memory()
        self.assertIsNone(harness.look(digest))

    def test_purge_while_the_disk_fails_is_made_up_for(self) -> None:
        """What was purged is never served, also when the disk could not be reached."""
        harness = self.harness()
        digest = harness.store(b"k", b"body")
        harness.zone.disk_queue.failed(StorageError("cable pulled"))
        harness.zone.purge(ByKey(digest), lambda count: None)
        harness.advance(6.0)
        self.assertFalse(harness.zone.disk_queue.down)
        self.assertIsNone(harness.look(digest))
        self.assertEqual(self.files(), [])

    def test_purge_that_is_pending_is_done_at_the_end(self) -> None:
        """A process that ends before the disk is tried again makes up for it."""
        harness = self.harness()
        digest, other = harness.store(b"k", b"body"), harness.store(b"o", b"other")
        harness.zone.disk_queue.failed(StorageError("cable pulled"))
        harness.zone.purge(ByKey(digest), lambda count: None)
        harness.restart()
        self.assertIsNone(harness.look(digest))
        self.assertEqual(harness.body(other), b"other")

    def test_purge_that_is_pending_when_the_process_is_killed(self) -> None:
        """Nobody knows what it was: the next process starts empty, and says so once."""
        harness = self.harness()
        digest, other = harness.store(b"k", b"body"), harness.store(b"o", b"other")
        harness.zone.disk_queue.failed(StorageError("cable pulled"))
        harness.zone.purge(ByKey(digest), lambda count: None)
        shutil.copytree(self.path, self.path + ".killed")
        after = Harness(self.path + ".killed")
        self.addCleanup(after.zone.close)
        self.assertIsNone(after.look(digest))
        self.assertIsNone(after.look(other))
        self.assertEqual(len(after.lines), 1, after.lines)
        again = after.store(b"again", b"2")
        after.restart()
        self.assertEqual(after.body(again), b"2")
        self.assertEqual(len(after.lines), 1, after.lines)

    def test_purge_that_fails_on_disk_is_marked_before_it_is_answered(self) -> None:
        """The answer to a purge says that it is in force, whatever comes."""
        harness = self.harness()
        disk = harness.zone.disk_queue.disk
        marked: list[bool] = []

        step = disk.purges.step

        def broken(index: Index, purge: DiskPurge) -> Step:
            disk.purges.step = step  # type: ignore[method-assign]
            raise StorageError("cable pulled")

        disk.purges.step = broken  # type: ignore[method-assign]
        mark = os.path.join(self.path, "cacheproxy.owed")
        harness.zone.purge(Everything(), lambda count: marked.append(os.path.exists(mark)))
        self.assertEqual(marked, [True])
        harness.advance(6.0)
        self.assertFalse(harness.zone.disk_queue.down)
        self.assertFalse(os.path.exists(mark))

    def test_purge_is_answered_when_it_is_marked(self) -> None:
        """Also where the disk is known to fail."""
        writer = QueueExecutor()
        harness = self.harness(writer=writer)
        writer.run()
        harness.zone.disk_queue.failed(StorageError("cable pulled"))
        marked: list[bool] = []
        mark = os.path.join(self.path, "cacheproxy.owed")
        harness.zone.purge(Everything(), lambda count: marked.append(os.path.exists(mark)))
        self.assertEqual(marked, [])
        writer.run()
        self.assertEqual(marked, [True])

    def test_disk_that_is_full_of_what_is_stored(self) -> None:
        """Some of it goes, so that the disk can be used again."""
        harness = self.harness()
        digests = [harness.store(b"%d" % number, LARGE) for number in range(3)]
        free, statvfs = [0], os.statvfs

        def full(path: str) -> object:
            gone = 3 - len(self.files())
            return SimpleNamespace(f_bavail=(free[0] + gone * len(LARGE)) // 512, f_frsize=512)

        self.patch(os, "statvfs", full)
        harness.zone.disk_queue.failed(StorageError("No space left on device"))
        harness.advance(6.0)
        self.patch(os, "statvfs", statvfs)
        self.assertFalse(harness.zone.disk_queue.down)
        self.assertEqual(len(self.files()), 2)
        self.assertEqual(sum(harness.body(digest) == LARGE for digest in digests), 2)
        self.assertEqual(len([line for line in harness.lines if "damaged" in line]), 0)

    def test_retries_leave_no_file_open(self) -> None:
        """A disk that is full for hours does not use up the descriptors."""
        harness = self.harness()
        harness.store(b"k", b"body")

        def full(index: Index) -> int:
            raise sqlite3.OperationalError("database or disk is full")

        self.patch(Index, "_next_session", full)

        def held() -> int:
            paths = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
            return sum(os.readlink(p).startswith(self.path) for p in paths if os.path.islink(p))

        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        harness.zone.disk_queue.failed(StorageError("disk is full"))
        harness.advance(12.0)
        before = held()
        harness.advance(100.0)
        self.assertTrue(harness.zone.disk_queue.down)
        self.assertLessEqual(held(), before)

    def test_lost_folder_is_made_again(self) -> None:
        """A folder that is removed under the zone is noticed and replaced."""
        harness = self.harness()
        harness.store(b"k", b"body")
        os.rename(self.path, self.path + ".gone")
        harness.advance(12.0)
        digest = harness.store(b"again", b"2")
        harness.restart()
        self.assertEqual(harness.body(digest), b"2")

    def test_folder_that_cannot_be_made(self) -> None:
        """A zone without its folder still serves from memory."""
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        with open(self.path, "w"):
            pass
        harness = self.harness()
        digest = harness.store(b"k", b"body")
        self.assertEqual(harness.body(digest), b"body")
        self.assertIsNone(harness.look(digest_of(b"other")))
        self.assertEqual(len(harness.lines), 1)
        os.unlink(self.path)
        harness.advance(6.0)
        self.assertFalse(harness.zone.disk_queue.down)

    def test_corrupt_index_is_set_aside(self) -> None:
        """The proxy starts with an empty zone and keeps the evidence."""
        harness = self.harness()
        harness.store(b"k", b"body")
        harness.zone.close()
        with open(os.path.join(self.path, "cache.db"), "wb") as file:
            file.write(b"this is no database" * 1000)
        harness.zone = harness.make()
        self.assertTrue(os.path.exists(os.path.join(self.path, "cache.db.corrupt-1")))
        self.assertEqual(len(harness.lines), 1)
        self.assertIsNone(harness.look(digest_of(b"k")))
        harness.advance(6.0)
        self.assertEqual(self.files(), [])
        digest = harness.store(b"new", b"n")
        harness.restart()
        self.assertEqual(harness.body(digest), b"n")

    def test_index_damaged_in_use_is_replaced(self) -> None:
        """Damage that a statement meets later has the same end as at the start."""
        harness = self.harness()
        harness.store(b"k", b"body")
        harness.zone.disk_queue.failed(CorruptIndexError("database disk image is malformed"))
        harness.advance(6.0)
        self.assertFalse(harness.zone.disk_queue.down)
        self.assertTrue(os.path.exists(os.path.join(self.path, "cache.db.corrupt-1")))
        digest = harness.store(b"new", b"n")
        harness.restart()
        self.assertEqual(harness.body(digest), b"n")

    def test_many_failed_removals_empty_the_zone(self) -> None:
        """What cannot be remembered any more is made up for by forgetting everything."""
        self.patch(queue_module, "PENDING_LIMIT", 2)
        harness = self.harness()
        kept = harness.store(b"kept", b"k")
        removed = [harness.store(b"%d" % number, b"r") for number in range(3)]
        harness.zone.disk_queue.failed(StorageError("cable pulled"))
        for digest in removed:
            harness.zone.delete(digest)
        harness.advance(6.0)
        harness.forget_memory()
        self.assertIsNone(harness.look(kept))
        self.assertEqual(self.files(), [])

    def damage(self, body: bytes, change: bytes | None, at: int) -> None:
        harness = self.harness()
        digest = harness.store(b"k", body)
        harness.restart()
        (path,) = self.files()
        with open(path, "r+b") as file:
            if change is None:
                file.truncate(at)
            else:
                file.seek(at)
                file.write(change)
        self.assertIsNone(harness.look(digest))
        self.assertIsNone(harness.look(digest))
        self.assertEqual(self.files(), [])
        self.assertEqual(len([line for line in harness.lines if "damaged" in line]), 1)

    def test_changed_body_is_a_miss(self) -> None:
        """A small body whose bytes changed is found by its checksum, deleted, logged once."""
        self.damage(b"some body", b"X", 3)

    def test_grown_body_is_a_miss(self) -> None:
        """Bytes after the seal belong to no store of ours."""
        self.damage(b"some body", b"more", 9 + SEAL_SIZE)

    def test_truncated_small_body_is_a_miss(self) -> None:
        """A file shorter than its head says is never served."""
        self.damage(b"some body", None, 5)

    def test_truncated_large_body_is_a_miss(self) -> None:
        """The same for a body that is not read whole."""
        self.damage(LARGE, None, len(LARGE) // 2)

    def test_foreign_large_body_is_a_miss(self) -> None:
        """A file of the right length with another seal belongs to another row."""
        self.damage(LARGE, b"Y" * 8, len(LARGE) + 8)

    def test_missing_file_is_a_miss(self) -> None:
        """A row without a file is removed."""
        harness = self.harness()
        digest = harness.store(b"k", b"body")
        harness.restart()
        os.unlink(self.files()[0])
        self.assertIsNone(harness.look(digest))
        self.assertEqual(harness.zone.disk_queue.disk.index.usage(), (0, 0))
