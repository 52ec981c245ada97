"""Tests of the index: what its rows say, in which order they go, and what they add up to."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable

import diskcache
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.errors import StorageError
from cacheproxy.storage.disk.index import (
    INDEX_NAME,
    PUT_LIMIT,
    CorruptIndexError,
    Cull,
    Index,
    LevelsDisk,
    NewRow,
    body_path,
    converted,
)
from tests.storage.support import digest_of

#: The primary digest of the rows that do not care.
PRIMARY = digest_of(b"primary")


def named(number: int) -> bytes:
    """The digest of the entry of *number*."""
    return digest_of(b"%d" % number)


def making(content: bytes) -> Callable[[str], None]:
    """A *place* that makes the file."""

    def place(path: str) -> None:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)

    return place


class BodyPathTests(SynchronousTestCase):
    """Where a body lies (nginx ``proxy_cache_path``, ``levels``)."""

    digest = bytes.fromhex("b7f54b2df7773722d382f4809d65029c")

    def test_levels_are_cut_from_the_end(self) -> None:
        """The last characters of the name make the folders, outermost first."""
        name = "b7f54b2df7773722d382f4809d65029c"
        for levels, path in (
            ((), name),
            ((1,), f"c/{name}"),
            ((2,), f"9c/{name}"),
            ((1, 2), f"c/29/{name}"),
            ((2, 1, 2), f"9c/2/50/{name}"),
        ):
            self.assertEqual(body_path(levels, self.digest), path)

    def test_diskcache_lays_files_there(self) -> None:
        """What diskcache itself removes is what was stored."""
        folder = self.mktemp()
        os.makedirs(folder)
        disk = LevelsDisk(folder, levels="1:2")
        name, path = disk.filename(self.digest)
        self.assertEqual(name, body_path((1, 2), self.digest))
        making(b"")(path)
        disk.remove(name)
        self.assertFalse(os.path.exists(path))
        self.assertTrue(os.path.isdir(os.path.dirname(path)))
        disk.remove(name)


class ConvertedTests(SynchronousTestCase):
    """Foreign errors become ``StorageError``; damage is told from failure."""

    def raised(self, error: Exception) -> StorageError:
        with self.assertRaises(StorageError) as caught, converted("cannot test"):
            raise error
        found: StorageError = caught.exception
        self.assertIn("cannot test", str(found))
        return found

    def test_damage(self) -> None:
        """A file that is no database, and a table that is missing."""
        for error in (
            sqlite3.DatabaseError("file is not a database"),
            sqlite3.OperationalError("no such table: Cache"),
        ):
            self.assertIsInstance(self.raised(error), CorruptIndexError)

    def test_failure(self) -> None:
        """A full disk or a lock says nothing against the index."""
        for error in (
            sqlite3.OperationalError("database or disk is full"),
            sqlite3.ProgrammingError("Cannot operate on a closed database."),
            diskcache.Timeout(),
            OSError(5, "Input/output error"),
        ):
            self.assertNotIsInstance(self.raised(error), CorruptIndexError)

    def test_faults_of_the_program_pass(self) -> None:
        """A ``KeyError`` is not the disk's."""
        with self.assertRaises(KeyError), converted("cannot test"):
            raise KeyError("x")


class IndexCase(SynchronousTestCase):
    """An index in a temporary folder."""

    def setUp(self) -> None:
        self.path = os.path.abspath(self.mktemp())
        os.makedirs(self.path)
        self.index = Index(self.path, (1,))
        self.addCleanup(lambda: self.index.close())

    def put(
        self, number: int, *, size: int = 100, deadline: float = 1000.0, primary: bytes = PRIMARY
    ) -> bytes:
        digest = named(number)
        row = NewRow(digest, b"p" + primary, b"value", size, deadline, making(b"body"))
        self.index.put_all([row])
        return digest

    def put_sibling(self, parent: bytes, *, size: int = 10, deadline: float = 1000.0) -> bytes:
        digest = digest_of(b"sibling of " + parent)
        row = NewRow(digest, b"e" + parent, b"value", size, deadline, making(b"encoded"))
        self.index.put_all([row])
        return digest

    def file(self, digest: bytes) -> bool:
        return os.path.exists(os.path.join(self.path, body_path((1,), digest)))

    def present(self, *digests: bytes) -> list[bool]:
        """Which of *digests* there are; row and file agree."""
        found = [self.index.find(digest) is not None for digest in digests]
        self.assertEqual(found, [self.file(digest) for digest in digests])
        return found


