"""Which peer of an upstream group gets a request: weights, failures, backups.

nginx: ``ngx_http_upstream_round_robin`` (smooth weighted round robin),
``max_fails``, ``fail_timeout``, ``max_conns``. A group of a single peer is never
set aside. Other ways to choose are a `Method` each (``policy.balancing_methods``); what they
leave open, and the backups, are chosen by round robin.

Imports nothing of the project.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Balancer", "Method", "Peer", "round_robin"]


@dataclass(slots=True)
class Peer:
    """One ``server`` of an upstream and the state of choosing it.

    *name* identifies it. The rest of the first group is as configured; times are
    monotonic seconds. *fails* counts failures since the last success after a
    pause; *checked* is when the pause began, or when it was last ended by a try.
    """

    name: str
    weight: int = 1
    max_conns: int = 0
    max_fails: int = 1
    fail_timeout: float = 10.0
    backup: bool = False
    down: bool = False
    label: str = ""

    conns: int = 0
    fails: int = 0
    accessed: float = float("-inf")
    checked: float = float("-inf")
    current_weight: int = 0
    effective_weight: int = 0

    def __post_init__(self) -> None:
        self.effective_weight = self.weight

    @property
    def server(self) -> str:
        """What it is called in the configuration, by which ``hash`` places it."""
        return self.label or self.name

    def available(self, now: float) -> bool:
        """Whether it may be chosen at monotonic time *now*."""
        if self.down or 0 < self.max_conns <= self.conns:
            return False
        return not 0 < self.max_fails <= self.fails or now - self.checked > self.fail_timeout


class Method(Protocol):
    """A way to choose among the peers of a group."""

    def choose(
        self, peers: Sequence[Peer], now: float, tried: Container[str], key: bytes
    ) -> Peer | None:
        """One of *peers* that is available and not *tried*; None leaves it to round robin."""


class Balancer:
    """The peers of one group. Every ``pick`` is followed by one ``finished``.

    ``succeeded`` or ``failed`` comes between, unless the outcome says nothing of
    the peer (the client went away).
    """

    __slots__ = ("_backup", "_by_name", "_method", "_primary", "_single")

    def __init__(self, peers: Iterable[Peer], method: Method | None = None) -> None:
        every = list(peers)
        self._primary = [peer for peer in every if not peer.backup]
        self._backup = [peer for peer in every if peer.backup]
        self._by_name = {peer.name: peer for peer in every}
        self._single = len(every) == 1
        self._method = method

    @property
    def peers(self) -> list[Peer]:
        """Every peer, the backups last."""
        return self._primary + self._backup

    @property
    def chooses(self) -> bool:
        """Whether ``pick`` depends on anything but *tried*: not with one peer without limits."""
        if not self._single:
            return True
        (peer,) = self._by_name.values()
        return peer.down or peer.max_conns > 0

    @property
    def tries(self) -> int:
        """How many attempts one request may make, backups included: peers not ``down``."""
        return sum(not peer.down for peer in self._by_name.values())

    def pick(self, now: float, tried: Container[str] = (), key: bytes = b"") -> Peer | None:
        """The peer for the next attempt; None when none is live (``no live upstreams``, 502).

        *tried* are the names already tried for this request; *now* monotonic seconds; *key*
        what the method goes by, such as the value of ``hash``.
        """
        if self._single:
            (peer,) = self._by_name.values()
            if peer.down or peer.name in tried or 0 < peer.max_conns <= peer.conns:
                return None
            peer.conns += 1
            return peer
        best = self._choose(self._primary, now, tried, key)
        if best is None:
            best = self._choose(self._backup, now, tried, key)
        if best is None:
            return None
        if now - best.checked > best.fail_timeout:
            best.checked = now
        best.conns += 1
        return best

    def _choose(
        self, peers: list[Peer], now: float, tried: Container[str], key: bytes
    ) -> Peer | None:
        if self._method is not None and len(peers) > 1:
            best = self._method.choose(peers, now, tried, key)
            if best is not None:
                return best
        return round_robin(peers, now, tried)

    def succeeded(self, name: str) -> None:
        """The peer answered; its failures are forgotten if the try came after its pause."""
        peer = self._by_name.get(name)
        if peer is not None and peer.accessed < peer.checked:
            peer.fails = 0

    def failed(self, name: str, now: float) -> None:
        """The peer failed to answer at monotonic time *now* (never for http_403, http_404)."""
        peer = self._by_name.get(name)
        if peer is None or self._single:
            return
        peer.fails += 1
        peer.accessed = peer.checked = now
        if peer.max_fails:
            reduced = peer.effective_weight - peer.weight // peer.max_fails
            peer.effective_weight = max(0, reduced)

    def finished(self, name: str) -> None:
        """The attempt that ``pick`` started is over, either way."""
        peer = self._by_name.get(name)
        if peer is not None and peer.conns:
            peer.conns -= 1

    def __repr__(self) -> str:
        state = ", ".join(
            f"{peer.name} conns={peer.conns} fails={peer.fails}" for peer in self.peers
        )
        return f"<Balancer {state}>"


def round_robin(peers: Iterable[Peer], now: float, tried: Container[str]) -> Peer | None:
    """One step of smooth weighted round robin over the peers that are available and not *tried*."""
    best: Peer | None = None
    total = 0
    for peer in peers:
        if peer.name in tried or not peer.available(now):
            continue
        peer.current_weight += peer.effective_weight
        total += peer.effective_weight
        if peer.effective_weight < peer.weight:
            peer.effective_weight += 1
        if best is None or peer.current_weight > best.current_weight:
            best = peer
    if best is not None:
        best.current_weight -= total
    return best
