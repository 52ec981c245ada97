"""``policy.ranges``: which bytes are wanted, and how several parts are laid out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.policy.ranges import (
    MAX_RANGES,
    Ranges,
    Unsatisfiable,
    Whole,
    WholeReason,
    content_range,
    decide_ranges,
    multipart,
)


class DecideTests(SynchronousTestCase):
    """RFC 9110 §14.1.1, §14.2, and nginx's range filter."""

    def assert_ranges(self, value: bytes, *ranges: tuple[int, int], length: int = 100) -> None:
        """*value* asks for *ranges* of *length* bytes."""
        decision = decide_ranges(value, length, None)
        self.assertIsInstance(decision, Ranges, value)
        assert isinstance(decision, Ranges)
        self.assertEqual(decision.ranges, list(ranges), value)

    def assert_whole(
        self, value: bytes | None, reason: WholeReason, limit: int | None = None
    ) -> None:
        """*value* is ignored."""
        decision = decide_ranges(value, 100, limit)
        self.assertIsInstance(decision, Whole, value)
        assert isinstance(decision, Whole)
        self.assertIs(decision.reason, reason)

    def test_forms(self) -> None:
        """First-last, open end, suffix; clamped to what there is."""
        self.assert_ranges(b"bytes=0-0", (0, 1))
        self.assert_ranges(b"bytes=0-99", (0, 100))
        self.assert_ranges(b"bytes=10-", (10, 100))
        self.assert_ranges(b"bytes=-5", (95, 100))
        self.assert_ranges(b"bytes=-500", (0, 100))
        self.assert_ranges(b"bytes=90-500", (90, 100))
        self.assert_ranges(b"BYTES= 1 - 2 , 5-6", (1, 3), (5, 7))
        self.assert_ranges(b"bytes=1-2,,5-6,", (1, 3), (5, 7))
        self.assert_ranges(b"bytes=0-" + b"9" * 60, (0, 100))
        self.assert_ranges(b"bytes=-" + b"9" * 60, (0, 100))

    def test_unsatisfiable_ones_among_others_are_left_out(self) -> None:
        """One satisfiable range is enough (§14.1.2)."""
        self.assert_ranges(b"bytes=200-300,0-1,-0,5-4", (0, 2))

    def test_unsatisfiable(self) -> None:
        """416 with the length (§15.5.17)."""
        for value in (
            b"bytes=100-",
            b"bytes=-0",
            b"bytes=100-200,300-",
            b"bytes=" + b"9" * 60 + b"-",
        ):
            decision = decide_ranges(value, 100, None)
            self.assertIsInstance(decision, Unsatisfiable, value)
            assert isinstance(decision, Unsatisfiable)
            self.assertEqual(decision.content_range, b"bytes */100")
        empty = decide_ranges(b"bytes=0-", 0, None)
        assert isinstance(empty, Whole)
        self.assertIs(empty.reason, WholeReason.EMPTY)

    def test_malformed(self) -> None:
        """416, as in nginx."""
        for value in (
            b"bytes=a",
            b"bytes=5-4",
            b"bytes=-",
            b"bytes=1-2;3",
            b"bytes=+1-2",
            b"bytes=1--2",
        ):
            self.assertIsInstance(decide_ranges(value, 100, None), Unsatisfiable, value)

    def test_ignored(self) -> None:
        """No Range, another unit, ranges switched off."""
        self.assert_whole(None, WholeReason.NO_RANGE)
        self.assert_whole(b"items=0-1", WholeReason.OTHER_UNIT)
        self.assert_whole(b"bytes 0-1", WholeReason.OTHER_UNIT)
        self.assert_whole(b"bytes=", WholeReason.OTHER_UNIT)
        self.assert_whole(b"bytes=0-1", WholeReason.DISABLED, 0)

    def test_limits(self) -> None:
        """``max_ranges``, its default, and never more bytes than the whole."""
        self.assertIsInstance(decide_ranges(b"bytes=0-0,2-2", 100, 2), Ranges)
        self.assert_whole(b"bytes=0-0,2-2,4-4", WholeReason.TOO_MANY, 2)
        self.assert_whole(b"bytes=0-,0-", WholeReason.TOO_MUCH)
        many = b"bytes=" + b",".join(b"%d-%d" % (n, n) for n in range(0, 4 * MAX_RANGES, 2))
        self.assertIsInstance(decide_ranges(many, 10_000, None), Whole)

    @given(
        st.one_of(st.binary(max_size=40), st.from_regex(rb"bytes=[0-9, -]{0,30}", fullmatch=True)),
        st.integers(0, 200),
    )
    def test_result_is_always_inside(self, value: bytes, length: int) -> None:
        """Whatever is asked, ranges are not empty, inside, and no more than everything."""
        decision = decide_ranges(value, length, None)
        if isinstance(decision, Ranges):
            for start, stop in decision.ranges:
                self.assertTrue(0 <= start < stop <= length)
            self.assertLessEqual(sum(b - a for a, b in decision.ranges), length)


class MultipartTests(SynchronousTestCase):
    """RFC 9110 §14.6."""

    def test_layout(self) -> None:
        """Heads, parts and trailer make up exactly the announced length."""
        body = bytes(range(100))
        plan = multipart([(0, 2), (50, 60)], 100, b"text/plain", b"b0")
        whole = b"".join(
            head + body[start:stop]
            for head, (start, stop) in zip(plan.heads, plan.ranges, strict=True)
        )
        whole += plan.trailer
        self.assertEqual(len(whole), plan.content_length)
        self.assertEqual(plan.content_type, b"multipart/byteranges; boundary=b0")
        self.assertTrue(
            whole.startswith(
                b"\r\n--b0\r\nContent-Type: text/plain\r\n"
                b"Content-Range: bytes 0-1/100\r\n\r\n\x00\x01"
            )
        )
        self.assertTrue(whole.endswith(b"\r\n--b0--\r\n"))

    def test_without_content_type(self) -> None:
        """Parts then have Content-Range alone."""
        plan = multipart([(0, 1), (2, 3)], 5, None, b"b")
        self.assertNotIn(b"Content-Type", plan.heads[0])
        self.assertEqual(content_range(0, 1, 5), b"bytes 0-0/5")
