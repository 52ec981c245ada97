"""Accepted TLS connections: names, sessions, plain HTTP, garbage, real clients."""

import dataclasses
import os
import shutil
import ssl
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.internet import error, reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.task import Clock
from twisted.internet.utils import getProcessOutput
from twisted.trial.unittest import SynchronousTestCase, TestCase

from cacheproxy.net.tls.accept import PLAIN_HTTP_RESPONSE, TlsFactory, TlsServerProtocol
from cacheproxy.net.tls.client_hello import MAX_CLIENT_HELLO
from cacheproxy.net.tls.contexts import ServerContexts, make_server_context
from cacheproxy.net.tls.stream import MAX_HANDSHAKE_INPUT
from tests.net.tls.test_client_hello import HELLO
from tests.net.tls.test_contexts import AUTHORITY, OPTIONS
from tests.net.tls_peers import Peer, Recorder, Wire, client_context

OTHER = dataclasses.replace(OPTIONS, certificates=(AUTHORITY.issue("other.example"),))
CONTEXT = make_server_context(OPTIONS)
OTHER_CONTEXT = make_server_context(OTHER)
CONTEXTS = ServerContexts(CONTEXT, {"other.example": OTHER_CONTEXT})


class PlainRecorder(Recorder):
    """A protocol that wants to answer clients without TLS itself."""

    plain = b""

    def on_plain_http(self, data: bytes) -> None:
        self.plain += data
        self.transport.write(b"plain answer")  # type: ignore[union-attr]


class Server:
    """One accepted connection in memory."""

    def __init__(self, inner: Recorder | None = None, contexts: Any = CONTEXTS) -> None:
        self.inner = inner or Recorder()
        self.clock = Clock()
        self.tls = TlsServerProtocol(self.inner, contexts, self.clock)
        self.wire = Wire()
        self.tls.makeConnection(self.wire)

    def peer(self, client: ssl.SSLContext | None = None, **options: Any) -> Peer:
        return Peer(self.tls, self.wire, client or client_context(), **options).run()


