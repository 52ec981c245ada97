"""Which peer of an upstream group gets a request: weights, failures, backups.

nginx: ``ngx_http_upstream_round_robin`` (smooth weighted round robin),
``max_fails``, ``fail_timeout``, ``max_conns``. A group of a single peer never
sets it aside.

Imports nothing of the project.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass

__all__ = ["Balancer", "Peer"]


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

    conns: int = 0
    fails: int = 0
    accessed: float = float("-inf")
    checked: float = float("-inf")
    current_weight: int = 0
    effective_weight: int = 0

    def __post_init__(self) -> None:
        self.effective_weight = self.weight

    def available(self, now: float) -> bool:
        """Whether it may be chosen at monotonic time *now*."""
        if self.down or 0 < self.max_conns <= self.conns:
            return False
        return not 0 < self.max_fails <= self.fails or now - self.checked > self.fail_timeout


class Balancer:
    """The peers of one group. Every ``pick`` is followed by one ``finished``.

    ``succeeded`` or ``failed`` comes between, unless the outcome says nothing of
    the peer (the client went away).
    """

    __slots__ = ("_backup", "_by_name", "_primary", "_single")

    def __init__(self, peers: Iterable[Peer]) -> None:
        every = list(peers)
        self._primary = [peer for peer in every if not peer.backup]
        self._backup = [peer for peer in every if peer.backup]
        self._by_name = {peer.name: peer for peer in every}
        self._single = len(every) == 1

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

    def pick(self, now: float, tried: Container[str] = ()) -> Peer | None:
        """The peer for the next attempt; None when none is live (``no live upstreams``, 502).

        *tried* are the names already tried for this request; *now* monotonic seconds.
        """
        if self._single:
            (peer,) = self._by_name.values()
            if peer.down or peer.name in tried or 0 < peer.max_conns <= peer.conns:
                return None
            peer.conns += 1
            return peer
        best = _smooth(self._primary, now, tried) or _smooth(self._backup, now, tried)
        if best is None:
            return None
        if now - best.checked > best.fail_timeout:
            best.checked = now
        best.conns += 1
        return best

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


def _smooth(peers: list[Peer], now: float, tried: Container[str]) -> Peer | None:
    """One step of smooth weighted round robin over the peers that are available."""
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
