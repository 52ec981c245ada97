"""``policy.validation``: asking the origin, and believing its 304."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.policy.storing import NoStore, NoStoreReason
from cacheproxy.policy.validation import (
    HeadComparison,
    compare_head,
    freshen,
    outdated,
    selects,
    updated_fields,
    validation_fields,
)
from tests.policy.builders import NOW, cache_options, date, fields, request, response, stored

CC = b"Cache-Control"


class AskingTests(SynchronousTestCase):
    """RFC 9111 §4.3.1, §4.3.4."""

    def test_both_validators_are_sent(self) -> None:
        """As stored, weak or not."""
        kept = stored((b"ETag", b'W/"a"'), (b"Last-Modified", date(-9)))
        self.assertEqual(
            validation_fields(kept),
            [(b"If-None-Match", b'W/"a"'), (b"If-Modified-Since", date(-9))],
        )
        self.assertEqual(validation_fields(stored()), [])

    def test_304_for_another_representation(self) -> None:
        """A 304 that names other validators is not about what is stored."""
        kept = stored((b"ETag", b'"a"'), (b"Last-Modified", date(-9)))
        self.assertTrue(selects(kept, response(status=304)))
        self.assertTrue(selects(kept, response((b"ETag", b'W/"a"'), status=304)))
        self.assertFalse(selects(kept, response((b"ETag", b'"b"'), status=304)))
        self.assertTrue(selects(kept, response((b"Last-Modified", date(-9)), status=304)))
        self.assertFalse(selects(kept, response((b"Last-Modified", date(-8)), status=304)))


class HeadTests(SynchronousTestCase):
    """RFC 9111 §4.3.5."""

    def test_what_a_head_says(self) -> None:
        """Every validator and length that it has must be those stored, and one must be there."""
        kept = stored((b"ETag", b'"a"'), (b"Last-Modified", date(-9)), body_length=7)
        for pairs, says in (
            ((), HeadComparison.NOTHING),
            (((b"X-New", b"1"),), HeadComparison.NOTHING),
            (((b"ETag", b'"a"'), (b"Content-Length", b"7")), HeadComparison.SAME),
            (((b"Last-Modified", date(-9)),), HeadComparison.SAME),
            (((b"Content-Length", b"7"),), HeadComparison.SAME),
            (((b"ETag", b'"b"'),), HeadComparison.OTHER),
            (((b"ETag", b'"a"'), (b"ETag", b'"b"')), HeadComparison.OTHER),
            (((b"ETag", b'W/"a"'),), HeadComparison.OTHER),
            (((b"ETag", b'"a"'), (b"Last-Modified", date(-8))), HeadComparison.OTHER),
            (((b"ETag", b'"a"'), (b"Content-Length", b"8")), HeadComparison.OTHER),
            (((b"Content-Length", b"+7"),), HeadComparison.OTHER),
        ):
            self.assertIs(compare_head(kept, response(*pairs)), says, pairs)

    def test_head_of_another_status(self) -> None:
        """What is gone is not there; what fails now says nothing."""
        kept = stored((b"ETag", b'"a"'), body_length=7)
        same = (b"ETag", b'"a"')
        for status, says in (
            (404, HeadComparison.OTHER),
            (410, HeadComparison.OTHER),
            (500, HeadComparison.NOTHING),
            (503, HeadComparison.NOTHING),
            (301, HeadComparison.NOTHING),
        ):
            self.assertIs(compare_head(kept, response(same, status=status)), says, status)
        moved = stored(status=301)
        self.assertIs(compare_head(moved, response(status=200)), HeadComparison.OTHER)

    def test_outdated(self) -> None:
        """Stale from now on, never fresher than before."""
        kept = stored(stale_while_revalidate=50.0, stale_if_error=60.0)
        after = outdated(kept, NOW + 30)
        self.assertEqual((after.fresh_until, after.stale_while_revalidate), (NOW + 30, 0.0))
        self.assertEqual(after.stale_if_error, 60.0)
        self.assertEqual(outdated(kept, NOW + 300).fresh_until, NOW + 100)


class FresheningTests(SynchronousTestCase):
    """RFC 9111 §3.2, §4.3.4."""

    def freshen(self, *pairs: tuple[bytes, bytes], **with_: Any) -> Any:
        """A stored response, two minutes old, after a 304 with *pairs*."""
        kept = stored(
            (b"Content-Type", b"text/plain"),
            (b"ETag", b'"a"'),
            (b"X-Old", b"1"),
            (CC, b"max-age=100"),
            (b"Date", date()),
            vary=((b"foo", b"1"),),
            body_length=7,
        )
        return freshen(
            kept,
            request(),
            response(*pairs, status=304),
            with_.get("options", cache_options()),
            frozenset(),
            NOW + 120,
            NOW + 120,
        )

    def test_fields_are_replaced(self) -> None:
        """Those of the 304 replace all lines of their name, the rest stays."""
        found = updated_fields(
            fields((b"A", b"1"), (b"a", b"2"), (b"B", b"3")), fields((b"a", b"9"), (b"C", b"4"))
        )
        self.assertEqual(found.pairs, [(b"B", b"3"), (b"a", b"9"), (b"C", b"4")])

    def test_fields_that_stay(self) -> None:
        """What describes the stored body, and what is never stored."""
        found = updated_fields(
            fields((b"Content-Encoding", b"gzip"), (b"Content-Type", b"text/plain")),
            fields(
                (b"Content-Length", b"0"),
                (b"Content-Encoding", b"br"),
                (b"Content-Range", b"bytes 0-1/2"),
                (b"Connection", b"x"),
                (b"X", b"1"),
                (b"Set-Cookie", b"a=b"),
                (b"Content-Type", b"text/html"),
            ),
        )
        self.assertEqual(
            found.pairs, [(b"Content-Encoding", b"gzip"), (b"Content-Type", b"text/html")]
        )

    def test_stored_freshness_starts_again(self) -> None:
        """A bare 304 makes the stored lifetime count anew."""
        fresh = self.freshen((b"Date", date(120)))
        self.assertEqual(fresh.fresh_until, NOW + 220)
        self.assertEqual((fresh.body_length, fresh.vary), (7, ((b"foo", b"1"),)))
        self.assertEqual((fresh.status, fresh.fields.get(b"x-old")), (200, b"1"))

    def test_304_without_date(self) -> None:
        """The stored Date does not make the freshened response old."""
        fresh = self.freshen()
        self.assertEqual(fresh.fresh_until, NOW + 220)
        self.assertEqual(fresh.fields.get_all(b"date"), [date(120)])

    def test_new_freshness_counts(self) -> None:
        """The 304's Cache-Control and Age."""
        fresh = self.freshen((CC, b"max-age=500, must-revalidate"), (b"Age", b"50"))
        self.assertEqual(fresh.fresh_until, NOW + 120 + 450)
        self.assertTrue(fresh.must_revalidate)
        self.assertNotIn(b"age", fresh.fields)

    def test_origin_forbids_now(self) -> None:
        """A 304 that says no-store ends the stored response's life."""
        decision = self.freshen((CC, b"no-store"))
        self.assertIsInstance(decision, NoStore)
        self.assertIs(decision.reason, NoStoreReason.NO_STORE)

    def test_exchange_that_may_not_store(self) -> None:
        """Its own reasons not to store leave the entry, still as stale as it was."""
        fresh = self.freshen((b"X-New", b"1"), options=cache_options(methods=frozenset()))
        self.assertEqual(fresh.fresh_until, NOW + 100)
        self.assertNotIn(b"x-new", fresh.fields)
