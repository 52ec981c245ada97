"""TLS toward upstreams: verification, names, resumption, and nothing from outside TLS."""

import dataclasses
import socket
import ssl
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet import error, reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from cacheproxy.errors import Stage, UpstreamError
from cacheproxy.net.tls.accept import TlsFactory
from cacheproxy.net.tls.client import MAX_SESSIONS, TlsClientProtocol, TlsEndpoint, UpstreamTls
from cacheproxy.net.tls.contexts import ServerContexts, make_server_context
from cacheproxy.net.tls.stream import TruncatedClose
from cacheproxy.policy.options import ProxySsl
from tests.net.tls.test_contexts import AUTHORITY, EC, OPTIONS
from tests.net.tls_peers import Authority, Peer, Recorder, Wire, server_context

ADDRESS = AUTHORITY.issue("address", address="127.0.0.1")
VERIFY = ProxySsl(verify=True, trusted_certificate=AUTHORITY.path)


class Client:
    """One connection to an upstream in memory."""

    def __init__(
        self, options: ProxySsl | UpstreamTls, name: str = "a.example", key: object = None
    ) -> None:
        self.inner = Recorder()
        self.done = 0
        self.failures: list[UpstreamError] = []
        self.wire = Wire()
        tls = options if isinstance(options, UpstreamTls) else UpstreamTls(options)
        self.tls = TlsClientProtocol(
            self.inner,
            tls,
            name,
            Clock(),
            key=key,
            on_handshake=self._count,
            on_handshake_failed=self.failures.append,
        )
        self.tls.makeConnection(self.wire)

    def _count(self) -> None:
        self.done += 1

    def peer(self, pair: tuple[str, str] = EC, context: ssl.SSLContext | None = None) -> Peer:
        """A server of the standard library; its own failures do not matter."""
        peer = Peer(self.tls, self.wire, context or server_context(pair), server_side=True)
        try:
            peer.run()
        except ssl.SSLError:
            out = peer.outgoing.read()
            if out:
                self.tls.dataReceived(out)
        return peer


