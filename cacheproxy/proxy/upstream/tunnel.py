"""After 101: bytes between two connections, each end pausing the other.

The upstream's answer decides: nothing that the client sent behind its request
reaches the upstream before that answer has been checked and passed on.

Each direction ends by itself: what ends one is passed on behind the bytes before it, and
the other goes on. The tunnel is closed, and logged, when both have ended or when either
connection is lost.

Source: RFC 9110 §7.8, RFC 6455; nginx ``ngx_http_upstream_upgrade``, which closes both
directions when one has ended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cacheproxy.proxy.interfaces import Tunnel, UpstreamStream

if TYPE_CHECKING:
    from cacheproxy.proxy.exchange.exchange import Exchange

__all__ = ["join"]


class _Direction:
    """One direction: what its source tells is passed on to *other*, the end it leads to.

    It stands between the two ends because each has to know the other before both exist.
    """

    __slots__ = ("_ended", "exchange", "opposite", "other")

    exchange: Exchange
    other: Tunnel

    def __init__(self) -> None:
        self._ended = False
        self.opposite: _Direction | None = None

    def tunnel_write(self, data: bytes) -> None:
        self.other.tunnel_write(data)

    def tunnel_end(self) -> None:
        opposite = self.opposite
        self._ended = True
        if opposite is None:
            return
        if not opposite._ended:
            self.other.tunnel_end()
            return
        self.tunnel_close()
        opposite.other.tunnel_close()

    def tunnel_close(self) -> None:
        opposite, self.opposite = self.opposite, None
        if opposite is not None:
            opposite.opposite = None
            self.exchange.log()
            self.other.tunnel_close()

    def tunnel_pause(self) -> None:
        self.other.tunnel_pause()

    def tunnel_resume(self) -> None:
        self.other.tunnel_resume()


class _ToClient(_Direction):
    """The direction whose bytes are counted as the response's body."""

    __slots__ = ()

    def tunnel_write(self, data: bytes) -> None:
        self.exchange.response.count_body(len(data))
        self.other.tunnel_write(data)


def join(exchange: Exchange, upstream: UpstreamStream) -> None:
    """Join the exchange's client and *upstream*; what was already read goes first."""
    to_client, to_upstream = _ToClient(), _Direction()
    to_client.exchange = to_upstream.exchange = exchange
    to_client.opposite, to_upstream.opposite = to_upstream, to_client
    to_client.other, from_client = exchange.downstream.start_tunnel(to_upstream)
    to_upstream.other, from_upstream = upstream.start_tunnel(to_client)
    if from_upstream:
        to_client.tunnel_write(from_upstream)
    if from_client:
        to_upstream.tunnel_write(from_client)
