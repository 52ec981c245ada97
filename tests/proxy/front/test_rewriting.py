"""The rewrite module at work: what nginx cannot show, caches and safety. The rest is compared
with nginx in ``differential/test_rewrite.py``."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

from tests.proxy.harness import BenchCase, echo, response

KEPT = b"Cache-Control: max-age=60"


class SafetyTests(BenchCase):
    """What a client must not bring about."""

    def test_path_that_leads_above_its_root_is_not_found(self) -> None:
        """``/f../x`` becomes ``/d/../x``: neither forwarded nor looked for among the files."""
        bench = self.proxy(r"rewrite ^/f(.*)$ /d/$1 break;")
        self.origin.default = echo
        for target in (b"/f../x", b"/f..%2fx", b"/f../a/x"):
            self.assertEqual(bench.get(target).status, 404, target)
        self.assertEqual(bench.get(b"/f/x").status, 200)

    def test_line_break_in_a_redirect_is_escaped(self) -> None:
        """``%0d%0a`` in a captured path starts no field of its own."""
        bench = self.serve("rewrite ^/([^?]*)$ /to/$1 permanent;")
        answer = bench.get(b"/a%0d%0aSet-Cookie:%20x")
        self.assertEqual(answer.status, 301)
        self.assertIsNone(answer.get(b"set-cookie"))

    def test_circle_ends_with_500(self) -> None:
        """After ten rewrites, with one line in the error log."""
        bench = self.serve("rewrite ^ /again last;")
        self.assertEqual(bench.get(b"/").status, 500)
        lines = [line for line in bench.log("error.log") if "cycle" in line]
        self.assertEqual(len(lines), 1)


class CacheTests(BenchCase):
    """The rewrite module before a cache."""

    def ask(self, target: bytes, *fields: bytes) -> bytes:
        """The body of the answer, where the origin answers with what it was told."""
        return self.bench.get(target, *fields).body

    def test_variable_in_the_key_keeps_visitors_apart(self) -> None:
        """``set`` from a field; also where the query's order does not select."""
        for more in ("", "proxy_cache_sort_args on;"):
            self.bench = self.cache(
                "set $tenant $http_tenant; proxy_cache_key $tenant$request_uri;"
                "proxy_set_header Tenant $tenant;" + more
            )
            self.origin.default = lambda connection, request: connection.send(
                response(200, request.get(b"tenant") or b"", KEPT)
            )
            for _ in range(2):
                self.assertEqual(self.ask(b"/p?b&a", b"Tenant: one"), b"one")
                self.assertEqual(self.ask(b"/p?b&a", b"Tenant: two"), b"two")

    def test_condition_that_changes_the_upstream_changes_the_key(self) -> None:
        """What one ``if`` leads to is not what is stored for the others."""
        self.bench = self.cache("if ($http_beta) { proxy_pass http://127.0.0.1:8001; }")
        for port in (8000, 8001):
            self.bench.origin(port).default = lambda connection, request, port=port: (
                connection.send(response(200, b"%d" % port, KEPT))
            )
        for _ in range(2):
            self.assertEqual(self.ask(b"/"), b"8000")
            self.assertEqual(self.ask(b"/", b"Beta: 1"), b"8001")

    def test_field_in_a_rewritten_path_keeps_answers_apart(self) -> None:
        """The key has the path as the client wrote it; the origin got another one."""
        self.bench = self.cache("rewrite ^ /of/$http_x_forwarded_host$uri break;")
        self.origin.default = lambda connection, request: connection.send(
            response(200, request.line, KEPT)
        )
        evil = self.ask(b"/p", b"X-Forwarded-Host: evil")
        self.assertIn(b"/of/evil/p", evil)
        self.assertIn(b"/of//p", self.ask(b"/p"))

    def test_condition_is_looked_at_for_every_hit(self) -> None:
        """A ready answer would pass it by."""
        self.bench = self.cache("if ($http_stop) { return 403; } add_header X 1;")
        self.origin.default = lambda connection, request: connection.send(
            response(200, b"page", KEPT)
        )
        client = self.bench.client()
        for _ in range(3):
            self.assertEqual(client.get(b"/").body, b"page")
        self.assertEqual(client.get(b"/", b"Stop: 1").status, 403)

    def test_condition_of_the_server_is_looked_at_for_every_hit(self) -> None:
        """The same one level above."""
        self.bench = self.cache("", server="if ($http_stop) { return 403; }")
        self.origin.default = lambda connection, request: connection.send(
            response(200, b"page", KEPT)
        )
        client = self.bench.client()
        for _ in range(3):
            self.assertEqual(client.get(b"/").body, b"page")
        self.assertEqual(client.get(b"/", b"Stop: 1").status, 403)

    def test_background_refresh_knows_what_was_set(self) -> None:
        """It is for the same entry as the request that caused it."""
        self.bench = self.cache("set $t $http_t; proxy_cache_key $t; proxy_set_header T $t;")
        count = [0]

        def answer(connection: object, request: object) -> None:
            count[0] += 1
            body = b"%d %s" % (count[0], request.get(b"t"))  # type: ignore[attr-defined]
            field = b"Cache-Control: max-age=1, stale-while-revalidate=60"
            connection.send(response(200, body, field))  # type: ignore[attr-defined]

        self.origin.default = answer
        self.assertEqual(self.ask(b"/", b"T: a"), b"1 a")
        self.bench.advance(5)
        self.assertEqual(self.ask(b"/", b"T: a"), b"1 a")
        self.bench.advance(0.1)
        self.assertEqual(self.ask(b"/", b"T: a"), b"2 a")


class LogTests(BenchCase):
    """``rewrite_log``."""

    def test_matches_and_results_are_logged(self) -> None:
        """At level notice, as in nginx."""
        bench = self.serve(
            "rewrite_log on; rewrite ^/no /x; rewrite ^/a(.*)$ /b$1?c break; return 200 $uri;",
            server="error_log error.log notice;",
        )
        bench.get(b"/a1")
        text = "\n".join(bench.log("error.log"))
        for line in (
            '"^/no" does not match "/a1"',
            '"^/a(.*)$" matches "/a1"',
            'rewritten data: "/b1", args: "c"',
        ):
            self.assertIn(line, text)
