"""``storage.password_files``: reading, comparing, remembering."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.policy.passwords import Credentials, PasswordVerdict
from cacheproxy.storage import password_files
from cacheproxy.storage.password_files import PasswordFiles

GOOD, BAD = Credentials(b"me", b"secret"), Credentials(b"me", b"wrong")


class Queue:
    """An executor that works when it is told to."""

    def __init__(self) -> None:
        self.works: list[Callable[[], None]] = []

    def submit(self, work: Callable[[], None]) -> None:
        self.works.append(work)

    def run(self) -> None:
        """Do all that waits."""
        works, self.works = self.works, []
        for work in works:
            work()

    def stop(self) -> None:
        """Nothing to end."""


def at_once(function: Callable[..., object], *arguments: Any) -> None:
    """The reactor's thread and the worker's are one."""
    function(*arguments)


class PasswordFilesTests(SynchronousTestCase):
    """``PasswordFiles``."""

    def setUp(self) -> None:
        self.queue = Queue()
        self.passwords = PasswordFiles(self.queue, at_once)
        self.file = Path(self.mktemp())
        self.file.write_text("me:{PLAIN}secret\n")
        self.path = os.fsencode(self.file)
        self.told: list[PasswordVerdict] = []

    def check(self, given: Credentials) -> int:
        """The status that a check comes to."""
        self.passwords.check(self.path, given, self.told.append)
        self.queue.run()
        return self.told[-1].status

    def test_good_password_is_remembered_until_the_file_changes(self) -> None:
        """Then it costs no work; a bad one is never known."""
        self.assertFalse(self.passwords.knows(self.path, GOOD))
        self.assertEqual((self.check(GOOD), self.check(BAD)), (0, 401))
        self.assertTrue(self.passwords.knows(self.path, GOOD))
        self.assertFalse(self.passwords.knows(self.path, BAD))
        self.assertFalse(self.passwords.knows(self.path + b"2", GOOD))
        self.file.write_text("me:{PLAIN}changed\n")
        self.assertFalse(self.passwords.knows(self.path, GOOD))
        self.assertEqual(self.check(GOOD), 401)

    def test_file_that_vanishes_is_forgotten(self) -> None:
        """403, with the reason."""
        self.check(GOOD)
        self.file.unlink()
        self.assertFalse(self.passwords.knows(self.path, GOOD))
        self.assertEqual(self.check(GOOD), 403)
        self.assertIn("No such file", self.told[-1].message)

    def test_file_that_cannot_be_read_is_a_fault(self) -> None:
        """500."""
        self.file.unlink()
        self.file.mkdir()
        self.assertEqual(self.check(GOOD), 500)

    def test_unknown_user(self) -> None:
        """401, and the log says who."""
        self.assertEqual(self.check(Credentials(b"you", b"secret")), 401)
        self.assertIn('user "you" was not found', self.told[-1].message)

    def test_cancelled_check_tells_nobody(self) -> None:
        """The client has left."""
        self.passwords.check(self.path, GOOD, self.told.append).cancel()
        self.queue.run()
        self.assertEqual(self.told, [])

    def test_checks_and_memory_are_bounded(self) -> None:
        """Beyond one bound 503, beyond the other the oldest is forgotten."""
        self.patch(password_files, "MAX_CHECKS", 2)
        self.patch(password_files, "MAX_REMEMBERED", 1)
        for _ in range(3):
            self.passwords.check(self.path, BAD, self.told.append)
        self.assertEqual([verdict.status for verdict in self.told], [503])
        self.queue.run()
        self.file.write_text("me:{PLAIN}secret\nyou:{PLAIN}secret\n")
        self.check(GOOD)
        self.check(Credentials(b"you", b"secret"))
        self.assertFalse(self.passwords.knows(self.path, GOOD))
        self.assertEqual(self.check(GOOD), 0)
