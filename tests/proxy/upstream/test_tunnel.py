"""After 101: bytes between client and origin, each end pausing the other (RFC 6455, §7.8)."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.proxy.harness import BenchCase, Client, message, response

HANDSHAKE = (
    b"Upgrade: websocket",
    b"Connection: Upgrade",
    b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)


class TunnelTests(BenchCase):
    """A WebSocket through the proxy."""

    def joined(
        self,
        options: str = "",
        early: bytes = b"",
        answer: bytes = SWITCH,
        server: str = "",
        log: bool = False,
    ) -> Client:
        """A client whose upgrade the origin has granted; *early* was sent behind its request."""
        if log:
            server += "access_log access.log l;"
        bench = self.proxy(
            f"proxy_websocket on; {options}",
            server,
            "log_format l '$status $body_bytes_sent';",
        )
        client = bench.client()
        client.send(message(b"GET", b"/ws", *HANDSHAKE) + early)
        self.assertEqual(client.unread, b"")
        self.assertEqual(self.origin.requests[0].get(b"upgrade"), b"websocket")
        self.assertEqual(self.origin.requests[0].get(b"connection"), b"Upgrade")
        self.head = len(self.origin.last.received)
        self.origin.last.send(answer)
        head = client.response()
        self.assertEqual(head.status, 101)
        self.assertEqual(head.get(b"upgrade"), b"websocket")
        self.assertEqual((head.get(b"connection") or b"").lower(), b"upgrade")
        self.assertIsNotNone(head.get(b"sec-websocket-accept"))
        return client

    @property
    def arrived(self) -> bytes:
        """What the origin got behind the request."""
        return self.origin.last.received[self.head :]

    def test_both_ways(self) -> None:
        """Bytes pass as they are."""
        client = self.joined()
        client.send(b"\x81\x85GET / HTTP/1.1\r\n\r\n")
        self.origin.last.send(b"\x00HTTP/1.1 200 OK\r\n\r\n")
        self.assertEqual(self.arrived, b"\x81\x85GET / HTTP/1.1\r\n\r\n")
        self.assertEqual(client.unread, b"\x00HTTP/1.1 200 OK\r\n\r\n")

    def test_early_bytes(self) -> None:
        """What came behind the request, or the 101, is not lost; nor sent before the 101."""
        client = self.joined(early=b"early client", answer=SWITCH + b"early origin")
        self.assertEqual(self.arrived, b"early client")
        self.assertEqual(client.unread, b"early origin")
        client.send(b"+")
        self.origin.last.send(b"-")
        self.assertEqual((self.arrived, client.unread), (b"early client+", b"early origin-"))

    def test_early_bytes_wait_for_the_answer(self) -> None:
        """A refusal is an ordinary response; what was sent early is read as HTTP again."""
        bench = self.proxy("proxy_websocket on;")
        client = bench.client()
        client.send(message(b"GET", b"/ws", *HANDSHAKE) + message(b"GET", b"/next"))
        self.assertEqual(len(self.origin.requests), 1)
        self.origin.last.send(response(403, b"no"))
        self.assertEqual(client.response().status, 403)
        self.assertEqual(self.origin.requests[1].target, b"/next")
        self.assertIsNone(self.origin.requests[1].get(b"upgrade"))

    def test_lost_client_ends_the_tunnel(self) -> None:
        """What it had sent is delivered, then the origin's connection is closed."""
        client = self.joined()
        client.send(b"last words")
        client.vanish()
        self.assertEqual(self.arrived, b"last words")
        self.assertTrue(self.origin.last.closed)
        self.assertEqual(self.bench.connections, 0)

    def test_lost_origin_ends_the_tunnel(self) -> None:
        """The client gets everything first."""
        client = self.joined()
        self.origin.last.send(b"bye")
        self.origin.last.reset()
        self.assertEqual(client.unread, b"bye")
        self.assertTrue(client.transport.lost)

    def test_client_that_has_finished_gets_the_rest(self) -> None:
        """Half-close: the origin sees the end behind the bytes, and still sends."""
        client = self.joined(log=True)
        client.send(b"last words")
        client.eof()
        self.assertEqual(self.arrived, b"last words")
        self.assertTrue(self.origin.last.transport.write_ended)
        self.assertFalse(self.origin.last.transport.disconnecting)
        for _ in range(3):
            self.origin.last.send(b"answer")
        self.assertEqual(client.unread, b"answer" * 3)
        self.assertFalse(client.transport.closed)
        self.assertEqual(self.bench.log(), [], "it goes on")
        self.origin.last.close()
        self.assertTrue(client.transport.lost)
        self.assertFalse(client.transport.aborted)
        self.assertEqual(self.bench.connections, 0)
        self.assertEqual(self.origin.open, 0)
        self.assertEqual(self.bench.log(), ["101 18"])

    def test_origin_that_has_finished_gets_the_rest(self) -> None:
        """The other way round."""
        client = self.joined(log=True)
        self.origin.last.send(b"bye")
        self.origin.last.close()
        self.assertEqual(client.unread, b"bye")
        self.assertTrue(client.transport.write_ended)
        self.assertFalse(client.transport.disconnecting)
        client.send(b"question")
        self.assertEqual(self.arrived, b"question")
        client.eof()
        self.assertTrue(client.transport.lost)
        self.assertTrue(self.origin.last.closed)
        self.assertEqual(self.bench.connections, 0)
        self.assertEqual(self.bench.log(), ["101 3"])

    def test_origin_ends_behind_a_slow_client(self) -> None:
        """What waits for the client is still delivered, and its end behind it."""
        client = self.joined()
        client.transport.hold()
        self.origin.last.send(b"x" * 100_000)
        self.origin.last.close()
        self.assertFalse(client.transport.write_ended)
        client.release()
        self.assertEqual(client.unread, b"x" * 100_000)
        self.assertTrue(client.transport.write_ended)

    def test_client_ends_behind_a_slow_origin(self) -> None:
        """The other way round."""
        client = self.joined()
        self.origin.last.transport.hold()
        client.send(b"x" * 100_000)
        client.eof()
        self.assertFalse(self.origin.last.transport.write_ended)
        self.origin.last.transport.release()
        self.bench.reactor.settle()
        self.assertEqual(self.arrived, b"x" * 100_000)
        self.assertTrue(self.origin.last.transport.write_ended)

    def test_silence_after_one_end(self) -> None:
        """``proxy_read_timeout`` bounds what is left of a tunnel, whoever has finished."""
        for leave in ("client", "origin"):
            client = self.joined("proxy_read_timeout 10s;")
            if leave == "client":
                client.eof()
            else:
                self.origin.last.close()
            self.bench.advance(8)
            if leave == "client":
                self.origin.last.send(b"still here")
            else:
                client.send(b"still here")
            self.bench.advance(8)
            self.assertFalse(client.transport.lost)
            self.bench.advance(3)
            self.assertTrue(client.transport.lost)
            self.assertEqual(self.origin.open, 0)
            self.bench.close()

    def test_client_that_was_slow_once(self) -> None:
        """``send_timeout`` is over once the client reads again."""
        client = self.joined("send_timeout 5s;", server="send_timeout 5s;")
        client.transport.hold()
        self.origin.last.send(b"x" * 100_000)
        client.release()
        self.bench.advance(20)
        self.assertFalse(client.transport.lost)
        client.transport.hold()
        self.origin.last.send(b"x" * 100_000)
        self.bench.advance(6)
        self.assertTrue(client.transport.lost)
        self.assertEqual(self.origin.open, 0)

    def test_slow_client_pauses_the_origin(self) -> None:
        """Nothing piles up, and it goes on."""
        client = self.joined()
        client.transport.hold()
        for _ in range(10):
            self.origin.last.send(b"x" * 50_000)
        self.assertTrue(self.origin.last.transport.paused)
        self.assertLess(len(client.transport.held), 200_000)
        client.release()
        self.assertFalse(self.origin.last.transport.paused)
        self.assertEqual(len(client.unread), 500_000)

    def test_slow_origin_pauses_the_client(self) -> None:
        """The other way round."""
        client = self.joined()
        self.origin.last.transport.hold()
        for _ in range(10):
            client.send(b"x" * 50_000)
        self.assertTrue(client.transport.paused)
        self.origin.last.transport.release()
        self.bench.reactor.settle()
        self.assertFalse(client.transport.paused)
        self.assertEqual(len(self.arrived), 500_000)

    def test_silence(self) -> None:
        """``proxy_read_timeout`` ends a silent tunnel; traffic either way keeps it."""
        client = self.joined("proxy_read_timeout 10s;", server="keepalive_timeout 2s;")
        for _ in range(3):
            self.bench.advance(8)
            client.send(b"ping")
            self.bench.advance(8)
            self.origin.last.send(b"pong")
        self.assertFalse(client.transport.lost)
        self.bench.advance(12)
        self.assertTrue(client.transport.lost)
        self.assertTrue(self.origin.last.closed)

    def test_never_reused(self) -> None:
        """A connection that was a tunnel carries no further request."""
        client = self.joined()
        client.vanish()
        self.origin.default = response(200, b"x")
        self.assertEqual(self.bench.get(b"/").body, b"x")
        self.assertEqual(len(self.origin.connections), 2)

    def test_unasked_101(self) -> None:
        """An origin cannot make a tunnel of a plain request (RFC 9110 §15.2.2)."""
        for options in ("", "proxy_websocket on;"):
            bench = self.proxy(options)
            client = bench.client()
            client.send(message(b"GET", b"/"))
            self.origin.last.send(SWITCH + b"tunnelled")
            self.assertEqual(client.response().status, 502)
            self.assertNotIn(b"tunnelled", client.received)
            self.assertTrue(self.origin.last.closed)
            bench.close()

    def test_answer_to_another_handshake(self) -> None:
        """A 101 that does not prove that it answers this key opens nothing (RFC 6455 §4.1)."""
        for answer in (
            SWITCH.replace(b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOx="),
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
        ):
            bench = self.proxy("proxy_websocket on;")
            client = bench.client()
            client.send(message(b"GET", b"/", *HANDSHAKE))
            self.origin.last.send(answer + b"hidden")
            self.assertEqual(client.response().status, 502)
            self.assertNotIn(b"hidden", client.received)
            self.assertTrue(self.origin.last.closed)
            self.assertIn("without being asked to", bench.log("error.log")[-1])

    def test_other_protocols_are_not_passed(self) -> None:
        """Upgrade is hop by hop: only what is configured crosses (RFC 9110 §7.8)."""
        bench = self.proxy("proxy_websocket on;")
        self.origin.default = response(200, b"plain")
        client = bench.client()
        answer = client.get(b"/", b"Upgrade: h2c", b"Connection: Upgrade, HTTP2-Settings")
        self.assertEqual(answer.body, b"plain")
        self.assertIsNone(self.origin.requests[0].get(b"upgrade"))

    def test_answer_of_101_that_was_not_passed(self) -> None:
        """The client asked, but we did not ask the origin: 502."""
        bench = self.proxy()
        client = bench.client()
        client.send(message(b"GET", b"/", *HANDSHAKE))
        self.assertIsNone(self.origin.requests[0].get(b"upgrade"))
        self.origin.last.send(SWITCH)
        self.assertEqual(client.response().status, 502)

    def test_with_set_header(self) -> None:
        """nginx's usual recipe works too."""
        bench = self.proxy(
            "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade;"
            'proxy_set_header Connection "upgrade";'
        )
        client = bench.client()
        client.send(message(b"GET", b"/", *HANDSHAKE))
        self.origin.last.send(SWITCH)
        self.assertEqual(client.response().status, 101)
        client.send(b"x")
        self.assertTrue(self.origin.last.received.endswith(b"x"))

    def test_cached_location(self) -> None:
        """A handshake passes by the cache."""
        bench = self.cache("proxy_websocket on;")
        client = bench.client()
        client.send(message(b"GET", b"/", *HANDSHAKE))
        self.assertEqual(self.origin.requests[0].get(b"upgrade"), b"websocket")
        self.origin.last.send(SWITCH)
        self.assertEqual(client.response().status, 101)
        self.origin.last.send(b"data")
        self.assertEqual(client.unread, b"data")

    def test_log(self) -> None:
        """One line, when it ends."""
        bench = self.proxy(
            "proxy_websocket on;", "access_log access.log l;", "log_format l '$status';"
        )
        client = bench.client()
        client.send(message(b"GET", b"/", *HANDSHAKE))
        self.origin.last.send(SWITCH)
        self.assertEqual(bench.log(), [])
        client.vanish()
        self.assertEqual(bench.log(), ["101"])

    def test_drain_waits(self) -> None:
        """A graceful stop does not cut a tunnel."""
        client = self.joined()
        client.protocol.drain()
        self.bench.reactor.settle()
        self.assertFalse(client.transport.lost)

    @given(st.lists(st.tuples(st.sampled_from("coHhRr"), st.binary(min_size=1, max_size=9))))
    def test_any_traffic(self, steps: list[tuple[str, bytes]]) -> None:
        """Each end gets exactly what the other sent, in order, and both ends close the tunnel."""
        client = self.joined()
        sent = {"c": b"", "o": b""}
        for kind, data in steps:
            data = data * 3000
            if kind == "c":
                client.send(data)
                sent["c"] += data
            elif kind == "o":
                self.origin.last.send(data)
                sent["o"] += data
            elif kind == "H":
                client.transport.hold()
            elif kind == "h":
                self.origin.last.transport.hold()
            elif kind == "R":
                client.release()
            else:
                self.origin.last.transport.release()
                self.bench.reactor.settle()
        client.release()
        self.origin.last.transport.release()
        self.bench.reactor.settle()
        self.assertEqual(self.arrived, sent["c"])
        self.assertEqual(client.unread, sent["o"])
        for end in (client, self.origin.last):
            self.assertFalse(end.transport.paused)
        client.eof()
        self.assertFalse(client.transport.lost)
        self.origin.last.close()
        self.assertTrue(client.transport.lost)
        self.assertEqual((self.origin.open, self.bench.connections), (0, 0))
        self.bench.close()
