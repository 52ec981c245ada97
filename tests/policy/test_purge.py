"""``policy.purge``: what a purge selects, and what a soft one makes of an entry."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.policy.key import digest
from cacheproxy.policy.purge import (
    ByHost,
    ByKey,
    ByPrefix,
    ByTags,
    Everything,
    mark_stale,
    selects,
)
from cacheproxy.policy.reuse import Action, decide_reuse
from cacheproxy.policy.tags import MAX_TAGS
from tests.policy.builders import NOW, cache_options, request, stored

KEY = b"http://a.test/x"
PRIMARY = digest(KEY)


class SelectsTests(SynchronousTestCase):
    """``selects``."""

    def test_by_key(self) -> None:
        """The digest over the key decides, which all variants share."""
        self.assertTrue(selects(ByKey(PRIMARY), PRIMARY, stored(key=KEY)))
        self.assertFalse(selects(ByKey(digest(b"other")), PRIMARY, stored(key=KEY)))

    def test_by_prefix(self) -> None:
        """Bytes of the key from its start; none select every key."""
        entry = stored(key=KEY)
        for prefix in (b"", b"http://a.test/", KEY):
            self.assertTrue(selects(ByPrefix(prefix), PRIMARY, entry), prefix)
        for prefix in (b"http://b", KEY + b"/", b"a.test"):
            self.assertFalse(selects(ByPrefix(prefix), PRIMARY, entry), prefix)

    def test_by_host(self) -> None:
        """The host of the request, whatever the key is made of."""
        self.assertTrue(selects(ByHost(b"a.test"), PRIMARY, stored(key=b"/x", host=b"a.test")))
        self.assertFalse(selects(ByHost(b"b.test"), PRIMARY, stored(key=KEY, host=b"a.test")))

    def test_by_host_takes_what_has_none(self) -> None:
        """Where the host is not known the entry may be that host's."""
        self.assertTrue(selects(ByHost(b"b.test"), PRIMARY, stored(key=KEY)))

    def test_by_tags(self) -> None:
        """One tag in common is enough."""
        entry = stored((b"Surrogate-Key", b"a b"), (b"Cache-Tag", b"c"))
        self.assertTrue(selects(ByTags(frozenset({b"c", b"z"})), PRIMARY, entry))
        self.assertFalse(selects(ByTags(frozenset({b"z", b"a b"})), PRIMARY, entry))
        self.assertFalse(selects(ByTags(frozenset()), PRIMARY, entry))

    def test_by_tags_takes_what_has_too_many(self) -> None:
        """An entry of which the tags cannot be told is not missed."""
        many = b" ".join(b"%d" % number for number in range(MAX_TAGS + 1))
        self.assertTrue(selects(ByTags(frozenset({b"z"})), PRIMARY, stored((b"xkey", many))))

    def test_everything(self) -> None:
        self.assertTrue(selects(Everything(), PRIMARY, stored()))


class MarkStaleTests(SynchronousTestCase):
    """``mark_stale``."""

    def judge(self, now: float, **attributes: Any) -> tuple[Action, bool]:
        """What a request 30 seconds after the soft purge at *now* − 30 meets."""
        entry = mark_stale(stored(**attributes), now - 30)
        verdict = decide_reuse(entry, request(), now, cache_options())
        return verdict.action, verdict.refresh

    def test_served_stale_while_one_refreshes(self) -> None:
        """A fresh entry answers at once, and is refreshed beside it (RFC 5861 §3)."""
        self.assertEqual(self.judge(NOW + 40), (Action.STALE, True))

    def test_no_longer_than_it_would_have_been_fresh(self) -> None:
        """After its own lifetime it is as stale as without the purge."""
        self.assertEqual(self.judge(NOW + 99), (Action.STALE, True))
        self.assertEqual(self.judge(NOW + 100)[0], Action.REVALIDATE)

    def test_must_be_validated(self) -> None:
        """What must not be served stale is validated before its next use (RFC 9111 §5.2.2.2)."""
        self.assertEqual(self.judge(NOW + 40, must_revalidate=True)[0], Action.REVALIDATE)
        self.assertEqual(self.judge(NOW + 40, always_validate=True)[0], Action.REVALIDATE)

    def test_stale_is_left_alone(self) -> None:
        """A second soft purge, or one of what is stale, changes nothing."""
        once = mark_stale(stored(), NOW + 10)
        self.assertIs(mark_stale(once, NOW + 20), once)
        old = stored(stale_while_revalidate=500.0)
        self.assertIs(mark_stale(old, NOW + 101), old)

    def test_its_own_window_is_kept(self) -> None:
        """``stale-while-revalidate`` of the response counts from the purge, if it is longer."""
        self.assertEqual(mark_stale(stored(), NOW + 40).stale_while_revalidate, 60)
        entry = mark_stale(stored(stale_while_revalidate=80.0), NOW + 40)
        self.assertEqual((entry.lifetime, entry.stale_while_revalidate), (40, 80))

    @given(
        st.floats(0, 1e6),
        st.floats(0, 1e6),
        st.floats(0, 1e6),
        st.floats(-1e6, 1e6),
        st.floats(0, 1e6),
    )
    def test_never_fresh_after_and_never_longer_usable(
        self, lifetime: float, window: float, age: float, at: float, later: float
    ) -> None:
        """Nothing is fresh after a soft purge, nor used at an age at which it was not before."""
        entry = stored(lifetime=lifetime, stale_while_revalidate=window, initial_age=age)
        marked = mark_stale(entry, NOW + at)
        self.assertGreaterEqual(marked.age(NOW + at + later), marked.lifetime)
        self.assertLessEqual(
            marked.lifetime + marked.stale_while_revalidate, lifetime + window + 1e-6
        )
