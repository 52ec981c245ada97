"""Refreshing behind the client's back: stale-while-revalidate, background update."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

from tests.proxy.harness import BenchCase, response

SWR = b"Cache-Control: max-age=60, stale-while-revalidate=100"
FRESH = b"Cache-Control: max-age=60"


class BackgroundTests(BenchCase):
    """RFC 5861 §3; ``proxy_cache_background_update``."""

    def stored(self, field: bytes, options: str = "", *more: bytes) -> None:
        """A bench whose stored response has just become stale."""
        self.cache(options, "access_log access.log l;", "log_format l '$status $request';")
        self.origin.reply(response(200, b"old", field, *more))
        self.bench.get(b"/")
        self.bench.advance(65)

    def test_stale_while_revalidate(self) -> None:
        """The client has the stale response before the origin has answered."""
        self.stored(SWR)
        client = self.bench.client()
        answer = client.get(b"/", b"Cookie: mine")
        self.assertEqual((answer.get(b"x-cache"), answer.body), (b"STALE", b"old"))
        self.assertEqual(len(self.origin.requests), 2)
        self.assertEqual(client.get(b"/").get(b"x-cache"), b"UPDATING")
        self.assertEqual(len(self.origin.requests), 2, "one refresh at a time")
        self.origin.last.send(response(200, b"new", SWR))
        answer = client.get(b"/")
        self.assertEqual((answer.get(b"x-cache"), answer.body), (b"HIT", b"new"))
        self.assertEqual(len(self.bench.log()), 4, "the refresh is not logged")

    def test_too_stale(self) -> None:
        """After its window the client waits for the origin."""
        self.stored(SWR)
        self.bench.advance(100)
        self.origin.reply(response(200, b"new", SWR))
        self.assertEqual(self.bench.get(b"/").body, b"new")

    def test_background_update(self) -> None:
        """``proxy_cache_background_update`` with ``use_stale updating``."""
        self.stored(FRESH, "proxy_cache_background_update on; proxy_cache_use_stale updating;")
        self.assertEqual(self.bench.get(b"/").body, b"old")
        self.origin.last.send(response(200, b"new", FRESH))
        self.assertEqual(self.bench.get(b"/").body, b"new")

    def test_revalidation(self) -> None:
        """304 in the background freshens."""
        self.stored(SWR, "proxy_cache_revalidate on;", b'ETag: "e"')
        self.bench.get(b"/")
        self.assertEqual(self.origin.requests[1].get(b"if-none-match"), b'"e"')
        self.origin.last.send(response(304, b"", SWR, b'ETag: "e"'))
        answer = self.bench.get(b"/")
        self.assertEqual((answer.get(b"x-cache"), answer.body), (b"HIT", b"old"))

    def test_failures(self) -> None:
        """A refresh that fails in any way harms nobody and lets the next one try."""
        for fail in (
            lambda connection: connection.reset(),
            lambda connection: connection.close(),
            lambda connection: connection.send(b"garbage\r\n\r\n"),
            lambda connection: connection.send(response(500, b"no")),
            lambda connection: connection.send(response(200, b"no", SWR, b"Set-Cookie: a=b")),
            lambda connection: (
                connection.send(b"HTTP/1.1 200 OK\r\n" + FRESH + b"\r\nContent-Length: 5\r\n\r\nab")
                or connection.reset()
            ),
            lambda connection: connection.send(b"HTTP/1.1 101 X\r\nUpgrade: a\r\n\r\n"),
            lambda connection: connection.send(response(200, b"", b"X-Accel-Redirect: /x")),
        ):
            self.stored(SWR)
            self.assertEqual(self.bench.get(b"/").body, b"old")
            fail(self.origin.last)
            answer = self.bench.get(b"/")
            self.assertIn(answer.get(b"x-cache"), (b"STALE", b"MISS"))
            self.assertEqual(len(self.origin.requests), 3)
            self.assertEqual(answer.body, b"old")
            self.bench.close()

    def test_taken_back(self) -> None:
        """A refresh that says that nothing is to be stored takes the stale response away."""
        self.stored(SWR)
        self.assertEqual(self.bench.get(b"/").body, b"old")
        self.origin.last.send(response(200, b"no", b"Cache-Control: no-store"))
        self.origin.reply(response(200, b"new", SWR))
        self.assertEqual(self.bench.get(b"/").body, b"new")

    def test_refused_and_timed_out(self) -> None:
        """So does one that never gets through."""
        self.stored(SWR, "proxy_read_timeout 5s;")
        self.bench.get(b"/")
        self.bench.advance(6)
        self.origin.mode = "refuse"
        self.assertEqual(self.bench.get(b"/").body, b"old")
        self.origin.mode = "accept"
        self.origin.reply(response(200, b"new", SWR))
        self.assertEqual(self.bench.get(b"/").body, b"old")
        self.assertEqual(self.bench.get(b"/").body, b"new")

    def test_head_causes_a_get(self) -> None:
        """The refresh stores a whole response, whatever caused it."""
        self.stored(SWR)
        self.bench.client().request(b"HEAD", b"/")
        self.assertEqual(self.origin.requests[1].method, b"GET")

    def test_the_clients_range_and_conditions_stay_out(self) -> None:
        """What the client asked of its own copy is not asked of the origin."""
        self.stored(SWR, "", b'ETag: "e"')
        self.bench.client().get(b"/", b"Range: bytes=0-0", b'If-Range: "e"')
        refresh = self.origin.requests[1]
        self.assertIsNone(refresh.get(b"range"))
        self.assertIsNone(refresh.get(b"if-range"))
        self.origin.last.send(response(200, b"new", SWR))
        self.assertEqual(self.bench.get(b"/").body, b"new")
