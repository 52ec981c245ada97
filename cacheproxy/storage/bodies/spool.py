"""A body kept while the other side is slower: memory first, then a temporary file.

Used for responses under ``proxy_buffering`` (``proxy_buffers``, then
``proxy_max_temp_file_size``) and for request bodies (``client_body_buffer_size``,
then a file). Bytes are first held in memory. When more than *memory* are held and
a file is allowed, what is held goes to an unlinked temporary file, a batch at a
time, in a disk thread. The body therefore is a run of bytes in the file followed
by a run in memory; a reader takes them in that order.

What was read is freed: from memory at once, from the file by starting over at its
beginning when it is empty. A replayable spool keeps everything and can be read from
the first byte any number of times, by one reader at a time.

Runs in the reactor thread, apart from the methods that say otherwise.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable

from cacheproxy.errors import StorageError
from cacheproxy.proxy.interfaces import BodySink
from cacheproxy.storage.bodies.readers import FileRead, SourceReader, read_at
from cacheproxy.storage.threads import CallFromThread, Executor

__all__ = ["CHUNK", "DiskSpool"]

#: Bytes delivered at a time.
CHUNK = 64 * 1024
#: Bytes that may wait in memory for the disk, besides *memory*, before the writing
#: side is asked to pause.
WAITING_LIMIT = 1 << 20


class DiskSpool:
    """A ``Spool`` of *memory* bytes, then at most *file_limit* bytes in *directory*.

    *file_limit* 0 allows no file (``proxy_max_temp_file_size 0``): the spool is then
    congested above *memory*. Writes are never refused: heed ``congested``. A failing
    disk is reported to the reader, by ``on_body_error``, and ends the congestion.
    """

    def __init__(
        self,
        memory: int,
        file_limit: int,
        directory: str,
        *,
        replayable: bool,
        executor: Executor,
        call_from_thread: CallFromThread,
    ) -> None:
        self._memory_limit = memory
        self._file_limit = file_limit
        self._directory = directory
        self._replayable = replayable
        self._executor = executor
        self._call_from_thread = call_from_thread
        self._size = 0
        self._ended = False
        self._closed = False
        self._error: StorageError | None = None
        self._drain: Callable[[], None] | None = None
        self._was_congested = False
        # The body from _base on: [_base, _file_end) in the file, whose first byte is
        # that of _file_origin, and the rest in _held, of which the first _spilling
        # bytes are being copied to the file. One buffer, because a peer that sends
        # single bytes must not make a list of a million pieces.
        self._held = bytearray()
        self._base = 0
        self._file_end = 0
        self._file_origin = 0
        self._spilling = 0
        self._descriptor = -1
        self._using_file = 0
        self._reader: SourceReader | None = None

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._size

    @property
    def congested(self) -> bool:
        """Whether the writing side ought to pause."""
        if self._closed or self._error is not None:
            return False
        held = len(self._held)
        if held <= self._memory_limit:
            return False
        return self._file_room <= 0 or held > self._memory_limit + WAITING_LIMIT

    @property
    def _file_room(self) -> int:
        return self._file_limit - (self._file_end - self._file_origin)

    def on_drain(self, call: Callable[[], None] | None) -> None:
        """Call *call* whenever ``congested`` turns false again."""
        self._drain = call

    # -- writing -------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Append; never blocks."""
        if self._closed or self._ended or not data:
            return
        self._size += len(data)
        if self._error is None:
            self._held += data
        self.advance()

    def end(self) -> None:
        """The body is whole."""
        self._ended = True
        self.advance()

    def close(self) -> None:
        """Free everything; a reader hears nothing more."""
        self._closed = True
        if self._reader is not None:
            self._reader.close()
        self._held.clear()
        self._drain = None
        self._close_file()

    def _close_file(self) -> None:
        if self._descriptor >= 0 and not self._using_file:
            os.close(self._descriptor)
            self._descriptor = -1

    def advance(self, reader: SourceReader | None = None) -> None:
        """Pass on what can be passed, to the reader and to the disk; then report congestion."""
        if self._reader is not None:
            self._reader.pump()
        self._spill()
        congested = self.congested
        was, self._was_congested = self._was_congested, congested
        if was and not congested and self._drain is not None:
            self._drain()

    # -- the file ------------------------------------------------------------

    def _spill(self) -> None:
        """Start to copy what is held to the file, if there is too much and room."""
        if (
            self._closed
            or self._error is not None
            or self._using_file
            or len(self._held) <= self._memory_limit
        ):
            return
        if not self._replayable and self._file_end == self._base and self._file_end:
            # Everything in the file was read: start over at its beginning.
            self._file_origin = self._file_end
        length = min(len(self._held), self._file_room, WAITING_LIMIT)
        if length > 0:
            batch = bytes(memoryview(self._held)[:length])
            self._spilling = length
            self._using_file += 1
            offset = self._file_end - self._file_origin
            self._executor.submit(lambda: self._write(batch, offset))

    def _write(self, batch: bytes, offset: int) -> None:
        """In a disk thread; nothing else uses the file meanwhile."""
        error: StorageError | None = None
        try:
            if self._descriptor < 0:
                self._descriptor = self._create()
            done = 0
            while done < len(batch):
                done += os.pwrite(self._descriptor, batch[done:], offset + done)
        except OSError as failure:
            error = StorageError(f"cannot write temporary file: {failure}")
        self._call_from_thread(self._written, error)

    def _create(self) -> int:
        os.makedirs(self._directory, 0o700, exist_ok=True)
        descriptor, path = tempfile.mkstemp(prefix="cacheproxy-spool-", dir=self._directory)
        # Without a name it is gone with the process, however that ends.
        os.unlink(path)
        return descriptor

    def _written(self, error: StorageError | None) -> None:
        self._using_file -= 1
        length, self._spilling = self._spilling, 0
        if self._closed:
            self._close_file()
            return
        if error is not None:
            self._failed(error)
            return
        del self._held[:length]
        self._file_end += length
        self.advance()

    def _failed(self, error: StorageError) -> None:
        self._error = error
        self._held.clear()
        self.advance()

    # -- reading -------------------------------------------------------------

    def read(self, sink: BodySink) -> SourceReader:
        """Read from the first byte (replayable) or from where reading stands.

        A reader that is still reading is closed.
        """
        if self._reader is not None:
            self._reader.close()
        start = 0 if self._replayable else self._base
        reader = SourceReader(self, sink, start, None, paused=False)
        self._reader = reader
        self.advance()
        return reader

    def leave(self, reader: SourceReader) -> None:
        """*reader* takes nothing more."""
        if self._reader is reader:
            self._reader = None

    @property
    def chunk(self) -> int:
        """Bytes that the reader is given at a time."""
        return CHUNK

    def wait(self, reader: SourceReader) -> None:
        """*reader* has everything there is; ``advance`` pumps it."""

    def take(self, position: int, limit: int) -> bytes:
        """The bytes at *position* that are in memory, at most *limit*; empty if none.

        What is being copied to the file counts as in neither place until it is there.
        """
        at = position - self._file_end
        if at < 0 or self._spilling:
            return b""
        return bytes(memoryview(self._held)[at : at + limit])

    def consumed(self, position: int) -> None:
        """The reader has everything before *position*: free it, unless it is to be replayed."""
        if self._replayable:
            return
        self._base = position
        if position > self._file_end:
            # Everything in the file was read before this: memory starts here now.
            del self._held[: position - self._file_end]
            self._file_end = self._file_origin = position

    def fetch(self, position: int, limit: int, done: Callable[[FileRead], None]) -> bool:
        """Read at *position* from the file in a disk thread; False if it is not there."""
        if position >= self._file_end or self._spilling:
            return False
        length = min(limit, self._file_end - position)
        offset = position - self._file_origin
        self._using_file += 1

        def work() -> None:
            read = read_at(self._descriptor, offset, length, "temporary file")
            self._call_from_thread(finished, read)

        def finished(read: FileRead) -> None:
            self._using_file -= 1
            if self._closed:
                self._close_file()
            else:
                done(read)

        self._executor.submit(work)
        return True

    @property
    def ended(self) -> bool:
        """Whether the body is whole."""
        return self._ended

    @property
    def error(self) -> StorageError | None:
        """Why the body cannot be had any more, or None."""
        return self._error
