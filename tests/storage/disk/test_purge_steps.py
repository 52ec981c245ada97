"""Tests of purges on disk: steps, what is seen meanwhile, and what survives a kill."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import os
import sqlite3

from cacheproxy.errors import StorageError
from cacheproxy.http.fields import Fields
from cacheproxy.policy.purge import ByHost, ByKey, ByPrefix, ByTags, Everything, Selection
from cacheproxy.proxy.interfaces import Entry
from cacheproxy.storage.disk import purge_steps as removal
from cacheproxy.storage.disk.index import INDEX_NAME
from tests.storage.support import Harness, QueueExecutor, ZoneCase, digest_of, head_of


class PurgeCase(ZoneCase):
    """A zone whose disk work is done when the test says so, one row a step."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(removal, "PURGE_STEP", 1)
        self.writer, self.reactor = QueueExecutor(), QueueExecutor()
        self.zone = self.open()
        self.counts: list[int] = []

    def open(self, **settings: object) -> Harness:
        harness = self.harness(
            writer=self.writer, reactor=self.reactor, memory=0, **settings
        )
        self.settle()
        return harness

    def settle(self) -> None:
        while self.writer.queue or self.reactor.queue:
            self.writer.run()
            self.reactor.run()

    def store(self, key: bytes, tags: bytes = b"t", host: bytes = b"h") -> bytes:
        """Store an entry, on disk; its digest. A little time passes."""
        self.zone.scheduler.clock.advance(0.01)
        head = head_of(
            key,
            fields=Fields([(b"xkey", tags)]),
            host=host,
            lifetime=100.0,
            request_time=self.zone.scheduler.wall(),
            response_time=self.zone.scheduler.wall(),
        )
        digest = self.zone.store(key, key, head=head)
        self.settle()
        return digest

    def purge(self, selection: Selection, soft: bool = False) -> None:
        self.zone.scheduler.clock.advance(0.01)
        self.zone.zone.purge(selection, self.counts.append, soft)

    def step(self, count: int = 1) -> None:
        """Let the disk and the reactor do so many turns."""
        for _ in range(count):
            self.writer.step()
            self.reactor.run()

    def found(self, digest: bytes) -> Entry | None:
        """What a look-up beside the writing thread finds, now."""
        found: list[Entry | None] = []
        self.zone.zone.lookup(digest, found.append)
        while not found:
            self.reactor.step() or self.writer.step()
        if found[0] is not None:
            found[0].release()
        return found[0]

    def crash(self) -> None:
        """What a kill leaves: everything that was committed, and no more."""
        self.writer.queue.clear()
        self.reactor.queue.clear()
        self.zone.zone.maintenance._timer = None
        self.zone = self.open()


