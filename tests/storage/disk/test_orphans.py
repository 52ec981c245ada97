"""Tests of what a killed process may have left in a zone's folder."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import os
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.errors import StorageError
from cacheproxy.storage.disk.orphans import (
    TEMPORARY_PREFIX,
    body_files,
    remove_stale_temporaries,
)
from tests.storage.support import digest_of


class OrphanCase(SynchronousTestCase):
    """An empty folder."""

    def setUp(self) -> None:
        self.path = os.path.abspath(self.mktemp())
        os.makedirs(self.path)

    def file(self, *names: str) -> str:
        """An empty file at *names* below the folder."""
        path = os.path.join(self.path, *names)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        open(path, "wb").close()
        return path


class BodyFilesTests(OrphanCase):
    """Which files are bodies."""

    def test_bodies_at_their_depth_and_nothing_else(self) -> None:
        """Other names, other depths and the folder of temporary files are left out."""
        a, b = digest_of(b"a"), digest_of(b"b")
        for names in (
            ("1", "23", a.hex()),
            ("f", "00", b.hex()),
            ("1", digest_of(b"too high").hex()),
            ("1", "23", "note"),
            ("1", "23", "G" * 32),
            ("temp", "23", digest_of(b"elsewhere").hex()),
            ("cache.db",),
        ):
            self.file(*names)
        self.assertEqual(list(body_files(self.path, 2)), [a, b])

    def test_without_levels(self) -> None:
        """They lie in the folder itself."""
        self.file(digest_of(b"a").hex())
        self.assertEqual(list(body_files(self.path, 0)), [digest_of(b"a")])

    def test_folder_that_cannot_be_listed(self) -> None:
        """The zone's own is an error."""
        self.assertRaises(StorageError, list, body_files(self.path + "/missing", 1))


class TemporariesTests(OrphanCase):
    """Whose temporary files go."""

    def ended_process(self) -> int:
        """The number of a process that is no more."""
        process = subprocess.Popen([sys.executable, "-c", ""])
        process.wait()
        return process.pid

    def test_files_of_ended_processes_go(self) -> None:
        """Those of this process and of strangers stay."""
        own = self.file(f"{TEMPORARY_PREFIX}-{os.getpid()}-abc")
        other = self.file("somebody-1-abc")
        stale = self.file(f"{TEMPORARY_PREFIX}-{self.ended_process()}-abc")
        remove_stale_temporaries(self.path)
        found = [os.path.exists(path) for path in (own, other, stale)]
        self.assertEqual(found, [True, True, False])

    def test_file_from_before_this_process_goes(self) -> None:
        """Its number was another one's then."""
        path = self.file(f"{TEMPORARY_PREFIX}-{os.getpid()}-abc")
        os.utime(path, (1.0, 1.0))
        remove_stale_temporaries(self.path)
        self.assertFalse(os.path.exists(path))

    def test_folder_that_cannot_be_listed(self) -> None:
        """It is the disk's failure."""
        self.assertRaises(StorageError, remove_stale_temporaries, self.path + "/missing")
