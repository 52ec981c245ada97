"""Relaying a request: what the origin gets, retries, and who answers. nginx ``proxy_*``."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

from tests.proxy.harness import (
    Bench,
    BenchCase,
    OriginConnection,
    Request,
    message,
    response,
)

OK = response(200, b"fine")


def echo(connection: OriginConnection, request: Request) -> None:
    """Answers with the method, target and body."""
    connection.send(response(200, request.method + b" " + request.target + b" " + request.body))


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
        """The origin has the head before the body has come, and octets as they come."""
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


class RetryTests(BenchCase):
    """``proxy_next_upstream`` over several servers."""

    def up(self, options: str = "", servers: int = 3, extra: str = "") -> Bench:
        """A group of servers at ports 8000 and up."""
        lines = "".join(f"server 127.0.0.1:{8000 + n} {extra};" for n in range(servers))
        return self.serve(
            f"proxy_pass http://up; {options}",
            "access_log access.log l;",
            f"log_format l '$status $upstream_addr|$upstream_status';upstream up {{ {lines} }}",
        )

    def test_refused(self) -> None:
        """The next server is asked; variables tell of every attempt."""
        bench = self.up()
        bench.origin(8000).mode = "refuse"
        bench.origin(8001).mode = "refuse"
        bench.origin(8002).default = OK
        self.assertEqual(bench.get(b"/").body, b"fine")
        self.assertEqual(
            bench.log(),
            ["200 127.0.0.1:8000, 127.0.0.1:8001, 127.0.0.1:8002|502, 502, 200"],
        )

    def test_all_fail(self) -> None:
        """Every server is tried once; then 502, and while all are down at once."""
        bench = self.up()
        for port in (8000, 8001, 8002):
            bench.origin(port).mode = "refuse"
        self.assertEqual(bench.get(b"/").status, 502)
        self.assertEqual(len(bench.reactor.attempts), 3)
        self.assertEqual(bench.get(b"/").status, 502)
        self.assertEqual(len(bench.reactor.attempts), 3, "all are set aside (max_fails)")
        self.assertIn("no live upstreams", bench.log("error.log")[-1])
        bench.advance(11)
        bench.origin(8001).mode = "accept"
        bench.origin(8001).default = OK
        self.assertEqual(bench.get(b"/").status, 200)

    def test_timeout(self) -> None:
        """A silent server is given up for the next; the last one's silence is a 504."""
        bench = self.up("proxy_read_timeout 5s;", 2)
        bench.origin(8001).default = OK
        client = bench.client()
        client.send(message(b"GET", b"/"))
        bench.advance(6)
        self.assertEqual(client.response().body, b"fine")
        self.assertEqual(bench.origin(8000).open, 0)

    def test_post_is_not_repeated_once_sent(self) -> None:
        """POST goes on after a refused connection, not after it was sent (RFC 9110 §9.2.2)."""
        bench = self.up("", 2)
        bench.origin(8000).mode = "refuse"
        bench.origin(8001).default = echo
        self.assertEqual(bench.client().request(b"POST", b"/", body=b"x").body, b"POST / x")
        bench = self.up("", 2)
        bench.origin(8000).default = lambda connection, request: connection.close()
        self.assertEqual(bench.client().request(b"POST", b"/", body=b"x").status, 502)
        self.assertEqual(bench.origin(8001).requests, [])

    def test_non_idempotent(self) -> None:
        """``non_idempotent`` allows it."""
        bench = self.up("proxy_next_upstream error non_idempotent;", 2)
        bench.origin(8000).default = lambda connection, request: connection.close()
        bench.origin(8001).default = echo
        self.assertEqual(bench.client().request(b"POST", b"/", body=b"x").body, b"POST / x")

    def test_statuses(self) -> None:
        """``http_503``: another server is asked; the last answer is passed on as it is."""
        bench = self.up("proxy_next_upstream http_503;", 2)
        bench.origin(8000).default = response(503, b"one")
        bench.origin(8001).default = response(503, b"two")
        answer = bench.get(b"/")
        self.assertEqual((answer.status, answer.body), (503, b"two"))

    def test_malformed(self) -> None:
        """``invalid_header`` is a condition of its own."""
        for options, status in (
            ("proxy_next_upstream invalid_header;", 200),
            ("proxy_next_upstream error;", 502),
        ):
            bench = self.up(options, 2)
            bench.origin(8000).default = b"garbage\r\n\r\n"
            bench.origin(8001).default = OK
            self.assertEqual(bench.get(b"/").status, status)
            bench.close()

    def test_tries(self) -> None:
        """``proxy_next_upstream_tries`` limits the attempts."""
        bench = self.up("proxy_next_upstream_tries 2;")
        for port in (8000, 8001, 8002):
            bench.origin(port).mode = "refuse"
        self.assertEqual(bench.get(b"/").status, 502)
        self.assertEqual(len(bench.reactor.attempts), 2)

    def test_off(self) -> None:
        """``proxy_next_upstream off`` tries once."""
        bench = self.up("proxy_next_upstream off;")
        bench.origin(8000).mode = "refuse"
        self.assertEqual(bench.get(b"/").status, 502)
        self.assertEqual(len(bench.reactor.attempts), 1)

    def test_streamed_body_is_not_repeated(self) -> None:
        """A body that was passed on as it came is gone."""
        bench = self.up("proxy_request_buffering off;", 2)
        client = bench.client()
        client.send(message(b"PUT", b"/", b"Content-Length: 4") + b"ab")
        bench.origin(8000).last.reset()
        self.assertEqual(client.response().status, 502)
        self.assertEqual(bench.origin(8001).connections, [])

    def test_spooled_body_is_repeated(self) -> None:
        """A collected body, even in a file, is sent whole to the next server."""
        body = bytes(range(256)) * 1000
        bench = self.up("client_body_buffer_size 8k;", 2)
        bench.origin(8000).default = lambda connection, request: connection.close()
        bench.origin(8001).default = OK
        self.assertEqual(bench.client().request(b"PUT", b"/", body=body).status, 200)
        self.assertEqual(bench.origin(8000).requests[0].body, body)
        self.assertEqual(bench.origin(8001).requests[0].body, body)

    def test_not_after_the_head(self) -> None:
        """A response that has begun cannot be taken back."""
        bench = self.up("", 2)
        client = bench.client()
        client.send(message(b"GET", b"/"))
        bench.origin(8000).last.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
        bench.origin(8000).last.close()
        self.assertTrue(client.transport.lost)
        self.assertEqual(bench.origin(8001).connections, [])

    def test_max_conns(self) -> None:
        """``max_conns`` is given back when requests end, however they end."""
        bench = self.up("", 1, "max_conns=1")
        first, second = bench.client(), bench.client()
        first.send(message(b"GET", b"/"))
        self.assertEqual(second.get(b"/").status, 502)
        first.vanish()
        bench.origin(8000).default = OK
        for _ in range(3):
            self.assertEqual(second.get(b"/").status, 200)
        bench.origin(8000).default = lambda connection, request: connection.reset()
        self.assertEqual(second.get(b"/").status, 502)
        bench.origin(8000).default = OK
        self.assertEqual(second.get(b"/").status, 200)


