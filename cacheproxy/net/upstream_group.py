"""The state of one upstream: its peers, their failures and idle connections, and the choice.

The choice itself is pure (``policy.balancing``): here it gets the time, random numbers, and
connections in place of names. A group lives over reloads as long as its ``upstream`` block
stays the same, so that failures and idle connections are not forgotten.

Source: nginx ``ngx_http_upstream_round_robin``, ``keepalive``. May import twisted.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from cacheproxy.config.model import Balancing, Upstream, UpstreamServer
from cacheproxy.http.response_parser import ResponseParser
from cacheproxy.net.http1.pool import KeepAlive, Peer, plain_endpoint
from cacheproxy.net.tls.client import TlsEndpoint, UpstreamTls
from cacheproxy.policy.balancing import Balancer, Method
from cacheproxy.policy.balancing import Peer as BalancedPeer
from cacheproxy.policy.balancing_methods import (
    AddressHash,
    ConsistentHash,
    KeyHash,
    LeastConnections,
    RandomChoice,
)
from cacheproxy.policy.upstream_protocol import MakeReader

__all__ = ["UpstreamGroup"]


class UpstreamGroup:
    """One upstream's peers and the choice among them (``UpstreamChoice``).

    *tls* is given where the peers are spoken to over TLS; *clock* is monotonic; *reader* makes
    what reads a peer's responses.
    """

    def __init__(
        self,
        reactor: Any,
        upstream: Upstream,
        tls: UpstreamTls | None,
        clock: Callable[[], float],
        reader: MakeReader = ResponseParser,
    ) -> None:
        self.upstream = upstream
        self.name = upstream.name
        self.tls = tls
        self._clock = clock
        self._keep_alive = KeepAlive(upstream)
        endpoint = None if tls is None else _tls_endpoint(tls, upstream)
        self._peers = {
            server.name: Peer(reactor, server, self._keep_alive, endpoint, reader)
            for server in upstream.servers
        }
        peers = [
            BalancedPeer(
                server.name,
                server.weight,
                server.max_conns,
                server.max_fails,
                server.fail_timeout,
                server.backup,
                server.down,
                server.label,
            )
            for server in upstream.servers
        ]
        #: What the choice goes by.
        self.key = None if upstream.balancing is None else upstream.balancing[1]
        self._balancer = Balancer(peers, _method(upstream, peers))
        self.size = self._balancer.tries
        #: What ``pick`` always gives where there is nothing to choose.
        self._only = None if self._balancer.chooses else next(iter(self._peers.items()))
        # Bound, not wrapped: they are called for every request.
        self.succeeded: Callable[[str], None] = self._balancer.succeeded
        self.finished: Callable[[str], None] = self._balancer.finished
        if self._only is not None:
            # Where there is nothing to choose, nothing is chosen by what they would note.
            self.succeeded = self.finished = _note_nothing

    def pick(self, tried: frozenset[str], key: bytes = b"") -> tuple[str, Peer] | None:
        only = self._only
        if only is not None:
            return None if only[0] in tried else only
        chosen = self._balancer.pick(self._clock(), tried, key)
        return None if chosen is None else (chosen.name, self._peers[chosen.name])

    def failed(self, address: str) -> None:
        self._balancer.failed(address, self._clock())

    def same_as(self, upstream: Upstream, tls: UpstreamTls | None) -> bool:
        """Whether a reload may go on with it: also the content of the TLS files is the same."""
        mine = None if self.tls is None else self.tls.content
        return self.upstream == upstream and mine == (None if tls is None else tls.content)

    def close(self) -> None:
        """Close idle connections; those in use close when they are done."""
        self._keep_alive.close()


def _method(upstream: Upstream, peers: list[BalancedPeer]) -> Method | None:
    """The way to choose that ``least_conn``, ``hash`` … name; None for round robin."""
    if upstream.balancing is None:
        return None
    kind, _ = upstream.balancing
    if kind is Balancing.LEAST_CONN:
        return LeastConnections()
    if kind is Balancing.IP_HASH:
        return AddressHash()
    if kind is Balancing.HASH:
        return KeyHash()
    if kind is Balancing.CONSISTENT_HASH:
        return ConsistentHash([peer for peer in peers if not peer.backup])
    return RandomChoice(random.randrange, two=kind is Balancing.RANDOM_TWO)


def _note_nothing(address: str) -> None:
    """An attempt has come to an end that changes no choice."""


def _tls_endpoint(
    tls: UpstreamTls, upstream: Upstream
) -> Callable[[Any, UpstreamServer, float], Any]:
    template = tls.options.name
    name = upstream.name if template is None or template.constant is None else (
        template.constant.decode("latin-1")
    )

    def endpoint(reactor: Any, server: UpstreamServer, timeout: float) -> Any:
        below = plain_endpoint(reactor, server, timeout)
        return TlsEndpoint(reactor, below, tls, name, key=server.name, timeout=timeout)

    return endpoint