class OpeningTests(IndexCase):
    """The file itself."""

    def test_rows_survive_closing(self) -> None:
        """What was committed is there for the next owner."""
        digest = self.put(1)
        self.index.close()
        self.index = Index(self.path, (1,))
        self.assertEqual(self.index.find(digest), (b"value", 1000.0, PRIMARY, 1))

    def test_no_database_is_corrupt(self) -> None:
        """Bytes that SQLite refuses are told as damage, so that they are set aside."""
        self.index.close()
        for suffix in ("-wal", "-shm"):
            if os.path.exists(os.path.join(self.path, INDEX_NAME + suffix)):
                os.unlink(os.path.join(self.path, INDEX_NAME + suffix))
        with open(os.path.join(self.path, INDEX_NAME), "wb") as file:
            file.write(b"no database" * 1000)
        with self.assertRaises(CorruptIndexError):
            Index(self.path, (1,))

    def test_foreign_table_is_corrupt(self) -> None:
        """A database whose table has other columns is of no use either."""
        folder = self.path + ".other"
        os.makedirs(folder)
        connection = sqlite3.connect(os.path.join(folder, INDEX_NAME))
        connection.execute("CREATE TABLE Cache (something TEXT)")
        connection.close()
        with self.assertRaises(CorruptIndexError):
            Index(folder, (1,))

    def test_taken_away(self) -> None:
        """An open file that is no more the one in the folder is noticed."""
        self.assertTrue(self.index.in_place)
        name = os.path.join(self.path, INDEX_NAME)
        os.rename(name, name + ".gone")
        self.assertFalse(self.index.in_place)
        shutil.copy(name + ".gone", name)
        self.assertFalse(self.index.in_place)

    def test_clean_mark_holds_for_one_opening(self) -> None:
        """Only who closes in order spares the next owner the search for orphans."""
        self.assertFalse(self.index.take_clean_mark())
        self.index.put_clean_mark()
        self.assertTrue(self.index.take_clean_mark())
        self.assertFalse(self.index.take_clean_mark())