class HandshakeTests(SynchronousTestCase):
    def test_data_flows_both_ways(self) -> None:
        """The protocol above is connected once the handshake is done, and not before."""
        client = Client(ProxySsl())
        self.assertIsNone(client.inner.transport)
        peer = client.peer()
        self.assertIs(client.inner.transport, client.tls)
        self.assertEqual(client.done, 1)
        client.tls.write(b"request")
        peer.run().send(b"response")
        self.assertEqual((peer.received, client.inner.received), (b"request", b"response"))

    def fails(self, client: Client, words: str) -> None:
        """The handshake failed, was told once, and the protocol above knows nothing of it."""
        self.assertEqual(len(client.failures), 1)
        self.assertIn(words, str(client.failures[0]))
        self.assertIs(client.failures[0].stage, Stage.TLS)
        self.assertEqual(client.failures[0].status, 502)
        client.tls.connectionLost(connectionDone)
        self.assertEqual((client.done, len(client.failures)), (0, 1))
        self.assertIsNone(client.inner.lost)
        self.assertIsNone(client.inner.transport)

    def test_verification_is_off_by_default(self) -> None:
        """``proxy_ssl_verify off``, as in nginx: any certificate, any name."""
        client = Client(ProxySsl(), "b.example")
        client.peer()
        self.assertEqual(client.done, 1)

    def test_trusted_certificate_of_the_right_name_passes(self) -> None:
        """Names, names with a port, and addresses."""
        for name, pair in (
            ("a.example", EC),
            ("a.example:8443", EC),
            ("127.0.0.1:443", ADDRESS),
            ("127.0.0.1", ADDRESS),
        ):
            client = Client(VERIFY, name)
            client.peer(pair)
            self.assertEqual(client.done, 1, (name, client.failures))

    def test_wrong_name_is_refused(self) -> None:
        """RFC 6125 §6: a trusted certificate of somebody else."""
        for name, pair in (("b.example", EC), ("127.0.0.2", ADDRESS), ("", EC)):
            client = Client(VERIFY, name)
            client.peer(pair)
            self.fails(client, "does not match")

    def test_untrusted_and_revoked_certificates_are_refused(self) -> None:
        """``proxy_ssl_trusted_certificate`` and ``proxy_ssl_crl``, with the reason in words."""
        import tempfile

        stranger = Authority(tempfile.mkdtemp()).issue("a.example")
        client = Client(VERIFY)
        client.peer(stranger)
        self.fails(client, "upstream SSL certificate verify error: (")
        revoked = dataclasses.replace(VERIFY, crl=AUTHORITY.revoke(EC[0]))
        client = Client(revoked)
        client.peer()
        self.fails(client, "revoked")

    def test_server_name_is_sent_only_when_asked_for(self) -> None:
        """``proxy_ssl_server_name``; never for an address (RFC 6066 §3)."""
        for options, name, expected in (
            (ProxySsl(), "a.example", None),
            (ProxySsl(server_name=True), "a.example:443", "a.example"),
            (ProxySsl(server_name=True), "127.0.0.1", None),
        ):
            seen: list[str | None] = []
            context = server_context(EC)
            context.sni_callback = lambda _tls, found, _context, seen=seen: seen.append(found)
            client = Client(options, name)
            client.peer(context=context)
            self.assertEqual(client.done, 1)
            self.assertEqual(seen[0] if seen else None, expected)

    def test_client_certificate_is_shown(self) -> None:
        """``proxy_ssl_certificate``."""
        context = server_context(EC)
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(AUTHORITY.path)
        mine = AUTHORITY.issue("me.example")
        client = Client(ProxySsl(certificate=mine[0], certificate_key=mine[1]))
        peer = client.peer(context=context)
        certificate = peer.tls.getpeercert(True)
        assert certificate is not None
        self.assertIn(b"me.example", certificate)

    def test_plaintext_before_the_handshake_is_never_delivered(self) -> None:
        """Whatever comes outside TLS ends the attempt (NGINX CVE-2026-1642's class)."""
        for early in (b"HTTP/1.1 200 OK\r\n\r\nforged", b"\x17\x03\x03\x00\x02ok"):
            client = Client(ProxySsl())
            client.tls.dataReceived(early)
            client.peer()
            self.assertEqual(client.inner.received, b"")
            self.fails(client, "SSL_do_handshake() failed")

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.binary(min_size=1, max_size=200), max_size=3))
    def test_garbage_never_raises(self, chunks: list[bytes]) -> None:
        """An upstream that talks nonsense fails the attempt, once."""
        client = Client(ProxySsl())
        for chunk in chunks:
            client.tls.dataReceived(chunk)
        client.tls.connectionLost(connectionDone)
        self.assertEqual((client.done, len(client.failures)), (0, 1))

    def test_truncated_response_is_told_apart(self) -> None:
        """A body that the close delimits must not be taken for whole (RFC 9112 §9.8)."""
        client = Client(ProxySsl())
        client.peer().send(b"half")
        client.tls.connectionLost(connectionDone)
        assert client.inner.lost is not None
        self.assertTrue(client.inner.lost.check(TruncatedClose))


class SessionTests(SynchronousTestCase):
    def test_sessions_are_reused_per_name_and_server(self) -> None:
        """``proxy_ssl_session_reuse``, with both versions of TLS."""
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = server_context(EC)
            context.maximum_version = version
            tls = UpstreamTls(ProxySsl())
            Client(tls, key=1).peer(context=context).send(b"answer")
            results = []
            for name, key in (("a.example", 1), ("a.example", 2), ("b.example", 1)):
                client = Client(tls, name, key)
                client.peer(context=context)
                assert client.tls.info is not None
                results.append(client.tls.info.session_reused)
            self.assertEqual(results, [True, False, False])

    def test_reuse_can_be_off(self) -> None:
        """``proxy_ssl_session_reuse off``."""
        context = server_context(EC)
        tls = UpstreamTls(ProxySsl(session_reuse=False))
        Client(tls).peer(context=context).send(b"answer")
        client = Client(tls)
        client.peer(context=context)
        assert client.tls.info is not None
        self.assertFalse(client.tls.info.session_reused)

    def test_sessions_kept_are_bounded(self) -> None:
        """Names come from requests: their number has a bound."""
        tls = UpstreamTls(ProxySsl())
        client = Client(tls)
        client.peer()
        assert client.tls._connection is not None
        for number in range(MAX_SESSIONS + 10):
            tls.keep_session(number, client.tls._connection)
        self.assertEqual(len(tls._sessions), MAX_SESSIONS)


