"""Heads, chunks and trailers as bytes."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.http.encode import (
    LAST_CHUNK,
    encode_chunk,
    encode_chunk_parts,
    encode_request_head,
    encode_response_head,
    encode_trailers,
)
from cacheproxy.http.fields import Fields
from tests.http.recording import Responses, response

_CHUNKED = b"Transfer-Encoding: chunked\r\n"


class EncoderTests(SynchronousTestCase):
    @settings(max_examples=100, deadline=None)
    @given(st.binary(max_size=8), st.binary(max_size=8))
    def test_no_splitting(self, name: bytes, value: bytes) -> None:
        """A field never breaks out of its line."""
        hostile = any(byte in name + value for byte in b"\r\n\0")
        try:
            head = encode_response_head(200, b"OK", [(name, value)])
        except ValueError:
            self.assertTrue(hostile)
        else:
            self.assertFalse(hostile)
            self.assertEqual(head.count(b"\r\n"), 3)

    def test_crlf_that_looks_like_a_line_end(self) -> None:
        """A CR and an LF in one value are refused even where counts could agree."""
        for pair in ((b"A", b"b\r\nC: d"), (b"A\r\nB", b"c"), (b"A", b"\0")):
            for encode in (
                lambda pair=pair: encode_response_head(200, b"OK", [pair]),
                lambda pair=pair: encode_request_head(b"GET", b"/", [pair]),
                lambda pair=pair: encode_trailers(Fields([pair])),
            ):
                self.assertRaises(ValueError, encode)

    def test_start_lines(self) -> None:
        """Neither start line can be broken."""
        self.assertRaises(ValueError, encode_request_head, b"GET", b"/ HTTP/1.1\r\n", [])
        self.assertRaises(ValueError, encode_request_head, b"GET", b"/a b", [])
        self.assertRaises(ValueError, encode_response_head, 200, b"O\nK", [])
        self.assertEqual(encode_request_head(b"GET", b"/", []), b"GET / HTTP/1.1\r\n\r\n")
        self.assertEqual(encode_response_head(200, b"OK", []), b"HTTP/1.1 200 OK\r\n\r\n")

    @settings(max_examples=50, deadline=None)
    @given(st.lists(st.binary(max_size=40), max_size=5))
    def test_chunks_come_back(self, pieces: list[bytes]) -> None:
        """What is encoded as chunks is decoded to the same bytes."""
        body = b"".join(map(encode_chunk, pieces)) + encode_trailers(Fields([(b"X", b"y")]))
        seen = Responses()
        seen.parser.feed(response(_CHUNKED, body))
        joined = b"".join(pieces)
        expected: list[tuple[object, ...]] = [("body", joined)] if joined else []
        self.assertEqual(seen.calls[1:], [*expected, ("end", ((b"X", b"y"),))])
        for piece in pieces:
            self.assertEqual(b"".join(encode_chunk_parts(piece)), encode_chunk(piece))
        self.assertEqual(encode_trailers(None), LAST_CHUNK)
