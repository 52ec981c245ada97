"""Routes: the server and location of a request, remembered within a bound."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

from cacheproxy.errors import ProtocolError
from cacheproxy.http.fields import Fields
from cacheproxy.http.messages import RequestHead
from cacheproxy.proxy.site.site import ROUTE_MEMO_SIZE, Site
from tests.proxy.harness import Bench, BenchCase


class RouteTests(BenchCase):
    """``Site.route``."""

    def site(self, text: str) -> Site:
        """The site of a configuration."""
        self.bench = Bench(self, "access_log off; " + text)
        return next(iter(self.bench.factories.values())).site

    def head(self, target: bytes, host: bytes | None = b"a") -> RequestHead:
        """A request head."""
        fields = Fields([] if host is None else [(b"Host", host)])
        return RequestHead(b"GET", target, 11, fields)

    def test_remembered(self) -> None:
        """The same Host and target have the same route; others do not."""
        site = self.site("server { listen 127.0.0.1:80; }")
        route = site.route(self.head(b"/a"))
        self.assertIs(site.route(self.head(b"/a")), route)
        self.assertIsNot(site.route(self.head(b"/b")), route)
        self.assertIsNot(site.route(self.head(b"/a", b"b")), route)

    def test_bounded(self) -> None:
        """A client cannot fill the memory with targets."""
        site = self.site("server { listen 127.0.0.1:80; }")
        for number in range(ROUTE_MEMO_SIZE + 10):
            site.route(self.head(b"/%d" % number))
        self.assertLessEqual(len(site.routes), ROUTE_MEMO_SIZE)

    def test_parts(self) -> None:
        """Normalised and raw path, arguments."""
        site = self.site("server { listen 127.0.0.1:80; }")
        route = site.route(self.head(b"/a//b/../%63?x=%20"))
        self.assertEqual(
            (route.uri, route.raw_path, route.args), (b"/a/c", b"/a//b/../%63", b"x=%20")
        )

    def test_absolute_form(self) -> None:
        """Its authority wins over Host (RFC 9112 §3.2.2)."""
        site = self.site(
            "server { listen 127.0.0.1:80; server_name a; }"
            "server { listen 127.0.0.1:80; server_name b; }"
        )
        self.assertEqual(site.route(self.head(b"http://b/x")).server.name, b"b")

    def test_bad(self) -> None:
        """Targets and hosts that are refused are not remembered."""
        site = self.site("server { listen 127.0.0.1:80; }")
        for head in (self.head(b"/%"), self.head(b"/../.."), self.head(b"/", b"a/b")):
            self.assertRaises(ProtocolError, site.route, head)
        self.assertEqual(site.routes, {})

    def test_captures(self) -> None:
        """Of server names and locations."""
        self.site(
            r"server { listen 127.0.0.1:80; server_name ~^(?<sub>\w+)\.example$;"
            r" location ~ ^/(?<page>\w+)/(\d+) { return 200 '$sub $page $2'; } }"
        )
        answer = self.bench.get(b"/list/42", b"Host: shop.example")
        self.assertEqual(answer.body, b"shop list 42")

    def test_nested_locations(self) -> None:
        """The most specific one."""
        self.site(
            "server { listen 127.0.0.1:80; location /a/ { location /a/b { return 200 inner; }"
            " return 200 outer; } location = /a/b/exact { return 200 exact; } }"
        )
        for target, body in ((b"/a/x", b"outer"), (b"/a/bc", b"inner"), (b"/a/b/exact", b"exact")):
            self.assertEqual(self.bench.get(target).body, body)

    def test_repr(self) -> None:
        """A location shows itself."""
        site = self.site("server { listen 127.0.0.1:80; location ^~ /x { } }")
        self.assertEqual(repr(site.route(self.head(b"/x")).location), "<location ^~ /x>")
