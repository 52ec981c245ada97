"""Attacks on the cache: poisoning, deception, and pages of those who are logged in.

Each test is played in full: what the attacker sends, then what the victim gets.
"""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

from collections.abc import Callable

from cacheproxy.policy.unkeyed import METHOD_FIELDS, STEERING_FIELDS
from tests.proxy.harness import Bench, BenchCase, OriginConnection, Request, http_date, response

FRESH = b"Cache-Control: max-age=60"
VALID = "proxy_cache_valid any 1m;"

Answer = Callable[[OriginConnection, Request], None]


def application(*fields: bytes, status: int = 200) -> Answer:
    """An origin that answers with all it was told: line, fields and body."""

    def answer(connection: OriginConnection, request: Request) -> None:
        said = b"\n".join([request.line, *[b"%b=%b" % pair for pair in request.pairs]])
        body = b"" if request.method == b"HEAD" else said + b"\n" + request.body
        connection.send(response(status, body, *fields))

    return answer


def accounts(*fields: bytes, kind: bytes = b"text/html") -> Answer:
    """An application that takes ``/account/…`` for ``/account``, and knows its users by cookie."""

    def answer(connection: OriginConnection, request: Request) -> None:
        user = (request.get(b"cookie") or b"sessionid=nobody").partition(b"sessionid=")[2]
        connection.send(response(200, b"page of " + user, b"Content-Type: " + kind, *fields))

    return answer


class _Case(BenchCase):
    def site(self, origin: Answer, options: str = "", **blocks: str) -> Bench:
        """A cached location before *origin*."""
        bench = self.cache(options, **blocks)
        self.origin.default = origin
        return bench

    def twice(self, bench: Bench, target: bytes, *fields: bytes) -> None:
        """What an attacker does to have something stored, and to see that it is."""
        for _ in range(3):
            bench.get(target, *fields)


