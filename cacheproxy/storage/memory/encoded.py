"""Encoded siblings: the body of an entry under a content coding, made once and kept.

A sibling is made in a disk thread, hangs on its entry in memory and lies on disk
under a digest derived from the entry's digest, the coding and the level. It names
the *edition* of the head that it was made for; with another edition it is not used,
so that a replaced or freshened entry never meets an older body or head.

Source: nginx ``gzip_comp_level``; RFC 9110 §8.4. Runs in the reactor thread, apart
from the methods that say otherwise.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import replace

from cacheproxy.errors import StorageError
from cacheproxy.http.coding import Gzip
from cacheproxy.policy.stored import StoredResponse
from cacheproxy.proxy.interfaces import Entry
from cacheproxy.storage.disk.body_file import new_token
from cacheproxy.storage.disk.disk import Found
from cacheproxy.storage.disk.entry import Header
from cacheproxy.storage.disk.queue import DiskQueue
from cacheproxy.storage.memory.memory import FileEntry, Memory, MemoryEntry
from cacheproxy.storage.threads import Executor

__all__ = ["ENCODE_LIMIT", "Encoder", "sibling_digest"]

#: The largest body that is encoded whole; a larger one is encoded as it is sent.
ENCODE_LIMIT = 8 << 20
#: Siblings being made or waiting for it; beyond it bodies are encoded as they are sent.
QUEUE_LIMIT = 64
#: Bytes given to the coder at a time.
_PIECE = 256 * 1024

_Done = Callable[[Entry | None], None]


def sibling_digest(digest: bytes, coding: bytes, level: int) -> bytes:
    """Where the sibling of *digest* is stored."""
    text = digest + b"\0" + coding + b"\0%d" % level
    return hashlib.md5(text, usedforsecurity=False).digest()


class Encoder:
    """Makes siblings; one for an edition, coding and level is made only once at a time.

    *executor* does the work, apart from the threads that look entries up.
    """

    def __init__(self, disk_queue: DiskQueue, memory: Memory, executor: Executor) -> None:
        self._executor = executor
        self._disk_queue = disk_queue
        self._memory = memory
        self._waiting: dict[tuple[bytes, bytes, bytes, int], list[_Done]] = {}

    def close(self) -> None:
        """Finish what is being made."""
        self._executor.stop()

    def encode(
        self,
        entry: MemoryEntry | FileEntry,
        how: tuple[bytes, int],
        stored: StoredResponse,
        done: _Done,
    ) -> None:
        """Give *done* the sibling of *entry* for (coding, level) *how*, or None."""
        coding, level = how
        if coding != b"gzip" or entry.stored.body_length > ENCODE_LIMIT:
            done(None)
            return
        key = (entry.digest, entry.edition, coding, level)
        waiting = self._waiting.get(key)
        if waiting is not None:
            waiting.append(done)
            return
        if len(self._waiting) >= QUEUE_LIMIT:
            done(None)
            return
        self._waiting[key] = [done]
        digest = sibling_digest(entry.digest, coding, level)
        if isinstance(entry, FileEntry):
            entry.handle.hold()
        now = self._disk_queue.scheduler.wall()
        on_disk = self._disk_queue.opened and not self._disk_queue.down

        def work() -> None:
            body: tuple[bytes, StoredResponse | None] | None = None
            made = False
            try:
                if on_disk:
                    body = self._from_disk(digest, entry.edition, now)
                if body is None:
                    body, made = self._make(entry, level), True
            except (StorageError, OSError, ValueError):
                body = None
            self._disk_queue.call_from_thread(self._made, entry, key, stored, body, made)

        self._executor.submit(work)

    def _from_disk(
        self, digest: bytes, edition: bytes, now: float
    ) -> tuple[bytes, StoredResponse | None] | None:
        """In a disk thread: what was made before, if it is of this edition."""
        found = self._disk_queue.disk.find(digest, now)
        if not isinstance(found, Found):
            return None
        try:
            if found.header.parent != edition:
                return None
            head = found.header.stored
            if found.body is not None:
                return found.body, head
            return _read_whole(found.descriptor, head.body_length), head
        finally:
            if found.descriptor >= 0:
                os.close(found.descriptor)

    def _make(
        self, entry: MemoryEntry | FileEntry, level: int
    ) -> tuple[bytes, StoredResponse | None]:
        """In a disk thread."""
        if isinstance(entry, FileEntry):
            body = _read_whole(entry.handle.descriptor, entry.stored.body_length)
        else:
            body = entry.body
        coder = Gzip(level)
        pieces = [coder.feed(body[start : start + _PIECE]) for start in range(0, len(body), _PIECE)]
        pieces.append(coder.finish())
        return b"".join(pieces), None

    def _made(
        self,
        entry: MemoryEntry | FileEntry,
        key: tuple[bytes, bytes, bytes, int],
        stored: StoredResponse,
        result: tuple[bytes, StoredResponse | None] | None,
        made: bool,
    ) -> None:
        if isinstance(entry, FileEntry):
            entry.handle.drop()
        waiting = self._waiting.pop(key)
        sibling: MemoryEntry | None = None
        if result is not None:
            body, head = result
            if head is None:
                head = replace(stored, body_length=len(body))
            coding, level = key[2:]
            digest = sibling_digest(entry.digest, coding, level)
            sibling = MemoryEntry(digest, entry.digest, head, body, entry.edition)
            if isinstance(entry, MemoryEntry):
                self._memory.attach(entry, (coding, level), sibling)
            if made:
                self._store(entry.digest, sibling)
        for done in waiting:
            done(sibling)

    def _store(self, parent: bytes, sibling: MemoryEntry) -> None:
        disk_queue = self._disk_queue
        disk = disk_queue.disk
        now = disk_queue.scheduler.wall()
        header = Header(sibling.stored, new_token(), new_token(), sibling.edition)

        def store() -> None:
            body = disk.temporary()
            try:
                body.append(sibling.body)
            except StorageError:
                body.discard()
                raise
            disk.commit_sibling(sibling.digest, parent, header, body, now)

        disk_queue.write(store)


def _read_whole(descriptor: int, length: int) -> bytes:
    data = os.pread(descriptor, length, 0)
    if len(data) != length:
        raise StorageError("stored body is shorter than it was")
    return data
