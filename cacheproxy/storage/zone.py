"""One cache zone: the memory tier before the disk tier, behind ``proxy.interfaces.Storage``.

Writes to disk are done one after the other in the order of the calls; memory is changed in
the call itself. Look-ups run beside them (``storage.lookups``).

Runs in the reactor thread. Source: nginx ``proxy_cache_path``; RFC 9111 §4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

from cacheproxy.config.model import CacheZone
from cacheproxy.errors import StorageError
from cacheproxy.policy.key import digest as key_digest
from cacheproxy.policy.purge import Selection, selects
from cacheproxy.policy.stored import StoredResponse
from cacheproxy.policy.validation import same_representation
from cacheproxy.policy.zone_size import memory_size
from cacheproxy.proxy.interfaces import Entry, Scheduler
from cacheproxy.storage.bodies.cache_writer import CacheWriter
from cacheproxy.storage.disk.body_file import new_token
from cacheproxy.storage.disk.disk import Disk, Found
from cacheproxy.storage.disk.purge_steps import DiskPurge
from cacheproxy.storage.disk.queue import DiskQueue
from cacheproxy.storage.lookups import Lookups
from cacheproxy.storage.memory.encoded import Encoder
from cacheproxy.storage.memory.memory import FileEntry, Memory, MemoryEntry
from cacheproxy.storage.threads import DISK_THREADS, CallFromThread, Executor, ThreadExecutor
from cacheproxy.storage.upkeep.maintenance import Maintenance
from cacheproxy.storage.upkeep.purges import PurgeRun, RecentPurges, mark_writer, purge_memory

__all__ = ["Zone"]

#: Bytes of ``keys_zone`` that one counted key takes, as nginx documents it
#: (about 8000 keys a megabyte); bounds the table of ``proxy_cache_min_uses``.
KEY_SIZE = 128
#: Bytes of finished stores that may wait for the disk in one zone; beyond it nothing new
#: is stored.
WAITING_LIMIT = 32 << 20
#: Threads that compress: one, so that a burst of large bodies leaves the cores to the rest.
ENCODE_THREADS = 1
#: Bytes that a waiting store counts for besides its body.
WAITING_OVERHEAD = 4096
#: Entries in memory that the disk is asked for in one call.
COMPARE_STEP = 200

_Done = Callable[[Entry | None], None]


class _OnDisk:
    """The disk as look-ups see it: a ``lookups.Backing``."""

    def __init__(self, disk_queue: DiskQueue, maintenance: Maintenance) -> None:
        self._disk_queue = disk_queue
        self._maintenance = maintenance
        self.find = disk_queue.find
        self.used = maintenance.note
        self.wall = disk_queue.scheduler.wall

    def is_absent(self, digest: bytes) -> bool:
        return self._disk_queue.down or self._maintenance.is_absent(digest)

    def opened(self, digest: bytes, found: Found) -> FileEntry:
        header, disk_queue = found.header, self._disk_queue
        return FileEntry(
            digest,
            header.stored,
            header.edition,
            found.descriptor,
            disk_queue.pool,
            disk_queue.call_from_thread,
        )


class Zone:
    """A ``Storage`` over *config*'s folder. Call ``open`` once the process is the final one.

    *call_from_thread* hands a call to the reactor thread; *log* takes one line of
    the error log. *pool*, *writer* (one thread!) and *encoder* are made where not given.
    """

    #: See ``Memory.peek``; bound here so that a hit pays for one call.
    peek: Callable[[bytes], MemoryEntry | None]

    def __init__(
        self,
        config: CacheZone,
        *,
        scheduler: Scheduler,
        call_from_thread: CallFromThread,
        log: Callable[[str], None],
        pool: Executor | None = None,
        writer: Executor | None = None,
        encoder: Executor | None = None,
    ) -> None:
        self.config = config
        self.memory = Memory(memory_size(config.memory, config.max_size))
        self.peek = self.memory.peek
        self._scheduler = scheduler
        self._log = log
        self.disk_queue = DiskQueue(
            Disk(config, log, max(self.memory.body_limit, 0)),
            pool=pool or ThreadExecutor(f"cache-{config.name}", DISK_THREADS, log),
            writer=writer or ThreadExecutor(f"cache-{config.name}-index", 1, log),
            call_from_thread=call_from_thread,
            scheduler=scheduler,
            log=log,
        )
        self.disk_queue.on_culled = self._left_disk
        self.disk_queue.on_recovered = self._compare
        self._finishing: dict[bytes, CacheWriter] = {}
        self.maintenance = Maintenance(self.disk_queue, self.memory, config, self._finishing.keys())
        self._encoder = Encoder(
            self.disk_queue,
            self.memory,
            encoder or ThreadExecutor(f"cache-{config.name}-encode", ENCODE_THREADS, log),
        )
        self._lookups = Lookups(
            self.memory,
            _OnDisk(self.disk_queue, self.maintenance),
            self._finishing.keys(),
            lambda fault: log(f"cache zone {config.name}: {fault}"),
        )
        self._writers: set[CacheWriter] = set()
        self._waiting = 0
        #: Nothing is stored any more.
        self._closed = False
        self._recent = RecentPurges()
        self._uses: dict[bytes, int] = {}
        self._uses_limit = max(1024, config.keys_size // KEY_SIZE)

    def __repr__(self) -> str:
        down = self.disk_queue.down
        return f"<Zone {self.config.name} {len(self.memory)} in memory, down={down}>"

    def open(self) -> None:
        """Open the disk tier in the background and start the upkeep."""
        self.disk_queue.open()
        self.maintenance.start()

    def close(self) -> None:
        """Abort open stores, write what is noted, close the index. Blocks for the disk."""
        self._closed = True
        self._lookups.close()
        for writer in list(self._writers):
            writer.abort()
        self.maintenance.stop()
        self._encoder.close()
        self.disk_queue.close()
        self.memory.clear()

    # -- looking up ----------------------------------------------------------

    def lookup(self, digest: bytes, done: _Done) -> None:
        """Find the entry of *digest*; see ``Storage.lookup``."""
        entry = self.memory.peek(digest)
        if entry is not None:
            done(entry)
        else:
            self._lookups.lookup(digest, done)

    # -- storing -------------------------------------------------------------

    def fits(self, length: int) -> bool:
        """Whether the disk, or else memory, can take a body of *length* bytes."""
        limit = -1 if self.disk_queue.down else self.disk_queue.disk.room
        return limit is None or length <= max(limit, self.memory.body_limit)

    def open_writer(
        self, digest: bytes, primary: bytes, stored: StoredResponse
    ) -> CacheWriter | None:
        """Start to store; None where neither the disk nor memory can take it now."""
        keep = self.memory.body_limit
        if self._closed or (self.disk_queue.down and keep < 0):
            return None
        if self._waiting > WAITING_LIMIT or self._recent.covers(primary, stored):
            return None
        writer = CacheWriter(self, (digest, primary), stored, keep, self.disk_queue.disk.room)
        self._writers.add(writer)
        return writer

    def writer_closed(self, writer: CacheWriter) -> None:
        """*writer* takes no more data."""
        self._writers.discard(writer)

    def writer_finished(self, writer: CacheWriter, body: bytes | None) -> None:
        """Make what *writer* stored visible; look-ups wait until it is on disk or in memory."""
        digest = writer.digest
        writer.counted = writer.waiting + WAITING_OVERHEAD
        self._waiting += writer.counted
        older = self._finishing.get(digest)
        if older is not None:
            older.cancelled = True
        self._finishing[digest] = writer
        self._lookups.changed(digest)
        self._uses.pop(digest, None)
        writer.replaces = not self.maintenance.is_absent(digest)
        self.memory.remove(digest)
        if body is not None:
            entry = MemoryEntry(digest, writer.primary, writer.stored, body, writer.edition)
            self.memory.add(entry, self._scheduler.wall())
        self.maintenance.added(digest)

    def writer_committed(self, writer: CacheWriter, stored: bool) -> None:
        """The store is over: answer look-ups that wait for it, unless a newer one replaced it."""
        self._waiting -= writer.counted
        digest = writer.digest
        if self._finishing.get(digest) is not writer:
            return
        del self._finishing[digest]
        if not stored:
            if writer.replaces:
                # The entry that it was to replace must not come back.
                self._remove_disk(digest)
            if not self.disk_queue.down:
                # The disk has no room for it, or was not in use when it began.
                self.memory.remove(digest)
        else:
            self.maintenance.stored()
            if writer.updated is not None:
                self._update_disk(digest, *writer.updated)
        self._lookups.stored(digest)

    def update(self, digest: bytes, stored: StoredResponse) -> None:
        """Replace a head.

        Ignored where its length or validators are not those of the stored body, and where it
        was asked for before a purge of the entry.
        """
        # What is stored apart for a URL has its URL's key before a NUL (``policy.unkeyed``).
        if self._recent.covers(key_digest(stored.key.partition(b"\0")[0]), stored):
            return
        edition = new_token()
        old = self.memory.get(digest)
        if (
            old is not None
            and stored.body_length in (-1, len(old.body))
            and same_representation(old.stored.fields, stored.fields)
        ):
            head = replace(stored, body_length=len(old.body))
            entry = MemoryEntry(digest, old.primary, head, old.body, edition)
            self.memory.add(entry, self._scheduler.wall())
        self._lookups.changed(digest)
        writer = self._finishing.get(digest)
        if writer is None:
            self._update_disk(digest, stored, edition)
        elif stored.body_length in (-1, writer.size) and same_representation(
            writer.stored.fields, stored.fields
        ):
            writer.updated = stored, edition

    def _update_disk(self, digest: bytes, stored: StoredResponse, edition: bytes) -> None:
        disk, generation = self.disk_queue.disk, self.disk_queue.generation
        self._remove_in_order(
            digest,
            lambda: disk.update(digest, stored, edition, generation),
            lambda: disk.delete(digest),
        )

    # -- removing --------------------------------------------------------------

    def delete(self, digest: bytes) -> None:
        """Remove one entry and a store of it that is finishing, not one that has just begun."""
        self.memory.remove(digest)
        self._lookups.changed(digest)
        if self._cancel(digest) or not self.maintenance.is_absent(digest):
            self._remove_disk(digest)

    def _remove_disk(self, digest: bytes) -> None:
        disk = self.disk_queue.disk
        self._remove_in_order(digest, lambda: disk.delete(digest), lambda: disk.delete(digest))

    def _cancel(self, digest: bytes) -> bool:
        """Cancel a store that is finishing; whether there was one."""
        writer = self._finishing.pop(digest, None)
        if writer is None:
            return False
        writer.cancelled = True
        self._lookups.cancelled(digest)
        return True

    def _remove_in_order(
        self, digest: bytes, work: Callable[[], object], redo: Callable[[], object]
    ) -> None:
        """Do *work* on disk; look-ups of *digest* asked for from now on come after it."""
        self._lookups.removal_begins(digest)

        def removed(_: object, error: StorageError | None) -> None:
            self._lookups.removal_ends(digest)

        self.disk_queue.write(work, removed, redo)

    def purge(
        self, selection: Selection, done: Callable[[int], None], soft: bool = False
    ) -> None:
        """Remove what *selection* takes, or make it stale; see ``Storage.purge``.

        A response that was asked for before the purge may be what it is to remove,
        so that a store already begun is not kept either; a *soft* one has it kept as stale.
        """
        now = self._scheduler.wall()
        stale_at = now if soft else None
        self._recent.note(selection, now, self._scheduler.monotonic())
        self.disk_queue.generation += 1
        gone = purge_memory(self.memory, selection, stale_at, not self.disk_queue.down)
        self._lookups.all_changed()
        begun = [w for w in self._writers if selects(selection, w.primary, w.stored)]
        if soft:
            for writer in begun:
                mark_writer(writer, now)
        for writer in list(self._finishing.values()):
            if selects(selection, writer.primary, writer.stored):
                gone.add(writer.digest)
                if soft:
                    mark_writer(writer, now)
                else:
                    self._cancel(writer.digest)
        self._lookups.purge_asked()
        purge = DiskPurge(selection, stale_at, self.disk_queue.generation)
        PurgeRun(self.disk_queue, purge, gone, self._lookups.purge_begun, done).step()

        # Their followers look up again at once, and must do so behind the purge.
        if not soft:
            for writer in begun:
                writer.abort()

    def asked_now(self) -> float:
        """The ``request_time`` of what is asked for now."""
        return max(self._scheduler.wall(), self._recent.latest)

    def is_purged(self, primary: bytes, stored: StoredResponse) -> bool:
        """Whether a purge since ``stored.request_time`` took it."""
        return self._recent.covers(primary, stored)

    # -- what left the disk ------------------------------------------------------

    def _left_disk(self, digests: Iterable[bytes]) -> None:
        """Remove from memory what left the disk, unless it is being stored again."""
        for digest in digests:
            if digest not in self._finishing:
                self.memory.remove(digest)
                self._lookups.changed(digest)

    def _compare(self) -> None:
        """Remove from memory what is not on disk: stored while it failed, or lost with it."""
        disk = self.disk_queue.disk
        digests = [entry.digest for entry in self.memory.entries()]
        for start in range(0, len(digests), COMPARE_STEP):
            some = digests[start : start + COMPARE_STEP]
            self.disk_queue.write(partial(disk.absent, some), self._compared)

    def _compared(self, absent: list[bytes] | None, error: StorageError | None) -> None:
        self._left_disk(absent or ())

    # -- counting ----------------------------------------------------------------

    def note_use(self, digest: bytes) -> int:
        """Count a request; the table forgets the key that was first counted longest ago."""
        uses = self._uses
        count = uses.get(digest, 0) + 1
        if count == 1 and len(uses) >= self._uses_limit:
            del uses[next(iter(uses))]
        uses[digest] = count
        return count

    # -- encoded bodies ------------------------------------------------------------

    def peek_encoded(self, entry: Entry, coding: bytes, level: int) -> MemoryEntry | None:
        """The encoded sibling, if memory has it."""
        if isinstance(entry, MemoryEntry):
            siblings = entry.siblings
            if siblings is not None:
                return siblings.get((coding, level))
        return None

    def encoded(
        self, entry: Entry, coding: bytes, level: int, stored: StoredResponse, done: _Done
    ) -> None:
        """The encoded sibling, from memory, from disk or made now; see ``Storage.encoded``."""
        found = self.peek_encoded(entry, coding, level)
        if found is not None:
            done(found)
        elif isinstance(entry, (MemoryEntry, FileEntry)):
            self._encoder.encode(entry, (coding, level), stored, done)
        else:
            done(None)
