"""A relay between a client and an origin: what becomes of it when one of them goes."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

from tests.proxy.harness import (
    BenchCase,
    message,
    response,
)

OK = response(200, b"fine")


class OriginGoneTests(BenchCase):
    """The origin goes while it answers."""

    def test_not_after_the_head(self) -> None:
        """A response that has begun cannot be taken back."""
        bench = self.serve(
            "proxy_pass http://up;",
            "",
            "upstream up { server 127.0.0.1:8000; server 127.0.0.1:8001; }",
        )
        client = bench.client()
        client.send(message(b"GET", b"/"))
        bench.origin(8000).last.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
        bench.origin(8000).last.close()
        self.assertTrue(client.transport.lost)
        self.assertEqual(bench.origin(8001).connections, [])


class ClientGoneTests(BenchCase):
    """``proxy_ignore_client_abort``."""

    def test_on(self) -> None:
        """The request is carried through without its client."""
        bench = self.proxy("proxy_ignore_client_abort on;")
        client = bench.client()
        client.send(message(b"POST", b"/", body=b"x"))
        client.vanish()
        self.assertFalse(self.origin.last.closed)
        self.origin.last.send(OK)
        self.origin.default = OK
        self.assertEqual(bench.get(b"/").status, 200)
        self.assertEqual(len(self.origin.connections), 1)

    def test_on_with_a_body_that_is_still_being_sent(self) -> None:
        """The upstream gets all of the body that was collected, then it is freed."""
        bench = self.proxy("proxy_ignore_client_abort on; client_body_buffer_size 8k;")
        self.origin.reads = False
        client = bench.client()
        body = b"x" * 300_000
        client.send(message(b"POST", b"/", body=body))
        client.vanish()
        self.origin.last.transport.release()
        bench.reactor.settle()
        self.assertEqual([request.body for request in self.origin.requests], [body])
        self.origin.last.send(OK)
        self.assertEqual(bench.log("error.log"), [])

    def test_on_with_failures(self) -> None:
        """Its failure has nobody to be told to."""
        for how in ("close", "reset"):
            bench = self.proxy("proxy_ignore_client_abort on;")
            client = bench.client()
            client.send(message(b"GET", b"/"))
            client.vanish()
            getattr(self.origin.last, how)()
            self.origin.default = OK
            self.assertEqual(bench.get(b"/").status, 200)
            bench.close()
