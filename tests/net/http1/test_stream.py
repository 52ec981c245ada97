"""One request and its response on a connection: framing, and what comes too late."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

from typing import Any

from tests.proxy.harness import BenchCase, Client, message, response


class LateCallTests(BenchCase):
    """An exchange that goes on without its client never reaches the next request."""

    def late_calls(self, stream: Any) -> None:
        """Everything that an exchange may call."""
        stream.send_informational(103, [])
        stream.send_head(200, b"OK", [], None, True)
        stream.send_data(b"late")
        stream.send_end()
        stream.pause_request()
        stream.resume_request()
        stream.close_after_response()
        stream.abort()

    def test_calls_after_the_response(self) -> None:
        """They change nothing of the request that follows on the same connection."""
        bench = self.proxy()
        client = bench.client()
        client.send(message(b"GET", b"/1"))
        stream = client.protocol.stream
        self.origin.last.send(response(200, b"one"))
        self.assertEqual(client.response().body, b"one")
        self.late_calls(stream)
        bench.reactor.settle()
        self.assertEqual(client.unread, b"")
        client.send(message(b"POST", b"/2", b"Content-Length: 2") + b"x")
        self.late_calls(stream)
        self.assertFalse(client.transport.paused)
        self.assertFalse(client.transport.closed)
        client.send(b"y")
        self.late_calls(stream)
        self.origin.last.send(response(200, b"two"))
        answer = client.response()
        self.assertEqual((answer.body, answer.get(b"connection")), (b"two", b"keep-alive"))
        self.assertEqual(client.unread, b"")

    def test_calls_after_the_client_has_gone(self) -> None:
        """They find nobody, and nobody to wait for."""
        bench = self.proxy()
        client = bench.client()
        client.transport.hold()
        client.send(message(b"GET", b"/1"))
        stream = client.protocol.stream
        self.origin.last.send(response(200, b"x" * 200_000)[:-1])
        self.assertFalse(stream.writable)
        client.vanish()
        self.late_calls(stream)
        self.assertTrue(stream.writable)
        self.assertEqual(stream.peer_host, "192.0.2.1", "logs still say who it was")

    def test_hits_make_no_stream(self) -> None:
        """What is ready is sent by the connection itself."""
        bench = self.cache()
        self.origin.default = response(200, b"x", b"Cache-Control: max-age=60")
        client = bench.client()
        client.get(b"/")
        client.get(b"/")
        made: list[object] = []
        start = client.protocol.on_request

        def spy(head: object) -> None:
            start(head)
            made.append(client.protocol.stream)

        client.protocol._parser._sink.on_request = spy
        client.get(b"/")
        self.assertEqual(made, [None])


class FramingTests(BenchCase):
    """RFC 9112 §6.3, §7: how the client knows where a response ends."""

    def answered(self, answer: bytes, version: bytes = b"1.1", close: bool = False) -> Client:
        """A client that asked; the origin has answered with *answer*."""
        bench = self.proxy()
        client = bench.client()
        client.send(b"GET / HTTP/%s\r\nHost: a\r\n\r\n" % version)
        self.origin.last.send(answer)
        if close:
            self.origin.last.close()
        return client

    def test_unknown_length_is_chunked(self) -> None:
        """A body without declared length is chunked for HTTP/1.1 (§7.1)."""
        client = self.answered(b"HTTP/1.1 200 OK\r\n\r\nabc", close=True)
        answer = client.response()
        self.assertEqual(answer.get(b"transfer-encoding"), b"chunked")
        self.assertEqual(answer.body, b"abc")
        self.assertFalse(client.transport.closed)

    def test_unknown_length_for_http10(self) -> None:
        """HTTP/1.0 has no chunks: the end of the connection ends the body (§6.3)."""
        client = self.answered(response(200, b"abc", chunked=True), b"1.0")
        answer = client.response()
        self.assertEqual(answer.get(b"transfer-encoding"), None)
        self.assertEqual(answer.body, b"abc")
        self.assertTrue(client.transport.lost)
        self.assertFalse(client.transport.aborted)

    def test_truncated_for_http10(self) -> None:
        """Only a reset tells a truncated response from a whole one (§8)."""
        client = self.answered(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", b"1.0", close=True
        )
        self.assertTrue(client.transport.aborted)

    def test_truncated_chunked(self) -> None:
        """A response cut short lacks its last chunk (§8)."""
        client = self.answered(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", close=True
        )
        self.assertTrue(client.received.endswith(b"3\r\nabc\r\n"), client.received)
        self.assertTrue(client.transport.lost)

    def test_truncated_with_length(self) -> None:
        """A response cut short lacks bytes that it declared."""
        client = self.answered(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", close=True)
        self.assertTrue(client.received.endswith(b"\r\n\r\nabc"))
        self.assertTrue(client.transport.lost)

    def test_chunked_transfer_encoding_off(self) -> None:
        """``chunked_transfer_encoding off`` delimits by the end of the connection."""
        bench = self.proxy("chunked_transfer_encoding off;")
        self.origin.default = response(200, b"abc", chunked=True)
        client = bench.client()
        answer = client.get(b"/")
        self.assertEqual(answer.body, b"abc")
        self.assertEqual(answer.get(b"connection"), b"close")

    def test_large_pieces(self) -> None:
        """Pieces beyond the joining limit are framed as small ones are."""
        body = bytes(range(256)) * 400
        client = self.answered(response(200, body, chunked=True))
        self.assertEqual(client.response().body, body)
        client = self.answered(response(200, body))
        self.assertEqual(client.response().body, body)

    def test_no_content(self) -> None:
        """204 has neither body nor Content-Length (RFC 9110 §8.6)."""
        client = self.answered(b"HTTP/1.1 204 No Content\r\n\r\n")
        answer = client.response()
        self.assertEqual((answer.status, answer.get(b"content-length")), (204, None))
        self.assertEqual(client.unread, b"")

    def test_head_is_sent_before_the_body_comes(self) -> None:
        """A head is not held back while the origin thinks about the body."""
        client = self.answered(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
        self.assertIn(b"Content-Length: 4\r\n", client.received)
        self.origin.last.send(b"abcd")
        self.assertEqual(client.response().body, b"abcd")

    def test_line_break_from_a_variable(self) -> None:
        """A value with a line break does not reach the wire (RFC 9112 §11.1)."""
        self.serve("add_header X $arg_a; return 200 hi;")
        client = self.bench.client()
        client.send(message(b"GET", b"/?a=b"))
        self.assertEqual(client.response().get(b"x"), b"b")
