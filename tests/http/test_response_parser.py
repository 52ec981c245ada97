"""Responses: heads, bodies, persistence, line ends."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.http.recording import Responses, pieces, response

_CHUNKED = b"Transfer-Encoding: chunked\r\n"
_BODY = b"5;x=y\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 1\r\n\r\n"
_ANSWERS = (
    response(status=b"103 Early Hints") + response(b"Content-Length: 5\r\n", b"hello"),
    response(_CHUNKED, _BODY),
    response(b"Content-Length: 9\r\n"),
    response(b"Content-Length: 0\r\n", status=b"404"),
    response(b"", b"rest"),
)
_METHODS = (b"GET", b"GET", b"HEAD", b"GET", b"GET")

_cuts = st.lists(st.integers(0, 10**6), max_size=12)


class ResponseParserTests(SynchronousTestCase):
    def test_sequence(self) -> None:
        """Responses of every framing on one connection."""
        seen = Responses(_METHODS)
        for answer in _ANSWERS:
            seen.parser.feed(answer)
        self.assertEqual([head.body_length for head in seen.heads], [5, -1, 0, 0, -2])
        self.assertEqual([head.keep_alive for head in seen.heads], [True] * 4 + [False])
        self.assertTrue(seen.parser.busy)
        seen.parser.eof()
        self.assertEqual(seen.calls[-2:], [("body", b"rest"), ("end", ())])

    @settings(max_examples=60, deadline=None)
    @given(_cuts)
    def test_split_anywhere(self, cuts: list[int]) -> None:
        """How the bytes arrive does not change the calls."""
        whole, split = Responses(_METHODS), Responses(_METHODS)
        for answer in _ANSWERS:
            whole.parser.feed(answer)
            # Each by itself: what arrives before it is expected is excess.
            for piece in pieces(answer, cuts):
                split.parser.feed(piece)
        self.assertFalse(whole.parser.excess or split.parser.excess)
        self.assertEqual(split.calls, whole.calls)

    @settings(max_examples=100, deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 10**6), st.binary(max_size=3)), max_size=4))
    def test_mutated(self, changes: list[tuple[int, bytes]]) -> None:
        """No input raises; there is one error at most and nothing after it."""
        data = bytearray(response(_CHUNKED, _BODY))
        for place, value in changes:
            start = place % len(data)
            data[start : start + 2] = value or b"\n"
        seen = Responses()
        seen.parser.feed(bytes(data))
        seen.parser.eof()
        self.assertIn(seen.names()[-1], ("error", "end"))
        self.assertNotIn("error", seen.names()[:-1])

    def test_excess(self) -> None:
        """Bytes that belong to no response condemn the connection."""
        behind = Responses()
        behind.parser.feed(response(b"Content-Length: 1\r\n", b"ab"))
        self.assertEqual(behind.names(), ["response", "body", "end"])
        self.assertTrue(behind.parser.excess)
        unasked = Responses(())
        unasked.parser.feed(response())
        self.assertEqual(unasked.calls, [])
        self.assertTrue(unasked.parser.excess)

    def test_body_of_204(self) -> None:
        """204 ends with its head; one that announces a body is the connection's last."""
        seen = Responses()
        seen.parser.feed(response(b"Content-Length: 3\r\n", b"abc", status=b"204 No Content"))
        self.assertEqual(seen.names(), ["response", "end"])
        self.assertFalse(seen.heads[0].keep_alive)
        self.assertTrue(seen.parser.excess)

    def test_switching(self) -> None:
        """Behind a 101 nothing is parsed."""
        seen = Responses()
        seen.parser.feed(
            response(
                b"Upgrade: x\r\nConnection: upgrade\r\n",
                b"HTTP/1.1 ",
                status=b"101 Switching Protocols",
            )
        )
        seen.parser.feed(b"200")
        self.assertEqual(seen.names(), ["response"])
        self.assertEqual(seen.parser.take_upgrade(), b"HTTP/1.1 200")

    def test_closed_parser_is_silent(self) -> None:
        """Nothing is delivered after close."""
        seen = Responses()
        seen.parser.feed(response(b"Content-Length: 5\r\n", b"he"))
        seen.parser.close()
        seen.parser.feed(b"llo")
        seen.parser.eof()
        self.assertEqual(seen.names(), ["response", "body"])

    def test_persistence(self) -> None:
        """RFC 9112 §9.3."""
        for version, connection, kept in (
            (b"1.1", b"", True),
            (b"1.1", b"Connection: close\r\n", False),
            (b"1.0", b"", False),
            (b"1.0", b"Connection: Keep-Alive\r\n", True),
        ):
            seen = Responses()
            seen.parser.feed(
                b"HTTP/%b 200 OK\r\nContent-Length: 0\r\n%b\r\n" % (version, connection)
            )
            self.assertEqual(seen.heads[0].keep_alive, kept)