class HandshakeTests(SynchronousTestCase):
    def test_name_chooses_the_certificate(self) -> None:
        """RFC 6066 §3: each name gets its own server's certificate and ``$ssl_server_name``."""
        for name, expected in ((None, b"a.example"), ("other.example", b"other.example")):
            server = Server()
            peer = server.peer(server_hostname=name)
            certificate = peer.tls.getpeercert(True)
            assert certificate is not None and server.tls.info is not None
            self.assertIn(expected, certificate)
            self.assertEqual(server.tls.info.server_name, name or "")
            self.assertEqual(server.inner.handshakes, 1)

    def test_info_describes_the_connection(self) -> None:
        """``$ssl_protocol``, ``$ssl_cipher``, ``$ssl_session_*``, readable after the end."""
        client = client_context()
        client.maximum_version = ssl.TLSVersion.TLSv1_2
        server = Server()
        peer = server.peer(client)
        info = server.tls.info
        assert info is not None
        server.tls.connectionLost(connectionDone)
        self.assertEqual(info.protocol, "TLSv1.2")
        self.assertEqual(info.cipher, peer.tls.cipher()[0])
        self.assertFalse(info.session_reused)
        again = Server()
        again.peer(client, session=peer.tls.session)
        assert again.tls.info is not None
        self.assertTrue(again.tls.info.session_reused)

    def test_session_id_is_the_one_that_the_client_knows(self) -> None:
        """``$ssl_session_id`` with the session cache (RFC 5246 §7.4.1.3)."""
        options = dataclasses.replace(OPTIONS, session_tickets=False, session_cache="builtin")
        client = client_context()
        client.maximum_version = ssl.TLSVersion.TLSv1_2
        server = Server(contexts=ServerContexts(make_server_context(options)))
        peer = server.peer(client)
        assert server.tls.info is not None and peer.tls.session is not None
        self.assertEqual(server.tls.info.session_id, peer.tls.session.id.hex())

    def test_session_is_not_resumed_under_another_name(self) -> None:
        """The name decides the context before OpenSSL looks for the session."""
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            client = client_context()
            client.maximum_version = version
            session = Server().peer(client, server_hostname="a.example").tls.session
            peer = Server().peer(client, server_hostname="other.example", session=session)
            self.assertFalse(peer.tls.session_reused)
            peer = Server().peer(client, server_hostname="a.example", session=session)
            self.assertTrue(peer.tls.session_reused)

    def test_refused_name_gets_an_alert(self) -> None:
        """No context at all: ``unrecognized_name``."""
        server = Server(contexts=ServerContexts(None))
        failure = self.assertRaises(ssl.SSLError, server.peer, server_hostname="x.example")
        self.assertIn("UNRECOGNIZED_NAME", str(failure).upper().replace(" ", "_"))
        self.assertTrue(server.wire.disconnecting)

    def test_failing_choice_ends_the_connection(self) -> None:
        """A programming error costs one connection."""

        def fail(_name: str | None) -> SSL.Context:
            raise ValueError("no")

        server = Server(contexts=fail)
        server.tls.dataReceived(HELLO)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertTrue(server.wire.disconnected or server.wire.disconnecting)

    def test_handshake_in_single_bytes(self) -> None:
        """Any split of the input gives the same."""
        server = Server()
        whole = server.tls.dataReceived

        def pieces(data: bytes) -> None:
            for position in range(len(data)):
                whole(data[position : position + 1])

        server.tls.dataReceived = pieces  # type: ignore[method-assign]
        server.peer().send(b"GET /").send(b"x" * 20_000)
        self.assertEqual(server.inner.received, b"GET /" + b"x" * 20_000)

    def test_endless_hello_is_bounded(self) -> None:
        """Tiny records cannot make the buffer grow."""
        server = Server()
        data = b"\x16\x03\x01\x00\x01\x01" + b"\x16\x03\x01\x00\x01\x00" * (MAX_CLIENT_HELLO // 2)
        server.tls.dataReceived(data)
        self.assertTrue(server.wire.disconnecting)

    def test_endless_handshake_is_bounded(self) -> None:
        """What comes after the hello is counted, too."""
        server = Server()
        server.tls.dataReceived(HELLO)
        for _ in range(MAX_HANDSHAKE_INPUT // 1000 + 2):
            server.tls.dataReceived(b"\x14\x03\x03\x00\x01\x01" * 167)
        self.assertTrue(server.wire.disconnecting)

    @settings(max_examples=80, deadline=None)
    @given(st.lists(st.binary(max_size=300), max_size=4), st.booleans())
    def test_garbage_never_raises(self, chunks: list[bytes], hello_first: bool) -> None:
        """Whatever arrives, before or after a hello, ends in order."""
        server = Server()
        if hello_first:
            server.tls.dataReceived(HELLO)
        for chunk in chunks:
            if chunk:
                server.tls.dataReceived(chunk)
        server.tls.connectionLost(connectionDone)
        self.assertIsNotNone(server.inner.lost)
        self.assertEqual(server.inner.received, b"")

    @settings(max_examples=40, deadline=None)
    @given(st.integers(0, 40), st.integers(1, 255))
    def test_changed_record_is_never_delivered(self, position: int, change: int) -> None:
        """A record with any byte changed gives an alert, not data."""
        server = Server()
        peer = server.peer()
        peer.tls.write(b"GET / HTTP/1.1\r\n")
        record = bytearray(peer.outgoing.read())
        record[min(position, len(record) - 1)] ^= change
        server.tls.dataReceived(bytes(record))
        self.assertEqual(server.inner.received, b"")


class PlainHttpTests(SynchronousTestCase):
    REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"

    def test_protocol_above_may_answer(self) -> None:
        """nginx's 497: data in clear goes to ``on_plain_http``, the answer goes out in clear."""
        server = Server(PlainRecorder())
        server.tls.dataReceived(self.REQUEST)
        server.tls.dataReceived(b"more")
        assert isinstance(server.inner, PlainRecorder)
        self.assertEqual(server.inner.plain, self.REQUEST)
        self.assertEqual(server.inner.received, b"more")
        self.assertEqual(server.wire.value(), b"plain answer")
        server.tls.loseConnection()
        self.assertTrue(server.wire.disconnecting)
        server.tls.connectionLost(connectionDone)
        assert server.inner.lost is not None
        self.assertTrue(server.inner.lost.check(error.ConnectionDone))

    def test_without_such_a_protocol_it_is_400(self) -> None:
        """A client without TLS is told so."""
        server = Server()
        server.tls.dataReceived(self.REQUEST)
        self.assertEqual(server.wire.value(), PLAIN_HTTP_RESPONSE)
        self.assertTrue(server.wire.disconnecting)
        self.assertEqual(server.inner.received, b"")


class Echo(Recorder):
    """Answers "GET <n>" with n bytes, anything else with its length, and closes on QUIT."""

    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data)
        transport: Any = self.transport
        if self.received.endswith(b"\r\n\r\n"):
            body = b"z" * 3_000_000
            transport.write(
                b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body)
            )
            transport.write(body)
            transport.loseConnection()


class SocketTests(TestCase):
    timeout = 30

    def listen(self) -> int:
        factory = TlsFactory(Factory.forProtocol(Echo), CONTEXTS, reactor)
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        number: int = port.getHost().port
        return number

    def test_curl_fetches_over_a_socket(self) -> Deferred[Any]:
        """A real client, a real socket, more than any buffer holds."""
        curl = shutil.which("curl")
        if curl is None:
            self.skipTest("no curl")
        url = f"https://127.0.0.1:{self.listen()}/"
        fetched = getProcessOutput(curl, ["-sSk", url], os.environ)
        return fetched.addCallback(lambda body: self.assertEqual(len(body), 3_000_000))

    def test_openssl_resumes_with_the_ticket(self) -> Deferred[Any]:
        """``openssl s_client -reconnect`` finds its session again."""
        openssl = shutil.which("openssl")
        if openssl is None:
            self.skipTest("no openssl")
        where = f"127.0.0.1:{self.listen()}"
        # From a shell, since only an input that has ended makes it leave.
        command = f"{openssl} s_client -connect {where} -reconnect -tls1_2 </dev/null"
        done = getProcessOutput("/bin/sh", ["-c", command], os.environ, errortoo=True)
        return done.addCallback(
            lambda output: self.assertEqual(output.count(b"Reused, TLSv1.2"), 5, output[-2000:])
        )
