"""The two pumps do the same, and the calls behind pyOpenSSL say what they should."""

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.net.tls import openssl as tls_openssl
from cacheproxy.net.tls.contexts import make_client_context, make_server_context
from cacheproxy.net.tls.openssl import NativePump, PublicPump, Pump
from cacheproxy.policy.options import ProxySsl
from tests.net.tls.test_contexts import OPTIONS


def joined(kind: type[NativePump] | type[PublicPump]) -> tuple[Pump, Pump, SSL.Connection]:
    """Two pumps with the handshake done, and the server's connection."""
    server = SSL.Connection(make_server_context(OPTIONS), None)
    server.set_accept_state()
    client = SSL.Connection(make_client_context(ProxySsl()), None)
    client.set_connect_state()
    pumps = kind(client), kind(server)
    for _ in range(3):
        for connection, here, there in ((client, *pumps), (server, *pumps[::-1])):
            try:
                connection.do_handshake()
            except SSL.WantReadError:
                pass
            data = here.take()
            if data:
                there.feed(data)
    return (*pumps, server)


class PumpTests(SynchronousTestCase):
    def test_this_pyopenssl_has_the_fast_pump(self) -> None:
        """An update that breaks it is to be noticed here, not in a benchmark."""
        connection = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
        self.assertIsInstance(tls_openssl.make_pump(connection), NativePump)

    def test_both_pumps_carry_the_same(self) -> None:
        """Fast path = slow path: short, long and sliced data, nothing when there is nothing."""
        for kind in (NativePump, PublicPump):
            client, server, _ = joined(kind)
            self.assertEqual(client.decrypt(), b"")
            self.assertEqual(client.take(), b"")
            self.assertEqual(server.decrypt(), b"")
            server.feed(client.encrypt(b"hello"))
            self.assertEqual(server.decrypt(), b"hello")
            self.assertEqual(server.decrypt(), b"")
            data = bytes(range(256)) * 1000
            records = list(server.encrypt_slices(data, 4096))
            self.assertEqual(len(records), 63)
            received = b""
            for record in records:
                client.feed(record)
                received += client.decrypt()
            self.assertEqual(received, data)
            client.feed(server.encrypt(b"x" * 100_000))
            received = b""
            while part := client.decrypt():
                received += part
            self.assertEqual(received, b"x" * 100_000)

    def test_both_pumps_tell_the_end_and_faults(self) -> None:
        """close_notify and broken records are pyOpenSSL's exceptions."""
        for kind in (NativePump, PublicPump):
            client, server, connection = joined(kind)
            connection.shutdown()
            client.feed(server.take())
            self.assertRaises(SSL.ZeroReturnError, client.decrypt)
            client, server, _ = joined(kind)
            server.feed(b"\x17\x03\x03\x00\x20" + b"x" * 32)
            self.assertRaises(SSL.Error, server.decrypt)

    def test_verify_errors_have_words(self) -> None:
        """As nginx logs them."""
        self.assertEqual(tls_openssl.verify_error_text(10), "10:certificate has expired")
