"""Readers of bodies: of one in memory, of one in a file, and of one that is still coming.

``FileReader`` reads a file ahead by one chunk: while the sink is busy with one, or has asked
to wait, a thread reads the next, which is held until it is wanted. ``SourceReader`` reads a
body of which a part is in memory and a part in a file, while more of it comes: a spool
(``spool``) or a response that is being stored (``growing``). An open file is shared by its
holders and closed with the last one (``FileHandle``), also when a thread still reads it.

Imports: ``proxy.interfaces``. Everything but the reading itself runs in the reactor thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Protocol

from cacheproxy.errors import FillAborted, StorageError
from cacheproxy.proxy.interfaces import BodySink
from cacheproxy.storage.threads import CallFromThread, Executor

__all__ = [
    "CHUNK",
    "BodySource",
    "FileHandle",
    "FileRead",
    "FileReader",
    "MemoryReader",
    "SourceReader",
    "read_at",
    "read_bytes",
]

#: Bytes read from a file at a time; a reader holds no more.
CHUNK = 256 * 1024


class FileHandle:
    """An open descriptor with a count of holders; made with one."""

    __slots__ = ("_holders", "descriptor")

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._holders = 1

    def hold(self) -> None:
        """One holder more."""
        self._holders += 1

    def drop(self) -> None:
        """One holder less; the last one closes the file."""
        self._holders -= 1
        if self._holders == 0:
            os.close(self.descriptor)
            self.descriptor = -1


class MemoryReader:
    """The reader of a body that was delivered before ``read`` returned."""

    __slots__ = ()

    def pause(self) -> None:
        """Everything was delivered."""

    def resume(self) -> None:
        """Everything was delivered."""

    def close(self) -> None:
        """Everything was delivered."""


_DELIVERED = MemoryReader()

#: What was read from a file, or why nothing was.
FileRead = tuple[bytes, StorageError | None]


def read_at(descriptor: int, position: int, length: int, what: str) -> FileRead:
    """Read up to *length* bytes, at least one, of the file of *what*. In a disk thread."""
    try:
        data = os.pread(descriptor, length, position)
    except OSError as failure:
        return b"", StorageError(f"cannot read {what}: {failure}")
    if not data:
        return b"", StorageError(f"{what} is shorter than it was")
    return data, None


def read_bytes(body: bytes, sink: BodySink, start: int, stop: int) -> MemoryReader:
    """Deliver bytes [start, stop) of *body* and the end, at once and in one piece."""
    if stop > start:
        sink.on_body(body if start == 0 and stop == len(body) else body[start:stop])
    sink.on_body_end()
    return _DELIVERED


class BodySource(Protocol):
    """A body that is still coming: its readers take a part from memory, a part from a file."""

    @property
    def size(self) -> int:
        """Bytes that have come."""

    @property
    def ended(self) -> bool:
        """Whether the body is whole."""

    @property
    def error(self) -> StorageError | None:
        """Why the body cannot be had any more, or None."""

    @property
    def chunk(self) -> int:
        """The most bytes that one reader is given at a time."""

    def take(self, position: int, limit: int) -> bytes:
        """The bytes at *position* that are in memory, at most *limit*; empty if none."""

    def fetch(self, position: int, limit: int, done: Callable[[FileRead], None]) -> bool:
        """Read at *position* from the file in a disk thread; False if it is not there yet."""

    def consumed(self, position: int) -> None:
        """A reader has everything before *position*."""

    def wait(self, reader: SourceReader) -> None:
        """*reader* has everything there is: pump it when more has come."""

    def advance(self, reader: SourceReader) -> None:
        """*reader* can go on: pump it."""

    def leave(self, reader: SourceReader) -> None:
        """*reader* takes nothing more."""


class SourceReader:
    """Reads bytes [position, stop) of a source; *stop* None is its end, wherever that is.

    A sink may pause, resume or close it while it is given something.
    """

    __slots__ = ("_busy", "_paused", "_position", "_pumping", "_sink", "_source", "_stop")

    def __init__(
        self, source: BodySource, sink: BodySink, position: int, stop: int | None, paused: bool
    ) -> None:
        self._source = source
        self._sink: BodySink | None = sink
        self._position = position
        self._stop = stop
        self._paused = paused
        #: A thread reads for it.
        self._busy = False
        self._pumping = False

    def pause(self) -> None:
        """Deliver nothing more until ``resume``, apart from a chunk that is being read."""
        self._paused = True

    def resume(self) -> None:
        """Go on."""
        if self._paused:
            self._paused = False
            if not self._pumping:
                self._source.advance(self)

    def close(self) -> None:
        """Stop."""
        self._sink = None
        self._source.leave(self)

    def fail(self, error: StorageError) -> None:
        """Tell the sink, and stop."""
        sink = self._sink
        self.close()
        if sink is not None:
            sink.on_body_error(error)

    def pump(self) -> None:
        """Deliver what can be delivered now."""
        if self._pumping:
            return
        self._pumping = True
        try:
            while self._step():
                pass
        finally:
            self._pumping = False

    def _step(self) -> bool:
        """Deliver something, or have it read; whether another step can be taken at once."""
        sink, source = self._sink, self._source
        if sink is None or self._paused or self._busy:
            return False
        if source.error is not None:
            self.fail(source.error)
            return False
        position = self._position
        stop = source.size if self._stop is None else min(source.size, self._stop)
        if position >= stop:
            self._at_the_end(sink)
            return False
        limit = min(stop - position, source.chunk)
        data = source.take(position, limit)
        if data:
            self._deliver(sink, data)
            return True
        self._busy = True
        if not source.fetch(position, limit, self._fetched):
            self._busy = False
            return False
        return not self._busy

    def _at_the_end(self, sink: BodySink) -> None:
        """Of what was asked for, or of what there is."""
        source = self._source
        if self._position == self._stop or (self._stop is None and source.ended):
            self.close()
            sink.on_body_end()
        elif source.ended:
            self.fail(FillAborted("the body is shorter than it was to be"))
        else:
            source.wait(self)

    def _fetched(self, read: FileRead) -> None:
        self._busy = False
        sink = self._sink
        if sink is not None:
            data, error = read
            if error is not None:
                self.fail(error)
            else:
                self._deliver(sink, data)
        self._source.advance(self)

    def _deliver(self, sink: BodySink, data: bytes) -> None:
        self._position += len(data)
        self._source.consumed(self._position)
        sink.on_body(data)


class FileReader:
    """Delivers bytes [start, stop) of a file; ``StorageError`` when the file is shorter."""

    __slots__ = (
        "_ahead",
        "_busy",
        "_call_from_thread",
        "_error",
        "_executor",
        "_giving",
        "_handle",
        "_paused",
        "_position",
        "_sink",
        "_stop",
    )

    def __init__(
        self,
        handle: FileHandle,
        span: tuple[int, int],
        sink: BodySink,
        executor: Executor,
        call_from_thread: CallFromThread,
    ) -> None:
        handle.hold()
        self._handle: FileHandle | None = handle
        self._position, self._stop = span
        self._sink: BodySink | None = sink
        self._executor = executor
        self._call_from_thread = call_from_thread
        self._paused = False
        #: A thread reads.
        self._busy = False
        #: What it has read and the sink was not given yet.
        self._ahead: bytes | None = None
        #: Why there is no more; reported after what was read.
        self._error: StorageError | None = None
        self._giving = False
        self._give()

    def pause(self) -> None:
        """Deliver nothing more until ``resume``."""
        self._paused = True

    def resume(self) -> None:
        """Go on."""
        if self._paused:
            self._paused = False
            self._give()

    def close(self) -> None:
        """Stop. The file stays open while a thread reads from it."""
        self._sink = self._ahead = None
        if not self._busy:
            self._drop()

    def _drop(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.drop()

    def _give(self) -> None:
        """Deliver what there is, while a thread reads on; at last the end."""
        if self._giving:
            return
        self._giving = True
        try:
            self._read_ahead()
            while self._ahead is not None and not self._paused and self._sink is not None:
                data, self._ahead = self._ahead, None
                self._read_ahead()
                self._sink.on_body(data)
        finally:
            self._giving = False
        if self._busy or self._paused or self._ahead is not None:
            return
        sink, self._sink = self._sink, None
        if sink is not None:
            self._drop()
            self._end(sink)

    def _end(self, sink: BodySink) -> None:
        if self._error is None:
            sink.on_body_end()
        else:
            sink.on_body_error(self._error)

    def _read_ahead(self) -> None:
        if self._busy or self._ahead is not None or self._sink is None:
            return
        if self._position < self._stop and self._error is None:
            self._busy = True
            self._executor.submit(self._read)

    def _read(self) -> None:
        """In a disk thread."""
        handle = self._handle
        assert handle is not None
        length = min(CHUNK, self._stop - self._position)
        read = read_at(handle.descriptor, self._position, length, "file")
        self._call_from_thread(self._deliver, read)

    def _deliver(self, read: FileRead) -> None:
        self._busy = False
        if self._sink is None:
            self._drop()
            return
        data, self._error = read
        if self._error is None:
            self._position += len(data)
            self._ahead = data
        self._give()
