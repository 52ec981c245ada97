"""Labels of an index's rows, by which purges find entries: a table beside the rows.

A label is one byte that tells its kind, and a value: ``h`` and the host, ``k`` and the
start of the cache key, ``t`` and a tag. The table holds (label, number of the row) in this
order, so that the entries with one label, or with keys of one prefix, lie together; an
index by number finds the labels of a row. All is changed in the transaction that changes
the row; a trigger removes the labels of a row that is removed, whoever removes it.

A label only points to candidates: whether a purge takes an entry is decided by the entry.
Rows of a version that knew no labels get theirs in the background (``label_rows``); until
then a purge looks at every row. Triggers notice rows that such a version writes later: they
keep ``access_count`` or ``access_time``, which have no other use here.

Runs in the transactions of the index: blocking, and raising SQLite's errors.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from cacheproxy.errors import StorageError
from cacheproxy.policy.purge import ByHost, ByKey, ByPrefix, ByTags, Everything, Selection
from cacheproxy.policy.stored import StoredResponse
from cacheproxy.policy.tags import TagLimitError, tags_of

__all__ = [
    "KEY_LIMIT",
    "Candidate",
    "Labels",
    "Walk",
    "decode_selection",
    "encode_selection",
    "labels_of",
    "labels_size",
]

#: Bytes of a cache key that are looked up; keys that differ only after them are compared.
KEY_LIMIT = 240
#: What a label occupies besides twice its bytes.
LABEL_OVERHEAD = 30
_HOST, _KEY, _TAG = b"h", b"k", b"t"
#: Parameters of one statement: SQLite before 3.32 takes no more than 999.
_PARAMETERS = 900
#: The number up to which every row has its labels, in diskcache's Settings; _ALL for all.
_LABELLED = "cacheproxy_labelled"
_ALL = (1 << 63) - 1
_SET_LABELLED = "INSERT OR REPLACE INTO Settings (key, value) VALUES (?, ?)"
_UNLABEL = f"UPDATE Settings SET value = 0 WHERE key = '{_LABELLED}'"

_SCHEMA = {
    "Label": "CREATE TABLE Label"
    " (label BLOB, entry INTEGER, PRIMARY KEY (label, entry)) WITHOUT ROWID",
    "Label_entry": "CREATE INDEX Label_entry ON Label (entry)",
    "Label_insert": "CREATE TRIGGER Label_insert AFTER INSERT ON Cache"
    f" WHEN NEW.access_count = 0 BEGIN {_UNLABEL}; END",
    "Label_update": "CREATE TRIGGER Label_update AFTER UPDATE OF value ON Cache"
    f" WHEN NEW.access_time = OLD.access_time BEGIN {_UNLABEL}; END",
    "Label_delete": "CREATE TRIGGER Label_delete AFTER DELETE ON Cache"
    " BEGIN DELETE FROM Label WHERE entry = OLD.rowid; END",
}

_Sql = Callable[..., Any]


def labels_of(stored: StoredResponse) -> frozenset[bytes]:
    """The labels of an entry. One without a host, or with too many tags, has an empty one."""
    labels = {_HOST + stored.host, _KEY + stored.key[:KEY_LIMIT]}
    try:
        labels.update([_TAG + tag for tag in tags_of(stored.fields)])
    except TagLimitError:
        labels.add(_TAG)
    return frozenset(labels)


def labels_size(labels: Iterable[bytes]) -> int:
    """The bytes that *labels* occupy in the table and its index."""
    return sum(2 * len(label) + LABEL_OVERHEAD for label in labels)


class Candidate(NamedTuple):
    """A row that a purge may take; *epoch* tells whether it was made before the purge.

    *label* is what it was found by, empty where rows were walked along.
    """

    digest: bytes
    primary: bytes
    value: bytes
    epoch: int
    label: bytes

    def comes_first(self, tags: frozenset[bytes], stored: StoredResponse) -> bool:
        """Whether it was found by the first of *tags* that it has: it is there once for each."""
        if not self.label:
            return True
        try:
            return self.label == min(_TAG + tag for tag in tags & tags_of(stored.fields))
        except TagLimitError:
            return True


class Walk:
    """Where a purge is in the table: what is left of it.

    *ranges* are pairs of labels, the second excluded; None walks along all rows. Rows
    made after the walk began have numbers above *top*, as far as they are new.
    """

    __slots__ = ("label", "number", "primary", "ranges", "top")

    def __init__(
        self, ranges: list[tuple[bytes, bytes]] | None, primary: bytes | None, top: int
    ) -> None:
        self.ranges = ranges
        self.primary = primary
        self.top = top
        #: What was looked at last.
        self.number = -1
        self.label = ranges[0][0] if ranges else b""

    @property
    def done(self) -> bool:
        """Whether nothing is left."""
        return self.ranges == []

    def end_range(self) -> None:
        """Go on with the next range."""
        self.ranges = (self.ranges or [])[1:]
        self.number = -1
        self.label = self.ranges[0][0] if self.ranges else b""


def _ranges(selection: ByPrefix | ByHost | ByTags) -> list[tuple[bytes, bytes]]:
    if isinstance(selection, ByPrefix):
        start = _KEY + selection.prefix[:KEY_LIMIT]
        end = start.rstrip(b"\xff")  # never empty: the kind's byte is another
        return [(start, end[:-1] + bytes([end[-1] + 1]))]
    if isinstance(selection, ByHost):
        exact = {_HOST + selection.host, _HOST}
    else:
        exact = {_TAG, *[_TAG + tag for tag in selection.tags]}
    return [(label, label + b"\0") for label in sorted(exact)]


class Labels:
    """The labels of one index; *sql* runs a statement on the calling thread's connection."""

    def __init__(self, sql: _Sql) -> None:
        self._sql = sql

    def prepare(self) -> None:
        """Make the tables and triggers, if any is missing. Within a transaction."""
        rows = self._sql("SELECT name, type FROM sqlite_master").fetchall()
        kinds = dict(rows)
        if kinds.get("Purge") is None:
            self._sql(
                "CREATE TABLE Purge (number INTEGER PRIMARY KEY,"
                " selection BLOB, epoch INTEGER, stale_at REAL)"
            )
        if not _SCHEMA.keys() <= kinds.keys() or self._labelled() is None:
            for name in reversed(_SCHEMA):
                if name in kinds and (name == "Label" or kinds[name] == "trigger"):
                    self._sql(f"DROP {kinds[name]} {name}")
            for statement in _SCHEMA.values():
                self._sql(statement)
            some = self._sql("SELECT 1 FROM Cache LIMIT 1").fetchone()
            self._sql(_SET_LABELLED, (_LABELLED, 0 if some else _ALL))

    def _labelled(self) -> int | None:
        row = self._sql("SELECT value FROM Settings WHERE key = ?", (_LABELLED,)).fetchone()
        return None if row is None else int(row[0])

    # -- keeping ---------------------------------------------------------------

    def put(self, rows: Iterable[tuple[int, Iterable[bytes]]], replaced: Sequence[int]) -> int:
        """Give rows (number, labels) theirs; *replaced* are those that may have others.

        Returns by how much the table grows.
        """
        wanted = {(label, number) for number, labels in rows for label in labels}
        old: set[tuple[bytes, int]] = set()
        for start in range(0, len(replaced), _PARAMETERS):
            some = replaced[start : start + _PARAMETERS]
            marks = ",".join("?" * len(some))
            old.update(
                self._sql(f"SELECT label, entry FROM Label WHERE entry IN ({marks})", some)
            )
        for pair in old - wanted:
            self._sql("DELETE FROM Label WHERE label = ? AND entry = ?", pair)
        self._insert(sorted(wanted - old))
        before = labels_size(label for label, _ in old)
        return labels_size(label for label, _ in wanted) - before

    def _insert(self, pairs: Sequence[tuple[bytes, int]]) -> None:
        for start in range(0, len(pairs), _PARAMETERS // 2):
            some = pairs[start : start + _PARAMETERS // 2]
            marks = ",".join(["(?, ?)"] * len(some))
            self._sql(
                f"INSERT OR IGNORE INTO Label (label, entry) VALUES {marks}",
                [value for pair in some for value in pair],
            )

    def label_rows(
        self, limit: int, labels: Callable[[bytes], Iterable[bytes] | None]
    ) -> tuple[int, list[bytes]]:
        """Give up to *limit* rows theirs, which an older version made.

        *labels* makes them from a row's value; None for one that is damaged. Answers how
        many rows were looked at (0 when all have theirs) and the digests of the damaged.
        """
        after = self._labelled() or 0
        if after == _ALL:
            return 0, []
        rows = self._sql(
            "SELECT rowid, key, tag, value FROM Cache WHERE rowid > ? ORDER BY rowid LIMIT ?",
            (after, limit),
        ).fetchall()
        damaged: list[bytes] = []
        labelled: list[tuple[int, Iterable[bytes]]] = []
        for number, key, tag, value in rows:
            if bytes(tag)[:1] == b"p":
                found = labels(bytes(value))
                if found is None:
                    damaged.append(bytes(key))
                else:
                    labelled.append((number, found))
        self.put(labelled, [number for number, _ in labelled])
        self._sql(_SET_LABELLED, (_LABELLED, rows[-1][0] if rows else _ALL))
        return len(rows), damaged

    # -- finding ---------------------------------------------------------------

    def walk(self, selection: Selection) -> Walk:
        """A walk along what *selection* may take."""
        (top,) = self._sql("SELECT max(rowid) FROM Cache").fetchone()
        if isinstance(selection, ByKey):
            return Walk(None, selection.primary, top or 0)
        if isinstance(selection, Everything) or self._labelled() != _ALL:
            return Walk(None, None, top or 0)
        return Walk(_ranges(selection), None, top or 0)

    def candidates(self, walk: Walk, limit: int) -> list[Candidate]:
        """The next of *walk*, at most *limit*; fewer do not mean that it is done."""
        if walk.ranges is None:
            return self._along_rows(walk, limit)
        found: list[Candidate] = []
        while walk.ranges and len(found) < limit:
            found += self._along_labels(walk, walk.ranges[0][1], limit - len(found))
        return found

    def _along_labels(self, walk: Walk, end: bytes, limit: int) -> list[Candidate]:
        rows = self._sql(
            "SELECT L.label, L.entry, C.key, C.tag, C.value, C.access_count"
            " FROM Label AS L CROSS JOIN Cache AS C ON C.rowid = L.entry"
            " WHERE (L.label, L.entry) > (?, ?) AND L.label < ? AND L.entry <= ?"
            " ORDER BY L.label, L.entry LIMIT ?",
            (walk.label, walk.number, end, walk.top, limit),
        ).fetchall()
        if rows:
            walk.label, walk.number = bytes(rows[-1][0]), rows[-1][1]
        if len(rows) < limit:
            walk.end_range()
        return [_candidate(row[2:], bytes(row[0])) for row in rows]

    def _along_rows(self, walk: Walk, limit: int) -> list[Candidate]:
        only = "" if walk.primary is None else " AND tag = ?"
        tag = () if walk.primary is None else (b"p" + walk.primary,)
        rows = self._sql(
            "SELECT rowid, key, tag, value, access_count FROM Cache"
            f" WHERE rowid > ? AND rowid <= ?{only} ORDER BY rowid LIMIT ?",
            (walk.number, walk.top, *tag, limit),
        ).fetchall()
        if rows:
            walk.number = rows[-1][0]
        if len(rows) < limit:
            walk.end_range()
        return [_candidate(row[1:]) for row in rows if bytes(row[2])[:1] == b"p"]

    # -- purges under way --------------------------------------------------------

    def begin_purge(self, selection: Selection, epoch: int, stale_at: float | None) -> int:
        """Note a purge that takes more than one transaction; its number."""
        cursor = self._sql(
            "INSERT INTO Purge (selection, epoch, stale_at) VALUES (?, ?, ?)",
            (encode_selection(selection), epoch, stale_at),
        )
        return int(cursor.lastrowid)

    def end_purge(self, number: int) -> None:
        """The purge is complete."""
        self._sql("DELETE FROM Purge WHERE number = ?", (number,))

    def purges(self) -> list[tuple[int, bytes, int, float | None]]:
        """(number, encoded selection, epoch, time of a soft one) of what is not complete."""
        rows: list[tuple[int, bytes, int, float | None]] = self._sql(
            "SELECT number, selection, epoch, stale_at FROM Purge ORDER BY number"
        ).fetchall()
        return rows


def _candidate(row: tuple[bytes, bytes, bytes, int], label: bytes = b"") -> Candidate:
    key, tag, value, epoch = row
    return Candidate(bytes(key), bytes(tag)[1:], bytes(value), epoch, label)


_KINDS: tuple[type[Any], ...] = (ByKey, ByPrefix, ByHost, ByTags, Everything)
_LENGTH = struct.Struct("<I")


def encode_selection(selection: Selection) -> bytes:
    """The bytes of *selection*: its kind, then each value with its length."""
    values: Iterable[bytes] = ()
    if isinstance(selection, ByKey):
        values = (selection.primary,)
    elif isinstance(selection, ByPrefix):
        values = (selection.prefix,)
    elif isinstance(selection, ByHost):
        values = (selection.host,)
    elif isinstance(selection, ByTags):
        values = sorted(selection.tags)
    parts = [_LENGTH.pack(len(value)) + value for value in values]
    return bytes([_KINDS.index(type(selection))]) + b"".join(parts)


def decode_selection(data: bytes) -> Selection:
    """What ``encode_selection`` made *data* from; ``StorageError`` for anything else."""
    values: list[bytes] = []
    position = 1
    try:
        kind = _KINDS[data[0]]
        while position < len(data):
            (length,) = _LENGTH.unpack_from(data, position)
            position += _LENGTH.size + length
            values.append(data[position - length : position])
        if position > len(data):
            raise ValueError
        selection: Selection = kind(frozenset(values)) if kind is ByTags else kind(*values)
    except (struct.error, IndexError, TypeError, ValueError) as error:
        raise StorageError("stored purge is malformed") from error
    return selection