class ElsewhereTests(BenchCase):
    """Responses that are not passed on."""

    def test_accel_redirect(self) -> None:
        """``X-Accel-Redirect`` to an internal location; chosen fields are kept."""
        bench = self.proxy("", "location /files/ { internal; root $folder; }")
        bench.write("files/a.txt", b"the file")
        self.origin.default = response(
            200,
            b"not this",
            b"X-Accel-Redirect: /files/a.txt",
            b"Content-Type: x/y",
            b"Set-Cookie: a=b",
            b"X-Other: c",
            b"Cache-Control: private",
        )
        answer = bench.get(b"/")
        self.assertEqual((answer.status, answer.body), (200, b"the file"))
        self.assertEqual(answer.get(b"content-type"), b"x/y")
        self.assertEqual(answer.get(b"set-cookie"), b"a=b")
        self.assertEqual(answer.get(b"cache-control"), b"private")
        self.assertIsNone(answer.get(b"x-other"))
        self.assertIsNone(answer.get(b"x-accel-redirect"))
        self.assertEqual(bench.get(b"/files/a.txt").status, 404, "internal")

    def test_accel_redirect_named(self) -> None:
        """To a named location."""
        bench = self.proxy("", "location @other { return 200 named; }")
        self.origin.default = response(200, b"no", b"X-Accel-Redirect: @other")
        self.assertEqual(bench.get(b"/").body, b"named")

    def test_accel_redirect_ignored(self) -> None:
        """``proxy_ignore_headers`` passes the response on."""
        bench = self.proxy("proxy_ignore_headers X-Accel-Redirect;")
        self.origin.default = response(200, b"yes", b"X-Accel-Redirect: @other")
        self.assertEqual(bench.get(b"/").body, b"yes")

    def test_accel_redirect_outside(self) -> None:
        """A path out of the tree is no place to go: 404, and a page of our own, as in nginx."""
        bench = self.proxy("", "location /files/ { internal; root $folder; }")
        bench.write("files/a", b"a")
        for place in (
            b"/../etc/passwd",
            b"/files/../../etc/passwd",
            b"/files/%2e%2e/files/a",
            b"/files/x/..",
            b"/files/a%00",
            b"relative",
            b"",
        ):
            lines = (b"Accept-Ranges: bytes", b"Content-Type: a/b")
            self.origin.default = response(200, b"no", b"X-Accel-Redirect: " + place, *lines)
            answer = bench.get(b"/")
            self.assertEqual(answer.status, 404, place)
            self.assertEqual(answer.get(b"content-type"), b"text/html")
            self.assertIsNone(answer.get(b"accept-ranges"))

    def test_accel_redirect_loop(self) -> None:
        """A circle ends with 500."""
        bench = self.proxy()
        self.origin.default = response(200, b"no", b"X-Accel-Redirect: /again")
        self.assertEqual(bench.get(b"/").status, 500)
        self.assertLessEqual(len(self.origin.requests), 11)

    def test_accel_redirect_of_post(self) -> None:
        """The new place is asked with GET, without the body."""
        bench = self.proxy("", "location /i/ { internal; proxy_pass http://127.0.0.1:8001; }")
        self.origin.default = response(200, b"no", b"X-Accel-Redirect: /i/x")
        bench.origin(8001).default = echo
        answer = bench.client().request(b"POST", b"/", body=b"abc")
        self.assertTrue(answer.body.startswith(b"GET /i/x"), answer)

    def test_intercept_errors(self) -> None:
        """``proxy_intercept_errors`` answers with the error page, keeping the status."""
        bench = self.proxy(
            "proxy_intercept_errors on; error_page 404 /404.html;",
            "location = /404.html { return 200 page; }",
        )
        self.origin.default = response(404, b"origin's")
        answer = bench.get(b"/x")
        self.assertEqual((answer.status, answer.body), (404, b"page"))
        self.origin.default = response(500, b"origin's")
        self.assertEqual(bench.get(b"/x").body, b"origin's")

    def test_error_page_of_502(self) -> None:
        """A failed origin's error page."""
        bench = self.proxy("error_page 502 =200 @sorry;", "location @sorry { return 200 sorry; }")
        self.origin.mode = "refuse"
        answer = bench.get(b"/")
        self.assertEqual((answer.status, answer.body), (200, b"sorry"))


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
