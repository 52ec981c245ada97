"""The request as the origin receives it. nginx ``proxy_*``."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

from tests.proxy.harness import (
    BenchCase,
    Request,
    echo,
    message,
    response,
)

OK = response(200, b"fine")


class RequestTests(BenchCase):
    """The request as the origin receives it."""

    def asked(self, options: str, data: bytes, server: str = "") -> Request:
        """What the origin receives for *data*."""
        bench = self.proxy(options, server)
        self.origin.default = OK
        bench.client().send(data)
        return self.origin.requests[0]

    def test_plain(self) -> None:
        """Method, target, end-to-end fields; no hop-by-hop ones (RFC 9110 §7.6.1)."""
        request = self.asked(
            "",
            message(
                b"GET",
                b"/a%20b?c=d",
                b"X-A: 1",
                b"Connection: keep-alive, x-b",
                b"X-B: 2",
                b"Keep-Alive: timeout=5",
                b"Proxy-Connection: close",
                b"TE: trailers",
            ),
        )
        self.assertEqual(request.line, b"GET /a%20b?c=d HTTP/1.1")
        self.assertEqual(request.get(b"x-a"), b"1")
        self.assertEqual(request.get(b"host"), b"127.0.0.1:8000")
        for name in (b"x-b", b"keep-alive", b"proxy-connection", b"te"):
            self.assertIsNone(request.get(name), name)

    def test_socket_keepalive(self) -> None:
        """``proxy_socket_keepalive``: the kernel probes the origin, if asked to."""
        for option, probed in (("", False), ("proxy_socket_keepalive on;", True)):
            bench = self.proxy(option)
            self.origin.default = OK
            bench.get(b"/")
            (connection,) = self.origin.connections
            self.assertEqual(connection.transport.keep_alive, probed)

    def test_version_10(self) -> None:
        """``proxy_http_version 1.0`` asks in HTTP/1.0."""
        request = self.asked("proxy_http_version 1.0;", message(b"GET", b"/"))
        self.assertEqual(request.version, b"HTTP/1.0")

    def test_method(self) -> None:
        """``proxy_method`` replaces the method, upper case."""
        request = self.asked("proxy_method post;", message(b"GET", b"/"))
        self.assertEqual(request.method, b"POST")

    def test_set_body(self) -> None:
        """``proxy_set_body`` replaces the body and its length."""
        request = self.asked(
            'proxy_set_body "x=$arg_x";', message(b"POST", b"/?x=7", body=b"original")
        )
        self.assertEqual(request.body, b"x=7")
        self.assertEqual(request.get(b"content-length"), b"3")

    def test_pass_request_body_off(self) -> None:
        """``proxy_pass_request_body off`` sends none."""
        request = self.asked(
            'proxy_pass_request_body off; proxy_set_header Content-Length "";',
            message(b"POST", b"/", body=b"secret"),
        )
        self.assertEqual(request.body, b"")
        self.assertNotIn(b"secret", self.origin.last.received)

    def test_bodies(self) -> None:
        """A collected body has a length, whatever framing the client used (RFC 9112 §6)."""
        chunked = message(b"POST", b"/", b"Transfer-Encoding: chunked")
        for data, body in (
            (message(b"POST", b"/", body=b"abc"), b"abc"),
            (chunked + b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n", b"abc"),
            (message(b"POST", b"/", body=b""), b""),
            (chunked + b"0\r\n\r\n", b""),
        ):
            request = self.asked("", data)
            self.assertEqual(request.body, body)
            self.assertEqual(request.get(b"content-length"), b"%d" % len(body))
            self.assertIsNone(request.get(b"transfer-encoding"))
            self.bench.close()

    def test_streamed_chunked_body(self) -> None:
        """``proxy_request_buffering off``: chunks are passed on as they come."""
        bench = self.proxy("proxy_request_buffering off;")
        self.origin.default = echo
        client = bench.client()
        client.send(message(b"POST", b"/", b"Transfer-Encoding: chunked"))
        connection = self.origin.last
        self.assertIn(b"Transfer-Encoding: chunked\r\n", connection.received)
        client.send(b"3\r\nabc\r\n")
        self.assertTrue(connection.received.endswith(b"\r\n\r\n3\r\nabc\r\n"))
        client.send(b"0\r\n\r\n")
        self.assertEqual(client.response().body, b"POST / abc")

    def test_streamed_chunked_body_to_http10(self) -> None:
        """HTTP/1.0 has no chunks: the body is collected after all."""
        bench = self.proxy("proxy_request_buffering off; proxy_http_version 1.0;")
        self.origin.default = echo
        client = bench.client()
        client.send(message(b"POST", b"/", b"Transfer-Encoding: chunked") + b"3\r\nabc\r\n")
        self.assertEqual(self.origin.connections, [])
        client.send(b"0\r\n\r\n")
        self.assertEqual(client.response().body, b"POST / abc")

    def test_streamed_body_with_length(self) -> None:
        """The origin has the head before the body has come, and bytes as they come."""
        bench = self.proxy("proxy_request_buffering off;")
        self.origin.default = echo
        client = bench.client()
        client.send(message(b"PUT", b"/", b"Content-Length: 6") + b"ab")
        self.assertTrue(self.origin.last.received.endswith(b"\r\n\r\nab"))
        client.send(b"cdef")
        self.assertEqual(client.response().body, b"PUT / abcdef")

    def test_large_body_through_a_file(self) -> None:
        """A body beyond ``client_body_buffer_size`` is whole when it arrives."""
        body = bytes(range(256)) * 4000
        bench = self.proxy("client_body_buffer_size 8k; client_max_body_size 0;")
        self.origin.default = OK
        client = bench.client()
        data = message(b"POST", b"/", body=body)
        for at in range(0, len(data), 70_000):
            client.send(data[at : at + 70_000])
        self.assertEqual(client.response().status, 200)
        self.assertEqual(self.origin.requests[0].body, body)

    def test_body_to_a_slow_origin(self) -> None:
        """The file is read no faster than the origin reads."""
        body = bytes(range(256)) * 8000
        bench = self.proxy("client_body_buffer_size 8k; client_max_body_size 0;")
        self.origin.default, self.origin.reads = OK, False
        client = bench.client()
        client.send(message(b"POST", b"/", body=body))
        transport = self.origin.last.transport
        self.assertLess(len(transport.held), 300_000)
        transport.release()
        bench.reactor.settle()
        self.assertEqual(self.origin.requests[0].body, body)
        self.assertEqual(client.response().status, 200)

    def test_line_break_in_a_variable(self) -> None:
        """A value with a line break never splits a message (RFC 9112 §11)."""
        bench = self.serve(
            "return 404;",
            """location ~ "(?s)^/x(.*)$" {
                proxy_set_header X "$1"; add_header Y "$1"; proxy_pass http://127.0.0.1:8000; }""",
        )
        bench.origin().default = OK
        answer = bench.get(b"/xa%0d%0aInjected:%20yes")
        self.assertEqual(bench.origin().requests[0].get(b"x"), b"a  Injected: yes")
        self.assertEqual(answer.get(b"y"), b"a  Injected: yes")
        self.assertIsNone(answer.get(b"injected"))

    def test_uri_replacement(self) -> None:
        """The part that the location names is replaced by ``proxy_pass``'s URI."""
        bench = self.serve("return 404;", "location /a/ { proxy_pass http://127.0.0.1:8000/b/; }")
        bench.origin().default = OK
        bench.get(b"/a/x%20y?q")
        self.assertEqual(bench.origin().requests[0].target, b"/b/x%20y?q")

    def test_variables_in_proxy_pass(self) -> None:
        """The address may come from a variable; a bad one is a 500."""
        bench = self.serve("proxy_pass http://$arg_to;")
        bench.origin(8001).default = response(200, b"one")
        self.assertEqual(bench.get(b"/x?to=127.0.0.1:8001").body, b"one")
        self.assertEqual(bench.origin(8001).requests[0].target, b"/x?to=127.0.0.1:8001")
        for target in (b"", b"a:b:c", b"127.0.0.1:99999999"):
            with self.subTest(target=target):
                self.assertEqual(bench.get(b"/?to=" + target).status, 500)
