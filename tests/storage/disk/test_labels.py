"""Tests of what purges find entries by: labels, their upkeep and the walks along them."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import os
import sqlite3

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.errors import StorageError
from cacheproxy.http.fields import Fields
from cacheproxy.policy.purge import (
    ByHost,
    ByKey,
    ByPrefix,
    ByTags,
    Everything,
    Selection,
    selects,
)
from cacheproxy.policy.stored import StoredResponse
from cacheproxy.policy.tags import MAX_TAGS
from cacheproxy.storage.disk.entry import Header, decode, encode
from cacheproxy.storage.disk.index import INDEX_NAME, Cull, Index, NewRow
from cacheproxy.storage.disk.labels import (
    KEY_LIMIT,
    decode_selection,
    encode_selection,
    labels_of,
    labels_size,
)
from tests.storage.support import digest_of, head_of

_bytes = st.binary(max_size=6)
_selections = st.one_of(
    st.builds(ByKey, _bytes),
    st.builds(ByPrefix, _bytes),
    st.builds(ByHost, _bytes),
    st.builds(ByTags, st.frozensets(_bytes, max_size=3)),
    st.just(Everything()),
)


def tagged(key: bytes, tags: bytes = b"", host: bytes = b"h") -> StoredResponse:
    """A head with tags."""
    return head_of(key, fields=Fields([(b"xkey", tags)] if tags else []), host=host)


class SelectionCodecTests(SynchronousTestCase):
    """``encode_selection`` and ``decode_selection``."""

    @given(_selections)
    def test_decode_undoes_encode(self, selection: Selection) -> None:
        """A purge that was noted is gone on with as it was asked for."""
        self.assertEqual(decode_selection(encode_selection(selection)), selection)

    @given(st.binary(max_size=12))
    def test_anything_else_is_an_error(self, data: bytes) -> None:
        """Damage raises one error, or is another selection; nothing else comes out."""
        try:
            decode_selection(data)
        except StorageError:
            pass


class LabelCase(SynchronousTestCase):
    """An index in a temporary folder."""

    def setUp(self) -> None:
        self.path = os.path.abspath(self.mktemp())
        os.makedirs(self.path)
        self.index = Index(self.path, ())
        self.addCleanup(lambda: self.index.close())

    def put(self, *stored: StoredResponse) -> None:
        """Rows with their labels, made together."""
        self.index.put_all([self.row(head) for head in stored])

    def row(self, stored: StoredResponse) -> NewRow:
        digest = digest_of(stored.key)
        value = encode(Header(stored, b"t" * 8, b"e" * 8))
        return NewRow(digest, b"p" + digest, value, 1, 9.0, lambda path: None, labels_of(stored))

    def labels(self) -> set[tuple[bytes, bytes]]:
        """(label, key of the row) of all that are there."""
        connection = sqlite3.connect(os.path.join(self.path, INDEX_NAME))
        self.addCleanup(connection.close)
        rows = connection.execute(
            "SELECT label, value FROM Label LEFT JOIN Cache ON Cache.rowid = entry"
        ).fetchall()
        return {(label, decode(value).stored.key) for label, value in rows}

    def walk(self, selection: Selection, limit: int = 2) -> list[bytes]:
        """The keys of the candidates of *selection*, in the order of the walk."""
        walk = self.index.labels.walk(selection)
        found = []
        while not walk.done:
            candidates = self.index.labels.candidates(walk, limit)
            self.assertLessEqual(len(candidates), limit)
            found += [decode(candidate.value).stored.key for candidate in candidates]
        return found

    def downgrade(self) -> None:
        """Make of it what a version without labels leaves."""
        self.index.close()
        connection = sqlite3.connect(os.path.join(self.path, INDEX_NAME))
        for trigger in ("insert", "update", "delete"):
            connection.execute(f"DROP TRIGGER Label_{trigger}")
        connection.execute("DROP TABLE Label")
        connection.execute("DELETE FROM Settings WHERE key LIKE 'cacheproxy_%'")
        connection.commit()
        connection.close()
        self.index = Index(self.path, ())

    def label_all(self) -> list[bytes]:
        """Label the rows of an older version; the damaged."""
        damaged: list[bytes] = []
        while True:
            with self.index.transaction():
                count, some = self.index.labels.label_rows(
                    2, lambda value: labels_of(decode(value).stored)
                )
            damaged += some
            if not count:
                return damaged


class KeepingTests(LabelCase):
    """Labels follow their rows."""

    def test_new_replaced_and_removed(self) -> None:
        """Each row has exactly the labels of what it holds now."""
        self.put(tagged(b"a", b"t u"), tagged(b"b", b"t"))
        a = {(b"hh", b"a"), (b"ka", b"a"), (b"tt", b"a")}
        b = {(b"hh", b"b"), (b"kb", b"b"), (b"tt", b"b")}
        self.assertEqual(self.labels(), a | b | {(b"tu", b"a")})
        self.put(tagged(b"a", b"t"), tagged(b"a", b"t v"))
        self.assertEqual(self.labels(), a | b | {(b"tv", b"a")})
        self.index.delete([digest_of(b"a")])
        self.assertEqual(self.labels(), b)
        self.index.cull(Cull(9, None, 9))
        self.assertEqual(self.labels(), set())

    def test_changed_by_an_update(self) -> None:
        """A 304 may bring other tags."""
        self.put(tagged(b"a", b"t"))
        head = tagged(b"a", b"u")
        self.index.replace_value(
            digest_of(b"a"),
            lambda row: (encode(Header(head, b"t" * 8, b"f" * 8)), labels_of(head)),
            1,
        )
        self.assertEqual(self.labels(), {(b"hh", b"a"), (b"ka", b"a"), (b"tu", b"a")})

    def test_labels_that_an_update_brings_count_in_the_entry(self) -> None:
        """A head of the same length with more tags takes more of ``max_size``."""
        self.put(tagged(b"a", b"t" * 9))
        before = self.index.usage()[1]
        head = tagged(b"a", b"t u v w x")
        self.index.replace_value(
            digest_of(b"a"),
            lambda row: (encode(Header(head, b"t" * 8, b"f" * 8)), labels_of(head)),
            1,
        )
        growth = labels_size(labels_of(head)) - labels_size(labels_of(tagged(b"a", b"t" * 9)))
        self.assertGreater(growth, 0)
        self.assertEqual(self.index.usage()[1] - before, growth)

    def test_too_many_tags(self) -> None:
        """Every purge by tag looks at an entry of which the tags cannot be told."""
        self.put(tagged(b"a", b" ".join(b"%d" % number for number in range(MAX_TAGS + 1))))
        self.assertEqual(self.walk(ByTags(frozenset({b"other"}))), [b"a"])


class WalkTests(LabelCase):
    """Which candidates a selection has."""

    def test_selections(self) -> None:
        """All that are selected, and none that only looks alike, in steps of any size."""
        heads = [
            tagged(b"a", b"t"),
            tagged(b"a\xff", b"t u"),
            tagged(b"a\xff\xff", b"u"),
            tagged(b"ab", b"", b"hh"),
            tagged(b"b", b"tt", b""),
            tagged(b"x" * KEY_LIMIT + b"1"),
            tagged(b"x" * KEY_LIMIT + b"2"),
        ]
        self.put(*heads)
        for selection in (
            ByPrefix(b""),
            ByPrefix(b"a"),
            ByPrefix(b"a\xff"),
            ByPrefix(b"\xff"),
            ByPrefix(b"x" * KEY_LIMIT + b"1"),
            ByHost(b"h"),
            ByHost(b"hh"),
            ByTags(frozenset({b"t"})),
            ByTags(frozenset({b"t", b"u", b"none"})),
            ByKey(digest_of(b"ab")),
            Everything(),
        ):
            expected = {h.key for h in heads if selects(selection, digest_of(h.key), h)}
            for limit in (1, 2, 100):
                found = set(self.walk(selection, limit))
                self.assertLessEqual(expected, found, selection)
                if selection != ByPrefix(b"x" * KEY_LIMIT + b"1"):
                    self.assertEqual(found, expected, selection)

    def test_cost_is_that_of_what_is_found(self) -> None:
        """A purge reads the table by its order; nothing is scanned."""
        self.put(tagged(b"a", b"t"))
        statements: list[str] = []
        connection = sqlite3.connect(os.path.join(self.path, INDEX_NAME))
        self.addCleanup(connection.close)
        index_sql = self.index.labels._sql

        def noted(statement: str, parameters: tuple[object, ...] = ()) -> object:
            plan = connection.execute("EXPLAIN QUERY PLAN " + statement, parameters)
            statements.extend(row[3] for row in plan)
            return index_sql(statement, parameters)

        self.index.labels._sql = noted
        for selection in (ByPrefix(b"a"), ByHost(b"h"), ByTags(frozenset({b"t"})), ByKey(b"x")):
            self.walk(selection)
        self.assertTrue(statements)
        self.assertEqual([plan for plan in statements if plan.startswith("SCAN")], [])


class OlderTests(LabelCase):
    """Zones of a version that knew no labels."""

    def test_every_row_is_looked_at_until_all_have_labels(self) -> None:
        """A purge is complete from the first moment; later it is quick, too."""
        self.put(*[tagged(b"%d" % number, b"t") for number in range(5)])
        self.downgrade()
        only = ByPrefix(b"3")
        self.assertEqual(len(self.walk(only)), 5)
        self.put(tagged(b"new", b"t"))
        self.assertEqual(self.label_all(), [])
        self.assertEqual(self.walk(only), [b"3"])
        self.assertEqual(len(self.walk(ByTags(frozenset({b"t"})))), 6)

    def test_rows_written_by_an_older_version_are_noticed(self) -> None:
        """A row that is made or changed without labels makes all rows be looked at again."""
        row = self.row(tagged(b"b", b"t"))
        old = (
            "INSERT INTO Cache (key, raw, store_time, expire_time, access_time, tag, size,"
            " mode, filename, value) VALUES (?, 1, 9, 9, 9, ?, 1, 2, 'x', ?)"
        )
        change = "UPDATE Cache SET value = ? WHERE key = ? AND raw = 1"
        for statement, parameters in (
            (old, (row.digest, row.tag, row.value)),
            (change, (self.row(tagged(b"a", b"w")).value, digest_of(b"a"))),
        ):
            self.put(tagged(b"a", b"t"))
            self.label_all()
            self.assertEqual(self.walk(ByPrefix(b"zz")), [])
            self.index.close()
            connection = sqlite3.connect(os.path.join(self.path, INDEX_NAME))
            connection.execute(statement, parameters)
            connection.commit()
            connection.close()
            self.index = Index(self.path, ())
            self.assertIn(b"a", self.walk(ByPrefix(b"zz")))
        self.label_all()
        self.assertEqual(self.walk(ByTags(frozenset({b"w"}))), [b"a"])
        self.assertEqual(self.walk(ByTags(frozenset({b"t"}))), [b"b"])

    def test_missing_parts_are_made_anew(self) -> None:
        """A table or trigger that is gone is no reason to miss an entry."""
        self.put(tagged(b"a", b"t"))
        for statement in ("DROP TRIGGER Label_delete", "DROP TABLE Label", "DROP TABLE Purge"):
            self.index.close()
            connection = sqlite3.connect(os.path.join(self.path, INDEX_NAME))
            connection.execute(statement)
            connection.commit()
            connection.close()
            self.index = Index(self.path, ())
            self.assertEqual(self.walk(ByTags(frozenset({b"t"}))), [b"a"])
            self.label_all()
            self.assertEqual(self.walk(ByTags(frozenset({b"t"}))), [b"a"])
            self.assertEqual(self.walk(ByTags(frozenset({b"u"}))), [])
