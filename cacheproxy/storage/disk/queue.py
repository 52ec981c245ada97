"""The queue of a zone's disk work, seen from the reactor thread, and its behaviour on failure.

Everything that writes runs in one thread, in the order in which it was asked for; stores
that wait one behind the other share a transaction. Reading runs in a pool beside it.

A failure puts the disk *down*: nothing is asked of it, entries live in memory only, one line
a minute is logged, and every ``RETRY`` seconds it is tried again. A removal that failed is
*pending*: it is done before the disk is used again, so that nothing purged is ever served.

Runs in the reactor thread; only ``Disk``'s methods run in others.
"""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from cacheproxy.errors import StorageError
from cacheproxy.proxy.interfaces import Scheduler
from cacheproxy.storage.disk.body_file import Tokens
from cacheproxy.storage.disk.disk import Broken, Disk, Found, Store
from cacheproxy.storage.disk.index import PUT_LIMIT, CorruptIndexError
from cacheproxy.storage.threads import CallFromThread, Executor

__all__ = ["DiskQueue"]

_T = TypeVar("_T")

#: Seconds until a disk that failed is tried again.
RETRY = 5.0
#: Seconds between two log lines about a failing disk.
LOG_INTERVAL = 60.0
#: Removals remembered while the disk fails; beyond it the zone is emptied instead.
PENDING_LIMIT = 10_000


#: Bytes of stores in one transaction, after which it takes no other store: the zone is
#: brought back to ``max_size`` after each transaction.
GROUP_SIZE = 1 << 20

#: A queued write: the work, or a store with the call that gets its outcome.
_Stored = tuple[Store, Callable[[bool], None]]
_Write = Callable[[], None] | _Stored


