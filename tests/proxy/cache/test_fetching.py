"""What the origin brings, and what becomes of it in the cache (RFC 9111 §3, §4.2.4)."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

import os

from tests.proxy.cache.test_lookup import FRESH, LARGE, CachingCase
from tests.proxy.harness import Bench, Response, message, response


class StoringTests(CachingCase):
    """What is stored and what never is."""

    def never(self, *fields: bytes, options: str = "", request: tuple[bytes, ...] = ()) -> None:
        """A response with *fields* is asked for each time, and leaves no file."""
        self.cache(options)
        self.answers(*fields)
        self.assertEqual(self.seen(b"/", *request), (b"MISS", b"1"))
        self.assertEqual(self.seen(b"/", *request), (b"MISS", b"2"))
        files = [path for path in self.bench.files("cache") if "cache.db" not in path]
        self.assertEqual(files, [])
        self.bench.close()

    def test_never(self) -> None:
        """RFC 9111 §3, and nginx's own rules."""
        self.never()
        self.never(b"Cache-Control: no-store")
        self.never(b"Cache-Control: private, max-age=60")
        self.never(FRESH, b"Set-Cookie: session=secret")
        self.never(FRESH, b"Vary: *")
        self.never(b"X-Accel-Expires: 0", FRESH)
        self.never(FRESH, request=(b"Authorization: Basic eA==",))
        self.never(FRESH, request=(b"Cache-Control: no-store",))

    def test_nostore_never_opens_a_writer(self) -> None:
        """The verdict comes before anything is written (STYLE 2.18)."""
        self.cache()
        zone = self.bench.runtime.zones["z"]
        self.patch(zone, "open_writer", lambda *arguments: self.fail("a writer was opened"))
        for fields in ((b"Cache-Control: no-store",), (FRESH, b"Set-Cookie: a"), ()):
            self.origin.reply(response(200, b"x", *fields))
            self.assertEqual(self.ask().status, 200)

    def test_set_cookie_is_never_in_what_is_stored(self) -> None:
        """With the field ignored the response is stored without it."""
        self.cache("proxy_ignore_headers Set-Cookie;")
        self.origin.reply(response(200, b"x", FRESH, b"Set-Cookie: session=secret"))
        self.assertEqual(self.ask().get(b"set-cookie"), b"session=secret")
        hit = self.ask()
        self.assertEqual(hit.get(b"x-cache"), b"HIT")
        self.assertIsNone(hit.get(b"set-cookie"))
        for path in self.bench.files("cache"):
            with open(path, "rb") as file:
                self.assertNotIn(b"secret", file.read(), path)

    def test_valid(self) -> None:
        """``proxy_cache_valid`` gives a lifetime by status."""
        self.cache("proxy_cache_valid 200 10s; proxy_cache_valid 404 5s;")
        self.origin.reply(response(200, b"ok"), response(404, b"none"))
        self.ask(b"/a")
        self.ask(b"/b")
        self.assertEqual(self.seen(b"/a"), (b"HIT", b"ok"))
        missing = self.ask(b"/b")
        self.assertEqual((missing.status, missing.body), (404, b"none"))
        self.bench.advance(6)
        self.origin.reply(response(404, b"still"))
        self.assertEqual(self.ask(b"/b").body, b"still")

    def test_min_uses(self) -> None:
        """``proxy_cache_min_uses 3`` stores at the third request."""
        self.cache("proxy_cache_min_uses 3;")
        self.answers(FRESH)
        self.assertEqual([self.seen()[0] for _ in range(5)], [b"MISS"] * 3 + [b"HIT"] * 2)

    def test_large(self) -> None:
        """A body larger than memory keeps is streamed to disk and back."""
        self.cache(zone="memory=4k")
        self.origin.reply(response(200, LARGE, FRESH))
        self.assertEqual(self.seen(), (b"MISS", LARGE))
        for _ in range(2):
            self.assertEqual(self.seen(), (b"HIT", LARGE))

    def test_truncated_is_never_stored(self) -> None:
        """A response cut short is never visible (§3.3)."""
        for start in (
            b"HTTP/1.1 200 OK\r\n" + FRESH + b"\r\nContent-Length: 10\r\n\r\nabc",
            b"HTTP/1.1 200 OK\r\n" + FRESH + b"\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
            b"HTTP/1.1 200 OK\r\n" + FRESH + b"\r\n\r\nabc",
        ):
            self.cache()
            client = self.bench.client()
            client.send(message(b"GET", b"/"))
            self.origin.last.send(start)
            self.origin.last.reset()
            self.assertTrue(client.transport.lost)
            self.origin.reply(response(200, b"whole", FRESH))
            self.assertEqual(self.seen(), (b"MISS", b"whole"))
            self.bench.close()

    def test_until_close_is_stored(self) -> None:
        """An orderly end delimits, so the response is whole (RFC 9112 §8)."""
        self.cache()
        client = self.bench.client()
        client.send(message(b"GET", b"/"))
        self.origin.last.send(b"HTTP/1.1 200 OK\r\n" + FRESH + b"\r\n\r\nabc")
        self.origin.last.close()
        self.assertEqual(client.response().body, b"abc")
        self.assertEqual(self.seen(), (b"HIT", b"abc"))

    def test_client_gone_while_filling(self) -> None:
        """What is being stored is stored to its end without its client."""
        for large in (b"x" * 100, LARGE):
            self.cache(zone="memory=4k")
            client = self.bench.client()
            client.send(message(b"GET", b"/"))
            data = response(200, large, FRESH)
            self.origin.last.send(data[:90])
            client.vanish()
            self.assertFalse(self.origin.last.closed)
            self.origin.last.send(data[90:])
            self.assertEqual(self.seen(), (b"HIT", large))
            self.bench.close()

    def test_client_gone_before_the_head(self) -> None:
        """The answer that is on its way is stored as well."""
        self.cache()
        client = self.bench.client()
        client.send(message(b"GET", b"/"))
        client.vanish()
        self.assertFalse(self.origin.last.closed)
        self.origin.last.send(response(200, b"kept", FRESH))
        self.assertEqual(self.seen(), (b"HIT", b"kept"))

    def test_client_gone_and_nothing_to_store(self) -> None:
        """The origin is let go once it is known that nothing is stored."""
        self.cache()
        client = self.bench.client()
        client.send(message(b"GET", b"/"))
        client.vanish()
        self.origin.last.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nabc")
        self.assertTrue(self.origin.last.closed)

    def test_client_gone_during_the_look_up(self) -> None:
        """What is found, or not, is let go again."""
        for stored in (True, False):
            self.cache(zone="memory=4k")
            self.origin.default = response(200, LARGE, FRESH)
            self.ask()
            zone = self.bench.runtime.zones["z"]
            zone.memory.clear()
            if not stored:
                for path in self.bench.files("cache"):
                    if "cache.db" not in path:
                        os.unlink(path)
            self.bench.disk.hold()
            client = self.bench.client()
            client.send(message(b"GET", b"/"))
            client.vanish()
            self.bench.disk.release()
            self.bench.reactor.settle()
            self.assertEqual(len(self.origin.requests), 1)
            self.bench.close()

    def test_slow_disk_holds_the_origin(self) -> None:
        """Bytes that wait for the disk are bounded; the fill goes on when it has caught up."""
        self.cache(zone="memory=4k")
        client = self.bench.client()
        client.send(message(b"GET", b"/"))
        self.bench.disk.hold()
        data = response(200, LARGE * 8, FRESH)
        origin = self.origin.last
        for at in range(0, len(data), 500_000):
            origin.send(data[at : at + 500_000])
        self.assertTrue(origin.transport.paused)
        self.bench.disk.release()
        self.bench.reactor.settle()
        self.assertEqual(client.response().body, LARGE * 8)
        self.assertEqual(self.seen(), (b"HIT", LARGE * 8))

    def test_head_is_converted(self) -> None:
        """HEAD asks with GET, so that the body is stored (``proxy_cache_convert_head``)."""
        self.cache()
        self.answers(FRESH)
        client = self.bench.client()
        answer = client.request(b"HEAD", b"/")
        self.assertEqual(answer.get(b"content-length"), b"1")
        self.assertEqual(client.unread, b"")
        self.assertEqual(self.origin.requests[0].method, b"GET")
        self.assertEqual(self.seen(), (b"HIT", b"1"))
        answer = client.request(b"HEAD", b"/")
        self.assertEqual(answer.get(b"x-cache"), b"HIT")
        self.assertEqual((answer.get(b"content-length"), client.unread), (b"1", b""))

    def test_preconditions_of_a_converted_head_hold_on_a_miss(self) -> None:
        """As on a hit, and as those of a GET."""
        self.cache()
        self.origin.default = response(200, b"content", FRESH, b'ETag: "e"')
        for field, status in ((b'If-None-Match: "e"', 304), (b'If-Match: "other"', 412)):
            target = b"/%d" % status
            for _ in range(2):
                client = self.bench.client()
                self.assertEqual(client.request(b"HEAD", target, field).status, status)
                self.assertEqual(client.unread, b"")
        self.assertEqual(len(self.origin.requests), 2)
        self.assertEqual(self.ask(b"/304").body, b"content")

    def test_head_not_converted(self) -> None:
        """``proxy_cache_convert_head off`` keeps HEAD apart from GET."""
        self.cache("proxy_cache_convert_head off;", "proxy_cache_key $request_method$uri;")
        self.origin.reply(b"HTTP/1.1 200 OK\r\n" + FRESH + b"\r\nContent-Length: 7\r\n\r\n")
        self.ask(method=b"HEAD")
        self.assertEqual(self.origin.requests[0].method, b"HEAD")
        self.origin.reply(response(200, b"content", FRESH))
        self.assertEqual(self.seen(), (b"MISS", b"content"))

    def test_zone_by_name(self) -> None:
        """A zone that a variable names: none for an empty name and ``off``, 500 for no zone's."""
        bench = self.proxy(
            "proxy_cache $arg_zone; proxy_cache_key $uri; proxy_cache_valid 1m;"
            "add_header X-Cache $upstream_cache_status;",
            http="proxy_cache_path cache keys_zone=z:1m;",
        )
        self.origin.default = response(200, b"x")
        for name, statuses in ((b"z", [b"MISS", b"HIT"]), (b"", [None]), (b"off", [None])):
            for status in statuses:
                self.assertEqual(bench.get(b"/?zone=" + name).get(b"x-cache"), status, name)
        self.assertEqual(bench.get(b"/?zone=other").status, 500)
        self.assertIn('cache "other" not found', bench.log("error.log")[-1])

    def test_broken_folder(self) -> None:
        """A cache that cannot write still serves."""
        self.bench = Bench(
            self,
            "proxy_cache_path /dev/null/none keys_zone=z:1m; server { listen 127.0.0.1:80;"
            " location / { proxy_pass http://127.0.0.1:8000; proxy_cache z; } }",
        )
        self.origin.default = response(200, b"served", FRESH)
        for _ in range(2):
            self.assertEqual(self.bench.get(b"/").body, b"served")


