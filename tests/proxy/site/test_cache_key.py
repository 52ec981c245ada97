"""The cache key: of a request, and of a target that another request named."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

from tests.proxy.harness import BenchCase, OriginConnection, Request, response

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


class PassedUriTests(BenchCase):
    """The default key where the origin is asked for another URI than the client's."""

    #: What may stand in location ``/`` (before it, the server's level, another location).
    WAYS = (
        ("proxy_cache z; proxy_pass O; rewrite ^ /of/$http_user? break;", "", ""),
        ("proxy_cache z; proxy_pass O; rewrite ^ /x?u=$http_user? break;", "", ""),
        ("proxy_cache z; proxy_pass O; set $args u=$http_user;", "", ""),
        ("proxy_cache z; proxy_pass O;", "set $args u=$http_user;", ""),
        ("proxy_cache z; proxy_pass O;", "rewrite ^ /of/$http_user?;", ""),
        ("proxy_cache z; proxy_pass O; if ($http_user) { rewrite ^ /$http_user break; }", "", ""),
        ("proxy_cache z; set $rest /$http_user; proxy_pass O$rest;", "", ""),
        ("proxy_cache z; proxy_pass O/of/$http_user;", "", ""),
        ("rewrite ^ /in/$http_user last;", "", "/in/"),
        ("return 404; error_page 404 = /in/$http_user;", "", "/in/"),
        ("return 404; error_page 404 = /in/?u=$http_user;", "", "/in/"),
        ("try_files /none /in/$http_user;", "", "/in/"),
        ("proxy_pass O/redirect/; proxy_set_header User $http_user;", "", "/in/"),
        ("return 404; error_page 404 = @n;", "", "@n"),
    )

    def test_who_is_asking_in_the_passed_uri_keeps_answers_apart(self) -> None:
        """However it comes there; and each is found again."""
        for place, server, inside in self.WAYS:
            with self.subTest(place=place, server=server):
                self.keeps_apart(place, server, inside)

    def keeps_apart(self, place: str, server: str, inside: str) -> None:
        rewritten = "rewrite ^ /of/$http_user? break;" if inside == "@n" else ""
        if inside:
            server += f"location {inside} {{ proxy_cache z; proxy_pass O; {rewritten} }}"
        origin = "http://127.0.0.1:8000"
        bench = self.serve(
            place.replace("O", origin),
            server.replace("O", origin),
            "proxy_cache_path cache keys_zone=z:1m;",
        )

        def answer(connection: OriginConnection, request: Request) -> None:
            if b"/redirect/" in request.line:
                user = request.get(b"user") or b""
                connection.send(response(200, b"", b"X-Accel-Redirect: /in/" + user))
            else:
                connection.send(response(200, request.line, FRESH))

        self.origin.default = answer
        for _ in range(2):
            for user in (b"alice", b"bob"):
                self.assertIn(user, bench.get(b"/p", b"User: " + user).body)
        stored = [one for one in self.origin.requests if b"/redirect/" not in one.line]
        self.assertEqual(len(stored), 2)
        bench.close()

    def test_prefix_of_the_location_is_told_apart(self) -> None:
        """``rewrite … break`` passes the URI as it is, without the prefix of ``proxy_pass``."""
        bench = self.serve(
            "proxy_cache z; if ($http_beta) { rewrite ^ $uri break; }"
            "proxy_pass http://127.0.0.1:8000/base/;",
            "rewrite ^/p$ /q;",
            "proxy_cache_path cache keys_zone=z:1m;",
        )
        self.origin.default = lambda connection, request: connection.send(
            response(200, request.line, FRESH)
        )
        for _ in range(2):
            self.assertIn(b" /base/q ", bench.get(b"/p").body)
            self.assertIn(b" /q ", bench.get(b"/p", b"Beta: 1").body)

    def test_rewritten_url_is_purged(self) -> None:
        """By the URL that the client uses."""
        bench = self.cache(
            "rewrite ^ /of$uri break; proxy_cache_purge $is_purge;",
            http="map $request_method $is_purge { PURGE 1; }",
        )
        self.origin.default = response(200, b"x", FRESH)
        bench.get(b"/a")
        self.assertEqual(bench.get(b"/a").get(b"x-cache"), b"HIT")
        self.assertEqual(bench.client().request(b"PURGE", b"/a").status, 204)
        self.assertEqual(bench.get(b"/a").get(b"x-cache"), b"MISS")
