"""Listening addresses: sockets made as ``listen`` says, and what serves on them.

A ``Listener`` owns one socket over any number of reloads: a new configuration
replaces the ``Site`` that new connections get, while open ones finish on the old,
which is then told to be unused.

Source: nginx ``ngx_connection.c`` (``ngx_open_listening_sockets``), ``listen``.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from typing import Any

from OpenSSL import SSL
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol
from zope.interface import implementer

from cacheproxy.config.model import Listen
from cacheproxy.errors import ConfigError
from cacheproxy.net.descriptors import DescriptorGuard
from cacheproxy.net.http1.connection import HttpConnection
from cacheproxy.net.http1.outbox import Turn
from cacheproxy.net.reactor.interfaces import IByteStreamFactory
from cacheproxy.net.tls.accept import TlsFactory
from cacheproxy.proxy.front.hot import HotHits
from cacheproxy.proxy.site.site import Site

__all__ = ["Connections", "HttpFactory", "Listener"]


class Connections(set[HttpConnection]):
    """The open connections of one site."""

    _emptied: Callable[[], None] | None = None

    def discard(self, connection: object) -> None:
        """Forget a connection that has ended."""
        super().discard(connection)
        if not self and self._emptied is not None:
            emptied, self._emptied = self._emptied, None
            emptied()

    def when_empty(self, call: Callable[[], None]) -> None:
        """Call *call* when the last has ended: now, if there is none. To be used once."""
        if self:
            self._emptied = call
        else:
            call()


@implementer(IByteStreamFactory)
class HttpFactory(Factory):
    """Makes the connections of one listening address."""

    noisy = False

    def __init__(
        self, site: Site, reactor: Any, accepted: Callable[[], None] = lambda: None
    ) -> None:
        self.reactor = reactor
        self._accepted = accepted
        self._turn = Turn(reactor)
        self._current = Connections()
        #: Those of sites before, whose last connection has not ended.
        self._earlier: list[Connections] = []
        #: The port is closed: whatever it has accepted all the same answers one request.
        self._draining = False
        self._use(site)

    def _use(self, site: Site) -> None:
        self.site = site
        self.hot = HotHits(site)

    @property
    def connections(self) -> list[HttpConnection]:
        """Every open connection, on whatever site."""
        return [one for group in (*self._earlier, self._current) for one in group]

    def serve(self, site: Site, unused: Callable[[], None] = lambda: None) -> None:
        """Give *site* to connections accepted from now on; drain the others.

        *unused* is called, in a later turn, once none is left on the site before.
        """
        self._retire(unused)
        self._current = Connections()
        self._use(site)

    def close(self, unused: Callable[[], None]) -> None:
        """The port is closed: drain every connection, also those that are yet to be made.

        uvloop makes a connection in the turn after the one that has accepted it.
        """
        self._draining = True
        self._retire(unused)

    def _retire(self, unused: Callable[[], None]) -> None:
        retired = self._current
        self._earlier.append(retired)
        for connection in list(retired):
            connection.drain()

        def emptied() -> None:
            self._earlier.remove(retired)
            unused()

        self.reactor.callLater(0, retired.when_empty, emptied)

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        """A connection from *addr*; None, which closes it, where that is no peer of this port."""
        self._accepted()
        peer = _peer(self.site.listen, addr)
        if peer is None:
            return None
        made = HttpConnection(self.site, self.reactor, self._current, self.hot, self._turn)
        made.peer_host, made.peer_port = peer
        made.draining = self._draining
        return made


def _peer(listen: Listen, address: IAddress | None) -> tuple[str, int] | None:
    """What ``$remote_addr`` and ``$remote_port`` say of a client that *listen* has accepted.

    The kind of the listening socket decides who is a UNIX peer, never a missing address:
    ``allow unix:`` must not let in a TCP client whose address is not known any more.
    None for such a client.
    """
    if listen.path:
        return "unix:", 0
    if isinstance(address, IPv4Address):
        return address.host, address.port
    if isinstance(address, IPv6Address):
        return address.host.partition("%")[0], address.port  # without the scope, as nginx
    return None


class Listener:
    """One listening socket; *guard* pauses it while descriptors are short."""

    def __init__(
        self,
        listen: Listen,
        site: Site,
        reactor: Any,
        contexts: Callable[[str | None], SSL.Context | None] | None,
        guard: DescriptorGuard,
    ) -> None:
        self.listen = listen
        self._guard = guard
        self.factory = HttpFactory(site, reactor, guard.accepted)
        self.tls = None if contexts is None else TlsFactory(self.factory, contexts, reactor)
        self._reactor = reactor
        self._port: Any = None

    def open(self) -> None:
        """Bind and listen; raises :class:`ConfigError` with nginx's wording."""
        self._listen()
        self._guard.add(self)

    def _listen(self) -> None:
        factory = self.tls or self.factory
        listen = self.listen
        try:
            if listen.path:
                _remove_stale_socket(listen.path)
                self._port = self._reactor.listenUNIX(
                    listen.path, factory, backlog=listen.backlog, mode=0o666
                )
                return
            bound = _bind(listen)
            try:
                self._port = self._reactor.adoptStreamPort(
                    bound.fileno(), bound.family, factory
                )
            finally:
                bound.close()
        except Exception as failure:
            cause = getattr(failure, "socketError", failure)
            number, text = getattr(cause, "errno", None), getattr(cause, "strerror", None)
            reason = f"{number}: {text}" if number else str(cause)
            raise ConfigError(f"bind() to {_named(listen)} failed ({reason})") from failure

    def replace(
        self,
        site: Site,
        contexts: Callable[[str | None], SSL.Context | None] | None,
        unused: Callable[[], None],
    ) -> None:
        """Serve *site* from now on; connections that are open finish what they are at.

        *unused* is called once none is left on the site before.
        """
        self.factory.serve(site, unused)
        if self.tls is not None and contexts is not None:
            self.tls.contexts = contexts

    def can_become(self, listen: Listen) -> bool:
        """Whether a reload may keep this socket for *listen*."""
        return listen.address == self.listen.address and listen.ssl == self.listen.ssl

    def close(self) -> Any:
        """Accept nothing more; returns a Deferred or None. A UNIX socket's file goes."""
        port, self._port = self._port, None
        self._guard.remove(self)
        return None if port is None else port.stopListening()

    def pause_accepting(self) -> None:
        """Let new connections wait in the kernel's queue."""
        if self._port is not None:
            self._port.stopReading()

    def resume_accepting(self) -> None:
        """Accept again."""
        if self._port is not None:
            self._port.startReading()

    def retire(self, unused: Callable[[], None]) -> None:
        """Accept nothing more; *unused* is called once every connection has ended."""
        self.close()
        self.factory.close(unused)

    def cut(self) -> None:
        """Close every connection now."""
        for connection in self.factory.connections:
            connection.cut()

    @property
    def port(self) -> int:
        """The port that it is bound to; 0 for a UNIX socket."""
        return int(getattr(self._port.getHost(), "port", 0))


def _named(listen: Listen) -> str:
    if listen.path:
        return f"unix:{listen.path}"
    host = f"[{listen.host}]" if ":" in listen.host else listen.host
    return f"{host}:{listen.port}"


def _bind(listen: Listen) -> socket.socket:
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setblocking(False)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if listen.reuseport and hasattr(socket, "SO_REUSEPORT"):
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if listen.so_keepalive:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if listen.rcvbuf:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, listen.rcvbuf)
        if listen.sndbuf:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, listen.sndbuf)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(listen.ipv6only))
        bound.bind((listen.host, listen.port))
        bound.listen(listen.backlog)
    except OSError:
        bound.close()
        raise
    return bound


def _remove_stale_socket(path: str) -> None:
    """A socket file that nobody listens on was left by a process that was killed."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
    except OSError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except OSError:
            return
