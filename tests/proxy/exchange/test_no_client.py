"""What stands where an exchange's client was: the connection is out of its reach."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

from cacheproxy.proxy.exchange.no_client import NoClient
from tests.proxy.harness import BenchCase, message, response

BROKEN_BODY = b"Transfer-Encoding: chunked"
FRESH = b"Cache-Control: max-age=60"


class NoClientTests(BenchCase):
    """``exchange.downstream`` once its client has gone, or is answered by another exchange."""

    def test_client_refused_then_connection_out_of_reach(self) -> None:
        """What is still done for others writes nothing to the connection."""
        self.cache()
        client = self.bench.client()
        client.send(message(b"GET", b"/", BROKEN_BODY))
        exchange = client.protocol.stream.exchange
        number = exchange.downstream.number
        client.send(b"ZZ\r\n")
        self.assertEqual(client.response().status, 400)
        downstream = exchange.downstream
        self.assertIsInstance(downstream, NoClient)
        self.assertEqual((downstream.peer_host, downstream.number), ("192.0.2.1", number))
        self.assertTrue(downstream.writable)
        downstream.send_informational(103, [])
        downstream.send_head(200, b"OK", [], 1, True)
        downstream.send_data(b"x")
        downstream.send_end()
        downstream.pause_request()
        downstream.resume_request()
        downstream.close_after_response()
        downstream.hand_over(exchange)
        downstream.abort()
        self.assertEqual(client.unread, b"")

    def test_log_line_names_the_client(self) -> None:
        """What is logged of the rest still says whose request it was."""
        self.cache()
        client = self.bench.client()
        client.send(message(b"GET", b"/"))
        client.vanish()
        self.origin.last.send(response(200, b"x", FRESH, length=False) + b"x")
        self.origin.last.reset()
        lines = self.bench.log("error.log")
        self.assertIn("client: 192.0.2.1", lines[-1])
