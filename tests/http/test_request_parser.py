"""Requests: heads, bodies, pipelining, limits."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.errors import ProtocolError
from cacheproxy.http.request_parser import MAX_HELD, RequestLimits
from tests.http.recording import Requests, pieces, request

_CHUNKED = b"Transfer-Encoding: chunked\r\n"
_BODY = b"5;x=y\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 1\r\n\r\n"
_MIX = (
    request(b"A: b \r\nX_y: z\r\nD.e: f\r\n", target=b"/one?x=%20")
    + request(b"Content-Length: 5\r\n", b"hello", method=b"POST", target=b"/two")
    + b"\r\n"
    + request(_CHUNKED, _BODY, method=b"PUT", target=b"/three")
    + request(b"Upgrade: websocket\r\nConnection: upgrade\r\n", target=b"/four")
    + request(method=b"UNKNOWN", target=b"/five")
    + request(b"Connection: keep-alive\r\n", version=b"1.0", target=b"http://a:80/six")
    + request(b"Connection: x, Close\r\n", target=b"/seven")
)

_cuts = st.lists(st.integers(0, 10**6), max_size=12)


class RequestParserTests(SynchronousTestCase):
    def test_sequence(self) -> None:
        """Pipelined requests of every framing come out in order."""
        seen = Requests()
        seen.parser.feed(_MIX)
        self.assertEqual(
            [head.target for head in seen.heads],
            [b"/one?x=%20", b"/two", b"/three", b"/four", b"/five", b"http://a:80/six", b"/seven"],
        )
        self.assertEqual(
            [head.body_length for head in seen.heads], [None, 5, -1, None, None, None, None]
        )
        self.assertEqual([head.keep_alive for head in seen.heads], [True] * 6 + [False])
        self.assertEqual(seen.heads[0].fields.pairs, [(b"Host", b"a"), (b"A", b"b")])
        self.assertIn(("body", b"hello world"), seen.calls)
        self.assertIn(("end", ((b"X-Sum", b"1"),)), seen.calls)
        self.assertTrue(seen.parser.idle)

    @settings(max_examples=60, deadline=None)
    @given(_cuts)
    def test_split_anywhere(self, cuts: list[int]) -> None:
        """How the bytes arrive does not change the calls."""
        whole, split = Requests(), Requests()
        whole.parser.feed(_MIX)
        for piece in pieces(_MIX, cuts):
            split.parser.feed(piece)
        self.assertEqual(split.calls, whole.calls)

    @settings(max_examples=150, deadline=None)
    @given(_cuts, st.lists(st.tuples(st.integers(0, 10**6), st.binary(max_size=3)), max_size=4))
    def test_mutated(self, cuts: list[int], changes: list[tuple[int, bytes]]) -> None:
        """No input raises; there is one error at most and nothing after it."""
        data = bytearray(_MIX)
        for place, value in changes:
            start = place % len(data)
            data[start : start + 2] = value or b"\r"
        whole, split = Requests(), Requests()
        whole.parser.feed(bytes(data))
        for piece in pieces(bytes(data), cuts):
            split.parser.feed(piece)
        for seen in (whole, split):
            self.assertEqual("error" in seen.names(), seen.parser.dead)
            self.assertNotIn("error", seen.names()[:-1])
        self.assertEqual(
            [head.target for head in split.heads], [head.target for head in whole.heads]
        )

    def test_next_waits_for_release(self) -> None:
        """A pipelined request is delivered when the one before it is released."""
        seen = Requests(release=False)
        seen.parser.feed(request(target=b"/1") + request(target=b"/2") + b"GET /3")
        self.assertEqual([head.target for head in seen.heads], [b"/1"])
        self.assertTrue(seen.parser.busy and seen.parser.queued)
        seen.parser.release()
        self.assertEqual([head.target for head in seen.heads], [b"/1", b"/2"])
        seen.parser.release()
        self.assertTrue(seen.parser.in_head)
        self.assertFalse(seen.parser.idle)
        self.assertTrue(seen.parser.eof())

    def test_error_waits_for_its_turn(self) -> None:
        """A fault behind a request is reported after that request was answered."""
        seen = Requests(release=False)
        seen.parser.feed(request() + b"GET / HTTP/9.9\r\n\r\n")
        self.assertEqual(seen.names(), ["request"])
        seen.parser.release()
        self.assertEqual(seen.calls[-1], ("error", 505))

    def test_many_pipelined_do_not_recurse(self) -> None:
        """Requests answered inside on_request do not nest."""
        seen = Requests()
        seen.parser.feed(request() * 5000)
        self.assertEqual(len(seen.heads), 5000)

    def test_early_release_discards_body(self) -> None:
        """The body of an answered request is read over up to its end."""
        for fields, body in (
            (b"Content-Length: 10\r\n", b"0123456789"),
            (_CHUNKED, b"5\r\nhello\r\n0\r\n\r\n"),
        ):
            seen = Requests(release=False)
            seen.parser.feed(request(fields, body[:4], method=b"POST"))
            self.assertTrue(seen.parser.body_pending)
            seen.parser.release()
            before = len(seen.calls)
            seen.parser.feed(body[4:] + request(target=b"/next"))
            self.assertEqual([call[2] for call in seen.calls[before:]], [b"/next"])
            self.assertFalse(seen.parser.body_pending)

    def test_held_input_is_bounded(self) -> None:
        """A client that pipelines without end is cut off, after its requests were answered."""
        seen = Requests(release=False)
        seen.parser.feed(request() + b"G" * MAX_HELD)
        seen.parser.feed(b"G" * MAX_HELD)
        seen.parser.feed(b"G" * MAX_HELD)
        self.assertEqual(seen.names(), ["request"])
        seen.parser.release()
        self.assertEqual(seen.names(), ["request", "error"])

    def test_held_input_overflows_once_released(self) -> None:
        """What was whole before the overflow is still delivered."""
        seen = Requests(release=False)
        one = request()
        seen.parser.feed(one + one * (MAX_HELD // len(one) + 1))
        seen.parser.feed(one)
        seen.release = True
        seen.parser.release()
        self.assertEqual(len(seen.heads), MAX_HELD // len(one) + 2)
        self.assertEqual(seen.names()[-1], "error")

    def test_upgrade_hands_over_what_follows(self) -> None:
        """Bytes behind an upgrade request are not read as HTTP unless it is released."""
        head = request(b"Upgrade: websocket\r\nConnection: Upgrade\r\n")
        taken = Requests(release=False)
        taken.parser.feed(head + b"\x81\x05hello")
        taken.parser.feed(b"more")
        self.assertEqual(taken.parser.take_upgrade(), b"\x81\x05hellomore")
        taken.parser.feed(request())
        self.assertEqual(len(taken.heads), 1)
        refused = Requests(release=False)
        refused.parser.feed(head + request(target=b"/next"))
        refused.parser.release()
        self.assertEqual(refused.heads[-1].target, b"/next")

    def test_upgrade_with_a_body_is_read(self) -> None:
        """An upgrade request's body is part of its message (RFC 9110 §7.8)."""
        seen = Requests()
        seen.parser.feed(
            request(b"Upgrade: x\r\nConnection: upgrade\r\nContent-Length: 3\r\n", b"abc")
        )
        self.assertEqual(seen.names(), ["request", "body", "end"])

    def test_connect_ends_the_connection(self) -> None:
        """What follows CONNECT is no HTTP, so the connection is not kept."""
        seen = Requests(release=False)
        seen.parser.feed(b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n")
        self.assertFalse(seen.heads[0].keep_alive)

    def test_names(self) -> None:
        """underscores_in_headers and ignore_invalid_headers decide on odd names."""
        data = request(b"A_b: 1\r\nC.d: 2\r\n")
        for limits, kept in (
            (RequestLimits(), [b"Host"]),
            (RequestLimits(underscores=True), [b"Host", b"A_b"]),
            (RequestLimits(ignore_invalid=False), [b"Host", b"A_b", b"C.d"]),
        ):
            seen = Requests(limits=limits)
            seen.parser.feed(data)
            self.assertEqual([name for name, _ in seen.heads[0].fields], kept)

    def test_same_section_same_fields(self) -> None:
        """A field section seen before gives equal fields, whatever the request line is."""
        seen = Requests()
        seen.parser.feed(request() + request(method=b"HEAD", version=b"1.0"))
        self.assertEqual(seen.heads[1].fields, seen.heads[0].fields)
        self.assertEqual([head.keep_alive for head in seen.heads], [True, False])

    def test_truncation(self) -> None:
        """The end of input within a message is told from the end between messages."""
        for data, truncated in (
            (b"", False),
            (request(), False),
            (b"GET", True),
            (request(b"Content-Length: 5\r\n", b"he", method=b"POST"), True),
        ):
            seen = Requests()
            seen.parser.feed(data)
            self.assertEqual(seen.parser.eof(), truncated, data)

    def test_absolute_form_replaces_host(self) -> None:
        """RFC 9112 §3.2.2: the authority of the target stands in for the received Host."""
        seen = Requests()
        seen.parser.feed(b"GET http://b:81/x HTTP/1.1\r\nHost: a\r\nA: 1\r\n\r\n")
        self.assertEqual(seen.heads[0].target, b"http://b:81/x")
        self.assertEqual(seen.heads[0].fields.pairs, [(b"Host", b"b:81"), (b"A", b"1")])


class KeptTests(SynchronousTestCase):
    """Field sections that come again."""

    def test_section_that_repeats_reads_the_same(self) -> None:
        """Whether read anew or kept; kept from the second time on."""
        limits = RequestLimits()
        section = b"Host: a\r\nX_y: z\r\nCookie: 1\r\n\r\n"
        found = [limits.facts(section) for _ in range(4)]
        self.assertEqual([facts.fields for facts in found], [found[0].fields] * 4)
        self.assertIsNot(found[0], found[1])
        self.assertIs(found[1], found[3])

    def test_made_up_sections_do_not_fill_memory(self) -> None:
        """One that came once is not kept; those kept are bounded."""
        limits = RequestLimits()
        for number in range(1500):
            section = b"Host: a\r\nCookie: %d\r\n\r\n" % number
            first = limits.facts(section)
            self.assertIsNot(limits.facts(section), first)
        early = b"Host: a\r\nCookie: 0\r\n\r\n"
        self.assertIsNot(limits.facts(early), limits.facts(early))


class LimitTests(SynchronousTestCase):
    def test_bounds_count(self) -> None:
        """A line as long as one large buffer passes, one byte more does not."""
        limits = RequestLimits(large_buffers=(2, 2048))
        for length, ok in ((2048, True), (2049, False)):
            seen = Requests(limits=limits)
            overhead = len(b"GET / HTTP/1.1")
            seen.parser.feed(request(target=b"/" + b"a" * (length - overhead)))
            self.assertEqual(seen.names(), ["request"] if ok else ["error"])

    def test_take_upgrade_never_loses_bytes(self) -> None:
        """An upgrade whose early bytes overflowed fails rather than skip some."""
        seen = Requests(release=False)
        seen.parser.feed(request() + b"x" * MAX_HELD + b"x")
        seen.parser.feed(b"y")
        self.assertRaises(ProtocolError, seen.parser.take_upgrade)
