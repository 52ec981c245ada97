"""Where the parts of the cache meet: two requests at a time, or one that several rules are for.

Each test is a story in which one part's answer to a request would undo what another promises.
"""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

from tests.proxy.harness import BenchCase, Client, OriginConnection, Request, message, response

FRESH = b"Cache-Control: max-age=60"
SHORT = b"Cache-Control: max-age=10"
ETAG = b'ETag: "1"'
PURGE = "proxy_cache_purge $purging;"
PURGING = "map $request_method $purging { PURGE 1; default 0; }"


class _Case(BenchCase):
    def ask(self, *fields: bytes) -> Client:
        """A client whose request is under way."""
        client = self.bench.client()
        client.send(message(b"GET", b"/", *fields))
        return client

    def purge(self, *fields: bytes, target: bytes = b"/") -> int:
        """The status of a purge."""
        return self.bench.client().request(b"PURGE", target, *fields).status

    def status(self, *fields: bytes, target: bytes = b"/") -> bytes | None:
        """``$upstream_cache_status`` of a GET."""
        return self.bench.get(target, *fields).get(b"x-cache")


class CulledTests(_Case):
    """What ``max_size`` takes from the disk is not served from elsewhere."""

    def test_culled_response_is_fetched_again(self) -> None:
        """Forty pages of 64 KB in a zone of 1 MB, each asked for often enough to be kept ready."""
        self.cache(zone="max_size=1m memory=64m")
        self.origin.default = response(200, b"x" * 65_536, FRESH)
        pages = [b"/%d" % number for number in range(40)]
        client = self.bench.client()
        for page in pages:
            for status in (b"MISS", b"HIT", b"HIT"):
                self.assertEqual(client.request(b"GET", page).get(b"x-cache"), status)
        # The latest first: what is found displaces nothing.
        found = [self.status(target=page) for page in reversed(pages)]
        hits = found.index(b"MISS")
        self.assertTrue(8 <= hits <= 13, found)
        self.assertEqual(set(found[hits:]), {b"MISS"})


