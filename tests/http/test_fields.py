"""Field lines in order, looked up without regard to case."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.http.fields import Fields


class FieldsTests(SynchronousTestCase):
    def test_lookup(self) -> None:
        """RFC 9110 §5.1–5.3."""
        fields = Fields([(b"A", b"1"), (b"b", b"2"), (b"a", b"3")])
        self.assertEqual(fields.get(b"a"), b"1")
        self.assertEqual(fields.get_all(b"a"), [b"1", b"3"])
        self.assertEqual(fields.combined(b"a"), b"1, 3")
        self.assertIsNone(fields.get(b"c"))
        self.assertEqual(fields.get_all(b"c"), [])
        self.assertIsNone(fields.combined(b"c"))
        self.assertIn(b"b", fields)
        self.assertEqual(set(fields.names()), {b"a", b"b"})

    def test_without(self) -> None:
        """Lines are left out by lower-case name; the original stays."""
        fields = Fields([(b"A", b"1"), (b"b", b"2")])
        self.assertEqual(fields.without({b"a"}).pairs, [(b"b", b"2")])
        self.assertEqual(len(fields), 2)
        self.assertEqual(list(fields), fields.pairs)
