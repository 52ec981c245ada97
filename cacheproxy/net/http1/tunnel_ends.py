"""A client's connection as one end of a tunnel: bytes as they are, after a 101.

Either side may end its own direction (half-close): the other side gets that end behind
everything that was written, and goes on sending. nginx closes both directions then,
which loses what a WebSocket backend still sends to a client that has finished. That
nothing stays open for good is for ``proxy_read_timeout`` to see to, which bounds how long
neither side sends anything.

Source: RFC 9110 §7.8, RFC 9293 §3.6; nginx ``ngx_http_upstream_upgrade``.
Imports: ``proxy.interfaces``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from cacheproxy.proxy.interfaces import Tunnel

__all__ = ["ClientTunnel", "TunnelConnection"]


class TunnelConnection(Protocol):
    """The client's connection, as far as a tunnel goes."""

    @property
    def writable(self) -> bool: ...

    @property
    def write(self) -> Callable[[bytes], None]: ...

    def end_writing(self) -> None:
        """Nothing more will be written; what was written is sent first."""

    def shut(self) -> None:
        """Close it."""

    def hold_body(self) -> None:
        """Read nothing more from the client for now."""

    def release_body(self) -> None:
        """Read on."""


class SentBytes(Protocol):
    """Counts what was sent."""

    bytes_sent: int


class ClientTunnel:
    """The client's end; *other* is the upstream's. *stream* counts what is sent."""

    __slots__ = ("_connection", "_other", "_stream", "on_client_data")

    def __init__(self, connection: TunnelConnection, stream: SentBytes, other: Tunnel) -> None:
        self._connection = connection
        self._stream = stream
        self._other = other
        #: Bytes have come from the client.
        self.on_client_data = other.tunnel_write

    # -- what the connection tells -----------------------------------------

    def on_client_end(self) -> None:
        """The client sends nothing more."""
        self._other.tunnel_end()

    def on_client_lost(self) -> None:
        """The connection is gone."""
        self._other.tunnel_close()

    def on_client_writable(self) -> None:
        """The client has read what was written."""
        self._other.tunnel_resume()

    # -- Tunnel: what the other end asks for -------------------------------

    def tunnel_write(self, data: bytes) -> None:
        connection = self._connection
        self._stream.bytes_sent += len(data)
        connection.write(data)
        if not connection.writable:
            self._other.tunnel_pause()

    def tunnel_end(self) -> None:
        self._connection.end_writing()

    def tunnel_close(self) -> None:
        self._connection.shut()

    def tunnel_pause(self) -> None:
        self._connection.hold_body()

    def tunnel_resume(self) -> None:
        self._connection.release_body()
