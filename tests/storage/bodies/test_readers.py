"""Tests of the reading ends: the right bytes, once, whatever is asked in between."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.errors import StorageError
from cacheproxy.storage.bodies import readers
from cacheproxy.storage.bodies.readers import (
    FileHandle,
    FileRead,
    FileReader,
    SourceReader,
    read_bytes,
)
from cacheproxy.storage.threads import InlineExecutor
from tests.storage.support import QueueExecutor, RecordingSink, call_at_once

BODY = bytes(range(256))


def is_open(descriptor: int) -> bool:
    """Whether *descriptor* is an open file."""
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


class ReactingSink(RecordingSink):
    """Calls back out of ``on_body`` and ``on_body_end``."""

    def __init__(self, react: Callable[[], None]) -> None:
        super().__init__()
        self.react = react

    def on_body(self, data: bytes) -> None:
        super().on_body(data)
        self.react()

    def on_body_end(self) -> None:
        super().on_body_end()
        self.react()


class BytesTests(SynchronousTestCase):
    """``read_bytes``."""

    def test_ranges(self) -> None:
        """Bytes [start, stop) in one piece, then the end; the whole body is not copied."""
        for start, stop in ((0, 256), (0, 1), (255, 256), (10, 20)):
            sink = RecordingSink()
            read_bytes(BODY, sink, start, stop)
            self.assertEqual((sink.data, sink.ended), ([BODY[start:stop]], True))
        sink = RecordingSink()
        read_bytes(BODY, sink, 0, 256)
        self.assertIs(sink.data[0], BODY)

    def test_empty_range_delivers_only_the_end(self) -> None:
        """A sink is never given an empty piece."""
        for body, at in ((b"", 0), (BODY, 7)):
            sink = RecordingSink()
            reader = read_bytes(body, sink, at, at)
            self.assertEqual((sink.data, sink.ended), ([], True))
            reader.pause()
            reader.resume()
            reader.close()


class FileCase(SynchronousTestCase):
    """A file of ``BODY``, read sixteen bytes at a time."""

    def setUp(self) -> None:
        self.patch(readers, "CHUNK", 16)
        self.executor = QueueExecutor()
        self.path = self.mktemp()
        with open(self.path, "wb") as file:
            file.write(BODY)
        self.handle = FileHandle(os.open(self.path, os.O_RDONLY))
        self.descriptor = self.handle.descriptor

    def tearDown(self) -> None:
        if self.handle.descriptor >= 0:
            os.close(self.handle.descriptor)

    def read(self, sink: RecordingSink, start: int = 0, stop: int = 256) -> FileReader:
        return FileReader(self.handle, (start, stop), sink, self.executor, call_at_once)


class FileHandleTests(FileCase):
    """The count of holders."""

    def test_last_holder_closes(self) -> None:
        """Neither earlier, nor another's descriptor later."""
        self.handle.hold()
        self.handle.drop()
        self.assertTrue(is_open(self.descriptor))
        self.handle.drop()
        self.assertFalse(is_open(self.descriptor))
        self.assertEqual(self.handle.descriptor, -1)

    def test_reader_outlives_who_opened(self) -> None:
        """An entry that is let go stays readable for the reader that it made."""
        sink = RecordingSink()
        self.read(sink)
        self.handle.drop()
        self.executor.run()
        self.assertEqual((sink.body, sink.ended), (BODY, True))
        self.assertFalse(is_open(self.descriptor))