class StepTests(PurgeCase):
    """A purge in steps."""

    def test_every_selection_hard_and_soft(self) -> None:
        """What is selected goes or is stale, the count tells how many, the rest stays."""
        for soft in (False, True):
            for selection, taken in (
                (ByKey(digest_of(b"a1")), {b"a1"}),
                (ByPrefix(b"a"), {b"a1", b"a2"}),
                (ByHost(b"i"), {b"b"}),
                (ByTags(frozenset({b"t", b"u"})), {b"a1", b"a2"}),
                (Everything(), {b"a1", b"a2", b"b"}),
            ):
                entries = {
                    b"a1": self.store(b"a1", b"t u"),
                    b"a2": self.store(b"a2", b"u"),
                    b"b": self.store(b"b", b"v", b"i"),
                }
                self.counts.clear()
                self.purge(selection, soft)
                self.settle()
                self.assertEqual(self.counts, [len(taken)], (selection, soft))
                now = self.zone.scheduler.wall()
                for key, digest in entries.items():
                    entry = self.found(digest)
                    if soft:
                        assert entry is not None
                        stale = entry.stored.age(now) >= entry.stored.lifetime
                        self.assertEqual(stale, key in taken, (selection, key))
                    else:
                        self.assertEqual(entry is None, key in taken, (selection, key))

    def test_nothing_of_it_is_seen_between_steps(self) -> None:
        """A look-up beside a purge finds nothing of what the purge has still to come to."""
        digests = [self.store(b"%d" % number) for number in range(4)]
        self.purge(ByTags(frozenset({b"t"})))
        self.step()
        self.assertEqual(len(self.files()), 3)
        self.assertEqual([self.found(digest) for digest in digests], [None] * 4)
        self.settle()
        self.assertEqual((self.counts, self.files()), ([4], []))

    def test_stale_between_steps(self) -> None:
        """The same of a soft purge: what it has still to come to is found stale."""
        digests = [self.store(b"%d" % number) for number in range(4)]
        self.purge(Everything(), soft=True)
        self.step()
        for digest in digests:
            entry = self.found(digest)
            assert entry is not None
            self.assertLess(entry.stored.lifetime, 1.0)
            self.assertGreater(entry.stored.stale_while_revalidate, 90.0)

    def test_stored_after_the_call_stays(self) -> None:
        """What was asked for after a purge is not its matter, though it meets it on disk."""
        old = [self.store(b"%d" % number) for number in range(3)]
        for soft in (False, True):
            self.purge(Everything(), soft)
            self.step()
            self.zone.scheduler.clock.advance(0.01)
            head = head_of(b"2", request_time=self.zone.scheduler.wall(), lifetime=7e7)
            self.zone.store(b"2", b"new", head=head)
            self.settle()
            entry = self.found(old[2])
            assert entry is not None
            self.assertEqual(entry.stored.lifetime, 7e7)

    def test_freshened_after_the_call(self) -> None:
        """A 304 asked for after a soft purge makes fresh; one before a hard one revives nothing."""
        digests = [self.store(b"%d" % number) for number in range(3)]
        asked = self.zone.scheduler.wall()
        self.purge(Everything(), soft=True)
        self.step()
        late = head_of(b"2", request_time=asked, lifetime=7e7, body_length=1)
        self.zone.zone.update(digests[2], late)
        self.settle()
        entry = self.found(digests[2])
        assert entry is not None and entry.stored.lifetime < 1.0
        self.purge(Everything(), soft=True)
        self.step()
        self.zone.scheduler.clock.advance(0.01)
        fresh = head_of(
            b"2", request_time=self.zone.scheduler.wall(), lifetime=7e7, body_length=1
        )
        self.zone.zone.update(digests[2], fresh)
        self.settle()
        entry = self.found(digests[2])
        assert entry is not None
        self.assertEqual(entry.stored.lifetime, 7e7)
        self.purge(Everything())
        self.step()
        self.zone.zone.update(digests[2], fresh)
        self.settle()
        self.assertIsNone(self.found(digests[2]))
        self.assertEqual(self.files(), [])

    def test_finishing_store_is_marked(self) -> None:
        """A store that is whole, but not on disk yet, arrives there stale."""
        head = head_of(b"k", lifetime=100.0, response_time=self.zone.scheduler.wall())
        digest = self.zone.store(b"k", bytes(600_000), head=head)
        self.purge(Everything(), soft=True)
        self.settle()
        entry = self.found(digest)
        assert entry is not None
        self.assertLess(entry.stored.lifetime, 1.0)
        self.assertEqual(self.counts, [1])

    def test_damaged_entry_goes(self) -> None:
        """What cannot be read cannot be told apart: it goes with any purge that meets it."""
        digest = self.store(b"k")
        index = self.zone.zone.disk_queue.disk.index
        index.replace_value(digest, lambda row: (b"garbage", frozenset({b"hh"})), 1)
        self.purge(ByHost(b"h"))
        self.settle()
        self.assertEqual(self.files(), [])

    def test_disk_fails_in_the_middle(self) -> None:
        """The rest is pending: it is done before the disk is used again."""
        digests = [self.store(b"%d" % number) for number in range(4)]
        self.purge(Everything())
        self.step()
        self.zone.zone.disk_queue.failed(StorageError("made to fail"))
        self.settle()
        self.assertEqual(len(self.counts), 1)
        self.zone.scheduler.clock.advance(6.0)
        self.settle()
        self.assertFalse(self.zone.zone.disk_queue.down)
        self.assertEqual([self.found(digest) for digest in digests], [None] * 4)
        self.assertEqual(self.files(), [])


class KillTests(PurgeCase):
    """The process ends in the middle."""

    def test_purge_is_gone_on_with(self) -> None:
        """Nothing of a purge that had begun comes back, hard or soft."""
        for soft in (True, False):
            digests = [self.store(b"%d" % number) for number in range(4)]
            self.purge(ByTags(frozenset({b"t"})), soft)
            self.step()
            self.crash()
            for digest in digests:
                entry = self.found(digest)
                if soft:
                    assert entry is not None
                    self.assertLess(entry.stored.lifetime, 1.0)
                else:
                    self.assertIsNone(entry)
        self.assertEqual(self.files(), [])

    def test_seen_before_it_is_gone_on_with(self) -> None:
        """From the first look-up of the new process."""
        digests = [self.store(b"%d" % number) for number in range(4)]
        self.purge(Everything())
        self.step()
        self.writer.queue.clear()
        self.reactor.queue.clear()
        self.zone = self.harness(writer=self.writer, reactor=self.reactor, memory=0)
        self.writer.step()
        self.assertEqual([self.found(digest) for digest in digests], [None] * 4)

    def test_purge_that_cannot_be_read(self) -> None:
        """Where it cannot be told what was to go, everything does."""
        digest = self.store(b"k", b"other")
        for number in range(3):
            self.store(b"%d" % number)
        self.purge(ByTags(frozenset({b"t"})))
        self.step()
        self.writer.queue.clear()
        connection = sqlite3.connect(os.path.join(self.path, INDEX_NAME))
        connection.execute("UPDATE Purge SET selection = x'ff'")
        connection.commit()
        connection.close()
        self.crash()
        self.assertIsNone(self.found(digest))

    def test_small_purge_is_not_noted(self) -> None:
        """One transaction does it all."""
        self.patch(removal, "PURGE_STEP", 10)
        self.store(b"k")
        self.purge(ByHost(b"h"))
        self.step()
        self.assertEqual(self.counts, [1])
        with self.zone.zone.disk_queue.disk.index.transaction():
            self.assertEqual(self.zone.zone.disk_queue.disk.index.labels.purges(), [])
