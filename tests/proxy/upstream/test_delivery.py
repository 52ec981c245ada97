"""A relayed response on its way to the client: buffering, spooling, ranges, redirects."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.proxy.harness import BUFFER_SIZE, BenchCase, http_date, message, response

BODY = bytes(range(256)) * 4000


class BufferingTests(BenchCase):
    """``proxy_buffering``."""

    def test_slow_client_does_not_hold_the_origin(self) -> None:
        """On: the origin is read to the end, the rest waits in memory and a file."""
        bench = self.proxy("proxy_buffers 4 8k;")
        client = bench.client()
        client.transport.hold()
        client.send(message(b"GET", b"/"))
        origin = self.origin.last
        data = response(200, BODY)
        for at in range(0, len(data), 50_000):
            origin.send(data[at : at + 50_000])
        self.assertLess(len(client.transport.held), BUFFER_SIZE + 200_000)
        self.assertFalse(origin.transport.paused)
        # The origin's connection is free for others although the client still reads.
        other = bench.client()
        self.origin.default = response(200, b"other")
        self.assertEqual(other.get(b"/").body, b"other")
        self.assertEqual(len(self.origin.connections), 1)
        client.release()
        self.assertEqual(client.response().body, BODY)
        self.assertEqual(bench.files("proxy_temp"), [], "temporary files are gone")

    def test_without_a_file(self) -> None:
        """``proxy_max_temp_file_size 0``: the origin waits when the buffers are full."""
        bench = self.proxy("proxy_buffers 4 8k; proxy_max_temp_file_size 0;")
        client = bench.client()
        client.transport.hold()
        client.send(message(b"GET", b"/"))
        origin = self.origin.last
        data = response(200, BODY)
        for at in range(0, len(data), 50_000):
            origin.send(data[at : at + 50_000])
        self.assertTrue(origin.transport.paused)
        client.release()
        self.assertEqual(client.response().body, BODY)
        self.assertFalse(origin.transport.paused)

    def test_accel_buffering(self) -> None:
        """``X-Accel-Buffering: no`` turns it off, ``yes`` on, unless the field is ignored."""
        for options, field, paused in (
            ("", b"no", True),
            ("", b"NO", True),
            ("proxy_buffering off;", b"yes", False),
            ("proxy_buffering off;", b"maybe", True),
            ("", b"maybe", False),
            ("proxy_ignore_headers X-Accel-Buffering;", b"no", False),
        ):
            with self.subTest(options=options, field=field):
                bench = self.proxy(options)
                client = bench.client()
                client.transport.hold()
                client.send(message(b"GET", b"/"))
                head = b"HTTP/1.1 200 OK\r\nX-Accel-Buffering: %b\r\nContent-Length: 900000\r\n\r\n"
                self.origin.last.send(head % field + b"x" * 100_000)
                self.assertEqual(self.origin.last.transport.paused, paused)
                bench.close()

    def test_events_reach_the_client_at_once(self) -> None:
        """A stream of events is not held back, compressed or not."""
        for options in ("", "gzip on; gzip_types *; gzip_min_length 0; proxy_buffering off;"):
            bench = self.proxy(options)
            client = bench.client()
            client.send(message(b"GET", b"/", b"Accept-Encoding: gzip"))
            self.origin.last.send(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n"
            )
            first = len(client.received)
            self.assertIn(b"\r\n\r\n", client.received)
            self.origin.last.send(b"data: 2\n\n")
            self.assertGreater(len(client.received), first)
            bench.close()

    def test_client_gone_while_spooled(self) -> None:
        """Nothing of the spool stays."""
        bench = self.proxy("proxy_buffers 4 8k;")
        client = bench.client()
        client.transport.hold()
        client.send(message(b"GET", b"/"))
        self.origin.last.send(response(200, BODY)[:-1])
        client.vanish()
        self.assertEqual(self.origin.open, 0)
        self.assertEqual(bench.files("proxy_temp"), [])

    def test_truncated_while_spooled(self) -> None:
        """A response cut short ends without its end, also behind a slow client."""
        bench = self.proxy("proxy_buffers 4 8k;")
        client = bench.client()
        client.transport.hold()
        client.send(message(b"GET", b"/"))
        self.origin.last.send(response(200, BODY)[:-1])
        self.origin.last.close()
        client.release()
        self.assertTrue(client.transport.lost)
        body = client.received.partition(b"\r\n\r\n")[2]
        self.assertLess(len(body), len(BODY))
        self.assertTrue(BODY.startswith(body))

    @given(st.lists(st.tuples(st.sampled_from("shrx"), st.integers(1, 200_000)), max_size=25))
    def test_any_order_of_reading_gives_the_body(self, steps: list[tuple[str, int]]) -> None:
        """However origin and client take turns, the client gets the body (STYLE 2.18)."""
        bench = self.proxy("proxy_buffers 4 8k; send_timeout 1d;")
        client = bench.client()
        client.send(message(b"GET", b"/"))
        data = response(200, BODY)
        for kind, size in steps:
            if kind == "s" and data:
                self.origin.last.send(data[:size])
                data = data[size:]
            elif kind == "h":
                client.transport.hold()
            elif kind == "r":
                client.release()
            else:
                client.release(size)
        if data:
            self.origin.last.send(data)
        client.release()
        self.assertEqual(client.response().body, BODY)
        self.assertFalse(client.transport.closed)
        bench.close()


class BodilessTests(BenchCase):
    """Responses without content."""

    def test_head(self) -> None:
        """HEAD: the declared length, no body (RFC 9110 §9.3.2)."""
        bench = self.proxy()
        self.origin.default = b"HTTP/1.1 200 OK\r\nContent-Length: 123\r\n\r\n"
        client = bench.client()
        for _ in range(2):
            answer = client.request(b"HEAD", b"/")
            self.assertEqual(answer.get(b"content-length"), b"123")
            self.assertEqual(client.unread, b"")
        self.assertEqual(self.origin.requests[0].method, b"HEAD")

    def test_not_modified(self) -> None:
        """304 is passed on without a body (§15.4.5)."""
        bench = self.proxy()
        self.origin.default = b'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\n\r\n'
        client = bench.client()
        answer = client.get(b"/", b'If-None-Match: "x"')
        self.assertEqual((answer.status, answer.get(b"etag")), (304, b'"x"'))
        self.assertEqual(client.unread, b"")
        self.assertEqual(self.origin.requests[0].get(b"if-none-match"), b'"x"')

    def test_trailers(self) -> None:
        """Trailers of a chunked response follow its last chunk, or vanish (RFC 9112 §7.1.2)."""
        bench = self.proxy()
        self.origin.default = (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3\r\nabc\r\n0\r\nX-Sum: 7\r\nContent-Length: 9\r\n\r\n"
        )
        client = bench.client()
        answer = client.get(b"/")
        self.assertEqual(answer.body, b"abc")
        self.assertNotIn(b"ontent-Length: 9", answer.raw)
        self.assertEqual(client.get(b"/").body, b"abc")

    def test_empty_chunked(self) -> None:
        """A chunked response of nothing."""
        bench = self.proxy()
        self.origin.default = response(200, b"", chunked=True)
        client = bench.client()
        self.assertEqual(client.get(b"/").body, b"")
        self.assertEqual(client.get(b"/").body, b"")


class FieldTests(BenchCase):
    """The head as the client gets it."""

    def test_hop_by_hop(self) -> None:
        """No field of the other connection crosses (RFC 9110 §7.6.1)."""
        bench = self.proxy()
        self.origin.default = response(
            200,
            b"x",
            b"Connection: x-hop, keep-alive",
            b"X-Hop: 1",
            b"Keep-Alive: timeout=9",
            b"Proxy-Authenticate: Basic",
            b"X-End: 2",
            b"Set-Cookie: a",
            b"Set-Cookie: b",
        )
        answer = bench.get(b"/")
        self.assertIsNone(answer.get(b"x-hop"))
        self.assertIsNone(answer.get(b"keep-alive"))
        self.assertEqual(answer.get(b"x-end"), b"2")
        self.assertEqual(answer.get_all(b"set-cookie"), [b"a", b"b"])

    def test_date_and_server(self) -> None:
        """The origin's Date stays; Server is ours unless it is passed."""
        bench = self.proxy("server_tokens off;")
        self.origin.default = response(200, b"x", b"Date: " + http_date(-5), b"Server: app")
        answer = bench.get(b"/")
        self.assertEqual(answer.get(b"date"), http_date(-5))
        self.assertEqual(answer.get(b"server"), b"cacheproxy")
        bench = self.proxy("proxy_pass_header Server;")
        self.origin.default = response(200, b"x", b"Server: app")
        answer = bench.get(b"/")
        self.assertEqual(answer.get(b"server"), b"app")
        self.assertEqual(answer.get(b"date"), http_date(0))

    def test_redirects(self) -> None:
        """``proxy_redirect default`` names us instead of the origin."""
        bench = self.serve("return 404;", "location /a/ { proxy_pass http://127.0.0.1:8000/b/; }")
        for location, wanted in (
            (b"http://127.0.0.1:8000/b/x", b"http://test.example/a/x"),
            (b"http://127.0.0.1:8000/c", b"http://127.0.0.1:8000/c"),
            (b"https://elsewhere/b/", b"https://elsewhere/b/"),
        ):
            bench.origin().default = response(302, b"", b"Location: " + location)
            self.assertEqual(bench.get(b"/a/").get(b"location"), wanted)
        bench.origin().default = response(200, b"", b"Refresh: 5; url=http://127.0.0.1:8000/b/y")
        self.assertEqual(bench.get(b"/a/").get(b"refresh"), b"5; url=/a/y")

    def test_reason(self) -> None:
        """The origin's reason phrase and unknown statuses stay."""
        bench = self.proxy()
        self.origin.default = b"HTTP/1.1 299 Very Well\r\nContent-Length: 0\r\n\r\n"
        answer = bench.get(b"/")
        self.assertEqual((answer.status, answer.reason.strip()), (299, b"Very Well"))


