"""A request's body between client and upstream, piece by piece."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.proxy.exchange.request_body import RequestBody
from tests.proxy.harness import BenchCase, Client, message, response


class BodyTests(BenchCase):
    """Through the proxy; the edges are in ``test_relay`` and ``net/test_downstream``."""

    @given(
        st.booleans(),
        st.booleans(),
        st.lists(st.integers(1, 40_000), min_size=1, max_size=12),
        st.lists(st.sampled_from(["hold", "release", "wait"]), max_size=12),
    )
    def test_any_way_gives_the_body(
        self, streamed: bool, chunked: bool, sizes: list[int], origin: list[str]
    ) -> None:
        """Buffered or not, declared or not, however both sides take turns."""
        bench = self.proxy(
            f"proxy_request_buffering {'off' if streamed else 'on'}; client_body_buffer_size 8k;"
        )
        self.origin.default = lambda c, r: c.send(response(200, b"%d" % len(r.body)))
        pieces = [bytes([n % 256]) * size for n, size in enumerate(sizes)]
        client = bench.client()
        if chunked:
            client.send(message(b"PUT", b"/", b"Transfer-Encoding: chunked"))
        else:
            client.send(message(b"PUT", b"/", b"Content-Length: %d" % sum(sizes)))
        turns = iter(origin)
        for piece in pieces:
            client.send(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
            turn = next(turns, "wait")
            if self.origin.connections and turn != "wait":
                getattr(self.origin.last.transport, turn)()
                bench.reactor.settle()
        if chunked:
            client.send(b"0\r\n\r\n")
        self.origin.last.transport.release()
        bench.reactor.settle()
        self.assertEqual(client.response().body, b"%d" % sum(sizes))
        self.assertEqual(self.origin.requests[0].body, b"".join(pieces))
        self.assertEqual(client.get(b"/").status, 200)
        bench.close()

    def test_no_file_stays(self) -> None:
        """The temporary file of a body is gone with its request, however that ends."""
        for end in ("answer", "vanish", "refuse"):
            bench = self.proxy("client_body_buffer_size 8k;")
            if end == "refuse":
                self.origin.mode = "refuse"
            client = bench.client()
            client.send(message(b"POST", b"/", b"Content-Length: 100000") + b"x" * 90_000)
            if end == "vanish":
                client.vanish()
            else:
                client.send(b"x" * 10_000)
                if end == "answer":
                    self.origin.last.send(response(200))
                client.response()
            self.assertEqual(bench.files("client_body_temp"), [])
            bench.close()

    def test_failing_disk(self) -> None:
        """A temporary file that cannot be made is a 500, not a hang."""
        bench = self.proxy("client_body_buffer_size 8k; client_body_temp_path /proc/none;")
        client = bench.client()
        client.send(message(b"POST", b"/", body=b"x" * 100_000))
        self.assertEqual(client.response().status, 500)
        self.assertEqual(self.origin.open, 0)


class PausingTests(BenchCase):
    """``proxy_request_buffering off``: whenever the client is paused, it is resumed."""

    def upload(self, size: int, options: str = "", delay: float = 0.0) -> Client:
        """A client that has sent a head and is about to send *size* bytes."""
        bench = self.proxy(f"proxy_request_buffering off; client_max_body_size 0; {options}")
        self.origin.delay = delay
        client = bench.client()
        client.send(message(b"POST", b"/", b"Content-Length: %d" % size))
        return client

    def send(self, client: Client, size: int) -> None:
        """Bytes in pieces, as a kernel gives them."""
        for at in range(0, size, 50_000):
            client.send(b"x" * min(50_000, size - at))

    def test_late_connection_that_takes_all_at_once(self) -> None:
        """What was collected goes out at once, and the client goes on."""
        client = self.upload(2_000_000, delay=3.0)
        self.send(client, 2_000_000)
        self.bench.advance(3)
        self.origin.last.send(response(200, b"done"))
        self.assertEqual(client.response().body, b"done")
        self.assertEqual(len(self.origin.requests[0].body), 2_000_000)

    def test_waiting_for_a_connection_is_bounded(self) -> None:
        """Until the upstream is there, no more than the buffer is taken."""
        client = self.upload(2_000_000)
        self.assertFalse(client.transport.paused)
        self.origin.last.transport.hold()
        self.send(client, 2_000_000)
        self.assertTrue(client.transport.paused)
        self.assertLess(len(self.origin.last.transport.held), 300_000)

    def test_answer_before_the_end_of_the_body(self) -> None:
        """The rest of the body is read and dropped while the response is sent."""
        client = self.upload(2_000_000, "proxy_buffers 8 4k;")
        self.origin.last.transport.hold()
        self.send(client, 400_000)
        self.assertTrue(client.transport.paused)
        client.transport.hold()
        self.origin.last.send(response(200, b"y" * 900_000))
        self.assertFalse(client.transport.paused, "nobody takes the body any more")
        self.send(client, 1_600_000)
        client.release()
        self.assertEqual(len(client.response().body), 900_000)
        self.origin.default = response(200, b"next")
        self.assertEqual(client.get(b"/").body, b"next")

    def test_another_location_that_collects(self) -> None:
        """An error page's location wants the whole body before it connects."""
        bench = self.proxy(
            "proxy_request_buffering off; client_max_body_size 0; proxy_connect_timeout 5s;"
            "error_page 504 = @other; client_body_buffer_size 8k;",
            "location @other { proxy_pass http://127.0.0.1:8001; client_max_body_size 0; }",
        )
        self.origin.mode = "hang"
        other = bench.origin(8001)
        other.default = lambda c, r: c.send(response(200, b"%d" % len(r.body)))
        client = bench.client()
        client.send(message(b"POST", b"/", b"Content-Length: 500000"))
        self.send(client, 500_000)
        self.assertTrue(client.transport.paused)
        bench.advance(5)
        self.assertEqual(client.response().body, b"500000")

    def test_single_bytes(self) -> None:
        """A client that sends single bytes does not make a list of them."""
        pieces = RequestBody(cast(Any, None), -1, 1 << 20, cast(Any, None))
        for _ in range(100_000):
            pieces.feed(b"x")
        self.assertLess(len(pieces._pieces), 100)
        pieces.end()
        self.assertEqual(pieces.in_memory(), b"x" * 100_000)
