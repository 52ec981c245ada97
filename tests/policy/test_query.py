"""``policy.query``: the arguments that count, in the order that counts."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.policy.query import QueryRules

IGNORED = [b"utm_*", b"fbclid", b"gclid"]
RULES = QueryRules(IGNORED, False)
SORTED = QueryRules(IGNORED, True)


class QueryTests(SynchronousTestCase):
    """``proxy_cache_ignore_args`` and ``proxy_cache_sort_args``."""

    def test_ignored(self) -> None:
        """What is dropped, and what only looks like it."""
        cases = {
            b"": b"",
            b"utm_source=x": b"",
            b"a=1&utm_source=x&b=2&fbclid=y": b"a=1&b=2",
            b"utm_=1&utm=2": b"utm=2",
            b"utm_x": b"",
            b"xutm_source=1&fbclid2=3": b"xutm_source=1&fbclid2=3",
            # Decoded once, as the origin does; a name encoded twice is another.
            b"utm%5Fsource=x&%75tm_a=1": b"",
            b"utm%255Fsource=x": b"utm%255Fsource=x",
            b"utm%5": b"utm%5",
            b"UTM_source=1": b"UTM_source=1",
            # Only "&" separates.
            b"a=1;utm_source=2": b"a=1;utm_source=2",
            b"utm_source=2;a=<script>": b"",
            b"a=1%26utm_source=2": b"a=1%26utm_source=2",
            b"a=utm_source=1": b"a=utm_source=1",
            # Empty ones say nothing.
            b"&&a=1&": b"a=1",
            b"=1": b"=1",
            b"b=1&a=2": b"b=1&a=2",
        }
        for args, kept in cases.items():
            self.assertEqual(RULES.apply(args), kept, args)

    def test_sorted(self) -> None:
        """By name; those that some origin takes for one keep their order."""
        cases = {
            b"b=1&a=2": b"a=2&b=1",
            b"b=2&a=1&b=1": b"a=1&b=2&b=1",
            b"%61=2&a=1": b"%61=2&a=1",
            b"a=1&%61=2": b"a=1&%61=2",
            b"a[][y]=1&a[][x]=2&a[][y]=3": b"a[][y]=1&a[][x]=2&a[][y]=3",
            b"a_b=1&a.b=2": b"a_b=1&a.b=2",
            b"A=1&a=2": b"A=1&a=2",
            b"z=1&utm_x=2&c": b"c&z=1",
        }
        for args, kept in cases.items():
            self.assertEqual(SORTED.apply(args), kept, args)

    def test_everything(self) -> None:
        """A bare star ignores the whole query."""
        self.assertEqual(QueryRules([b"*"], False).apply(b"a=1&b"), b"")

    @given(st.text("ab&=%4;+[].utm_", max_size=40).map(str.encode), st.booleans())
    @example(b"%61=1&a=2&%2561=3", True)
    def test_properties(self, args: bytes, sort: bool) -> None:
        """Applied twice is applied once; nothing new appears; no ignored name is left."""
        rules = SORTED if sort else RULES
        kept = rules.apply(args)
        self.assertEqual(rules.apply(kept), kept)
        before, after = args.split(b"&"), kept.split(b"&") if kept else []
        self.assertLessEqual(set(after), set(before))
        self.assertFalse([one for one in after if one.startswith(b"utm_")])
        if sort:
            other = b"&".join(sorted(after, reverse=True))
            self.assertEqual(sorted(rules.apply(other).split(b"&")), sorted(kept.split(b"&")))
