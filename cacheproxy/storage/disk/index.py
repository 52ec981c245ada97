"""The index of a zone: one ``diskcache.Cache``, a row an entry.

The columns of diskcache's table as they are used here:

- *key*: the digest; *filename*: the body file under the zone's folder, named by
  the digest's hexadecimal form in ``levels=`` folders as nginx lays them out;
- *value*: the encoded ``Header``;
- *expire_time*: wall seconds of the inactivity deadline (last use + ``inactive``),
  which orders both inactivity expiry and least-recently-used culling;
- *tag*: ``p`` + primary digest for an entry, ``e`` + digest of the entry that it
  encodes for a sibling; diskcache's tag index makes a purge cost what it removes;
- *size*: what the entry occupies: whole file system blocks, head, row and labels; what the
  index takes besides is set aside by ``policy.zone_size``;
- *access_count*: the epoch in which the row was written: purges divide the time of a
  zone into epochs, and take what is of an earlier one;
- *access_time*: changes whenever the value does (see ``storage.disk.labels``).

diskcache's own culling is off (its bound is checked only on ``set``, and it
removes old files by name after the new one took that name). Writes are SQL in
diskcache's transaction, because ``set`` has the same fault.

``synchronous=NORMAL`` with the write-ahead log: a kill at any moment loses
nothing that was committed; a power cut may lose the last commits, but cannot
damage the index, as it could with OFF; body files are not synced, their seals and
checksums tell.

Calls block; every method may raise ``StorageError``. Not for the reactor thread.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import diskcache

from cacheproxy.errors import StorageError
from cacheproxy.policy.key import levels_path
from cacheproxy.policy.zone_size import LOG_MOST, PAGE_SIZE
from cacheproxy.storage.disk.labels import Labels, labels_size

__all__ = [
    "INDEX_NAME",
    "PUT_LIMIT",
    "CorruptIndexError",
    "Cull",
    "Culled",
    "Index",
    "IndexLockedError",
    "LevelsDisk",
    "NewRow",
    "Row",
    "body_path",
    "converted",
]

#: The file that diskcache keeps its table in.
INDEX_NAME = "cache.db"
#: Seconds that a statement waits for another connection's lock.
BUSY_TIMEOUT = 10.0
#: What a row and its index entries occupy besides the head.
ROW_OVERHEAD = 300
#: Pages of SQLite's cache per connection (4 KiB each): small, because a zone has
#: a connection a thread and an idle worker must stay small.
CACHE_PAGES = 512
#: Rows made in one transaction: SQLite before 3.32 takes no more than 999 parameters.
PUT_LIMIT = 64
#: Rows removed with one statement: each gives up the interpreter's lock several times.
DROP_STEP = 200
#: Free pages of the file that are kept: so many, or this part of all pages.
FREE_LEAST = 16
FREE_SHARE = 8
#: Key of diskcache's Settings table: 1 while nobody has the zone open.
_CLEAN = "cacheproxy_clean"
#: Another: how often the index was opened.
_SESSION = "cacheproxy_session"
#: Rows by their deadlines: what goes with an entry is counted with it; of a sibling the last
#: column is the deadline of its entry.
_UNUSED_LONGEST = (
    "SELECT key, tag, expire_time, size + (SELECT coalesce(sum(sibling.size), 0)"
    " FROM Cache AS sibling WHERE sibling.tag = CAST(x'65' || Cache.key AS BLOB)),"
    " CASE WHEN substr(tag, 1, 1) = x'65' THEN (SELECT entry.expire_time FROM Cache AS entry"
    " WHERE entry.key = substr(Cache.tag, 2) AND entry.raw = 1) END"
    " FROM Cache WHERE expire_time < ? ORDER BY expire_time"
)
_SETTINGS: dict[str, Any] = {
    "eviction_policy": "none",
    "cull_limit": 0,
    "size_limit": 1 << 62,
    "statistics": 0,
    "tag_index": 1,
    # Incremental: what culling leaves free in the file is given back (``compact``).
    "sqlite_auto_vacuum": 2,
    "sqlite_cache_size": CACHE_PAGES,
    "sqlite_journal_mode": "wal",
    # Mapped pages would count as the worker's memory once for each thread's connection.
    "sqlite_mmap_size": 0,
    "sqlite_synchronous": 1,
}


class CorruptIndexError(StorageError):
    """The index is not a database any more."""


def body_path(levels: tuple[int, ...], digest: bytes) -> str:
    """Path of a body below the zone's folder: ``c/29/b7f5…029c`` for ``levels=1:2``.

    Source: nginx ``proxy_cache_path``, ``levels``.
    """
    return levels_path(digest.hex(), levels)


class IndexLockedError(StorageError):
    """Another connection held the index for ``BUSY_TIMEOUT``."""


class LevelsDisk(diskcache.Disk):  # type: ignore[misc]  # diskcache ships no types
    """diskcache's naming and removal of files, by ``levels=``."""

    def __init__(self, directory: str, levels: str = "", **settings: Any) -> None:
        super().__init__(directory, **settings)
        self.levels = levels

    def filename(self, key: Any = diskcache.UNKNOWN, value: Any = None) -> tuple[str, str]:
        """(path below the folder, whole path) of the body of *key*."""
        levels = tuple(int(level) for level in self.levels.split(":") if level)
        name = body_path(levels, bytes(key))
        return name, os.path.join(self._directory, name)

    def remove(self, file_path: str) -> None:
        """Unlink a body; its folders stay, as nginx leaves them, so that no store races."""
        try:
            os.unlink(os.path.join(self._directory, file_path))
        except FileNotFoundError:
            pass


