"""A body that others read while it is being written.

What is not on disk yet lies in memory as ``Pieces``; what is, is read from the
temporary file through the disk threads. A follower (``readers.SourceReader``) reads both in
order and, at the end of what has come, waits for more. Nothing is kept for its sake: one
that is slow falls back to the file, while those that keep up get each piece as it comes.

Runs in the reactor thread, apart from the reading itself.
"""

from __future__ import annotations

import traceback
from bisect import bisect_right
from collections.abc import Callable

from cacheproxy.errors import FillAborted, StorageError
from cacheproxy.proxy.interfaces import BodySink
from cacheproxy.storage.bodies.readers import FileHandle, FileRead, SourceReader, read_at
from cacheproxy.storage.threads import CallFromThread, Executor

__all__ = ["CHUNK", "MIN_CHUNK", "READ_AHEAD", "SMALL_PIECE", "Followers", "Pieces"]

#: Pieces up to this many bytes are joined, so that an origin which sends single bytes
#: does not make a list of a million of them.
SMALL_PIECE = 4096
#: Bytes that the followers of one body are given at a time, all together, and the most and
#: the least that one of them is: while clients are slow it all waits on their connections.
READ_AHEAD = 16 << 20
CHUNK = 256 * 1024
MIN_CHUNK = 16 * 1024


class Pieces:
    """The bytes [start, stop) of a body, in memory, in the pieces in which they came."""

    __slots__ = ("_offsets", "_pieces", "_sealed", "start", "stop")

    def __init__(self) -> None:
        self.start = 0
        self.stop = 0
        self._pieces: list[bytes] = []
        self._offsets: list[int] = []
        #: The last piece is part of a batch that a thread has.
        self._sealed = True

    def append(self, data: bytes) -> None:
        """Add *data* at the end."""
        if not data:
            return
        if not self._sealed and len(self._pieces[-1]) + len(data) <= SMALL_PIECE:
            self._pieces[-1] += data
        else:
            self._pieces.append(data)
            self._offsets.append(self.stop)
            self._sealed = False
        self.stop += len(data)

    def since(self, position: int) -> list[bytes]:
        """What lies from *position* on; a piece starts there. It is not added to any more."""
        self._sealed = True
        return self._pieces[bisect_right(self._offsets, position - 1) :]

    def take(self, position: int, limit: int) -> bytes:
        """Bytes from *position* on, which is inside; at most *limit*, and of one piece."""
        index = bisect_right(self._offsets, position) - 1
        piece = self._pieces[index]
        at = position - self._offsets[index]
        return piece if not at and len(piece) <= limit else piece[at : at + limit]

    def drop(self, position: int) -> None:
        """Forget what lies before *position*, where a piece starts or the end is."""
        count = bisect_right(self._offsets, position - 1)
        del self._pieces[:count]
        del self._offsets[:count]
        self._sealed = self._sealed or not self._pieces
        self.start = max(self.start, position)


class Followers:
    """The readers of one growing body: its ``BodySource``.

    *open_file* gives the file with what is on disk of it.
    """

    def __init__(
        self,
        pieces: Pieces,
        open_file: Callable[[], FileHandle | None],
        executor: Executor,
        call_from_thread: CallFromThread,
        log: Callable[[str], None],
    ) -> None:
        self.pieces = pieces
        #: Nothing more will come; the body is whole.
        self.ended = False
        self._open_file = open_file
        self._executor = executor
        self._call_from_thread = call_from_thread
        self._log = log
        self._all: dict[SourceReader, None] = {}
        #: Followers that have everything that has come.
        self._waiting: dict[SourceReader, None] = {}
        #: Called when the last one leaves.
        self.on_empty: Callable[[], None] | None = None

    def __len__(self) -> int:
        return len(self._all)

    def add(self, sink: BodySink, start: int, stop: int | None) -> SourceReader:
        """Add a follower; it is paused."""
        follower = SourceReader(self, sink, start, stop, paused=True)
        self._all[follower] = None
        return follower

    def wait(self, reader: SourceReader) -> None:
        """*reader* has everything there is."""
        self._waiting[reader] = None

    def leave(self, reader: SourceReader) -> None:
        """*reader* takes nothing more."""
        if reader not in self._all:
            return
        del self._all[reader]
        self._waiting.pop(reader, None)
        if not self._all and self.on_empty is not None:
            self.on_empty()

    # -- the writer ------------------------------------------------------------

    def grown(self) -> None:
        """More has come."""
        waiting, self._waiting = self._waiting, {}
        for follower in waiting:
            try:
                follower.pump()
            except Exception:
                self._fault(follower)

    def end(self) -> None:
        """The body is whole."""
        self.ended = True
        self.grown()

    def fail(self, error: FillAborted) -> None:
        """The body will never be whole: every follower gets *error*."""
        self._waiting = {}
        for follower in list(self._all):
            try:
                follower.fail(error)
            except Exception:
                self._fault(follower)

    def _fault(self, follower: SourceReader) -> None:
        """A fault in one must not keep the body from the others, nor end the writing."""
        self._log(f"follower of a body: {traceback.format_exc()}")
        try:
            follower.fail(FillAborted("a fault ended it"))
        except Exception:
            self._log(f"follower of a body: {traceback.format_exc()}")

    # -- what a follower reads (``BodySource``) ----------------------------------

    @property
    def size(self) -> int:
        """Bytes that have come."""
        return self.pieces.stop

    @property
    def error(self) -> StorageError | None:
        """None: ``fail`` reports errors to followers."""
        return None

    @property
    def chunk(self) -> int:
        """How much one follower is given at a time."""
        return max(MIN_CHUNK, min(CHUNK, READ_AHEAD // max(1, len(self._all))))

    def take(self, position: int, limit: int) -> bytes:
        """What memory has at *position*; empty where that is on disk only."""
        pieces = self.pieces
        return pieces.take(position, limit) if position >= pieces.start else b""

    def consumed(self, position: int) -> None:
        """Nothing is kept for a follower, so nothing is freed."""

    def advance(self, reader: SourceReader) -> None:
        """*reader* can go on."""
        reader.pump()

    def fetch(self, position: int, limit: int, done: Callable[[FileRead], None]) -> bool:
        """Read from the file in a disk thread what does not lie in memory."""
        try:
            handle = self._open_file()
        except OSError as failure:
            done((b"", StorageError(f"cannot open stored body: {failure}")))
            return True
        if handle is None:
            done((b"", StorageError("what was stored of the body is gone")))
            return True
        handle.hold()
        length = min(limit, self.pieces.start - position)

        def work() -> None:
            read = read_at(handle.descriptor, position, length, "stored body")
            self._call_from_thread(finished, read)

        def finished(read: FileRead) -> None:
            handle.drop()
            done(read)

        self._executor.submit(work)
        return True
