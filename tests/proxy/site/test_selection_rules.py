"""The rules by which a cached location takes a request, made ready at load."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.http.fields import Fields
from cacheproxy.http.messages import RequestHead
from cacheproxy.http.target import parse_target
from cacheproxy.policy.options import CacheOptions, ProxyOptions
from cacheproxy.proxy.site.selection_rules import (
    RELEVANT_FIELDS,
    SELECTING_FIELDS,
    SelectionRules,
    without_query,
)


def rules(**cache: Any) -> SelectionRules:
    """The rules of a location with these options of the cache's."""
    return SelectionRules(ProxyOptions(), CacheOptions(cache="z", **cache))


class RulesTests(SynchronousTestCase):
    """``SelectionRules``: nothing is made anew where nothing changes."""

    def test_head(self) -> None:
        """Only the cookies differ."""
        head = RequestHead(b"GET", b"/", 11, Fields([(b"Cookie", b"b=1; a=2")]), 3, False)
        self.assertIs(rules().head(head), head)
        made = rules(cookies=(b"a",)).head(head)
        self.assertEqual(made.fields.pairs, [(b"Cookie", b"a=2")])
        self.assertEqual(
            (made.method, made.target, made.version, made.body_length, made.keep_alive),
            (b"GET", b"/", 11, 3, False),
        )
        bare = RequestHead(b"GET", b"/", 11, Fields())
        self.assertIs(rules(cookies=(b"a",)).head(bare), bare)

    def test_cookie(self) -> None:
        """With and without names."""
        fields = Fields([(b"Cookie", b"b=1; a=2")])
        self.assertEqual(rules().cookie(fields), b"b=1; a=2")
        self.assertEqual(rules(cookies=(b"a",)).cookie(fields), b"a=2")
        self.assertIsNone(rules(cookies=(b"c",)).cookie(fields))

    def test_target(self) -> None:
        """A query of which nothing is left has no question mark."""
        sort = rules(sort_args=True)
        for target in (b"/a", b"/a?b", b"/a?b&c"):
            parsed = parse_target(target)
            self.assertIs(sort.target(parsed), parsed)
            self.assertIs(rules().target(parsed), parsed)
        for target, args in ((b"/a?", b""), (b"/a?&", b""), (b"http://h/a?c&b", b"b&c")):
            made = sort.target(parse_target(target))
            self.assertEqual((made.path, made.args, made.has_args), (b"/a", args, bool(args)))

    def test_fields_that_tell(self) -> None:
        """Cookies, what is unkeyed, and for the general path Connection."""
        self.assertEqual(RELEVANT_FIELDS - SELECTING_FIELDS, {b"connection"})
        self.assertLessEqual({b"cookie", b"x-forwarded-host", b"forwarded"}, SELECTING_FIELDS)

    def test_variables_of_the_query(self) -> None:
        """What may be shared between queries that count as one."""
        self.assertTrue(without_query({"host", "uri"}))
        for name in ("args", "is_args", "query_string", "request_uri", "arg_x"):
            self.assertFalse(without_query({"host", name}))