class InPassingTests(BenchCase):
    """Preconditions and ranges answered from a whole response that is being stored."""

    def asked(self, *fields: bytes, answer: bytes | None = None) -> object:
        """The answer to a GET with *fields* that misses; then a hit shows what was stored."""
        bench = self.cache()
        self.origin.default = answer or response(
            200,
            b"0123456789",
            b"Cache-Control: max-age=60",
            b'ETag: "e"',
            b"Last-Modified: " + http_date(-100),
        )
        client = bench.client()
        first = client.get(b"/", *fields)
        self.assertIsNone(self.origin.requests[0].get(b"range"))
        self.assertIsNone(self.origin.requests[0].get(b"if-none-match"))
        hit = bench.get(b"/")
        self.assertEqual((hit.get(b"x-cache"), hit.body), (b"HIT", b"0123456789"))
        self.assertEqual(len(self.origin.requests), 1)
        self.assertEqual(client.unread, b"")
        self.first = first
        return first

    def test_not_modified(self) -> None:
        """304 for the client, the whole for the cache (RFC 9110 §13.1.2)."""
        self.asked(b'If-None-Match: "e"')
        self.assertEqual(self.first.status, 304)
        self.assertIsNone(self.first.get(b"content-length"))

    def test_precondition_failed(self) -> None:
        """412 (§13.1.1)."""
        self.asked(b'If-Match: "other"')
        self.assertEqual(self.first.status, 412)

    def test_range(self) -> None:
        """206 with the bytes asked for (§14.2)."""
        for asked, wanted in ((b"2-4", b"234"), (b"9-", b"9"), (b"0-0", b"0")):
            self.asked(b"Range: bytes=" + asked)
            self.assertEqual((self.first.status, self.first.body), (206, wanted))
            self.bench.close()

    def test_range_unsatisfiable(self) -> None:
        """416 (§15.5.17)."""
        self.asked(b"Range: bytes=20-")
        self.assertEqual(self.first.status, 416)
        self.assertEqual(self.first.get(b"content-range"), b"bytes */10")

    def test_if_range_differs(self) -> None:
        """The whole where the representation is another one (§13.1.5)."""
        self.asked(b"Range: bytes=0-1", b'If-Range: "old"')
        self.assertEqual((self.first.status, self.first.body), (200, b"0123456789"))

    def test_range_in_pieces(self) -> None:
        """Pieces of any size are cut at the right bytes."""
        for size in (1, 3, 10):
            bench = self.cache()
            client = bench.client()
            client.send(message(b"GET", b"/", b"Range: bytes=2-6"))
            head = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=9\r\nContent-Length: 10\r\n\r\n"
            self.origin.last.send(head)
            for at in range(0, 10, size):
                self.origin.last.send(b"0123456789"[at : at + size])
            answer = client.response()
            self.assertEqual((answer.status, answer.body), (206, b"23456"))
            self.assertEqual(client.get(b"/").body, b"0123456789")
            bench.close()

    def test_range_broken_off(self) -> None:
        """A client that has all it asked for is not hurt by what breaks behind it."""
        bench = self.cache()
        client = bench.client()
        client.send(message(b"GET", b"/", b"Range: bytes=0-1"))
        self.origin.last.send(
            b"HTTP/1.1 200 OK\r\nCache-Control: max-age=9\r\nContent-Length: 10\r\n\r\n01234"
        )
        self.assertEqual(client.response().body, b"01")
        self.origin.last.close()
        self.assertFalse(client.transport.closed)
        self.origin.default = response(200, b"again")
        self.assertEqual(client.get(b"/").get(b"x-cache"), b"MISS")


