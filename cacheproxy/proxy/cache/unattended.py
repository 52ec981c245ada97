"""The client of an exchange that has none: a stored response is refreshed unasked.

A stale response was sent at once (``stale-while-revalidate``,
``proxy_cache_background_update``); a second exchange validates or replaces what is
stored (``caching.refresh``). Nothing of it is logged or sent anywhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cacheproxy.http.fields import Fields, Pairs
from cacheproxy.http.messages import RequestHead
from cacheproxy.policy.reuse import STEERING_FIELDS
from cacheproxy.proxy.interfaces import Downstream, TlsInfo, Tunnel

if TYPE_CHECKING:
    from cacheproxy.proxy.exchange.exchange import Exchange

__all__ = ["NoClient", "unattended"]

#: What the client asked of its own copy, or of its connection.
_NOT_REFRESHED = STEERING_FIELDS | {b"expect", b"upgrade", b"connection"}


def unattended(cause: Exchange) -> Exchange:
    """An exchange for the same as *cause*, a GET or HEAD, that nobody waits for."""
    head, options = cause.head, cause.location.cache
    fields = head.fields.without(_NOT_REFRESHED)
    # The answer to a HEAD that was sent as such is stored apart.
    converted = options is None or options.convert_head
    method = b"GET" if converted else cause.method
    request = RequestHead(method, head.target, head.version, fields)
    return cause.detached(NoClient(cause.downstream), request)


class NoClient:
    """A ``Downstream`` that nobody is at; it stands in for the one that caused the refresh."""

    requests = 0
    bytes_sent = 0

    def __init__(self, cause: Downstream) -> None:
        self.peer_host = cause.peer_host
        self.peer_port = cause.peer_port
        self.local_host = cause.local_host
        self.local_port = cause.local_port
        self.number = cause.number
        self.tls: TlsInfo | None = cause.tls

    @property
    def writable(self) -> bool:
        return True

    def send_informational(self, status: int, pairs: Pairs) -> None:
        """Nobody listens."""

    def send_head(
        self,
        status: int,
        reason: bytes,
        pairs: Pairs,
        length: int | None,
        has_body: bool,
    ) -> None:
        """Nobody listens."""

    def send_data(self, data: bytes) -> None:
        """Nobody listens."""

    def send_end(self, trailers: Fields | None = None) -> None:
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
