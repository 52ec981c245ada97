"""Ports and connectors: Twisted's own, up to the point where a connected socket exists.

Binding, listening, name resolution, connecting and every way these fail are inherited from
``twisted.internet.tcp``; accepting and all that follows is uvloop's. Must not import uvloop.
"""

from __future__ import annotations

# Most of Twisted's own methods have no annotations.
# mypy: disable-error-code="no-untyped-call"
import os
import socket
from collections.abc import Callable
from typing import Any

from twisted.internet import address, error, tcp
from twisted.internet.protocol import Protocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from cacheproxy.net.reactor.transport import StreamConnection

__all__ = [
    "AcceptingPort",
    "AdoptedConnection",
    "ClientConnection",
    "Connector",
    "HandsOver",
    "Port",
    "ServerConnection",
    "Stopgap",
]

_log = Logger()

ACCEPT_RETRY_DELAY = 1.0
"""Seconds without accepting after the kernel refused a connection for want of resources."""


def stream_address(name: Any) -> Any:
    """Twisted's address of a socket name as uvloop gives it; TypeError where it gives none."""
    if isinstance(name, (str, bytes)):
        return address.UNIXAddress(name or None)
    if len(name) == 2:
        return address.IPv4Address("TCP", *name)
    if name[3]:  # the scope identifier belongs into the host
        host = socket.getnameinfo(name, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)[0]
        name = (host, *name[1:])
    return address.IPv6Address("TCP", *name)


def is_path(name: Any) -> bool:
    """Whether a Twisted address is that of a UNIX socket."""
    return isinstance(name, address.UNIXAddress)


class _NamedConnection(StreamConnection):
    """The peer's address as it was when the connection was made; ours when asked for."""

    _host: Any = None
    _peer: Any = None

    def getHost(self) -> Any:
        """Our address."""
        if self._host is None:
            self._host = stream_address(self._uv.get_extra_info("sockname"))
        return self._host

    def getPeer(self) -> Any:
        """The peer's address. Set before ``open``: after a reset the kernel does not tell it."""
        return self._peer


class ServerConnection(_NamedConnection):
    """A connection that a port accepted. uvloop calls the class before it accepts."""

    def __init__(self, port: Any) -> None:
        super().__init__(port.reactor)
        self.server = port

    def connection_made(self, uv: Any) -> None:
        """uvloop: accepted. Builds the protocol.

        uvloop does not keep the address that ``accept`` gives, and the kernel does not tell
        it once the peer has reset the connection. Nobody can be answered then, and without
        an address nothing may be decided: such a connection is dropped.
        """
        port = self.server
        self._uv = uv
        name = uv.get_extra_info("peername")
        if name is None or (not name and port.addressFamily != socket.AF_UNIX):
            uv.abort()
            return
        self._peer = stream_address(name)
        try:
            protocol = port.factory.buildProtocol(self._peer)
        except Exception:
            _log.failure("buildProtocol failed")
            uv.abort()
            return
        if protocol is None:
            uv.close()
            return
        self.sessionno = port.sessionno
        port.sessionno += 1
        self.open(uv, protocol)

    @property
    def hostname(self) -> Any:
        """For log lines: the peer's host, or our path, as UNIX peers seldom have one."""
        peer = self.getPeer()
        return os.fsdecode(self.getHost().name or b"") if is_path(peer) else peer.host

    @property
    def logstr(self) -> str:
        """What log lines about this connection start with."""
        return f"{self._protocol_name()},{self.sessionno},{self.hostname}"

    def __repr__(self) -> str:
        host = self.getHost()
        where = os.fsdecode(host.name or b"") if is_path(host) else host.port
        return f"<{type(self._protocol).__name__} #{self.sessionno} on {where}>"


class AdoptedConnection(ServerConnection):
    """A connection that someone else accepted and still holds a descriptor of."""

    _shut_down_on_close = True

    def __init__(self, reactor: Any, protocol: Any, peer: Any) -> None:
        StreamConnection.__init__(self, reactor)
        self.server = None
        self._adopted_protocol = protocol
        self._peer = peer

    def connection_made(self, uv: Any) -> None:
        """uvloop: taken over."""
        protocol, self._adopted_protocol = self._adopted_protocol, None
        if self._abandoned or protocol is None:
            uv.abort()
            return
        self._uv = uv
        self.sessionno = 0 if is_path(self._peer) else self._peer.port
        self.open(uv, protocol)


class _Unwanted(Protocol):
    """Stands in where a client's factory builds none: the connector is told of a loss."""

    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.loseConnection()


