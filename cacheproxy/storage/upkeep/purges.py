"""Purges of a zone in the reactor thread: running them, and remembering the recent ones.

What is in memory is removed, or becomes stale, in the call itself; what is on disk in steps
behind the writes that were asked for before (``storage.disk.purge_steps``).

A response may be asked for before a purge and arrive after it: it may be what the purge was
to remove, so the zone refuses to store it. Purges are remembered for ``RECENT_TIME`` and up
to ``RECENT_LIMIT``; of those that are forgotten the time of the last is kept, and everything
asked for before that time is refused, whatever it is.

Runs in the reactor thread.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf, nextafter

from cacheproxy.errors import StorageError
from cacheproxy.policy.purge import (
    ByHost,
    ByKey,
    ByPrefix,
    ByTags,
    Everything,
    Selection,
    mark_stale,
    selects,
)
from cacheproxy.policy.stored import StoredResponse
from cacheproxy.policy.tags import TagLimitError, tags_of
from cacheproxy.storage.bodies.cache_writer import CacheWriter
from cacheproxy.storage.disk.purge_steps import DiskPurge, Step, stale_edition
from cacheproxy.storage.disk.queue import DiskQueue
from cacheproxy.storage.memory.memory import Memory, MemoryEntry

__all__ = ["PurgeRun", "RecentPurges", "mark_writer", "purge_memory"]

#: Entries that a soft purge marks in memory; it drops the rest, which are on disk, so that
#: the reactor is not blocked.
MARK_LIMIT = 5_000

#: Seconds for which a purge is remembered by what it selects.
RECENT_TIME = 600.0
#: Keys, prefixes, hosts and tags remembered.
RECENT_LIMIT = 10_000
#: A step back of the wall clock by more than this is compensated, in seconds.
CLOCK_STEP = 1.0

_KEY, _PREFIX, _HOST, _TAG = range(4)


class RecentPurges:
    """What was purged when, by wall time: that of responses' ``request_time``."""

    __slots__ = ("_forgotten", "_lengths", "_marks", "_offset", "latest")

    def __init__(self) -> None:
        #: (kind, value) → when it was purged last; the longest ago first.
        self._marks: dict[tuple[int, bytes], float] = {}
        #: How many of them are prefixes of each length.
        self._lengths: dict[int, int] = {}
        #: Whatever was asked for before this time is refused.
        self._forgotten = float("-inf")
        self._offset = float("-inf")
        #: The time of the last one. What is asked for after it says so by this, if the clock
        #: has not moved on since, or was set back.
        self.latest = float("-inf")

    def note(self, selection: Selection, wall: float, monotonic: float) -> None:
        """Remember a purge that is asked for now."""
        # Later than anything asked for before it, even within one reading of the clock.
        mark = self.latest = nextafter(max(self._mark(wall, monotonic), self.latest), inf)
        if isinstance(selection, ByKey):
            self._add((_KEY, selection.primary), mark)
        elif isinstance(selection, ByPrefix):
            self._add((_PREFIX, selection.prefix), mark)
        elif isinstance(selection, ByHost):
            self._add((_HOST, selection.host), mark)
        elif isinstance(selection, ByTags):
            for tag in selection.tags:
                self._add((_TAG, tag), mark)
        else:
            self._marks.clear()
            self._lengths.clear()
            self._forgotten = mark
        self._forget(mark - RECENT_TIME)

    def _mark(self, wall: float, monotonic: float) -> float:
        """*wall*, or what it would be had the clock not been set back: times before were later."""
        offset = wall - monotonic
        if offset > self._offset - CLOCK_STEP:
            self._offset = offset
            return wall
        return monotonic + self._offset

    def _add(self, item: tuple[int, bytes], mark: float) -> None:
        if self._marks.pop(item, None) is None and item[0] == _PREFIX:
            length = len(item[1])
            self._lengths[length] = self._lengths.get(length, 0) + 1
        self._marks[item] = mark

    def _forget(self, before: float) -> None:
        marks = self._marks
        while marks:
            item, mark = next(iter(marks.items()))
            if mark >= before and len(marks) <= RECENT_LIMIT:
                return
            del marks[item]
            self._forgotten = max(self._forgotten, mark)
            if item[0] == _PREFIX:
                length = len(item[1])
                self._lengths[length] -= 1
                if not self._lengths[length]:
                    del self._lengths[length]

    def covers(self, primary: bytes, stored: StoredResponse) -> bool:
        """Whether *stored* was purged since it was asked for."""
        asked = stored.request_time
        if asked < self._forgotten:
            return True
        marks = self._marks
        if not marks:
            return False
        key = stored.key
        items = [(_KEY, primary), (_HOST, stored.host)]
        items += [(_PREFIX, key[:length]) for length in self._lengths if length <= len(key)]
        try:
            items += [(_TAG, tag) for tag in tags_of(stored.fields)]
        except TagLimitError:
            return True
        return any(asked < marks.get(item, asked) for item in items)


