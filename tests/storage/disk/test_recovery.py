"""Tests of what needs no room on the disk."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import os
from types import SimpleNamespace

from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.errors import StorageError
from cacheproxy.storage.disk.recovery import ROOM, PendingMark, make_room


class RoomTests(SynchronousTestCase):
    """No more is removed than is needed, and nothing where there is room."""

    def setUp(self) -> None:
        self.folder = os.path.abspath(self.mktemp())
        os.makedirs(self.folder)
        self.bodies = []
        for number in range(4):
            path = os.path.join(self.folder, str(number))
            with open(path, "wb") as file:
                file.write(os.urandom(8192))
            self.bodies.append((b"%d" % number, path))

    def removed(self, free: int) -> list[bytes]:
        status = SimpleNamespace(f_bavail=free // 512, f_frsize=512)
        self.patch(os, "statvfs", lambda path: status)
        return make_room(self.folder, self.bodies)

    def test_room(self) -> None:
        """The pace is that of what is missing."""
        self.assertEqual(self.removed(ROOM), [])
        self.assertEqual(self.removed(ROOM - 8193), [b"0", b"1"])
        self.assertEqual(sorted(os.listdir(self.folder)), ["2", "3"])

    def test_body_that_cannot_be_removed(self) -> None:
        """The disk is no better than it was."""
        os.unlink(self.bodies[0][1])
        self.assertRaises(StorageError, self.removed, 0)


class MarkTests(SynchronousTestCase):
    """Removals that one process left undone are done by the next."""

    def setUp(self) -> None:
        self.folder = os.path.abspath(self.mktemp())
        os.makedirs(self.folder)
        for name in ("cache.db", "cache.db-wal", "other"):
            with open(os.path.join(self.folder, name), "wb"):
                pass

    def test_debts_of_this_process(self) -> None:
        """It knows what is pending, and does it."""
        mark = PendingMark(self.folder)
        self.assertFalse(mark.enforce())
        mark.set()
        self.assertFalse(mark.enforce())
        mark.clear()
        self.assertFalse(PendingMark(self.folder).enforce())

    def test_debts_of_an_earlier_process(self) -> None:
        """The index goes, once."""
        PendingMark(self.folder).set()
        mark = PendingMark(self.folder)
        self.assertTrue(mark.enforce())
        self.assertEqual(os.listdir(self.folder), ["other"])
        self.assertFalse(mark.enforce())

    def test_folder_that_is_gone(self) -> None:
        """What cannot be marked cannot be served either."""
        mark = PendingMark(os.path.join(self.folder, "gone"))
        mark.set()
        mark.clear()
        self.assertFalse(mark.is_set)
