"""``policy.rewrite``: what a matched ``rewrite`` makes of captures and queries."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.policy.rewrite import (
    Comparison,
    Flag,
    Rewrite,
    escape_args,
    joined_args,
    unescape_redirect,
)
from cacheproxy.template import constant_template


class EscapeTests(SynchronousTestCase):
    """What a captured part of a decoded path is in a query or a redirect."""

    @given(st.binary())
    def test_decoding_gives_the_part_back(self, value: bytes) -> None:
        """Nothing in it can end or split a query, or break a line."""
        escaped = escape_args(value)
        self.assertEqual(unquote_to_bytes(escaped), value)
        self.assertTrue(set(b" #&+;?\r\n\0").isdisjoint(escaped))

    def test_needless_escapes_leave_a_redirects_path(self) -> None:
        """Printable ones above ``%``; those of the query stay."""
        self.assertEqual(unescape_redirect(b"/a%3Bb%20c%26%C3?x%3B"), b"/a;b%20c&%C3?x%3B")

    @given(st.binary(max_size=20))
    def test_a_redirect_never_gets_a_line_break(self, value: bytes) -> None:
        """Whatever the captured part holds."""
        self.assertTrue(set(b"\r\n\0").isdisjoint(unescape_redirect(escape_args(value))))


class QueryTests(SynchronousTestCase):
    """``joined_args``."""

    def rewrite(self, keeps: bool) -> Rewrite:
        """One with or without the final ``?``."""
        return Rewrite(re.compile(b""), constant_template(b""), None, keeps, Flag.NEXT)

    def test_own_query_comes_last(self) -> None:
        """Behind what the replacement has; alone where that has none."""
        keeps = self.rewrite(True)
        self.assertEqual(joined_args(keeps, b"a=1", b"b=2"), b"a=1&b=2")
        self.assertEqual(joined_args(keeps, b"a=1", b""), b"a=1")
        self.assertEqual(joined_args(keeps, None, b"b=2"), b"b=2")

    def test_final_question_mark_leaves_it_out(self) -> None:
        """With and without a query of the replacement's own."""
        drops = self.rewrite(False)
        self.assertEqual(joined_args(drops, b"a=1", b"b=2"), b"a=1")
        self.assertEqual(joined_args(drops, None, b"b=2"), b"")


class ComparisonTests(SynchronousTestCase):
    """``if ($x)``, ``=``, ``!=``."""

    def test_truth(self) -> None:
        """Everything but the empty string and ``0``."""
        for value, expected in ((b"", False), (b"0", False), (b"00", True), (b"no", True)):
            test = Comparison(constant_template(value), None, False)
            self.assertEqual(test.holds(None), expected, value)

    def test_equality(self) -> None:
        """And its negation."""
        one, two = constant_template(b"a"), constant_template(b"b")
        self.assertTrue(Comparison(one, one, False).holds(None))
        self.assertFalse(Comparison(one, one, True).holds(None))
        self.assertTrue(Comparison(one, two, True).holds(None))
