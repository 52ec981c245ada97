"""Refreshing a stored response behind the client's back.

A stale response was sent at once (``stale-while-revalidate``,
``proxy_cache_background_update``); a second exchange with no client validates or
replaces what is stored. Nothing of it is logged or sent anywhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cacheproxy.http.fields import Fields
from cacheproxy.http.messages import RequestHead
from cacheproxy.proxy.interfaces import Downstream, Storage, TlsInfo, Tunnel

if TYPE_CHECKING:
    from cacheproxy.proxy.exchange import Exchange

__all__ = ["NoClient", "start_background"]


class NoClient:
    """A ``Downstream`` that nobody is at; it stands in for the one that caused the refresh."""

    writable = True
    requests = 0
    bytes_sent = 0

    def __init__(self, cause: Downstream) -> None:
        self.peer_host = cause.peer_host
        self.peer_port = cause.peer_port
        self.local_host = cause.local_host
        self.local_port = cause.local_port
        self.number = cause.number
        self.tls: TlsInfo | None = cause.tls

    def send_informational(self, status: int, pairs: list[tuple[bytes, bytes]]) -> None:
        """Nobody listens."""

    def send_head(
        self,
        status: int,
        reason: bytes,
        pairs: list[tuple[bytes, bytes]],
        length: int | None,
        has_body: bool,
    ) -> None:
        """Nobody listens."""

    def send_data(self, data: bytes) -> None:
        """Nobody listens."""

    def send_end(self, trailers: Fields | None = None) -> None:
        """Nobody listens."""

    def flush(self) -> None:
        """Nobody listens."""

    def abort(self) -> None:
        """There is nothing to close."""

    def pause_request(self) -> None:
        """There is no request body."""

    def resume_request(self) -> None:
        """There is no request body."""

    def close_after_response(self) -> None:
        """There is nothing to close."""

    def start_tunnel(self, other: Tunnel) -> tuple[Tunnel, bytes]:
        raise AssertionError("a refresh does not ask for an upgrade")


def start_background(cause: Exchange, storage: Storage) -> None:
    """Validate what is stored for the request of *cause*, with nobody waiting."""
    from cacheproxy.proxy.caching import CacheTurn
    from cacheproxy.proxy.exchange import Exchange

    head = cause.head
    fields = head.fields.without(_LEFT_OUT)
    exchange = Exchange(
        cause.site,
        NoClient(cause.downstream),
        RequestHead(b"GET", head.target, head.version, fields),
    )
    exchange.lost = exchange.logged = True
    exchange.adopt(cause.route)
    exchange.captures = cause.captures
    exchange.internal = cause.internal
    turn = CacheTurn(exchange, storage)
    turn.background = True
    turn.start()


#: What the client asked of its own copy, or of this connection.
_LEFT_OUT = frozenset({b"cache-control", b"pragma", b"expect", b"upgrade", b"connection"})
