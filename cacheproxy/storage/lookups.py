"""Look-ups of one zone, behind its memory.

A look-up runs beside the zone's writes and may overtake them. So that none answers with what
was replaced or removed before it was asked for,

- one for a digest whose store is not on disk yet waits for that store;
- one for a digest that is being removed, or while a purge begins, queues behind the removal;
- one that was under way when its digest changed is done again.

``Backing`` is what is asked: the disk today. A tier that hosts share would stand beside the
disk as another ``Backing``; nothing else of the zone knows where a found entry comes from.

Runs in the reactor thread.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Collection, Iterable
from typing import Protocol

from cacheproxy.proxy.interfaces import Entry
from cacheproxy.storage.disk.disk import Found
from cacheproxy.storage.memory.memory import FileEntry, Memory, MemoryEntry

__all__ = ["LOOKUP_TRIES", "Backing", "Lookups"]

#: How often a look-up is done again because its digest was changed meanwhile.
LOOKUP_TRIES = 4

_Done = Callable[[Entry | None], None]


class Backing(Protocol):
    """What holds the entries that memory does not have."""

    def is_absent(self, digest: bytes) -> bool:
        """Whether a look-up would certainly find nothing: it is not made then."""

    def find(self, digest: bytes, ordered: bool, done: Callable[[Found | None], None]) -> None:
        """Look up; with *ordered* after everything that was asked to be written before."""

    def opened(self, digest: bytes, found: Found) -> FileEntry:
        """The entry of what was *found* with a file instead of its body."""

    def used(self, digest: bytes) -> None:
        """Note that *digest* was found, which is a use."""

    def wall(self) -> float:
        """Wall seconds."""


class _Lookup:
    """A digest being looked up, with everyone who waits for it."""

    __slots__ = ("stale", "tries", "waiters")

    def __init__(self, tries: int) -> None:
        self.waiters: list[_Done] = []
        self.stale = False
        self.tries = tries


class Lookups:
    """The look-ups under way; *storing* are the digests whose stores are not on disk yet.

    What is found with its body is added to *memory*. *log* takes one line of the error log.
    """

    def __init__(
        self,
        memory: Memory,
        backing: Backing,
        storing: Collection[bytes],
        log: Callable[[str], None],
    ) -> None:
        self._memory = memory
        self._backing = backing
        self._storing = storing
        self._log = log
        self._under_way: dict[bytes, _Lookup] = {}
        self._after_store: dict[bytes, list[_Done]] = {}
        #: Removals under way by digest, and purges that have not begun on disk.
        self._removals: dict[bytes, int] = {}
        self._purges = 0
        self._closed = False

    def lookup(self, digest: bytes, done: _Done, tries: int = LOOKUP_TRIES) -> None:
        """Find the entry of *digest*, which memory does not have."""
        if digest in self._storing:
            self._after_store.setdefault(digest, []).append(done)
            return
        lookup = self._under_way.get(digest)
        if lookup is not None and not lookup.stale:
            lookup.waiters.append(done)
            return
        if tries <= 0 or self._closed or self._backing.is_absent(digest):
            done(None)
            return
        lookup = self._under_way[digest] = _Lookup(tries)
        lookup.waiters.append(done)
        ordered = self._purges > 0 or digest in self._removals
        self._backing.find(digest, ordered, lambda found: self._found(digest, lookup, found))

    def close(self) -> None:
        """Look nothing up any more."""
        self._closed = True

    def _found(self, digest: bytes, lookup: _Lookup, found: Found | None) -> None:
        if self._under_way.get(digest) is lookup:
            del self._under_way[digest]
        if lookup.stale:
            if found is not None and found.descriptor >= 0:
                os.close(found.descriptor)
            self._look_again(digest, lookup.waiters, lookup.tries - 1)
            return
        entry: MemoryEntry | FileEntry | None = None
        if found is not None:
            entry = self._entry(digest, found, len(lookup.waiters))
        self._answer(lookup.waiters, entry)

    def _look_again(self, digest: bytes, waiters: Iterable[_Done], tries: int) -> None:
        for done in waiters:
            current = self._memory.peek(digest)
            if current is not None:
                self._answer((done,), current)
            else:
                self.lookup(digest, done, tries)

    def _answer(self, waiters: Iterable[_Done], entry: Entry | None) -> None:
        """A fault in one waiter must not leave the others waiting."""
        for done in waiters:
            try:
                done(entry)
            except Exception:
                self._log(traceback.format_exc())

    def _entry(self, digest: bytes, found: Found, holders: int) -> MemoryEntry | FileEntry:
        self._backing.used(digest)
        if found.body is None:
            opened = self._backing.opened(digest, found)
            for _ in range(holders - 1):
                opened.hold()
            return opened
        header = found.header
        entry = MemoryEntry(digest, found.primary, header.stored, found.body, header.edition)
        self._memory.add(entry, self._backing.wall())
        return entry

    # -- what the zone does meanwhile --------------------------------------------

    def changed(self, digest: bytes) -> None:
        """What a look-up under way will find is not to be used."""
        lookup = self._under_way.get(digest)
        if lookup is not None:
            lookup.stale = True

    def all_changed(self) -> None:
        """The same for every look-up under way."""
        for lookup in self._under_way.values():
            lookup.stale = True

    def stored(self, digest: bytes) -> None:
        """The store of *digest* is over: who waited for it looks again."""
        self._look_again(digest, self._after_store.pop(digest, ()), LOOKUP_TRIES)

    def cancelled(self, digest: bytes) -> None:
        """The store of *digest* came to nothing, and nothing is there."""
        self._answer(self._after_store.pop(digest, ()), None)

    def removal_begins(self, digest: bytes) -> None:
        """Look-ups of *digest* queue behind its removal from now on."""
        self._removals[digest] = self._removals.get(digest, 0) + 1

    def removal_ends(self, digest: bytes) -> None:
        """The removal has been done, or has failed."""
        left = self._removals[digest] - 1
        if left:
            self._removals[digest] = left
        else:
            del self._removals[digest]

    def purge_asked(self) -> None:
        """Look-ups queue behind the first step of the purge."""
        self._purges += 1

    def purge_begun(self) -> None:
        """From here on the disk itself knows of the purge."""
        self._purges -= 1