class NotModifiedTests(_Case):
    """A 304, and what else happens to what it is about."""

    def stale(self, options: str = "") -> None:
        """Something is stored, and stale."""
        self.cache(options)
        self.origin.reply(response(200, b"page of all", SHORT, ETAG))
        self.bench.get(b"/")
        self.bench.advance(20)

    def test_vary_that_comes_with_it(self) -> None:
        """What was the same for all is not any more: who differs does not get it."""
        self.stale()
        self.origin.reply(response(304, b"", ETAG, FRESH, b"Vary: Cookie"))
        first = self.bench.get(b"/", b"Cookie: user=a")
        self.assertEqual((first.get(b"x-cache"), first.get(b"vary")), (b"REVALIDATED", b"Cookie"))
        self.origin.default = response(200, b"page of b", FRESH, b"Vary: Cookie")
        self.assertEqual(self.bench.get(b"/", b"Cookie: user=b").body, b"page of b")
        self.assertEqual(self.status(b"Cookie: user=b"), b"HIT")

    def test_vary_any_ends_it(self) -> None:
        self.stale()
        self.origin.reply(response(304, b"", ETAG, FRESH, b"Vary: *"))
        self.bench.get(b"/")
        self.origin.default = response(200, b"another", FRESH)
        self.assertEqual(self.status(), b"MISS")

    def test_what_one_client_is_told(self) -> None:
        """The fields of an answer that may not be stored are not put into what is stored."""
        for field in (b"Authorization: Bearer a", b"Cache-Control: no-store", b"X-Alone: 1"):
            self.stale("proxy_no_cache $http_x_alone; proxy_cache_use_stale http_500;")
            self.origin.reply(response(304, b"", ETAG, FRESH, b"X-User: alice"))
            self.assertEqual(self.bench.get(b"/", field).body, b"page of all")
            self.origin.default = response(500)
            later = self.bench.get(b"/")
            self.assertEqual((later.get(b"x-cache"), later.get(b"x-user")), (b"STALE", None))

    def test_private_to_somebody_known(self) -> None:
        """That nothing may be shared any more ends it, whoever is told."""
        self.stale("proxy_cache_use_stale http_500;")
        self.origin.reply(response(304, b"", ETAG, b"Cache-Control: private"))
        self.bench.get(b"/", b"Authorization: Bearer a")
        self.origin.default = response(500)
        self.assertEqual(self.bench.get(b"/").status, 500)

    def test_after_another_version_was_stored(self) -> None:
        """The validators of the one are not put on the body of the other."""
        self.stale("proxy_cache_lock off;")
        first, second = self.ask(), self.ask()
        held, other = self.origin.connections[-2:]
        other.send(response(200, b"2nd version", FRESH, b'ETag: "2"'))
        self.assertEqual(second.response().body, b"2nd version")
        held.send(response(304, b"", FRESH, ETAG))
        self.assertEqual(first.response().status, 200)
        got = self.bench.get(b"/")
        self.assertEqual((got.body, got.get(b"etag")), (b"2nd version", b'"2"'))

    def test_after_another_user_s_page_was_stored(self) -> None:
        """Who asked whether the old page holds is not given the page of somebody else."""
        self.stale("proxy_cache_lock off;")
        first, second = self.ask(), self.ask(b"Cookie: user=b")
        held, other = self.origin.connections[-2:]
        other.send(response(200, b"page of b", FRESH, b'ETag: "2"', b"Vary: Cookie"))
        self.assertEqual(second.response().body, b"page of b")
        held.send(response(304, b"", FRESH, ETAG))
        self.assertEqual(first.response().body, b"page of all")

    def test_soft_purge_meanwhile_of_what_is_stored_apart(self) -> None:
        """What was asked for before the purge does not make it fresh again."""
        steering = b"X-Forwarded-Host: b.example"
        self.cache(server=PURGE, http=PURGING)
        self.origin.reply(response(200, b"page", SHORT, ETAG))
        self.bench.get(b"/", steering)
        self.bench.advance(20)
        client = self.ask(steering)
        self.bench.advance(1)
        self.assertEqual(self.purge(b"Cache-Purge: soft"), 204)
        self.origin.last.send(response(304, b"", FRESH, ETAG))
        client.response()
        self.origin.default = response(200, b"new", FRESH)
        self.assertNotEqual(self.status(steering), b"HIT")


class RefreshTests(_Case):
    """What is refreshed in the background is what was served stale."""

    OPTIONS = (
        "proxy_cache_use_stale updating; proxy_cache_background_update on;"
        "proxy_cache_valid 200 10s; proxy_cache_methods GET HEAD POST;"
    )

    def test_head(self) -> None:
        """Of an answer to HEAD that is stored as such, by HEAD."""
        bench = self.cache(self.OPTIONS + "proxy_cache_convert_head off;")
        client = bench.client()
        for version, status in ((b"1", b"MISS"), (b"2", b"STALE"), (b"2", b"HIT")):
            self.origin.default = response(200, b"", b"X-Version: " + version)
            self.assertEqual(client.request(b"HEAD", b"/").get(b"x-cache"), status)
            if status == b"MISS":
                bench.advance(20)
        self.assertEqual([asked.method for asked in self.origin.requests], [b"HEAD", b"HEAD"])

    def test_post(self) -> None:
        """Of an answer to POST, only with the content of a client: it waits."""
        bench = self.cache(self.OPTIONS)
        client = bench.client()
        for version in (b"1", b"2"):
            self.origin.default = response(200, version)
            answer = client.request(b"POST", b"/", body=b"question")
            self.assertEqual(answer.body, version)
            bench.advance(20)
        asked = [(request.method, request.body) for request in self.origin.requests]
        self.assertEqual(asked, [(b"POST", b"question")] * 2)


