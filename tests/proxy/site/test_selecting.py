"""``proxy.site.selecting``: what of a request counts, and where the client's own is kept."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

from cacheproxy.http.fields import Fields
from cacheproxy.http.messages import RequestHead
from cacheproxy.proxy.site.cache_key import RouteContext
from cacheproxy.proxy.site.selecting import as_selected
from tests.proxy.harness import BenchCase, response

FRESH = b"Cache-Control: max-age=60"



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