class LoginTests(_Case):
    """Nobody gets the page, or the cookie, of somebody else."""

    VICTIM = b"Cookie: sessionid=victim"

    def test_authorization(self) -> None:
        """RFC 9111 §3.5, whatever the operator's lifetimes say."""
        bench = self.site(application(), VALID)
        bench.get(b"/", b"Authorization: Bearer secret")
        self.assertNotIn(b"secret", bench.get(b"/").body)

    def test_set_cookie_is_never_replayed(self) -> None:
        """Not by a hit, a collapsed request, a part, a stale answer, a compressed one, or a 304."""
        cookie = b"Set-Cookie: sessionid=victim"
        public = b"Cache-Control: public, max-age=60, stale-if-error=600"
        for options in ("proxy_ignore_headers Set-Cookie;", ""):
            bench = self.site(
                application(), options + "gzip on; gzip_types *; gzip_min_length 1;"
            )
            self.origin.default = response(
                200, b"text " * 99, public, cookie, b"Set-Cookie2: a=b", b'ETag: "e"'
            )
            first, second = bench.client(), bench.client()
            for client in (first, second):
                client.send(b"GET / HTTP/1.1\r\nHost: test.example\r\n\r\n")
            bench.reactor.settle()
            self.assertIn(b"Set-Cookie: sessionid=victim", first.received)
            self.assertEqual(len(self.origin.requests), 1)
            others = [second.received, bench.get(b"/").raw]
            others.append(bench.get(b"/", b"Accept-Encoding: gzip").raw)
            others.append(bench.get(b"/", b"Range: bytes=0-3").raw)
            bench.advance(61)
            self.origin.reply(response(304, b"", cookie, b'ETag: "e"', public))
            others.append(bench.get(b"/").raw)
            others.append(bench.get(b"/").raw)
            bench.advance(61)
            self.origin.mode = "refuse"
            others += [bench.get(b"/").raw, bench.get(b"/").raw]
            for raw in others:
                self.assertIn(b"HTTP/1.1 20", raw)
                self.assertNotIn(b"victim", raw)
                self.assertNotIn(b"a=b", raw)
            bench.close()

    def test_who_decides_that_a_response_with_a_cookie_is_stored(self) -> None:
        """The operator or the origin, expressly; the copy has all but the cookie."""
        ignoring = "proxy_ignore_headers Set-Cookie;"
        for options, control, stored in (
            (VALID, b"", False),
            (VALID, b"max-age=60", False),
            (VALID, b"public, max-age=0", False),
            (VALID + ignoring, b"", True),
            (ignoring, b"max-age=60", True),
            ("", b"public, max-age=60", True),
            ("", b"s-maxage=60", True),
            ("", b'max-age=60, no-cache="Set-Cookie"', True),
            ("", b'max-age=60, private="Set-Cookie"', True),
            ("proxy_no_cache $upstream_http_set_cookie;", b"public, max-age=60", False),
        ):
            for zone in ("memory=8m", "memory=0"):
                bench = self.site(application(), options, zone=zone)
                self.origin.default = response(
                    200,
                    b"text",
                    b"Set-Cookie: a=b",
                    b"X-Kept: yes",
                    *([b"Cache-Control: " + control] if control else []),
                )
                first, again = bench.get(b"/"), bench.get(b"/")
                self.assertEqual(first.get(b"set-cookie"), b"a=b")
                found = again.get(b"x-cache"), again.get(b"set-cookie"), again.get(b"x-kept")
                wanted = (b"HIT", None) if stored else (b"MISS", b"a=b")
                self.assertEqual(found, (*wanted, b"yes"), (options, control))
                bench.close()

    def test_cookie_of_the_operator_is_sent_with_hits(self) -> None:
        """``add_header Set-Cookie`` is the same for everybody, and not stored."""
        bench = self.site(application(FRESH), "add_header Set-Cookie all=same;")
        for _ in range(3):
            self.assertEqual(bench.get(b"/").get(b"set-cookie"), b"all=same")
        self.assertEqual(len(self.origin.requests), 1)

    def test_set_cookie_of_a_part(self) -> None:
        """A range's answer is stored without it, too."""
        bench = self.site(application())
        self.origin.default = response(
            206,
            b"56789",
            b"Cache-Control: public, max-age=60",
            b"Content-Range: bytes 5-9/10",
            b"Set-Cookie: sessionid=victim",
        )
        self.assertIn(b"victim", bench.get(b"/", b"Range: bytes=-5").raw)
        again = bench.get(b"/", b"Range: bytes=-5")
        self.assertEqual((again.get(b"x-cache"), again.get(b"set-cookie")), (b"HIT", None))

    def test_set_cookie_of_a_post(self) -> None:
        """What a POST has stored for its URL is stored without it."""
        bench = self.site(application())
        self.origin.reply(
            response(
                200,
                b"made",
                b"Cache-Control: public, max-age=60",
                b"Content-Location: /",
                b"Set-Cookie: sessionid=victim",
            )
        )
        bench.client().request(b"POST", b"/", body=b"")
        found = bench.get(b"/")
        self.assertEqual((found.body, found.get(b"set-cookie")), (b"made", None))

    def test_page_that_sets_a_cookie(self) -> None:
        """It is for one client, unless the response expressly says otherwise."""
        bench = self.site(accounts(b"Set-Cookie: a=b", FRESH), VALID)
        bench.get(b"/", self.VICTIM)
        self.assertEqual(bench.get(b"/").body, b"page of nobody")

    def test_operator_decides_about_cookies(self) -> None:
        """``proxy_cache_valid`` and a silent origin: stored for all, as nginx does."""
        bench = self.site(accounts(), VALID)
        bench.get(b"/", self.VICTIM)
        self.assertEqual(bench.get(b"/").body, b"page of victim")

    def test_heuristic_is_no_decision(self) -> None:
        """What an origin with cookies is silent about is not guessed to be for all."""
        modified = b"Last-Modified: " + http_date(-90000)
        bench = self.site(accounts(modified), "proxy_cache_heuristic on;")
        bench.get(b"/", self.VICTIM)
        self.assertEqual(bench.get(b"/").body, b"page of nobody")
        self.assertEqual(bench.get(b"/").get(b"x-cache"), b"HIT")