class IndexCache(diskcache.Cache):  # type: ignore[misc]  # diskcache ships no types
    """A cache that leaves no connection open where it cannot be opened."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        try:
            super().__init__(*arguments, **settings)
        except BaseException:
            self.close()
            raise


@contextmanager
def converted(doing: str) -> Iterator[None]:
    """Turn SQLite's, diskcache's and the system's errors into ``StorageError``."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        # SQLite's codes for damage ("malformed", "not a database") come as the base class.
        damaged = type(error) is sqlite3.DatabaseError or "no such" in str(error)
        raise (CorruptIndexError if damaged else StorageError)(f"{doing}: {error}") from error
    except diskcache.Timeout as error:
        raise IndexLockedError(f"{doing}: index is locked or cannot be written") from error
    except (OSError, sqlite3.Error) as error:
        raise StorageError(f"{doing}: {error}") from error


class Row(NamedTuple):
    """What a look-up needs of a row.

    *value* is the encoded header, *deadline* the wall time from which the entry is
    inactive, *owner* the primary digest (of an encoded sibling: its entry's digest),
    *epoch* when it was written.
    """

    value: bytes
    deadline: float
    owner: bytes
    epoch: int


class NewRow(NamedTuple):
    """An entry to be made: *place* moves its body file to the path it is given.

    *tag* is as in the table, *size* what the entry occupies besides its *labels*,
    *deadline* in wall seconds, *epoch* that of the call (see ``Index.epoch``).
    """

    digest: bytes
    tag: bytes
    value: bytes
    size: int
    deadline: float
    place: Callable[[str], None]
    labels: frozenset[bytes] = frozenset()
    epoch: int = 1


class Cull(NamedTuple):
    """What ``Index.cull`` is to remove: at most *limit* entries, those unused longest first.

    With *inactive_at* (wall seconds) only those whose deadline is before it, else as many as
    free *excess* bytes. *deadline* tells the deadline of an entry by the uses that are not
    written down yet; ``-inf`` where there are none.
    """

    limit: int
    inactive_at: float | None
    excess: int = 0
    deadline: Callable[[bytes], float] = lambda digest: float("-inf")


class Culled(NamedTuple):
    """The entries that went, and how many were looked at: fewer than the limit at the end."""

    digests: list[bytes]
    seen: int


