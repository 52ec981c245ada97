"""The fast path of hits: equal to the general path byte by byte, and never out of date."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.policy.purge import ByKey, Everything
from cacheproxy.proxy.front.remembering import MAX_READY
from tests.proxy.harness import (
    Bench,
    BenchCase,
    Client,
    OriginConnection,
    Request,
    http_date,
    message,
    response,
)

FRESH = b"Cache-Control: max-age=60"

OPTIONS = st.lists(
    st.sampled_from(
        [
            "gzip on; gzip_types *; gzip_min_length 5;",
            "gzip_vary on;",
            "server_tokens off;",
            "expires 1h;",
            "expires modified +5s;",
            "expires epoch;",
            "charset utf-8;",
            "add_header X-Uri $uri always;",
            "add_header X-Agent $http_user_agent;",
            "add_header Cache-Control public;",
            "etag off;",
            "proxy_hide_header X-Hidden;",
            "proxy_ignore_headers Vary;",
            "keepalive_timeout 20s 15s;",
            "keepalive_timeout 0;",
            "proxy_cache_bypass $http_x_bypass;",
            "proxy_cache_key $uri$is_args$args;",
            "proxy_cache_key $uri$http_cookie;",
            "proxy_cache_methods GET HEAD POST;",
            "proxy_set_header Host $host;",
            "max_ranges 0;",
            "if_modified_since off;",
            "chunked_transfer_encoding off;",
            "proxy_cache_revalidate on;",
            "error_page 404 /x;",
            "allow 192.0.2.0/24; deny all;",
            "deny 192.0.2.1;",
            "limit_except GET { deny all; }",
            "limit_except POST { allow all; }",
            "proxy_cache_purge $arg_purge;",
            "proxy_cache_purge 0 $http_x_purge;",
            "proxy_cache_cookies a lang;",
            "proxy_cache_ignore_args utm_* purge;",
            "proxy_cache_sort_args on;",
            "proxy_set_header X-Forwarded-Proto https;",
        ]
    ),
    unique_by=lambda option: option.split()[option.startswith("add_header")],
    max_size=5,
)
RESPONSE_FIELDS = st.lists(
    st.sampled_from(
        [
            b'ETag: "e"',
            b'ETag: W/"e"',
            b"Last-Modified: " + http_date(-1000),
            b"Vary: Accept-Encoding",
            b"Vary: Accept-Language",
            b"Vary: Origin, Accept-Encoding",
            b"Vary: Cookie",
            b"Vary: Cookie, Accept-Encoding",
            b"Content-Type: text/plain",
            b"Content-Type: text/html; charset=latin-1",
            b"Age: 10",
            b"Date: " + http_date(-3),
            b"Expires: " + http_date(100),
            b"X-Hidden: 1",
            b"X-Twice: 1",
            b"X-Twice: 2",
            b"Content-Encoding: gzip",
            b"Content-Language: de",
            b"Warning: 110 - x",
            b"Server: app",
        ]
    ),
    unique=True,
    max_size=6,
)
REQUEST_FIELDS = st.lists(
    st.sampled_from(
        [
            b"Accept-Encoding: gzip",
            b"Accept-Encoding: gzip, br",
            b"Accept-Encoding: gzip;q=0",
            b"Accept-Encoding: identity",
            b"Accept-Language: de",
            b"Accept-Language: en",
            b"Cookie: a=b",
            b"Cookie: _ga=1",
            b"Cookie: _ga=2; a=b",
            b"Cookie: lang=de; a=b",
            b"Cookie: a=b; lang=de",
            b"Cookie:",
            b"X-Forwarded-Proto: https",
            b"X-Forwarded-Proto: http",
            b"X-Forwarded-Host: a",
            b"X-HTTP-Method-Override: PUT",
            b"User-Agent: x",
            b"User-Agent: Mozilla/4.0 (compatible; MSIE 5.5)",
            b'If-None-Match: "e"',
            b"If-Modified-Since: " + http_date(0),
            b"If-Match: *",
            b"If-Unmodified-Since: " + http_date(-2000),
            b"Range: bytes=0-2",
            b'If-Range: "e"',
            b"Cache-Control: max-age=30",
            b"Cache-Control: no-cache",
            b"Cache-Control: only-if-cached",
            b"Pragma: no-cache",
            b"Authorization: Basic eA==",
            b"Connection: close",
            b"Connection: keep-alive",
            b"Connection: x-drop",
            b"Via: 1.1 proxy",
            b"Origin: https://a",
            b"X-Bypass: 1",
            b"X-Purge: 1",
            b"Expect: 100-continue",
            b"Upgrade: h2c",
            b"Host: TEST.example",
            b"Host: other.example",
        ]
    ),
    unique_by=lambda field: field.split(b":")[0],
    max_size=4,
)
BODIES = st.sampled_from([b"", b"small", b"text " * 100, b"x" * 40_000])
REQUESTS = st.lists(
    st.tuples(
        st.sampled_from([b"GET", b"GET", b"GET", b"HEAD", b"POST", b"PURGE"]),
        st.sampled_from(
            [b"/", b"/a", b"/a?b", b"/a?purge=1", b"/a?b&utm_x", b"/a?utm_x&b", b"/?utm_x=1"]
        ),
        REQUEST_FIELDS,
        st.sampled_from([0, 0, 0, 1, 7, 61]),
    ),
    min_size=2,
    max_size=12,
)


class EqualityTests(BenchCase):
    """STYLE 2.18: the fast path is an optimisation and nothing else."""

    @given(
        OPTIONS,
        st.sampled_from([200, 200, 200, 204, 301, 404, 410]),
        BODIES,
        RESPONSE_FIELDS,
        REQUESTS,
    )
    def test_equal_byte_by_byte(
        self,
        options: list[str],
        status: int,
        body: bytes,
        fields: list[bytes],
        requests: list[tuple[bytes, bytes, list[bytes], int | str]],
    ) -> None:
        """The same story told with and without it gives the same bytes and log lines."""
        told = [
            self.tell(options, (status, body, [FRESH, *fields]), requests, hot)
            for hot in (True, False)
        ]
        self.assertEqual(told[0], told[1])

    def tell(
        self,
        options: list[str],
        answer: tuple[int, bytes, list[bytes]],
        requests: list[tuple[bytes, bytes, list[bytes], int | str]],
        hot: bool,
    ) -> object:
        """Every request twice; what the client saw, what was logged, what the origin was asked."""
        bench = self.cache(
            " ".join(options),
            "access_log access.log l;",
            "log_format l '$status $body_bytes_sent $bytes_sent $upstream_cache_status"
            " $request $request_completion $sent_http_content_length $sent_http_etag $host $uri';",
        )
        status, body, fields = answer
        version = 0

        def reply(connection: OriginConnection, request: Request) -> None:
            """The content now; 304 where the entity-tag is known."""
            tag = b'"e"' if not version else b'"e%d"' % version
            lines = [line.replace(b'"e"', tag) for line in fields]
            known = request.get(b"if-none-match")
            if known is not None and b"ETag: " + known in lines:
                connection.send(response(304, b"", *lines, b"X-Confirmed: %d" % version))
            else:
                connection.send(response(status, body + b"%d" % version * bool(body), *lines))

        self.origin.default = reply  # type: ignore[assignment]  # a callable
        seen: list[bytes] = []
        client = bench.client(hot=hot)
        for method, target, asked, pause in requests:
            data = message(method, target, *asked, body=b"" if method == b"POST" else None)
            pieces = [data * 4] if pause == "pipeline" else [data] * 3
            for piece in pieces:
                if client.transport.closed:
                    seen.append(client.received)
                    client = bench.client(hot=hot)
                client.send(piece)
            if isinstance(pause, int):
                bench.advance(pause, 61)
            elif pause == "change":
                version += 1
            elif pause != "pipeline":
                self.purge(soft=pause == "soft")
        seen.append(client.received)
        log = bench.log()
        origin = [request.head for request in self.origin.requests]
        bench.close()
        return seen, log, origin

    def purge(self, soft: bool) -> None:
        """Everything in the zone is removed, or made stale."""
        self.bench.reactor.advance(0.25)
        zone = self.bench.runtime.storage("z")
        assert zone is not None
        zone.purge(Everything(), lambda count: None, soft=soft)
        self.bench.reactor.settle()


class CurrencyTests(BenchCase):
    """What is ready to send is sent only while it is what the general path would send."""

    def ready(self, options: str = "", *fields: bytes, body: bytes = b"old") -> Client:
        """A client for which the answer to ``/`` is ready."""
        bench = self.cache(options)
        self.origin.reply(response(200, body, FRESH, *fields))
        client = bench.client()
        for _ in range(3):
            client.get(b"/")
        self.assertTrue(self.is_hot(client))
        return client

    def is_hot(self, client: Client, *fields: bytes) -> bool:
        """Whether a GET with *fields* is answered by the fast path; it is sent."""
        found: list[bool] = []
        answer = client.protocol._hot

        def spy(downstream: object, head: object) -> object:
            ready = answer(downstream, head)
            found.append(ready is not None)
            return ready

        client.protocol._hot = spy
        client.get(b"/", *fields)
        client.protocol._hot = answer
        return found == [True]

    def test_expiry(self) -> None:
        """A second after its lifetime the origin is asked."""
        client = self.ready()
        self.bench.advance(59)
        self.assertTrue(self.is_hot(client))
        self.bench.advance(2)
        self.origin.reply(response(200, b"new", FRESH))
        self.assertEqual(client.get(b"/").body, b"new")

    def test_age_goes_on(self) -> None:
        """Age follows the clock (RFC 9111 §5.1)."""
        client = self.ready()
        ages = []
        for _ in range(4):
            ages.append(client.get(b"/").get(b"age"))
            self.bench.advance(1)
        self.assertEqual(ages, [b"0", b"1", b"2", b"3"])

    def test_purge(self) -> None:
        """A removed entry is not served."""
        client = self.ready()
        zone = self.bench.runtime.zones["z"]
        route = next(iter(self.bench.factories.values())).site.routes[(b"test.example", b"/")]
        assert route.digest is not None
        zone.purge(ByKey(route.digest), lambda count: None)
        self.origin.reply(response(200, b"new", FRESH))
        self.assertEqual(client.get(b"/").body, b"new")

    def test_replacement(self) -> None:
        """An entry that another request replaced is not served."""
        client = self.ready()
        self.origin.reply(response(200, b"new", FRESH))
        self.bench.get(b"/", b"Cache-Control: no-cache")
        self.assertEqual(client.get(b"/").body, b"new")
        self.assertEqual(client.get(b"/").body, b"new")

    def test_freshening(self) -> None:
        """A head that was freshened is sent as it is now."""
        client = self.ready("proxy_cache_revalidate on;", b'ETag: "e"')
        self.origin.reply(response(304, b"", FRESH, b'ETag: "e"', b"X-New: 1"))
        self.bench.get(b"/", b"Cache-Control: no-cache")
        for _ in range(3):
            self.assertEqual(client.get(b"/").get(b"x-new"), b"1")

    def test_unsafe_request(self) -> None:
        """Invalidation."""
        client = self.ready()
        self.origin.reply(response(200, b"done"), response(200, b"new", FRESH))
        client.request(b"DELETE", b"/")
        self.assertEqual(client.get(b"/").body, b"new")

    def test_eviction_from_memory(self) -> None:
        """What the memory tier has dropped is looked up again."""
        client = self.ready()
        self.bench.runtime.zones["z"].memory.clear()
        self.assertEqual(client.get(b"/").body, b"old")
        self.assertEqual(len(self.origin.requests), 1)

    def test_requests_that_ask_for_more(self) -> None:
        """They take the general path."""
        client = self.ready()
        for field in (
            b"Range: bytes=0-0",
            b'If-None-Match: "e"',
            b"Cache-Control: max-age=0",
            b"Authorization: Basic eA==",
            b"Upgrade: h2c",
            b"Via: 1.1 a",
        ):
            self.assertFalse(self.is_hot(client, field), field)
            self.origin.default = response(200, b"old", FRESH)

    def test_locations_that_ask_for_more(self) -> None:
        """Anything that reads the request keeps a location off the fast path."""
        for options in (
            "proxy_cache_bypass $http_x;",
            "add_header X $http_user_agent;",
            "proxy_cache_key $uri$cookie_a;",
            "keepalive_timeout 0;",
        ):
            bench = self.cache(options)
            self.origin.default = response(200, b"x", FRESH)
            client = bench.client()
            for _ in range(2):
                if client.transport.closed:
                    client = bench.client()
                client.get(b"/")
            if client.transport.closed:
                client = bench.client()
            self.assertFalse(self.is_hot(client), options)
            bench.close()

    def test_connection_ends_by_the_requests_of_the_location_that_answers(self) -> None:
        """``keepalive_requests``: neither the default server's nor none."""
        path = "proxy_cache_path cache keys_zone=z:1m; access_log off;"
        server = """server { listen 127.0.0.1:80; server_name %s; keepalive_requests %d;
            location / { proxy_pass http://127.0.0.1:8000; proxy_cache z; } }"""
        bench = self.bench = Bench(self, path + server % ("a", 1000) + server % ("b", 4))
        bench.origin().default = response(200, b"x", FRESH)
        for _ in range(2):
            client = bench.client()
            for number in range(1, 5):
                answer = client.get(b"/", b"Host: b")
                kept = answer.get(b"connection") == b"keep-alive"
                self.assertEqual(kept, number < 4, number)
            self.assertTrue(client.transport.closed)

    def test_another_host(self) -> None:
        """A ready response belongs to its host."""
        client = self.ready("proxy_cache_key $host$uri;")
        self.origin.reply(response(200, b"other", FRESH))
        self.assertEqual(client.get(b"/", b"Host: other.example").body, b"other")
        self.assertEqual(client.get(b"/").body, b"old")

    def test_reload(self) -> None:
        """A new configuration renders anew; the old one answers one request more."""
        path = "proxy_cache_path cache keys_zone=z:1m;"
        text = (
            path
            + """server { listen 127.0.0.1:80; add_header V %d;
            location / { proxy_pass http://127.0.0.1:8000; proxy_cache z; } }"""
        )
        bench = self.bench = Bench(self, text % 1)
        bench.origin().default = response(200, b"x", FRESH)
        old = bench.client()
        for _ in range(3):
            self.assertEqual(old.get(b"/").get(b"v"), b"1")
        bench.reload(text % 2)
        new = bench.client()
        for _ in range(3):
            self.assertEqual(new.get(b"/").get(b"v"), b"2")
        last = old.get(b"/")
        self.assertEqual((last.get(b"v"), last.get(b"connection")), (b"1", b"close"))
        self.assertTrue(old.transport.closed)
        self.assertEqual(len(bench.origin().requests), 1)

    def test_cookies_that_do_not_count(self) -> None:
        """``Vary: Cookie`` and a request without a cookie that counts."""
        client = self.ready("", b"Vary: Cookie, Accept-Encoding")
        self.assertTrue(self.is_hot(client))
        self.origin.reply(response(200, b"other", FRESH, b"Vary: Cookie, Accept-Encoding"))
        self.assertFalse(self.is_hot(client, b"Cookie: _ga=1"))
        self.assertTrue(self.is_hot(client))
        client = self.ready("proxy_cache_cookies a;", b"Vary: Cookie")
        for number in range(20):
            self.assertTrue(self.is_hot(client, b"Cookie: _ga=%d" % number))
            self.assertTrue(self.is_hot(client))

    def test_cookies_where_nothing_varies(self) -> None:
        """Any cookie will do, counted or not."""
        for options in ("", "proxy_cache_cookies a;"):
            client = self.ready(options)
            for cookie in (b"Cookie: a=1", b"Cookie: a=2; b=3", b"Cookie:"):
                self.assertTrue(self.is_hot(client, cookie), cookie)

    def test_cookies_that_count(self) -> None:
        """Each value has its own, where the location says which cookies these are."""
        client = self.ready("proxy_cache_cookies lang;", b"Vary: Cookie")
        for body in (b"de", b"en"):
            cookie = b"Cookie: x=1; lang=" + body
            self.origin.reply(response(200, body, FRESH, b"Vary: Cookie"))
            client.get(b"/", cookie)
            client.get(b"/", cookie)
            self.assertTrue(self.is_hot(client, cookie))
            self.assertEqual(client.get(b"/", b"Cookie: y=2;lang=" + body).body, body)
        self.assertEqual(client.get(b"/").body, b"old")

    def test_anonymous_answer_outlives_many_visitors(self) -> None:
        """Sessions take no place from the answer that all the others get."""
        client = self.ready("proxy_cache_cookies id;", b"Vary: Cookie")
        self.origin.default = response(200, b"own", FRESH, b"Vary: Cookie")
        for number in range(3 * MAX_READY):
            for _ in range(3):
                client.get(b"/", b"Cookie: id=%d" % number)
        self.assertTrue(self.is_hot(client))

    def test_behind_a_load_balancer(self) -> None:
        """A field that could steer the answer keeps requests apart, and hot."""
        client = self.ready()
        proto = b"X-Forwarded-Proto: https"
        self.origin.reply(response(200, b"https", FRESH))
        for _ in range(2):
            self.assertEqual(client.get(b"/", proto).body, b"https")
        self.assertTrue(self.is_hot(client, proto))
        self.assertEqual(client.get(b"/").body, b"old")

    def test_ignored_arguments(self) -> None:
        """A campaign's link is hot as soon as it is known."""
        client = self.ready("proxy_cache_ignore_args utm_*;")
        for number in range(3):
            target = b"/?utm_id=%d" % number
            client.get(target)
            spied: list[bool] = []
            answer = client.protocol._hot

            def spy(
                downstream: object,
                head: object,
                answer: Any = answer,
                spied: list[bool] = spied,
            ) -> object:
                ready = answer(downstream, head)
                spied.append(ready is not None)
                return ready

            client.protocol._hot = spy
            client.get(target)
            client.protocol._hot = answer
            self.assertEqual(spied, [True])
        self.assertEqual(len(self.origin.requests), 1)

    def test_forms_are_bounded(self) -> None:
        """A client cannot make a route remember without end."""
        bench = self.cache()
        self.origin.default = response(200, b"x", FRESH, b"Vary: Accept-Encoding")
        client = bench.client()
        for number in range(30):
            for _ in range(2):
                client.get(b"/", b"Accept-Encoding: x%d, gzip;q=0.%d" % (number, number % 10))
        routes = next(iter(bench.factories.values())).site.routes
        for route in routes.values():
            self.assertLessEqual(len(route.ready), MAX_READY)

    def test_log(self) -> None:
        """A ready response is logged as any hit."""
        bench = self.cache(
            "",
            "access_log access.log l;",
            "log_format l '$status $bytes_sent $body_bytes_sent "
            "$upstream_cache_status $connection_requests';",
        )
        self.origin.default = response(200, b"x" * 30_000, FRESH)
        client = bench.client()
        sizes = []
        for _ in range(4):
            before = len(client.received)
            client.get(b"/")
            sizes.append(len(client.received) - before)
        lines = bench.log()
        self.assertEqual(
            lines[1:], [f"200 {size} 30000 HIT {n}" for n, size in enumerate(sizes[1:], 2)]
        )
