"""Ways to choose a peer besides round robin: ``least_conn``, ``ip_hash``, ``hash``, ``random``.

Each is a ``policy.balancing.Method``. It gives up, and leaves the choice to round robin, after
`MAX_TRIES` peers that may not be chosen, as nginx does. The sequence of peers that a key leads
to follows from the key alone, so that a retry, which names the peers already tried, goes on
where the attempt before it stopped.

Source: nginx ``ngx_http_upstream_least_conn_module``, ``_ip_hash_module``, ``_hash_module``,
``_random_module``. Places of keys are those of nginx, so that a fleet in which some servers
run nginx sends a key to the same peer.

Imports: ``policy.balancing``.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Container, Sequence
from ipaddress import ip_address
from itertools import accumulate
from zlib import crc32

from cacheproxy.policy.balancing import Peer, round_robin

__all__ = [
    "MAX_TRIES",
    "AddressHash",
    "ConsistentHash",
    "KeyHash",
    "LeastConnections",
    "RandomChoice",
]

#: Peers that a key or chance may lead to in vain, before round robin takes over.
MAX_TRIES = 20

#: Points on the ring of ``hash … consistent`` for each unit of weight.
POINTS = 160


class LeastConnections:
    """``least_conn``: the fewest connections for its weight; round robin among equals."""

    def choose(
        self, peers: Sequence[Peer], now: float, tried: Container[str], key: bytes
    ) -> Peer | None:
        """See ``Method``; *key* plays no part."""
        equals: list[Peer] = []
        for peer in peers:
            if peer.name in tried or not peer.available(now):
                continue
            if equals:
                best = equals[0]
                ours, theirs = peer.conns * best.weight, best.conns * peer.weight
                if ours > theirs:
                    continue
                if ours < theirs:
                    equals.clear()
            equals.append(peer)
        if len(equals) < 2:
            return equals[0] if equals else None
        return round_robin(equals, now, ())


class AddressHash:
    """``ip_hash``: by the first three bytes of an IPv4 address, or all of an IPv6 address."""

    def choose(
        self, peers: Sequence[Peer], now: float, tried: Container[str], key: bytes
    ) -> Peer | None:
        """See ``Method``; *key* is ``$remote_addr``."""
        address = _address(key)
        weights = _ends(peers)
        value = 89
        for _ in range(MAX_TRIES + 1):
            for byte in address:
                value = (value * 113 + byte) % 6271
            peer = _at(peers, weights, value)
            if peer.name not in tried and peer.available(now):
                return peer
        return None


def _address(text: bytes) -> bytes:
    """The part of a client's address that is hashed; nothing of a UNIX socket's, as in nginx."""
    try:
        address = ip_address(text.decode("ascii"))
    except ValueError:
        return bytes(3)
    return address.packed[:3] if address.version == 4 else address.packed


class KeyHash:
    """``hash key``: the key's place among the weights; most keys move when peers change."""

    def choose(
        self, peers: Sequence[Peer], now: float, tried: Container[str], key: bytes
    ) -> Peer | None:
        """See ``Method``; an empty *key* is left to round robin."""
        if not key:
            return None
        weights = _ends(peers)
        value = 0
        for attempt in range(MAX_TRIES + 1):
            salted = key if not attempt else b"%d%s" % (attempt, key)
            value += (crc32(salted) >> 16) & 0x7FFF
            peer = _at(peers, weights, value)
            if peer.name not in tried and peer.available(now):
                return peer
        return None


class ConsistentHash:
    """``hash key consistent``: on a ring (ketama), so that few keys move when peers change."""

    def __init__(self, peers: Sequence[Peer]) -> None:
        """*peers* are all that will be chosen among, backups aside."""
        points: dict[int, str] = {}
        for peer in peers:
            base = _ring_name(peer.server)
            value = b"\0\0\0\0"
            for _ in range(peer.weight * POINTS):
                point = crc32(base + value)
                value = point.to_bytes(4, "little")
                points.setdefault(point, peer.server)
        self._places = sorted(points)
        self._servers = [points[place] for place in self._places]

    def choose(
        self, peers: Sequence[Peer], now: float, tried: Container[str], key: bytes
    ) -> Peer | None:
        """See ``Method``; peers with one name in the configuration share their points."""
        if not key or not self._places:
            return None
        at = bisect_left(self._places, crc32(key))
        for step in range(MAX_TRIES + 1):
            server = self._servers[(at + step) % len(self._servers)]
            mine = [peer for peer in peers if peer.server == server]
            best = round_robin(mine, now, tried)
            if best is not None:
                return best
        return None


def _ring_name(server: str) -> bytes:
    """What places a server on the ring: host and port, apart (as Cache::Memcached::Fast)."""
    if server[:5].lower() == "unix:":
        return server[5:].encode() + b"\0"
    host, colon, port = server.rpartition(":")
    if colon and (port.isdigit() or not port):
        return host.encode() + b"\0" + port.encode()
    return server.encode() + b"\0"


class RandomChoice:
    """``random``: by chance; ``random two``: the one of two with fewer connections.

    *below* gives a random whole number from 0 up to its argument, which is left out.
    """

    def __init__(self, below: Callable[[int], int], two: bool) -> None:
        self._below = below
        self._two = two

    def choose(
        self, peers: Sequence[Peer], now: float, tried: Container[str], key: bytes
    ) -> Peer | None:
        """See ``Method``; *key* plays no part."""
        weights = _ends(peers)
        first: Peer | None = None
        for _ in range(MAX_TRIES + 1):
            peer = _at(peers, weights, self._below(weights[-1]))
            if peer is first or peer.name in tried or not peer.available(now):
                continue
            if not self._two:
                return peer
            if first is None:
                first = peer
            elif peer.conns * first.weight > first.conns * peer.weight:
                return first
            else:
                return peer
        return None


def _ends(peers: Sequence[Peer]) -> list[int]:
    """Where each peer's share of the sum of the weights ends."""
    return list(accumulate(peer.weight for peer in peers))


def _at(peers: Sequence[Peer], ends: list[int], value: int) -> Peer:
    """The peer in whose share *value* lies."""
    place = value % ends[-1]
    return peers[bisect_left(ends, place + 1)]
