"""The client's side of an exchange whose client is gone, or that never had one.

What an exchange goes on with for others (a response that is being stored, a refresh in the
background) may call its ``Downstream`` at any time. Once the client has gone, or another
exchange answers it, a ``NoClient`` is there in its place: nothing reaches the connection.

Imports: ``http``, ``proxy.interfaces``.
"""

from __future__ import annotations

from cacheproxy.http.fields import Fields, Pairs
from cacheproxy.proxy.interfaces import ClientListener, Downstream, TlsInfo, Tunnel

__all__ = ["NoClient"]


class NoClient:
    """A ``Downstream`` with nobody there; variables and log lines see that of *cause*."""

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
        self, status: int, reason: bytes, pairs: Pairs, length: int | None, has_body: bool
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

    def hand_over(self, listener: ClientListener) -> None:
        """There is nothing to hand over."""

    def start_tunnel(self, other: Tunnel) -> tuple[Tunnel, bytes]:
        raise AssertionError("no client asks for an upgrade")