class Upper(Recorder):
    def dataReceived(self, data: bytes) -> None:
        self.transport.write(data.upper())  # type: ignore[union-attr]


class Asking(Recorder):
    """Sends *size* bytes when connected and knows when as many have come back."""

    size = 2_000_000

    def connectionMade(self) -> None:
        self.back: Deferred[bytes] = Deferred()
        self.transport.write(b"x" * self.size)  # type: ignore[union-attr]

    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data)
        if len(self.received) == self.size:
            self.back.callback(self.received)


class TlsEndpointTests(TestCase):
    timeout = 30

    def endpoint(self, port: int, clock: Any = reactor, **options: Any) -> TlsEndpoint:
        below = TCP4ClientEndpoint(reactor, "127.0.0.1", port)
        return TlsEndpoint(clock, below, UpstreamTls(VERIFY), "a.example", **options)

    @inlineCallbacks
    def test_large_transfer_both_ways_over_sockets(self) -> Any:
        """Our client and our server, more than any buffer holds."""
        contexts = ServerContexts(make_server_context(OPTIONS))
        factory = TlsFactory(Factory.forProtocol(Upper), contexts, reactor)
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        asking = yield self.endpoint(port.getHost().port).connect(Factory.forProtocol(Asking))
        received = yield asking.back
        self.assertEqual(received, b"X" * Asking.size)
        asking.transport.abortConnection()

    def listener(self) -> socket.socket:
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        return listener

    @inlineCallbacks
    def test_upstream_without_tls_fails_with_the_stage(self) -> Any:
        """``UpstreamError(stage=TLS)`` decides what may be retried."""
        factory = Factory.forProtocol(Greeter)
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        connecting = self.endpoint(port.getHost().port).connect(Factory.forProtocol(Asking))
        failure = yield self.assertFailure(connecting, UpstreamError)
        self.assertIs(failure.stage, Stage.TLS)
        self.assertFalse(failure.timeout)

    @inlineCallbacks
    def test_silent_upstream_times_out(self) -> Any:
        """``proxy_connect_timeout`` covers the handshake."""
        clock = Clock()
        port = self.listener().getsockname()[1]
        endpoint = self.endpoint(port, clock, timeout=7.0)
        connecting = endpoint.connect(Factory.forProtocol(Asking))
        while not clock.getDelayedCalls():
            yield self._turn()
        clock.advance(6.9)
        self.assertNoResult(connecting)
        clock.advance(0.2)
        failure = yield self.assertFailure(connecting, UpstreamError)
        self.assertTrue(failure.timeout)
        self.assertEqual(failure.status, 504)
        yield self._turn()

    def _turn(self) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        reactor.callLater(0.001, done.callback, None)  # type: ignore[attr-defined]
        return done

    @inlineCallbacks
    def test_cancelling_closes_the_connection(self) -> Any:
        """An exchange that gave up leaves nothing behind."""
        clock = Clock()
        connecting = self.endpoint(self.listener().getsockname()[1], clock).connect(
            Factory.forProtocol(Asking)
        )
        while not clock.getDelayedCalls():
            yield self._turn()
        connecting.cancel()
        yield self.assertFailure(connecting, Exception)
        self.assertEqual(clock.getDelayedCalls(), [])
        yield self._turn()

    @inlineCallbacks
    def test_refused_connection_keeps_its_own_error(self) -> Any:
        """Not a fault of TLS."""
        listener = self.listener()
        port = listener.getsockname()[1]
        listener.close()
        connecting = self.endpoint(port).connect(Factory.forProtocol(Asking))
        yield self.assertFailure(connecting, error.ConnectionRefusedError)


class Greeter(Recorder):
    def connectionMade(self) -> None:
        self.transport.write(b"220 hello\r\n")  # type: ignore[union-attr]
