"""UNIX ports and connectors for factories that promise to exchange bytes alone.

Any other factory gets Twisted's own transports, which can carry descriptors (see
``interfaces.IByteStreamFactory``). Must not import uvloop.
"""

from __future__ import annotations

# Most of Twisted's own methods have no annotations.
# mypy: disable-error-code="no-untyped-call"
from typing import Any

from twisted.internet import unix

from cacheproxy.net.reactor.interfaces import IByteStreamFactory
from cacheproxy.net.reactor.tcp import AcceptingPort, HandsOver

__all__ = ["Connector", "Port", "is_byte_stream"]


def is_byte_stream(factory: Any) -> bool:
    """Whether the factory, or the one that an endpoint has wrapped in it, made the promise."""
    while factory is not None:
        if IByteStreamFactory.providedBy(factory):
            return True
        factory = getattr(factory, "_wrappedFactory", None)
    return False


class Port(AcceptingPort, unix.Port):
    """A UNIX stream port."""


class _Client(HandsOver, unix.Client):
    """A UNIX stream connection attempt."""


class Connector(unix.Connector):
    """Connects to a UNIX stream port."""

    def _makeTransport(self) -> Any:
        return _Client(self.address, self, self.reactor, self.checkPID)
