"""Tests of a zone's look-ups, with a backing that answers when it is told to."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.proxy.interfaces import Entry
from cacheproxy.storage.disk.disk import Found
from cacheproxy.storage.disk.entry import Header
from cacheproxy.storage.lookups import LOOKUP_TRIES, Lookups
from cacheproxy.storage.memory.memory import FileEntry, Memory
from tests.storage.support import QueueExecutor, call_at_once, descriptors, digest_of, head_of

DIGEST = digest_of(b"k")


class FakeBacking:
    """A ``Backing`` that is not the disk: look-ups depend on nothing else."""

    def __init__(self) -> None:
        self.asked: list[tuple[bytes, bool, Callable[[Found | None], None]]] = []
        self.absent: set[bytes] = set()
        self.uses: list[bytes] = []

    def is_absent(self, digest: bytes) -> bool:
        return digest in self.absent

    def find(self, digest: bytes, ordered: bool, done: Callable[[Found | None], None]) -> None:
        self.asked.append((digest, ordered, done))

    def opened(self, digest: bytes, found: Found) -> FileEntry:
        header = found.header
        return FileEntry(
            digest, header.stored, header.edition, found.descriptor, QueueExecutor(), call_at_once
        )

    def used(self, digest: bytes) -> None:
        self.uses.append(digest)

    def wall(self) -> float:
        return 1000.0


class LookupsTests(SynchronousTestCase):
    """Who is answered with what, and when."""

    def setUp(self) -> None:
        self.backing = FakeBacking()
        self.memory = Memory(1 << 20)
        self.storing: dict[bytes, None] = {}
        self.lines: list[str] = []
        self.lookups = Lookups(
            self.memory, self.backing, self.storing.keys(), self.lines.append
        )
        self.answers: list[Entry | None] = []

    def look(self) -> None:
        self.lookups.lookup(DIGEST, self.answers.append)

    def found(self, body: bytes | None = b"body", descriptor: int = -1) -> Found:
        head = head_of(b"k", body_length=4)
        return Found(DIGEST, Header(head, b"t" * 8, b"e" * 8), body, descriptor)

    def answer(self, found: Found | None) -> None:
        """The backing answers what it was asked first."""
        self.backing.asked.pop(0)[2](found)

    def opened(self) -> Found:
        return self.found(None, os.open(os.devnull, os.O_RDONLY))

    def test_body_that_was_found_is_kept_in_memory(self) -> None:
        """And its use is noted."""
        self.look()
        self.answer(self.found())
        self.assertIs(self.answers[0], self.memory.get(DIGEST))
        self.assertEqual(self.backing.uses, [DIGEST])

    def test_file_that_was_found_is_held_by_everyone_who_asked(self) -> None:
        """It is closed when the last one releases it."""
        before = descriptors()
        self.look()
        self.look()
        self.answer(self.opened())
        for entry in self.answers:
            self.assertNotEqual(descriptors(), before)
            assert entry is not None
            entry.release()
        self.assertEqual(descriptors(), before)
        self.assertEqual(len(self.memory), 0)

    def test_absent_entry_is_answered_at_once(self) -> None:
        """The backing is not asked."""
        self.backing.absent.add(DIGEST)
        self.look()
        self.assertEqual((self.answers, self.backing.asked), ([None], []))

    def test_change_while_looking_has_the_look_up_done_again(self) -> None:
        """What was found is closed; no more often than so many times."""
        before = descriptors()
        self.look()
        for _ in range(LOOKUP_TRIES):
            self.assertEqual(self.answers, [])
            self.lookups.changed(DIGEST)
            self.answer(self.opened())
        self.assertEqual((self.answers, descriptors()), ([None], before))

    def test_look_up_after_a_change_does_not_join_one_from_before(self) -> None:
        """It asks anew."""
        self.look()
        self.lookups.all_changed()
        self.look()
        self.assertEqual(len(self.backing.asked), 2)

    def test_store_under_way_is_waited_for(self) -> None:
        """Looked up when it is over, answered with nothing where it was cancelled."""
        self.storing[DIGEST] = None
        self.look()
        self.assertEqual((self.answers, self.backing.asked), ([], []))
        self.storing.clear()
        self.lookups.stored(DIGEST)
        self.answer(self.found())
        self.assertIsNotNone(self.answers[0])
        self.storing[DIGEST] = None
        self.look()
        self.lookups.cancelled(DIGEST)
        self.assertIsNone(self.answers[1])

    def test_look_up_queues_behind_removals_and_purges(self) -> None:
        """As long as one of them has not been done."""
        lookups = self.lookups
        for begin, end in (
            (partial(lookups.removal_begins, DIGEST), partial(lookups.removal_ends, DIGEST)),
            (lookups.purge_asked, lookups.purge_begun),
        ):
            begin()
            begin()
            for _ in range(2):
                self.look()
                self.assertTrue(self.backing.asked[-1][1])
                self.answer(None)
                end()
            self.look()
            self.assertFalse(self.backing.asked[-1][1])
            self.answer(None)

    def test_fault_of_one_waiter_reaches_the_log_and_no_other_waiter(self) -> None:
        """Each is answered."""

        def fail(entry: Entry | None) -> None:
            raise RuntimeError("broken waiter")

        self.lookups.lookup(DIGEST, fail)
        self.look()
        self.answer(None)
        self.assertEqual(self.answers, [None])
        self.assertIn("broken waiter", self.lines[0])

    def test_closed(self) -> None:
        """Nothing is asked any more."""
        self.lookups.close()
        self.look()
        self.assertEqual((self.answers, self.backing.asked), ([None], []))