class RowTests(IndexCase):
    """Putting, replacing, finding."""

    def test_missing(self) -> None:
        """A digest that was never stored."""
        self.assertIsNone(self.index.find(named(1)))
        self.assertEqual(self.index.usage(), (0, 0))

    def test_replacing_counts_once(self) -> None:
        """The second store of a digest takes the place and the size of the first."""
        self.put(1, size=100)
        digest = self.put(1, size=40, deadline=2000.0, primary=named(9))
        self.assertEqual(self.index.usage(), (1, 40))
        self.assertEqual(self.index.find(digest), (b"value", 2000.0, named(9), 1))

    def test_replacing_removes_siblings(self) -> None:
        """What was encoded from the older body is never served with the newer."""
        digest = self.put(1)
        sibling = self.put_sibling(digest)
        other = self.put_sibling(self.put(2))
        self.put(1)
        self.assertEqual(self.present(digest, sibling, other), [True, False, True])

    def test_failed_move_leaves_the_older_row(self) -> None:
        """The row is made with the rename or not at all."""
        digest = self.put(1, size=100)
        sibling = self.put_sibling(digest)

        def place(path: str) -> None:
            raise OSError(28, "No space left on device")

        with self.assertRaises(StorageError):
            self.index.put_all([NewRow(digest, b"p" + PRIMARY, b"newer", 7, 5.0, place)])
        self.assertEqual(self.index.find(digest), (b"value", 1000.0, PRIMARY, 1))
        self.assertEqual(self.index.usage(), (2, 110))
        self.assertEqual(self.present(digest, sibling), [True, True])

    def test_failed_move_leaves_no_row_of_the_group(self) -> None:
        """One transaction: all rows or none, in the order given."""

        def place(path: str) -> None:
            raise OSError(28, "No space left on device")

        rows = [
            NewRow(named(number), b"p" + PRIMARY, b"v", 1, 1.0, making(b"x")) for number in range(3)
        ]
        with self.assertRaises(StorageError):
            self.index.put_all([*rows, rows[0]._replace(digest=named(3), place=place)])
        self.assertEqual(self.index.usage(), (0, 0))
        self.index.put_all([*rows, rows[0]._replace(value=b"last", size=5)])
        self.assertEqual(self.index.usage(), (3, 7))
        row = self.index.find(named(0))
        assert row is not None
        self.assertEqual(row.value, b"last")

    def test_group_removes_the_siblings_of_each(self) -> None:
        """Also of those that are not the first."""
        digests = [self.put(number) for number in range(3)]
        siblings = [self.put_sibling(digest) for digest in digests]
        self.index.put_all(
            [NewRow(digest, b"p" + PRIMARY, b"v", 1, 1.0, making(b"x")) for digest in digests[1:]]
        )
        self.assertEqual(self.present(*siblings), [True, False, False])

    def test_transaction_holds_whatever_is_written_within(self) -> None:
        """All of it or, where it is broken off, nothing."""
        with self.index.transaction():
            self.put(1)
            self.put(2)
        with self.assertRaises(ValueError), self.index.transaction():
            self.put(3)
            raise ValueError
        self.assertEqual(self.index.usage()[0], 2)

    def test_limit_of_a_group_is_what_sqlite_takes(self) -> None:
        """``PUT_LIMIT`` rows in one statement, within the 999 parameters of older SQLite."""
        rows = [
            NewRow(named(number), b"p" + PRIMARY, b"v", 1, 1.0, making(b"x"))
            for number in range(PUT_LIMIT)
        ]
        self.index.put_all(rows)
        self.assertEqual(self.index.usage(), (PUT_LIMIT, PUT_LIMIT))
        self.assertLessEqual(PUT_LIMIT * 9, 999)

    def test_replaced_value_changes_the_size(self) -> None:
        """A longer head is accounted for; its siblings carry the older head and go."""
        digest = self.put(1, size=100)
        sibling = self.put_sibling(digest)
        self.index.replace_value(digest, lambda row: (row.value + b"123", frozenset()), 1)
        row = self.index.find(digest)
        assert row is not None
        self.assertEqual((row.value, row.deadline), (b"value123", 1000.0))
        self.assertEqual(self.index.usage(), (1, 103))
        self.assertEqual(self.present(digest, sibling), [True, False])

    def test_declined_change_leaves_everything(self) -> None:
        """None means that the value stays, and with it the siblings."""
        digest = self.put(1, size=100)
        sibling = self.put_sibling(digest)
        self.index.replace_value(digest, lambda row: None, 1)
        self.index.replace_value(named(2), lambda row: (b"never asked for", frozenset()), 1)
        self.assertEqual(self.present(digest, sibling, named(2)), [True, True, False])
        self.assertEqual(self.index.usage(), (2, 110))

    def test_digests_in_pages_without_siblings(self) -> None:
        """Every entry once; the end is told by an unchanged number."""
        expected = [self.put(number) for number in range(5)]
        self.put_sibling(expected[0])
        found: list[bytes] = []
        after = 0
        while True:
            page, last = self.index.digests(after, 2)
            self.assertLessEqual(len(page), 2)
            found += page
            if last == after:
                break
            after = last
        self.assertEqual(found, expected)

    def test_unknown(self) -> None:
        """Those without a row, in the order asked; none asked, none told."""
        first, second = self.put(1), self.put(2)
        self.assertEqual(
            self.index.unknown([named(7), second, named(8), first]), [named(7), named(8)]
        )
        self.assertEqual(self.index.unknown([]), [])


class RemovingTests(IndexCase):
    """Deleting."""

    def test_delete_counts_what_was_there(self) -> None:
        """Rows, files and siblings go; an unknown digest counts for nothing."""
        first, second, third = (self.put(number) for number in range(3))
        sibling = self.put_sibling(first)
        self.assertEqual(self.index.delete([first, named(9), second]), 2)
        self.assertEqual(self.present(first, second, third, sibling), [False, False, True, False])
        self.assertEqual(self.index.usage(), (1, 100))

    def test_file_without_a_row_is_deleted(self) -> None:
        """A body whose row was lost does not stay behind its deletion."""
        path = os.path.join(self.path, body_path((1,), named(1)))
        making(b"orphan")(path)
        self.assertEqual(self.index.delete([named(1)]), 0)
        self.assertFalse(self.file(named(1)))


