"""Tests of the writer alone: what it tells its owner, and what it leaves on disk."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.config.model import CacheZone
from cacheproxy.errors import StorageError
from cacheproxy.storage.bodies.cache_writer import BATCH, WAITING_LIMIT, CacheWriter
from cacheproxy.storage.disk.disk import Disk, Found
from cacheproxy.storage.disk.queue import DiskQueue
from tests.storage.support import (
    QueueExecutor,
    TestScheduler,
    call_at_once,
    digest_of,
    head_of,
)

KEY = b"key"
DIGEST = digest_of(KEY)
PRIMARY = digest_of(b"primary")


def no_space(descriptor: int, data: bytes) -> int:
    """A write to a full disk."""
    raise OSError(28, "No space left on device")


class Owner:
    """A ``WriterOwner`` that keeps what it is told."""

    def __init__(self, disk_queue: DiskQueue) -> None:
        self.disk_queue = disk_queue
        self.told: list[str] = []
        self.body: bytes | None = None

    def writer_finished(self, writer: CacheWriter, body: bytes | None) -> None:
        self.told.append("finished")
        self.body = body

    def writer_committed(self, writer: CacheWriter, stored: bool) -> None:
        self.told.append("stored" if stored else "not stored")

    def writer_closed(self, writer: CacheWriter) -> None:
        self.told.append("closed")


class WriterCase(SynchronousTestCase):
    """A writer on a real folder, whose threads do a step when told to."""

    def setUp(self) -> None:
        self.path = os.path.join(os.path.abspath(self.mktemp()), "cache")
        self.pool, self.thread = QueueExecutor(), QueueExecutor()
        self.lines: list[str] = []
        zone = CacheZone(name="z", path=self.path, levels=(1, 2), use_temp_path=False)
        self.scheduler = TestScheduler()
        self.disk = Disk(zone, self.lines.append, 1 << 24)
        self.disk_queue = DiskQueue(
            self.disk,
            pool=self.pool,
            writer=self.thread,
            call_from_thread=call_at_once,
            scheduler=self.scheduler,
            log=self.lines.append,
        )
        self.disk_queue.open()
        self.thread.run()
        self.addCleanup(self.disk.close)
        self.owner = Owner(self.disk_queue)

    def writer(self, keep: int = -1, limit: int | None = None) -> CacheWriter:
        return CacheWriter(self.owner, (DIGEST, PRIMARY), head_of(KEY), keep, limit)

    def run_all(self) -> None:
        """Let both executors finish."""
        while self.pool.queue or self.thread.queue:
            self.pool.run()
            self.thread.run()

    def stored(self) -> bytes | None:
        """The body on disk; None where there is none, and then no file either."""
        found = self.disk.find(DIGEST, self.scheduler.wall())
        if found is None:
            self.assertFalse(os.path.exists(self.disk.path(DIGEST)))
            return None
        assert isinstance(found, Found), found
        self.assertEqual(found.primary, PRIMARY)
        return found.body

    def temporaries(self) -> list[str]:
        return os.listdir(os.path.join(self.path, "temp"))


class StoringTests(WriterCase):
    """A body that arrives whole."""

    def test_small_body_goes_to_disk_in_one_step(self) -> None:
        """Nothing is asked of the disk before ``finish``; then one piece of work."""
        writer = self.writer(keep=100)
        writer.write(b"some ")
        writer.write(b"body")
        self.assertEqual((len(self.pool.queue), len(self.thread.queue)), (0, 0))
        writer.finish()
        self.assertEqual((self.owner.told, self.owner.body), (["closed", "finished"], b"some body"))
        self.assertEqual((len(self.pool.queue), len(self.thread.queue)), (0, 1))
        self.assertIsNone(self.stored())
        self.run_all()
        self.assertEqual(self.owner.told[2:], ["stored"])
        self.assertEqual(self.stored(), b"some body")
        self.assertEqual(self.temporaries(), [])

    def test_length_is_what_was_written(self) -> None:
        """The head gets the body's length, whatever was announced."""
        writer = CacheWriter(self.owner, (DIGEST, PRIMARY), head_of(KEY, body_length=99), 100, None)
        writer.write(b"four")
        writer.finish()
        self.assertEqual(writer.stored.body_length, 4)

    def test_body_is_kept_up_to_the_size_given(self) -> None:
        """Exactly *keep* bytes are kept, one more is not; none at all where it is negative."""
        for keep, body, kept in (
            (4, b"four", b"four"),
            (4, b"fiveo", None),
            (0, b"", b""),
            (-1, b"", None),
        ):
            self.owner.body = b"unset"
            writer = self.writer(keep=keep)
            writer.write(body)
            writer.finish()
            self.assertEqual(self.owner.body, kept)
            self.run_all()
            self.assertEqual(self.stored(), body)

    def test_large_body_is_streamed(self) -> None:
        """A batch at a time, in order, invisible until the commit."""
        pieces = [bytes([number]) * (BATCH // 2 + number) for number in range(9)]
        writer = self.writer()
        for piece in pieces:
            writer.write(piece)
            self.assertLessEqual(len(self.pool.queue), 1)
        self.pool.run()
        self.assertEqual(len(self.temporaries()), 1)
        self.assertIsNone(self.stored())
        writer.finish()
        self.assertIsNone(self.stored())
        self.run_all()
        self.assertEqual(self.stored(), b"".join(pieces))
        self.assertEqual(self.owner.told, ["closed", "finished", "stored"])
        self.assertEqual(self.temporaries(), [])

    def test_finish_waits_for_the_batch_under_way(self) -> None:
        """The commit is asked for when the thread has written what it has."""
        writer = self.writer()
        writer.write(bytes(BATCH))
        writer.write(b"rest")
        writer.finish()
        self.assertEqual((len(self.pool.queue), len(self.thread.queue)), (1, 0))
        self.pool.run()
        self.assertEqual(len(self.thread.queue), 1)
        self.run_all()
        self.assertEqual(self.stored(), bytes(BATCH) + b"rest")

    def test_nothing_counts_after_finish(self) -> None:
        """Late bytes, a second ``finish`` and an ``abort`` change nothing."""
        writer = self.writer(keep=100)
        writer.write(b"body")
        writer.finish()
        writer.write(b" and more")
        writer.finish()
        writer.abort()
        self.run_all()
        self.assertEqual(self.owner.told, ["closed", "finished", "stored"])
        self.assertEqual(self.stored(), b"body")

    def test_superseded_store_comes_to_nothing(self) -> None:
        """``cancelled`` counts until the writing thread has taken the work."""
        for size in (4, 2 * BATCH):
            writer = self.writer()
            writer.write(bytes(size))
            writer.finish()
            self.pool.run()
            writer.cancelled = True
            self.run_all()
            self.assertEqual(self.owner.told[-1], "not stored")
            self.assertIsNone(self.stored())
            self.assertEqual(self.temporaries(), [])


class CongestionTests(WriterCase):
    """The upstream's pace is the disk's."""

    def test_limit_is_of_what_waits(self) -> None:
        """Exactly the limit is no congestion; what a thread is writing counts."""
        writer = self.writer()
        writer.write(bytes(BATCH))
        writer.write(bytes(WAITING_LIMIT - BATCH))
        self.assertEqual((writer.waiting, writer.congested), (WAITING_LIMIT, False))
        writer.write(b"x")
        self.assertTrue(writer.congested)

    def test_drain_is_told_once_each_time(self) -> None:
        """Only when ``congested`` turns false, and again after the next time."""
        drained: list[bool] = []
        writer = self.writer()
        writer.on_drain(lambda: drained.append(writer.congested))
        writer.write(bytes(BATCH))
        self.pool.run()
        self.assertEqual(drained, [])
        for times in (1, 2):
            writer.write(bytes(BATCH))
            writer.write(bytes(WAITING_LIMIT))
            self.assertTrue(writer.congested)
            self.pool.run()
            self.assertEqual(drained, [False] * times)

    def test_nobody_is_told_after_the_end(self) -> None:
        """``finish`` and ``on_drain(None)`` drop the callback."""
        drained: list[bool] = []
        for end in (lambda writer: writer.finish(), lambda writer: writer.on_drain(None)):
            writer = self.writer()
            writer.on_drain(lambda: drained.append(True))
            writer.write(bytes(BATCH))
            writer.write(bytes(WAITING_LIMIT))
            end(writer)
            self.run_all()
            self.assertFalse(writer.congested)
        self.assertEqual(drained, [])

    def test_failing_disk_drains_too(self) -> None:
        """Who waits for a disk that fails is not left waiting."""
        drained: list[bool] = []
        writer = self.writer()
        writer.on_drain(lambda: drained.append(True))
        writer.write(bytes(BATCH))
        writer.write(bytes(WAITING_LIMIT))
        self.disk.write = no_space
        self.pool.run()
        self.assertEqual(drained, [True])
        self.assertFalse(writer.congested)

    def test_leaving_the_disk_drains_too(self) -> None:
        """A body that meets ``max_size`` while its source waits lets the source go on."""
        drained: list[bool] = []
        writer = self.writer(limit=WAITING_LIMIT + BATCH)
        writer.on_drain(lambda: drained.append(True))
        writer.write(bytes(BATCH))
        writer.write(bytes(WAITING_LIMIT))
        self.assertTrue(writer.congested)
        writer.write(b"x")
        self.assertEqual(drained, [])
        self.pool.run()
        self.assertEqual(drained, [True])


class AbortTests(WriterCase):
    """A body that does not arrive whole."""

    def test_nothing_is_left(self) -> None:
        """Before the first batch, while a thread writes one, and after it."""
        for steps in range(3):
            writer = self.writer()
            writer.write(b"x")
            if steps:
                writer.write(bytes(BATCH))
            if steps == 2:
                self.pool.run()
            writer.abort()
            self.assertTrue(writer.cancelled)
            self.run_all()
            self.assertIsNone(self.stored())
            self.assertEqual(self.temporaries(), [])
        self.assertEqual(self.owner.told, ["closed"] * 3)

    def test_abort_is_final(self) -> None:
        """Neither bytes nor ``finish`` bring it back; the owner is told once."""
        writer = self.writer(keep=100)
        writer.write(b"body")
        writer.abort()
        writer.abort()
        writer.write(b"more")
        writer.finish()
        self.run_all()
        self.assertEqual(self.owner.told, ["closed"])
        self.assertIsNone(self.stored())

    def test_older_entry_stays(self) -> None:
        """A store that is broken off costs nothing of what is stored."""
        old = self.writer(keep=100)
        old.write(b"old")
        old.finish()
        self.run_all()
        new = self.writer()
        new.write(bytes(2 * BATCH))
        self.pool.run()
        new.abort()
        self.run_all()
        self.assertEqual(self.stored(), b"old")


class LimitTests(WriterCase):
    """Bodies larger than the zone (nginx ``max_size``)."""

    def test_body_at_the_limit_is_stored(self) -> None:
        """One byte more is not, and the writer ends by itself."""
        writer = self.writer(limit=4)
        writer.write(b"four")
        writer.finish()
        self.run_all()
        self.assertEqual(self.stored(), b"four")
        self.owner.told.clear()
        writer = self.writer(limit=4)
        writer.write(b"five!")
        self.assertEqual(self.owner.told, ["closed"])
        self.run_all()
        self.assertEqual(self.stored(), b"four")

    def test_memory_may_keep_what_the_disk_may_not(self) -> None:
        """The body is given to the owner, who is told that it is not on disk."""
        writer = self.writer(keep=100, limit=4)
        writer.write(b"five!")
        writer.finish()
        self.run_all()
        self.assertEqual(self.owner.told, ["closed", "finished", "not stored"])
        self.assertEqual(self.owner.body, b"five!")
        self.assertIsNone(self.stored())

    def test_file_belongs_to_the_thread_that_writes(self) -> None:
        """A kept body that ends beyond the limit: its file is removed behind the last batch."""
        writer = self.writer(keep=4 * BATCH, limit=2 * BATCH)
        writer.write(bytes(BATCH))
        self.pool.run()
        writer.write(bytes(BATCH))
        writer.write(b"x")
        writer.finish()
        self.assertEqual(len(self.pool.queue), 1)
        self.run_all()
        self.assertEqual(self.owner.told, ["closed", "finished", "not stored"])
        self.assertEqual(self.temporaries(), [])


class FailureTests(WriterCase):
    """A failing disk."""

    def test_full_disk_before_anything_else(self) -> None:
        """A body that memory does not keep ends; the tier goes down with one line."""
        writer = self.writer()
        self.disk.write = no_space
        writer.write(bytes(BATCH))
        self.pool.run()
        self.assertEqual(self.owner.told, ["closed"])
        self.assertTrue(self.disk_queue.down)
        self.assertEqual(len(self.lines), 1)
        self.assertIn("No space left", self.lines[0])
        writer.write(bytes(BATCH))
        writer.finish()
        self.run_all()
        self.assertEqual(self.temporaries(), [])
        self.assertEqual(self.owner.told, ["closed"])

    def test_full_disk_after_a_batch(self) -> None:
        """What was already written is removed."""
        writer = self.writer()
        writer.write(bytes(BATCH))
        self.pool.run()
        self.assertEqual(len(self.temporaries()), 1)
        self.disk.write = no_space
        writer.write(bytes(BATCH))
        self.run_all()
        self.assertEqual(self.temporaries(), [])
        self.assertIsNone(self.stored())

    def test_kept_body_outlives_the_disk(self) -> None:
        """While it is small enough for memory the writer goes on."""
        writer = self.writer(keep=3 * BATCH)
        self.disk.write = no_space
        writer.write(bytes(BATCH))
        self.run_all()
        self.assertEqual(self.owner.told, [])
        writer.write(b"rest")
        writer.finish()
        self.assertEqual(self.owner.told, ["closed", "finished", "not stored"])
        self.assertEqual(self.owner.body, bytes(BATCH) + b"rest")

    def test_kept_body_that_grows_too_large_ends(self) -> None:
        """With neither disk nor memory there is nothing to go on for."""
        writer = self.writer(keep=BATCH)
        self.disk.write = no_space
        writer.write(bytes(BATCH))
        self.run_all()
        self.assertEqual(self.owner.told, [])
        writer.write(b"x")
        self.assertEqual(self.owner.told, ["closed"])

    def test_full_disk_while_finishing(self) -> None:
        """Met by the batch under way or by the commit: not stored, and no file stays."""
        for batches in (1, 0):
            self.owner.told.clear()
            self.disk_queue.down = False
            writer = self.writer()
            writer.write(bytes(BATCH * batches))
            writer.write(b"rest")
            writer.finish()
            self.disk.write = no_space
            self.run_all()
            self.assertEqual(self.owner.told, ["closed", "finished", "not stored"])
            self.assertTrue(self.disk_queue.down)
            self.assertIsNone(self.stored())
            self.assertEqual(self.temporaries(), [])

    def test_tier_that_is_down_is_not_asked(self) -> None:
        """A writer made meanwhile lives in memory alone."""
        self.disk_queue.failed(StorageError("cable pulled"))
        writer = self.writer(keep=2 * BATCH)
        writer.write(bytes(BATCH))
        self.assertEqual(len(self.pool.queue), 0)
        writer.finish()
        self.assertEqual(self.owner.told, ["closed", "finished", "not stored"])
        self.assertEqual(self.owner.body, bytes(BATCH))

    def test_tier_that_goes_down_in_between(self) -> None:
        """The file that was begun is removed although nothing is asked of the disk."""
        writer = self.writer()
        writer.write(bytes(BATCH))
        self.pool.run()
        self.disk_queue.failed(StorageError("cable pulled"))
        writer.finish()
        self.assertEqual(self.owner.told, ["closed", "finished", "not stored"])
        self.run_all()
        self.assertEqual(self.temporaries(), [])
