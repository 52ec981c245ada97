"""The log lines of answers from the fast path: those of the general path, variable by variable."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

import json

from cacheproxy.http.fields import Fields
from cacheproxy.http.messages import RequestHead
from cacheproxy.proxy.front.hot_request import HotRequest
from cacheproxy.proxy.site.variables import _VARIABLES
from tests.proxy.harness import BenchCase, response

FRESH = b"Cache-Control: max-age=60"

#: One name of each family besides.
NAMES = sorted(
    {
        *_VARIABLES,
        *("http_user_agent", "http_cookie", "cookie_a", "arg_b", "sent_http_x_a", "mapped"),
        *("sent_http_connection", "sent_http_content_length", "sent_http_age", "captured"),
        *("upstream_http_x_a", "upstream_http_age", "upstream_trailer_x", "upstream_cookie_a"),
    }
    # Different for each connection, or for each request.
    - {"connection", "request_id"}
)


class LogTests(BenchCase):
    """``HotRequest`` beside an exchange's request."""

    def lines(self, hot: bool, target: bytes, *fields: bytes) -> list[dict[str, str]]:
        """Every variable of the same three requests, which are hits from the second on."""
        text = " ".join(f'"{name}":"${name}",' for name in NAMES)
        bench = self.cache(
            "",
            "access_log access.log l if=$arg_b;",
            f"log_format l escape=json '{{{text} \"id\":\"$request_id$request_id\"}}';"
            "map $http_user_agent$upstream_cache_status $mapped { default none; xHIT hit; }"
            "map $uri $captured { ~/(?<name>.*) $name; }",
        )
        self.origin.default = response(200, b"body", FRESH, b"X-A: 1", b"ETag: W/x")
        client = bench.client(hot=hot)
        for _ in range(4):
            client.get(target, *fields)
        found = [json.loads(line.replace(bench.folder, "")) for line in bench.log()]
        bench.close()
        return found

    def test_every_variable_has_the_value_of_the_general_path(self) -> None:
        """Those of the request, of the response, of the cache and of the connection."""
        asked = (b"/page?b=1", b"User-Agent: x", b"Cookie: a=1", b"Accept-Encoding: gzip")
        fast, general = self.lines(True, *asked), self.lines(False, *asked)
        self.assertEqual(len(fast), 4)
        for one, other in zip(fast, general, strict=True):
            for name in NAMES:
                self.assertEqual(one[name], other[name], name)
        self.assertEqual(fast[3]["mapped"], "hit")
        self.assertEqual(fast[3]["body_bytes_sent"], "4")
        self.assertEqual(fast[3]["sent_http_x_a"], "1")

    def test_request_id_stays_the_same_within_a_line_only(self) -> None:
        """Random for each request."""
        ids = [line["id"] for line in self.lines(True, b"/page?b=1")]
        self.assertEqual(len(set(ids)), 4)
        for one in ids:
            self.assertEqual(one[:32], one[32:])

    def test_condition_decides_for_each_request(self) -> None:
        """``access_log … if=``."""
        self.assertEqual(self.lines(True, b"/page?b=0"), [])

    def test_replacement_has_its_own_head_and_route(self) -> None:
        """What cache keys are rendered on (``TemplateContext.replaced``)."""
        bench = self.cache("")
        self.origin.default = response(200, b"body", FRESH)
        client = bench.client()
        for _ in range(3):
            client.get(b"/a")
        site = next(iter(bench.factories.values())).site
        route = site.routes[(b"test.example", b"/a")]
        ready = next(iter(route.ready.values()))
        head = RequestHead(b"GET", b"/a", 11, Fields())
        request = HotRequest(site, client.protocol, head, route, ready)
        request.map_values["m"] = b"1"
        other_head = RequestHead(b"GET", b"/b", 11, Fields())
        other = request.replaced(other_head, site.route(other_head))
        self.assertIs(other.head, other_head)
        self.assertEqual((other.route.uri, other.map_values), (b"/b", {}))
        self.assertEqual((request.route.uri, request.map_values), (b"/a", {"m": b"1"}))
