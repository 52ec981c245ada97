"""Tests of the writer of ``proxy_store``: a whole file appears, or none."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import errno
import os
import stat

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.storage.bodies import store_writer as file_writer
from cacheproxy.storage.bodies.store_writer import BATCH, WAITING_LIMIT, FileWriter
from tests.storage.support import QueueExecutor, call_at_once

_steps = st.lists(
    st.tuples(st.sampled_from(["write", "write", "large", "work"]), st.integers(0, 3)),
    max_size=20,
)


class FileWriterTests(SynchronousTestCase):
    """``FileWriter``."""

    def setUp(self) -> None:
        self.executor = QueueExecutor()
        self.folder = os.path.abspath(self.mktemp())
        self.temporary = os.path.join(self.folder, "temporary")
        self.problems: list[str] = []

    def writer(
        self, name: str = "data/a/b/file", mode: int = 0o640, mtime: float | None = None
    ) -> FileWriter:
        self.path = os.path.join(self.folder, name)
        return FileWriter(
            os.fsencode(self.path),
            mode,
            mtime,
            self.temporary,
            self.problems.append,
            executor=self.executor,
            call_from_thread=call_at_once,
        )

    def left(self) -> list[str]:
        """Every file below the test's folder."""
        return [name for _, _, names in os.walk(self.folder) for name in names]

    def test_small_body(self) -> None:
        """Mode, time and folders are as asked for; nothing is there before the disk has it."""
        before = os.umask(0o022)
        self.addCleanup(os.umask, before)
        writer = self.writer(mtime=1_700_000_000)
        writer.write(b"one ")
        writer.write(b"two")
        self.executor.run()
        self.assertEqual(self.left(), [])
        writer.finish()
        self.assertEqual(self.left(), [])
        self.executor.run()
        with open(self.path, "rb") as file:
            self.assertEqual(file.read(), b"one two")
        status = os.stat(self.path)
        self.assertEqual(stat.S_IMODE(status.st_mode), 0o640)
        self.assertEqual(status.st_mtime, 1_700_000_000)
        folder = os.stat(os.path.dirname(self.path))
        self.assertEqual(stat.S_IMODE(folder.st_mode), 0o750)
        self.assertEqual(os.listdir(self.temporary), [])

    def test_empty_body(self) -> None:
        """An empty response is an empty file."""
        writer = self.writer()
        writer.finish()
        self.executor.run()
        self.assertEqual(os.path.getsize(self.path), 0)

    def test_replaces(self) -> None:
        """The old file is whole until the new one is."""
        for body in (b"old", b"new" * BATCH):
            writer = self.writer()
            writer.write(body)
            self.executor.run()
            if body != b"old":
                with open(self.path, "rb") as file:
                    self.assertEqual(file.read(), b"old")
            writer.finish()
            self.executor.run()
        self.assertEqual(os.path.getsize(self.path), 3 * BATCH)

    def test_abort(self) -> None:
        """Before, during and after work for the disk: nothing is left, nothing is said."""
        for worked in (0, 1, None):
            writer = self.writer()
            writer.write(bytes(BATCH))
            if worked:
                self.executor.run()
            writer.abort()
            writer.write(b"more")
            writer.finish()
            self.executor.run()
            self.assertEqual(self.left(), [])
        self.assertEqual(self.problems, [])

    def test_congestion(self) -> None:
        """More than the limit waits: the source is to pause until the disk has it."""
        writer = self.writer()
        drained: list[bool] = []
        writer.on_drain(lambda: drained.append(writer.congested))
        writer.write(bytes(WAITING_LIMIT))
        self.assertFalse(writer.congested)
        writer.write(b"x")
        self.assertTrue(writer.congested)
        self.executor.run()
        self.assertEqual(drained, [False])
        writer.finish()
        self.executor.run()
        self.assertEqual(os.path.getsize(self.path), WAITING_LIMIT + 1)

    def test_full_disk(self) -> None:
        """It is told once, nothing is left, and the source goes on."""
        writer = self.writer()
        drained: list[bool] = []
        writer.on_drain(lambda: drained.append(True))
        writer.write(bytes(2 * WAITING_LIMIT))

        def full(*_: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        self.patch(file_writer.os, "write", full)
        self.executor.run()
        self.assertEqual(drained, [True])
        self.assertEqual(len(self.problems), 1)
        self.assertIn("No space left", self.problems[0])
        self.assertIn(self.path, self.problems[0])
        writer.write(bytes(2 * WAITING_LIMIT))
        self.assertFalse(writer.congested)
        writer.finish()
        self.executor.run()
        self.assertEqual((self.left(), len(self.problems)), ([], 1))

    def test_full_at_the_end(self) -> None:
        """The last bytes do not fit."""
        writer = self.writer()
        writer.write(b"a")
        writer.finish()

        def full(*_: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        self.patch(file_writer.os, "write", full)
        self.executor.run()
        self.assertEqual((self.left(), len(self.problems)), ([], 1))

    def test_no_place(self) -> None:
        """Where a folder stands, or below a file: told, and the temporary file removed."""
        os.makedirs(os.path.join(self.folder, "data/folder"))
        for name in ("data/folder", "data/file", "data/file/below"):
            writer = self.writer(name)
            writer.write(b"a")
            writer.finish()
            self.executor.run()
        self.assertEqual(len(self.problems), 2)
        self.assertEqual(self.left(), ["file"])

    def test_other_file_system(self) -> None:
        """Copied beside the place, then renamed."""
        real = os.replace

        def replace(source: bytes, target: bytes) -> None:
            if os.path.dirname(source) == os.fsencode(self.temporary):
                raise OSError(errno.EXDEV, "Invalid cross-device link")
            real(source, target)

        self.patch(file_writer.os, "replace", replace)
        writer = self.writer(mtime=1_700_000_000)
        writer.write(bytes(BATCH + 1))
        writer.finish()
        self.executor.run()
        self.assertEqual(self.problems, [])
        self.assertEqual(self.left(), ["file"])
        status = os.stat(self.path)
        self.assertEqual(status.st_size, BATCH + 1)
        self.assertEqual(status.st_mtime, 1_700_000_000)
        self.assertEqual(stat.S_IMODE(status.st_mode), 0o640)

    @settings(deadline=None)
    @given(_steps, st.booleans())
    def test_any_order(self, steps: list[tuple[str, int]], whole: bool) -> None:
        """Whatever waits when: the file is what was written, or there is none."""
        writer = self.writer("data/file")
        written = b""
        for step, number in steps:
            if step == "work":
                self.executor.run()
            else:
                data = bytes([number]) * (BATCH if step == "large" else 10)
                writer.write(data)
                written += data
        (writer.finish if whole else writer.abort)()
        self.executor.run()
        if whole:
            with open(self.path, "rb") as file:
                self.assertEqual(file.read(), written)
            os.unlink(self.path)
        self.assertEqual(self.left(), [])
