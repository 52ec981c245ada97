"""The cache key: of a request, and of a target that another request named."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

from tests.proxy.harness import BenchCase, response

FRESH = b"Cache-Control: max-age=60"


class KeyTests(BenchCase):
    """``proxy_cache_key`` through the proxy."""

    def same(self, key: str, one: tuple[bytes, ...], two: tuple[bytes, ...]) -> bool:
        """Whether requests *one* and *two* share an entry."""
        bench = self.cache(f"proxy_cache_key {key};" if key else "")
        self.origin.default = response(200, b"x", FRESH)
        bench.get(*one)
        bench.get(*two)
        count = len(self.origin.requests)
        bench.close()
        return count == 1

    def test_default(self) -> None:
        """As nginx: scheme, proxy host, target as it was received."""
        self.assertTrue(self.same("", (b"/a?b",), (b"/a?b",)))
        self.assertFalse(self.same("", (b"/a?b",), (b"/a?c",)))
        self.assertFalse(self.same("", (b"/a",), (b"/a?",)))
        self.assertFalse(self.same("", (b"/a",), (b"/%61",)))

    def test_hosts_share_nothing(self) -> None:
        """Unlike nginx: without ``proxy_cache_key`` each Host has entries of its own."""
        bench = self.cache("proxy_cache_valid 200 1m; proxy_set_header Host $http_host;")
        self.origin.default = lambda connection, request: connection.send(
            response(200, request.get(b"host") or b"")
        )
        for host in (b"a.example", b"b.example", b"a.example:8080"):
            self.assertEqual(bench.get(b"/", b"Host: " + host).body, host)

    def test_variables(self) -> None:
        """Whatever the key reads keeps apart, nothing else does."""
        self.assertTrue(self.same("$uri", (b"/a?b",), (b"/a?c",)))
        self.assertTrue(self.same("$uri", (b"/a",), (b"/%61",)))
        self.assertFalse(
            self.same("$uri$cookie_u", (b"/a", b"Cookie: u=1"), (b"/a", b"Cookie: u=2"))
        )
        self.assertFalse(self.same("$host$uri", (b"/a", b"Host: x"), (b"/a", b"Host: y")))

    def test_invalidation_under_a_custom_key(self) -> None:
        """The key of a GET is made for the target of a POST."""
        for key, gone in (
            ("$host$uri", True),
            ("$request_uri", True),
            ("$scheme$request_method$host$request_uri", True),
            ("$http_x$uri", False),
        ):
            bench = self.cache(f"proxy_cache_key {key};")
            self.origin.default = response(200, b"x", FRESH)
            bench.get(b"/a")
            bench.client().request(b"POST", b"/a", body=b"")
            state = bench.get(b"/a").get(b"x-cache")
            self.assertEqual(state, b"MISS" if gone else b"HIT", key)
            bench.close()
