"""gzip as a filter."""

from __future__ import annotations

import zlib

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.http.coding import Gzip


class GzipTests(SynchronousTestCase):
    @settings(max_examples=30, deadline=None)
    @given(st.lists(st.binary(max_size=200), max_size=5), st.integers(1, 9))
    def test_comes_back(self, pieces: list[bytes], level: int) -> None:
        """Any reader of gzip gets the body back, at every level (RFC 1952)."""
        gzip = Gzip(level)
        coded = b"".join(map(gzip.feed, pieces)) + gzip.finish()
        self.assertEqual(zlib.decompress(coded, 31), b"".join(pieces))

    def test_flush_delivers(self) -> None:
        """After a flush the client can decode all that was fed."""
        gzip, reader = Gzip(1), zlib.decompressobj(31)
        for piece in (b"one", b"two"):
            self.assertEqual(reader.decompress(gzip.feed(piece) + gzip.flush()), piece)
        reader.decompress(gzip.finish())
        self.assertTrue(reader.eof)

    def test_levels(self) -> None:
        """A higher level never packs worse by much; levels outside 1–9 are refused."""
        text = b"".join(b"<li class=row>%d %x</li>" % (n, n * n) for n in range(2000))
        sizes = []
        for level in range(1, 10):
            gzip = Gzip(level)
            sizes.append(len(gzip.feed(text) + gzip.finish()))
        self.assertLess(sizes[8], sizes[0])
        self.assertLess(sizes[0], len(text) // 3)
        for level in (0, 10):
            self.assertRaises(ValueError, Gzip, level)
