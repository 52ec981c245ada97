"""The memory tier: entries that can be sent without I/O, bounded by ``memory=``.

A hit costs one dict look-up and one test of a flag. The first use of an entry in
an interval sets the flag and notes the entry; the zone collects what was noted
every few seconds (``take_used``), which brings the used entries to the young
end and is what the disk tier's deadlines are written from. So the order of the
dict is the order of last use at the interval's resolution, and the old end goes
first, with a second chance for an entry whose flag is set.

An entry is replaced, never changed: whoever holds an old one goes on serving it.
Encoded siblings hang on the entry that they were made from and leave with it.

Another process's stores would be seen by comparing ``edition`` with a shared
counter in ``peek``; a zone that one process owns needs no comparison.

Imports: ``policy``, ``proxy.interfaces``.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from cacheproxy.policy.stored import StoredResponse
from cacheproxy.policy.tags import TagLimitError, tags_of
from cacheproxy.proxy.interfaces import BodySink
from cacheproxy.storage.bodies.readers import FileHandle, FileReader, MemoryReader, read_bytes
from cacheproxy.storage.threads import CallFromThread, Executor

__all__ = ["BODY_LIMIT", "FileEntry", "Memory", "MemoryEntry", "cost_of", "memory_body_limit"]

#: The largest body kept in memory, whatever ``memory=`` is.
BODY_LIMIT = 1 << 20
#: One body may take this part of ``memory=`` at most.
BODY_SHARE = 8
#: Bytes of the objects of one entry, and of each field line, besides their text.
ENTRY_OVERHEAD = 1200
FIELD_OVERHEAD = 180
#: Bytes of the places of a tag, besides its text, which is a field's.
TAG_OVERHEAD = 250


def memory_body_limit(memory: int) -> int:
    """The largest body that a tier of *memory* bytes keeps; -1 where it keeps none."""
    return min(BODY_LIMIT, memory // BODY_SHARE) if memory > 0 else -1


def cost_of(stored: StoredResponse, body: bytes) -> int:
    """Bytes accounted for an entry: body, head twice (as stored, ready to send), objects."""
    head = len(stored.key) + sum(len(name) + len(value) for name, value in stored.fields.pairs)
    return len(body) + 2 * head + FIELD_OVERHEAD * len(stored.fields.pairs) + ENTRY_OVERHEAD


def _tags_of(stored: StoredResponse) -> frozenset[bytes]:
    try:
        return tags_of(stored.fields)
    except TagLimitError:
        return frozenset()  # never stored so


class MemoryEntry:
    """A stored response with its whole body.

    *edition* identifies this head (see ``storage.disk.entry.Header``); *siblings* are
    the encoded forms by (coding, level). *last_used* is in wall seconds at the
    resolution of the zone's interval, *touched* when that was last written to disk.
    """

    __slots__ = (
        "body",
        "cost",
        "digest",
        "edition",
        "hot",
        "last_used",
        "primary",
        "siblings",
        "stored",
        "tags",
        "touched",
        "used",
    )

    def __init__(
        self, digest: bytes, primary: bytes, stored: StoredResponse, body: bytes, edition: bytes
    ) -> None:
        self.digest = digest
        self.primary = primary
        self.stored = stored
        self.body = body
        self.edition = edition
        self.hot: object | None = None
        self.tags = _tags_of(stored)
        self.cost = cost_of(stored, body) + TAG_OVERHEAD * len(self.tags)
        self.siblings: dict[tuple[bytes, int], MemoryEntry] | None = None
        self.used = False
        self.last_used = 0.0
        self.touched = 0.0

    def read(self, sink: BodySink, start: int, stop: int) -> MemoryReader:
        """Deliver bytes [start, stop) and the end before returning."""
        return read_bytes(self.body, sink, start, stop)

    def release(self) -> None:
        """Memory is freed with the last reference."""

    def __repr__(self) -> str:
        return f"<MemoryEntry {self.digest.hex()} {self.stored.status} {len(self.body)} bytes>"


class FileEntry:
    """A stored response whose body is read from an open file; held by who looked it up."""

    __slots__ = (
        "_call_from_thread",
        "_executor",
        "_handle",
        "_holders",
        "digest",
        "edition",
        "hot",
        "stored",
    )

    #: Never in memory.
    body: bytes | None = None

    def __init__(
        self,
        digest: bytes,
        stored: StoredResponse,
        edition: bytes,
        descriptor: int,
        executor: Executor,
        call_from_thread: CallFromThread,
    ) -> None:
        self.digest = digest
        self.stored = stored
        self.edition = edition
        self.hot: object | None = None
        self._handle = FileHandle(descriptor)
        self._holders = 1
        self._executor = executor
        self._call_from_thread = call_from_thread

    def read(self, sink: BodySink, start: int, stop: int) -> FileReader:
        """Deliver bytes [start, stop) as they are read."""
        return FileReader(self._handle, (start, stop), sink, self._executor, self._call_from_thread)

    @property
    def handle(self) -> FileHandle:
        """The open file, for who reads it whole."""
        return self._handle

    def hold(self) -> None:
        """One holder more; each calls ``release`` once."""
        self._holders += 1

    def release(self) -> None:
        """The last holder closes the file; readers that are under way keep it open."""
        self._holders -= 1
        if self._holders == 0:
            self._handle.drop()

    def __repr__(self) -> str:
        return f"<FileEntry {self.digest.hex()} {self.stored.status}>"


class Memory:
    """At most *limit* bytes of entries."""

    __slots__ = ("_entries", "_limit", "_tagged", "_used", "_variants", "body_limit", "size")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.body_limit = memory_body_limit(limit)
        self.size = 0
        # A plain dict scans what was deleted at its old end again and again.
        self._entries: OrderedDict[bytes, MemoryEntry] = OrderedDict()
        #: Variants by primary digest; an entry whose digest is the primary is not listed.
        self._variants: dict[bytes, set[bytes]] = {}
        #: Digests by tag.
        self._tagged: dict[bytes, set[bytes]] = {}
        #: Digests, not entries: an evicted entry must not stay in memory until the next interval.
        self._used: dict[bytes, None] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def peek(self, digest: bytes) -> MemoryEntry | None:
        """The entry, noted as used; no I/O. The path of every hit."""
        entry = self._entries.get(digest)
        if entry is not None and not entry.used:
            entry.used = True
            self._used[digest] = None
        return entry

    def get(self, digest: bytes) -> MemoryEntry | None:
        """The entry, without noting a use."""
        return self._entries.get(digest)

    def entries(self) -> list[MemoryEntry]:
        """All of them."""
        return list(self._entries.values())

    def variants(self, primary: bytes) -> list[MemoryEntry]:
        """Every variant of a key."""
        return self._those([primary, *self._variants.get(primary, ())])

    def tagged(self, tags: Iterable[bytes]) -> list[MemoryEntry]:
        """Every entry with at least one of *tags*."""
        return self._those(set().union(*[self._tagged.get(tag, ()) for tag in tags]))

    def _those(self, digests: Iterable[bytes]) -> list[MemoryEntry]:
        entries = self._entries
        return [entries[digest] for digest in digests if digest in entries]

    def add(self, entry: MemoryEntry, now: float) -> bool:
        """Keep *entry* in place of an older one; whether there was room. *now*: wall."""
        self.remove(entry.digest)
        if entry.cost > self._limit or len(entry.body) > self.body_limit:
            return False
        entry.last_used = now
        self._entries[entry.digest] = entry
        self.size += entry.cost
        if entry.digest != entry.primary:
            self._variants.setdefault(entry.primary, set()).add(entry.digest)
        for tag in entry.tags:
            self._tagged.setdefault(tag, set()).add(entry.digest)
        self._shrink(now)
        return entry.digest in self._entries

    def attach(self, entry: MemoryEntry, coding: tuple[bytes, int], sibling: MemoryEntry) -> None:
        """Hang *sibling* on *entry*, if *entry* still is in the tier and there is room."""
        if self._entries.get(entry.digest) is not entry:
            return
        if entry.cost + sibling.cost > self._limit or len(sibling.body) > self.body_limit:
            return
        if entry.siblings is None:
            entry.siblings = {}
        old = entry.siblings.get(coding)
        entry.siblings[coding] = sibling
        grown = sibling.cost - (0 if old is None else old.cost)
        entry.cost += grown
        self.size += grown
        self._shrink(entry.last_used)

    def remove(self, digest: bytes) -> MemoryEntry | None:
        """Forget the entry; what was removed."""
        entry = self._entries.pop(digest, None)
        if entry is not None:
            self._removed(entry)
        return entry

    def _removed(self, entry: MemoryEntry) -> None:
        self.size -= entry.cost
        variants = self._variants.get(entry.primary)
        if variants is not None:
            variants.discard(entry.digest)
            if not variants:
                del self._variants[entry.primary]
        for tag in entry.tags:
            tagged = self._tagged[tag]
            tagged.discard(entry.digest)
            if not tagged:
                del self._tagged[tag]

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._variants.clear()
        self._tagged.clear()
        self._used.clear()
        self.size = 0

    def take_used(self, now: float) -> list[MemoryEntry]:
        """The entries used since the last call, which become the youngest."""
        used, self._used = self._used, {}
        entries = self._entries
        live = []
        for digest in used:
            entry = entries.get(digest)
            if entry is not None:
                entry.used = False
                entry.last_used = now
                entries.move_to_end(digest)
                live.append(entry)
        return live

    def remove_inactive(self, before: float) -> None:
        """Forget entries last used before wall time *before*."""
        while self._entries:
            entry = next(iter(self._entries.values()))
            if entry.used or entry.last_used >= before:
                return
            self.remove(entry.digest)

    def _shrink(self, now: float) -> None:
        entries = self._entries
        while self.size > self._limit:
            digest, entry = next(iter(entries.items()))
            if entry.used:
                # A second chance. It stays noted, so that its use still reaches the
                # disk; clearing the flag means that the next pass takes it.
                entry.used = False
                entry.last_used = now
                entries.move_to_end(digest)
            else:
                del entries[digest]
                self._removed(entry)
