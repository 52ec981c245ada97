"""One request and its response on a client's HTTP/1.1 connection (``Downstream``).

A stream belongs to one request. It frames the response, and passes on to its connection
what the exchange wants of the request's body. Once the response has ended, or the client
has gone, it is over: whatever an exchange still calls then (late, because it went on for a
cache) has no effect, and never reaches the next request on the connection.

Source: RFC 9112 §6, §7, §9.
May import ``http``, ``proxy``.
"""

from __future__ import annotations

from typing import Protocol, cast

from cacheproxy.http.encode import (
    LAST_CHUNK,
    encode_chunk,
    encode_response_head,
    encode_trailers,
)
from cacheproxy.http.fields import Fields, Pairs
from cacheproxy.http.messages import RequestHead
from cacheproxy.net.http1.outbox import DIRECT
from cacheproxy.net.http1.tunnel_ends import ClientTunnel, TunnelConnection
from cacheproxy.policy.options import CoreOptions
from cacheproxy.proxy.exchange.exchange import Exchange
from cacheproxy.proxy.interfaces import ClientListener, TlsInfo, Tunnel
from cacheproxy.proxy.site.site import Site

__all__ = ["HttpStream"]

_KEEP_ALIVE = (b"Connection", b"keep-alive")
_CLOSE = (b"Connection", b"close")
_CHUNKED = (b"Transfer-Encoding", b"chunked")

_INFORMATIONAL = {
    100: b"Continue",
    101: b"Switching Protocols",
    102: b"Processing",
    103: b"Early Hints",
}


class StreamConnection(TunnelConnection, Protocol):
    """What a stream knows of the connection that carries it."""

    stream: HttpStream | None
    closing: bool

    @property
    def site(self) -> Site: ...

    @property
    def requests(self) -> int: ...

    @property
    def peer_host(self) -> str: ...

    @property
    def peer_port(self) -> int: ...

    @property
    def local_host(self) -> str: ...

    @property
    def local_port(self) -> int: ...

    @property
    def number(self) -> int: ...

    @property
    def tls(self) -> TlsInfo | None: ...

    def may_go_on(self, head: RequestHead, core: CoreOptions) -> bool:
        """Whether another request may follow that with *head*, by the location's *core*."""

    def response_ended(self, core: CoreOptions, keep: bool) -> None:
        """The response is whole."""

    def response_broken_off(self, reset: bool) -> None:
        """The response never will be whole."""

    def start_tunnel(self, tunnel: ClientTunnel) -> bytes:
        """Hand what comes to *tunnel*; returns what was read of it already."""


class HttpStream:
    """What an exchange sees of its client; *connection* carries it."""

    __slots__ = (
        "_chunked",
        "_connection",
        "_keep",
        "_over",
        "_until_close",
        "_write",
        "bytes_sent",
        "exchange",
        "requests",
        "writable",
    )

    def __init__(self, connection: StreamConnection, head: RequestHead) -> None:
        self._connection = connection
        self._write = connection.write
        self._keep = head.keep_alive
        self._chunked = False
        self._until_close = False
        self._over = False
        self.requests = connection.requests
        self.bytes_sent = 0
        self.writable = connection.writable
        #: Who answers the request.
        self.exchange = Exchange(connection.site, self, head)

    # -- Downstream: the client --------------------------------------------

    @property
    def peer_host(self) -> str:
        return self._connection.peer_host

    @property
    def peer_port(self) -> int:
        return self._connection.peer_port

    @property
    def local_host(self) -> str:
        return self._connection.local_host

    @property
    def local_port(self) -> int:
        return self._connection.local_port

    @property
    def number(self) -> int:
        return self._connection.number

    @property
    def tls(self) -> TlsInfo | None:
        return self._connection.tls

    # -- Downstream: the response ------------------------------------------

    def send_informational(self, status: int, pairs: Pairs) -> None:
        head = encode_response_head(status, _INFORMATIONAL.get(status, b""), pairs)
        self.bytes_sent += len(head)
        self._write(head)

    def send_head(
        self, status: int, reason: bytes, pairs: Pairs, length: int | None, has_body: bool
    ) -> None:
        if self._over:
            return
        exchange = self.exchange
        core = exchange.request.location.core
        keep = self._keep and self._connection.may_go_on(exchange.request.head, core)
        if has_body and length is None:
            if exchange.request.head.version >= 11 and core.chunked_transfer_encoding:
                self._chunked = True
                pairs.append(_CHUNKED)
            else:
                keep = False
                self._until_close = True
        elif length is not None and status != 204 and (has_body or status != 304):
            pairs.append((b"Content-Length", b"%d" % length))
        self._keep = keep
        if keep:
            pairs.append(_KEEP_ALIVE)
            if core.keepalive_timeout_header is not None:
                pairs.append((b"Keep-Alive", b"timeout=%d" % core.keepalive_timeout_header))
        else:
            pairs.append(_CLOSE)
        try:
            head = encode_response_head(status, reason, pairs)
        except ValueError:
            # A variable brought a line break into the head: say nothing rather than split it.
            exchange.log_error("error", "a response field holds a line break")
            self.abort()
            exchange.on_downstream_lost()
            return
        self.bytes_sent += len(head)
        self._write(head)

    def send_data(self, data: bytes) -> None:
        if self._chunked:
            if len(data) >= DIRECT:
                head = b"%x\r\n" % len(data)
                self.bytes_sent += len(head) + len(data) + 2
                self._write(head)
                self._write(data)
                self._write(b"\r\n")
                return
            data = encode_chunk(data)
        self.bytes_sent += len(data)
        self._write(data)

    def send_end(self, trailers: Fields | None = None) -> None:
        if self._over:
            return
        if self._chunked:
            data = LAST_CHUNK if trailers is None else encode_trailers(trailers)
            self.bytes_sent += len(data)
            self._write(data)
        core, keep = self.exchange.request.location.core, self._keep
        self._finish()
        self._connection.response_ended(core, keep)

    def abort(self) -> None:
        """Close with the response unfinished."""
        if not self._over:
            self._finish()
            self._connection.response_broken_off(self._until_close)

    def _finish(self) -> None:
        """Nothing that is called from now on has an effect."""
        self._over = True
        self._write = _ignore
        # Nobody is to wait for a client that gets nothing more.
        self.writable = True
        self._chunked = False
        # The exchange refers to the stream; without this the two would be a cycle.
        del self.exchange

    def lose(self) -> None:
        """The client has gone (the connection says so)."""
        exchange = self.exchange
        self._connection.stream = None
        self._finish()
        exchange.on_downstream_lost()

    # -- Downstream: the request -------------------------------------------

    def pause_request(self) -> None:
        if not self._over:
            self._connection.hold_body()

    def resume_request(self) -> None:
        if not self._over:
            self._connection.release_body()

    def close_after_response(self) -> None:
        if not self._over:
            self._connection.closing = True

    def hand_over(self, listener: ClientListener) -> None:
        if not self._over:
            self.exchange = cast(Exchange, listener)

    def start_tunnel(self, other: Tunnel) -> tuple[Tunnel, bytes]:
        assert not self._over, "the client has gone"
        tunnel = ClientTunnel(self._connection, self, other)
        self._finish()
        return tunnel, self._connection.start_tunnel(tunnel)


def _ignore(data: object) -> None:
    """What is written after the end."""
