"""``slice``: a large thing fetched, cached and sent slice by slice."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

import re
from gzip import decompress

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.proxy.harness import (
    BUFFER_SIZE,
    Bench,
    BenchCase,
    OriginConnection,
    Request,
    http_date,
    message,
    parse_response,
    response,
)

BODY = bytes(range(256)) * 40 + b"the end"
SLICED = "proxy_cache_key $uri$slice_range; proxy_set_header Range $slice_range; "
VALID = "proxy_cache_valid 200 206 1h; "
LOG = "access_log access.log l;", "log_format l '$status $body_bytes_sent $upstream_cache_status';"


class Thing:
    """What an origin has: answers a Range as RFC 9110 §14 says."""

    def __init__(self, body: bytes = BODY, etag: bytes = b'"one"') -> None:
        self.body = body
        self.etag = etag
        self.fields: tuple[bytes, ...] = (b"Content-Type: text/plain",)

    def __call__(self, connection: OriginConnection, request: Request) -> None:
        connection.send(self.answer(request))

    def answer(self, request: Request) -> bytes:
        """The response to *request*."""
        body, fields = self.body, self.fields
        if self.etag:
            fields = (*fields, b"ETag: " + self.etag)
        match = re.fullmatch(rb"bytes=(\d+)-(\d+)", request.get(b"range") or b"")
        if match is None:
            data = response(200, body, *fields)
        elif int(match.group(1)) >= len(body):
            data = response(416, b"none", b"Content-Range: bytes */%d" % len(body))
        else:
            start = int(match.group(1))
            stop = min(int(match.group(2)) + 1, len(body))
            described = b"Content-Range: bytes %d-%d/%d" % (start, stop - 1, len(body))
            data = response(206, body[start:stop], *fields, described)
        return data[: data.index(b"\r\n\r\n") + 4] if request.method == b"HEAD" else data


class SliceCase(BenchCase):
    """A bench with slices of 1024 bytes before a well-behaved origin."""

    def sliced(
        self, options: str = "", thing: Thing | None = None, size: str = "1k", valid: str = VALID,
        server: str = "",
    ) -> Thing:
        self.cache(f"slice {size}; {valid}" + SLICED + options, LOG[0] + server, LOG[1])
        thing = thing or Thing()
        self.origin.default = thing
        return thing

    def asked(self) -> list[bytes]:
        """The ranges that the origin was asked for since the last time."""
        found = [request.get(b"range") or b"" for request in self.origin.requests]
        self.origin.requests.clear()
        return [value.removeprefix(b"bytes=") for value in found]

    def errors(self) -> str:
        """The error log."""
        return "\n".join(self.bench.log("error.log"))


class WholeTests(SliceCase):
    """Without a range of the client's."""

    def test_whole_from_slices(self) -> None:
        """The client gets a 200 with everything; the origin is asked for a slice at a time."""
        self.sliced()
        answer = self.bench.get(b"/a")
        self.assertEqual((answer.status, answer.body), (200, BODY))
        self.assertEqual(answer.get(b"content-length"), b"%d" % len(BODY))
        self.assertEqual(answer.get(b"accept-ranges"), b"bytes")
        self.assertEqual(answer.get(b"etag"), b'"one"')
        self.assertIsNone(answer.get(b"content-range"))
        self.assertEqual(answer.get(b"x-cache"), b"MISS")
        asked = self.asked()
        self.assertEqual(asked, [b"%d-%d" % (at, at + 1023) for at in range(0, 10240 + 1, 1024)])
        again = self.bench.get(b"/a")
        self.assertEqual((again.status, again.body), (200, BODY))
        self.assertEqual(again.get(b"x-cache"), b"HIT")
        self.assertEqual(self.asked(), [])
        self.assertEqual(
            self.bench.log(), [f"200 {len(BODY)} MISS", f"200 {len(BODY)} HIT"], "a line each"
        )

    def test_one_slice_is_enough(self) -> None:
        """Something shorter than a slice, or exactly as long."""
        thing = self.sliced()
        for size in (1, 1023, 1024):
            thing.body = BODY[:size]
            target = b"/%d" % size
            self.assertEqual(self.bench.get(target).body, BODY[:size])
            self.assertEqual(self.bench.get(target).body, BODY[:size])
            self.assertEqual(self.asked(), [b"0-1023"])

    def test_nothing_there(self) -> None:
        """The 416 for our own range of something empty is not the client's affair."""
        self.sliced(thing=Thing(b""))
        answer = self.bench.get(b"/a")
        self.assertEqual((answer.status, answer.body), (200, b""))
        self.assertEqual(self.asked(), [b"0-1023", b""])
        answer = self.bench.get(b"/a", b"Range: bytes=0-5")
        self.assertEqual((answer.status, answer.body), (200, b""), "as of every empty thing")

    def test_head(self) -> None:
        """HEAD says the length of the whole, from the first slice, which is kept."""
        self.sliced()
        client = self.bench.client()
        for status in (b"MISS", b"HIT"):
            answer = client.request(b"HEAD", b"/a", b"Range: bytes=5000-")
            self.assertEqual(answer.status, 200)
            self.assertEqual(answer.get(b"content-length"), b"%d" % len(BODY))
            self.assertEqual(answer.get(b"x-cache"), status)
        self.assertEqual(self.asked(), [b"0-1023"])
        self.assertEqual(client.get(b"/a").body, BODY)

    def test_no_ranges_at_the_origin(self) -> None:
        """A 200 passes as it is and is kept under the key of the slice asked for."""
        self.sliced()
        self.origin.default = response(200, BODY, b"Accept-Ranges: none", b"X-Y: z")
        for status in (b"MISS", b"HIT"):
            answer = self.bench.get(b"/a")
            self.assertEqual((answer.status, answer.body), (200, BODY))
            self.assertEqual((answer.get(b"x-y"), answer.get(b"x-cache")), (b"z", status))
        self.assertEqual(self.asked(), [b"0-1023"])
        answer = self.bench.get(b"/a", b"Range: bytes=10-19")
        self.assertEqual((answer.status, answer.body), (206, BODY[10:20]))

    def test_other_answers(self) -> None:
        """404, a redirect, 304 and a dead origin reach the client as ever."""
        self.sliced("proxy_cache_valid 404 1m; error_page 503 /busy;", server=(
            "location /busy { return 200 sorry; }"
        ))
        self.origin.default = response(404, b"no")
        self.assertEqual((self.bench.get(b"/a").status, self.bench.get(b"/a").body), (404, b"no"))
        self.assertEqual(self.asked(), [b"0-1023"])
        self.origin.default = response(302, b"", b"Location: http://127.0.0.1:8000/b")
        self.assertEqual(self.bench.get(b"/b").get(b"location"), b"http://test.example/b")
        self.origin.default = response(503, b"busy")
        self.assertEqual(self.bench.get(b"/c").body, b"busy")
        self.origin.mode = "refuse"
        for connection in self.origin.connections:
            connection.close()
        self.assertEqual(self.bench.get(b"/d").status, 502)
        statuses = [line[:3] for line in self.bench.log()]
        self.assertEqual(statuses, ["404", "404", "302", "503", "502"])

    def test_without_a_cache(self) -> None:
        """``slice`` alone: each slice comes from the origin."""
        self.proxy("slice 4k; proxy_set_header Range $slice_range;")
        self.origin.default = Thing()
        self.assertEqual(self.bench.get(b"/").body, BODY)
        self.assertEqual(self.asked(), [b"0-4095", b"4096-8191", b"8192-12287"])
        answer = self.bench.get(b"/", b"Range: bytes=5000-5099")
        self.assertEqual((answer.status, answer.body), (206, BODY[5000:5100]))
        self.assertEqual(self.asked(), [b"4096-8191"])

    def test_inherited_and_off(self) -> None:
        """From ``http``; ``slice 0`` takes it back, and without it nothing is asked in slices."""
        self.proxy("proxy_set_header Range $slice_range;", "location /off { slice 0; "
                   "proxy_set_header Range $slice_range; proxy_pass http://127.0.0.1:8000; }"
                   "location /unread { proxy_pass http://127.0.0.1:8000; }", "slice 8k;")
        self.origin.default = Thing()
        for target, ranges in (
            (b"/", [b"0-8191", b"8192-16383"]), (b"/off", [b""]), (b"/unread", [b""]),
        ):
            self.assertEqual(self.bench.get(target).body, BODY)
            self.assertEqual(self.asked(), ranges)

    def test_key_without_a_cache(self) -> None:
        """A key that names the slice says nothing where nothing is cached."""
        self.proxy("", http="slice 1k; proxy_cache_key $uri$slice_range;")
        self.origin.default = Thing()
        answer = self.bench.get(b"/", b"Range: bytes=10-4000")
        self.assertEqual((answer.status, answer.body), (206, BODY[10:4001]))
        self.assertEqual(self.asked(), [b"10-4000"])

    def test_range_by_way_of_a_map(self) -> None:
        """``$slice_range`` is read through a ``map`` too."""
        self.proxy(
            "slice 8k; proxy_set_header Range $wanted;",
            http="map $slice_range $wanted { '' ''; default $slice_range; }",
        )
        self.origin.default = Thing()
        self.assertEqual(self.bench.get(b"/").body, BODY)
        self.assertEqual(self.asked(), [b"0-8191", b"8192-16383"])

    def test_other_methods(self) -> None:
        """POST has no slices: it is sent once, without a range."""
        self.sliced()
        answer = self.bench.client().request(b"POST", b"/a", body=b"abc")
        self.assertEqual(answer.body, BODY)
        self.assertEqual(self.asked(), [b""])
        self.proxy("slice 1k; proxy_set_header Range $slice_range;")
        self.origin.default = Thing()
        answer = self.bench.client().request(b"GET", b"/a", body=b"abc")
        self.assertEqual((answer.body, self.origin.requests[0].body), (BODY, b"abc"))
        self.assertEqual(self.asked(), [b""])

    def test_unsafe_methods_invalidate(self) -> None:
        """What a POST changes is gone with all its slices, and nothing else (RFC 9111 §4.4)."""
        thing = self.sliced()
        for target in (b"/a", b"/ab"):
            self.bench.get(target)
        thing.body, thing.etag = BODY[::-1], b'"two"'
        self.bench.client().request(b"POST", b"/a", body=b"x")
        self.asked()
        answer = self.bench.get(b"/a", b"Range: bytes=3000-3999")
        self.assertEqual((answer.get(b"x-cache"), answer.body), (b"MISS", thing.body[3000:4000]))
        self.assertEqual(self.bench.get(b"/ab").body, BODY)
        self.assertEqual(self.asked(), [b"2048-3071", b"3072-4095"])

    def test_content_of_a_cached_get(self) -> None:
        """It is left out, as for every GET that a cache may answer."""
        self.sliced()
        client = self.bench.client()
        self.assertEqual(client.request(b"GET", b"/a", body=b"x" * 3000).body, BODY)
        self.assertEqual(client.get(b"/a").get(b"x-cache"), b"HIT")

    def test_compressed(self) -> None:
        """The whole may be compressed on the way; a range of it then is not."""
        self.sliced("gzip on; gzip_types text/plain;")
        answer = self.bench.get(b"/a", b"Accept-Encoding: gzip", b"Range: bytes=5000-5099")
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.get(b"content-encoding"), b"gzip")
        self.assertIsNone(answer.get(b"accept-ranges"))
        self.assertEqual(decompress(answer.body), BODY)
        answer = self.bench.get(b"/a", b"Range: bytes=5000-5099")
        self.assertEqual(answer.body, BODY[5000:5100])