class Index:
    """Rows of one zone. Threads may share it: diskcache keeps a connection for each."""

    def __init__(
        self, directory: str, levels: tuple[int, ...], log_pages: int = LOG_MOST
    ) -> None:
        """Open or make the index in *directory*; ``CorruptIndexError`` if it is unusable.

        *log_pages* is the length of the write-ahead log between two transactions.
        """
        self._levels = levels
        self._log_limit = log_pages * PAGE_SIZE
        with converted(f"cannot open index of {directory}"):
            self._cache = cache = IndexCache(
                directory,
                timeout=BUSY_TIMEOUT,
                disk=LevelsDisk,
                disk_levels=":".join(str(level) for level in levels),
                sqlite_wal_autocheckpoint=log_pages,
                sqlite_journal_size_limit=self._log_limit,
                **_SETTINGS,
            )
            #: Labels and purges under way; their methods are called in ``transaction``.
            #: They do not refer to the index: the connections of other threads are closed
            #: when the last reference to it goes, and must not wait for the collector.
            self.labels = Labels(lambda statement, values=(): cache._sql(statement, values))
            try:
                self._prepare()
            except BaseException:
                cache.close()
                raise

    def _prepare(self) -> None:
        self.identity = self._stat()
        self._sql("SELECT key, value, expire_time FROM Cache LIMIT 1").fetchall()
        with self._cache.transact():
            self.labels.prepare()
            self._session = self._next_session()

    def _sql(self, statement: str, parameters: Iterable[Any] = ()) -> sqlite3.Cursor:
        cursor: sqlite3.Cursor = self._cache._sql(statement, parameters)
        return cursor

    def _stat(self) -> tuple[int, int]:
        status = os.stat(os.path.join(self._cache.directory, INDEX_NAME))
        return status.st_dev, status.st_ino

    @property
    def in_place(self) -> bool:
        """Whether the file that is open still is the one in the folder."""
        try:
            return self._stat() == self.identity
        except OSError:
            return False

    def _next_session(self) -> int:
        rows = self._sql("SELECT value FROM Settings WHERE key = ?", (_SESSION,)).fetchall()
        session = int(rows[0][0]) + 1 if rows else 1
        self._sql(
            "INSERT OR REPLACE INTO Settings (key, value) VALUES (?, ?)", (_SESSION, session)
        )
        return session

    def epoch(self, generation: int) -> int:
        """The epoch after so many purges since this opening: later than all before it."""
        return (self._session << 32) + generation

    @contextmanager
    def transaction(self, doing: str = "write index") -> Iterator[None]:
        """Changes that hold together, under their name in an error."""
        with converted(f"cannot {doing}"), self._cache.transact():
            yield

    def close(self) -> None:
        """Close the calling thread's connection; the others' go with the last reference."""
        with converted("cannot close index"):
            self._cache.close()

    def take_clean_mark(self) -> bool:
        """Whether the last owner closed the zone in order; the mark is taken away."""
        with converted("cannot read index"), self._cache.transact():
            rows = self._sql("SELECT value FROM Settings WHERE key = ?", (_CLEAN,)).fetchall()
            self._set_clean(0)
        return bool(rows and rows[0][0])

    def put_clean_mark(self) -> None:
        """Note that row and file agree everywhere."""
        with converted("cannot write index"), self._cache.transact():
            self._set_clean(1)

    def _set_clean(self, value: int) -> None:
        self._sql("INSERT OR REPLACE INTO Settings (key, value) VALUES (?, ?)", (_CLEAN, value))

    # -- reading -------------------------------------------------------------

    def find(self, digest: bytes) -> Row | None:
        """The row of *digest*, or None."""
        with converted("cannot read index"):
            row = self._sql(
                "SELECT value, expire_time, tag, access_count FROM Cache"
                " WHERE key = ? AND raw = 1",
                (digest,),
            ).fetchone()
        return None if row is None else Row(row[0], row[1], row[2][1:], row[3])

    def usage(self) -> tuple[int, int]:
        """(entries, bytes that they occupy)."""
        with converted("cannot read index"):
            rows = dict(
                self._sql(
                    "SELECT key, value FROM Settings WHERE key IN ('count', 'size')"
                ).fetchall()
            )
        return rows["count"], rows["size"]

    def digests(self, after: int, limit: int) -> tuple[list[bytes], int]:
        """Up to *limit* entries' digests with a row number above *after*, and the last number.

        Encoded siblings are left out; the number is *after* itself at the end.
        """
        with converted("cannot read index"):
            rows = self._sql(
                "SELECT rowid, key, tag FROM Cache WHERE rowid > ? ORDER BY rowid LIMIT ?",
                (after, limit),
            ).fetchall()
        found = [bytes(key) for _, key, tag in rows if bytes(tag or b"")[:1] == b"p"]
        return found, rows[-1][0] if rows else after

    # -- writing -------------------------------------------------------------

    def put_all(self, rows: Sequence[NewRow]) -> None:
        """Make *rows* in one transaction, in their order; at most ``PUT_LIMIT``.

        The renames come before the commit: a crash between them leaves a seal that
        disagrees with the row. Encoded siblings of what was replaced are removed.
        A failure leaves no row made; ``place`` may have been called.
        """
        removed: list[str] = []
        parameters: list[Any] = []
        with converted("cannot store"):
            with self._cache.transact():
                numbers = self._numbers([row.digest for row in rows])
                replaced = list(numbers.values())
                # Numbers are given here, so that those of new rows are known.
                (last,) = self._sql("SELECT max(rowid) FROM Cache").fetchone()
                last = last or 0
                for row in rows:
                    name = body_path(self._levels, row.digest)
                    row.place(os.path.join(self._cache.directory, name))
                    deadline = row.deadline
                    number = None
                    if row.digest not in numbers:
                        last = number = numbers[row.digest] = last + 1
                    parameters += (number, row.digest, deadline, deadline, deadline, row.epoch)
                    parameters += (row.tag, row.size + labels_size(row.labels))
                    parameters += (diskcache.core.MODE_BINARY, name, row.value)
                # One statement: each gives up the interpreter's lock several times.
                self._sql(
                    "INSERT INTO Cache (rowid, key, raw, store_time, expire_time, access_time,"
                    " access_count, tag, size, mode, filename, value) VALUES "
                    + ",".join(["(?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?)"] * len(rows))
                    + " ON CONFLICT (key, raw) DO UPDATE SET store_time = excluded.store_time,"
                    " expire_time = excluded.expire_time, access_time = access_time + 1,"
                    " access_count = excluded.access_count, tag = excluded.tag,"
                    " size = excluded.size, filename = excluded.filename,"
                    " value = excluded.value",
                    parameters,
                )
                # A digest that is there more than once has what comes last.
                labels = {numbers[row.digest]: row.labels for row in rows}
                self.labels.put(labels.items(), replaced)
                self._drop_tagged([b"e" + row.digest for row in rows], removed)
            self._unlink(removed)

    def _numbers(self, digests: list[bytes]) -> dict[bytes, int]:
        """The numbers of those of *digests* that have a row."""
        marks = ",".join("?" * len(digests))
        rows = self._sql(
            f"SELECT key, rowid FROM Cache WHERE raw = 1 AND key IN ({marks})", digests
        ).fetchall()
        return {bytes(key): number for key, number in rows}

    def replace_value(
        self,
        digest: bytes,
        change: Callable[[Row], tuple[bytes, frozenset[bytes]] | None],
        epoch: int,
    ) -> None:
        """Replace value and labels by what *change* makes of the row (None: leave it).

        Siblings go.
        """
        removed: list[str] = []
        with converted("cannot update"):
            with self._cache.transact():
                row = self._sql(
                    "SELECT rowid, value, expire_time, tag, access_count FROM Cache"
                    " WHERE key = ? AND raw = 1",
                    (digest,),
                ).fetchone()
                changed = None
                if row is not None:
                    changed = change(Row(bytes(row[1]), row[2], bytes(row[3])[1:], row[4]))
                if changed is not None:
                    value, labels = changed
                    growth = len(value) - len(row[1])
                    growth += self.labels.put([(row[0], labels)], [row[0]])
                    self._set_value(digest, value, growth, removed, epoch)
            self._unlink(removed)

    def replace_values(self, values: Iterable[tuple[bytes, bytes, int]]) -> None:
        """Replace the values (digest, new, length of the old) of rows that stay what they were.

        Epoch and labels do not change; siblings go.
        """
        removed: list[str] = []
        with converted("cannot update"):
            with self._cache.transact():
                for digest, value, length in values:
                    self._set_value(digest, value, len(value) - length, removed)
            self._unlink(removed)

    def _set_value(
        self,
        digest: bytes,
        value: bytes,
        growth: int,
        removed: list[str],
        epoch: int | None = None,
    ) -> None:
        self._sql(
            "UPDATE Cache SET value = ?, size = size + ?, access_time = access_time + 1,"
            " access_count = coalesce(?, access_count) WHERE key = ? AND raw = 1",
            (value, growth, epoch, digest),
        )
        self._drop_tagged([b"e" + digest], removed)

    def delete(self, digests: Iterable[bytes]) -> int:
        """Remove entries with their siblings and files; how many entries there were."""
        removed: list[str] = []
        count = 0
        with converted("cannot delete"):
            with self._cache.transact():
                wanted = list(digests)
                for start in range(0, len(wanted), DROP_STEP):
                    count += self._drop(wanted[start : start + DROP_STEP], removed)
            self._unlink(removed)
        return count

    def touch(self, deadlines: Iterable[tuple[float, bytes]]) -> None:
        """Set new inactivity deadlines: (wall seconds, digest); siblings follow."""
        with converted("cannot note uses"), self._cache.transact():
            self._touch(deadlines)

    def _touch(self, deadlines: Iterable[tuple[float, bytes]]) -> None:
        for deadline, digest in deadlines:
            self._sql(
                "UPDATE Cache SET expire_time = ? WHERE key = ? AND raw = 1",
                (deadline, digest),
            )
            self._sql(
                "UPDATE Cache SET expire_time = ? WHERE tag = ?", (deadline, b"e" + digest)
            )

    def cull(self, what: Cull) -> Culled:
        """Remove entries with their siblings; one that was used meanwhile gets its deadline."""
        removed: list[str] = []
        with converted("cannot cull"):
            with self._cache.transact():
                chosen, used = self._choose(what)
                self._touch([(deadline, digest) for digest, deadline in used.items()])
                for start in range(0, len(chosen), DROP_STEP):
                    self._drop(chosen[start : start + DROP_STEP], removed)
            self._unlink(removed)
        return Culled(chosen, len(chosen) + len(used))

    def _choose(self, what: Cull) -> tuple[list[bytes], dict[bytes, float]]:
        """The entries to remove, and the deadlines of those that were used."""
        at, excess = what.inactive_at, what.excess
        chosen: dict[bytes, None] = {}
        used: dict[bytes, float] = {}
        # An entry goes with its siblings, and they never go without it.
        rows = self._sql(_UNUSED_LONGEST, (float("inf") if at is None else at,))
        for key, tag, expires, size, entry_expires in rows:
            if len(chosen) + len(used) >= what.limit or (at is None and excess <= 0):
                break
            digest = bytes(tag)[1:] if bytes(tag)[:1] == b"e" else bytes(key)
            if digest in chosen or digest in used:
                continue
            deadline = max(what.deadline(digest), entry_expires or 0.0)
            if deadline > expires if at is None else deadline >= at:
                used[digest] = deadline
            else:
                chosen[digest] = None
                excess -= size
        rows.close()
        return list(chosen), used

    def shorten_log(self) -> None:
        """Write the log back and cut it, where it has outgrown its limit and nobody reads it."""
        path = os.path.join(self._cache.directory, INDEX_NAME + "-wal")
        with converted("cannot shorten the log of the index"):
            if not os.path.exists(path) or os.path.getsize(path) <= self._log_limit:
                return
            # Nobody is waited for: whoever reads a moment longer is looked at again later.
            self._sql("PRAGMA busy_timeout = 0").fetchall()
            try:
                self._sql("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            finally:
                self._sql(f"PRAGMA busy_timeout = {int(BUSY_TIMEOUT * 1000)}").fetchall()

    def compact(self, limit: int) -> int:
        """Give up to *limit* free pages back to the file system; how many.

        A part stays for the rows to come. An index of an older version keeps all it has.
        """
        with converted("cannot compact the index"):
            (pages,) = self._sql("PRAGMA page_count").fetchone()
            (free,) = self._sql("PRAGMA freelist_count").fetchone()
            count = min(limit, free - max(FREE_LEAST, pages // FREE_SHARE))
            if count <= 0:
                return 0
            self._sql(f"PRAGMA incremental_vacuum({count})").fetchall()
            (after,) = self._sql("PRAGMA freelist_count").fetchone()
        return int(free - after)

    def unknown(self, digests: list[bytes]) -> list[bytes]:
        """Those of *digests* that have no row."""
        marks = ",".join("?" * len(digests))
        with converted("cannot read index"):
            rows = self._sql(
                f"SELECT key FROM Cache WHERE raw = 1 AND key IN ({marks})", digests
            ).fetchall()
        known = {bytes(key) for (key,) in rows}
        return [digest for digest in digests if digest not in known]

    def _drop(self, digests: list[bytes], removed: list[str]) -> int:
        """Delete the rows of *digests* and their siblings' within a transaction; how many."""
        marks = ",".join("?" * len(digests))
        names = dict(
            self._sql(
                f"SELECT key, filename FROM Cache WHERE raw = 1 AND key IN ({marks})", digests
            ).fetchall()
        )
        # A file goes even where its row is lost already.
        removed += [names.get(digest) or body_path(self._levels, digest) for digest in digests]
        if names:
            self._sql(f"DELETE FROM Cache WHERE raw = 1 AND key IN ({marks})", digests)
        self._drop_tagged([b"e" + digest for digest in digests], removed)
        return len(names)

    def _drop_tagged(self, tags: list[bytes], removed: list[str]) -> None:
        marks = ",".join("?" * len(tags))
        rows = self._sql(f"SELECT filename FROM Cache WHERE tag IN ({marks})", tags).fetchall()
        if rows:
            self._sql(f"DELETE FROM Cache WHERE tag IN ({marks})", tags)
            removed += [name for (name,) in rows]

    def _unlink(self, names: list[str]) -> None:
        for name in names:
            self._cache.disk.remove(name)