def purge_memory(
    memory: Memory, selection: Selection, stale_at: float | None, on_disk: bool
) -> set[bytes]:
    """Remove what *selection* takes from memory, or mark it stale; the digests.

    *on_disk* is whether what is dropped without being marked can be read again.
    """
    taken = [
        entry
        for entry in _candidates(memory, selection)
        if selects(selection, entry.primary, entry.stored)
    ]
    if isinstance(selection, Everything) and stale_at is None:
        memory.clear()
        return {entry.digest for entry in taken}
    for number, entry in enumerate(taken):
        if stale_at is None or (number >= MARK_LIMIT and on_disk):
            memory.remove(entry.digest)
        elif (head := mark_stale(entry.stored, stale_at)) is not entry.stored:
            edition = stale_edition(entry.edition)
            stale = MemoryEntry(entry.digest, entry.primary, head, entry.body, edition)
            stale.touched = entry.touched
            memory.add(stale, entry.last_used)
    return {entry.digest for entry in taken}


def _candidates(memory: Memory, selection: Selection) -> list[MemoryEntry]:
    if isinstance(selection, ByKey):
        return memory.variants(selection.primary)
    if isinstance(selection, ByTags):
        return memory.tagged(selection.tags)
    return memory.entries()


def mark_writer(writer: CacheWriter, now: float) -> None:
    """Make stale what *writer* is storing, or is about to put on disk.

    Where its row is being made already the purge on disk comes after it, and does the same.
    """
    head = mark_stale(writer.stored, now)
    if head is not writer.stored:
        writer.stored = head
        writer.edition = stale_edition(writer.edition)
    if writer.updated is not None:
        head, edition = writer.updated
        marked = mark_stale(head, now)
        if marked is not head:
            writer.updated = marked, stale_edition(edition)


class PurgeRun:
    """A purge under way on disk. *gone* is what was taken besides: memory, stores finishing.

    *begun* is called when look-ups need not wait for it any more, then *done* with the
    number of entries; both once, and also where the disk fails: the purge is pending then.
    """

    __slots__ = ("_begun", "_count", "_disk_queue", "_done", "_gone", "_purge")

    def __init__(
        self,
        disk_queue: DiskQueue,
        purge: DiskPurge,
        gone: set[bytes],
        begun: Callable[[], None],
        done: Callable[[int], None],
    ) -> None:
        self._disk_queue = disk_queue
        self._purge = purge
        self._gone = gone
        self._begun: Callable[[], None] | None = begun
        self._done = done
        self._count = 0

    def step(self) -> None:
        """Do one step, and what follows it."""
        disk, purge = self._disk_queue.disk, self._purge
        self._disk_queue.write(
            lambda: disk.purge_step(purge), self._stepped, lambda: disk.finish_purge(purge)
        )

    def _stepped(self, step: Step | None, error: StorageError | None) -> None:
        begun, self._begun = self._begun, None
        if begun is not None:
            begun()
        if step is not None:
            self._count += len(step.digests)
            self._gone.difference_update(step.digests)
            if step.more:
                self.step()
                return
        self._done(self._count + len(self._gone))