class HoldingUpTests(BenchCase):
    """Whatever the upstream was paused for, it goes on once that is over."""

    def test_slow_client_that_has_its_range(self) -> None:
        """What follows a range is read on although the client still reads the range."""
        bench = self.proxy("proxy_force_ranges on; proxy_buffering off;")
        client = bench.client()
        client.transport.hold()
        client.send(message(b"GET", b"/", b"Range: bytes=0-499999"))
        origin = self.origin.last
        data = response(200, BODY[:550_000])
        origin.send(data[:400_000])
        self.assertTrue(origin.transport.paused, "the client is slow")
        client.release(1_000_000)
        client.transport.hold()
        bench.reactor.settle()
        self.assertFalse(origin.transport.paused)
        origin.send(data[400_000:520_000])
        self.assertFalse(origin.transport.paused, "the range was sent")
        origin.send(data[520_000:])
        client.release()
        self.assertEqual(client.response().body, BODY[:500_000])
        self.origin.default = response(200, b"next")
        self.assertEqual(bench.get(b"/").body, b"next")
        self.assertEqual(len(self.origin.connections), 1, "the connection is used again")

    def test_range_that_waited_for_the_disk(self) -> None:
        """The rest is stored although the temporary file of the range is gone by then."""
        bench = self.cache("proxy_buffers 8 4k;")
        body = BODY * 4
        client = bench.client()
        client.transport.hold()
        bench.disk.hold()
        client.send(message(b"GET", b"/", b"Range: bytes=0-2999999"))
        bench.disk.release()
        bench.reactor.settle()
        bench.disk.hold()
        data = response(200, body, b"Cache-Control: max-age=60")
        origin = self.origin.last
        for at in range(0, len(data), 50_000):
            origin.send(data[at : at + 50_000])
        self.assertTrue(origin.transport.paused, "the disk is slow")
        bench.disk.release()
        client.release()
        self.assertEqual(client.response().body, body[:3_000_000])
        self.assertFalse(origin.transport.paused)
        again = bench.get(b"/")
        self.assertEqual((again.get(b"x-cache"), again.body == body), (b"HIT", True))

    def test_temporary_file_fails_under_a_stored_response(self) -> None:
        """The client is cut off; the response is stored all the same."""
        bench = self.cache("proxy_buffers 8 4k; proxy_temp_path /proc/none;")
        client = bench.client()
        client.transport.hold()
        client.send(message(b"GET", b"/"))
        data = response(200, BODY * 2, b"Cache-Control: max-age=60")
        origin = self.origin.last
        for at in range(0, len(data), 50_000):
            origin.send(data[at : at + 50_000])
        self.assertFalse(origin.transport.paused)
        client.release()
        self.assertTrue(client.transport.closed)
        self.assertEqual(bench.get(b"/").get(b"x-cache"), b"HIT")

    def test_temporary_file_fails(self) -> None:
        """Neither the client nor the cache takes any more: the origin is left."""
        bench = self.proxy("proxy_buffers 8 4k; proxy_temp_path /proc/none;")
        client = bench.client()
        client.transport.hold()
        client.send(message(b"GET", b"/"))
        data = response(200, BODY * 2)
        origin = self.origin.last
        for at in range(0, 500_000, 50_000):
            origin.send(data[at : at + 50_000])
        client.release()
        self.assertTrue(client.transport.closed)
        origin.send(data[500_000:600_000])
        self.assertTrue(origin.closed)


