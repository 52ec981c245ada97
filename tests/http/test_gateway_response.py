"""Responses of gateway protocols."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.errors import ProtocolError
from cacheproxy.http.fields import Fields
from cacheproxy.http.gateway_response import GatewayResponseParser
from cacheproxy.http.messages import ResponseHead


class Recorder:
    """A sink that keeps what it is told."""

    def __init__(self, method: bytes = b"GET", max_head: int = 65536) -> None:
        self.head: ResponseHead | None = None
        self.body = b""
        self.ended = 0
        self.errors: list[str] = []
        self.parser = GatewayResponseParser(self, max_head)
        self.parser.expect(method)

    def on_informational(self, head: ResponseHead) -> None:
        raise AssertionError(head)

    def on_response(self, head: ResponseHead) -> None:
        assert self.head is None
        self.head = head

    def on_response_body(self, data: bytes) -> None:
        assert data and not self.ended
        self.body += data

    def on_response_end(self, trailers: Fields | None) -> None:
        assert trailers is None
        self.ended += 1

    def on_response_error(self, error: ProtocolError) -> None:
        self.errors.append(error.message)

    @property
    def seen(self) -> object:
        """All of it, to be compared."""
        head = self.head
        shown = None
        if head is not None:
            shown = (head.status, head.reason, head.fields.pairs, head.body_length)
        return shown, self.body, self.ended, self.errors, self.parser.excess


def read(data: bytes, method: bytes = b"GET", eof: bool = True) -> Recorder:
    """What a parser makes of *data*, and of the connection's end."""
    recorder = Recorder(method)
    recorder.parser.feed(data)
    if eof:
        recorder.parser.eof()
    return recorder


