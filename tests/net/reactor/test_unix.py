"""Twisted's tests of UNIX sockets, with the uvloop reactor.

Once as they are, which is on Twisted's own UNIX transports, and once with a reactor that takes
every factory for an ``IByteStreamFactory``, which is on uvloop's.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.test import test_unix

from cacheproxy.net.reactor import unix
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