class CookieTests(_Case):
    """``proxy_cache_cookies``: what does not count is not seen."""

    OPTIONS = "proxy_cache_cookies sessionid lang;"

    def test_analytics_cookies_hit(self) -> None:
        """``Vary: Cookie`` with cookies of no account: one entry for all."""
        bench = self.site(application(FRESH, b"Vary: Cookie"), self.OPTIONS)
        for number in range(5):
            found = bench.get(b"/", b"Cookie: _ga=GA1.%d; csrftoken=%d" % (number, number))
            self.assertEqual(found.get(b"x-cache"), b"HIT" if number else b"MISS")
        self.assertNotIn(b"ookie", self.origin.requests[0].head)
        self.assertEqual(bench.get(b"/").get(b"x-cache"), b"HIT")

    def test_sessions_are_kept_apart(self) -> None:
        """With a cookie that counts each has a variant, and never another's."""
        bench = self.site(accounts(FRESH, b"Vary: Cookie"), self.OPTIONS)
        for _ in range(3):
            for user in (b"anna", b"bert", b"nobody"):
                cookie = b"Cookie: x=1; sessionid=%b; y=2" % user
                fields = (cookie,) if user != b"nobody" else (b"Cookie: x=1",)
                self.assertEqual(bench.get(b"/", *fields).body, b"page of " + user)
        self.assertEqual(len(self.origin.requests), 3)

    def test_order_and_lines(self) -> None:
        """One form for the same cookies."""
        bench = self.site(application(FRESH, b"Vary: Cookie"), self.OPTIONS)
        for fields in (
            (b"Cookie: lang=de; sessionid=1",),
            (b"Cookie: sessionid=1;lang=de; _ga=2",),
            (b"Cookie: sessionid=1", b"Cookie: lang=de"),
        ):
            bench.get(b"/", *fields)
        self.assertEqual(len(self.origin.requests), 1)

    def test_parts_and_heads(self) -> None:
        """A stored part, and the answer to a HEAD, are compared by what counts as well."""
        bench = self.site(application(), self.OPTIONS + "proxy_cache_convert_head off;")
        varies = b"Vary: Cookie"
        self.origin.default = response(
            206, b"56789", FRESH, varies, b"Content-Range: bytes 5-9/10"
        )
        for number in range(2):
            cookie = b"Cookie: _ga=%d" % number
            found = bench.get(b"/part", b"Range: bytes=-5", cookie)
        self.assertEqual(found.get(b"x-cache"), b"HIT")
        own = bench.get(b"/part", b"Range: bytes=-5", b"Cookie: sessionid=1")
        self.assertEqual(own.get(b"x-cache"), b"MISS")
        self.origin.default = response(200, b"", FRESH, varies, b'ETag: "e"')
        bench.get(b"/", b"Cookie: _ga=1")
        self.origin.default = response(200, b"", FRESH, varies, b'ETag: "e"', b"X-New: 1")
        bench.client().request(b"HEAD", b"/", b"Cookie: _ga=2")
        self.assertEqual(bench.get(b"/", b"Cookie: _ga=3").get(b"x-new"), b"1")

    def test_unkeyed_cookie_cannot_poison(self) -> None:
        """A cookie that would be reflected does not reach the origin, however it is written."""
        bench = self.site(application(FRESH), self.OPTIONS)
        for cookie in (
            b"theme=<evil>",
            b'sessionid="1; theme=<evil>"',
            b"$Version=1; theme=<evil>",
            b"theme=<evil>; sessionid",
            b"a=b,theme=<evil>",
        ):
            bench.get(b"/", b"Cookie: " + cookie, b"Cookie: theme=<evil>")
        self.assertFalse([one for one in self.origin.requests if b"evil" in one.head])

    def test_other_methods_are_forwarded_untouched(self) -> None:
        """What is not cached keeps its cookies."""
        bench = self.site(application(), self.OPTIONS)
        bench.client().request(b"POST", b"/", b"Cookie: b=2;  a=1", b"Cookie: c", body=b"")
        self.assertIn(b"Cookie: b=2;  a=1\r\nCookie: c", self.origin.requests[0].head)

    def test_operators_conditions_read_what_was_sent(self) -> None:
        """``proxy_cache_bypass`` on a cookie that does not count; the log has it as well."""
        bench = self.site(
            application(FRESH),
            self.OPTIONS + "proxy_cache_bypass $cookie_preview; access_log access.log l;",
            http="log_format l $http_cookie;",
        )
        bench.get(b"/")
        found = bench.get(b"/", b"Cookie: preview=1")
        self.assertEqual(found.get(b"x-cache"), b"BYPASS")
        self.assertNotIn(b"preview", found.body)
        self.assertEqual(bench.log()[1], "preview=1")