class FileReaderTests(FileCase):
    """``FileReader``."""

    def test_ranges(self) -> None:
        """Chunks end where the range does, aligned or not."""
        for start, stop in ((0, 256), (0, 16), (5, 21), (15, 17), (255, 256), (100, 100)):
            sink = RecordingSink()
            self.read(sink, start, stop)
            self.executor.run()
            self.assertEqual((sink.body, sink.ended), (BODY[start:stop], True))
            self.assertTrue(all(0 < len(piece) <= 16 for piece in sink.data))

    def test_empty_range_reads_nothing(self) -> None:
        """The end comes at once, without a thread."""
        sink = RecordingSink()
        self.read(sink, 9, 9)
        self.assertEqual(len(self.executor.queue), 0)
        self.assertTrue(sink.ended)

    def test_one_chunk_at_a_time(self) -> None:
        """Never more than one read is under way, and one chunk is held."""
        sink = RecordingSink()
        reader = self.read(sink)
        reader.pause()
        reader.resume()
        reader.resume()
        self.assertEqual(len(self.executor.queue), 1)
        self.executor.step()
        self.assertEqual((sink.body, len(self.executor.queue)), (BODY[:16], 1))
        reader.pause()
        self.executor.run()
        self.assertEqual((sink.body, sink.ended), (BODY[:16], False))
        reader.resume()
        self.assertEqual(sink.body, BODY[:32])
        self.executor.run()
        self.assertEqual((sink.body, sink.ended), (BODY, True))

    def test_end_waits_while_paused(self) -> None:
        """Neither a chunk nor the end comes before ``resume``, or after another ``pause``."""
        sink = ReactingSink(lambda: reader.pause())
        reader = self.read(sink, 0, 32)
        reader.pause()
        self.executor.run()
        self.assertEqual((sink.body, sink.ended), (b"", False))
        reader.resume()
        self.executor.run()
        self.assertEqual((sink.body, sink.ended), (BODY[:16], False))
        reader.resume()
        self.assertEqual((sink.body, sink.ended), (BODY[:32], False))
        reader.resume()
        self.assertTrue(sink.ended)

    def test_close_while_a_thread_reads(self) -> None:
        """Nothing is delivered; the file is closed only when the thread has done with it."""
        sink = RecordingSink()
        reader = self.read(sink)
        self.handle.drop()
        reader.close()
        reader.close()
        self.assertTrue(is_open(self.descriptor))
        self.executor.run()
        self.assertEqual((sink.data, sink.ended, sink.error), ([], False, None))
        self.assertFalse(is_open(self.descriptor))

    def test_close_while_paused(self) -> None:
        """With no read under way the file is let go at once, and ``resume`` does nothing."""
        sink = RecordingSink()
        reader = self.read(sink)
        self.handle.drop()
        reader.pause()
        self.executor.run()
        reader.close()
        self.assertFalse(is_open(self.descriptor))
        reader.resume()
        self.assertEqual(len(self.executor.queue), 0)
        self.assertEqual((sink.body, sink.ended), (b"", False))

    def test_close_from_the_sink(self) -> None:
        """A sink that has enough in the middle of a piece gets no other."""
        sink = ReactingSink(lambda: reader.close())
        reader = self.read(sink)
        self.handle.drop()
        self.executor.run()
        self.assertEqual((sink.body, sink.ended), (BODY[:16], False))
        self.assertFalse(is_open(self.descriptor))

    def test_anything_from_the_sink_at_the_end(self) -> None:
        """``on_body_end`` may close, pause and resume; the end is told once."""

        def react() -> None:
            if sink.ended:
                reader.close()
                reader.pause()
                reader.resume()

        sink = ReactingSink(react)
        reader = self.read(sink)
        self.handle.drop()
        self.executor.run()
        self.assertEqual((sink.body, sink.ended), (BODY, True))
        self.assertFalse(is_open(self.descriptor))

    def test_pause_and_resume_from_the_sink(self) -> None:
        """A resume within a delivery starts one read, not two."""

        def react() -> None:
            if not sink.ended:
                reader.pause()
                reader.resume()
                self.assertLessEqual(len(self.executor.queue), 1)

        sink = ReactingSink(react)
        reader = self.read(sink)
        self.executor.run()
        self.assertEqual((sink.body, sink.ended), (BODY, True))

    def test_delivery_within_the_constructor(self) -> None:
        """Where work is done at once, everything comes before the reader is known."""
        sink = RecordingSink()
        FileReader(self.handle, (3, 200), sink, InlineExecutor(), call_at_once)
        self.assertEqual((sink.body, sink.ended), (BODY[3:200], True))

    def test_shorter_file_is_an_error(self) -> None:
        """What is there is delivered; then an error, told once, and no end."""
        sink = RecordingSink()
        self.read(sink)
        self.handle.drop()
        os.truncate(self.path, 40)
        self.executor.run()
        self.assertEqual((sink.body, sink.ended), (BODY[:40], False))
        self.assertIn("shorter", str(sink.error))
        self.assertFalse(is_open(self.descriptor))

    def test_error_comes_after_what_was_read(self) -> None:
        """Also where the next read is done before the sink has taken the piece before it."""
        os.truncate(self.path, 40)
        sink = RecordingSink()
        FileReader(self.handle, (0, 256), sink, InlineExecutor(), call_at_once)
        self.assertEqual(sink.body, BODY[:40])
        self.assertIn("shorter", str(sink.error))

    def test_failing_read_is_an_error(self) -> None:
        """The system's reason reaches the sink."""

        def failing(descriptor: int, size: int, at: int) -> bytes:
            raise OSError(5, "Input/output error")

        self.patch(os, "pread", failing)
        sink = RecordingSink()
        reader = self.read(sink)
        self.handle.drop()
        self.executor.run()
        self.assertIn("Input/output error", str(sink.error))
        self.assertFalse(is_open(self.descriptor))
        reader.close()

    def test_error_after_close_is_nobodys(self) -> None:
        """A reader that was closed reports nothing more."""
        sink = RecordingSink()
        reader = self.read(sink)
        os.truncate(self.path, 0)
        reader.close()
        self.executor.run()
        self.assertIsNone(sink.error)