class DiskQueue:
    """Asynchronous access to one ``Disk``. *log* takes one line of the error log."""

    def __init__(
        self,
        disk: Disk,
        *,
        pool: Executor,
        writer: Executor,
        call_from_thread: CallFromThread,
        scheduler: Scheduler,
        log: Callable[[str], None],
    ) -> None:
        self.disk = disk
        self.pool = pool
        self.call_from_thread = call_from_thread
        self._writer = writer
        self.scheduler = scheduler
        self.log = self._log = log
        #: What the writing thread takes next, and whether it is on its way to do so.
        self._writes: deque[_Write] = deque()
        self._notified = False
        self.tokens = Tokens()
        self._pending: list[Callable[[], object]] = []
        #: The pending removals that are being done.
        self._retrying: list[Callable[[], object]] = []
        self._clear_pending = False
        self._last_line: float | None = None
        #: The failure was logged, so its end is logged as well.
        self._failure_logged = False
        self._recovering = False
        self.closed = False
        #: How many purges there have been; a row records after which of them it was written.
        self.generation = 0
        #: Nothing is to be asked of the disk.
        self.down = False
        #: The index has been opened once.
        self.opened = False
        #: Gets the digests of what was culled, after the outcome of the call that did it.
        self.on_culled: Callable[[list[bytes]], None] = _ignore
        #: Called when the disk is in use again: it may have lost what it held.
        self.on_recovered: Callable[[], None] = _nothing

    @property
    def threads(self) -> Executor:
        """Where bodies are written and entries looked up: behind the opening until it is done."""
        return self.pool if self.opened else self._writer

    # -- work ----------------------------------------------------------------

    def write(
        self,
        work: Callable[[], _T],
        done: Callable[[_T | None, StorageError | None], None] | None = None,
        redo: Callable[[], object] | None = None,
    ) -> None:
        """Do *work* after all writes asked for before; *done* gets its result or its error.

        Where it fails, *redo* is done before the disk is used again.
        """

        def run() -> None:
            error: StorageError | None = None
            result: _T | None = None
            try:
                result = work()
            except StorageError as failure:
                error = failure
                if redo is not None:
                    self.disk.pending_mark.set()
            self.call_from_thread(finished, result, error, self.disk.take_culled())

        def finished(
            result: _T | None, error: StorageError | None, culled: list[bytes]
        ) -> None:
            if error is not None:
                self.failed(error, redo)
            if culled:
                self.on_culled(culled)
            if done is not None:
                done(result, error)

        def mark() -> None:
            # A purge is answered when it is in force, whatever becomes of this process.
            self.disk.pending_mark.set()
            if done is not None:
                self.call_from_thread(done, None, StorageError("disk is down"))

        if self.down:
            if redo is not None:
                self._add_pending(redo)
                self._submit(mark)
            elif done is not None:
                done(None, StorageError("disk is down"))
        else:
            self._submit(run)

    def store(self, store: Store, done: Callable[[bool], None]) -> None:
        """Put *store* on disk, after all writes asked for before; whether it is there now."""
        if self.down:
            done(False)
        else:
            self._submit((store, done))

    def _submit(self, write: _Write) -> None:
        self._writes.append(write)
        self._tell()

    def _tell(self) -> None:
        """Have the writing thread do what waits."""
        if self._writes and not self._notified:
            self._notified = True
            self._writer.submit(self._write_all)

    def _write_all(self) -> None:
        """In the writing thread: do what is asked for, stores that follow a store with it."""
        # What is added from now on is submitted anew, unless the loop below sees it.
        self._notified = False
        writes = self._writes
        while writes:
            first = writes.popleft()
            try:
                if isinstance(first, tuple):
                    self._store_all(self._group(first))
                else:
                    first()
            except Exception:
                # A fault of the program in one must not leave the others undone.
                self.call_from_thread(self._tell)
                raise

    def _group(self, first: _Stored) -> list[_Stored]:
        """*first* and the stores that follow it, as far as they go into one transaction."""
        writes = self._writes
        group = [first]
        size = first[0].size
        while writes and len(group) < PUT_LIMIT and size < GROUP_SIZE:
            following = writes[0]
            if not isinstance(following, tuple):
                break
            group.append(following)
            size += following[0].size
            writes.popleft()
        return group

    def _store_all(self, group: list[_Stored]) -> None:
        outcomes = self.disk.commit_all([store for store, _ in group])
        error: StorageError | None = None
        try:
            if True in outcomes:
                self.disk.keep_bounds()
        except StorageError as failure:
            # What was stored stays stored.
            error = failure
        waiting = [done for _, done in group]
        self.call_from_thread(self._stored, waiting, outcomes, error, self.disk.take_culled())

    def _stored(
        self,
        waiting: list[Callable[[bool], None]],
        outcomes: list[bool | StorageError],
        error: StorageError | None,
        culled: list[bytes],
    ) -> None:
        """Report the outcomes. A fault in one of the calls must not keep it from the others."""
        for done, outcome in zip(waiting, outcomes, strict=True):
            if isinstance(outcome, StorageError):
                self.failed(outcome)
            try:
                done(outcome is True)
            except Exception:
                self._log(f"cache zone {self.disk.zone.name}: {traceback.format_exc()}")
        if error is not None:
            self.failed(error)
        # Last: what was stored and culled at once is not waited for any more.
        if culled:
            self.on_culled(culled)

    def find(self, digest: bytes, ordered: bool, done: Callable[[Found | None], None]) -> None:
        """Look *digest* up; with *ordered*, after all writes asked for before."""
        now = self.scheduler.wall()

        def run() -> None:
            found: Found | Broken | None = None
            error: StorageError | None = None
            try:
                found = self.disk.find(digest, now)
            except StorageError as failure:
                error = failure
            self.call_from_thread(finished, found, error)

        def finished(found: Found | Broken | None, error: StorageError | None) -> None:
            if error is not None:
                self.failed(error)
                done(None)
            elif isinstance(found, Broken):
                self.write(lambda: self._settle(digest, now), lambda found, _: done(found))
            else:
                done(found)

        if self.down:
            done(None)
        elif ordered or not self.opened:
            self._submit(run)
        else:
            self.pool.submit(run)

    def _settle(self, digest: bytes, now: float) -> Found | None:
        """In the writing thread: a disagreement that is still there is damage."""
        found = self.disk.find(digest, now)
        if isinstance(found, Broken):
            self.disk.delete(digest)
            self.call_from_thread(
                self._log,
                f"cache zone {self.disk.zone.name}: entry {digest.hex()} is damaged, deleted",
            )
            return None
        return found

    # -- failing and coming back ---------------------------------------------

    def failed(self, error: StorageError, redo: Callable[[], object] | None = None) -> None:
        """The disk failed; use it no more until ``_recovered``."""
        # The frames it went through hold an index that is about to be replaced, and in
        # them is the error: its descriptors would stay open until the collector comes.
        error.__traceback__ = error.__cause__ = error.__context__ = None
        if redo is not None:
            self._add_pending(redo)
        if isinstance(error, CorruptIndexError):
            self.disk.damaged = True
        now = self.scheduler.monotonic()
        if self._last_line is None or now - self._last_line >= LOG_INTERVAL:
            self._last_line = now
            self._failure_logged = True
            self._log(f"cache zone {self.disk.zone.name}: {error}; serving without its disk")
        self.down = True
        if not self._recovering and not self.closed:
            self._recovering = True
            self.scheduler.call_later(RETRY, self._recover)

    def _add_pending(self, work: Callable[[], object]) -> None:
        if len(self._pending) >= PENDING_LIMIT:
            self._pending.clear()
            self._clear_pending = True
        if not self._clear_pending:
            self._pending.append(work)

    def _recover(self) -> None:
        if not self.closed:
            pending, self._pending = self._pending, []
            self._retrying = pending
            clear_first = self._clear_pending
            self._submit(lambda: self._try_again(pending, clear_first))

    def _try_again(self, pending: list[Callable[[], object]], clear_first: bool) -> None:
        """In the writing thread."""
        error: StorageError | None = None
        try:
            self._redo(pending, clear_first)
        except StorageError as failure:
            error = failure
        self.call_from_thread(self._recovered, pending, error)

    def _redo(self, pending: list[Callable[[], object]], clear_first: bool) -> None:
        """In the writing thread: open again, and do what is pending; ``StorageError``."""
        self.disk.reopen()
        self.disk.probe()
        if clear_first:
            self.disk.clear()
        for work in pending:
            work()

    def _recovered(self, pending: list[Callable[[], object]], error: StorageError | None) -> None:
        self._recovering = False
        self._retrying = []
        if error is not None:
            for work in pending:
                self._add_pending(work)
            self.failed(error)
        elif self._pending:
            # More removals were asked for while the disk was being tried.
            self.down = True
            self._recovering = True
            self._recover()
        else:
            self._clear_pending = False
            self.down = False
            self.opened = True
            self.write(self.disk.pending_mark.clear)
            self.on_recovered()
            if self._failure_logged:
                self._failure_logged = False
                self._log(f"cache zone {self.disk.zone.name}: disk is in use again")

    # -- life ----------------------------------------------------------------

    def open(self) -> None:
        """Open the index in the writing thread; look-ups asked for meanwhile wait behind it."""

        def opened(_: None, error: StorageError | None) -> None:
            self.opened = error is None

        self.write(self.disk.open, opened)

    def close(self) -> None:
        """Finish what is queued and pending, close the index, end the threads; blocks."""
        self.closed = True
        pending, clear_first = self._retrying + self._pending, self._clear_pending

        def close() -> None:
            try:
                if pending or clear_first:
                    # Where it fails once more, the next process finds the mark.
                    self._redo(pending, clear_first)
                    self.disk.pending_mark.clear()
                self.disk.close()
            except StorageError as error:
                self._log(f"cache zone {self.disk.zone.name}: {error}")

        self.pool.stop()
        self._submit(close)
        self._writer.stop()


def _ignore(digests: list[bytes]) -> None:
    """Default of ``on_culled``."""


def _nothing() -> None:
    """Default of ``on_recovered``."""