class UnreachableTests(CachingCase):
    """An origin that cannot be reached, where ``proxy_cache_use_stale`` is not written."""

    def stale(self, options: str, *fields: bytes) -> Response:
        """What a client gets of a stale response while the origin is away."""
        self.cache(options)
        self.origin.reply(response(200, b"old", *fields))
        self.seen()
        self.bench.advance(61)
        self.origin.mode = "refuse"
        return self.ask()

    def test_default(self) -> None:
        """The stale response (RFC 9111 §4.2.4)."""
        answer = self.stale("", FRESH)
        self.assertEqual((answer.get(b"x-cache"), answer.body), (b"STALE", b"old"))

    def test_superseded(self) -> None:
        """What the origin has taken back does not return when it goes away."""
        for answer in (response(404, b"gone"), response(200, b"x", b"Cache-Control: private")):
            self.cache()
            self.origin.reply(response(200, b"old", FRESH))
            self.seen()
            self.bench.advance(61)
            self.origin.reply(answer)
            self.seen()
            self.bench.advance(61)
            self.origin.mode = "refuse"
            self.assertEqual(self.ask().status, 502)
            self.bench.close()

    def test_off(self) -> None:
        """The operator's word counts."""
        self.assertEqual(self.stale("proxy_cache_use_stale off;", FRESH).status, 502)

    def test_must_revalidate(self) -> None:
        """So does the origin's."""
        self.assertEqual(self.stale("", FRESH + b", must-revalidate").status, 502)
