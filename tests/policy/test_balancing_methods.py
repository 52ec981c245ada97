"""``policy.balancing_methods``: ``least_conn``, ``ip_hash``, ``hash``, ``random``."""

from __future__ import annotations

from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.policy.balancing import Balancer, Method, Peer
from cacheproxy.policy.balancing_methods import (
    AddressHash,
    ConsistentHash,
    KeyHash,
    LeastConnections,
    RandomChoice,
)

NAMES = "abcdefgh"


def peers(*weights: int) -> list[Peer]:
    """Peers ``a``, ``b`` … of the given weights."""
    return [Peer(name, weight=weight) for name, weight in zip(NAMES, weights, strict=False)]


def picked(balancer: Balancer, key: bytes = b"", tried: str = "") -> str:
    """The name that is picked, its use ended at once; empty for none."""
    peer = balancer.pick(0.0, tried, key)
    if peer is None:
        return ""
    balancer.finished(peer.name)
    return peer.name


class LeastConnectionsTests(SynchronousTestCase):
    """``least_conn``."""

    def test_fewest_connections_for_the_weight(self) -> None:
        """A peer of twice the weight has twice the connections."""
        balancer = Balancer(peers(2, 1), LeastConnections())
        found = [balancer.pick(0.0) for _ in range(9)]
        self.assertEqual(Counter(peer.name for peer in found if peer), {"a": 6, "b": 3})

    def test_equals_take_turns(self) -> None:
        """Without open connections it is round robin."""
        balancer = Balancer(peers(1, 1, 1), LeastConnections())
        self.assertEqual("".join(picked(balancer) for _ in range(6)), "abcabc")

    def test_backup_when_all_are_tried(self) -> None:
        """The backups are chosen among in the same way."""
        balancer = Balancer([*peers(1, 1), Peer("x", backup=True)], LeastConnections())
        self.assertEqual(picked(balancer, tried="ab"), "x")


class AddressHashTests(SynchronousTestCase):
    """``ip_hash``."""

    def test_a_network_has_one_peer(self) -> None:
        """The last byte of an IPv4 address plays no part; another network may go elsewhere."""
        balancer = Balancer(peers(1, 1, 1), AddressHash())
        one = {picked(balancer, b"10.1.2.%d" % last) for last in range(256)}
        self.assertEqual(len(one), 1)
        self.assertEqual(
            {picked(balancer, b"10.1.%d.1" % net) for net in range(64)}, {"a", "b", "c"}
        )

    def test_all_of_an_ipv6_address_counts(self) -> None:
        """Unlike of IPv4."""
        balancer = Balancer(peers(1, 1, 1), AddressHash())
        found = {picked(balancer, b"2001:db8::%x" % last) for last in range(64)}
        self.assertEqual(found, {"a", "b", "c"})

    def test_unix_clients_share_one_peer(self) -> None:
        """They have no address."""
        balancer = Balancer(peers(1, 1, 1), AddressHash())
        self.assertEqual(len({picked(balancer, b"unix:") for _ in range(5)}), 1)


class HashTests(SynchronousTestCase):
    """``hash``, in both forms."""

    def methods(self, every: list[Peer]) -> list[Method]:
        """Both."""
        return [KeyHash(), ConsistentHash(every)]

    def test_a_key_stays(self) -> None:
        """Whatever happened before."""
        for method in self.methods(peers(1, 2, 3)):
            balancer = Balancer(peers(1, 2, 3), method)
            keys = [b"/page/%d" % number for number in range(50)]
            first = [picked(balancer, key) for key in keys]
            self.assertEqual([picked(balancer, key) for key in reversed(keys)][::-1], first)
            self.assertEqual(set(first), {"a", "b", "c"})

    def test_an_empty_key_is_spread(self) -> None:
        """A variable that is empty for everybody must not send all to one."""
        for method in self.methods(peers(1, 1)):
            balancer = Balancer(peers(1, 1), method)
            self.assertEqual({picked(balancer) for _ in range(4)}, {"a", "b"})

    def test_few_keys_move_on_the_ring(self) -> None:
        """With one peer of five gone, only its keys move."""
        five, four = peers(1, 1, 1, 1, 1), peers(1, 1, 1, 1)
        before = Balancer(five, ConsistentHash(five))
        after = Balancer(four, ConsistentHash(four))
        for number in range(500):
            key = b"/%d" % number
            was = picked(before, key)
            if was != "e":
                self.assertEqual(picked(after, key), was)

    def test_shares_follow_weights_on_the_ring(self) -> None:
        """Roughly, as points are placed by chance."""
        every = peers(1, 3)
        balancer = Balancer(every, ConsistentHash(every))
        found = Counter(picked(balancer, b"key %d" % number) for number in range(4000))
        self.assertTrue(0.65 < found["b"] / 4000 < 0.85, found)

    def test_servers_of_one_name_share_its_points(self) -> None:
        """A name that has two addresses."""
        every = [Peer("1", label="twin"), Peer("2", label="twin"), Peer("3", label="lone")]
        balancer = Balancer(every, ConsistentHash(every))
        found = {key: picked(balancer, b"%d" % key) for key in range(200)}
        again = {key: picked(balancer, b"%d" % key) for key in range(200)}
        self.assertEqual(
            {key for key, name in found.items() if name == "3"},
            {key for key, name in again.items() if name == "3"},
        )
        self.assertEqual(set(found.values()), {"1", "2", "3"})


class RandomTests(SynchronousTestCase):
    """``random`` and ``random two``."""

    def test_shares_follow_weights(self) -> None:
        """One of three for a weight of one beside two."""
        balancer = Balancer(peers(1, 2), RandomChoice(Random(1).randrange, two=False))
        found = Counter(picked(balancer) for _ in range(3000))
        self.assertTrue(0.6 < found["b"] / 3000 < 0.73, found)

    def test_the_less_busy_of_two(self) -> None:
        """Of two peers, the one without connections."""
        balancer = Balancer(peers(1, 1), RandomChoice(Random(1).randrange, two=True))
        first = balancer.pick(0.0)
        assert first is not None
        self.assertNotEqual(picked(balancer), first.name)


class EveryMethodTests(SynchronousTestCase):
    """What holds whatever the method."""

    @given(
        weights=st.lists(st.integers(1, 5), min_size=2, max_size=6),
        kind=st.integers(0, 5),
        key=st.binary(max_size=8),
        data=st.data(),
    )
    def test_only_peers_that_may_be_chosen(
        self, weights: list[int], kind: int, key: bytes, data: st.DataObject
    ) -> None:
        """Neither down, nor full, nor tried; one is found where there is one."""
        every = peers(*weights)
        methods: list[Method] = [
            LeastConnections(),
            AddressHash(),
            KeyHash(),
            ConsistentHash(every),
            RandomChoice(Random(1).randrange, two=False),
            RandomChoice(Random(2).randrange, two=True),
        ]
        tried = data.draw(st.sets(st.sampled_from([peer.name for peer in every])))
        for peer in every:
            peer.down = data.draw(st.booleans())
            peer.max_conns = data.draw(st.integers(0, 1))
            peer.conns = data.draw(st.integers(0, 1))
        free = {peer.name for peer in every if peer.available(0.0)} - tried
        chosen = Balancer(every, methods[kind]).pick(0.0, tried, key)
        self.assertEqual(chosen is None, not free)
        if chosen is not None:
            self.assertIn(chosen.name, free)