class CullingTests(IndexCase):
    """What goes, in which order, and how much of it."""

    def test_longest_unused_first(self) -> None:
        """The order is that of the deadlines, not that of the stores."""
        late, early, middle = (
            self.put(number, deadline=deadline)
            for number, deadline in enumerate((300.0, 100.0, 200.0))
        )
        self.assertEqual(self.index.cull(Cull(1, None, 1)).seen, 1)
        self.assertEqual(self.present(late, early, middle), [True, False, True])
        self.assertEqual(self.index.cull(Cull(1, None, 1)).seen, 1)
        self.assertEqual(self.present(late, early, middle), [True, False, False])

    def test_stops_when_enough_is_free(self) -> None:
        """No more than the excess takes, and never more than the limit."""
        for number in range(6):
            self.put(number, size=100, deadline=float(number))
        self.assertEqual(self.index.cull(Cull(10, None, 0)).seen, 0)
        self.assertEqual(self.index.cull(Cull(10, None, 101)).seen, 2)
        self.assertEqual(self.index.usage(), (4, 400))
        self.assertEqual(self.index.cull(Cull(3, None, 1 << 40)).seen, 3)
        self.assertEqual(self.index.usage(), (1, 100))

    def test_inactive_only(self) -> None:
        """A deadline that is now has not passed."""
        past, now = self.put(1, deadline=99.0), self.put(2, deadline=100.0)
        self.assertEqual(self.index.cull(Cull(10, 100.0)).seen, 1)
        self.assertEqual(self.present(past, now), [False, True])

    def test_use_moves_the_deadline_of_siblings_too(self) -> None:
        """A batch of uses: what was encoded from an entry lives as long as it."""
        used, unused = self.put(1, deadline=10.0), self.put(2, deadline=20.0)
        sibling = self.put_sibling(used, deadline=10.0)
        self.index.touch([(50.0, used), (60.0, named(9))])
        for digest, deadline in ((used, 50.0), (sibling, 50.0), (unused, 20.0)):
            row = self.index.find(digest)
            assert row is not None
            self.assertEqual(row.deadline, deadline)
        self.assertIsNone(self.index.find(named(9)))
        self.index.cull(Cull(10, 30.0))
        self.assertEqual(self.present(used, sibling, unused), [True, True, False])

    def test_sibling_stays_as_long_as_its_entry(self) -> None:
        """Made before the entry's last use, it takes the entry's deadline."""
        digest = self.put(1, deadline=100.0)
        sibling = self.put_sibling(digest, deadline=10.0)
        self.assertEqual(self.index.cull(Cull(10, 50.0)).digests, [])
        self.assertEqual(self.present(digest, sibling), [True, True])
        self.assertEqual(self.index.cull(Cull(10, 50.0)).seen, 0)

    def test_entry_goes_with_its_siblings_and_frees_what_they_take(self) -> None:
        """What is freed is counted with them, so that no other entry goes in vain."""
        digest, other = self.put(0, size=100, deadline=10.0), self.put(2, size=100, deadline=20.0)
        sibling = self.put_sibling(digest, deadline=30.0)
        culled = self.index.cull(Cull(10, None, 110))
        self.assertEqual(culled.digests, [digest])
        self.assertEqual(self.present(digest, sibling, other), [False, False, True])

    def test_use_that_is_not_written_down_saves_an_entry(self) -> None:
        """It gets its deadline, and the next in order goes."""
        used, other = self.put(1, deadline=10.0), self.put(2, deadline=20.0)
        deadlines = {used: 40.0}
        what = Cull(10, None, 1, lambda digest: deadlines.get(digest, float("-inf")))
        self.assertEqual(self.index.cull(what), ([other], 2))
        row = self.index.find(used)
        assert row is not None
        self.assertEqual(row.deadline, 40.0)
        self.assertEqual(self.index.cull(what).digests, [used])

    def test_use_before_the_deadline_does_not_keep_an_inactive_entry(self) -> None:
        """It is inactive by both."""
        digest = self.put(1, deadline=10.0)
        self.assertEqual(self.index.cull(Cull(9, 50.0, 0, lambda digest: 49.0)).digests, [digest])


