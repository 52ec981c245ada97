"""The disk tier of a zone: body files and their index, as blocking calls.

A body is written to a temporary file (``body_file``), sealed, and renamed into its place
under ``levels=`` in the transaction that makes its row. One that is whole already, and
has nothing to replace, is made in its place at once. Readers keep the file that
they opened: a rename over it leaves it whole until they close it.

Stores that wait together share a transaction (``commit_all``); each has its own
outcome. A file whose row was not made disagrees with what the index says, which
makes it a miss.

The zone calls the methods that write from one thread, in order; ``find`` may be
called from others meanwhile, and reports a row and a file that disagree as
``BROKEN``, which the caller settles on the writing thread (a store may just be
between its rename and its commit).

Source: nginx ``proxy_cache_path``. Not for the reactor thread; ``StorageError`` everywhere.
"""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from itertools import islice
from typing import Final

from cacheproxy.config.model import CacheZone
from cacheproxy.errors import StorageError
from cacheproxy.policy.stored import StoredResponse
from cacheproxy.policy.validation import same_representation
from cacheproxy.policy.zone_size import log_pages, room
from cacheproxy.storage.disk.body_file import CHECKED, TemporaryBody
from cacheproxy.storage.disk.entry import (
    NO_PARENT,
    SEAL_SIZE,
    Header,
    decode,
    encode,
    seal,
)
from cacheproxy.storage.disk.index import (
    INDEX_NAME,
    ROW_OVERHEAD,
    CorruptIndexError,
    Cull,
    Index,
    IndexLockedError,
    NewRow,
    Row,
    body_path,
    converted,
)
from cacheproxy.storage.disk.labels import labels_of, labels_size
from cacheproxy.storage.disk.orphans import TEMPORARY_PREFIX, body_files, remove_stale_temporaries
from cacheproxy.storage.disk.purge_steps import DiskPurge, DiskPurges, Step, label_step, seen
from cacheproxy.storage.disk.recovery import PendingMark, make_room

__all__ = ["BROKEN", "Broken", "Disk", "Found", "Store"]

#: Entries removed in one transaction, so that no step holds the index for long.
CULL_STEP = 100
#: Culling frees down to this part of ``max_size``, so that not every store culls.
CULL_TO = 0.995
#: Files compared with the index in one step of the search for orphans.
SWEEP_STEP = 256
_BLOCK = 4096
_NO_LABELS: frozenset[bytes] = frozenset()


class Broken(Enum):
    """What ``find`` says of an entry whose parts disagree."""

    BROKEN = "broken"


BROKEN: Final = Broken.BROKEN


@dataclass(slots=True)
class Found:
    """An entry on disk: its header and either the whole *body* or an open *descriptor*."""

    primary: bytes
    header: Header
    body: bytes | None
    descriptor: int


@dataclass(slots=True)
class Store:
    """A response to be stored: *body* is what was streamed of it so far, *rest* what was not.

    *wanted* is asked in the writing thread, before anything is done; *header* gets the
    body's checksum there. *now* is the wall time of its first use, *generation* how many
    purges had been asked for before the store was.
    """

    digest: bytes
    primary: bytes
    header: Header
    body: TemporaryBody | None
    rest: bytes
    now: float
    wanted: Callable[[], bool]
    generation: int = 0

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return len(self.rest) + (0 if self.body is None else self.body.size)


