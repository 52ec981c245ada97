"""Reading ends of bodies: from memory at once, from a file through the disk threads, in steps.

A file is read ahead by one chunk: while the sink's side is busy with one, or has
asked to wait, a thread reads the next, which is held until it is wanted. An open file
is shared by its holders and closed with the last one (``FileHandle``), also when a read
is still under way in a thread.

Imports: ``proxy.interfaces``. Everything but the reading itself runs in the reactor thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from cacheproxy.errors import StorageError
from cacheproxy.proxy.interfaces import BodySink
from cacheproxy.storage.threads import CallFromThread, Executor

__all__ = ["CHUNK", "FileHandle", "FileReader", "MemoryReader", "SteppedReader", "read_bytes"]

#: Octets read from a file at a time; a reader holds no more.
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


def read_bytes(body: bytes, sink: BodySink, start: int, stop: int) -> MemoryReader:
    """Deliver octets [start, stop) of *body* and the end, at once and in one piece."""
    if stop > start:
        sink.on_body(body if start == 0 and stop == len(body) else body[start:stop])
    sink.on_body_end()
    return _DELIVERED


class SteppedReader:
    """A reader of a body that is still coming; the subclass says what a step is.

    A sink may pause, resume or close it while it is given something.
    """

    __slots__ = ("_busy", "_paused", "_position", "_pumping", "_sink")

    def __init__(self, sink: BodySink, position: int, paused: bool) -> None:
        self._sink: BodySink | None = sink
        self._position = position
        self._paused = paused
        #: A thread reads for it.
        self._busy = False
        self._pumping = False

    def pause(self) -> None:
        """Deliver nothing more until ``resume``, apart from a chunk that is being read."""
        self._paused = True

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
        raise NotImplementedError


class FileReader:
    """Delivers octets [start, stop) of a file; ``StorageError`` when the file is shorter."""

    __slots__ = (
        "_ahead",
        "_busy",
        "_call_from_thread",
        "_error",
        "_executor",
        "_giving",
        "_handle",
        "_on_error",
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
        on_error: Callable[[str], None] | None = None,
    ) -> None:
        handle.hold()
        self._handle: FileHandle | None = handle
        self._position, self._stop = span
        self._sink: BodySink | None = sink
        self._executor = executor
        self._call_from_thread = call_from_thread
        self._on_error = on_error
        self._paused = False
        #: A thread reads.
        self._busy = False
        #: What it has read and the sink was not given yet.
        self._ahead: bytes | None = None
        #: Why there is no more; told after what was read.
        self._error: str | None = None
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
        error = self._error
        if error is None:
            sink.on_body_end()
            return
        if self._on_error is not None:
            self._on_error(error)
        sink.on_body_error(StorageError(f"cannot read stored body: {error}"))

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
        error: str | None = None
        data = b""
        try:
            data = os.pread(
                handle.descriptor, min(CHUNK, self._stop - self._position), self._position
            )
            if not data:
                error = "file is shorter than it was"
        except OSError as failure:
            error = str(failure)
        self._call_from_thread(self._deliver, data, error)

    def _deliver(self, data: bytes, error: str | None) -> None:
        self._busy = False
        if self._sink is None:
            self._drop()
            return
        if error is None:
            self._position += len(data)
            self._ahead = data
        else:
            self._error = error
        self._give()