class RangeTests(SliceCase):
    """The client's own Range."""

    def test_slices_of_a_range(self) -> None:
        """Only the slices that the range touches are asked for."""
        self.sliced()
        for value, start, stop, ranges in (
            (b"0-0", 0, 1, [b"0-1023"]),
            (b"1024-1025", 1024, 1026, [b"1024-2047"]),
            (b"2500-4500", 2500, 4501, [b"2048-3071", b"3072-4095", b"4096-5119"]),
            (b"10240-", 10240, 10247, [b"10240-11263"]),
            (b"9300-20000", 9300, 10247, [b"9216-10239"]),
            (b"-6000", 4247, 10247, [b"5120-6143", b"6144-7167", b"7168-8191", b"8192-9215"]),
        ):
            answer = self.bench.get(b"/a", b"Range: bytes=" + value)
            self.assertEqual((answer.status, answer.body), (206, BODY[start:stop]), value)
            described = b"bytes %d-%d/10247" % (start, stop - 1)
            self.assertEqual(answer.get(b"content-range"), described)
            self.assertIsNone(answer.get(b"accept-ranges"))
            self.assertEqual(self.asked(), ranges)
        self.assertEqual(self.errors(), "")

    def test_end_of_the_unknown(self) -> None:
        """``bytes=-N``: the first slice tells how long it is, then those at the end are asked."""
        self.sliced()
        answer = self.bench.get(b"/a", b"Range: bytes=-100")
        self.assertEqual((answer.status, answer.body), (206, BODY[-100:]))
        self.assertEqual(self.asked(), [b"0-1023", b"9216-10239", b"10240-11263"])
        self.bench.get(b"/a", b"Range: bytes=-100")
        self.assertEqual(self.asked(), [])

    def test_not_satisfiable(self) -> None:
        """416 with the length, from the origin or from what the first slice tells."""
        self.sliced()
        for value in (b"10247-", b"99999999-", b"5000-4000", b"-0", b"x", b"1-x"):
            answer = self.bench.get(b"/a", b"Range: bytes=" + value)
            self.assertEqual((value, answer.status), (value, 416))
            self.assertEqual(answer.get(b"content-range"), b"bytes */10247")

    def test_not_applied(self) -> None:
        """Several ranges, another unit, ``max_ranges 0``: the whole."""
        self.sliced()
        for value in (b"bytes=5000-5009,1-2", b"lines=1-2", b"bytes="):
            answer = self.bench.get(b"/a", b"Range: " + value)
            self.assertEqual((answer.status, answer.body), (200, BODY))
        self.sliced("max_ranges 0;")
        answer = self.bench.get(b"/a", b"Range: bytes=5000-5009")
        self.assertEqual((answer.status, answer.body), (200, BODY))
        self.assertIsNone(answer.get(b"accept-ranges"))

    def test_if_range(self) -> None:
        """The range counts only for the version that the client has."""
        thing = self.sliced()
        thing.fields += (b"Last-Modified: " + http_date(-1000),)
        for value, status in (
            (b'"one"', 206), (b'"two"', 200), (http_date(-1000), 206), (http_date(-999), 200),
        ):
            answer = self.bench.get(b"/a", b"Range: bytes=5000-5009", b"If-Range: " + value)
            expected = BODY[5000:5010] if status == 206 else BODY
            self.assertEqual((answer.status, answer.body), (status, expected), value)

    def test_preconditions(self) -> None:
        """Judged once, by the first slice, on a miss and on a hit."""
        self.sliced()
        for _ in range(2):
            answer = self.bench.get(b"/a", b'If-None-Match: "one"')
            self.assertEqual((answer.status, answer.get(b"etag")), (304, b'"one"'))
            self.assertEqual(self.bench.get(b"/a", b'If-Match: "two"').status, 412)
        self.assertEqual(self.asked(), [b"0-1023"])
        answer = self.bench.get(b"/a", b'If-None-Match: "two"')
        self.assertEqual((answer.status, answer.body), (200, BODY))
        answer = self.bench.get(b"/a", b'If-Match: "one"', b"Range: bytes=3000-3999")
        self.assertEqual((answer.status, answer.body), (206, BODY[3000:4000]))

    def test_slices_are_shared(self) -> None:
        """A slice that one client's range has brought answers another's."""
        self.sliced()
        self.bench.get(b"/a", b"Range: bytes=2048-4095")
        self.asked()
        self.assertEqual(self.bench.get(b"/a").body, BODY)
        self.assertEqual(len(self.asked()), 9)


