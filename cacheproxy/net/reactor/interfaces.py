"""What a factory can tell the uvloop reactor; importable where uvloop is not installed.

Must not import uvloop or any other module of this package.
"""

from __future__ import annotations

from typing import Any

from zope.interface import Interface

__all__ = ["LONG_READ", "IByteStreamFactory", "IDirectProtocol", "give_way"]

#: Bytes in one read after which other connections come first.
LONG_READ = 128 * 1024


def give_way(transport: Any) -> None:
    """After a long read: let *transport* read on in the next turn, where it can.

    uvloop reads one connection up to 32 times before it looks at another: 8 MB, which
    take seconds to work through where they are made of tiny pieces. Other reactors
    read each connection once a turn, and their transports have no ``breathe``.
    """
    breathe = getattr(transport, "breathe", None)
    if breathe is not None:
        breathe()


class IByteStreamFactory(Interface):  # type: ignore[misc]  # zope.interface has no types
    """Marks a factory whose protocols exchange bytes alone, never file descriptors.

    A UNIX socket can carry descriptors (``IUNIXTransport``), and a transport that may meet one
    has to read with ``recvmsg``. A factory that provides this interface, given to ``listenUNIX``
    or ``connectUNIX`` directly or through an endpoint, gets uvloop's transport instead: faster,
    without ``sendFileDescriptor``; descriptors that a peer sends are closed by the kernel.
    On other reactors the marker has no effect.
    """


class IDirectProtocol(Interface):  # type: ignore[misc]  # zope.interface has no types
    """Marks a protocol that uvloop may call with nothing in between.

    Its ``dataReceived`` is looked up once, after ``makeConnection`` and whenever it is assigned to
    ``transport.protocol``: it must not be replaced on the instance. What it logs does not carry
    the connection's prefix as its system. Any other protocol gets all that Twisted's own
    transports do. On other reactors the marker has no effect.
    """
