"""Which slice comes first, and which response is the slice that was asked for."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.http.fields import Fields
from cacheproxy.policy.slices import (
    MisfitSlice,
    SlicePart,
    first_slice,
    judge_slice,
    slice_range,
)

KNOWN = SlicePart(0, 10, 25, b'"a"', None)


def fields(*pairs: tuple[bytes, bytes]) -> Fields:
    return Fields(pairs)


class FirstSliceTests(SynchronousTestCase):
    """Where nginx starts (``ngx_http_slice_get_start``)."""

    def test_start(self) -> None:
        """Down to a multiple of the size; 0 where the start is not known or not sure."""
        for value, start in (
            (b"bytes=0-", 0),
            (b"bytes=9-20", 0),
            (b"bytes=10-10", 10),
            (b"BYTES=25-", 20),
            (b"bytes= 25-", 20),
            (b"bytes=-25", 0),
            (b"bytes=25-26,30-31", 0),
            (b"lines=25-26", 0),
            (b"bytes=x", 0),
            (b"bytes=9223372036854775807-", 9223372036854775800),
            (b"bytes=9223372036854775808-", 0),
            (b"bytes=99999999999999999999-", 0),
        ):
            self.assertEqual(first_slice(fields((b"Range", value)), 10), start, value)
        self.assertEqual(first_slice(fields(), 10), 0)
        self.assertEqual(
            first_slice(fields((b"Range", b"bytes=25-"), (b"If-Range", b'"a"')), 10), 0
        )

    def test_range(self) -> None:
        """The last position is counted in."""
        self.assertEqual(slice_range(20, 10), b"bytes=20-29")


class JudgeTests(SynchronousTestCase):
    """RFC 9110 §14.4, §15.3.7; ``ngx_http_slice_header_filter``."""

    def judge(
        self, described: bytes, *more: tuple[bytes, bytes], known: SlicePart | None = KNOWN,
        status: int = 206,
    ) -> SlicePart | str:
        found = judge_slice(status, fields((b"Content-Range", described), *more), 10, 10, known)
        return found.reason if isinstance(found, MisfitSlice) else found

    def test_fits(self) -> None:
        """The slice, or what is left at the end."""
        tag = (b"ETag", b'"a"')
        self.assertEqual(self.judge(b"bytes 10-19/25", tag), SlicePart(10, 20, 25, b'"a"', None))
        found = judge_slice(206, fields((b"Content-Range", b"bytes 20-24/25"), tag), 20, 10, KNOWN)
        self.assertEqual(found, SlicePart(20, 25, 25, b'"a"', None))
        self.assertEqual(
            self.judge(b"bytes  10 - 19 / 25 ", known=None), SlicePart(10, 20, 25, None, None)
        )

    def test_does_not_fit(self) -> None:
        """nginx's words, and two of ours."""
        tag = (b"ETag", b'"a"')
        for described, reason in (
            (b"bytes 10-18/25", "unexpected range in slice response: 10-19, expected: 10-20"),
            (b"bytes 11-20/25", "unexpected range in slice response: 11-21, expected: 10-20"),
            (b"bytes 10-9/10", "unexpected range in slice response: 10-10, expected: 10-10"),
            (b"bytes 10-19/*", "no complete length in slice response"),
            (b"bytes 10-19/26", "unexpected complete length in slice response: 26, expected: 25"),
            (b"bytes */25", "invalid range in slice response"),
            (b"bytes 10-19/25x", "invalid range in slice response"),
            (b"bytes=10-19/25", "invalid range in slice response"),
            (b"bytes 10-19/99999999999999999999", "invalid range in slice response"),
        ):
            self.assertEqual(self.judge(described, tag), reason)
        self.assertEqual(
            self.judge(b"bytes 10-19/25", tag, (b"Content-Range", b"bytes 10-19/25")),
            "invalid range in slice response",
        )

    def test_version(self) -> None:
        """The same tag, and without one the same Last-Modified; a tag may come later."""
        good = b"bytes 10-19/25"
        self.assertEqual(self.judge(good), "etag mismatch in slice response")
        self.assertEqual(self.judge(good, (b"ETag", b'"b"')), "etag mismatch in slice response")
        dated = SlicePart(0, 10, 25, None, b"then")
        self.assertEqual(
            self.judge(good, (b"Last-Modified", b"now"), known=dated),
            "last modified mismatch in slice response",
        )
        found = self.judge(good, (b"Last-Modified", b"then"), (b"ETag", b'"b"'), known=dated)
        self.assertEqual(found, SlicePart(10, 20, 25, b'"b"', b"then"))

    def test_status(self) -> None:
        """A server error says nothing of the version."""
        for status, outdated in ((200, True), (404, True), (416, True), (503, False)):
            found = judge_slice(status, fields(), 10, 10, KNOWN)
            assert isinstance(found, MisfitSlice)
            self.assertEqual(
                found.reason, f"unexpected status code {status} in slice response"
            )
            self.assertEqual(found.outdated, outdated)
