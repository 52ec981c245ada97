"""The storage's classes are what the exchange's interfaces ask for; mypy checks it here."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.proxy.interfaces import FileSystem, OpenFile, Spool, Storage
from cacheproxy.storage.bodies.spool import DiskSpool
from cacheproxy.storage.static_files import Files
from cacheproxy.storage.threads import InlineExecutor
from tests.storage.support import Harness, call_at_once, digest_of


class ConformanceTests(SynchronousTestCase):
    """Each class through the type of its protocol."""

    def test_zone_is_a_storage(self) -> None:
        """The zone answers an unknown digest through the protocol."""
        storage: Storage = Harness(os.path.abspath(self.mktemp())).zone
        found: list[object] = []
        storage.lookup(digest_of(b"k"), found.append)
        self.assertEqual(found, [None])
        self.assertIsNone(storage.peek(digest_of(b"k")))

    def test_files_are_a_file_system(self) -> None:
        """A regular file is an OpenFile."""
        files: FileSystem = Files(executor=InlineExecutor(), call_from_thread=call_at_once)
        file = files.open(os.fsencode(__file__))
        assert not isinstance(file, int)
        opened: OpenFile = file
        self.assertEqual(opened.size, os.path.getsize(__file__))
        opened.close()

    def test_disk_spool_is_a_spool(self) -> None:
        """A spool counts what it was given."""
        spool: Spool = DiskSpool(
            10,
            0,
            self.mktemp(),
            replayable=False,
            executor=InlineExecutor(),
            call_from_thread=call_at_once,
        )
        spool.write(b"abc")
        self.assertEqual(spool.size, 3)
        spool.close()
