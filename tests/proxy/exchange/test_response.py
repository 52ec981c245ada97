"""One head, pieces of a body, one end: what a response lets happen, in which order."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

import zlib
from typing import Any, cast

from cacheproxy.http.coding import Gzip
from cacheproxy.proxy.exchange.response import Response, ResponseState
from tests.proxy.harness import BenchCase, response


class Downstream:
    """Keeps what it is sent."""

    def __init__(self) -> None:
        self.sent = b""

    def send_data(self, data: bytes) -> None:
        self.sent += data


class ResponseTests(BenchCase):
    """The response by itself."""

    def setUp(self) -> None:
        self.downstream = Downstream()
        self.response = Response(cast(Any, self.downstream))

    def test_second_head_is_refused(self) -> None:
        """A response has one head; a second one is a fault of the program."""
        self.response.begin_unsent(b"GET", 200)
        self.assertRaises(AssertionError, self.response.begin_unsent, b"GET", 200)

    def test_end_without_head_is_refused(self) -> None:
        """Nothing ends that has not begun, and nothing ends twice."""
        self.assertRaises(AssertionError, self.response.note_end)
        self.response.begin_unsent(b"GET", 200)
        self.response.note_end()
        self.assertRaises(AssertionError, self.response.note_end)

    def test_states(self) -> None:
        """What ``$request_completion`` tells."""
        self.assertIs(self.response.state, ResponseState.WAITING)
        self.response.begin_unsent(b"GET", 200)
        self.assertIs(self.response.state, ResponseState.BODY)
        self.assertFalse(self.response.ended)
        self.response.note_end()
        self.assertTrue(self.response.ended)

    def test_body_of_an_answer_without_one_is_dropped(self) -> None:
        """HEAD, 204 and 304 have no content, whatever their source sends."""
        for method, status in ((b"HEAD", 200), (b"GET", 204), (b"GET", 304)):
            one = Response(cast(Any, self.downstream))
            one.begin_unsent(method, status)
            one.send_body(b"x")
            self.assertEqual((self.downstream.sent, one.body_bytes_sent), (b"", 0))

    def test_compressed_body_counts_as_it_is_sent(self) -> None:
        """``$body_bytes_sent`` is what went out; ``$gzip_ratio`` needs both sizes."""
        one = self.response
        one.begin_unsent(b"GET", 200)
        one.gzip = Gzip(1)
        one.send_body(b"a" * 1000)
        one.flush_body()
        one.finish_body()
        self.assertEqual(zlib.decompress(self.downstream.sent, 31), b"a" * 1000)
        self.assertEqual(one.body_bytes_sent, len(self.downstream.sent))
        self.assertEqual((one.gzip_in, one.gzip_out), (1000, len(self.downstream.sent)))

    def test_override_holds_until_it_is_taken_back(self) -> None:
        """``error_page`` with a status of its own."""
        self.assertFalse(self.response.is_overridden)
        self.response.override_status(404)
        self.assertTrue(self.response.is_overridden)
        self.response.override_status(0)
        self.assertFalse(self.response.is_overridden)


class HeadTests(BenchCase):
    """What the head of a response says beside what it is begun with."""

    def test_overridden_status_drops_what_is_not_of_the_page(self) -> None:
        """The page of an error has no date of change of the resource."""
        bench = self.serve(
            "proxy_pass http://127.0.0.1:8000; proxy_intercept_errors on; error_page 500 /page;"
        )
        modified = b"Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT"
        self.origin.reply(response(500, b"origin's"), response(200, b"page", modified))
        found = bench.get(b"/x")
        self.assertEqual((found.status, found.body), (500, b"page"))
        self.assertIsNone(found.get(b"last-modified"))
