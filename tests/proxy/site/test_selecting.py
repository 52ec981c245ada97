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
from cacheproxy.proxy.site.cache_key import RouteContext
from cacheproxy.proxy.site.selecting import (
    COUNTED_FIELDS,
    TELLING_FIELDS,
    CountRules,
    as_selected,
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


class AsSelectedTests(BenchCase):
    """``as_selected``: what keys and requests to the origin are rendered on."""

    def test_query_is_replaced_in_a_copy(self) -> None:
        """The request itself goes on as the client sent it, and keeps what maps answered."""
        bench = self.cache("proxy_cache_sort_args on;")
        site = next(iter(bench.factories.values())).site
        head = RequestHead(b"GET", b"/?b&a", 11, Fields([(b"Host", b"test.example")]))
        route = site.route(head)
        context = RouteContext(site, head, route)
        context.map_values["m"] = b"1"
        found = as_selected(context)
        self.assertEqual((found.head.target, found.route.args), (b"/?a&b", b"a&b"))
        self.assertEqual(found.map_values, {})
        self.assertIs(context.head, head)
        self.assertIs(context.route, route)
        self.assertEqual(context.map_values, {"m": b"1"})

    def test_request_is_taken_as_it_is_without_rules_for_queries(self) -> None:
        """Nothing is copied where the whole query counts."""
        bench = self.cache()
        site = next(iter(bench.factories.values())).site
        head = RequestHead(b"GET", b"/?b&a", 11, Fields([(b"Host", b"test.example")]))
        context = RouteContext(site, head, site.route(head))
        self.assertIs(as_selected(context), context)

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
