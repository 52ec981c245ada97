"""Storing one response as it arrives.

A small body waits in memory until it is whole and goes to disk in one step; a
large one is streamed to a temporary file by the disk threads, a batch at a time,
while ``congested`` keeps the upstream's pace to the disk's. Nothing is visible
before ``finish``.

A failing disk leaves the writer alive as long as the body may be kept in memory.

Runs in the reactor thread, apart from the methods that say otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from enum import Enum
from typing import Protocol

from cacheproxy.errors import StorageError
from cacheproxy.policy.stored import StoredResponse
from cacheproxy.storage.disk import Store, TemporaryBody
from cacheproxy.storage.entry import Header
from cacheproxy.storage.tier import DiskTier

__all__ = ["Writer", "WriterOwner"]

#: Octets gathered before the disk threads are given work.
BATCH = 256 * 1024
#: Octets of one body that may wait for the disk before its source is paused.
WAITING_LIMIT = 1 << 20


class WriterOwner(Protocol):
    """The zone, as its writers see it."""

    tier: DiskTier

    def writer_finished(self, writer: Writer, body: bytes | None) -> None:
        """The body is whole, and given where it is small enough for memory."""

    def writer_committed(self, writer: Writer, stored: bool) -> None:
        """It is on disk, or will never be."""

    def writer_closed(self, writer: Writer) -> None:
        """It takes no more data (finished or aborted)."""


class _State(Enum):
    OPEN = "open"
    FINISHING = "finishing"
    DONE = "done"


class Writer:
    """One body being stored. *keep* is the size up to which it is also kept in memory."""

    __slots__ = (
        "_batch",
        "_batch_size",
        "_drain",
        "_in_flight",
        "_kept",
        "_limit",
        "_on_disk",
        "_owes_drain",
        "_owner",
        "_state",
        "_temporary",
        "cancelled",
        "counted",
        "digest",
        "edition",
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
        self.token = owner.tier.tokens.take()
        self.edition = self.token
        self.size = 0
        #: Superseded or removed before it was on disk; read in the writing thread.
        self.cancelled = False
        #: What the zone counts it with while it waits for the disk.
        self.counted = 0
        #: An older store of the digest may be on disk.
        self.replaces = True
        #: A head that replaced this one before it was on disk, with its edition.
        self.updated: tuple[StoredResponse, bytes] | None = None
        self._state = _State.OPEN
        self._kept: list[bytes] | None = [] if keep >= 0 else None
        self._batch: list[bytes] = []
        self._batch_size = 0
        self._in_flight = 0
        self._on_disk = not owner.tier.down
        self._temporary: TemporaryBody | None = None
        self._drain: Callable[[], None] | None = None
        #: Congestion ended without a batch being written; told with the one under way.
        self._owes_drain = False

    def __repr__(self) -> str:
        return f"<Writer {self.digest.hex()} {self._state.value} {self.size} octets>"

    # -- the MissWriter's face -------------------------------------------------

    def write(self, data: bytes) -> None:
        """Append; never blocks."""
        if self._state is not _State.OPEN:
            return
        self.size += len(data)
        if self._kept is not None:
            if self.size > self.keep:
                self._kept = None
            else:
                self._kept.append(data)
        if self._on_disk:
            self._batch.append(data)
            self._batch_size += len(data)
            if self._limit is not None and self.size > self._limit:
                self._leave_disk()
            elif self._batch_size >= BATCH and not self._in_flight:
                self._flush()
        if self._kept is None and not self._on_disk:
            self.abort()

    @property
    def congested(self) -> bool:
        """Whether more than ``WAITING_LIMIT`` waits for the disk."""
        return self._batch_size + self._in_flight > WAITING_LIMIT

    @property
    def waiting(self) -> int:
        """Octets that wait for the disk."""
        return self._batch_size + self._in_flight

    def on_drain(self, call: Callable[[], None] | None) -> None:
        """Call *call* whenever ``congested`` turns false again."""
        self._drain = call

    def finish(self) -> None:
        """The body is whole; a look-up from now on finds it."""
        if self._state is not _State.OPEN:
            return
        self._state = _State.FINISHING
        self._drain = None
        if self.stored.body_length != self.size:
            self.stored = replace(self.stored, body_length=self.size)
        body = None if self._kept is None else b"".join(self._kept)
        self._kept = None
        self._owner.writer_closed(self)
        self._owner.writer_finished(self, body)
        if self._in_flight:
            # ``_written`` goes on: the temporary file is the thread's until then.
            return
        if self._on_disk:
            self._commit()
        else:
            self._end(False)

    def abort(self) -> None:
        """Forget everything written."""
        if self._state is not _State.OPEN:
            return
        self._state = _State.DONE
        self.cancelled = True
        self._kept = None
        self._owner.writer_closed(self)
        self._leave_disk()

    # -- the disk --------------------------------------------------------------

    def _flush(self) -> None:
        batch, self._batch = self._batch, []
        self._in_flight, self._batch_size = self._batch_size, 0
        self._owner.tier.threads.submit(lambda: self._write_batch(batch))

    def _write_batch(self, batch: list[bytes]) -> None:
        """In a disk thread; one batch of a writer at a time."""
        error: StorageError | None = None
        tier = self._owner.tier
        try:
            if self._temporary is None:
                self._temporary = tier.disk.temporary()
            self._temporary.append(b"".join(batch))
        except StorageError as failure:
            error = failure
        tier.call_from_thread(self._written, error)

    def _written(self, error: StorageError | None) -> None:
        congested = self.congested or self._owes_drain
        self._owes_drain = False
        self._in_flight = 0
        if error is not None:
            self._owner.tier.failed(error)
        if error is not None or not self._on_disk:
            self._leave_disk()
            if self._state is _State.FINISHING:
                self._end(False)
            elif self._kept is None:
                self.abort()
        elif self._state is _State.FINISHING:
            self._commit()
        elif self._batch_size >= BATCH:
            self._flush()
        drain = self._drain
        if drain is not None and congested and not self.congested:
            drain()

    def _leave_disk(self) -> None:
        """Store nothing on disk; a thread that is writing finishes first."""
        self._owes_drain = self._owes_drain or self.congested
        self._on_disk = False
        self._batch.clear()
        self._batch_size = 0
        if not self._in_flight and self._temporary is not None:
            temporary, self._temporary = self._temporary, None
            self._owner.tier.pool.submit(temporary.discard)

    def _commit(self) -> None:
        tier = self._owner.tier
        now = tier.scheduler.wall()
        header = Header(self.stored, self.token, self.edition)
        rest = b"".join(self._batch)
        self._batch.clear()
        self._in_flight, self._batch_size = self._batch_size, 0
        if tier.down:
            self._end(False)
            return
        temporary, self._temporary = self._temporary, None
        tier.store(
            Store(self.digest, self.primary, header, temporary, rest, now, self._wanted), self._end
        )

    def _wanted(self) -> bool:
        """In the writing thread."""
        return not self.cancelled

    def _end(self, stored: bool) -> None:
        self._state = _State.DONE
        self._in_flight = 0
        if not stored and self._temporary is not None:
            # The tier went down before the writing thread took it.
            temporary, self._temporary = self._temporary, None
            self._owner.tier.pool.submit(temporary.discard)
        self._owner.writer_committed(self, stored)
