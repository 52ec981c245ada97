"""``policy.conditional``: the client's preconditions."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.policy.conditional import (
    Precondition,
    evaluate_preconditions,
    if_range_holds,
    strong_match,
    weak_match,
)
from tests.policy.builders import NOW, date, fields, request

PROCEED = Precondition.PROCEED
NOT_MODIFIED = Precondition.NOT_MODIFIED
FAILED = Precondition.PRECONDITION_FAILED

ETAG = (b"ETag", b'"a"')
MODIFIED = (b"Last-Modified", date(-100))


def evaluate(
    *asked: tuple[bytes, bytes],
    have: tuple[tuple[bytes, bytes], ...] = (ETAG, MODIFIED),
    method: bytes = b"GET",
    status: int = 200,
    **others: Any,
) -> Precondition:
    """The outcome for a request with the field lines *asked*."""
    return evaluate_preconditions(request(*asked, method=method), status, fields(*have), **others)


class PreconditionTests(SynchronousTestCase):
    """RFC 9110 §13.1, §13.2."""

    def test_if_none_match(self) -> None:
        """Weak comparison, lists, ``*``; without an ETag only ``*`` matches (§13.1.2)."""
        for value in (b'"a"', b'W/"a"', b'"x", "a" ,"y"', b'"x",W/"a"', b"*"):
            self.assertIs(evaluate((b"If-None-Match", value)), NOT_MODIFIED, value)
        for value in (b'"b"', b'"A"', b"", b'"a', b'"x, a"'):
            self.assertIs(evaluate((b"If-None-Match", value)), PROCEED, value)
        lines = ((b"If-None-Match", b'"x"'), (b"If-None-Match", b'"a"'))
        self.assertIs(evaluate(*lines), NOT_MODIFIED)
        self.assertIs(evaluate((b"If-None-Match", b'"a"'), have=(MODIFIED,)), PROCEED)

    def test_if_none_match_of_an_unsafe_method(self) -> None:
        """412 where it is not a read (§13.1.2)."""
        self.assertIs(evaluate((b"If-None-Match", b"*"), method=b"PUT"), FAILED)
        self.assertIs(evaluate((b"If-None-Match", b"*"), method=b"HEAD"), NOT_MODIFIED)

    def test_if_none_match_voids_if_modified_since(self) -> None:
        """Whatever the dates say (§13.2.2)."""
        self.assertIs(
            evaluate((b"If-None-Match", b'"b"'), (b"If-Modified-Since", date(-100))), PROCEED
        )
        self.assertIs(
            evaluate((b"If-None-Match", b'"a"'), (b"If-Modified-Since", date(-500))), NOT_MODIFIED
        )

    def test_if_modified_since(self) -> None:
        """``exact``, ``before`` and ``off`` of nginx; no date is no condition (§13.1.3)."""
        same, later, earlier = date(-100), date(-50), date(-200)
        name = b"If-Modified-Since"
        for mode, outcomes in (
            ("exact", (NOT_MODIFIED, PROCEED, PROCEED)),
            ("before", (NOT_MODIFIED, NOT_MODIFIED, PROCEED)),
            ("off", (PROCEED, PROCEED, PROCEED)),
        ):
            found = tuple(
                evaluate((name, value), if_modified_since=mode) for value in (same, later, earlier)
            )
            self.assertEqual(found, outcomes, mode)
        self.assertIs(evaluate((name, b"yesterday"), if_modified_since="before"), PROCEED)
        self.assertIs(evaluate((name, same), method=b"POST"), PROCEED)

    def test_without_last_modified(self) -> None:
        """A stored response has Date, or its time of receipt, to go by (RFC 9111 §4.3.2)."""
        later = (b"If-Modified-Since", date(10))
        self.assertIs(evaluate(later, have=()), PROCEED)
        self.assertIs(evaluate(later, have=(), received=NOW), NOT_MODIFIED)
        self.assertIs(evaluate(later, have=((b"Date", date(20)),), received=NOW), PROCEED)

    def test_if_match(self) -> None:
        """Strong comparison; it voids If-Unmodified-Since (§13.1.1)."""
        self.assertIs(evaluate((b"If-Match", b'"x", "a"')), PROCEED)
        self.assertIs(evaluate((b"If-Match", b"*")), PROCEED)
        self.assertIs(evaluate((b"If-Match", b'W/"a"')), FAILED)
        weak = ((b"ETag", b'W/"a"'),)
        self.assertIs(evaluate((b"If-Match", b'W/"a"'), have=weak), FAILED)
        self.assertIs(
            evaluate((b"If-Match", b'"a"'), (b"If-Unmodified-Since", date(-500))), PROCEED
        )

    def test_if_unmodified_since(self) -> None:
        """Not later than the date; no date is no condition (§13.1.4)."""
        name = b"If-Unmodified-Since"
        self.assertIs(evaluate((name, date(-100))), PROCEED)
        self.assertIs(evaluate((name, date(-101))), FAILED)
        self.assertIs(evaluate((name, b"x")), PROCEED)
        self.assertIs(evaluate((name, date()), have=()), FAILED)

    def test_failed_precondition_comes_first(self) -> None:
        """If-Match is looked at before If-None-Match (§13.2.2)."""
        self.assertIs(evaluate((b"If-Match", b'"b"'), (b"If-None-Match", b'"a"')), FAILED)

    def test_only_successes_are_conditional(self) -> None:
        """A 404 is a 404 whatever the client holds (§13.2.1)."""
        for status in (301, 404, 500):
            self.assertIs(evaluate((b"If-None-Match", b"*"), status=status), PROCEED)

    @given(st.binary(max_size=40), st.binary(max_size=20))
    def test_hostile_values(self, value: bytes, etag: bytes) -> None:
        """Any bytes are compared without an error; a strong match is a weak one."""
        if strong_match(value, etag):
            self.assertTrue(weak_match(value, etag))
        names = (b"If-Match", b"If-None-Match", b"If-Modified-Since", b"If-Unmodified-Since")
        evaluate(*[(name, value) for name in names])


class IfRangeTests(SynchronousTestCase):
    """RFC 9110 §13.1.5."""

    def holds(self, value: bytes, *have: tuple[bytes, bytes]) -> bool:
        """Whether the Range of a request with ``If-Range: value`` counts."""
        return if_range_holds(request((b"If-Range", value)), fields(*have))

    def test_without_if_range(self) -> None:
        """Nothing to hold."""
        self.assertTrue(if_range_holds(request(), fields()))

    def test_entity_tag_is_compared_strongly(self) -> None:
        """A weak one on either side does not do."""
        self.assertTrue(self.holds(b'"a"', ETAG))
        self.assertFalse(self.holds(b'"b"', ETAG))
        self.assertFalse(self.holds(b'W/"a"', (b"ETag", b'W/"a"')))
        self.assertFalse(self.holds(b'"a"'))

    def test_date_must_be_exact_and_strong(self) -> None:
        """The very Last-Modified, at least a second before Date (§8.8.2.2)."""
        self.assertTrue(self.holds(date(-100), MODIFIED))
        self.assertTrue(self.holds(date(-100), MODIFIED, (b"Date", date())))
        self.assertFalse(self.holds(date(-100), MODIFIED, (b"Date", date(-100))))
        self.assertFalse(self.holds(date(-99), MODIFIED))
        self.assertFalse(self.holds(b"junk", MODIFIED))
        self.assertFalse(self.holds(b"*", ETAG))
