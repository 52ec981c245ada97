"""Twisted's tests of UNIX sockets, with the uvloop reactor.

Once as they are, which is on Twisted's own UNIX transports, and once with a reactor that takes
every factory for an ``IByteStreamFactory``, which is on uvloop's.
"""

from __future__ import annotations

# Most of Twisted's own methods have no annotations.
# mypy: disable-error-code="no-untyped-call"
from typing import Any

from twisted.internet import protocol
from twisted.internet.endpoints import UNIXClientEndpoint, UNIXServerEndpoint, _WrappingFactory
from twisted.internet.interfaces import IUNIXTransport
from twisted.internet.test import test_unix
from twisted.trial import unittest
from zope.interface import directlyProvides

from cacheproxy.net.reactor import unix
from cacheproxy.net.reactor.interfaces import IByteStreamFactory
from cacheproxy.net.reactor.transport import StreamConnection
from tests.net.reactor.cases import bind, in_temporary_folder, make_reactor

BUILDERS = (
    test_unix.UNIXTestsBuilder,
    test_unix.UNIXPortTestsBuilder,
    test_unix.UNIXFDPortTestsBuilder,
    test_unix.UNIXAdoptStreamConnectionTestsBuilder,
    test_unix.UnixClientTestsBuilder,
)

__all__ = ["in_temporary_folder"]

globals().update(bind(*BUILDERS, test_unix.UNIXDatagramTestsBuilder))


def make_byte_stream_reactor(case: Any) -> Any:
    """A reactor that never passes descriptors over UNIX sockets."""
    case.patch(unix, "is_byte_stream", lambda factory: True)
    return make_reactor(case)


NO_DESCRIPTORS = "the factory has promised that its protocols pass no descriptors"

globals().update(
    {
        f"ByteStream{name}": case
        for name, case in bind(
            *BUILDERS,
            factory=make_byte_stream_reactor,
            inapplicable={
                "test_sendFileDescriptor": NO_DESCRIPTORS,
                "test_sendFileDescriptorTriggersPauseProducing": NO_DESCRIPTORS,
                "test_fileDescriptorOverrun": NO_DESCRIPTORS,
                "test_avoidLeakingFileDescriptors": NO_DESCRIPTORS,
                "test_descriptorDeliveredBeforeBytes": NO_DESCRIPTORS,
            },
        ).items()
    }
)


class ByteStreamTests(unittest.SynchronousTestCase):
    """Which factories get uvloop's transport."""

    def test_the_marker_is_found_on_the_factory_and_through_an_endpoint(self) -> None:
        """Endpoints wrap the factory they are given."""
        plain: Any = protocol.Factory.forProtocol(protocol.Protocol)
        marked: Any = protocol.Factory.forProtocol(protocol.Protocol)
        directlyProvides(marked, IByteStreamFactory)
        self.assertFalse(unix.is_byte_stream(plain))
        self.assertTrue(unix.is_byte_stream(marked))
        self.assertFalse(unix.is_byte_stream(_WrappingFactory(plain)))
        self.assertTrue(unix.is_byte_stream(_WrappingFactory(marked)))

    def test_marked_factories_talk_over_uvloop(self) -> None:
        """Both ends, through endpoints."""
        reactor = make_reactor(self)
        transports: list[Any] = []

        class Note(protocol.Protocol):
            def connectionMade(self) -> None:
                transports.append(self.transport)
                if len(transports) == 2:
                    reactor.stop()

        factory = protocol.Factory.forProtocol(Note)
        directlyProvides(factory, IByteStreamFactory)
        path = self.mktemp()[-20:].replace("/", "_")
        UNIXServerEndpoint(reactor, path).listen(factory)
        UNIXClientEndpoint(reactor, path).connect(factory)
        reactor.run(installSignalHandlers=False)
        self.assertTrue(all(isinstance(each, StreamConnection) for each in transports))
        self.assertFalse(any(IUNIXTransport.providedBy(each) for each in transports))