class Disk:
    """Blocking operations on one zone's folder; *log* gets one line per event.

    *body_limit* is the size up to which ``find`` reads the body whole.
    """

    def __init__(self, zone: CacheZone, log: Callable[[str], None], body_limit: int) -> None:
        self.zone = zone
        self._log = log
        self._body_limit = min(body_limit, CHECKED)
        self._index: Index | None = None
        self._temporary = ""
        self._opened = 0.0
        #: The files that are still to be looked at for orphans.
        self._sweep: Iterator[bytes] | None = None
        self.purges = DiskPurges()
        #: Bytes that entries may occupy; None without ``max_size``.
        self.room = None if zone.max_size is None else room(zone.max_size)
        #: When an entry was last used (wall seconds), as far as it is not written down:
        #: ``-inf`` where nothing is known. Called in the writing thread.
        self.last_use: Callable[[bytes], float] = _never
        self._culled: list[bytes] = []
        #: Says that something that failed was to be removed.
        self.pending_mark = PendingMark(zone.path)
        #: The last store left the zone above ``max_size``.
        self.over = False
        #: The index was found damaged while it was in use; the next opening replaces it.
        self.damaged = False
        #: The system call that writes bodies; a test makes it fail.
        self.write: Callable[[int, bytes], int] = os.write

    # -- opening -------------------------------------------------------------

    @property
    def index(self) -> Index:
        """The open index; ``StorageError`` while there is none."""
        if self._index is None:
            raise StorageError(f"zone {self.zone.name} is not open")
        return self._index

    def open(self) -> None:
        """Open the index; one that is corrupt is set aside and replaced by an empty one."""
        path = self.zone.path
        self._opened = time.time()
        with converted(f"cannot create {path}"):
            os.makedirs(path, 0o700, exist_ok=True)
        if self.damaged:
            self._set_aside("index is damaged")
            self.damaged = False
        if self.pending_mark.enforce():
            self._log(
                f"cache zone {self.zone.name}: what was to be removed when the last process"
                " ended was not, starting empty"
            )
        removed = make_room(path, ((one, self.path(one)) for one in self._bodies()))
        try:
            self._index = self._open_index()
        except CorruptIndexError as error:
            self._set_aside(str(error))
            self._index = self._open_index()
        if removed:
            self._index.delete(removed)
        self.purges.load(self._index)
        if not self._index.take_clean_mark():
            self._sweep = self._bodies()
        self._temporary = self._temporary_folder()
        remove_stale_temporaries(self._temporary)

    def _open_index(self) -> Index:
        return Index(self.zone.path, self.zone.levels, log_pages(self.zone.max_size))

    def _set_aside(self, reason: str) -> None:
        base = os.path.join(self.zone.path, INDEX_NAME)
        number = 1
        while os.path.exists(f"{base}.corrupt-{number}"):
            number += 1
        aside = f"{base}.corrupt-{number}"
        self._log(f"cache zone {self.zone.name}: {reason}; set aside as {aside}, starting empty")
        with converted("cannot set the index aside"):
            if os.path.exists(base):
                os.replace(base, aside)
            for suffix in ("-wal", "-shm"):
                if os.path.exists(base + suffix):
                    os.unlink(base + suffix)

    def _temporary_folder(self) -> str:
        """Where bodies are written: on the zone's own file system, so that they can be moved."""
        inside = os.path.join(self.zone.path, "temp")
        chosen = self.zone.temp_path if self.zone.use_temp_path else ""
        with converted("cannot make the folder for temporary files"):
            if chosen:
                os.makedirs(chosen, 0o700, exist_ok=True)
                if os.stat(chosen).st_dev == os.stat(self.zone.path).st_dev:
                    return chosen
                self._log(
                    f"cache zone {self.zone.name}: {chosen} is on another file system,"
                    f" temporary files go to {inside}"
                )
            os.makedirs(inside, 0o700, exist_ok=True)
        return inside

    def reopen(self) -> None:
        """Open again after a failure; the old index is dropped."""
        index, self._index = self._index, None
        if index is not None:
            try:
                index.close()
            except StorageError:
                pass
        # Its other connections close now, though opening may fail and keep this frame.
        del index
        self.open()

    def probe(self) -> None:
        """``StorageError`` unless a body can be written and a row be made."""
        body = self.temporary()
        try:
            body.append(bytes(_BLOCK))
        finally:
            body.discard()
        self.index.touch(())

    def clear(self) -> None:
        """Remove everything."""
        everything = Cull(CULL_STEP, None, 1 << 62)
        while self.index.cull(everything).seen:
            pass
        self.purges.clear(self.index)

    def check(self) -> None:
        """``StorageError`` if the folder or its index was taken away."""
        if not self.index.in_place:
            raise StorageError(f"index of {self.zone.path} is gone")

    def close(self) -> None:
        """Close in order: the next start need not search for orphans."""
        if self._index is not None:
            if self._sweep is None:
                self._index.put_clean_mark()
            self._index.close()
            self._index = None

    # -- reading -------------------------------------------------------------

    def find(self, digest: bytes, now: float) -> Found | Broken | None:
        """The entry of *digest*, unless it is missing or inactive at wall time *now*."""
        purges = self.purges.active  # before the row: a purge that ends now has taken it
        row = self.index.find(digest)
        if row is None or row.deadline < now:
            return None
        try:
            found = decode(row.value)
        except StorageError:
            return BROKEN
        header = seen(purges, row, found) if purges else found
        if header is None:
            return None
        path = self.path(digest)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return BROKEN
        except OSError as error:
            raise StorageError(f"cannot open {path}: {error}") from error
        try:
            return self._read(row.owner, header, descriptor)
        except OSError as error:
            os.close(descriptor)
            raise StorageError(f"cannot read {path}: {error}") from error

    def _read(self, primary: bytes, header: Header, descriptor: int) -> Found | Broken:
        length = header.stored.body_length
        end = seal(header.token)
        if length <= self._body_limit:
            # One byte more than there should be shows a file that is too long.
            data = os.pread(descriptor, length + SEAL_SIZE + 1, 0)
            os.close(descriptor)
            body = data[:length]
            if data[length:] != end or zlib.crc32(body) != header.checksum:
                return BROKEN
            return Found(primary, header, body, -1)
        if (
            os.fstat(descriptor).st_size != length + SEAL_SIZE
            or os.pread(descriptor, SEAL_SIZE, length) != end
        ):
            os.close(descriptor)
            return BROKEN
        return Found(primary, header, None, descriptor)

    def path(self, digest: bytes) -> str:
        """Where the body of *digest* lies."""
        return os.path.join(self.zone.path, body_path(self.zone.levels, digest))

    # -- writing -------------------------------------------------------------

    def temporary(self) -> TemporaryBody:
        """A new temporary file for a body. Any thread."""
        if self._index is None:
            raise StorageError(f"zone {self.zone.name} is not open")
        name = f"{TEMPORARY_PREFIX}-{os.getpid()}-{os.urandom(8).hex()}"
        path = os.path.join(self._temporary, name)
        return TemporaryBody(path, self._call_write)

    def _call_write(self, descriptor: int, data: bytes) -> int:
        return self.write(descriptor, data)

    def commit_all(self, stores: Sequence[Store]) -> list[bool | StorageError]:
        """Store each of *stores* in one transaction: whether it was wanted, or why it failed.

        What the zone has no room for is not wanted. ``keep_bounds`` comes after it.
        """
        outcomes: list[bool | StorageError] = [False] * len(stores)
        rows: list[NewRow] = []
        bodies: list[tuple[int, TemporaryBody]] = []
        for number, store in enumerate(stores):
            try:
                if store.wanted():
                    body = self._write_body(store)
                    tag = b"p" + store.primary
                    row = self._row(
                        store.digest, tag, store.header, body, store.now, store.generation
                    )
                    if self._has_room(row):
                        rows.append(row)
                        bodies.append((number, body))
                    else:
                        body.discard()
                elif store.body is not None:
                    store.body.discard()
            except StorageError as error:
                outcomes[number] = error
        for (number, body), failure in zip(bodies, self._put_all(rows), strict=True):
            outcomes[number] = True if failure is None else failure
            if failure is not None:
                body.discard()
        return outcomes

    def _has_room(self, row: NewRow) -> bool:
        """Whether the zone could hold the entry alone: else it would displace all, and go."""
        return self.room is None or row.size + labels_size(row.labels) <= self.room

    def keep_bounds(self) -> None:
        """After a store: one step towards ``max_size`` and ``min_free``; ``over`` if more."""
        if self.zone.max_size is not None or self.zone.min_free:
            self.over = self.cull_excess(CULL_STEP) == CULL_STEP

    def _write_body(self, store: Store) -> TemporaryBody:
        """The whole body in a closed file; none is left where that fails."""
        body = store.body or self._new_body(store.digest)
        try:
            body.finish(store.header.token, store.rest)
        except StorageError:
            body.discard()
            raise
        return body

    def _new_body(self, digest: bytes) -> TemporaryBody:
        """A file for a body that is whole: in its place, if it is free and has its folder."""
        if self._index is not None:
            try:
                return TemporaryBody(self.path(digest), self._call_write)
            except StorageError as error:
                if not isinstance(error.__cause__, (FileExistsError, FileNotFoundError)):
                    raise
        return self.temporary()

    def _put_all(self, rows: Sequence[NewRow]) -> list[StorageError | None]:
        """Make *rows* together; where that fails, one by one, so that one fails alone."""
        if not rows:
            return []
        try:
            self.index.put_all(rows)
        except IndexLockedError as error:
            # Each would wait as long again.
            return [error] * len(rows)
        except StorageError as error:
            if len(rows) == 1:
                return [error]
        else:
            return [None] * len(rows)
        return [self._put_all([row])[0] for row in rows]

    def commit_sibling(
        self, digest: bytes, parent: bytes, header: Header, body: TemporaryBody, now: float
    ) -> None:
        """Store the encoded *body*, if entry *parent* still is what it was made from."""
        try:
            row = self.index.find(parent)
        except StorageError:
            body.discard()
            raise
        if row is None or _edition(row.value) != header.parent:
            body.discard()
            return
        try:
            body.finish(header.token)
            sibling = self._row(digest, b"e" + parent, header, body, now, 0)
            if not self._has_room(sibling):
                body.discard()
                return
            self.index.put_all([sibling])
        except StorageError:
            body.discard()
            raise
        self.keep_bounds()

    def _row(
        self,
        digest: bytes,
        tag: bytes,
        header: Header,
        body: TemporaryBody,
        now: float,
        generation: int,
    ) -> NewRow:
        """The row of what is in *body*; *header* gets its checksum."""
        header.checksum = body.checksum
        value = encode(header)
        blocks = -(-(body.size + SEAL_SIZE) // _BLOCK) * _BLOCK
        size = blocks + len(value) + ROW_OVERHEAD
        labels = labels_of(header.stored) if tag[:1] == b"p" else _NO_LABELS
        deadline, epoch = now + self.zone.inactive, self.index.epoch(generation)
        return NewRow(digest, tag, value, size, deadline, body.move, labels, epoch)

    def update(
        self, digest: bytes, stored: StoredResponse, edition: bytes, generation: int = 0
    ) -> None:
        """Replace the head of *digest*; the body, its length and its token stay."""

        def change(row: Row) -> tuple[bytes, frozenset[bytes]] | None:
            try:
                header = decode(row.value)
            except StorageError:
                return None
            if seen(self.purges.active, row, header) is None:
                return None  # about to be removed
            length = header.stored.body_length
            if stored.body_length not in (-1, length):
                return None
            if not same_representation(header.stored.fields, stored.fields):
                return None
            head = replace(stored, body_length=length)
            value = encode(Header(head, header.token, edition, NO_PARENT, header.checksum))
            return value, labels_of(head)

        self.index.replace_value(digest, change, self.index.epoch(generation))

    def delete(self, digest: bytes) -> None:
        """Remove one entry with its encoded siblings."""
        self.index.delete([digest])

    def purge_step(self, purge: DiskPurge) -> Step:
        """One step of *purge*; the first begins it."""
        return self.purges.step(self.index, purge)

    def finish_purge(self, purge: DiskPurge) -> None:
        """Do all that is left of *purge*, and what of it failed."""
        self.purges.finish(self.index, purge)

    def purge_left_step(self, limit: int) -> int:
        """One step of a purge that an earlier process left; 0 where there is none."""
        return limit if self.purges.step_left(self.index) else 0

    def touch(self, digests: list[bytes], now: float) -> None:
        """Note that *digests* were used at wall time *now*."""
        deadline = now + self.zone.inactive
        self.index.touch((deadline, digest) for digest in digests)

    def label_step(self, limit: int) -> int:
        """Label rows of an older version: how many were looked at; 0 when all have theirs."""
        return label_step(self.index, limit)

    # -- keeping the bounds --------------------------------------------------

    def cull_inactive(self, now: float, limit: int = CULL_STEP) -> int:
        """Look at up to *limit* entries of those inactive at *now* and remove them; how many."""
        return self._cull(Cull(limit, now, 0, self._deadline))

    def cull_excess(self, limit: int = CULL_STEP) -> int:
        """The same towards ``max_size`` and ``min_free``."""
        excess = self._excess()
        if excess <= 0:
            return 0
        return self._cull(Cull(limit, None, excess, self._deadline))

    def _cull(self, what: Cull) -> int:
        culled = self.index.cull(what)
        self._culled += culled.digests
        return culled.seen

    def _deadline(self, digest: bytes) -> float:
        return self.last_use(digest) + self.zone.inactive

    def take_culled(self) -> list[bytes]:
        """The digests of what was culled since the last call. In the writing thread."""
        culled, self._culled = self._culled, []
        return culled

    def absent(self, digests: list[bytes]) -> list[bytes]:
        """Those of *digests* that are not on disk."""
        return self.index.unknown(digests)

    def shorten_log(self) -> None:
        """Bring the index's log back to its limit."""
        self.index.shorten_log()

    def compact_step(self, limit: int) -> int:
        """Give back up to *limit* pages that culling left free in the index; how many."""
        return self.index.compact(limit)

    def _excess(self) -> int:
        """Bytes to free now; 0 or less when the bounds hold."""
        zone = self.zone
        excess = 0
        if self.room is not None:
            size = self.index.usage()[1]
            if size > self.room:
                excess = size - int(self.room * CULL_TO)
        if zone.min_free:
            with converted(f"cannot stat {zone.path}"):
                status = os.statvfs(zone.path)
            excess = max(excess, zone.min_free - status.f_bavail * status.f_frsize)
        return excess

    def sweep_step(self, limit: int = SWEEP_STEP) -> int:
        """Reclaim those of up to *limit* files that have no row; how many were looked at."""
        if self._sweep is None:
            return 0
        digests = list(islice(self._sweep, limit))
        self._remove_unknown(digests)
        if len(digests) < limit:
            self._sweep = None
        return len(digests)

    def _bodies(self) -> Iterator[bytes]:
        return body_files(self.zone.path, len(self.zone.levels))

    def _remove_unknown(self, digests: list[bytes]) -> None:
        for digest in self.index.unknown(digests):
            path = self.path(digest)
            try:
                if os.stat(path).st_mtime < self._opened:
                    os.unlink(path)
            except OSError:
                continue


def _never(digest: bytes) -> float:
    return float("-inf")


def _edition(value: bytes) -> bytes | None:
    """The edition in an encoded header; None in one that is damaged."""
    try:
        return decode(value).edition
    except StorageError:
        return None
