"""``proxy.site.selecting``: what of a request counts, and where the client's own is kept."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.http.fields import Fields
from cacheproxy.http.messages import RequestHead
from cacheproxy.http.target import parse_target
from cacheproxy.policy.options import CacheOptions, ProxyOptions
from cacheproxy.proxy.site.selecting import (
    COUNTED_FIELDS,
    TELLING_FIELDS,
    CountRules,
    counted,
    without_query,
)
from tests.proxy.harness import BenchCase, response

FRESH = b"Cache-Control: max-age=60"


def rules(**cache: Any) -> CountRules:
    """The rules of a location with these options of the cache's."""
    return CountRules(ProxyOptions(), CacheOptions(cache="z", **cache))


class RulesTests(SynchronousTestCase):
    """``CountRules``: nothing is made anew where nothing changes."""

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
        self.assertEqual(TELLING_FIELDS - COUNTED_FIELDS, {b"connection"})
        self.assertLessEqual({b"cookie", b"x-forwarded-host", b"forwarded"}, COUNTED_FIELDS)

    def test_variables_of_the_query(self) -> None:
        """What may be shared between queries that count as one."""
        self.assertTrue(without_query({"host", "uri"}))
        for name in ("args", "is_args", "query_string", "request_uri", "arg_x"):
            self.assertFalse(without_query({"host", name}))


class CountedTests(BenchCase):
    """``counted``: for as long as something is made."""

    def test_put_back(self) -> None:
        """What the client sent is there again, even after a failure."""
        seen: list[bytes] = []

        class Context:
            """Stands for an exchange."""

        bench = self.cache("proxy_cache_sort_args on;")
        site = next(iter(bench.factories.values())).site
        context: Any = Context()
        head = RequestHead(b"GET", b"/?b&a", 11, Fields([(b"Host", b"test.example")]))
        context.head, context.map_values = head, {"m": b"1"}
        context.route = route = site.route(head)
        context.location = route.location

        def make(one: Any) -> None:
            seen.extend([one.head.target, one.route.args])
            self.assertEqual(one.map_values, {})
            raise ValueError

        self.assertRaises(ValueError, counted, context, make)
        self.assertEqual(seen, [b"/?a&b", b"a&b"])
        self.assertIs(context.head, head)
        self.assertIs(context.route, route)
        self.assertEqual(context.map_values, {"m": b"1"})

    def test_request_id_is_one(self) -> None:
        """What is made once for a request stays so, for the origin and for the log."""
        bench = self.cache(
            "proxy_cache_sort_args on; proxy_set_header X-Id $request_id;"
            "access_log access.log l;",
            http="log_format l $request_id;",
        )
        self.origin.default = response(200, b"x", FRESH)
        bench.get(b"/?b&a")
        sent = self.origin.requests[0].get(b"x-id") or b"none"
        self.assertEqual(bench.log(), [sent.decode()])