class ClientConnection(_NamedConnection):
    """A connection that a connector made."""

    _tlsClientDefault = True

    def __init__(self, connector: Any, reactor: Any) -> None:
        super().__init__(reactor)
        self.connector = connector
        self.addr: Any = None  # where to, as it was asked for: host and port, or a path

    def connection_made(self, uv: Any) -> None:
        """uvloop: taken over. Builds the protocol."""
        if self._abandoned:
            uv.abort()
            return
        self._uv = uv
        try:
            protocol = self.connector.buildProtocol(self.getPeer())
        except Exception as exc:
            _log.failure("buildProtocol failed")
            uv.abort()
            self.failIfNotConnected(error.ConnectError(string=exc))
            return
        self.open(uv, _Unwanted() if protocol is None else protocol)

    def failIfNotConnected(self, err: Any) -> None:
        """Give up the attempt, if it still is one, and tell the connector why."""
        if self.connected or self.disconnected or self._abandoned:
            return
        self._abandoned = True
        self.connector.connectionFailed(Failure(err))

    def connectionLost(self, reason: Failure) -> None:
        """Tell the protocol, then the connector."""
        if not self.disconnected and self._protocol is not None:
            super().connectionLost(reason)
            self.connector.connectionLost(reason)

    @property
    def logstr(self) -> str:
        """What log lines about this connection start with."""
        return f"{self._protocol_name()},client"

    def __repr__(self) -> str:
        return f"<{type(self)} to {self.addr} at {id(self):x}>"


class Stopgap(socket.socket):
    """A copy of a listening socket, for uvloop, that tells when uvloop has closed it.

    uvloop closes a server, without a word, when ``accept`` fails for any reason but a
    descriptor limit; it detaches its socket then.
    """

    on_detach: Callable[[], None] | None = None

    def detach(self) -> int:
        """Give up the descriptor, and tell."""
        fd = super().detach()
        if self.on_detach is not None:
            self.on_detach()
        return fd


class AcceptingPort:
    """Replaces a Twisted port's own accepting by a uvloop server on a copy of its socket.

    The port keeps its socket, so that all else that Twisted does with it stays true.
    """

    reactor: Any
    socket: Any
    backlog: Any
    _shouldShutdown: bool
    _accepting: tuple[Any, Stopgap] | None = None
    _retry: Any = None

    def startReading(self) -> None:
        """Accept connections; listening already, so nothing here can fail for an address."""
        if self._accepting is not None or self._retry is not None:
            return
        try:
            copy = Stopgap(fileno=os.dup(self.socket.fileno()))
        except OSError as failure:  # no descriptor is free
            self._accept_later(failure.strerror)
            return
        copy.on_detach = self._refused
        # An adopted port's own backlog is unknown: leave it to the kernel's limit.
        backlog = socket.SOMAXCONN if self.backlog is None else self.backlog
        server = self.reactor._serve(lambda: ServerConnection(self), copy, backlog)
        self._accepting = (server, copy)
        self.reactor._ports.add(self)

    def stopReading(self) -> None:
        """Accept no more; connections wait in the kernel."""
        self.reactor._ports.discard(self)
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._accepting is not None:
            (server, copy), self._accepting = self._accepting, None
            copy.on_detach = None
            server.close()

    def _refused(self) -> None:
        """uvloop gave up accepting: start again a little later."""
        self._accepting = None
        if self.reactor._asyncioEventloop.is_closed():
            return
        self._accept_later("accept() failed")

    def _accept_later(self, reason: str | None) -> None:
        _log.error(
            "Could not accept connections on {port!r} ({reason}), trying again in {delay} s",
            port=self,
            reason=reason,
            delay=ACCEPT_RETRY_DELAY,
        )
        self._retry = self.reactor.callLater(ACCEPT_RETRY_DELAY, self._accept_again)

    def _accept_again(self) -> None:
        self._retry = None
        self.startReading()

    def forget_server(self) -> None:
        """After a fork: close our copy, touching nothing that the parent still uses."""
        self._shouldShutdown = False  # would stop the parent's listening, too
        if self._accepting is not None:
            (_, copy), self._accepting = self._accepting, None
            copy.on_detach = None
            os.close(copy.detach())


class Port(AcceptingPort, tcp.Port):
    """A TCP port."""

    def startListening(self) -> None:
        """Bind, listen and accept; raises CannotListenError."""
        try:
            super().startListening()
        except OSError as exc:  # from listen(), which Twisted does not convert
            raise error.CannotListenError(self.interface, self.port, exc) from exc


class HandsOver:
    """Replaces what a Twisted client does once connected: give the socket to uvloop."""

    connector: Any
    reactor: Any
    socket: Any
    fileno: Any

    def _connectDone(self) -> None:
        connector, sock = self.connector, self.socket
        # What is left of this object can neither fail nor close anything.
        del self.connector, self.socket, self.fileno
        connection = ClientConnection(connector, self.reactor)
        connection.addr = self.addr  # type: ignore[attr-defined]
        connection._peer = self.getPeer()  # type: ignore[attr-defined]
        connector.transport = connection
        connector.cancelTimeout()
        try:
            self.reactor._attach(connection, sock)
        except OSError as exc:
            sock.close()
            connection.failIfNotConnected(error.getConnectError((exc.errno, exc.strerror)))


class _Client(HandsOver, tcp.Client):
    """A TCP connection attempt."""


class Connector(tcp.Connector):
    """Connects over TCP."""

    def _makeTransport(self) -> Any:
        return _Client(self.host, self.port, self.bindAddress, self, self.reactor)
