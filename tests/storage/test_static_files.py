"""Tests of static files."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import os
import socket
import time

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.storage.static_files import Files, LargeFile, SmallFile
from tests.storage.support import QueueExecutor, RecordingSink, call_at_once


class FilesTests(SynchronousTestCase):
    """``Files``."""

    def setUp(self) -> None:
        self.folder = os.fsencode(os.path.abspath(self.mktemp()))
        os.mkdir(self.folder)
        self.executor = QueueExecutor()
        self.files = self.make()

    def make(self, **settings: int) -> Files:
        return Files(executor=self.executor, call_from_thread=call_at_once, **settings)

    def write(self, name: bytes, content: bytes, age: float = 60.0) -> bytes:
        """A file whose change time lies in the past as far as the cache is concerned."""
        path = os.path.join(self.folder, name)
        with open(path, "wb") as file:
            file.write(content)
        os.utime(path, (time.time() - age, time.time() - age))
        return path

    def settle(self) -> None:
        """Files count as long unchanged from now on."""
        later = time.time() + 10
        self.patch(time, "time", lambda: later)

    def test_small_file_is_kept_with_its_hot_part(self) -> None:
        """The second request gets the same object: what is ready to send stays with it."""
        path = self.write(b"a.txt", b"content")
        self.settle()
        first = self.files.open(path)
        assert isinstance(first, SmallFile)
        first.hot = "ready"
        second = self.files.open(path)
        self.assertIs(first, second)
        self.assertEqual((first.content, first.size), (b"content", 7))
        sink = RecordingSink()
        first.read(sink, 2, 5)
        self.assertEqual((sink.body, sink.ended), (b"nte", True))

    def test_change_is_seen_at_once(self) -> None:
        """A file that was replaced, or changed in place with its times set back, is read anew."""
        path = self.write(b"a.txt", b"content")
        self.settle()
        first = self.files.open(path)
        assert isinstance(first, SmallFile)
        status = os.stat(path)
        with open(path, "r+b") as file:
            file.write(b"CONTENT")
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        second = self.files.open(path)
        assert isinstance(second, SmallFile)
        self.assertEqual(second.content, b"CONTENT")
        os.unlink(path)
        self.assertEqual(self.files.open(path), 404)
        self.assertEqual(self.files._size, 0)

    def test_file_changed_just_now_is_not_kept(self) -> None:
        """Two changes within the file system's clock tick would look the same."""
        path = self.write(b"a.txt", b"content")
        self.assertIsNot(self.files.open(path), self.files.open(path))

    def test_large_file_is_read_in_the_thread(self) -> None:
        """Pieces come from the disk threads; pausing stops them."""
        content = os.urandom(900_000)
        path = self.write(b"big", content)
        file = self.files.open(path)
        assert isinstance(file, LargeFile)
        self.assertIsNone(file.content)
        sink = RecordingSink()
        reader = file.read(sink, 10, 900_000)
        file.close()
        self.executor.step()
        reader.pause()
        self.executor.run()
        got = len(sink.body)
        self.assertLess(got, 800_000)
        reader.resume()
        self.executor.run()
        self.assertEqual(sink.body, content[10:])
        self.assertTrue(sink.ended)

    def test_large_file_that_shrinks_is_an_error(self) -> None:
        """The client can then tell that the response was cut short."""
        path = self.write(b"big", bytes(600_000))
        file = self.files.open(path)
        assert isinstance(file, LargeFile)
        sink = RecordingSink()
        file.read(sink, 0, 600_000)
        os.truncate(path, 300_000)
        self.executor.run()
        self.assertIsNotNone(sink.error)
        file.close()

    def test_closed_reader_delivers_nothing(self) -> None:
        """A reader closed while a thread reads keeps the file open until then."""
        path = self.write(b"big", bytes(600_000))
        file = self.files.open(path)
        assert isinstance(file, LargeFile)
        sink = RecordingSink()
        reader = file.read(sink, 0, 600_000)
        reader.close()
        reader.close()
        file.close()
        self.executor.run()
        self.assertEqual((sink.data, sink.ended), ([], False))

    def test_statuses(self) -> None:
        """ngx_http_static_module: missing 404, folder 301, no regular file 404, loop 500."""
        self.write(b"file", b"")
        os.mkfifo(os.path.join(self.folder, b"fifo"))
        os.symlink(b"loop", os.path.join(self.folder, b"loop"))
        listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(listener.close)
        here = os.getcwd()
        os.chdir(self.folder)
        try:
            listener.bind("socket")
        finally:
            os.chdir(here)
        for name, status in {
            b"missing": 404,
            b"file/below": 404,
            b"x" * 300: 404,
            b"nul\0": 404,
            b"": 301,
            b"fifo": 404,
            b"socket": 404,
            b"loop": 500,
        }.items():
            self.assertEqual(self.files.open(os.path.join(self.folder, name)), status, name)
        self.assertEqual(self.files.open(b"/dev/zero"), 404)

    def test_unreadable_is_forbidden(self) -> None:
        """EACCES is 403; root may read everything, so that the error is made here."""
        path = self.write(b"secret", b"x")

        def refuse(*arguments: object, **options: object) -> int:
            raise PermissionError(13, "Permission denied")

        self.patch(os, "open", refuse)
        self.assertEqual(self.files.open(path), 403)

    def test_links_are_followed(self) -> None:
        """nginx follows symbolic links by default."""
        self.write(b"target", b"content")
        link = os.path.join(self.folder, b"link")
        os.symlink(b"target", link)
        file = self.files.open(link)
        assert isinstance(file, SmallFile)
        self.assertEqual(file.content, b"content")

    def test_kept_content_is_bounded(self) -> None:
        """The oldest unused content goes first; a used file has a second chance."""
        files = self.make(cache_size=20_000)
        self.settle()
        used = self.write(b"used", bytes(3000))
        kept = files.open(used)
        for number in range(20):
            files.open(self.write(b"%d" % number, bytes(3000)))
            self.assertIs(files.open(used), kept)
            self.assertLessEqual(files._size, 20_000)

    def test_kind_questions(self) -> None:
        """is_file and is_directory never raise."""
        path = self.write(b"a", b"")
        self.assertEqual(
            [self.files.is_file(p) for p in (path, self.folder, b"/nowhere", b"/\0")],
            [True, False, False, False],
        )
        self.assertEqual(
            [self.files.is_directory(p) for p in (path, self.folder, b"/nowhere", b"/\0")],
            [False, True, False, False],
        )

    @given(st.binary(max_size=300))
    def test_any_path_gets_an_answer(self, name: bytes) -> None:
        """No path makes it raise."""
        file = self.files.open(b"/nowhere/" + name)
        self.assertIn(file, (404, 301, 403, 500))