class PurgeTests(_Case):
    """A purge while the response is coming."""

    BEGUN = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\nCache-Control: max-age=60"

    def fill(self, *fields: bytes) -> tuple[Client, Client, OriginConnection]:
        """A client, its follower, and the origin, which has sent half of it."""
        self.cache(server=PURGE, http=PURGING)
        leader = self.ask()
        origin = self.origin.last
        origin.send(b"\r\n".join([self.BEGUN, *fields]) + b"\r\n\r\nhalf")
        return leader, self.ask(), origin

    def test_soft(self) -> None:
        """Nobody's connection is cut; what came is stored as stale."""
        leader, follower, origin = self.fill()
        self.purge(b"Cache-Purge: soft")
        later = self.ask()
        origin.send(b"half")
        for client in (leader, follower, later):
            self.assertEqual(client.response().body, b"halfhalf")
        self.assertEqual(len(self.origin.requests), 1)
        self.origin.default = response(200, b"new", FRESH)
        self.assertEqual(self.status(), b"STALE")
        self.assertEqual(self.bench.get(b"/").body, b"new")

    def test_soft_and_must_revalidate(self) -> None:
        """Who comes after the purge does not get what was before it."""
        leader, follower, origin = self.fill(b"Cache-Control: must-revalidate")
        self.purge(b"Cache-Purge: soft")
        later = self.ask()
        origin.send(b"half")
        self.assertEqual(leader.response().body + follower.response().body, b"halfhalf" * 2)
        self.assertEqual((later.received, len(self.origin.requests)), (b"", 2))
        self.origin.last.send(response(200, b"new", FRESH))
        self.assertEqual(later.response().body, b"new")

    def test_hard_without_a_client(self) -> None:
        """What nobody gets and nothing stores is not read to its end."""
        leader, follower, origin = self.fill()
        follower.vanish()
        leader.vanish()
        origin.send(b"x")
        self.assertFalse(origin.closed)
        self.purge()
        origin.send(b"x")
        self.assertTrue(origin.closed)

    def test_hard_with_a_client(self) -> None:
        """Who began it has it to its end."""
        leader, _, origin = self.fill()
        self.purge()
        origin.send(b"half")
        self.assertEqual(leader.response().body, b"halfhalf")

    def test_too_large_without_a_client(self) -> None:
        """The same where it turns out that it cannot be stored."""
        self.cache(zone="max_size=100k memory=0")
        client = self.ask()
        origin = self.origin.last
        origin.send(b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n\r\n")
        client.vanish()
        for _ in range(4):
            origin.send(b"x" * 40_000)
        self.assertTrue(origin.closed)

    def test_within_one_reading_of_the_clock(self) -> None:
        """What was asked for before it is not stored; what is asked for after it is."""
        self.cache(server=PURGE, http=PURGING)
        before = self.ask()
        self.assertEqual(self.purge(), 404)
        self.origin.last.send(response(200, b"old", FRESH))
        self.assertEqual(before.response().body, b"old")
        self.origin.default = response(200, b"new", FRESH)
        self.assertEqual([self.status(), self.status()], [b"MISS", b"HIT"])

    def test_refused_and_led_to_an_error_page(self) -> None:
        """The place that says no to a purge, or to a change, does not carry it out."""
        page = "proxy_pass http://127.0.0.1:8000; proxy_cache z; add_header X-Cache no;"
        bench = self.cache(
            "limit_except GET { deny all; } error_page 403 @refused;",
            server=PURGE + f"location @refused {{ {page} }}",
            http=PURGING,
        )
        self.origin.default = response(200, b"x", FRESH)
        bench.get(b"/")
        for method in (b"PURGE", b"POST"):
            answer = bench.client().request(method, b"/", b"Cache-Purge: all")
            self.assertEqual((answer.status, answer.get(b"cache-purged")), (403, None))
            self.assertEqual(self.status(), b"HIT")


class SpellingTests(_Case):
    """A key that leaves out what the origin is told (``$host``, ``$uri``)."""

    def test_port(self) -> None:
        """Links to a port that one client named are not for the others."""

        def links(connection: OriginConnection, request: Request) -> None:
            connection.send(response(200, b"http://" + (request.get(b"host") or b""), FRESH))

        forwards = ("Host $http_host", "X-Forwarded-Port $request_port", "X-Host $host:$http_host")
        for forward in forwards:
            bench = self.cache(
                f"proxy_set_header {forward}; proxy_cache_key $scheme$host$request_uri;",
                server=PURGE,
                http=PURGING,
            )
            self.origin.default = links
            for host in (b"test.example:1337", b"TEST.example", b"test.example."):
                bench.get(b"/", b"Host: " + host)
                bench.get(b"/", b"Host: " + host)
            self.assertEqual(self.status(), b"MISS")
            self.assertEqual(self.status(), b"HIT")
            self.assertEqual(self.purge(), 204)
            self.assertEqual(self.status(b"Host: test.example:1337"), b"MISS")

    def test_port_that_is_not_told(self) -> None:
        """It costs nothing where the origin does not see it, or the key holds it."""
        for options in (
            "proxy_cache_key $host$request_uri;",
            "proxy_set_header Host $http_host; proxy_cache_key $host$is_request_port$request_uri;",
        ):
            self.cache(options)
            self.origin.default = response(200, b"", FRESH)
            self.status()
            self.assertEqual(self.status(), b"HIT")
        self.cache("proxy_cache_key $host$request_uri;")
        self.origin.default = response(200, b"", FRESH)
        self.status()
        self.assertEqual(self.status(b"Host: test.example:81"), b"HIT")

    def test_path(self) -> None:
        """What is the same path here need not be for the origin, which says 404."""

        def strict(connection: OriginConnection, request: Request) -> None:
            found = request.target == b"/a/b"
            connection.send(response(200 if found else 404, b"", FRESH))

        for key in ("$uri", "$host$document_uri$is_args$args"):
            bench = self.cache(f"proxy_cache_key {key};")
            self.origin.default = strict
            for path in (b"/a%2fb", b"/a//b", b"/x/../a/b", b"/a/%2e/b"):
                self.assertEqual(bench.get(path).status, 404)
            self.assertEqual(bench.get(b"/a/b").status, 200)
            self.assertEqual(bench.get(b"/a//b").status, 404)
            self.assertEqual(len(self.origin.requests), 5)

    def test_path_in_slices(self) -> None:
        """A slice that one spelling brought is none of another's; a purge takes both."""

        def slices(connection: OriginConnection, request: Request) -> None:
            start = int((request.get(b"range") or b"")[6:].partition(b"-")[0])
            body = request.target[-4:] * 2
            described = b"Content-Range: bytes %d-%d/8" % (start, start + 3)
            connection.send(response(206, body[start : start + 4], FRESH, described))

        bench = self.cache(
            "slice 4; proxy_cache_key $uri$slice_range; proxy_set_header Range $slice_range;",
            server=PURGE,
            http=PURGING,
        )
        self.origin.default = slices
        self.assertEqual(bench.get(b"/a%2fb").body, b"%2fb%2fb")
        self.assertEqual(bench.get(b"//a/b").body, b"/a/b/a/b")
        self.assertEqual(bench.get(b"/a/b").body, b"/a/b/a/b")
        purged = bench.client().request(b"PURGE", b"/a/b")
        self.assertEqual(purged.get(b"cache-purged"), b"6")


class ToldTests(_Case):
    """``Vary`` of a field that ``proxy_set_header`` makes: by what the origin was told."""

    def page(self, connection: OriginConnection, request: Request) -> None:
        """The origin's answer: the page of the user that the proxy names."""
        user = request.get(self.name.lower()) or b"nobody"
        body = b"page of " + user
        asked = request.get(b"range")
        fields = [FRESH, ETAG, b"Vary: " + self.name]
        if asked is None:
            connection.send(response(200, body, *fields))
            return
        first = int(asked[6:].partition(b"-")[0])
        fields.append(b"Content-Range: bytes %d-%d/%d" % (first, len(body) - 1, len(body)))
        connection.send(response(206, body[first:], *fields))

    def site(self, name: bytes, options: str = "") -> None:
        self.name = name
        header = f"proxy_set_header {name.decode()} $cookie_user; {options}"
        self.cache(header, server=PURGE, http=PURGING)
        self.origin.default = self.page

    def test_each_gets_the_own_page(self) -> None:
        for name in (b"X-User", b"Accept-Encoding", b"Cookie"):
            self.site(name)
            for _ in range(3):
                for user in (b"alice", b"bob", b""):
                    fields = (b"Cookie: user=" + user,) if user else ()
                    got = self.bench.get(b"/", *fields, b"X-User: alice")
                    self.assertEqual(got.body, b"page of " + (user or b"nobody"))
            self.assertEqual(len(self.origin.requests), 3)

    def test_while_it_comes(self) -> None:
        self.site(b"X-User")
        self.origin.default = None
        alice, bob = self.ask(b"Cookie: user=alice"), self.ask(b"Cookie: user=bob")
        first = self.origin.last
        begun = b"HTTP/1.1 200 OK\r\nVary: X-User\r\nCache-Control: max-age=60\r\n"
        self.origin.default = self.page
        first.send(begun + b"Content-Length: 13\r\n\r\npage of")
        first.send(b" alice")
        self.assertEqual(alice.response().body, b"page of alice")
        self.assertEqual(bob.response().body, b"page of bob")

    def test_parts(self) -> None:
        self.site(b"X-User", "proxy_cache_max_range_offset 0;")
        for user in (b"alice", b"bob", b"alice"):
            cookie = b"Cookie: user=" + user
            self.assertEqual(self.bench.get(b"/", cookie, b"Range: bytes=8-").body, user)
            self.assertEqual(self.bench.get(b"/", cookie).body, b"page of " + user)

    def test_answer_to_a_post(self) -> None:
        """It is stored for whom the proxy named, whatever the client says."""
        self.site(b"X-User")
        self.origin.reply(
            response(200, b"hers", FRESH, b"Vary: X-User", b"Content-Location: /")
        )
        self.bench.client().request(
            b"POST", b"/", b"Cookie: user=mallory", b"X-User: bob", body=b""
        )
        self.assertEqual(self.bench.get(b"/", b"Cookie: user=bob").body, b"page of bob")

    def test_conditions_go_on_as_before(self) -> None:
        """What is made for the origin has no say in what the client asks of the cache."""
        self.cache("proxy_set_header Range $http_x_range; proxy_set_header X-Host $host;")
        self.origin.default = response(200, b"0123456789", FRESH)
        for _ in range(2):
            got = self.bench.get(b"/", b"Range: bytes=1-2")
            self.assertEqual((got.status, got.body), (206, b"12"))


class ContentTests(_Case):
    """``proxy_cache_methods POST``: the answer to one question is not that to another."""

    def test_in_the_key(self) -> None:
        for size, statuses in ((10, [b"MISS", b"MISS", b"HIT"]), (20_000, [b"BYPASS"] * 3)):
            for buffering in ("on", "off"):
                bench = self.cache(
                    "proxy_cache_methods POST; proxy_cache_key $uri$request_body;"
                    f"client_body_buffer_size 16k; proxy_request_buffering {buffering};"
                )
                self.origin.default = lambda connection, request: connection.send(
                    response(200, request.body[-1:], FRESH)
                )
                got = []
                for question in (b"1", b"2", b"1"):
                    client = bench.client()
                    asked = message(b"POST", b"/", body=b"x" * size + question)
                    client.send(asked[:-1])
                    client.send(asked[-1:])
                    answer = client.response()
                    self.assertEqual(answer.body, question)
                    got.append(answer.get(b"x-cache"))
                self.assertEqual(got, statuses)

    def test_the_client_leaves_before_its_end(self) -> None:
        bench = self.cache("proxy_cache_methods POST; proxy_cache_key $uri$request_body;")
        client = bench.client()
        client.send(message(b"POST", b"/", body=b"question")[:-1])
        client.vanish()
        self.assertEqual(self.origin.requests, [])


class ContentRangeTests(_Case):
    def test_in_a_200(self) -> None:
        """It means nothing there (RFC 9110 §14.4): kept as any field, but not beside our own."""
        self.cache()
        self.origin.default = response(200, b"0123456789", FRESH, b"Content-Range: bytes 5-9/99")
        for _ in range(2):
            got = self.bench.get(b"/", b"Range: bytes=1-2")
            self.assertEqual((got.status, got.body), (206, b"12"))
            self.assertEqual(got.get(b"content-range"), b"bytes 1-2/10")
        got = self.bench.get(b"/")
        self.assertEqual((got.status, got.get(b"content-range")), (200, b"bytes 5-9/99"))
