"""A body that others read while it is being written.

What is not on disk yet lies in memory as ``Pieces``; what is, is read from the
temporary file through the disk threads. A ``Follower`` reads both in order and, at
the end of what has come, waits for more. Nothing is kept for its sake: one that is
slow falls back to the file, while those that keep up get each piece as it comes.

Runs in the reactor thread, apart from the reading itself.
"""

from __future__ import annotations

import os
import traceback
from bisect import bisect_right
from collections.abc import Callable

from cacheproxy.errors import FillAborted, StorageError
from cacheproxy.proxy.interfaces import BodySink
from cacheproxy.storage.bodies.readers import FileHandle, SteppedReader
from cacheproxy.storage.threads import CallFromThread, Executor

__all__ = ["CHUNK", "MIN_CHUNK", "READ_AHEAD", "SMALL_PIECE", "Follower", "Followers", "Pieces"]

#: Pieces up to this many octets are joined, so that an origin which sends single octets
#: does not make a list of a million of them.
SMALL_PIECE = 4096
#: Octets that the followers of one body are given at a time, all together, and the most and
#: the least that one of them is: while clients are slow it all waits on their connections.
READ_AHEAD = 16 << 20
CHUNK = 256 * 1024
MIN_CHUNK = 16 * 1024


class Pieces:
    """The octets [start, stop) of a body, in memory, in the pieces in which they came."""

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
        """Octets from *position* on, which is inside; at most *limit*, and of one piece."""
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
    """Those who read a body while it grows; *open_file* gives what is on disk of it."""

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
        self._all: dict[Follower, None] = {}
        #: Those that have everything there is.
        self._waiting: dict[Follower, None] = {}
        #: Called when the last one leaves.
        self.on_empty: Callable[[], None] | None = None

    def __len__(self) -> int:
        return len(self._all)

    def add(self, sink: BodySink, start: int, stop: int | None) -> Follower:
        """One more, who is paused."""
        follower = Follower(self, sink, start, stop)
        self._all[follower] = None
        return follower

    def wait(self, follower: Follower) -> None:
        """*follower* has everything there is."""
        self._waiting[follower] = None

    def leave(self, follower: Follower) -> None:
        """*follower* reads no more."""
        if follower not in self._all:
            return
        del self._all[follower]
        self._waiting.pop(follower, None)
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
        """The body will never be whole: nobody may take what came of it for that."""
        self._waiting = {}
        for follower in list(self._all):
            try:
                follower.fail(error)
            except Exception:
                self._fault(follower)

    def _fault(self, follower: Follower) -> None:
        """A fault in one must not keep the body from the others, nor end the writing."""
        self._log(f"follower of a body: {traceback.format_exc()}")
        try:
            follower.fail(FillAborted("a fault ended it"))
        except Exception:
            self._log(f"follower of a body: {traceback.format_exc()}")

    # -- the file --------------------------------------------------------------

    @property
    def chunk(self) -> int:
        """How much one follower is given at a time."""
        return max(MIN_CHUNK, min(CHUNK, READ_AHEAD // max(1, len(self._all))))

    def read(
        self, position: int, length: int, done: Callable[[bytes, StorageError | None], None]
    ) -> None:
        """Read from the file in a disk thread."""
        try:
            handle = self._open_file()
        except OSError as failure:
            done(b"", StorageError(f"cannot open stored body: {failure}"))
            return
        if handle is None:
            done(b"", StorageError("what was stored of the body is gone"))
            return
        handle.hold()

        def work() -> None:
            data, error = b"", None
            try:
                data = os.pread(handle.descriptor, length, position)
                if not data:
                    error = StorageError("stored body is shorter than it was")
            except OSError as failure:
                error = StorageError(f"cannot read stored body: {failure}")
            self._call_from_thread(finished, data, error)

        def finished(data: bytes, error: StorageError | None) -> None:
            handle.drop()
            done(data, error)

        self._executor.submit(work)


class Follower(SteppedReader):
    """Reads octets [start, stop) of a growing body; *stop* None is its end. Made paused."""

    __slots__ = ("_followers", "_stop")

    def __init__(
        self, followers: Followers, sink: BodySink, start: int, stop: int | None
    ) -> None:
        super().__init__(sink, start, paused=True)
        self._followers = followers
        self._stop = stop

    def resume(self) -> None:
        """Go on."""
        self._paused = False
        self.pump()

    def close(self) -> None:
        """Stop."""
        self._sink = None
        self._followers.leave(self)

    def fail(self, error: StorageError) -> None:
        """Tell the sink, and stop."""
        sink = self._sink
        self.close()
        if sink is not None:
            sink.on_body_error(error)

    def _step(self) -> bool:
        sink, followers = self._sink, self._followers
        if sink is None or self._paused or self._busy:
            return False
        position, pieces = self._position, followers.pieces
        stop = pieces.stop if self._stop is None else min(pieces.stop, self._stop)
        if position >= stop:
            self._at_the_end(sink)
            return False
        if position >= pieces.start:
            self._deliver(sink, pieces.take(position, min(stop - position, followers.chunk)))
        else:
            self._busy = True
            length = min(stop, pieces.start) - position
            followers.read(position, min(length, followers.chunk), self._read)
        return not self._busy

    def _at_the_end(self, sink: BodySink) -> None:
        """Of what was asked for, or of what there is."""
        if self._position == self._stop or (self._stop is None and self._followers.ended):
            self.close()
            sink.on_body_end()
        elif self._followers.ended:
            self.fail(FillAborted("the body is shorter than it was to be"))
        else:
            self._followers.wait(self)

    def _read(self, data: bytes, error: StorageError | None) -> None:
        self._busy = False
        sink = self._sink
        if sink is None:
            return
        if error is not None:
            self.fail(error)
        else:
            self._deliver(sink, data)
            self.pump()

    def _deliver(self, sink: BodySink, data: bytes) -> None:
        self._position += len(data)
        sink.on_body(data)
