"""Tests of the spool: bytes out are bytes in, whatever the order of events."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import os
import shutil
import tempfile

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.storage.bodies.spool import DiskSpool
from tests.storage.support import QueueExecutor, RecordingSink, call_at_once

_steps = st.lists(
    st.sampled_from(["write", "write", "write", "work", "pause", "resume", "read", "close"]),
    max_size=60,
)


class SpoolTests(SynchronousTestCase):
    """``DiskSpool``."""

    def setUp(self) -> None:
        self.executor = QueueExecutor()
        self.folder = os.path.abspath(self.mktemp())

    def spool(
        self, memory: int = 1000, file_limit: int = 1 << 20, replayable: bool = False
    ) -> DiskSpool:
        spool = DiskSpool(
            memory,
            file_limit,
            self.folder,
            replayable=replayable,
            executor=self.executor,
            call_from_thread=call_at_once,
        )
        self.addCleanup(self.executor.run)
        self.addCleanup(spool.close)
        return spool

    def test_reader_waits_for_the_end(self) -> None:
        """A reader that has everything so far waits; end() lets it finish."""
        spool = self.spool()
        sink = RecordingSink()
        spool.read(sink)
        spool.write(b"one")
        self.assertEqual((sink.body, sink.ended), (b"one", False))
        spool.end()
        self.assertTrue(sink.ended)

    def test_body_beyond_memory_goes_to_a_file(self) -> None:
        """Above the memory limit bytes go to a file that has no name."""
        spool = self.spool()
        data = os.urandom(500_000)
        spool.write(data)
        self.executor.run()
        self.assertEqual(os.listdir(self.folder), [])
        self.assertEqual(len(spool._held), 0)
        spool.end()
        sink = RecordingSink()
        spool.read(sink)
        self.executor.run()
        self.assertEqual(sink.body, data)
        self.assertTrue(sink.ended)
        self.assertLessEqual(max(map(len, sink.data)), 64 * 1024)

    def test_no_file_allowed_means_congestion_at_the_memory_limit(self) -> None:
        """proxy_max_temp_file_size 0: the origin is paused instead."""
        spool = self.spool(file_limit=0)
        drained: list[bool] = []
        spool.on_drain(lambda: drained.append(True))
        spool.write(bytes(1000))
        self.assertFalse(spool.congested)
        spool.write(b"x")
        self.assertTrue(spool.congested)
        self.assertFalse(self.executor.queue)
        spool.read(RecordingSink())
        self.assertFalse(spool.congested)
        self.assertEqual(drained, [True])

    def test_file_limit_congests(self) -> None:
        """No more than proxy_max_temp_file_size goes to the file; reading frees it again."""
        spool = self.spool(file_limit=10_000)
        data = os.urandom(30_000)
        spool.write(data)
        self.executor.run()
        self.assertTrue(spool.congested)
        sink = RecordingSink()
        spool.read(sink)
        self.executor.run()
        self.assertFalse(spool.congested)
        self.assertEqual(sink.body, data)

    def test_replay_from_the_start(self) -> None:
        """A request body that may be sent again is read from its first byte each time."""
        spool = self.spool(replayable=True)
        data = os.urandom(300_000)
        spool.write(data[:200_000])
        first = RecordingSink()
        reader = spool.read(first)
        self.executor.step()
        reader.close()
        spool.write(data[200_000:])
        spool.end()
        for _ in range(2):
            sink = RecordingSink()
            spool.read(sink)
            self.executor.run()
            self.assertEqual(sink.body, data)
            self.assertTrue(sink.ended)

    def test_failing_disk_is_told_to_the_reader(self) -> None:
        """A body that could not be kept is an error, not a shorter body."""
        with open(self.folder, "w"):
            pass
        spool = self.spool()
        spool.write(bytes(100_000))
        self.executor.run()
        self.assertFalse(spool.congested)
        sink = RecordingSink()
        spool.read(sink)
        self.assertIsNotNone(sink.error)

    def test_closed_while_the_disk_works(self) -> None:
        """Closing during a write frees the file and delivers nothing."""
        spool = self.spool()
        sink = RecordingSink()
        reader = spool.read(sink)
        reader.pause()
        spool.write(bytes(100_000))
        spool.close()
        self.executor.run()
        self.assertEqual((sink.data, spool._descriptor), ([], -1))

    @settings(max_examples=150, deadline=None)
    @given(
        steps=_steps,
        sizes=st.lists(st.sampled_from([1, 90, 700, 70_000]), min_size=1, max_size=8),
        replayable=st.booleans(),
        file_limit=st.sampled_from([0, 2000, 1 << 20]),
    )
    def test_bytes_out_are_bytes_in(
        self, steps: list[str], sizes: list[int], replayable: bool, file_limit: int
    ) -> None:
        """Any interleaving of writing, disk work, pausing and reading anew loses nothing."""
        executor, folder = QueueExecutor(), tempfile.mkdtemp()
        spool = DiskSpool(
            500,
            file_limit,
            folder,
            replayable=replayable,
            executor=executor,
            call_from_thread=call_at_once,
        )
        written = bytearray()
        taken = b""
        sink = RecordingSink()
        reader = spool.read(sink)
        for number, step in enumerate(steps):
            if step == "write":
                data = bytes([number % 251]) * sizes[number % len(sizes)]
                written += data
                spool.write(data)
            elif step == "work":
                executor.step()
            elif step == "pause":
                reader.pause()
            elif step == "resume":
                reader.resume()
            else:
                if step == "close":
                    reader.close()
                    executor.step()
                if not replayable:
                    taken += sink.body
                # A reader that is replaced hears nothing more.
                sink = RecordingSink()
                reader = spool.read(sink)
        spool.end()
        reader.resume()
        executor.run()
        self.assertTrue(sink.ended)
        self.assertEqual(taken + sink.body, bytes(written))
        spool.close()
        executor.run()
        shutil.rmtree(folder)
