"""Storing one response as it arrives.

A small body waits in memory until it is whole and goes to disk in one step; a
large one is streamed to a temporary file by the disk threads, a batch at a time,
while ``congested`` keeps the upstream's pace to the disk's. Nothing is visible
before ``finish``.

A failing disk leaves the writer alive as long as the body may be kept in memory.

Others may read the body while it grows (``follow``, see ``storage.bodies.growing``): what
waits for the disk from memory, the rest from disk.

Runs in the reactor thread, apart from the methods that say otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from enum import Enum
from typing import Protocol

from cacheproxy.errors import FillAborted, StorageError
from cacheproxy.policy.stored import StoredResponse
from cacheproxy.proxy.interfaces import BodySink
from cacheproxy.storage.bodies.growing import Followers, Pieces
from cacheproxy.storage.bodies.readers import FileHandle, SourceReader
from cacheproxy.storage.disk.body_file import TemporaryBody
from cacheproxy.storage.disk.disk import Store
from cacheproxy.storage.disk.entry import Header
from cacheproxy.storage.disk.queue import DiskQueue

__all__ = ["CacheWriter", "WriterOwner"]

#: Bytes gathered before the disk threads are given work.
BATCH = 256 * 1024
#: Pieces of a batch that are written one by one.
PIECES = 8
#: Bytes of one body that may wait for the disk before its source is paused.
WAITING_LIMIT = 1 << 20


class WriterOwner(Protocol):
    """The zone, as its writers see it."""

    disk_queue: DiskQueue

    def writer_finished(self, writer: CacheWriter, body: bytes | None) -> None:
        """The body is whole, and given where it is small enough for memory."""

    def writer_committed(self, writer: CacheWriter, stored: bool) -> None:
        """It is on disk, or will never be."""

    def writer_closed(self, writer: CacheWriter) -> None:
        """It takes no more data (finished or aborted)."""


class _State(Enum):
    OPEN = "open"
    FINISHING = "finishing"
    DONE = "done"


class CacheWriter:
    """One body being stored. *keep* is the size up to which it is also kept in memory."""

    __slots__ = (
        "_aborted",
        "_batch_size",
        "_drain",
        "_drain_pending",
        "_followers",
        "_handle",
        "_in_flight",
        "_keeps",
        "_limit",
        "_on_disk",
        "_owner",
        "_pieces",
        "_state",
        "_temporary",
        "cancelled",
        "counted",
        "digest",
        "edition",
        "given_up",
        "keep",
        "primary",
        "replaces",
        "size",
        "stored",
        "token",
        "updated",
    )

    def __init__(
        self,
        owner: WriterOwner,
        key: tuple[bytes, bytes],
        stored: StoredResponse,
        keep: int,
        limit: int | None,
    ) -> None:
        self._owner = owner
        self.digest, self.primary = key
        self.stored = stored
        self.keep = keep
        self._limit = limit
        self.token = owner.disk_queue.tokens.take()
        self.edition = self.token
        self.size = 0
        #: Superseded or removed before it was on disk; read in the writing thread.
        self.cancelled = False
        #: The body cannot be stored: it is too large, or the disk failed.
        self.given_up = False
        #: Bytes that the zone counts for it while it waits for the disk.
        self.counted = 0
        #: An older store of the digest may be on disk.
        self.replaces = True
        #: A head that replaced this one before it was on disk, with its edition.
        self.updated: tuple[StoredResponse, bytes] | None = None
        self._state = _State.OPEN
        #: What is in memory: all of it while it is kept, else what is not on disk yet.
        self._pieces = Pieces()
        self._keeps = keep >= 0
        #: The bytes gathered, after those that a thread is writing, at the body's end.
        self._batch_size = 0
        self._in_flight = 0
        self._on_disk = not owner.disk_queue.down
        self._temporary: TemporaryBody | None = None
        #: What followers read of it, opened for the first of them that needs it.
        self._handle: FileHandle | None = None
        self._followers: Followers | None = None
        self._drain: Callable[[], None] | None = None
        self._aborted: Callable[[], None] | None = None
        #: Congestion ended without a batch being written; reported with the one under way.
        self._drain_pending = False

    def __repr__(self) -> str:
        return f"<CacheWriter {self.digest.hex()} {self._state.value} {self.size} bytes>"

    # -- as a MissWriter -------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Append; never blocks."""
        if self._state is not _State.OPEN:
            return
        self.size += len(data)
        self._pieces.append(data)
        if self._on_disk:
            self._batch_size += len(data)
        if self._keeps and self.size > self.keep:
            self._keeps = False
            self._forget_written()
        if self._on_disk:
            if self._limit is not None and self.size > self._limit:
                self._leave_disk()
            elif self._batch_size >= BATCH and not self._in_flight:
                self._flush()
        if not self._keeps and not self._on_disk:
            self._give_up()
        elif self._followers is not None:
            self._followers.grown()

    @property
    def takes(self) -> bool:
        """Whether it may still become an entry."""
        return self._state is _State.OPEN

    @property
    def congested(self) -> bool:
        """Whether more than ``WAITING_LIMIT`` waits for the disk."""
        return self._batch_size + self._in_flight > WAITING_LIMIT

    @property
    def waiting(self) -> int:
        """Bytes that wait for the disk."""
        return self._batch_size + self._in_flight

    @property
    def held(self) -> int:
        """Bytes of the body in memory: what waits for the disk, or is kept beside it."""
        return self._pieces.stop - self._pieces.start

    def on_drain(self, call: Callable[[], None] | None) -> None:
        """Call *call* whenever ``congested`` turns false again."""
        self._drain = call

    def finish(self) -> None:
        """The body is whole; a look-up from now on finds it."""
        if self._state is not _State.OPEN:
            return
        self._state = _State.FINISHING
        self._drain = self._aborted = None
        if self.stored.body_length != self.size:
            self.stored = replace(self.stored, body_length=self.size)
        body = b"".join(self._pieces.since(0)) if self._keeps else None
        self._keeps = False
        self._owner.writer_closed(self)
        self._owner.writer_finished(self, body)
        if self._in_flight:
            # ``_written`` goes on: the temporary file is the thread's until then.
            pass
        elif self._on_disk:
            self._commit()
        else:
            self._end(False)
        if self._followers is not None:
            self._followers.end()

    def abort(self) -> None:
        """Forget everything written."""
        if self._state is not _State.OPEN:
            return
        self._state = _State.DONE
        self.cancelled = True
        self._keeps = False
        aborted, self._aborted = self._aborted, None
        self._owner.writer_closed(self)
        self._leave_disk()
        if aborted is not None:
            aborted()
        if self._followers is not None:
            self._followers.fail(FillAborted("the response that was being stored was cut short"))
        self._let_go()

    def _give_up(self) -> None:
        if self._state is _State.OPEN:
            self.given_up = True
            self.abort()

    # -- followers -------------------------------------------------------------

    def on_abort(self, call: Callable[[], None]) -> None:
        """Call *call* when everything is forgotten, before the followers are told."""
        self._aborted = call

    def follow(self, sink: BodySink, start: int, stop: int | None) -> SourceReader | None:
        """Read while it grows; see ``GrowingWriter.follow``."""
        if self._state is not _State.OPEN:
            return None
        followers = self._followers
        if followers is None:
            disk = self._owner.disk_queue
            followers = self._followers = Followers(
                self._pieces, self._file, disk.pool, disk.call_from_thread, disk.log
            )
            followers.on_empty = self._left
        return followers.add(sink, start, stop)

    def _file(self) -> FileHandle | None:
        """What is on disk so far, opened once; ``OSError``."""
        if self._handle is None and self._temporary is not None:
            self._handle = FileHandle(self._temporary.reopened())
        return self._handle

    def _left(self) -> None:
        """The last follower has gone; while the body grows there may be others."""
        if self._state is _State.DONE:
            self._let_go()

    def _let_go(self) -> None:
        """Nobody reads it while it grows any more: free memory and file."""
        self._pieces.drop(self.size)
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.drop()

    def _forget_written(self) -> None:
        """Forget what is on disk, unless all is kept."""
        if not self._keeps:
            self._pieces.drop(self.size - self.waiting)

    # -- the disk --------------------------------------------------------------

    def _flush(self) -> None:
        batch = self._pieces.since(self.size - self._batch_size)
        self._in_flight, self._batch_size = self._batch_size, 0
        self._owner.disk_queue.threads.submit(lambda: self._write_batch(batch))

    def _write_batch(self, batch: list[bytes]) -> None:
        """In a disk thread; one batch of a writer at a time."""
        error: StorageError | None = None
        disk_queue = self._owner.disk_queue
        try:
            if self._temporary is None:
                self._temporary = disk_queue.disk.temporary()
            # Few large pieces are not copied once more, many small ones not written one by one.
            for data in batch if len(batch) <= PIECES else (b"".join(batch),):
                self._temporary.append(data)
        except StorageError as failure:
            error = failure
        disk_queue.call_from_thread(self._written, error)

    def _written(self, error: StorageError | None) -> None:
        congested = self.congested or self._drain_pending
        self._drain_pending = False
        if error is not None:
            self._owner.disk_queue.failed(error)
        if error is not None or not self._on_disk:
            if self._state is _State.FINISHING:
                self._keep_file()
            self._in_flight = 0
            self._leave_disk()
            if self._state is _State.FINISHING:
                self._end(False)
            elif not self._keeps:
                self._give_up()
        else:
            self._in_flight = 0
            self._forget_written()
            if self._state is _State.FINISHING:
                self._commit()
            elif self._batch_size >= BATCH:
                self._flush()
        drain = self._drain
        if drain is not None and congested and not self.congested:
            drain()

    def _leave_disk(self) -> None:
        """Store nothing on disk; a thread that is writing finishes first."""
        self._drain_pending = self._drain_pending or self.congested
        self._on_disk = False
        self._batch_size = 0
        if not self._in_flight and self._temporary is not None:
            temporary, self._temporary = self._temporary, None
            self._owner.disk_queue.pool.submit(temporary.discard)

    def _keep_file(self) -> None:
        """The temporary file is about to go its way: followers need it open."""
        if self._followers:
            try:
                self._file()
            except OSError:
                pass  # who needs it hears that it is gone

    def _commit(self) -> None:
        self._keep_file()
        disk_queue = self._owner.disk_queue
        now = disk_queue.scheduler.wall()
        header = Header(self.stored, self.token, self.edition)
        rest = b"".join(self._pieces.since(self.size - self._batch_size))
        followed = bool(self._followers)
        if not followed:
            self._pieces.drop(self.size)
        self._in_flight, self._batch_size = self._batch_size, 0
        if disk_queue.down:
            self._end(False)
            return
        temporary, self._temporary = self._temporary, None
        store = Store(
            self.digest,
            self.primary,
            header,
            temporary,
            rest,
            now,
            lambda: self._wanted(store, followed),
            disk_queue.generation,
        )
        disk_queue.store(store, self._end)

    def _wanted(self, store: Store, followed: bool) -> bool:
        """In the writing thread: whether to go on; opens what followers will read."""
        if self.cancelled:
            return False
        if followed and self._handle is None:
            if store.body is None:
                store.body = self._owner.disk_queue.disk.temporary()
            try:
                self._handle = FileHandle(store.body.reopened())
            except OSError:
                pass  # what is in memory stays there
        return True

    def _end(self, stored: bool) -> None:
        self._state = _State.DONE
        self._in_flight = 0
        if not stored and self._temporary is not None:
            # The disk failed before the writing thread took it.
            temporary, self._temporary = self._temporary, None
            self._owner.disk_queue.pool.submit(temporary.discard)
        if not self._followers:
            self._let_go()
        elif stored and self._handle is not None:
            self._pieces.drop(self.size)
        self._owner.writer_committed(self, stored)
