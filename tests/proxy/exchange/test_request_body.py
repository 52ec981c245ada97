"""A request's body between client and upstream, piece by piece."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.proxy.harness import BenchCase, message, response


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
