"""Tests of encoded siblings."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import gzip
from dataclasses import replace

from cacheproxy.proxy.interfaces import Entry
from tests.storage.support import LARGE, Harness, QueueExecutor, ZoneCase, head_of


class EncodedTests(ZoneCase):
    """Encoded siblings."""

    TEXT = b"some text that repeats " * 500

    def encode(self, harness: Harness, entry: Entry) -> Entry | None:
        found: list[Entry | None] = []
        harness.zone.encoded(entry, b"gzip", 6, head_of(b"k"), found.append)
        self.assertEqual(len(found), 1)
        return found[0]

    def test_made_once_and_kept(self) -> None:
        """The sibling is in memory afterwards, and on disk after a restart."""
        harness = self.harness()
        digest = harness.store(b"k", self.TEXT)
        entry = harness.zone.peek(digest)
        assert entry is not None
        self.assertIsNone(harness.zone.peek_encoded(entry, b"gzip", 6))
        made = self.encode(harness, entry)
        assert made is not None and made.body is not None
        self.assertEqual(gzip.decompress(made.body), self.TEXT)
        self.assertEqual(made.stored.body_length, len(made.body))
        self.assertIs(harness.zone.peek_encoded(entry, b"gzip", 6), made)
        harness.restart()
        again = harness.look(digest)
        assert again is not None
        self.patch(harness.zone._encoder, "_make", None)
        from_disk = self.encode(harness, again)
        assert from_disk is not None
        self.assertEqual(from_disk.body, made.body)

    def test_replacement_and_update_leave_no_sibling(self) -> None:
        """A new body or a new head never meets an older sibling, in memory or on disk."""
        for change in ("replace", "update"):
            harness = self.harness()
            digest = harness.store(b"k", self.TEXT)
            entry = harness.zone.peek(digest)
            assert entry is not None
            self.encode(harness, entry)
            self.assertEqual(len(self.files()), 2)
            if change == "replace":
                harness.store(b"k", self.TEXT + b"!")
            else:
                harness.zone.update(digest, replace(entry.stored, lifetime=1.0))
            self.assertEqual(len(self.files()), 1)
            current = harness.zone.peek(digest)
            assert current is not None and current.body is not None
            self.assertIsNone(harness.zone.peek_encoded(current, b"gzip", 6))
            made = self.encode(harness, current)
            assert made is not None and made.body is not None
            self.assertEqual(gzip.decompress(made.body), current.body)
            harness.zone.delete(digest)
            self.assertEqual(self.files(), [])

    def test_sibling_of_a_replaced_entry_is_not_stored(self) -> None:
        """Encoding that ends after a replacement answers its asker and is not kept."""
        pool = QueueExecutor()
        harness = self.harness(pool=pool)
        digest = harness.store(b"k", self.TEXT)
        entry = harness.zone.peek(digest)
        assert entry is not None
        found: list[Entry | None] = []
        for _ in range(2):
            harness.zone.encoded(entry, b"gzip", 6, head_of(b"k"), found.append)
        self.assertEqual(len(pool.queue), 1)
        harness.store(b"k", b"new")
        pool.run()
        assert found[0] is not None and found[0].body is not None
        self.assertEqual(gzip.decompress(found[0].body), self.TEXT)
        self.assertIs(found[0], found[1])
        current = harness.zone.peek(digest)
        assert current is not None
        self.assertIsNone(harness.zone.peek_encoded(current, b"gzip", 6))
        self.assertEqual(len(self.files()), 1)

    def test_large_body_is_encoded_from_its_file(self) -> None:
        """A body that memory does not hold is read in the thread."""
        harness = self.harness()
        digest = harness.store(b"k", LARGE)
        entry = harness.look(digest)
        assert entry is not None
        made = self.encode(harness, entry)
        entry.release()
        assert made is not None and made.body is not None
        self.assertEqual(gzip.decompress(made.body), LARGE)

    def test_other_coding_and_too_large_are_refused(self) -> None:
        """What cannot be made is answered with None."""
        harness = self.harness(memory=200 << 20)
        digest = harness.store(b"k", bytes(9 << 20))
        entry = harness.look(digest)
        assert entry is not None
        self.assertIsNone(self.encode(harness, entry))
        found: list[Entry | None] = []
        harness.zone.encoded(entry, b"br", 6, head_of(b"k"), found.append)
        self.assertEqual(found, [None])
        entry.release()
