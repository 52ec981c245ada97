"""Connections to the servers of an upstream group: opening them, and keeping idle ones.

``Peer`` is one address: it opens connections and keeps idle ones, as many as the group's
``keepalive`` allows (``KeepAlive``), which is shared by all of its peers.

Source: nginx ``ngx_http_upstream_keepalive_module``.
May import ``http``, ``policy.upstream_protocol``, ``proxy.interfaces``, ``config.model``, twisted.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, cast

from twisted.internet import error
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    UNIXClientEndpoint,
)
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from zope.interface import implementer

from cacheproxy.config.model import Upstream, UpstreamServer
from cacheproxy.errors import Stage, UpstreamError
from cacheproxy.http.response_parser import ResponseParser
from cacheproxy.net.http1.outbox import Turn
from cacheproxy.net.http1.upstream import UpstreamConnection
from cacheproxy.net.reactor.interfaces import IByteStreamFactory
from cacheproxy.policy.upstream_protocol import MakeReader
from cacheproxy.proxy.interfaces import UpstreamSink

__all__ = ["KeepAlive", "Peer", "plain_endpoint"]


class KeepAlive:
    """The idle connections of one upstream group, least recently used out first.

    Source: nginx ``keepalive``, ``keepalive_requests``, ``keepalive_time``,
    ``keepalive_timeout``.
    """

    def __init__(self, upstream: Upstream) -> None:
        self.limit = upstream.keepalive
        self.requests = upstream.keepalive_requests
        self.time = upstream.keepalive_time
        self.timeout = upstream.keepalive_timeout
        #: In order of use, the latest last.
        self.idle: dict[UpstreamConnection, Peer] = {}

    def drop_oldest(self) -> None:
        """Close the connection that was idle longest."""
        oldest = next(iter(self.idle))
        self.idle.pop(oldest).idle.remove(oldest)
        oldest.close()

    def close(self) -> None:
        """Close every idle connection and keep none from now on."""
        self.limit = 0
        for connection in list(self.idle):
            connection.close()


class _Attempt:
    """A connection being opened; cancellable until it is handed over."""

    __slots__ = ("_deferred", "_done")

    def __init__(self, deferred: Deferred[Any]) -> None:
        self._deferred = deferred
        self._done = False

    def done(self) -> None:
        self._done = True

    def active(self) -> bool:
        return not self._done

    def cancel(self) -> None:
        if not self._done:
            self._done = True
            self._deferred.cancel()


@implementer(IByteStreamFactory)
class _Factory(Factory):
    noisy = False

    def __init__(self, peer: Peer) -> None:
        self.peer = peer

    def buildProtocol(self, addr: Any) -> UpstreamConnection:
        return UpstreamConnection(self.peer)


class Peer:
    """One server of an upstream group, and its idle connections (``UpstreamPeer``)."""

    def __init__(
        self,
        reactor: Any,
        server: UpstreamServer,
        keep_alive: KeepAlive,
        endpoint: Callable[[Any, UpstreamServer, float], Any] | None = None,
        reader: MakeReader = ResponseParser,
    ) -> None:
        self.reactor = reactor
        self.reader = reader
        self.server = server
        self.keep_alive = keep_alive
        self.idle: list[UpstreamConnection] = []
        self.connections = 0
        self._endpoint: Callable[[Any, UpstreamServer, float], Any] = endpoint or plain_endpoint
        self._factory = _Factory(self)
        self.turn = Turn(reactor)

    def acquire(
        self,
        sink: UpstreamSink,
        connect_timeout: float,
        send_timeout: float,
        read_timeout: float,
        fresh: bool = False,
    ) -> _Attempt | None:
        if self.idle and not fresh:
            connection = self.idle.pop()
            del self.keep_alive.idle[connection]
            connection.start(sink, send_timeout, read_timeout)
            sink.on_connected(connection)
            return None
        deferred = self._endpoint(self.reactor, self.server, connect_timeout).connect(self._factory)
        attempt = _Attempt(deferred)

        def connected(connection: Any) -> None:
            attempt.done()
            self.connections += 1
            connection.start(sink, send_timeout, read_timeout)
            sink.on_connected(connection)

        def failed(reason: Failure) -> None:
            if not attempt.active() or reason.check(CancelledError):
                return
            attempt.done()
            sink.on_upstream_error(_connect_error(reason))

        deferred.addCallbacks(connected, failed)
        return attempt

    def keep(self, connection: UpstreamConnection) -> None:
        """Put a connection that has finished among the idle ones."""
        keep_alive = self.keep_alive
        if keep_alive.limit <= 0:
            connection.close()
            return
        self.idle.append(connection)
        keep_alive.idle[connection] = self
        if len(keep_alive.idle) > keep_alive.limit:
            keep_alive.drop_oldest()

    def forget(self, connection: UpstreamConnection) -> None:
        """A connection has closed."""
        if connection in self.idle:
            self.idle.remove(connection)
            self.keep_alive.idle.pop(connection, None)


def _connect_error(reason: Failure) -> UpstreamError:
    if reason.check(UpstreamError):
        return cast(UpstreamError, reason.value)
    if reason.check(error.TimeoutError):
        return UpstreamError("upstream timed out while connecting", Stage.CONNECT, timeout=True)
    number = getattr(reason.value, "osError", None)
    why = f"{number}: {os.strerror(number)}" if isinstance(number, int) else str(reason.value)
    return UpstreamError(f"connect() failed ({why})", Stage.CONNECT)


def plain_endpoint(reactor: Any, server: UpstreamServer, timeout: float) -> Any:
    """Where *server* listens: a UNIX socket, or a host by address or name."""
    if server.path:
        return UNIXClientEndpoint(reactor, server.path, timeout)
    # A name is looked up at each connection, so that a moved container is found.
    kind: Any = HostnameEndpoint
    if isIPAddress(server.host):
        kind = TCP4ClientEndpoint
    elif isIPv6Address(server.host):
        kind = TCP6ClientEndpoint
    return kind(reactor, server.host, server.port, timeout)
