"""Parts: stored, and reused for ranges within them."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

from tests.proxy.harness import response
from tests.proxy.test_caching import FRESH, CachingCase


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