class QueryTests(_Case):
    """``proxy_cache_ignore_args``, ``proxy_cache_sort_args``."""

    OPTIONS = "proxy_cache_ignore_args utm_* fbclid; proxy_cache_sort_args on;"

    def test_one_entry(self) -> None:
        """Campaigns and order make no difference."""
        for key in ("", "$scheme$host$uri$is_args$args", "$host$uri?$query_string", "$uri$arg_a"):
            bench = self.site(
                application(FRESH), self.OPTIONS + (f"proxy_cache_key {key};" if key else "")
            )
            for query in (b"a=1&b=2", b"b=2&a=1", b"utm_source=x&b=2&&a=1&fbclid=y"):
                bench.get(b"/?" + query)
            self.assertEqual([one.target for one in self.origin.requests], [b"/?a=1&b=2"])
            bench.close()
        bench = self.site(application(FRESH), self.OPTIONS)
        for target in (b"/", b"/?", b"/?utm_x=1", b"http://test.example/?&"):
            self.assertEqual(bench.get(target).status, 200)
        self.assertEqual([one.target for one in self.origin.requests], [b"/"])

    def test_unkeyed_argument_cannot_poison(self) -> None:
        """It does not reach the origin, by no way, so that nothing can reflect it."""
        for options in (
            "",
            "proxy_set_header X-Original-URI $request_uri; proxy_set_header X-Args $args;",
            "proxy_set_header X-Campaign $arg_utm_source;",
            "proxy_set_header X $mapped;",
            "proxy_set_body $request_uri;",
        ):
            bench = self.site(
                application(FRESH),
                self.OPTIONS + options,
                http='map $args $mapped { "~(?<rest>.*)" $rest; }',
            )
            for query in (b"utm_source=<evil>", b"utm%5Fsource=<evil>", b"utm_a=1;b=<evil>"):
                bench.get(b"/?a=1&" + query)
            self.assertEqual(len(self.origin.requests), 1)
            self.assertNotIn(b"evil", bench.get(b"/?a=1").body)
            bench.close()

    def test_what_is_kept_is_keyed(self) -> None:
        """Names that merely look like the ignored ones."""
        bench = self.site(application(FRESH), self.OPTIONS)
        for query in (b"utm%255Fsource=<1>", b"a=1;utm_source=<2>", b"UTM_source=<3>"):
            self.assertIn(query, bench.get(b"/?" + query).body)
            self.assertNotIn(b"<", bench.get(b"/").body)

    def test_proxied_with_another_uri(self) -> None:
        """``proxy_pass`` with a URI, or of variables."""
        for target in ("http://127.0.0.1:8000/app/", "http://127.0.0.1:8000/app$request_uri"):
            bench = self.serve(
                f"proxy_pass {target}; proxy_cache z; {self.OPTIONS}",
                http="proxy_cache_path cache keys_zone=z:1m;",
            )
            self.origin.default = application(FRESH)
            self.assertIn(b"GET /app/x?a=1 HTTP", bench.get(b"/x?utm_y=1&a=1").body)
            bench.close()

    def test_what_the_client_sent_is_kept_elsewhere(self) -> None:
        """Logs, redirects and other methods have it whole."""
        bench = self.site(
            application(FRESH),
            self.OPTIONS + "access_log access.log l; add_header X-Args $args;",
            http="log_format l '$request_uri $args $arg_utm_x';",
            server="location = /old { return 302 /new?$args; } location /dir/ { "
            "proxy_pass http://127.0.0.1:8000; proxy_cache z; proxy_cache_sort_args on; }",
        )
        for _ in range(3):
            self.assertEqual(bench.get(b"/?b&utm_x=1&a").get(b"x-args"), b"b&utm_x=1&a")
            self.assertEqual(bench.get(b"/?b&utm_x=2&a").get(b"x-args"), b"b&utm_x=2&a")
        self.assertEqual(bench.log()[0], "/?b&utm_x=1&a b&utm_x=1&a 1")
        self.assertIn(b"/new?b&utm_x=1", bench.get(b"/old?b&utm_x=1").get(b"location") or b"")
        self.assertIn(b"/dir/?b&a", bench.get(b"/dir?b&a").get(b"location") or b"")
        bench.client().request(b"DELETE", b"/?b&utm_x=1&a")
        self.assertEqual(self.origin.requests[-1].target, b"/?b&utm_x=1&a")

    def test_invalidation(self) -> None:
        """A change to a URL removes what is stored for it, however its query is written."""
        bench = self.site(application(FRESH), self.OPTIONS)
        bench.get(b"/?a=1&b=2")
        bench.client().request(b"DELETE", b"/?b=2&utm_x=1&a=1")
        self.assertEqual(bench.get(b"/?a=1&b=2").get(b"x-cache"), b"MISS")