class ForcedRangesTests(BenchCase):
    """``proxy_force_ranges``; RFC 9110 §14."""

    def test_uncached(self) -> None:
        """``on``: a range of a 200 is cut out here; the whole says that it can be."""
        bench = self.proxy("proxy_force_ranges on;")
        self.origin.default = response(200, BODY, b"Accept-Ranges: none", b'ETag: "a"')
        whole = bench.get(b"/")
        self.assertEqual((whole.status, whole.get_all(b"accept-ranges")), (200, [b"bytes"]))
        answer = bench.get(b"/", b"Range: bytes=1000-1999")
        self.assertEqual((answer.status, answer.body), (206, BODY[1000:2000]))
        described = b"bytes 1000-1999/%d" % len(BODY)
        self.assertEqual(answer.get(b"content-range"), described)
        for fields, status in (
            ((b"Range: bytes=9999999-",), 416),
            ((b"Range: bytes=1-2,4-5",), 200),
            ((b"Range: bytes=1-2", b'If-Range: "b"'), 200),
            ((b"Range: bytes=1-2", b'If-Range: "a"'), 206),
            ((b"Range: bytes=1-2", b'If-None-Match: "a"'), 206),
        ):
            self.assertEqual(bench.get(b"/", *fields).status, status, fields)
        head = bench.client().request(b"HEAD", b"/", b"Range: bytes=1-2")
        self.assertEqual(head.status, 200)

    def test_uncached_and_off(self) -> None:
        """The answer passes as it is, as without the directive."""
        for options in ("proxy_force_ranges off;", ""):
            bench = self.proxy(options)
            self.origin.default = response(200, BODY, b"Accept-Ranges: bytes")
            answer = bench.get(b"/", b"Range: bytes=1000-1999")
            self.assertEqual((answer.status, answer.body), (200, BODY))

    def test_origin_that_knows_ranges(self) -> None:
        """Its own 206 passes untouched."""
        bench = self.proxy("proxy_force_ranges on;")
        self.origin.default = response(206, BODY[10:20], b"Content-Range: bytes 10-19/100")
        answer = bench.get(b"/", b"Range: bytes=10-19")
        self.assertEqual((answer.status, answer.body), (206, BODY[10:20]))
        self.assertEqual(self.origin.requests[0].get(b"range"), b"bytes=10-19")
        self.assertIsNone(answer.get(b"accept-ranges"))

    def test_of_unknown_length(self) -> None:
        """Nothing is cut out of what has no declared length."""
        bench = self.proxy("proxy_force_ranges on;")
        self.origin.default = response(200, BODY, b"Accept-Ranges: bytes", chunked=True)
        answer = bench.get(b"/", b"Range: bytes=10-19")
        self.assertEqual((answer.status, answer.body), (200, BODY))
        self.assertIsNone(answer.get(b"accept-ranges"))

    def test_much_that_nobody_wants(self) -> None:
        """The origin is left once the range is sent, unless little follows or it is stored."""
        bench = self.proxy("proxy_force_ranges on;")
        data = response(200, BODY)
        for value, closed in ((b"0-9", True), (b"-100000", False), (b"-60000", False)):
            client = bench.client()
            client.send(message(b"GET", b"/", b"Range: bytes=" + value))
            origin = self.origin.last
            for at in range(0, len(data), 50_000):
                if not origin.closed:
                    origin.send(data[at : at + 50_000])
            self.assertEqual(client.response().status, 206)
            self.assertEqual(origin.closed, closed, value)
        self.origin.default = response(200, b"x")
        before = len(self.origin.connections)
        self.assertEqual(bench.get(b"/").body, b"x")
        self.assertEqual(len(self.origin.connections), before, "one is used again")

    def test_cached(self) -> None:
        """Not set: ranges of what the cache has; ``off``: only where the origin offers them."""
        for options, field, miss, hit in (
            ("", b"X-Y: z", 206, 206),
            ("proxy_force_ranges on;", b"X-Y: z", 206, 206),
            ("proxy_force_ranges off;", b"X-Y: z", 200, 200),
            ("proxy_force_ranges off;", b"Accept-Ranges: bytes", 206, 206),
        ):
            bench = self.cache(options)
            self.origin.default = response(200, BODY, field, b"Cache-Control: max-age=60")
            answers = [bench.get(b"/", b"Range: bytes=10-19") for _ in range(2)]
            self.assertEqual([one.status for one in answers], [miss, hit], (options, field))
            self.assertEqual([one.get(b"x-cache") for one in answers], [b"MISS", b"HIT"])
            whole = [bench.get(b"/") for _ in range(3)][2]
            if "on" in options:
                self.assertEqual(whole.get_all(b"accept-ranges"), [b"bytes"])
