"""The chunked coding, decoded."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.errors import ProtocolError
from cacheproxy.http.chunked import MAX_OVERHEAD, ChunkedDecoder


class ChunkedDecoderTests(SynchronousTestCase):
    def test_byte_by_byte(self) -> None:
        """Any split gives the same body, trailers and rest (RFC 9112 §7.1)."""
        data = b"3 ;a=b\r\nabc\r\nA\r\n0123456789\r\n00\r\nX: y\r\n\r\nrest"
        for step in (1, 2, 5, len(data)):
            decoder = ChunkedDecoder()
            body = b""
            start = 0
            while not decoder.done:
                body += decoder.feed(data[start : start + step])
                start += step
            self.assertEqual(body, b"abc0123456789")
            self.assertEqual(decoder.rest + data[start:], b"rest")
            assert decoder.trailers is not None
            self.assertEqual(decoder.trailers.pairs, [(b"X", b"y")])

    def test_framing_fields_do_not_arrive_late(self) -> None:
        """Trailers never carry framing or routing (RFC 9110 §6.5.1)."""
        decoder = ChunkedDecoder()
        decoder.feed(b"0\r\nHost: b\r\nContent-Length: 3\r\nTrailer: X\r\n\r\n")
        self.assertTrue(decoder.done)
        self.assertIsNone(decoder.trailers)

    def test_extensions_are_bounded(self) -> None:
        """Extensions of many small chunks add up to an error; those of large ones do not."""
        decoder = ChunkedDecoder()
        chunk = b"1;" + b"e" * 1000 + b"\r\nx\r\n"
        self.assertEqual(decoder.feed(chunk), b"x")
        self.assertRaises(ProtocolError, decoder.feed, chunk * (MAX_OVERHEAD // 1000 + 2))
        decoder = ChunkedDecoder()
        chunk = b"400;" + b"e" * 1000 + b"\r\n" + bytes(1024) + b"\r\n"
        self.assertEqual(len(decoder.feed(chunk * 100)), 102_400)
        decoder = ChunkedDecoder()
        self.assertEqual(len(decoder.feed(b"1\r\nx\r\n" * 50_000)), 50_000)
