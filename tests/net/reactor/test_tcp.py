"""Twisted's tests of TCP, with the uvloop reactor."""

from __future__ import annotations

from twisted.internet.test import test_socket, test_tcp

from tests.net.reactor.cases import bind, in_temporary_folder

__all__ = ["in_temporary_folder"]

globals().update(
    bind(
        test_tcp.TCP4ClientTestsBuilder,
        test_tcp.TCP6ClientTestsBuilder,
        test_tcp.TCPPortTestsBuilder,
        test_tcp.TCPFDPortTestsBuilder,
        test_tcp.TCPConnectionTestsBuilder,
        test_tcp.TCP4ConnectorTestsBuilder,
        test_tcp.TCP6ConnectorTestsBuilder,
        test_tcp.TCPTransportTestsBuilder,
        test_tcp.AdoptStreamConnectionTestsBuilder,
        test_tcp.TestBindAddressBuilder,
        test_tcp.AbortConnectionTests,
        test_socket.IReactorSocketVerificationTestsBuilder,
        test_socket.AdoptStreamPortErrorsTestsBuilder,
        test_socket.AdoptStreamConnectionErrorsTestsBuilder,
        test_socket.AdoptDatagramPortErrorsTestsBuilder,
    )
)
