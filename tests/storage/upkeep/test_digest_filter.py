"""Tests of the filter of digests."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.storage.upkeep.digest_filter import DigestFilter
from tests.storage.support import digest_of


class DigestFilterTests(SynchronousTestCase):
    """``DigestFilter``."""

    def test_never_denies_what_was_added(self) -> None:
        """A digest on disk must never be taken for absent."""
        known = DigestFilter(10)
        digests = [digest_of(b"%d" % number) for number in range(20_000)]
        known.update(digests)
        self.assertTrue(all(digest in known for digest in digests))

    def test_seldom_takes_absent_for_present(self) -> None:
        """At its capacity fewer than one in a hundred absent digests costs a look-up."""
        known = DigestFilter(1)
        known.update(digest_of(b"%d" % number) for number in range(known.capacity))
        wrong = sum(digest_of(b"x%d" % number) in known for number in range(5000))
        self.assertLess(wrong, 50)