class SizeTests(IndexCase):
    """The files of the index."""

    def size(self, suffix: str) -> int:
        path = os.path.join(self.path, INDEX_NAME + suffix)
        return os.path.getsize(path) if os.path.exists(path) else 0

    def test_log_stays_near_its_limit(self) -> None:
        """One transaction may go beyond it; the next cuts it."""
        self.index.close()
        index = self.index = Index(self.path, (1,), log_pages=16)
        for number in range(300):
            row = NewRow(digest_of(b"%d" % number), b"p", bytes(2000), 1, 1.0, making(b"x"))
            index.put_all([row])
            self.assertLess(self.size("-wal"), 32 * 4096)

    def test_log_that_a_reader_kept_is_cut_when_it_has_gone(self) -> None:
        """``shorten_log`` waits for nobody."""
        self.index.close()
        index = self.index = Index(self.path, (1,), log_pages=16)
        reader = sqlite3.connect(os.path.join(self.path, INDEX_NAME), isolation_level=None)
        self.addCleanup(reader.close)
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM Cache").fetchall()
        for number in range(100):
            row = NewRow(digest_of(b"%d" % number), b"p", bytes(2000), 1, 1.0, making(b"x"))
            index.put_all([row])
        grown = self.size("-wal")
        self.assertGreater(grown, 32 * 4096)
        index.shorten_log()
        self.assertEqual(self.size("-wal"), grown)
        reader.execute("COMMIT")
        reader.close()
        index.shorten_log()
        self.assertEqual(self.size("-wal"), 0)

    def test_pages_of_removed_rows_are_given_back(self) -> None:
        """All but a part that is kept for the rows to come."""
        digests = [digest_of(b"%d" % number) for number in range(600)]
        for start in range(0, 600, 60):
            self.index.put_all(
                [
                    NewRow(digest, b"p", bytes(3000), 1, 1.0, making(b"x"))
                    for digest in digests[start : start + 60]
                ]
            )
        self.index.shorten_log()
        self.index.delete(digests)
        while self.index.compact(100):
            pass
        self.index.close()
        self.assertLess(self.size(""), 50 * 4096)


_steps = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "sibling", "change", "delete", "touch", "cull"]),
        st.integers(0, 5),
        st.integers(0, 900),
    ),
    max_size=25,
)


class AccountTests(SynchronousTestCase):
    """Rows, files and the sums that diskcache keeps."""

    @settings(max_examples=25, deadline=None)
    @given(_steps)
    def test_accounts_and_files_agree_after_any_sequence(
        self, steps: list[tuple[str, int, int]]
    ) -> None:
        """``usage`` is the sum over the rows, and the files are those of the rows."""
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder, True)
        index = Index(folder, (1,))
        try:
            for step, number, amount in steps:
                self.play(index, step, named(number), amount)
            self.assert_agree(index, folder)
        finally:
            index.close()

    def play(self, index: Index, step: str, digest: bytes, amount: int) -> None:
        place = making(b"x")
        primary = digest[:1] * 16
        if step == "put":
            index.put_all([NewRow(digest, b"p" + primary, b"v", amount, float(amount), place)])
        elif step == "sibling" and index.find(digest) is not None:
            sibling = digest_of(digest)
            index.put_all([NewRow(sibling, b"e" + digest, b"v", amount, float(amount), place)])
        elif step == "change":
            index.replace_value(digest, lambda row: (bytes(amount), frozenset()), 1)
        elif step == "delete":
            index.delete([digest])
        elif step == "touch":
            index.touch([(float(amount), digest)])
        else:
            index.cull(Cull(3, None, amount))

    def assert_agree(self, index: Index, folder: str) -> None:
        connection = sqlite3.connect(os.path.join(folder, INDEX_NAME))
        rows = connection.execute("SELECT size, filename, tag, key FROM Cache").fetchall()
        connection.close()
        self.assertEqual(index.usage(), (len(rows), sum(row[0] for row in rows)))
        files = {
            os.path.relpath(os.path.join(place, name), folder)
            for place, _, names in os.walk(folder)
            for name in names
            if len(name) == 32
        }
        self.assertEqual(files, {row[1] for row in rows})
        entries = {row[3] for row in rows if row[2][:1] == b"p"}
        self.assertLessEqual({row[2][1:] for row in rows if row[2][:1] == b"e"}, entries)
