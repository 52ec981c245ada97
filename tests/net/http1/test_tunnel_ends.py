"""The client's end of a tunnel; whole tunnels are in ``proxy/upstream/test_tunnel``."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

from tests.proxy.harness import BenchCase, Client, message
from tests.proxy.upstream.test_tunnel import HANDSHAKE, SWITCH


class ClientTunnelTests(BenchCase):
    """What the connection is asked for, and what it tells."""

    def joined(self, options: str = "") -> Client:
        """A client in a tunnel."""
        bench = self.proxy(
            f"proxy_websocket on; {options}",
            "access_log access.log l;",
            "log_format l '$bytes_sent $body_bytes_sent';",
        )
        client = bench.client()
        client.send(message(b"GET", b"/", *HANDSHAKE))
        self.origin.last.send(SWITCH)
        self.head = client.response().raw
        return client

    def test_bytes_are_counted(self) -> None:
        """The log has what went to the client, with the head of the 101."""
        client = self.joined()
        self.origin.last.send(b"0123456789")
        client.vanish()
        self.assertEqual(self.bench.log(), [f"{len(self.head) + 10} 10"])

    def test_body_that_was_not_whole_has_no_limit_in_the_tunnel(self) -> None:
        """``client_body_timeout`` is for a request's body alone."""
        client = self.joined("client_body_timeout 2s; proxy_read_timeout 100s;")
        client.transport.hold()
        self.origin.last.send(b"x" * 100_000)
        client.release()
        self.bench.advance(30)
        self.assertFalse(client.transport.lost)
        client.send(b"still here")
        self.assertTrue(self.origin.last.received.endswith(b"still here"))
