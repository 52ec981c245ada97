"""Parts: stored, reused for ranges within them, and combined (RFC 9111 §3.3, §3.4)."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

from tests.proxy.cache.test_lookup import FRESH, CachingCase
from tests.proxy.harness import OriginConnection, Request, response


class PartTests(CachingCase):
    """Partial responses (RFC 9111 §3.3, §3.4)."""

    def part(self, value: bytes = b"bytes 5-9/10", body: bytes = b"56789") -> None:
        """The origin's next answer is a part."""
        self.origin.reply(response(206, body, FRESH, b"Content-Range: " + value))

    def test_end_is_asked_for_alone(self) -> None:
        """A range at the end goes to the origin; its part answers ranges within it."""
        self.cache()
        self.part()
        first = self.ask(b"/", b"Range: bytes=-5")
        self.assertEqual((first.status, first.body), (206, b"56789"))
        self.assertEqual(self.origin.requests[0].get(b"range"), b"bytes=-5")
        for value, body, described in (
            (b"-5", b"56789", b"bytes 5-9/10"),
            (b"6-7", b"67", b"bytes 6-7/10"),
            (b"8-", b"89", b"bytes 8-9/10"),
        ):
            answer = self.ask(b"/", b"Range: bytes=" + value)
            self.assertEqual((answer.status, answer.body), (206, body))
            self.assertEqual(answer.get_all(b"content-range"), [described])
            self.assertEqual(answer.get(b"x-cache"), b"HIT")
        self.assertEqual(len(self.origin.requests), 1)

    def test_part_is_not_the_whole(self) -> None:
        """Whoever asks for all, or for more, gets it from the origin."""
        self.cache()
        self.part()
        self.ask(b"/", b"Range: bytes=-5")
        self.origin.reply(response(200, b"0123456789", FRESH))
        self.assertEqual(self.seen(), (b"MISS", b"0123456789"))
        self.assertIsNone(self.origin.requests[1].get(b"range"))
        answer = self.ask(b"/", b"Range: bytes=0-1")
        self.assertEqual((answer.body, answer.get(b"x-cache")), (b"01", b"HIT"))

    def test_stale_part(self) -> None:
        """A part is used while it is fresh."""
        self.cache()
        self.part()
        self.ask(b"/", b"Range: bytes=-5")
        self.bench.advance(61)
        self.part()
        answer = self.ask(b"/", b"Range: bytes=-5")
        self.assertEqual((answer.status, answer.get(b"x-cache")), (206, b"MISS"))
        self.assertEqual(len(self.origin.requests), 2)

    def test_part_that_nobody_asked_for(self) -> None:
        """Passed on as it is, never stored."""
        self.cache()
        self.part()
        self.ask()
        self.answers(FRESH)
        self.assertEqual(self.seen(), (b"MISS", b"2"))

    def test_unsatisfiable_is_not_stored(self) -> None:
        """416 is one client's; it must not answer the next."""
        self.cache()
        self.origin.reply(response(416, b"", FRESH, b"Content-Range: bytes */10"))
        self.assertEqual(self.ask(b"/", b"Range: bytes=-5").status, 416)
        self.answers(FRESH)
        self.assertEqual(self.seen(), (b"MISS", b"2"))

    def test_max_range_offset(self) -> None:
        """From the offset on the range alone is asked for; before it the whole."""
        self.cache("proxy_cache_max_range_offset 5;")
        self.part()
        self.assertEqual(self.ask(b"/a", b"Range: bytes=5-9").status, 206)
        self.assertEqual(self.origin.requests[0].get(b"range"), b"bytes=5-9")
        self.origin.reply(response(200, b"0123456789", FRESH))
        self.assertEqual(self.ask(b"/b", b"Range: bytes=4-5").body, b"45")
        self.assertIsNone(self.origin.requests[1].get(b"range"))

    def test_ranges_in_the_operators_hands(self) -> None:
        """With the range in the key and in the request each range is stored, as in nginx."""
        self.cache("proxy_cache_key $uri$http_range; proxy_set_header Range $http_range;")
        for _ in range(2):
            self.part()
            answer = self.ask(b"/", b"Range: bytes=-5")
            self.assertEqual((answer.status, answer.body), (206, b"56789"))
            self.assertEqual(answer.get_all(b"content-range"), [b"bytes 5-9/10"])
        self.assertEqual(answer.get(b"x-cache"), b"HIT")
        self.assertEqual(self.origin.requests[0].get(b"range"), b"bytes=-5")
        self.assertEqual(self.ask(b"/", b"Range: bytes=8-9").get(b"x-cache"), b"MISS")

    def test_purged_with_the_whole(self) -> None:
        """An unsafe request takes the part away too (§4.4)."""
        self.cache()
        self.part()
        self.ask(b"/", b"Range: bytes=-5")
        self.origin.reply(response(200, b"done"))
        self.ask(method=b"DELETE")
        self.part()
        self.assertEqual(self.ask(b"/", b"Range: bytes=-5").get(b"x-cache"), b"MISS")
        self.assertEqual(len(self.origin.requests), 3)

    def test_only_if_cached(self) -> None:
        """A part that does answers without the origin; without one it is 504 (§5.2.1.7)."""
        self.cache()
        only = b"Cache-Control: only-if-cached"
        self.assertEqual(self.ask(b"/", b"Range: bytes=-5", only).status, 504)
        self.part()
        self.ask(b"/", b"Range: bytes=-5")
        self.assertEqual(self.ask(b"/", b"Range: bytes=-5", only).body, b"56789")
        self.assertEqual(self.ask(b"/", b"Range: bytes=4-5", only).status, 504)
        self.assertEqual(self.ask(b"/", only).status, 504)
        self.assertEqual(len(self.origin.requests), 1)