class FlowTests(SliceCase):
    """Back-pressure, and clients that go."""

    def test_slow_client(self) -> None:
        """No more than a slice beyond what the connection takes is fetched or held."""
        body = bytes(1 << 20)
        self.sliced("", Thing(body), "64k")
        for _ in range(2):
            client = self.bench.client()
            client.transport.hold()
            client.send(message(b"GET", b"/a"))
            self.assertLess(len(client.transport.held), BUFFER_SIZE + (64 << 10) + 1000)
            self.assertLessEqual(len(self.asked()), 2)
            client.release()
            self.assertEqual(client.response().body, body)
            self.asked()

    def test_many_slices_at_once(self) -> None:
        """Hundreds of hits in memory are no recursion, and a small buffer bounds them."""
        body = bytes(range(256)) * 8
        self.sliced("", Thing(body), "4")
        for start in range(0, len(body), 200):
            self.bench.get(b"/a", b"Range: bytes=%d-%d" % (start, start + 199))
        self.assertEqual(len(self.asked()), len(body) // 4)
        self.assertEqual(self.bench.get(b"/a").body, body)
        self.assertEqual(self.asked(), [])

    def test_client_gone(self) -> None:
        """The slice under way is still stored; no other is asked for."""
        self.sliced()
        thing = Thing()
        self.origin.default = None
        client = self.bench.client()
        client.send(message(b"GET", b"/a"))
        data = thing.answer(self.origin.requests[0])
        self.origin.last.send(data[:500])
        client.vanish()
        self.origin.last.send(data[500:])
        self.assertEqual(self.asked(), [b"0-1023"])
        self.origin.default = thing
        self.assertEqual(self.bench.get(b"/a").body, BODY)
        self.assertEqual(self.asked()[0], b"1024-2047")
        sent = 500 - data.index(b"\r\n\r\n") - 4
        self.assertEqual(self.bench.log()[0], f"200 {sent} MISS")

    def test_client_gone_before_the_head(self) -> None:
        """499, and without a cache the origin's connection is closed."""
        self.proxy("slice 1k; proxy_set_header Range $slice_range;", *LOG)
        client = self.bench.client()
        client.send(message(b"GET", b"/a"))
        client.vanish()
        self.assertTrue(self.origin.last.closed)
        self.assertEqual(self.bench.log(), ["499 0 -"])

    def test_range_ends_within_a_slice(self) -> None:
        """The client has its answer at once; the rest of the slice is still stored."""
        self.sliced()
        thing = Thing()
        self.origin.default = None
        client = self.bench.client()
        client.send(message(b"GET", b"/a", b"Range: bytes=10-19"))
        data = thing.answer(self.origin.requests[0])
        self.origin.last.send(data[:500])
        self.assertEqual(client.response().body, BODY[10:20])
        self.origin.last.send(data[500:])
        answer = client.get(b"/a", b"Range: bytes=1000-1023")
        self.assertEqual((answer.body, answer.get(b"x-cache")), (BODY[1000:1024], b"HIT"))

    def test_not_buffered(self) -> None:
        """``proxy_buffering off`` holds the origin."""
        body = bytes(1 << 20)
        self.proxy("slice 512k; proxy_set_header Range $slice_range; proxy_buffering off;")
        thing = Thing(body)
        client = self.bench.client()
        client.transport.hold()
        client.send(message(b"GET", b"/a"))
        data = thing.answer(self.origin.requests[0])
        for at in range(0, len(data), 32768):
            self.origin.last.send(data[at : at + 32768])
        self.assertTrue(self.origin.last.transport.paused)
        self.assertLess(len(client.transport.held), 2 * BUFFER_SIZE)
        self.origin.default = thing
        client.release()
        self.assertEqual(client.response().body, body)

    def test_expired_slices_are_validated(self) -> None:
        """Each by itself, with a condition."""
        self.sliced(valid="proxy_cache_valid 206 1m;")
        self.bench.get(b"/a", b"Range: bytes=0-1500")
        self.asked()
        self.bench.advance(70)
        self.origin.default = response(304, b"", b'ETag: "one"')
        answer = self.bench.get(b"/a", b"Range: bytes=0-1500")
        self.assertEqual((answer.body, answer.get(b"x-cache")), (BODY[:1501], b"REVALIDATED"))
        conditions = [request.get(b"if-none-match") for request in self.origin.requests]
        self.assertEqual(conditions, [b'"one"', b'"one"'])
        self.assertEqual(self.asked(), [b"0-1023", b"1024-2047"])

    def test_stale_slices_are_refreshed_unasked(self) -> None:
        """The refresh in the background asks for the slice, not for the whole."""
        thing = Thing()
        thing.fields += (b"Cache-Control: max-age=60, stale-while-revalidate=600",)
        self.sliced("", thing)
        self.bench.get(b"/a", b"Range: bytes=1024-1030")
        self.bench.advance(70)
        self.asked()
        answer = self.bench.get(b"/a", b"Range: bytes=1024-1030")
        self.assertEqual((answer.body, answer.get(b"x-cache")), (BODY[1024:1031], b"STALE"))
        self.assertEqual(self.asked(), [b"1024-2047"])
        self.assertEqual(
            self.bench.get(b"/a", b"Range: bytes=1024-1030").get(b"x-cache"), b"HIT"
        )

    def test_two_clients_share_each_slice(self) -> None:
        """The second waits for the slice under way and the origin is asked once for each."""
        self.sliced()
        thing = Thing()
        self.origin.default = None
        one, two = self.bench.client(), self.bench.client()
        one.send(message(b"GET", b"/a"))
        two.send(message(b"GET", b"/a"))
        self.origin.default = thing
        self.origin.last.send(thing.answer(self.origin.requests[0]))
        self.assertEqual(one.response().body, BODY)
        self.assertEqual(two.response().body, BODY)
        self.assertEqual(len(self.asked()), 11)


class MisfitTests(SliceCase):
    """Slices that do not belong together, broken ones, and hostile ones."""

    def cut(self, target: bytes = b"/a") -> bytes:
        """The response to *target*, which must not look whole; what of it came."""
        client = self.bench.client()
        client.send(message(b"GET", target))
        self.assertTrue(client.transport.closed)
        self.assertIsNone(parse_response(client.unread, b"GET", True))
        return client.unread.partition(b"\r\n\r\n")[2]

    def test_changed_midway(self) -> None:
        """Another version at the origin: given up, visibly; the next request starts anew."""
        self.sliced()
        self.assertEqual(self.bench.get(b"/a", b"Range: bytes=0-3000").status, 206)
        new = Thing(BODY[::-1], b'"two"')
        self.origin.default = new
        self.assertEqual(self.cut(), BODY[:3072])
        self.assertIn("etag mismatch in slice response", self.errors())
        # Of the old ones the first is gone, and the others go as they are met.
        answer = self.bench.get(b"/a")
        self.assertEqual((answer.body, answer.get(b"etag")), (new.body, b'"two"'))
        self.asked()
        self.assertEqual(self.bench.get(b"/a").body, new.body)
        self.assertEqual(self.asked(), [])

    def test_old_slice_in_the_cache(self) -> None:
        """A kept slice of an older version is replaced without the client's noticing."""
        self.sliced()
        self.bench.get(b"/a", b"Range: bytes=2048-4095")
        new = Thing(BODY[::-1], b'"two"')
        self.origin.default = new
        self.asked()
        answer = self.bench.get(b"/a")
        self.assertEqual((answer.status, answer.body), (200, new.body))
        self.assertEqual(len(self.asked()), 11)
        self.assertEqual(self.errors(), "")

    def test_old_slice_that_a_condition_names(self) -> None:
        """Conditions are for the first slice: that an old one fulfils them means nothing."""
        self.sliced()
        self.bench.get(b"/a", b"Range: bytes=2048-4095")
        new = Thing(BODY[::-1], b'"two"')
        self.origin.default = new
        answer = self.bench.get(b"/a", b'If-None-Match: "one"')
        self.assertEqual((answer.status, answer.body), (200, new.body))

    def test_no_tag(self) -> None:
        """Without one the length and Last-Modified must agree."""
        for fields, body in (
            ((b"Last-Modified: " + http_date(-5),), BODY[::-1]),
            ((b"Last-Modified: " + http_date(-9),), BODY + b"more"),
        ):
            old = Thing(BODY, b"")
            old.fields += (b"Last-Modified: " + http_date(-9),)
            self.sliced("", old)
            self.bench.get(b"/a", b"Range: bytes=0-1000")
            new = Thing(body, b"")
            new.fields += fields
            self.origin.default = new
            self.assertEqual(self.cut(), BODY[:1024])
            self.assertEqual(self.bench.get(b"/a").body, body)

    def test_bad_first_slice(self) -> None:
        """502 where a 206 is not the slice that was asked for, and the reason in the log."""
        for described, reason in (
            (b"bytes 0-1022/10247", "unexpected range in slice response: 0-1023, expected: 0-1024"),
            (b"bytes 1-1024/10247", "unexpected range"),
            (b"bytes 0-1023/*", "no complete length in slice response"),
            (b"bytes 0-1023/1000", "unexpected range"),
            (b"bytes 0-1023", "invalid range in slice response"),
            (b"lines 0-1023/10247", "invalid range"),
            (b"", "invalid range"),
        ):
            self.sliced()
            self.origin.default = response(206, BODY[:1024], b"Content-Range: " + described)
            self.assertEqual(self.bench.get(b"/a").status, 502, described)
            self.assertIn(reason, self.errors())
        self.sliced()
        self.origin.default = response(206, b"short", b"Content-Range: bytes 0-1023/10247")
        self.assertEqual(self.bench.get(b"/a").status, 502)
        self.assertIn("unexpected length in slice response: 5", self.errors())

    def test_bad_later_slice(self) -> None:
        """The response is cut where anything but the next slice comes."""
        first = Thing()
        for answer, reason in (
            (response(200, BODY), "unexpected status code 200 in slice response"),
            (response(500, b"x"), "unexpected status code 500 in slice response"),
            (response(302, b"", b"X-Accel-Redirect: /b"), "unexpected redirection"),
            (response(206, BODY[:1024], b'ETag: "one"', b"Content-Range: bytes 0-1023/10247"),
             "unexpected range in slice response: 0-1024, expected: 1024-2048"),
            (response(206, BODY[:1024], b"Content-Range: bytes 1024-2047/10247"), "etag mismatch"),
        ):
            self.sliced()
            self.origin.reply(first)
            self.origin.default = answer
            self.assertEqual(self.cut(), BODY[:1024])
            self.assertIn(reason, self.errors())
            self.assertEqual(self.bench.log()[0].split()[:2], ["200", "1024"])

    def test_broken_off_and_asked_again(self) -> None:
        """A slice that breaks off is asked for once more; the client notices nothing."""
        thing = self.sliced()

        def broken(connection: OriginConnection, request: Request) -> None:
            connection.send(thing.answer(request)[:600])
            connection.reset()

        self.origin.reply(thing, broken, thing)
        self.assertEqual(self.bench.get(b"/a").body, BODY)
        self.assertEqual(self.asked()[:4], [b"0-1023", b"1024-2047", b"1024-2047", b"2048-3071"])
        # Not for ever, and not without a tag that tells that it still is the same.
        self.origin.reply(thing, broken, broken, broken)
        self.assertTrue(BODY.startswith(self.cut(b"/b")))
        self.assertEqual(self.asked(), [b"0-1023", b"1024-2047", b"1024-2047"])
        thing.etag = b""
        self.origin.script.clear()
        self.origin.reply(thing, broken)
        self.cut(b"/c")
        self.assertEqual(self.asked(), [b"0-1023", b"1024-2047"])

    def test_bytes_without_end(self) -> None:
        """What comes beyond the slice is not passed on."""
        self.sliced()
        fields = (b'ETag: "one"', b"Content-Range: bytes 0-1023/10247")
        self.origin.reply(response(206, BODY[:4000], *fields, chunked=True))
        answer = self.cut()
        self.assertEqual(answer, BODY[:1024])

    def test_chunked_slices(self) -> None:
        """Slices of undeclared length are fine where they are long enough."""
        self.sliced()
        thing = Thing()

        def chunked(connection: OriginConnection, request: Request) -> None:
            head, _, body = thing.answer(request).partition(b"\r\n\r\n")
            fields = [line for line in head.split(b"\r\n")[1:] if b"Content-Length" not in line]
            connection.send(response(206, body, *fields, chunked=True))

        self.origin.default = chunked
        self.assertEqual(self.bench.get(b"/a").body, BODY)


def plain(bench: Bench, body: bytes, value: bytes) -> tuple[int, bytes, bytes | None]:
    """What the first server answers for *value*."""
    answer = bench.get(b"/a", *([b"Range: " + value] if value else []))
    return answer.status, answer.body, answer.get(b"content-range")


class EqualityTests(BenchCase):
    """For any sizes and ranges: the bytes of the whole, exactly."""

    @settings(max_examples=25, deadline=None)
    @given(
        st.integers(0, 300),
        st.integers(1, 120),
        st.lists(
            st.one_of(
                st.just(b""),
                st.builds(
                    lambda first, last: b"bytes=%d-%d" % (first, last),
                    st.integers(0, 320),
                    st.integers(0, 320),
                ),
                st.builds(lambda first: b"bytes=%d-" % first, st.integers(0, 320)),
                st.builds(lambda last: b"bytes=-%d" % last, st.integers(0, 320)),
            ),
            min_size=1,
            max_size=4,
        ),
    )
    def test_same_as_unsliced(self, length: int, size: int, values: list[bytes]) -> None:
        body = bytes(index % 251 for index in range(length))
        answers = []
        for options in (
            f"slice {size}; proxy_cache_key $uri$slice_range; "
            "proxy_set_header Range $slice_range; proxy_cache_valid 200 206 1h;",
            "proxy_cache_valid 200 1h; proxy_cache_max_range_offset 1000;",
        ):
            bench = self.cache(options)
            self.origin.default = Thing(body)
            answers.append([plain(bench, body, value) for value in values])
            bench.close()
        sliced, unsliced = answers
        for value, one, other in zip(values, sliced, unsliced, strict=True):
            if one[0] == other[0] == 416:
                continue
            self.assertEqual(one, other, value)
