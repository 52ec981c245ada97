"""After 101: bytes between two connections, each end pausing the other.

The upstream's answer decides: nothing that the client sent behind its request
reaches the upstream before that answer has been checked and passed on.

Source: RFC 9110 §7.8, RFC 6455; nginx ``ngx_http_upstream_upgrade``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cacheproxy.proxy.interfaces import Tunnel, UpstreamStream

if TYPE_CHECKING:
    from cacheproxy.proxy.exchange.exchange import Exchange

__all__ = ["join"]


class _End:
    """One end, known to the other before both exist; passes everything on."""

    __slots__ = ("other",)

    other: Tunnel

    def tunnel_write(self, data: bytes) -> None:
        self.other.tunnel_write(data)

    def tunnel_end(self) -> None:
        self.other.tunnel_end()

    def tunnel_pause(self) -> None:
        self.other.tunnel_pause()

    def tunnel_resume(self) -> None:
        self.other.tunnel_resume()


class _ClientEnd(_End):
    """The client's end, which also writes the log when the tunnel closes."""

    __slots__ = ("exchange",)

    exchange: Exchange

    def tunnel_write(self, data: bytes) -> None:
        self.exchange.response.count_body(len(data))
        self.other.tunnel_write(data)

    def tunnel_end(self) -> None:
        self.exchange.log()
        self.other.tunnel_end()


class _UpstreamEnd(_End):
    """The upstream's end."""

    __slots__ = ("exchange",)

    exchange: Exchange

    def tunnel_end(self) -> None:
        self.exchange.log()
        self.other.tunnel_end()


def join(exchange: Exchange, upstream: UpstreamStream) -> None:
    """Join the exchange's client and *upstream*; what was already read goes first."""
    to_client, to_upstream = _ClientEnd(), _UpstreamEnd()
    to_client.exchange = to_upstream.exchange = exchange
    to_client.other, from_client = exchange.downstream.start_tunnel(to_upstream)
    to_upstream.other, from_upstream = upstream.start_tunnel(to_client)
    if from_upstream:
        to_client.tunnel_write(from_upstream)
    if from_client:
        to_upstream.tunnel_write(from_client)