class StatusTests(SynchronousTestCase):
    """Where the status comes from."""

    def check(self, head: bytes, status: int, reason: bytes) -> None:
        """*head* says *status*, with CRLF and with LF alone."""
        for text in (head, head.replace(b"\r\n", b"\n")):
            recorder = read(text + b"body")
            assert recorder.head is not None, recorder.errors
            self.assertEqual((recorder.head.status, recorder.head.reason), (status, reason))
            self.assertEqual((recorder.body, recorder.ended), (b"body", 1))
            self.assertFalse(recorder.head.keep_alive)

    def test_status_line(self) -> None:
        """What uWSGI sends; whatever its version."""
        self.check(b"HTTP/1.1 201 Made\r\nA: b\r\n\r\n", 201, b"Made")
        self.check(b"HTTP/1.0 404 Not here\r\n\r\n", 404, b"Not here")
        self.check(b"HTTP/1.1 503\r\n\r\n", 503, b"Service Temporarily Unavailable")

    def test_status_field(self) -> None:
        """CGI's way, with and without a reason."""
        self.check(b"Status: 403 No\r\nA: b\r\n\r\n", 403, b"No")
        self.check(b"A: b\r\nstatus: 404\r\n\r\n", 404, b"Not Found")

    def test_status_line_goes_before_the_field(self) -> None:
        """nginx looks at ``Status`` only where there is no status line."""
        self.check(b"HTTP/1.1 200 OK\r\nStatus: 500 No\r\n\r\n", 200, b"OK")

    def test_no_status_at_all(self) -> None:
        """302 where there is a Location, else 200; fields may be missing altogether."""
        self.check(b"Location: /x\r\n\r\n", 302, b"Moved Temporarily")
        self.check(b"Content-Type: text/html\r\n\r\n", 200, b"OK")
        self.check(b"\r\n", 200, b"OK")

    def test_refused(self) -> None:
        """What is no head at all, or says no final status."""
        for head in (
            b"HTTP/1.1 2xx Odd\r\n\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\n",
            b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n",
            b"Status: none\r\n\r\n",
            b"Status: 20\r\n\r\n",
            b"no colon\r\n\r\n",
            b"\x00\x01\x02\x03\r\n\r\n",
            b"A: b\rC: d\r\n\r\n",
            b"A : b\r\n\r\n",
            b" folded\r\nA: b\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        ):
            recorder = read(head + b"x")
            self.assertIsNone(recorder.head, head)
            self.assertEqual(len(recorder.errors), 1, head)
            self.assertEqual((recorder.body, recorder.ended), (b"", 0))


class BodyTests(SynchronousTestCase):
    """Where the body ends."""

    def test_content_length(self) -> None:
        """The response ends there, and what follows is excess."""
        recorder = read(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcdef", eof=False)
        self.assertEqual((recorder.body, recorder.ended), (b"abc", 1))
        self.assertTrue(recorder.parser.excess)

    def test_truncated(self) -> None:
        """The connection's end before Content-Length is an error, so the client can tell."""
        recorder = read(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
        self.assertEqual((recorder.body, recorder.ended), (b"abc", 0))
        self.assertEqual(recorder.errors, ["upstream prematurely closed connection"])

    def test_end_within_the_head(self) -> None:
        """Likewise."""
        for data in (b"", b"HTTP/1.1 200 OK\r\nA: b\r\n"):
            self.assertEqual(read(data).errors, ["upstream prematurely closed connection"])

    def test_until_close(self) -> None:
        """Without Content-Length the connection's end is the body's."""
        recorder = read(b"\n", eof=False)
        self.assertEqual(recorder.ended, 0)
        recorder.parser.feed(b"a")
        recorder.parser.eof()
        self.assertEqual((recorder.body, recorder.ended), (b"a", 1))

    def test_no_body(self) -> None:
        """204, 304 and what answers HEAD have none, whatever they declare."""
        head = b"HTTP/1.1 %d X\r\nContent-Length: 5\r\n\r\n"
        for data, method in ((head % 204, b"GET"), (head % 304, b"GET"), (head % 200, b"HEAD")):
            recorder = read(data + b"abcde", method, eof=False)
            self.assertEqual((recorder.body, recorder.ended), (b"", 1))
            self.assertTrue(recorder.parser.excess)

    def test_chunks_are_not_decoded(self) -> None:
        """As in nginx: the protocol has no transfer codings."""
        recorder = read(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
        assert recorder.head is not None
        self.assertEqual(recorder.body, b"1\r\na\r\n")
        self.assertNotIn(b"transfer-encoding", recorder.head.fields)


class BoundTests(SynchronousTestCase):
    """What a hostile upstream may cost."""

    def test_head_is_bounded(self) -> None:
        """However it comes."""
        for piece in (b"A: " + b"x" * 100, b"A: b\r\n" * 20):
            recorder = Recorder(max_head=100)
            for at in range(len(piece)):
                recorder.parser.feed(piece[at : at + 1])
            self.assertEqual(recorder.errors, ["head too large"])

    def test_field_lines_are_bounded(self) -> None:
        """Small lines count as well."""
        recorder = read(b"A: b\r\n" * 1001 + b"\r\n")
        self.assertEqual(recorder.errors, ["too many field lines"])

    @given(
        st.sampled_from(
            [
                b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nA: b\r\n\r\nbody and more",
                b"Status: 404 No\nA: b\n\nbody",
                b"\r\nbody",
                b"HTTP/1.1 2",
                b"A: b\n\r\nbody",
            ]
        ),
        st.lists(st.integers(0, 60)),
    )
    def test_split_anywhere(self, data: bytes, cuts: list[int]) -> None:
        """The pieces in which a response comes make no difference."""
        split = Recorder()
        edges = [0, *sorted(cut for cut in cuts if cut <= len(data)), len(data)]
        for start, stop in pairwise(edges):
            split.parser.feed(data[start:stop])
        split.parser.eof()
        self.assertEqual(split.seen, read(data).seen)

    @given(st.binary(max_size=200))
    def test_never_raises(self, data: bytes) -> None:
        """Garbage ends in one error or one response."""
        recorder = read(data)
        self.assertEqual(len(recorder.errors) + recorder.ended, 1)
