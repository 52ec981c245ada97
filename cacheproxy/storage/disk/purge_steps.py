"""Purges on disk, in steps that leave room for stores between them.

A purge removes what was written before it was asked for: rows of an earlier epoch. While it
works through the index, a row that it has not reached yet is not found (with a soft purge:
is found stale), so that nobody sees how far it is. One that takes more than a step is
recorded in the index, and continued after a restart, however the process ended.

Blocking; apart from ``seen``, in the writing thread only. ``StorageError`` everywhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from cacheproxy.errors import StorageError
from cacheproxy.policy.purge import ByKey, ByTags, Everything, Selection, mark_stale, selects
from cacheproxy.storage.disk.entry import TOKEN_SIZE, Header, decode, encode
from cacheproxy.storage.disk.index import Index, Row
from cacheproxy.storage.disk.labels import Candidate, Walk, decode_selection, labels_of

__all__ = [
    "PURGE_STEP",
    "DiskPurge",
    "DiskPurges",
    "Step",
    "label_step",
    "seen",
    "stale_edition",
]

#: Rows looked at in one step of a purge.
PURGE_STEP = 100


class DiskPurge:
    """One purge: *stale_at* is the wall time of a soft one, None for a hard one.

    *generation* is how many purges there have been since the zone was made, this included.
    """

    __slots__ = ("epoch", "generation", "number", "selection", "stale_at", "walk")

    def __init__(self, selection: Selection, stale_at: float | None, generation: int) -> None:
        self.selection = selection
        self.stale_at = stale_at
        self.generation = generation
        #: Rows of an earlier one are taken; 0 until the purge has begun.
        self.epoch = 0
        #: Its number in the index, where it is noted.
        self.number: int | None = None
        self.walk: Walk | None = None

    def takes(self, primary: bytes, header: Header, epoch: int) -> bool:
        """Whether a row is one that the purge is for."""
        return epoch < self.epoch and selects(self.selection, primary, header.stored)


@dataclass(slots=True)
class Step:
    """What one step took: the entries' *digests*; *more* may be left."""

    digests: list[bytes]
    more: bool


def stale_edition(edition: bytes) -> bytes:
    """The edition of a head that was marked stale; the memory tier's is the same."""
    return hashlib.md5(edition, usedforsecurity=False).digest()[:TOKEN_SIZE]


def seen(purges: Sequence[DiskPurge], row: Row, header: Header) -> Header | None:
    """*header* of a row as it is to be seen while *purges* are under way; None if it is not.

    *purges* must be those that were under way before the row was read. Any thread.
    """
    for purge in purges:
        if purge.takes(row.owner, header, row.epoch):
            if purge.stale_at is None:
                return None
            header = _stale(header, purge.stale_at)
    return header


def _stale(header: Header, now: float) -> Header:
    stored = mark_stale(header.stored, now)
    if stored is header.stored:
        return header
    edition = stale_edition(header.edition)
    return Header(stored, header.token, edition, header.parent, header.checksum)


class DiskPurges:
    """The purges under way in one index."""

    def __init__(self) -> None:
        #: Replaced, never changed: other threads read it.
        self.active: tuple[DiskPurge, ...] = ()

    def load(self, index: Index) -> None:
        """Take up the purges that an earlier process did not complete.

        One that cannot be read takes everything: it must not miss what it was for.
        """
        with index.transaction("read purges"):
            rows = index.labels.purges()
        noted = {number for number, _, _, _ in rows}
        for purge in self.active:
            purge.walk = None
            if purge.number not in noted:
                purge.number = None  # the index is another one
        known = {purge.number for purge in self.active}
        for number, data, epoch, stale_at in rows:
            if number not in known:
                try:
                    selection = decode_selection(bytes(data))
                except StorageError:
                    selection, stale_at = Everything(), None
                purge = DiskPurge(selection, stale_at, 0)
                purge.epoch, purge.number = epoch, number
                self.active += (purge,)

    def clear(self, index: Index) -> None:
        """Everything was removed."""
        with index.transaction("purge"):
            for number, _, _, _ in index.labels.purges():
                index.labels.end_purge(number)
        self.active = ()

    def step(self, index: Index, purge: DiskPurge) -> Step:
        """Do one step of *purge*; the first begins it."""
        if purge.walk is None:
            self._begin(index, purge)
        walk = purge.walk
        assert walk is not None
        with index.transaction("purge"):
            candidates = index.labels.candidates(walk, PURGE_STEP)
            if not walk.done and purge.number is None:
                purge.number = index.labels.begin_purge(
                    purge.selection, purge.epoch, purge.stale_at
                )
        digests = self._take(index, purge, candidates)
        if walk.done:
            if purge.number is not None:
                with index.transaction("purge"):
                    index.labels.end_purge(purge.number)
            self._remove(purge)
        return Step(digests, not walk.done)

    def finish(self, index: Index, purge: DiskPurge) -> None:
        """Do all of *purge*, from its beginning."""
        purge.walk = None
        while self.step(index, purge).more:
            pass

    def step_left(self, index: Index) -> bool:
        """One step of a purge that an earlier process left; whether there was one."""
        for purge in self.active:
            if purge.generation == 0:
                self.step(index, purge)
                return True
        return False

    def _begin(self, index: Index, purge: DiskPurge) -> None:
        if not purge.epoch:
            purge.epoch = index.epoch(purge.generation)
        if purge not in self.active:
            self.active += (purge,)
        with index.transaction("purge"):
            purge.walk = index.labels.walk(purge.selection)

    def _remove(self, purge: DiskPurge) -> None:
        self.active = tuple([other for other in self.active if other is not purge])

    def _take(
        self, index: Index, purge: DiskPurge, candidates: Sequence[Candidate]
    ) -> list[bytes]:
        """Remove those of *candidates* that *purge* is for, or mark them; their digests."""
        stale_at = purge.stale_at
        unread = stale_at is None and isinstance(purge.selection, (ByKey, Everything))
        digests: list[bytes] = []
        damaged: list[bytes] = []
        values: list[tuple[bytes, bytes, int]] = []
        for candidate in candidates:
            digest = candidate.digest
            if candidate.epoch >= purge.epoch:
                continue
            if unread:
                digests.append(digest)
                continue
            try:
                header = decode(candidate.value)
            except StorageError:
                # It cannot be read, so that no look-up would find it either.
                damaged.append(digest)
                continue
            if not _is_meant(purge.selection, candidate, header):
                continue
            digests.append(digest)
            if stale_at is not None and (marked := _stale(header, stale_at)) is not header:
                values.append((digest, encode(marked), len(candidate.value)))
        if values:
            index.replace_values(values)
        removed = damaged if stale_at is not None else digests + damaged
        if removed:
            index.delete(removed)
        return digests


def _is_meant(selection: Selection, candidate: Candidate, header: Header) -> bool:
    if not selects(selection, candidate.primary, header.stored):
        return False
    if isinstance(selection, ByTags):
        return candidate.comes_first(selection.tags, header.stored)
    return True


def label_step(index: Index, limit: int) -> int:
    """Label up to *limit* rows of an older version; how many were looked at, 0 at the end."""
    with index.transaction("label"):
        count, damaged = index.labels.label_rows(limit, _labels)
    if damaged:
        index.delete(damaged)
    return count


def _labels(value: bytes) -> frozenset[bytes] | None:
    try:
        return labels_of(decode(value).stored)
    except StorageError:
        return None
