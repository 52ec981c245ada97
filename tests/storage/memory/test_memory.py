"""Tests of the memory tier."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import sys

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.http.fields import Fields
from cacheproxy.storage.memory.memory import Memory, MemoryEntry
from tests.storage.support import digest_of, head_of


def entry_of(
    key: bytes, body: bytes = b"", variant: bytes = b"", tags: bytes = b""
) -> MemoryEntry:
    """An entry of the tier."""
    digest = digest_of(key + variant)
    head = head_of(key, fields=Fields([(b"xkey", tags)] if tags else []))
    return MemoryEntry(digest, digest_of(key), head, body, b"e" * 8)


class MemoryTests(SynchronousTestCase):
    """``Memory``."""

    def test_bodies_beyond_the_limit_are_not_kept(self) -> None:
        """One body takes an eighth of the tier at most."""
        memory = Memory(80_000)
        self.assertTrue(memory.add(entry_of(b"a", bytes(10_000)), 1.0))
        self.assertFalse(memory.add(entry_of(b"b", bytes(10_001)), 1.0))
        self.assertEqual(len(memory), 1)

    def test_tier_of_nothing_keeps_nothing(self) -> None:
        """memory=0 turns the tier off."""
        memory = Memory(0)
        self.assertFalse(memory.add(entry_of(b"a"), 1.0))

    def test_used_entry_outlives_unused_ones(self) -> None:
        """The least recently used goes first."""
        memory = Memory(40_000)
        used = entry_of(b"used")
        memory.add(used, 0.0)
        for number in range(200):
            memory.add(entry_of(b"%d" % number), float(number))
            self.assertIs(memory.peek(used.digest), used)
        self.assertIsNone(memory.get(digest_of(b"0")))

    def test_take_used_reports_each_use_once(self) -> None:
        """A use is noted at most once between two collections."""
        memory = Memory(40_000)
        entry = entry_of(b"a")
        memory.add(entry, 0.0)
        for _ in range(3):
            memory.peek(entry.digest)
        self.assertEqual(memory.take_used(5.0), [entry])
        self.assertEqual(memory.take_used(6.0), [])
        self.assertEqual(entry.last_used, 5.0)

    def test_evicted_entry_is_let_go(self) -> None:
        """A use that is noted does not keep what was evicted in memory."""
        memory = Memory(40_000)
        entry = entry_of(b"a", bytes(4000))
        memory.add(entry, 0.0)
        memory.peek(entry.digest)
        memory.remove(entry.digest)
        # The name here and the argument of the call.
        self.assertEqual(sys.getrefcount(entry), 2)
        self.assertEqual(memory.take_used(1.0), [])

    def test_inactive_entries_leave(self) -> None:
        """Only those not used since the given time."""
        memory = Memory(40_000)
        for number in range(4):
            memory.add(entry_of(b"%d" % number), float(number))
        memory.remove_inactive(2.0)
        self.assertEqual(
            [memory.get(digest_of(b"%d" % n)) is None for n in range(4)], [True, True, False, False]
        )

    def test_sibling_leaves_with_its_entry(self) -> None:
        """An encoded form is counted, and gone when its entry is replaced."""
        memory = Memory(100_000)
        entry = entry_of(b"a", bytes(100))
        memory.add(entry, 0.0)
        before = memory.size
        memory.attach(entry, (b"gzip", 1), entry_of(b"gz", bytes(50)))
        self.assertGreater(memory.size, before)
        memory.add(entry_of(b"a", bytes(100)), 1.0)
        self.assertEqual(memory.size, before)
        memory.attach(entry, (b"gzip", 1), entry_of(b"gz", bytes(50)))
        self.assertEqual(memory.size, before)

    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["add", "peek", "remove", "purge", "collect", "attach", "idle"]),
                st.integers(0, 8),
                st.integers(0, 3000),
            ),
            max_size=60,
        )
    )
    def test_accounts_agree_after_any_sequence(self, steps: list[tuple[str, int, int]]) -> None:
        """The size is the sum of the entries' costs and within the bound; variants are known."""
        memory = Memory(12_000)
        for now, (step, number, size) in enumerate(steps):
            key, variant = b"%d" % (number % 3), b"%d" % (number // 3)
            digest = digest_of(key + variant)
            if step == "add":
                tags = b"all t%d" % (size % 3) if size % 2 else b""
                memory.add(entry_of(key, bytes(size // 2), variant, tags), float(now))
            elif step == "peek":
                memory.peek(digest)
            elif step == "remove":
                memory.remove(digest)
            elif step == "purge":
                expected = [e for e in memory._entries.values() if e.primary == digest_of(key)]
                self.assertCountEqual(memory.variants(digest_of(key)), expected)
                for entry in expected:
                    memory.remove(entry.digest)
            elif step == "collect":
                memory.take_used(float(now))
            elif step == "idle":
                memory.remove_inactive(float(now - 5))
            else:
                entry = memory.get(digest)
                if entry is not None:
                    memory.attach(entry, (b"gzip", number), entry_of(b"s", bytes(size)))
            self.assertLessEqual(memory.size, 12_000)
            self.assertEqual(memory.size, sum(e.cost for e in memory._entries.values()))
            for tag in (b"all", b"t1", b"other"):
                tagged = [e for e in memory._entries.values() if tag in e.tags]
                self.assertCountEqual(memory.tagged({tag}), tagged)
            tags_known = {tag for e in memory._entries.values() for tag in e.tags}
            self.assertEqual(set(memory._tagged), tags_known)
            listed = {d for digests in memory._variants.values() for d in digests}
            self.assertEqual(
                listed, {e.digest for e in memory._entries.values() if e.digest != e.primary}
            )
