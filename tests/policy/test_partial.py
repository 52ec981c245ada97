"""``policy.partial``: which parts are stored, and what they answer."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.http.fields import Fields
from cacheproxy.http.messages import ResponseHead
from cacheproxy.policy.partial import (
    ASKED,
    Part,
    Slice,
    part_of,
    passes_range,
    plain_range,
    reuse_part,
)
from cacheproxy.policy.stored import StoredResponse
from tests.policy.builders import date, request, stored


def partial(value: bytes, status: int = 206, length: int = -1) -> ResponseHead:
    """A 206 with a Content-Range."""
    return ResponseHead(status, Fields([(b"Content-Range", value)]), body_length=length)


def part(value: bytes = b"bytes 4-9/10", length: int = 6, *more: tuple[bytes, bytes]) -> (
    StoredResponse
):
    """A stored part, which came for ``bytes=4-9``."""
    return stored(
        (b"Content-Range", value),
        *more,
        status=206,
        body_length=length,
        vary=((ASKED, b"bytes=4-9"),),
    )


class PartTests(SynchronousTestCase):
    """RFC 9110 §14.4."""

    def test_read(self) -> None:
        """One range of a known whole."""
        self.assertEqual(part_of(partial(b"bytes 0-4/10", length=5)), Part(0, 4, 10))
        self.assertEqual(part_of(partial(b" bytes 4-9/10")), Part(4, 9, 10))

    def test_contradictions(self) -> None:
        """What cannot be, or is not known, is no part."""
        for value in (
            b"bytes 4-3/10", b"bytes 4-10/10", b"bytes */10", b"bytes 0-4/*", b"lines 0-4/10",
            b"bytes 0-4", b"bytes=0-4/10", b"", b"bytes -1-4/10", b"bytes 0-" + b"9" * 30 + b"/1",
        ):  # fmt: skip
            self.assertIsNone(part_of(partial(value)), value)
        self.assertIsNone(part_of(partial(b"bytes 0-4/10", length=6)))
        self.assertIsNone(part_of(partial(b"bytes 0-4/10", status=200)))
        twice = Fields([(b"Content-Range", b"bytes 0-4/10"), (b"Content-Range", b"bytes 5-9/10")])
        self.assertIsNone(part_of(ResponseHead(206, twice)))

    @given(st.binary(max_size=40))
    def test_never_raises(self, value: bytes) -> None:
        """Whatever the origin sends."""
        part_of(partial(value))
        reuse_part(part(value), request((b"Range", value)))


class PassingTests(SynchronousTestCase):
    """``proxy_cache_max_range_offset``."""

    def test_plain(self) -> None:
        """One Range of a GET, no precondition but If-Range."""
        asked = (b"Range", b" bytes=0-1")
        self.assertEqual(plain_range(request(asked)), b"bytes=0-1")
        self.assertEqual(plain_range(request(asked, (b"If-Range", b'"a"'))), b"bytes=0-1")
        self.assertIsNone(plain_range(request()))
        self.assertIsNone(plain_range(request(asked, asked)))
        self.assertIsNone(plain_range(request(asked, method=b"HEAD")))
        self.assertIsNone(plain_range(request(asked, (b"If-None-Match", b'"a"'))))

    def test_without_the_directive(self) -> None:
        """Only the end is asked for alone."""
        self.assertTrue(passes_range(b"bytes=-5", None))
        for value in (b"bytes=0-1", b"bytes=999999-", b"lines=-5", b"bytes=", b"x"):
            self.assertFalse(passes_range(value, None), value)

    def test_with_the_directive(self) -> None:
        """nginx: what starts at the offset or beyond, and every range at the end."""
        self.assertTrue(passes_range(b"bytes=-5", 100))
        self.assertTrue(passes_range(b"bytes=100-", 100))
        self.assertFalse(passes_range(b"bytes=99-200", 100))
        self.assertTrue(passes_range(b"bytes=0-", 0))


class ReuseTests(SynchronousTestCase):
    """RFC 9111 §4: a part answers ranges within it."""

    def answer(self, value: bytes, kept: StoredResponse, *more: tuple[bytes, bytes]) -> (
        tuple[int, int, int] | None
    ):
        piece = reuse_part(kept, request((b"Range", value), *more))
        if piece is None:
            return None
        self.assertEqual(piece.total, 10)
        return piece.start, piece.stop, piece.first

    def test_within(self) -> None:
        """Cut at the right bytes."""
        for value, wanted in (
            (b"bytes=4-9", (0, 6, 4)),
            (b"bytes=6-8", (2, 5, 6)),
            (b"bytes=6-", (2, 6, 6)),
            (b"bytes=6-99", (2, 6, 6)),
            (b"bytes=-1", (5, 6, 9)),
            (b"bytes=-6", (0, 6, 4)),
        ):
            self.assertEqual(self.answer(value, part()), wanted, value)

    def test_beyond(self) -> None:
        """What is not all there is not answered."""
        for value in (b"bytes=3-5", b"bytes=0-", b"bytes=-7", b"bytes=10-", b"bytes=5-6,8-9", b"x"):
            self.assertIsNone(self.answer(value, part()), value)
        self.assertIsNone(self.answer(b"bytes=2-4", part(b"bytes 0-3/10", 4)))
        self.assertIsNone(reuse_part(part(), request()))

    def test_content_too_short(self) -> None:
        """The end is what is missing; the Range it came for gets what came."""
        kept = part(length=5)
        self.assertEqual(self.answer(b"bytes=4-9", kept), (0, 5, 4))
        self.assertEqual(self.answer(b"bytes=6-8", kept), (2, 5, 6))
        self.assertEqual(self.answer(b"bytes=6-", kept), (2, 5, 6))
        self.assertIsNone(self.answer(b"bytes=9-9", kept))

    def test_content_too_long(self) -> None:
        """Where it lies cannot be told."""
        self.assertIsNone(self.answer(b"bytes=4-9", part(length=7)))
        self.assertIsNone(self.answer(b"bytes=4-5", part(length=0)))

    def test_if_range(self) -> None:
        """A part of another representation is none (RFC 9110 §13.1.5)."""
        kept = part(b"bytes 4-9/10", 6, (b"ETag", b'"a"'), (b"Date", date()))
        self.assertIsNotNone(self.answer(b"bytes=5-6", kept, (b"If-Range", b'"a"')))
        self.assertIsNone(self.answer(b"bytes=5-6", kept, (b"If-Range", b'"b"')))

    @given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 9), st.integers(1, 10))
    def test_bytes_are_those_of_the_whole(
        self, start: int, stop: int, first: int, length: int
    ) -> None:
        """Every byte answered is the one at its place in the whole."""
        whole = b"0123456789"
        body = whole[first : first + length]
        value = b"bytes %d-%d/10" % (first, first + len(body) - 1)
        kept = part(value, len(body))
        piece = reuse_part(kept, request((b"Range", b"bytes=%d-%d" % (start, stop))))
        if piece is not None:
            self.assertIsInstance(piece, Slice)
            got = body[piece.start : piece.stop]
            self.assertEqual(got, whole[piece.first : piece.first + len(got)])
            if (start, stop) != (4, 9):
                self.assertEqual(got, whole[start : stop + 1])
