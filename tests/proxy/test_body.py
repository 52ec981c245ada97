"""Request bodies: collected, passed on, and sent only with the request they belong to."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

from tests.proxy.harness import BenchCase, OriginConnection, Request, message, response

LARGE = bytes(range(256)) * 512


def echo(connection: OriginConnection, request: Request) -> None:
    """Answers with the method, target and body."""
    connection.send(response(200, request.method + b" " + request.target + b" " + request.body))


class BelongingTests(BenchCase):
    """A body goes with the request that it came with, and with no other."""

    def test_an_error_page_is_asked_for_without_it(self) -> None:
        """What stands in for a failed POST is a GET: octets behind it would be a request."""
        bench = self.serve(
            "proxy_pass http://127.0.0.1:9; error_page 502 /fallback;",
            server="location /fallback { proxy_pass http://127.0.0.1:8000; proxy_cache z; }",
            http="proxy_cache_path cache keys_zone=z:1m;",
        )
        bench.origin(9).mode = "refuse"
        self.origin.default = echo
        body = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
        client = bench.client()
        client.send(message(b"POST", b"/", body=body))
        bench.reactor.settle()
        self.assertEqual(
            [request.line for request in self.origin.requests], [b"GET /fallback HTTP/1.1"]
        )
        self.assertEqual(self.origin.requests[0].body, b"")
        self.assertIsNone(self.origin.requests[0].get(b"content-length"))

    def test_a_named_location_gets_it(self) -> None:
        """``@name`` goes on with the same request, its body too (nginx)."""
        bench = self.serve(
            "proxy_pass http://127.0.0.1:9; error_page 502 = @other;",
            server="location @other { proxy_pass http://127.0.0.1:8000; }",
        )
        bench.origin(9).mode = "refuse"
        self.origin.default = echo
        client = bench.client()
        client.send(message(b"POST", b"/a%20b", body=b"kept"))
        bench.reactor.settle()
        self.assertEqual(client.response(b"POST").body, b"POST /a%20b kept")

    def test_it_is_kept_while_a_cache_looks_things_up(self) -> None:
        """``proxy_cache_methods POST``: the body comes before anybody asks for it."""
        bench = self.cache("proxy_cache_methods POST; proxy_cache_valid 200 10s;", zone="memory=0")
        self.origin.default = echo
        first = bench.client()
        first.send(message(b"POST", b"/x", body=b"one"))
        self.assertEqual(first.response(b"POST").body, b"POST /x one")
        bench.advance(100)
        second = bench.client()
        second.send(message(b"POST", b"/x", body=b"two"))
        bench.reactor.settle()
        self.assertEqual(second.response(b"POST").body, b"POST /x two")


class CollectingTests(BenchCase):
    """``proxy_request_buffering``, ``client_body_buffer_size``, ``client_max_body_size``."""

    def test_large_ones_pass_through_a_file(self) -> None:
        """A body beyond ``client_body_buffer_size`` arrives whole."""
        bench = self.proxy("client_body_buffer_size 1k;")
        self.origin.default = echo
        client = bench.client()
        data = message(b"POST", b"/", body=LARGE)
        for start in range(0, len(data), 5000):
            client.send(data[start : start + 5000])
        bench.reactor.settle()
        self.assertEqual(client.response(b"POST").body, b"POST / " + LARGE)

    def test_unbuffered_ones_are_sent_as_they_come(self) -> None:
        """With ``proxy_request_buffering off`` the origin has the first piece before the last."""
        bench = self.proxy("proxy_request_buffering off;")
        client = bench.client()
        head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        client.send(head + b"5\r\nfirst\r\n")
        bench.reactor.settle()
        self.assertIn(b"5\r\nfirst\r\n", bytes(self.origin.last.received))
        client.send(b"0\r\n\r\n")
        bench.reactor.settle()
        self.assertTrue(bytes(self.origin.last.received).endswith(b"0\r\n\r\n"))

    def test_one_of_unknown_length_has_a_limit_too(self) -> None:
        """413 once more has come than ``client_max_body_size``, and the origin is not asked."""
        bench = self.proxy("", server="client_max_body_size 10;")
        self.origin.default = echo
        client = bench.client()
        client.send(
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nb\r\nhello world\r\n"
        )
        bench.reactor.settle()
        self.assertEqual(client.response(b"POST").status, 413)
        self.assertEqual(self.origin.requests, [])
