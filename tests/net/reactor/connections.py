"""One connection to the uvloop reactor, from a plain socket in a thread."""

from __future__ import annotations

# Most of Twisted's own methods have no annotations.
# mypy: disable-error-code="no-untyped-call"
import socket
import threading
from collections.abc import Callable
from typing import Any

from twisted.internet import interfaces, protocol
from twisted.internet.test.reactormixins import ReactorBuilder
from twisted.trial import unittest
from zope.interface import implementer

from cacheproxy.net.reactor.interfaces import IDirectProtocol
from tests.net.reactor.cases import make_reactor

__all__ = [
    "LARGE",
    "ConnectionCase",
    "DirectRecorder",
    "HalfCloseableRecorder",
    "Recorder",
    "read_all",
]

LARGE = 8 << 20
"""More bytes than the kernel takes on both ends of a loopback connection."""


class Recorder(protocol.Protocol):
    """Keeps all that happens to it; ``script`` maps the name of an event to what to do then."""

    script: dict[str, Callable[[Any], object]] = {}  # noqa: RUF012  # set by each test

    def __init__(self) -> None:
        self.received = b""
        self.reason: Any = None
        self.events: list[str] = []

    def happened(self, event: str) -> None:
        self.events.append(event)
        if event in self.script:
            self.script[event](self)

    def connectionMade(self) -> None:
        self.happened("made")

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        self.happened("data")

    def connectionLost(self, reason: Any = protocol.connectionDone) -> None:
        self.reason = reason.value
        self.happened("lost")


@implementer(IDirectProtocol)
class DirectRecorder(Recorder):
    """The same, called by uvloop directly."""


@implementer(interfaces.IHalfCloseableProtocol)
class HalfCloseableRecorder(Recorder):
    """The same, told of each half."""

    def readConnectionLost(self) -> None:
        self.happened("read lost")

    def writeConnectionLost(self) -> None:
        self.happened("write lost")


class ConnectionCase(ReactorBuilder, unittest.SynchronousTestCase):
    """Serves one connection, to a client that is a plain socket in a thread."""

    reactorFactory = make_reactor

    def serve(
        self,
        kind: type[Recorder],
        script: dict[str, Callable[[Any], object]],
        client: Callable[[socket.socket], Any],
    ) -> tuple[Any, Any]:
        """Run until the client has returned and the connection is lost; both their ends."""
        reactor: Any = self.buildReactor()
        made: list[Any] = []
        ended: list[Any] = []

        def build(address: object) -> Recorder:
            made.append(kind())
            made[0].script = {**script, "lost": both_ended}
            return made[0]  # type: ignore[no-any-return]

        def both_ended(_: object) -> None:
            ended.append(None)
            if len(ended) == 2:
                reactor.stop()

        def run_client(address: Any) -> None:
            try:
                with socket.create_connection(address, 10) as connection:
                    results.append(client(connection))
            except Exception as exc:
                results.append(exc)
            reactor.callFromThread(both_ended, None)

        results: list[Any] = []
        factory = protocol.Factory()
        factory.buildProtocol = build  # type: ignore[assignment,method-assign]
        host = reactor.listenTCP(0, factory, interface="127.0.0.1").getHost()
        thread = threading.Thread(target=run_client, args=((host.host, host.port),))
        reactor.callWhenRunning(thread.start)
        self.runReactor(reactor, timeout=20)
        thread.join()
        if isinstance(results[0], Exception):
            raise results[0]
        return made[0], results[0]


def read_all(connection: socket.socket) -> bytes:
    """All bytes up to the end."""
    return b"".join(iter(lambda: connection.recv(1 << 18), b""))
