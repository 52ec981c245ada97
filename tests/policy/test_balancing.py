"""``policy.balancing``: nginx's smooth weighted round robin."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.policy.balancing import Balancer, Peer


def names(balancer: Balancer, count: int, now: float = 0.0) -> str:
    """The names of *count* successive picks, each finished at once."""
    found = []
    for _ in range(count):
        peer = balancer.pick(now)
        assert peer is not None
        balancer.finished(peer.name)
        found.append(peer.name)
    return "".join(found)


class ChoiceTests(SynchronousTestCase):
    """Weights, limits and backups."""

    def test_smooth_weights(self) -> None:
        """5:1:1 is spread, not sent in a row."""
        balancer = Balancer([Peer("a", weight=5), Peer("b"), Peer("c")])
        self.assertEqual(names(balancer, 7), "aabacaa")

    def test_nothing_to_choose(self) -> None:
        """One peer that is never down nor full is always picked, so nobody need ask."""
        self.assertFalse(Balancer([Peer("a", max_fails=3)]).chooses)
        for peers in ([Peer("a", max_conns=1)], [Peer("a", down=True)], [Peer("a"), Peer("b")]):
            self.assertTrue(Balancer(peers).chooses)

    @given(st.lists(st.integers(1, 9), min_size=2, max_size=5))
    def test_shares_are_exact(self, weights: list[int]) -> None:
        """Over one round of the weights' sum each peer gets exactly its weight."""
        balancer = Balancer([Peer(str(i), weight=w) for i, w in enumerate(weights)])
        self.assertEqual(
            Counter(names(balancer, sum(weights))),
            Counter({str(i): w for i, w in enumerate(weights)}),
        )

    def test_tried_and_down_are_left_out(self) -> None:
        """``down`` never gets a request; a tried peer not again for this one."""
        balancer = Balancer([Peer("a"), Peer("b", down=True), Peer("c")])
        self.assertEqual(set(names(balancer, 4)), {"a", "c"})
        self.assertEqual(balancer.tries, 2)
        last = balancer.pick(0.0, {"a"})
        assert last is not None
        self.assertEqual(last.name, "c")
        self.assertIsNone(balancer.pick(0.0, {"a", "c"}))

    def test_backup_only_without_primary(self) -> None:
        """``backup`` peers serve when no other can."""
        balancer = Balancer([Peer("a"), Peer("b", backup=True)])
        self.assertEqual(names(balancer, 3), "aaa")
        self.assertEqual(getattr(balancer.pick(0.0, {"a"}), "name", None), "b")

    def test_max_conns(self) -> None:
        """A full peer is passed over until one of its requests has finished."""
        balancer = Balancer([Peer("a", max_conns=1), Peer("b", max_conns=1)])
        self.assertEqual({getattr(balancer.pick(0.0), "name", None) for _ in "12"}, {"a", "b"})
        self.assertIsNone(balancer.pick(0.0))
        balancer.finished("a")
        self.assertEqual(getattr(balancer.pick(0.0), "name", None), "a")

    def test_unknown_names_do_nothing(self) -> None:
        """A peer that a reload removed may still be reported on."""
        balancer = Balancer([Peer("a")])
        balancer.failed("x", 0.0)
        balancer.succeeded("x")
        balancer.finished("x")
        self.assertIn("a conns=0 fails=0", repr(balancer))


class FailureTests(SynchronousTestCase):
    """``max_fails`` and ``fail_timeout``."""

    def test_failed_peer_rests(self) -> None:
        """After max_fails it is left out for fail_timeout, then tried once."""
        balancer = Balancer([Peer("a", fail_timeout=10.0), Peer("b")])
        balancer.failed("a", 100.0)
        self.assertEqual(names(balancer, 3, 105.0), "bbb")
        self.assertIn("a", names(balancer, 3, 110.5))

    def test_one_trial_per_pause(self) -> None:
        """The first pick after the pause starts the next one, until it has succeeded."""
        balancer = Balancer([Peer("a"), Peer("b")])
        balancer.failed("a", 100.0)
        balancer.failed("b", 100.0)
        self.assertIsNone(balancer.pick(105.0))
        trial = balancer.pick(111.0)
        assert trial is not None
        balancer.pick(111.0)
        self.assertIsNone(balancer.pick(112.0))
        balancer.succeeded(trial.name)
        self.assertEqual(getattr(balancer.pick(112.0), "name", None), trial.name)

    def test_success_before_the_pause_is_over_forgives_nothing(self) -> None:
        """An answer that was under way when others failed is no proof of recovery."""
        balancer = Balancer([Peer("a", max_fails=2), Peer("b")])
        balancer.failed("a", 100.0)
        balancer.succeeded("a")
        balancer.failed("a", 101.0)
        self.assertNotIn("a", names(balancer, 3, 102.0))

    def test_max_fails_zero_never_rests(self) -> None:
        """``max_fails=0`` switches the accounting off."""
        balancer = Balancer([Peer("a", max_fails=0), Peer("b")])
        for _ in range(5):
            balancer.failed("a", 100.0)
        self.assertIn("a", names(balancer, 2, 100.0))

    def test_single_peer_is_never_set_aside(self) -> None:
        """With one peer there is no choice (nginx)."""
        balancer = Balancer([Peer("a")])
        for _ in range(5):
            balancer.failed("a", 100.0)
        self.assertEqual(names(balancer, 2, 100.0), "aa")
        self.assertIsNone(balancer.pick(100.0, {"a"}))
        self.assertIsNone(Balancer([Peer("a", down=True)]).pick(0.0))

    def test_weight_comes_back_slowly(self) -> None:
        """A failure takes weight away; each pick gives one back."""
        balancer = Balancer([Peer("a", weight=40, max_fails=2), Peer("b", weight=40)])
        balancer.failed("a", 100.0)
        first = Counter(names(balancer, 10, 100.0))
        self.assertLess(first["a"], first["b"])
        names(balancer, 60, 100.0)
        later = Counter(names(balancer, 80, 100.0))
        self.assertEqual(later["a"], later["b"])

    @given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.floats(0, 5)), max_size=30))
    def test_any_history(self, history: list[tuple[str, bool, float]]) -> None:
        """After any history a pick is available, not tried, and comes back after a pause."""
        balancer = Balancer([Peer("a", weight=3), Peer("b"), Peer("c", backup=True)])
        now = 0.0
        for name, worked, passed in history:
            now += passed
            if worked:
                balancer.succeeded(name)
            else:
                balancer.failed(name, now)
            peer = balancer.pick(now, {"b"})
            if peer is not None:
                self.assertNotEqual(peer.name, "b")
                balancer.finished(peer.name)
        self.assertIsNotNone(balancer.pick(now + 11.0))