class SteeringTests(_Case):
    """Fields outside the key: whoever sends them gets an entry of its own."""

    def test_no_field_poisons(self) -> None:
        """Every field of the list, in each of its forms, through both paths."""
        bench = self.site(application(FRESH), server="underscores_in_headers on;")
        for name in sorted(STEERING_FIELDS):
            for written in {name, name.replace(b"-", b"_"), name.title()}:
                target = b"/" + written
                self.twice(bench, target, written + b": evil")
                client = bench.client()
                for _ in range(3):
                    self.assertNotIn(b"evil", client.get(target).body, written)
                self.assertIn(b"evil", bench.get(target, written + b": evil").body)
        self.assertEqual(bench.get(b"/x", b"X-Forwarded-For: 1").get(b"x-cache"), b"MISS")
        self.assertEqual(bench.get(b"/x", b"X-Forwarded-For: 2").get(b"x-cache"), b"HIT")

    def test_through_the_operators_header(self) -> None:
        """``proxy_set_header`` that passes the client's word on, by a map or not."""
        for value in ("$http_x_forwarded_host", "$mapped", "$captured"):
            bench = self.site(
                application(FRESH),
                f"proxy_set_header X-Forwarded-Host {value};",
                http="map $http_x_forwarded_host $mapped { default $http_x_forwarded_host;"
                ' "~(?<captured>e.*)" $captured; }',
            )
            self.twice(bench, b"/", b"X-Forwarded-Host: evil")
            self.assertNotIn(b"evil", bench.get(b"/").body, value)
            bench.close()

    def test_overwritten_fields_share(self) -> None:
        """What does not reach the origin needs no entry of its own."""
        bench = self.site(application(FRESH), "proxy_set_header X-Forwarded-Proto $scheme;")
        bench.get(b"/")
        found = bench.get(b"/", b"X-Forwarded-Proto: https")
        self.assertEqual(found.get(b"x-cache"), b"HIT")

    def test_redirect_loop(self) -> None:
        """The redirect to https made for a request without X-Forwarded-Proto stays its own."""

        def redirecting(connection: OriginConnection, request: Request) -> None:
            if request.get(b"x-forwarded-proto") == b"https":
                connection.send(response(200, b"page", FRESH))
            else:
                connection.send(response(301, b"", FRESH, b"Location: https://test.example/"))

        bench = self.site(redirecting)
        self.twice(bench, b"/", b"X-Forwarded-Proto: http")
        self.twice(bench, b"/", b"X-Forwarded-Proto: https", b"Connection: X-Forwarded-Proto")
        self.assertEqual(bench.get(b"/", b"X-Forwarded-Proto: https").status, 200)

    def test_purge_and_invalidation_take_all(self) -> None:
        """What is stored apart still belongs to the URL."""
        bench = self.site(application(FRESH))
        fields = ((), (b"X-Forwarded-Proto: https",), (b"X-Host: a", b"X-Forwarded-Port: 1"))
        for one in fields:
            bench.get(b"/", *one)
            self.assertEqual(bench.get(b"/", *one).get(b"x-cache"), b"HIT")
        bench.client().request(b"DELETE", b"/")
        for one in fields:
            self.assertEqual(bench.get(b"/", *one).get(b"x-cache"), b"MISS")

    def test_purge_request(self) -> None:
        """``PURGE``, of one URL however its query is written, and of all that start so."""
        purge = "proxy_cache_purge $http_x_purge; proxy_cache_ignore_args utm_*;"
        for target in (b"/a?utm_source=1&b", b"/*"):
            bench = self.site(application(FRESH), purge)
            for fields in ((), (b"X-Forwarded-Proto: https",), (b"X-Host: a",)):
                bench.get(b"/a?b", *fields)
            found = bench.get(target, b"X-Purge: 1")
            self.assertEqual((found.status, found.get(b"cache-purged")), (204, b"3"))
            bench.close()

    def test_purge_by_an_ignored_argument(self) -> None:
        """What is ready for a URL does not stand in for its purge."""
        bench = self.site(
            application(FRESH), "proxy_cache_purge $arg_purge; proxy_cache_ignore_args purge;"
        )
        self.twice(bench, b"/")
        self.assertEqual(bench.get(b"/?purge=0").get(b"x-cache"), b"HIT")
        self.assertEqual(bench.get(b"/?purge=1").status, 204)
        self.twice(bench, b"/")
        self.assertEqual(bench.get(b"/?purge=1").status, 204)

    def test_variants_within(self) -> None:
        """Vary, a Range and revalidation work there as anywhere."""
        bench = self.site(application(FRESH, b"Vary: Accept-Language", b'ETag: "e"'))
        proto = b"X-Forwarded-Proto: https"
        for _ in range(3):
            for language in (b"de", b"en"):
                found = bench.get(b"/", proto, b"Accept-Language: " + language)
                self.assertIn(b"Language=" + language, found.body)
        self.assertEqual(len(self.origin.requests), 2)
        self.assertEqual(bench.get(b"/", proto, b"Range: bytes=0-2", b"Accept-Language: de").body,
                         b"GET")  # fmt: skip
        bench.advance(61)
        self.origin.reply(response(304, b"", FRESH, b'ETag: "e"'))
        found = bench.get(b"/", proto, b"Accept-Language: de")
        self.assertEqual(found.get(b"x-cache"), b"REVALIDATED")

    def test_head_does_not_freshen_for_others(self) -> None:
        """``proxy_cache_convert_head off``: what HEAD is told for a steered request stays there."""
        bench = self.site(application(FRESH), "proxy_cache_convert_head off;")
        bench.get(b"/")
        self.origin.default = response(200, b"", b"Cache-Control: max-age=9", b"X: evil")
        for fields in (
            (b"X-Forwarded-Host: evil",),
            (b"X-HTTP-Method-Override: PUT",),
            (b"Origin: a", b"Connection: Origin"),
        ):
            bench.client().request(b"HEAD", b"/", *fields)
            found = bench.get(b"/")
            self.assertEqual((found.get(b"x-cache"), found.get(b"x")), (b"HIT", None))

    def test_post_that_stands_for_a_get(self) -> None:
        """Content-Location stores no answer to what a GET of the URL could not have sent."""
        bench = self.site(
            application(), "proxy_cache_cookies sessionid; proxy_cache_ignore_args utm_*;"
        )
        for target, fields in (
            (b"/", (b"X-Forwarded-Host: evil",)),
            (b"/", (b"X-HTTP-Method-Override: evil",)),
            (b"/", (b"Origin: evil", b"Connection: Origin")),
            (b"/", (b"Cookie: theme=evil",)),
            (b"/?utm_source=evil", ()),
        ):
            self.origin.reply(response(200, b"evil", FRESH, b"Content-Location: " + target))
            bench.client().request(b"POST", target, *fields, body=b"")
            self.assertNotIn(b"evil", bench.get(b"/").body)
        self.origin.reply(response(200, b"good", FRESH, b"Content-Location: /"))
        bench.client().request(b"POST", b"/", b"Cookie: sessionid=1", body=b"")
        self.assertEqual(bench.get(b"/").body, b"good")

    def test_method_override(self) -> None:
        """A GET that the origin may take for something else is neither answered nor stored."""
        bench = self.site(application(FRESH), VALID)
        for name in sorted(METHOD_FIELDS):
            target = b"/" + name
            found = bench.get(target, name + b": DELETE")
            self.assertEqual(found.get(b"x-cache"), b"BYPASS")
            self.assertEqual(
                found.get(b"cache-status"), b"cacheproxy; fwd=bypass; detail=method-override"
            )
            self.assertNotIn(b"DELETE", bench.get(target).body)
            self.assertEqual(bench.get(target).get(b"x-cache"), b"HIT")
            self.assertIn(b"DELETE", bench.get(target, name + b": DELETE").body)
            self.assertNotIn(b"DELETE", bench.get(target).body)

    def test_connection_takes_fields_away(self) -> None:
        """What Connection names does not reach the origin: such an answer is not stored."""
        bench = self.site(application(FRESH, b"Vary: Origin, Cookie"))
        for name in (b"Origin", b"Cookie"):
            value = name + b": https://site.example"
            found = bench.get(b"/", value, b"Connection: keep-alive, " + name)
            self.assertEqual(
                found.get(b"cache-status"), b"cacheproxy; fwd=bypass; detail=connection"
            )
            self.assertIn(b"https://site.example", bench.get(b"/", value).body)