class KeptTests(SynchronousTestCase):
    """Heads and field sections that come again."""

    def test_same_head_for_another_method(self) -> None:
        """A kept head's framing holds for its own method only (RFC 9112 §6.3)."""
        answer = response(b"Content-Length: 5\r\n")
        seen = Responses((b"GET", b"GET", b"HEAD", b"HEAD", b"GET"))
        seen.parser.feed(answer + b"hello")
        seen.parser.feed(answer + b"again")
        seen.parser.feed(answer)
        seen.parser.feed(answer)
        seen.parser.feed(answer + b"third")
        self.assertEqual([head.body_length for head in seen.heads], [5, 5, 0, 0, 5])
        self.assertEqual([call for call in seen.calls if call[0] == "body"][-1], ("body", b"third"))
        self.assertFalse(seen.parser.excess)

    def test_refused_head_is_refused_again(self) -> None:
        """Nothing is kept of what was wrong."""
        for _ in range(3):
            seen = Responses()
            seen.parser.feed(response(b"Content-Length: 5\r\nContent-Length: 5\r\n"))
            self.assertEqual(seen.names(), ["error"])


class LineEndTests(SynchronousTestCase):
    """RFC 9112 §2.2: from an origin a bare LF ends a line as CRLF does."""

    HEAD = b"HTTP/1.1 200 OK~A: 1~B:  x y ~Content-Length: 3~~"

    @settings(max_examples=100, deadline=None)
    @given(st.lists(st.booleans(), min_size=5, max_size=5), _cuts)
    def test_any_mix_and_split_gives_the_same(self, bare: list[bool], cuts: list[int]) -> None:
        """The same calls as with CRLF, however the lines end and the bytes arrive."""
        data = self.HEAD
        for lf in bare:
            data = data.replace(b"~", b"\n" if lf else b"\r\n", 1)
        wanted = Responses()
        wanted.parser.feed(self.HEAD.replace(b"~", b"\r\n") + b"abc")
        seen = Responses()
        for piece in pieces(data + b"abc", cuts):
            seen.parser.feed(piece)
        self.assertEqual(seen.calls, wanted.calls)
        self.assertEqual(seen.names(), ["response", "body", "end"])
        self.assertEqual(
            seen.heads[0].fields.pairs, [(b"A", b"1"), (b"B", b"x y"), (b"Content-Length", b"3")]
        )

    def test_the_first_empty_line_ends_the_head(self) -> None:
        """What follows it is the body, though it may look like the end of a head itself."""
        for end in (b"\n\n", b"\r\n\n", b"\n\r\n", b"\r\n\r\n"):
            for body in (b"\n\r\n", b"\r\n\r\n", b"\n\n\n", b"A:b\r\n\r\n"):
                for step in (1, 100):
                    data = b"HTTP/1.1 200 OK\r\nContent-Length: %d" % len(body) + end + body
                    seen = Responses()
                    for at in range(0, len(data), step):
                        seen.parser.feed(data[at : at + step])
                    self.assertEqual(seen.names(), ["response", "body", "end"], data)
                    self.assertEqual(seen.calls[1], ("body", body))
                    self.assertFalse(seen.parser.excess)

    def test_interim_responses(self) -> None:
        """Their heads may end so too."""
        seen = Responses()
        seen.parser.feed(b"HTTP/1.1 103 Early Hints\nLink: x\n\nHTTP/1.1 204 No Content\n\n")
        self.assertEqual(seen.names(), ["informational", "response", "end"])

    def test_kept_head(self) -> None:
        """One that comes again is read as the first time."""
        seen = Responses((b"GET", b"GET"))
        for _ in range(2):
            seen.parser.feed(b"HTTP/1.1 200 OK\nContent-Length: 1\n\nx")
        self.assertIs(seen.heads[0], seen.heads[1])

    def test_a_cr_alone_is_refused(self) -> None:
        """Neither within a value nor before a line's end."""
        for line in (b"A: b\rc\n", b"A: b\r\r\n", b"A: b\r"):
            seen = Responses()
            seen.parser.feed(b"HTTP/1.1 200 OK\n" + line + b"Content-Length: 0\n\n")
            self.assertEqual(seen.names(), ["error"], line)

    def test_chunks_are_strict(self) -> None:
        """Where a chunk ends is nothing to be lax about."""
        for body in (b"3\nabc\r\n0\r\n\r\n", b"3\r\nabc\n0\r\n\r\n", b"0\n\n"):
            seen = Responses()
            seen.parser.feed(b"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n" + body)
            self.assertEqual(seen.names()[-1], "error", body)
