"""``policy.combining``: parts of one representation put together (RFC 9111 §3.4)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.http.fields import Fields
from cacheproxy.http.messages import ResponseHead
from cacheproxy.policy.combining import (
    COPY_LIMIT,
    Rest,
    combine,
    requested_span,
    rest_of,
    strong_tag,
)
from cacheproxy.policy.stored import StoredResponse
from tests.policy.builders import date, fields, request, stored

TAG = (b"ETag", b'"a"')


def part(first: int, last: int, total: int, *pairs: tuple[bytes, bytes]) -> StoredResponse:
    """A stored part with every byte."""
    described = (b"Content-Range", b"bytes %d-%d/%d" % (first, last, total))
    return stored(*(pairs or (TAG,)), described, status=206, body_length=last - first + 1)


def answer(
    first: int, last: int, total: int, *pairs: tuple[bytes, bytes], length: int | None = None
) -> ResponseHead:
    """The origin's 206."""
    described = (b"Content-Range", b"bytes %d-%d/%d" % (first, last, total))
    size = last - first + 1 if length is None else length
    return ResponseHead(206, Fields([*(pairs or (TAG,)), described]), body_length=size)


def missing(kept: StoredResponse, start: int, stop: int) -> Rest:
    """What is missing of [start, stop)."""
    rest = rest_of(kept, (start, stop))
    assert rest is not None
    return rest


class AskingTests(SynchronousTestCase):
    """What the origin is asked for."""

    def asked(self, kept: StoredResponse, start: int, stop: int) -> object:
        """The Range and If-Range for the rest."""
        rest = rest_of(kept, (start, stop))
        return None if rest is None else [value for _, value in rest.fields()]

    def test_rest(self) -> None:
        """One range, with the entity-tag that it must be of."""
        kept = part(4, 7, 10)
        self.assertEqual(self.asked(kept, 0, 6), [b"bytes=0-3", b'"a"'])
        self.assertEqual(self.asked(kept, 1, 8), [b"bytes=1-3", b'"a"'])
        self.assertEqual(self.asked(kept, 5, 9), [b"bytes=8-8", b'"a"'])
        self.assertEqual(self.asked(kept, 5, 10), [b"bytes=8-", b'"a"'])
        self.assertEqual(self.asked(part(0, 4, 10), 0, 10), [b"bytes=5-", b'"a"'])

    def test_neighbours(self) -> None:
        """Nothing that is stored is in the answer: it may be of another representation."""
        kept = part(4, 7, 10)
        self.assertEqual(self.asked(kept, 8, 10), [b"bytes=8-"])
        self.assertEqual(self.asked(kept, 2, 4), [b"bytes=2-3"])

    def test_no_one_rest(self) -> None:
        """Two ranges, none, or a hole."""
        kept = part(4, 7, 10)
        for wanted in ((0, 10), (4, 8), (5, 6), (9, 10), (0, 3)):
            self.assertIsNone(rest_of(kept, wanted), wanted)

    def test_only_with_a_strong_tag(self) -> None:
        """§3.4: a strong validator that both share."""
        for pairs in (
            ((b"Last-Modified", date(-900)),),
            ((b"ETag", b'W/"a"'),),
            ((b"ETag", b"a"),),
            ((b"ETag", b'"a'),),
            ((b"ETag", b'"a", "b"'),),
            (TAG, TAG),
        ):
            self.assertIsNone(rest_of(part(0, 4, 10, *pairs), (0, 10)), pairs)
        self.assertEqual(strong_tag(fields((b"ETag", b' "" '))), b'""')

    def test_only_with_every_byte(self) -> None:
        """A part that has lost its end is no part to build on."""
        kept = part(0, 4, 10)
        kept.body_length = 4
        self.assertIsNone(rest_of(kept, (0, 10)))
        self.assertIsNone(requested_span(request(), kept, whole=True))

    def test_wanted(self) -> None:
        """The range, or all where the origin would be asked for all."""
        kept = part(0, 4, 10)
        ranged = request((b"Range", b"bytes=3-6"))
        self.assertEqual(requested_span(ranged, kept, whole=False), (3, 7))
        self.assertEqual(requested_span(ranged, kept, whole=True), (0, 10))
        self.assertEqual(requested_span(request(), kept, whole=True), (0, 10))
        for pairs in (
            ((b"Range", b"bytes=0-1,3-4"),),
            ((b"Range", b"bytes=10-"),),
            ((b"Range", b"lines=1-2"),),
            ((b"Range", b"bytes=3-6"), (b"If-Range", b'"b"')),
            ((b"Range", b"bytes=3-6"), (b"If-Range", b'W/"a"')),
            ((b"Range", b"bytes=3-6"), (b"Range", b"bytes=3-7")),
        ):
            self.assertIsNone(requested_span(request(*pairs), kept, whole=True), pairs)