class DeceptionTests(_Case):
    """A page that is dressed up as a file, and paths that are read in two ways."""

    VICTIM = b"Cookie: sessionid=victim"
    #: As it stands in many a configuration.
    STATIC = (
        r"location ~* \.(css|js|png)$ { proxy_pass http://127.0.0.1:8000; proxy_cache z;"
        " add_header X-Cache $upstream_cache_status; proxy_cache_valid 200 302 1d;"
        " proxy_ignore_headers Cache-Control Expires Set-Cookie; %s }"
    )

    def lured(self, target: bytes, origin: Answer, options: str = "") -> bytes:
        """The victim opens *target*; what the attacker then gets there."""
        path = "proxy_cache_path cache keys_zone=z:1m;"
        bench = self.proxy("", self.STATIC % options, path)
        self.origin.default = origin
        bench.get(target, self.VICTIM)
        body = bench.get(target).body
        bench.close()
        return body

    def test_account_as_style_sheet(self) -> None:
        """The classical one: ``/account/x.css`` in a location for static files."""
        page = accounts(b"Cache-Control: private", b"Set-Cookie: a=b")
        for target in (b"/account/x.css", b"/account/x.CSS", b"/account/x.c%73s", b"/a/.css"):
            self.assertEqual(self.lured(target, page), b"page of nobody", target)
        data = accounts(kind=b"application/json")
        self.assertEqual(self.lured(b"/api/me/x.js", data), b"page of nobody")

    def test_operator_may_take_it_off(self) -> None:
        """``proxy_cache_deception_armor off``: as nginx."""
        off = "proxy_cache_deception_armor off;"
        self.assertEqual(self.lured(b"/account/x.css", accounts(), off), b"page of victim")

    def test_files_are_cached(self) -> None:
        """A style sheet, though the visitor is logged in and the origin denies it."""
        sheet = accounts(b"Cache-Control: no-store", b"Set-Cookie: a=b", kind=b"text/css")
        self.assertEqual(self.lured(b"/x.css", sheet), b"page of victim")

    def test_delimiters(self) -> None:
        """What ends the path for the origin, but not for the location."""
        sheet = accounts(kind=b"text/css")
        for target in (
            b"/account%3Bx.css",
            b"/account;x.css",
            b"/account%3Fx.css",
            b"/account%23x.css",
            b"/account%0Ax.css",
            b"/account%252Fx.css",
            b"/account%5Cx.css",
            b"/static/..%2Faccount%2Fx.css",
            b"/account/%2E%2E%2Fstatic%2Fx.css",
            b"/static/../account/x.css",
            b"//account/x.css",
        ):
            self.assertEqual(self.lured(target, sheet), b"page of nobody", target)

    def test_declared_shareable(self) -> None:
        """The origin's own word opens every path, and Cache-Status says why it was not stored."""
        bench = self.site(accounts(FRESH), VALID)
        bench.get(b"/a%2Fb")
        self.assertEqual(bench.get(b"/a%2Fb").get(b"x-cache"), b"HIT")
        self.origin.default = accounts()
        for target, detail in ((b"/c%2Fd", b"path"), (b"/c.css", b"type")):
            self.assertEqual(
                bench.get(target).get(b"cache-status"),
                b"cacheproxy; fwd=uri-miss; detail=deception-" + detail,
            )