class CombiningTests(CachingCase):
    """A whole of twenty bytes, whose origin answers ranges and If-Range."""

    whole = b"abcdefghijklmnopqrst"

    def ranges(self, options: str = "proxy_cache_max_range_offset 0;", tag: bytes = b'"a"') -> None:
        """The origin, and a cache that asks for ranges."""
        self.cache(options)
        self.tag = tag
        self.origin.default = self.answer  # type: ignore[assignment]  # a callable

    def answer(self, connection: OriginConnection, request: Request) -> None:
        """200, or the part that Range names."""
        value, condition = request.get(b"range"), request.get(b"if-range")
        lines = (FRESH, b"ETag: " + self.tag)
        if value is None or condition not in (None, self.tag):
            connection.send(response(200, self.whole, *lines))
            return
        first, _, last = value.partition(b"=")[2].partition(b"-")
        start = int(first) if first else len(self.whole) - int(last)
        stop = int(last) + 1 if first and last else len(self.whole)
        described = b"Content-Range: bytes %d-%d/%d" % (start, stop - 1, len(self.whole))
        connection.send(response(206, self.whole[start:stop], described, *lines))

    def range(self, first: object, last: object = "") -> tuple[int, bytes, bytes | None]:
        """(status, body, X-Cache) of a range."""
        answer = self.ask(b"/", f"Range: bytes={first}-{last}".encode())
        if answer.status == 206:
            start = answer.get_all(b"content-range")[0].split(b" ")[1].split(b"-")[0]
            self.assertEqual(answer.body, self.whole[int(start) : int(start) + len(answer.body)])
        return answer.status, answer.body, answer.get(b"x-cache")

    def asked(self) -> list[tuple[bytes | None, bytes | None]]:
        """What the origin has been asked for: Range, If-Range."""
        return [(x.get(b"range"), x.get(b"if-range")) for x in self.origin.requests]

    def test_whole_is_completed(self) -> None:
        """Only the rest is asked for; the whole is sent, and stored."""
        self.ranges()
        self.range(0, 4)
        answer = self.ask()
        self.assertEqual((answer.status, answer.body), (200, self.whole))
        self.assertEqual(answer.get(b"content-range"), None)
        self.assertEqual(self.asked()[1], (b"bytes=5-", b'"a"'))
        self.assertIn(b"fwd=partial; fwd-status=206; stored", answer.get(b"cache-status") or b"")
        self.assertEqual(self.seen(), (b"HIT", self.whole))
        self.assertEqual(self.range(17), (206, b"rst", b"HIT"))

    def test_end_first(self) -> None:
        """The same with the beginning missing."""
        self.ranges("")
        self.assertEqual(self.range("", 5)[1], b"pqrst")
        self.assertEqual(self.seen(), (b"MISS", self.whole))
        self.assertEqual(self.asked()[1], (b"bytes=0-14", b'"a"'))
        self.assertEqual(self.seen(), (b"HIT", self.whole))

    def test_range_is_completed(self) -> None:
        """A range that lies in part within what is stored."""
        self.ranges()
        self.range(5, 9)
        self.assertEqual(self.range(8, 12), (206, b"ijklm", b"MISS"))
        self.assertEqual(self.asked()[1], (b"bytes=10-12", b'"a"'))
        self.assertEqual(self.range(3, 6), (206, b"defg", b"MISS"))
        self.assertEqual(self.asked()[2], (b"bytes=3-4", b'"a"'))
        self.assertEqual(self.range(3, 12), (206, self.whole[3:13], b"HIT"))
        self.assertEqual(len(self.asked()), 3)

    def test_neighbours_grow_together(self) -> None:
        """One range after the other, as players and downloads ask, until all is there."""
        self.ranges()
        for first in (10, 15, 5, 0):
            self.assertEqual(self.range(first, first + 4)[0], 206)
        self.assertEqual([tag for _, tag in self.asked()], [None] * 4)
        self.assertEqual(self.seen(), (b"HIT", self.whole))
        self.assertEqual(len(self.asked()), 4)

    def test_hole(self) -> None:
        """Parts that do not touch: the newer one is kept."""
        self.ranges()
        self.range(0, 4)
        self.range(10, 14)
        self.assertEqual(self.range(10, 12)[2], b"HIT")
        self.assertEqual(self.range(0, 4)[2], b"MISS")

    def test_changed_meanwhile(self) -> None:
        """If-Range does not hold: the whole comes, and is all that counts from now on."""
        self.ranges()
        self.range(0, 4)
        self.whole, self.tag = self.whole.upper(), b'"b"'
        self.assertEqual(self.seen(), (b"MISS", self.whole))
        self.assertEqual(self.asked()[1:], [(b"bytes=5-", b'"a"')])
        self.assertEqual(self.seen(), (b"HIT", self.whole))

    def test_changed_neighbour(self) -> None:
        """A part of something else takes the old one's place."""
        self.ranges()
        self.range(0, 4)
        self.whole, self.tag = self.whole.upper(), b'"b"'
        self.assertEqual(self.range(5, 9)[1], b"FGHIJ")
        self.assertEqual(self.range(5, 9)[2], b"HIT")
        self.assertEqual(self.range(0, 4)[1:], (b"ABCDE", b"MISS"))
        self.assertEqual(self.range(0, 9)[1:], (b"ABCDEFGHIJ", b"HIT"))

    def test_origin_without_if_range(self) -> None:
        """A rest of something else is not used: the whole is asked for."""
        self.ranges()
        self.range(0, 4)
        for odd in (
            response(206, b"f" * 15, b"Content-Range: bytes 5-19/20", FRESH, b'ETag: "b"'),
            response(206, b"f" * 15, b"Content-Range: bytes 5-19/20", FRESH),
            response(206, b"f" * 14, b"Content-Range: bytes 5-18/20", FRESH, b'ETag: "a"'),
            response(206, b"f" * 14, b"Content-Range: bytes 5-19/20", FRESH, b'ETag: "a"'),
            response(206, b"f" * 15, b"Content-Range: bytes 5-19/21", FRESH, b'ETag: "a"'),
            response(416, b"", b"Content-Range: bytes */5"),
        ):
            self.origin.reply(odd)
            answer = self.ask()
            self.assertEqual((answer.status, answer.body), (200, self.whole))
            self.assertEqual(self.asked()[-1], (None, None))
            self.assertEqual(self.ask(method=b"DELETE").status, 200)
            self.range(0, 4)

    def test_failing_origin(self) -> None:
        """A server error is the answer; the part stays."""
        self.ranges()
        self.range(0, 4)
        self.origin.reply(response(503, b""))
        self.assertEqual(self.ask().status, 503)
        self.assertEqual(self.range(0, 4)[2], b"HIT")

    def test_without_a_strong_tag(self) -> None:
        """Nothing to hold parts together."""
        for tag in (b'W/"a"', b"a", b""):
            self.ranges(tag=tag)
            self.range(0, 4)
            self.assertEqual(self.ask().body, self.whole)
            self.assertEqual(self.asked()[1], (None, None))
            self.bench.close()

    def test_stale_part_is_validated_by_the_rest(self) -> None:
        """The entity-tag of the rest says that the part is still right."""
        self.ranges()
        self.range(0, 4)
        self.bench.advance(100)
        self.assertEqual(self.seen(), (b"MISS", self.whole))
        self.assertEqual(self.asked()[1], (b"bytes=5-", b'"a"'))
        answer = self.ask()
        self.assertEqual((answer.get(b"x-cache"), answer.get(b"age")), (b"HIT", b"0"))

    def test_not_to_be_shared(self) -> None:
        """The combination answers this one client; nothing of it is stored."""
        self.ranges()
        self.range(0, 4)
        rest = (b"Content-Range: bytes 5-19/20", b'ETag: "a"', FRESH, b"Set-Cookie: u=1")
        self.origin.reply(response(206, self.whole[5:], *rest))
        answer = self.ask()
        self.assertEqual((answer.body, answer.get(b"set-cookie")), (self.whole, b"u=1"))
        answer = self.ask()
        self.assertEqual((answer.get(b"x-cache"), answer.get(b"set-cookie")), (b"MISS", None))

    def test_other_variant(self) -> None:
        """A part that other fields selected is of no use."""
        self.ranges()
        described = b"Content-Range: bytes 0-4/20"
        kept = response(206, b"ABCDE", described, FRESH, b'ETag: "a"', b"Vary: X-A")
        self.origin.reply(kept)
        self.ask(b"/", b"Range: bytes=0-4", b"X-A: 1")
        self.assertEqual(self.ask(b"/", b"X-A: 2").body, self.whole)
        self.assertEqual(self.asked()[1], (None, None))

    def test_preconditions(self) -> None:
        """What the client has itself is for the whole to be compared with."""
        self.ranges()
        self.range(0, 4)
        self.assertEqual(self.ask(b"/", b'If-None-Match: "a"').status, 304)
        self.assertEqual(self.asked()[1], (None, None))

    def test_clients_if_range(self) -> None:
        """One that does not hold asks for the whole, which the part has nothing to add to."""
        self.ranges()
        self.range(0, 4)
        answer = self.ask(b"/", b"Range: bytes=3-6", b'If-Range: "other"')
        self.assertEqual((answer.status, answer.body), (200, self.whole))
        self.ask(method=b"DELETE")
        self.range(0, 4)
        answer = self.ask(b"/", b"Range: bytes=3-6", b'If-Range: "a"')
        self.assertEqual((answer.status, answer.body), (206, b"defg"))
        self.assertEqual(self.asked()[-1], (b"bytes=5-6", b'"a"'))