class PartlyReadSource:
    """A ``BodySource`` whose first half is in a file, which a thread reads when told so."""

    error: StorageError | None = None
    chunk = 50
    ended = False

    def __init__(self) -> None:
        self.size = self.position = 0
        self.fetches: list[tuple[int, int, Callable[[FileRead], None]]] = []
        self.waiting: list[SourceReader] = []
        self.left: list[SourceReader] = []

    def take(self, position: int, limit: int) -> bytes:
        return BODY[position : position + limit] if position >= 128 else b""

    def fetch(self, position: int, limit: int, done: Callable[[FileRead], None]) -> bool:
        self.fetches.append((position, limit, done))
        return True

    def read(self) -> None:
        """Do what the thread was asked for."""
        position, limit, done = self.fetches.pop(0)
        done((BODY[position : min(128, position + limit)], None))

    def consumed(self, position: int) -> None:
        self.position = position

    def wait(self, reader: SourceReader) -> None:
        self.waiting.append(reader)

    def advance(self, reader: SourceReader) -> None:
        reader.pump()

    def leave(self, reader: SourceReader) -> None:
        self.left.append(reader)


class SourceReaderTests(SynchronousTestCase):
    """A body that is still coming, partly in a file and partly in memory."""

    def setUp(self) -> None:
        self.source = PartlyReadSource()
        self.sink = RecordingSink()

    def reader(self, start: int = 0, stop: int | None = None) -> SourceReader:
        reader = SourceReader(self.source, self.sink, start, stop, paused=False)
        reader.pump()
        return reader

    def test_file_then_memory_then_the_end(self) -> None:
        """Each in its turn; at the end of what has come the reader waits."""
        self.source.size = 200
        reader = self.reader()
        while self.source.fetches:
            self.source.read()
        self.assertEqual((self.sink.body, self.source.position), (BODY[:200], 200))
        self.assertEqual((self.source.waiting, self.sink.ended), ([reader], False))
        self.source.size, self.source.ended = 256, True
        reader.pump()
        self.assertEqual((self.sink.body, self.sink.ended), (BODY, True))
        self.assertEqual(self.source.left, [reader])

    def test_stop_ends_a_body_that_goes_on(self) -> None:
        """Nothing after it is read."""
        self.source.size = 256
        self.reader(130, 140)
        self.assertEqual((self.sink.body, self.sink.ended), (BODY[130:140], True))

    def test_body_that_ends_before_the_stop_is_an_error(self) -> None:
        """It must not look whole."""
        self.source.size, self.source.ended = 200, True
        self.reader(150, 256)
        self.assertEqual((self.sink.body, self.sink.ended), (BODY[150:200], False))
        self.assertIn("shorter", str(self.sink.error))

    def test_error_of_the_source_is_told_before_anything_else(self) -> None:
        """Even where all has been delivered."""
        self.source.error = StorageError("disk is gone")
        reader = self.reader()
        self.assertIs(self.sink.error, self.source.error)
        self.assertEqual(self.source.left, [reader])

    def test_what_a_thread_reads_while_the_reader_is_paused_or_closed(self) -> None:
        """Paused: it is delivered, and no more. Closed: it is dropped."""
        self.source.size = 256
        reader = self.reader()
        reader.pause()
        self.source.read()
        self.assertEqual((self.sink.body, self.source.fetches), (BODY[:50], []))
        reader.resume()
        reader.close()
        self.source.read()
        self.assertEqual(self.sink.body, BODY[:50])


class OrderTests(SynchronousTestCase):
    """Any order of events."""

    @settings(max_examples=60, deadline=None)
    @given(
        st.lists(st.sampled_from(["work", "work", "pause", "resume", "close"]), max_size=40),
        st.integers(0, 256),
        st.integers(0, 256),
    )
    def test_bytes_are_a_prefix_and_whole_unless_closed(
        self, steps: list[str], start: int, stop: int
    ) -> None:
        """Order of calls changes when bytes come, never which; the file is closed in the end."""
        self.patch(readers, "CHUNK", 16)
        start, stop = sorted((start, stop))
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder, True)
        path = os.path.join(folder, "body")
        with open(path, "wb") as file:
            file.write(BODY)
        handle = FileHandle(os.open(path, os.O_RDONLY))
        executor, sink = QueueExecutor(), RecordingSink()
        reader = FileReader(handle, (start, stop), sink, executor, call_at_once)
        handle.drop()
        closed = False
        for step in steps:
            if step == "work":
                executor.step()
            else:
                getattr(reader, step)()
                closed = closed or (step == "close" and not sink.ended)
            self.assertTrue(BODY[start:stop].startswith(sink.body))
        reader.resume()
        executor.run()
        if closed:
            self.assertFalse(sink.ended)
        else:
            self.assertEqual((sink.body, sink.ended), (BODY[start:stop], True))
        self.assertEqual(handle.descriptor, -1)