class DenialTests(_Case):
    """One client's bad request is not everybody's error."""

    def test_faults_of_one_request(self) -> None:
        """``proxy_cache_valid any`` and an origin that does not like a field."""

        def strict(connection: OriginConnection, request: Request) -> None:
            status = int(request.get(b"x-provoke") or b"200")
            connection.send(response(status, b"%d" % status))

        bench = self.site(strict, VALID)
        for status in (400, 401, 406, 411, 412, 413, 415, 417, 421, 422, 426, 428, 429, 431):
            target = b"/%d" % status
            self.twice(bench, target, b"X-Provoke: %d" % status)
            self.assertEqual(bench.get(target).status, 200)
        self.twice(bench, b"/404", b"X-Provoke: 404")
        self.assertEqual(bench.get(b"/404").status, 404)

    def test_body_of_a_get(self) -> None:
        """It is not passed on, so that it cannot be reflected."""
        bench = self.site(application(FRESH))
        bench.client().request(b"GET", b"/", body=b"<evil>")
        self.assertEqual(self.origin.requests[0].get(b"content-length"), None)
        self.assertNotIn(b"evil", bench.get(b"/").body)

    def test_coding_that_nobody_asked_for(self) -> None:
        """An origin that forgets Vary: the coded form is for those who can read it."""

        def coding(connection: OriginConnection, request: Request) -> None:
            asked = request.get(b"accept-encoding")
            fields = (FRESH,) if asked is None else (FRESH, b"Content-Encoding: " + asked)
            connection.send(response(200, asked or b"plain", *fields))

        bench = self.site(coding)
        self.twice(bench, b"/", b"Accept-Encoding: zstd")
        self.assertEqual(bench.get(b"/").body, b"plain")

    def test_range(self) -> None:
        """A part is not taken for the whole."""
        bench = self.site(application())
        self.origin.default = response(206, b"x", FRESH, b"Content-Range: bytes 9-9/10")
        bench.get(b"/", b"Range: bytes=-1")
        self.origin.default = response(200, b"0123456789", FRESH)
        self.assertEqual(bench.get(b"/").body, b"0123456789")

    def test_hosts(self) -> None:
        """Port, case and the absolute form make no answer for another host."""
        bench = self.site(application(FRESH), "proxy_set_header Host $http_host;")
        for line in (
            b"GET / HTTP/1.1\r\nHost: test.example:1337",
            b"GET / HTTP/1.1\r\nHost: TEST.example",
            b"GET http://evil.example/ HTTP/1.1\r\nHost: test.example",
        ):
            client = bench.client()
            client.send(line + b"\r\n\r\n")
            client.response()
        self.assertIn(b"\nHost=test.example\n", bench.get(b"/").body)