class CombiningTests(SynchronousTestCase):
    """What becomes of the answer."""

    def test_whole(self) -> None:
        """The union is everything: a 200, with the newer fields (§3.4)."""
        kept = part(0, 4, 10, TAG, (b"X-A", b"1"), (b"X-B", b"1"))
        new = answer(5, 9, 10, TAG, (b"X-A", b"2"), (b"Set-Cookie", b"c=1"), (b"Age", b"3"))
        union = combine(kept, missing(kept, 0, 10), new)
        assert union is not None
        head = union.head
        self.assertEqual((head.status, head.body_length), (200, 10))
        self.assertEqual((union.before, union.length, union.after), ((0, 5), 5, (0, 0)))
        self.assertEqual(head.fields.get_all(b"x-a"), [b"2"])
        self.assertEqual(head.fields.get_all(b"x-b"), [b"1"])
        self.assertNotIn(b"content-range", head.fields)
        # They count in the decision about storing, and for the client.
        self.assertEqual(head.fields.get_all(b"set-cookie"), [b"c=1"])
        self.assertEqual(head.fields.get_all(b"age"), [b"3"])

    def test_larger_part(self) -> None:
        """The union is less than everything: a 206 that says what it is."""
        kept = part(4, 7, 10)
        union = combine(kept, missing(kept, 2, 6), answer(2, 3, 10))
        assert union is not None
        self.assertEqual(union.head.fields.get_all(b"content-range"), [b"bytes 2-7/10"])
        self.assertEqual((union.head.status, union.head.body_length), (206, 6))
        self.assertEqual((union.before, union.length, union.after), ((0, 0), 2, (0, 4)))

    def test_strict(self) -> None:
        """Whatever does not fit exactly is not combined."""
        kept = part(0, 4, 10, TAG, (b"Content-Type", b"a/b"))
        rest = missing(kept, 0, 10)
        other = ResponseHead(200, fields(TAG), body_length=10)
        for head in (
            other,
            answer(5, 9, 11),
            answer(5, 8, 10),
            answer(6, 9, 10),
            answer(4, 9, 10),
            answer(5, 9, 10, length=4),
            answer(5, 9, 10, length=6),
            answer(5, 9, 10, (b"ETag", b'"b"')),
            answer(5, 9, 10, (b"ETag", b'W/"a"')),
            answer(5, 9, 10, (b"Last-Modified", date(-900))),
            answer(5, 9, 10, TAG, (b"ETag", b'"b"')),
            answer(5, 9, 10, TAG, (b"Content-Type", b"multipart/byteranges; boundary=x")),
            answer(5, 9, 10, TAG, (b"Content-Encoding", b"gzip")),
            answer(5, 9, 10, TAG, (b"Vary", b"X")),
            answer(5, 9, 10, TAG, (b"Content-Range", b"bytes 5-9/10")),
        ):
            self.assertIsNone(combine(kept, rest, head), head.fields.pairs)
        self.assertIsNotNone(combine(kept, rest, answer(5, 9, 10)))
        unknown = answer(5, 9, 10, length=ResponseHead.CHUNKED)
        self.assertIsNotNone(combine(kept, rest, unknown))

    def test_bounded_copy(self) -> None:
        """What no client asks for is copied up to a limit."""
        size = 10 * COPY_LIMIT
        kept = part(0, size - 1, 3 * size)
        union = combine(kept, missing(kept, size, size + 10), answer(size, size + 9, 3 * size))
        assert union is not None
        self.assertEqual(union.before, (size - COPY_LIMIT, size))
        self.assertEqual(union.start, size - COPY_LIMIT)
        kept = part(size, 2 * size - 1, 3 * size)
        union = combine(kept, missing(kept, size - 5, size), answer(size - 5, size - 1, 3 * size))
        assert union is not None
        self.assertEqual(union.after, (0, COPY_LIMIT))

    @given(st.data())
    def test_bytes_are_those_of_the_whole(self, data: st.DataObject) -> None:
        """For any part and any range: what is fed in order is the whole's own bytes."""
        total = data.draw(st.integers(1, 40))
        whole = bytes(range(total))
        first = data.draw(st.integers(0, total - 1))
        last = data.draw(st.integers(first, total - 1))
        start = data.draw(st.integers(0, total - 1))
        stop = data.draw(st.integers(start + 1, total))
        kept = part(first, last, total)
        rest = rest_of(kept, (start, stop))
        if rest is None:
            return
        union = combine(kept, rest, answer(rest.first, rest.last, total))
        assert union is not None
        body = whole[first : last + 1]
        fed = body[slice(*union.before)] + whole[rest.first : rest.last + 1]
        fed += body[slice(*union.after)]
        self.assertEqual(fed, whole[union.start : union.stop])
        self.assertEqual(union.length, rest.last - rest.first + 1)
        self.assertLessEqual(union.start, start)
        self.assertGreaterEqual(union.stop, stop)
        self.assertEqual(union.head.status == 200, len(fed) == total)
