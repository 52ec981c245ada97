"""``net.web`` below HTTP/2, where Twisted has what it needs for that (its extra ``http2``)."""

# trial's test cases and h2 have no types.
# mypy: disable-error-code="no-untyped-call,misc,no-untyped-def"

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.web import http

from tests.net.web_bench import WebCase, WebTransport
from tests.proxy.harness import response

if not http.H2_ENABLED:
    pytest.skip("Twisted's HTTP/2 is not installed", allow_module_level=True)

import h2.config
import h2.connection
import h2.events

LARGE = bytes(range(256)) * 1024
#: Bytes that may be on the way (RFC 9113 §6.9.2). What is written beyond them is kept by
#: Twisted in a loop that a clock moved by hand would never leave.
WINDOW = 65535


class H2Client:
    """A client that has negotiated ``h2``."""

    def __init__(self, case: WebCase) -> None:
        self.bench = bench = case.bench
        made = http.H2Connection  # type: ignore[attr-defined]  # there with the extra only
        # Else it takes its time from the reactor of the process.
        case.patch(http, "H2Connection", lambda: made(bench.reactor))
        peer = IPv4Address("TCP", "192.0.2.1", 40000)
        protocol = bench.site.buildProtocol(peer)
        transport: Any = WebTransport(bench.reactor, protocol, peer, peer)
        self.transport = transport
        transport.negotiatedProtocol = b"h2"
        self.read = 0
        protocol.makeConnection(self.transport)
        self.connection = h2.connection.H2Connection(h2.config.H2Configuration())
        self.connection.initiate_connection()
        self.events: list[Any] = []
        self.turn()

    def turn(self) -> None:
        """Exchange what there is."""
        self.transport.deliver(self.connection.data_to_send())
        self.bench.reactor.settle()
        data, self.read = self.transport.sent[self.read :], len(self.transport.sent)
        if data:
            self.events += self.connection.receive_data(data)

    def send(self, method: str, path: str, body: bytes = b"") -> int:
        """Ask; the stream's number."""
        stream = self.connection.get_next_available_stream_id()
        head = [(":method", method), (":scheme", "https"), (":authority", "a"), (":path", path)]
        self.connection.send_headers(stream, head, end_stream=not body)
        if body:
            self.connection.send_data(stream, body, end_stream=True)
        self.turn()
        return int(stream)

    def of(self, kind: Any, stream: int) -> list[Any]:
        """The events of a kind on a stream."""
        return [e for e in self.events if isinstance(e, kind) and e.stream_id == stream]

    def fields(self, stream: int) -> dict[bytes, bytes]:
        """The response's head."""
        (event,) = self.of(h2.events.ResponseReceived, stream)
        return {
            name if isinstance(name, bytes) else name.encode(): (
                value if isinstance(value, bytes) else value.encode()
            )
            for name, value in event.headers
        }

    def body(self, stream: int) -> bytes:
        """The response's body so far."""
        return b"".join(event.data for event in self.of(h2.events.DataReceived, stream))

    def ended(self, stream: int) -> bool:
        """Whether the response is whole."""
        return bool(self.of(h2.events.StreamEnded, stream))


class H2Tests(WebCase):
    """Streams in place of connections."""

    def test_exchange(self) -> None:
        """RFC 9113 §8: MISS, HIT, HEAD and a body."""
        self.cache()
        self.origin.default = response(200, b"hello", b"Cache-Control: max-age=60")
        client = H2Client(self)
        for status in (b"MISS", b"HIT"):
            stream = client.send("GET", "/a?b")
            self.assertTrue(client.ended(stream))
            self.assertEqual(client.body(stream), b"hello")
            fields = client.fields(stream)
            self.assertEqual((fields[b":status"], fields[b"x-cache"]), (b"200", status))
            self.assertEqual(fields[b"content-length"], b"5")
            self.assertNotIn(b"connection", fields)
            self.assertNotIn(b"transfer-encoding", fields)
        self.assertEqual(self.origin.requests[0].get(b"host"), b"a")
        stream = client.send("HEAD", "/a?b")
        self.assertEqual((client.ended(stream), client.body(stream)), (True, b""))
        client.send("POST", "/form", b"a=1")
        self.assertEqual(self.origin.requests[-1].body, b"a=1")

    def test_refused(self) -> None:
        """An error that would close a connection of HTTP/1.1 ends the stream alone."""
        self.cache(max_body_size="1k")
        client = H2Client(self)
        stream = client.send("POST", "/", b"x" * 2000)
        self.assertEqual(client.fields(stream)[b":status"], b"413")
        self.assertTrue(client.ended(stream))
        self.origin.default = response(200, b"x")
        self.assertEqual(client.body(client.send("GET", "/")), b"x")

    def test_flow_control(self) -> None:
        """RFC 9113 §5.2: a window that is used up holds the origin back, an opened one frees it."""
        self.cache("proxy_buffering off; proxy_cache_bypass 1; proxy_no_cache 1;")
        client = H2Client(self)
        stream = client.send("GET", "/")
        connection = self.origin.last
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(LARGE))
        for start in range(0, len(LARGE), WINDOW):
            piece = LARGE[start : start + WINDOW]
            connection.send(piece)
            client.turn()
            self.assertEqual(connection.transport.paused, len(piece) == WINDOW)
            client.connection.acknowledge_received_data(len(piece), stream)
            client.turn()
            self.assertFalse(connection.transport.paused)
        self.assertTrue(client.ended(stream))
        self.assertEqual(client.body(stream), LARGE)

    def test_cut_short(self) -> None:
        """RFC 9113 §8.1.1: a stream that cannot be finished is reset, the others go on."""
        self.cache()
        client = H2Client(self)
        stream = client.send("GET", "/")
        self.origin.last.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        self.origin.last.reset()
        client.turn()
        self.assertFalse(client.ended(stream))
        self.assertTrue(client.of(h2.events.StreamReset, stream))
        self.origin.default = response(200, b"x")
        self.assertEqual(client.body(client.send("GET", "/b")), b"x")

    def test_client_resets(self) -> None:
        """A stream that the client gives up takes its upstream request along."""
        self.cache("proxy_cache_bypass 1; proxy_no_cache 1;")
        client = H2Client(self)
        stream = client.send("POST", "/", b"x")
        connection = self.origin.last
        client.connection.reset_stream(stream)
        client.turn()
        self.assertTrue(connection.closed)
