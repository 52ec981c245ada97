"""A client's connection, bytes in and out: RFC 9112, nginx's time-outs and lingering close."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.proxy.harness import (
    BUFFER_SIZE,
    BenchCase,
    Client,
    OriginConnection,
    Request,
    message,
    response,
)

OK = response(200, b"fine")


class PersistenceTests(BenchCase):
    """RFC 9112 §9.3: when a connection carries another request."""

    def test_two_requests_one_connection(self) -> None:
        """HTTP/1.1 persists by default (§9.3)."""
        self.serve("return 200 hi;")
        client = self.bench.client()
        for _ in range(3):
            answer = client.get(b"/")
            self.assertEqual(answer.body, b"hi")
            self.assertEqual(answer.get(b"connection"), b"keep-alive")
        self.assertFalse(client.transport.closed)
        self.assertEqual(client.protocol.requests, 3)

    def test_close_is_honoured(self) -> None:
        """``Connection: close`` ends the connection after the response (§9.6)."""
        self.serve("return 200 hi;")
        client = self.bench.client()
        answer = client.get(b"/", b"Connection: close")
        self.assertEqual(answer.get(b"connection"), b"close")
        self.assertTrue(client.transport.lost)
        self.assertFalse(client.transport.aborted)

    def test_nothing_after_close_is_answered(self) -> None:
        """Requests behind one that asked to close are not processed (§9.6)."""
        bench = self.proxy()
        self.origin.default = OK
        client = bench.client()
        client.send(message(b"GET", b"/1", b"Connection: close") + message(b"GET", b"/2"))
        client.response()
        self.assertEqual(client.unread, b"")
        self.assertEqual([r.target for r in self.origin.requests], [b"/1"])
        # The client's unread bytes would make its kernel drop the answer: linger.
        self.assertTrue(client.transport.write_ended)
        bench.advance(6)
        self.assertTrue(client.transport.lost)

    def test_http10_closes(self) -> None:
        """HTTP/1.0 without keep-alive ends with its response (§9.3)."""
        self.serve("return 200 hi;")
        client = self.bench.client()
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        self.assertEqual(client.response().get(b"connection"), b"close")
        self.assertTrue(client.transport.lost)

    def test_http10_keep_alive(self) -> None:
        """HTTP/1.0 persists where both say keep-alive (RFC 9112 §C.2.2)."""
        self.serve("return 200 hi;")
        client = self.bench.client()
        for _ in range(2):
            client.send(b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n")
            self.assertEqual(client.response().get(b"connection"), b"keep-alive")
        self.assertFalse(client.transport.closed)

    def test_keepalive_timeout_zero(self) -> None:
        """``keepalive_timeout 0`` answers one request per connection."""
        self.serve("return 200 hi;", "keepalive_timeout 0;")
        client = self.bench.client()
        self.assertEqual(client.get(b"/").get(b"connection"), b"close")
        self.assertTrue(client.transport.lost)

    def test_keepalive_timeout_header(self) -> None:
        """``keepalive_timeout 20 15`` announces its second value."""
        self.serve("return 200 hi;", "keepalive_timeout 20 15;")
        self.assertEqual(self.bench.get(b"/").get(b"keep-alive"), b"timeout=15")

    def test_keepalive_requests(self) -> None:
        """The last request allowed is answered with close, the next is not read."""
        self.serve("return 200 hi;", "keepalive_requests 2;")
        client = self.bench.client()
        self.assertEqual(client.get(b"/").get(b"connection"), b"keep-alive")
        self.assertEqual(client.get(b"/").get(b"connection"), b"close")
        self.assertTrue(client.transport.closed)

    def test_keepalive_requests_with_fast_path(self) -> None:
        """Ready responses count as requests too."""
        bench = self.cache("keepalive_requests 4;", "keepalive_requests 4;")
        self.origin.default = response(200, b"x", b"Cache-Control: max-age=60")
        client = bench.client()
        seen = [client.get(b"/").get(b"connection") for _ in range(4)]
        self.assertEqual(seen, [b"keep-alive"] * 3 + [b"close"])

    def test_keepalive_disable(self) -> None:
        """Browsers that cannot deal with a kept connection do not get one, nor a ready answer."""
        agents = {
            "msie6": b"User-Agent: Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1)",
            "safari": b"User-Agent: Mozilla/5.0 (Macintosh; Intel Mac OS X) Version/9 Safari/601",
        }
        for options, closed in (
            ("", {("msie6", b"POST")}),
            ("keepalive_disable none;", set()),
            ("keepalive_disable safari;", {("safari", b"GET"), ("safari", b"POST")}),
            (
                "keepalive_disable msie6 safari;",
                {("msie6", b"POST"), ("safari", b"GET"), ("safari", b"POST")},
            ),
        ):
            bench = self.cache(options)
            self.origin.default = response(200, b"x", b"Cache-Control: max-age=60")
            for name, field in agents.items():
                for method in (b"GET", b"GET", b"GET", b"POST"):
                    client = bench.client()
                    answer = client.request(method, b"/", field)
                    wanted = b"close" if (name, method) in closed else b"keep-alive"
                    self.assertEqual(answer.get(b"connection"), wanted, (options, name, method))
                    self.assertEqual(client.transport.closed, wanted == b"close")
            bench.close()

    def test_keepalive_time(self) -> None:
        """``keepalive_time`` ends a connection however busy it is."""
        bench = self.serve("return 200 hi;", "keepalive_time 10s;")
        client = bench.client()
        self.assertEqual(client.get(b"/").get(b"connection"), b"keep-alive")
        bench.advance(11)
        self.assertEqual(client.get(b"/").get(b"connection"), b"close")

    def test_blank_lines_between_requests(self) -> None:
        """An empty line before a request line is read over (§2.2)."""
        self.serve("return 200 hi;")
        client = self.bench.client()
        client.get(b"/")
        client.send(b"\r\n" + message(b"GET", b"/"))
        self.assertEqual(client.response().status, 200)


class PipeliningTests(BenchCase):
    """RFC 9112 §9.3.2."""

    def test_answers_come_in_order(self) -> None:
        """Responses have the order of the requests, and only one is at work."""
        bench = self.proxy()
        client = bench.client()
        client.send(b"".join(message(b"GET", b"/%d" % n) for n in range(3)))
        for n in range(3):
            self.assertEqual(len(self.origin.requests), n + 1)
            self.assertEqual(self.origin.requests[-1].target, b"/%d" % n)
            self.origin.last.send(response(200, b"body %d" % n))
            self.assertEqual(client.response().body, b"body %d" % n)
        self.assertEqual(client.unread, b"")

    def test_the_transport_is_paused_while_requests_wait(self) -> None:
        """What is pipelined stays in the kernel, not in our memory."""
        bench = self.proxy()
        client = bench.client()
        client.send(message(b"GET", b"/1") + message(b"GET", b"/2"))
        self.assertTrue(client.transport.paused)
        self.origin.last.send(OK)
        self.assertFalse(client.transport.paused)
        self.origin.last.send(OK)
        client.response()
        client.response()
        self.assertFalse(client.transport.paused)

    def test_many_hits_in_one_read(self) -> None:
        """A burst of pipelined hits is answered whole and in order."""
        bench = self.cache()
        self.origin.default = lambda connection, request: connection.send(
            response(200, request.target, b"Cache-Control: max-age=60")
        )
        client = bench.client()
        targets = [b"/%d" % (n % 7) for n in range(200)]
        client.send(b"".join(message(b"GET", target) for target in targets))
        self.assertEqual([client.response().body for _ in targets], targets)
        self.assertEqual(len(self.origin.requests), 7)

    def test_pipelined_behind_a_body(self) -> None:
        """The first byte behind a body starts the next request."""
        bench = self.proxy()
        self.origin.default = lambda c, r: c.send(response(200, r.method + b":" + r.body))
        client = bench.client()
        client.send(message(b"POST", b"/", body=b"abc") + message(b"GET", b"/"))
        self.assertEqual(client.response().body, b"POST:abc")
        self.assertEqual(client.response().body, b"GET:")

    @given(st.lists(st.integers(1, 60), max_size=40))
    def test_any_split_gives_the_same(self, sizes: list[int]) -> None:
        """However the bytes are cut, the answers are the same (§2.2)."""
        self.serve(
            "return 200 $request_method$uri;", "location /p { proxy_pass http://127.0.0.1:8000; }"
        )
        self.bench.origin().default = lambda c, r: c.send(response(200, r.body))
        data = (
            message(b"GET", b"/1")
            + message(b"POST", b"/p", body=b"0123456789")
            + message(b"POST", b"/p", b"Transfer-Encoding: chunked")
            + b"3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\nT: v\r\n\r\n"
            + message(b"HEAD", b"/2")
            + message(b"GET", b"/3", b"Connection: close")
        )
        client = self.bench.client()
        for size in sizes:
            client.send(data[:size])
            data = data[size:]
        if data:
            client.send(data)
        self.assertEqual(client.response().body, b"GET/1")
        self.assertEqual(client.response().body, b"0123456789")
        self.assertEqual(client.response().body, b"abcdefg")
        self.assertEqual(client.response(b"HEAD").get(b"content-length"), b"6")
        self.assertEqual(client.response().body, b"GET/3")
        self.assertTrue(client.transport.closed)
        self.bench.close()


class FairnessTests(BenchCase):
    """One busy connection does not keep the others waiting."""

    def test_long_reads_give_way(self) -> None:
        """After a long read the transport is asked to read on in the next turn only."""
        self.proxy("", server="client_max_body_size 0;")
        client = self.bench.client()
        breaths: list[int] = []
        client.transport.breathe = lambda: breaths.append(1)
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        self.assertEqual(breaths, [])
        client.send(b"1\r\nz\r\n" * 30000)
        self.assertEqual(breaths, [1])


class RefusalTests(BenchCase):
    """What cannot be read as a request: answered, and the connection closed."""

    def refused(self, data: bytes, status: int, server: str = "") -> Client:
        """Sending *data* is answered with *status* alone."""
        self.serve("return 200 hi;", server)
        client = self.bench.client()
        client.send(data)
        answer = client.response()
        self.assertEqual(answer.status, status, answer)
        self.assertEqual(answer.get(b"connection"), b"close")
        self.assertTrue(client.transport.closed)
        client.send(message(b"GET", b"/"))
        self.assertEqual(client.unread, b"")
        return client

    def test_malformed_requests(self) -> None:
        """RFC 9112 §2.2, §3, §6.3: 400 and the end."""
        for data in (
            b"NONSENSE\r\n\r\n",
            b"GET /\r\n\r\n",
            b"GET / HTTP/1.1\r\n\r\n",  # no Host (§3.2)
            b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nBad Name: x\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
            b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET / HTTP/1.1\nHost: a\n\n",
        ):
            with self.subTest(data=data):
                self.refused(data, 400)

    def test_other_statuses(self) -> None:
        """414, 431, 501, 505 have requests of their own."""
        self.refused(b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414)
        self.refused(b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 9000 + b"\r\n\r\n", 431)
        self.refused(b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505)
        self.refused(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501)

    def test_head_limit(self) -> None:
        """``large_client_header_buffers`` bounds the whole head."""
        lines = b"".join(b"X-%d: %s\r\n" % (n, b"a" * 900) for n in range(9))
        self.refused(
            b"GET / HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n",
            431,
            "large_client_header_buffers 4 1k;",
        )

    def test_max_headers(self) -> None:
        """One field line more than ``max_headers`` is a 400, as in nginx; 1000 without it."""
        for options, limit in (("max_headers 5;", 5), ("large_client_header_buffers 4 64k;", 1000)):
            self.serve("return 200 hi;", options)
            fields = [b"X-%d: y" % n for n in range(limit)]
            client = self.bench.client()
            self.assertEqual(client.request(b"GET", b"/", *fields[1:]).status, 200)
            client = self.bench.client()
            self.assertEqual(client.request(b"GET", b"/", *fields).status, 400)
            self.assertTrue(client.transport.closed)
            self.bench.close()

    def test_endless_head(self) -> None:
        """A head without end is refused before it fills the memory."""
        self.serve("return 200 hi;")
        client = self.bench.client()
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n")
        for n in range(5000):
            client.send(b"X-%d: aaaaaaaaaaaaaaaa\r\n" % n)
            if client.transport.closed:
                break
        self.assertLess(n, 2000)
        self.assertEqual(client.response().status, 431)

    def test_refusal_behind_a_good_request(self) -> None:
        """What came before the fault is answered first."""
        self.serve("return 200 hi;")
        client = self.bench.client()
        client.send(message(b"GET", b"/") + b"NONSENSE\r\n\r\n")
        self.assertEqual(client.response().status, 200)
        self.assertEqual(client.response().status, 400)
        self.assertTrue(client.transport.closed)

    def test_refusal_is_logged(self) -> None:
        """A request that was no request has a line in the access log."""
        self.serve("return 200 hi;", "access_log access.log l;", "log_format l '$status $request';")
        client = self.bench.client()
        client.send(b"NONSENSE\r\n\r\n")
        self.assertEqual(self.bench.log(), ["400 -"])

    def test_refusal_lingers(self) -> None:
        """Reading goes on for a while, so that the client gets to see the answer."""
        self.serve("return 200 hi;")
        client = self.bench.client()
        client.send(b"NONSENSE\r\n\r\n")
        self.assertTrue(client.transport.write_ended)
        self.assertFalse(client.transport.lost)
        for _ in range(8):
            self.bench.advance(4)
            client.send(b"more")
        self.assertTrue(client.transport.lost, "lingering_time is the limit")

    def test_lingering_close(self) -> None:
        """``off`` closes at once, ``always`` lingers though nothing more is expected."""
        close = message(b"GET", b"/", b"Connection: close")
        for options, data, lingers in (
            ("lingering_close off;", b"NONSENSE\r\n\r\n", False),
            ("lingering_close off;", close + b"more", False),
            ("lingering_close on;", close, False),
            ("lingering_close on;", close + b"more", True),
            ("lingering_close always;", close, True),
        ):
            self.serve("return 200 hi;", options)
            client = self.bench.client()
            client.send(data)
            self.assertEqual(client.transport.write_ended, lingers, (options, data))
            self.assertEqual(client.transport.lost, not lingers, (options, data))
            self.bench.close()

    def test_lingering_limits(self) -> None:
        """``lingering_time`` in all, ``lingering_timeout`` from read to read."""
        for steps, lost in (([2, 2, 2], False), ([2, 2, 2, 2], True), ([4], True)):
            self.serve("return 200 hi;", "lingering_time 7s; lingering_timeout 3s;")
            client = self.bench.client()
            client.send(b"NONSENSE\r\n\r\n")
            for seconds in steps:
                self.bench.advance(seconds)
                client.send(b"more")
            self.assertEqual(client.transport.lost, lost, steps)
            self.bench.close()

    def test_lingering_waits_for_a_client_that_reads_slowly(self) -> None:
        """A response is not cut because the client has more to send and reads late."""
        self.bench = bench = self.proxy()
        client = bench.client()
        client.transport.hold()
        client.send(message(b"GET", b"/", b"Connection: close") + b"more")
        self.origin.last.send(response(200, b"x" * 300_000))
        bench.advance(20)
        client.release()
        self.assertEqual(len(client.response().body), 300_000)
        self.assertFalse(client.transport.aborted)
        self.assertTrue(client.transport.write_ended)

    def test_lingering_ends_with_the_client(self) -> None:
        """The client's own end is the end of lingering."""
        self.serve("return 200 hi;")
        client = self.bench.client()
        client.send(b"NONSENSE\r\n\r\n")
        client.eof()
        self.assertTrue(client.transport.lost)
        self.assertEqual(self.bench.connections, 0)


class BodyTests(BenchCase):
    """Request bodies: limits, expectations, faults."""

    def test_declared_too_long(self) -> None:
        """413 before any of the body is read, and the connection ends."""
        bench = self.proxy("client_max_body_size 10;")
        client = bench.client()
        answer = client.request(b"POST", b"/", body=b"x" * 11)
        self.assertEqual(answer.status, 413)
        self.assertEqual(answer.get(b"connection"), b"close")
        self.assertEqual(self.origin.requests, [])

    def test_chunked_too_long(self) -> None:
        """413 when an undeclared body passes the limit."""
        bench = self.proxy("client_max_body_size 10;")
        client = bench.client()
        client.send(message(b"POST", b"/", b"Transfer-Encoding: chunked") + b"8\r\n01234567\r\n")
        self.assertEqual(client.unread, b"")
        client.send(b"8\r\n01234567\r\n")
        self.assertEqual(client.response().status, 413)
        self.assertTrue(client.transport.closed)
        self.assertEqual(self.origin.requests, [])

    def test_limit_zero_is_none(self) -> None:
        """``client_max_body_size 0`` does not check."""
        bench = self.proxy("client_max_body_size 0;")
        self.origin.default = lambda c, r: c.send(response(200, b"%d" % len(r.body)))
        answer = bench.client().request(b"POST", b"/", body=b"x" * 2_000_000)
        self.assertEqual(answer.body, b"2000000")

    def test_expect_continue(self) -> None:
        """100 comes before the body is waited for, once (RFC 9110 §10.1.1)."""
        bench = self.proxy()
        self.origin.default = lambda c, r: c.send(response(200, r.body))
        client = bench.client()
        head = message(b"POST", b"/", b"Expect: 100-continue", b"Content-Length: 3")
        client.send(head)
        self.assertEqual(client.response().status, 100)
        self.assertEqual(client.unread, b"")
        client.send(b"abc")
        self.assertEqual(client.response().body, b"abc")
        self.assertEqual(client.unread, b"")
        self.assertEqual(self.origin.requests[0].get(b"expect"), None)

    def test_expect_continue_refused(self) -> None:
        """No 100 where the answer is a refusal; the body is never asked for."""
        bench = self.proxy("client_max_body_size 2;")
        client = bench.client()
        client.send(message(b"POST", b"/", b"Expect: 100-continue", b"Content-Length: 3"))
        self.assertEqual(client.response().status, 413)
        self.assertEqual(client.unread, b"")

    def test_expect_continue_of_http10_is_ignored(self) -> None:
        """An HTTP/1.0 client gets no 1xx (RFC 9110 §15.2)."""
        bench = self.proxy()
        self.origin.default = OK
        client = bench.client()
        client.send(b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n")
        self.assertEqual(client.unread, b"")
        client.send(b"x")
        self.assertEqual(client.response().status, 200)

    def test_fault_within_a_chunked_body(self) -> None:
        """400, and nothing of it is taken for a request."""
        bench = self.proxy()
        client = bench.client()
        client.send(message(b"POST", b"/", b"Transfer-Encoding: chunked") + b"3\r\nabc\r\n")
        client.send(b"zz\r\n" + message(b"GET", b"/smuggled"))
        self.assertEqual(client.response().status, 400)
        self.assertEqual(client.unread, b"")
        self.assertTrue(client.transport.closed)
        self.assertEqual(self.origin.requests, [])

    def test_fault_within_a_streamed_body(self) -> None:
        """With ``proxy_request_buffering off`` the upstream connection is given up too."""
        bench = self.proxy("proxy_request_buffering off; proxy_http_version 1.1;")
        client = bench.client()
        client.send(message(b"POST", b"/", b"Transfer-Encoding: chunked") + b"3\r\nabc\r\n")
        self.assertTrue(self.origin.last.received.endswith(b"3\r\nabc\r\n"))
        client.send(b"zz\r\n")
        self.assertEqual(client.response().status, 400)
        self.assertTrue(self.origin.last.closed)
        self.assertNotIn(b"0\r\n\r\n", self.origin.last.received)

    def test_fault_after_the_response_has_begun(self) -> None:
        """The response cannot be taken back: the connection is cut."""
        bench = self.proxy("proxy_request_buffering off;")
        client = bench.client()
        client.send(message(b"POST", b"/", b"Transfer-Encoding: chunked") + b"3\r\nabc\r\n")
        self.origin.last.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234")
        client.send(b"zz\r\n")
        self.assertTrue(client.transport.lost)
        self.assertTrue(client.received.endswith(b"01234"))

    def test_fault_after_the_response_has_ended(self) -> None:
        """No second response: the client would take it for that to its next request."""
        self.serve("return 200 hi;")
        for pieces in ((b"zz\r\n",), (b"3\r\nabc\r\n", b"zz\r\n" + message(b"GET", b"/2"))):
            client = self.bench.client()
            client.send(message(b"POST", b"/", b"Transfer-Encoding: chunked") + pieces[0])
            for piece in pieces[1:]:
                client.send(piece)
            self.assertEqual(client.response().body, b"hi")
            self.assertEqual(client.unread, b"")
            self.assertTrue(client.transport.closed)
            self.bench.advance(6)
            self.assertTrue(client.transport.lost)

    def test_unwanted_body_is_read_past(self) -> None:
        """A response that needs no body comes at once; the body is not taken for requests."""
        self.serve("return 200 hi;")
        client = self.bench.client()
        client.send(message(b"POST", b"/", b"Content-Length: 30"))
        self.assertEqual(client.response().status, 200)
        client.send(message(b"GET", b"/x").ljust(30, b"x")[:30])
        if not client.transport.closed:
            self.assertEqual(client.get(b"/").body, b"hi")
        self.assertEqual(client.unread, b"")


class TimeoutTests(BenchCase):
    """The four time limits of a connection."""

    def test_no_request_at_all(self) -> None:
        """``client_header_timeout`` runs from the connection's start."""
        self.serve("return 200 hi;", "client_header_timeout 5s;")
        client = self.bench.client()
        self.bench.advance(4)
        self.assertFalse(client.transport.lost)
        self.bench.advance(2)
        self.assertTrue(client.transport.lost)
        self.assertEqual(client.received, b"")

    def test_slow_head(self) -> None:
        """Dripping bytes do not extend the limit (slow loris)."""
        self.serve("return 200 hi;", "client_header_timeout 5s;")
        client = self.bench.client()
        for _ in range(7):
            client.send(b"G")
            self.bench.advance(1)
        self.assertTrue(client.transport.lost)

    def test_slow_second_head(self) -> None:
        """On a kept connection the limit runs from a head's first byte."""
        self.serve("return 200 hi;", "client_header_timeout 5s; keepalive_timeout 20s;")
        client = self.bench.client()
        client.get(b"/")
        self.bench.advance(10)
        client.send(b"GET / HT")
        self.bench.advance(4)
        client.send(b"TP/1.1\r\n")
        self.assertFalse(client.transport.lost)
        self.bench.advance(2)
        self.assertTrue(client.transport.lost)

    def test_a_head_in_time_clears_the_limit(self) -> None:
        """An upstream may take longer than a head may."""
        bench = self.proxy("proxy_read_timeout 100s;", "client_header_timeout 5s;")
        client = bench.client()
        client.send(b"GET / HTTP/1.1\r\n")
        bench.advance(3)
        client.send(b"Host: a\r\n\r\n")
        bench.advance(50)
        self.origin.last.send(OK)
        self.assertEqual(client.response().status, 200)

    def test_keepalive_timeout(self) -> None:
        """An idle connection is closed in order after ``keepalive_timeout``."""
        self.serve("return 200 hi;", "keepalive_timeout 10s;")
        client = self.bench.client()
        client.get(b"/")
        self.bench.advance(9)
        client.get(b"/")
        self.bench.advance(9)
        self.assertFalse(client.transport.lost)
        self.bench.advance(2)
        self.assertTrue(client.transport.lost)
        self.assertFalse(client.transport.aborted)

    def test_body_timeout(self) -> None:
        """``client_body_timeout`` runs between pieces, not over the whole."""
        bench = self.proxy("client_body_timeout 5s;")
        client = bench.client()
        client.send(message(b"POST", b"/", b"Content-Length: 100"))
        for _ in range(5):
            bench.advance(4)
            client.send(b"x")
        self.assertFalse(client.transport.lost)
        bench.advance(6)
        self.assertTrue(client.transport.closed)
        self.assertEqual(self.origin.requests, [])
        self.assertEqual(bench.connections, 0)

    def test_body_that_never_starts(self) -> None:
        """The limit runs from the head on."""
        bench = self.proxy("client_body_timeout 5s;")
        client = bench.client()
        client.send(message(b"POST", b"/", b"Content-Length: 100"))
        bench.advance(6)
        self.assertTrue(client.transport.closed)

    def test_send_timeout(self) -> None:
        """``send_timeout``: a client that does not read is cut off, and its upstream freed."""
        bench = self.proxy("send_timeout 5s; proxy_buffering off;")
        client = bench.client()
        client.send(message(b"GET", b"/"))
        client.transport.hold()
        self.origin.last.send(response(200, b"x" * 300_000)[:-1])
        bench.advance(4)
        self.assertFalse(client.transport.lost)
        bench.advance(2)
        self.assertTrue(client.transport.lost)
        self.assertTrue(client.transport.aborted)
        self.assertEqual(self.origin.open, 0)

    def test_send_timeout_of_a_hit(self) -> None:
        """The fast path's bytes are under the same limit."""
        bench = self.cache("send_timeout 5s;", "send_timeout 5s; keepalive_timeout 100s;")
        self.origin.default = response(200, b"x" * 100_000, b"Cache-Control: max-age=900")
        client = bench.client()
        client.get(b"/")
        client.get(b"/")
        client.transport.hold()
        client.send(message(b"GET", b"/"))
        self.assertFalse(client.transport.lost)
        bench.advance(7)
        self.assertTrue(client.transport.lost)

    def test_a_reader_that_goes_on_is_not_cut(self) -> None:
        """``send_timeout`` runs between reads."""
        bench = self.proxy("send_timeout 5s; proxy_buffering off;")
        client = bench.client()
        client.send(message(b"GET", b"/"))
        client.transport.hold()
        self.origin.last.send(response(200, b"x" * 300_000))
        bench.advance(4)
        client.release()
        bench.advance(10)
        self.assertEqual(len(client.response().body), 300_000)
        self.assertFalse(client.transport.lost)

    def test_nothing_is_left_behind(self) -> None:
        """A closed connection leaves no timer."""
        self.serve("return 200 hi;")
        timers = len(self.bench.reactor.getDelayedCalls())
        for _ in range(3):
            client = self.bench.client()
            client.get(b"/")
            client.vanish()
        self.assertEqual(len(self.bench.reactor.getDelayedCalls()), timers)


class VanishingTests(BenchCase):
    """The client leaves: nothing of its exchange may stay."""

    def test_at_every_stage(self) -> None:
        """Before, within and after each part of an exchange."""
        head = message(b"POST", b"/", b"Content-Length: 4")
        stages: list[tuple[bytes, bytes]] = [
            (b"", b""),
            (b"GET / HT", b""),
            (head, b""),
            (head + b"ab", b""),
            (head + b"abcd", b""),
            (head + b"abcd", b"HTTP/1.1 200 OK\r\n"),
            (head + b"abcd", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
            (head + b"abcd", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc"),
            (head + b"abcd", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde"),
        ]
        for buffering in ("on", "off"):
            for sent, answered in stages:
                for leave in ("vanish", "eof"):
                    with self.subTest(sent=sent, answered=answered, leave=leave):
                        bench = self.proxy(f"proxy_request_buffering {buffering};")
                        client = bench.client()
                        if sent:
                            client.send(sent)
                        if answered:
                            self.origin.last.send(answered)
                        getattr(client, leave)()
                        self.assertTrue(client.transport.lost)
                        self.assertEqual(bench.connections, 0)
                        whole = answered.endswith(b"abcde")
                        self.assertEqual(self.origin.open, int(whole))
                        bench.close()

    def test_while_connecting(self) -> None:
        """An attempt under way is given up."""
        bench = self.proxy()
        self.origin.mode = "hang"
        client = bench.client()
        client.send(message(b"GET", b"/"))
        client.vanish()
        self.assertEqual(bench.connections, 0)
        bench.advance(100)
        self.assertEqual(len(bench.reactor.attempts), 1)

    def test_status_499(self) -> None:
        """A client that leaves before the head is logged with 499."""
        bench = self.proxy("", "access_log access.log l;", "log_format l '$status $request';")
        client = bench.client()
        client.send(message(b"GET", b"/x"))
        client.vanish()
        self.assertEqual(bench.log(), ["499 GET /x HTTP/1.1"])

    def test_eof_behind_a_request(self) -> None:
        """As nginx, half a close while the answer is awaited is taken for leaving."""
        bench = self.proxy()
        client = bench.client()
        client.send(message(b"GET", b"/"))
        client.eof()
        self.assertTrue(client.transport.lost)
        self.assertTrue(self.origin.last.closed)

    def test_eof_with_an_answer_written(self) -> None:
        """What was written before the client's end still goes out."""
        self.serve("return 200 hi;")
        client = self.bench.client()
        client.transport.hold()
        client.send(message(b"GET", b"/"))
        client.eof()
        client.release()
        self.assertEqual(client.response().body, b"hi")
        self.assertTrue(client.transport.lost)

    def test_eof_between_requests(self) -> None:
        """An idle connection whose client ends is closed."""
        self.serve("return 200 hi;")
        client = self.bench.client()
        client.get(b"/")
        client.eof()
        self.assertTrue(client.transport.lost)


class BackPressureTests(BenchCase):
    """No side may outrun the other's memory."""

    def test_slow_client_pauses_the_upstream(self) -> None:
        """Unbuffered: the origin is read no faster than the client reads."""
        bench = self.proxy("proxy_buffering off;")
        client = bench.client()
        client.send(message(b"GET", b"/"))
        client.transport.hold()
        origin = self.origin.last
        origin.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        for _ in range(10):
            origin.send(b"x" * 100_000)
        self.assertTrue(origin.transport.paused)
        self.assertLess(len(client.transport.held), BUFFER_SIZE + 110_000)
        client.release()
        self.assertEqual(len(client.response().body), 1_000_000)
        self.assertFalse(origin.transport.paused)

    def test_slow_upstream_pauses_the_client(self) -> None:
        """Unbuffered: the client is read no faster than the origin reads."""
        bench = self.proxy("proxy_request_buffering off; client_max_body_size 0;")
        client = bench.client()
        client.send(message(b"POST", b"/", b"Content-Length: 1000000"))
        origin = self.origin.last
        origin.transport.hold()
        for _ in range(10):
            client.send(b"x" * 100_000)
        self.assertTrue(client.transport.paused)
        self.assertLess(len(origin.transport.held), BUFFER_SIZE + 210_000)
        origin.transport.release()
        bench.reactor.settle()
        self.assertEqual(len(self.origin.requests[0].body), 1_000_000)
        self.assertFalse(client.transport.paused)

    def test_requests_that_come_later_wait_in_the_kernel(self) -> None:
        """Not only what is pipelined in one read: nothing piles up behind a slow origin."""
        bench = self.proxy()
        client = bench.client()
        client.send(message(b"GET", b"/1"))
        self.assertFalse(client.transport.paused)
        for n in range(2, 100):
            client.send(message(b"GET", b"/%d" % n, b"X: " + b"x" * 3900) * 5)
        self.assertTrue(client.transport.paused)
        for _ in range(1 + 98 * 5):
            self.origin.last.send(OK)
            self.assertEqual(client.response().body, b"fine")
        self.assertFalse(client.transport.paused)

    def test_room_for_the_body_does_not_let_requests_in(self) -> None:
        """What waits behind a request waits although the origin takes the body again."""
        bench = self.proxy("proxy_request_buffering off;")
        client = bench.client()
        client.send(message(b"POST", b"/", b"Content-Length: 200000"))
        self.origin.last.transport.hold()
        client.send(b"x" * 100_000)
        client.send(b"x" * 100_000 + message(b"GET", b"/next"))
        self.assertTrue(client.transport.paused)
        transport = self.origin.last.transport
        self.origin.script.append(lambda c, r: None)
        transport.release()
        bench.reactor.settle()
        self.assertTrue(client.transport.paused)
        self.origin.default = response(200, b"next")
        self.origin.last.send(OK)
        self.assertEqual(client.response().body, b"fine")
        self.assertEqual(client.response().body, b"next")
        self.assertFalse(client.transport.paused)

    def test_a_body_does_not_extend_the_time_to_read(self) -> None:
        """``send_timeout`` runs whatever the client sends, and while it may not send."""
        for size in (10, 300_000):
            bench = self.proxy(
                "proxy_request_buffering off; proxy_buffering off; send_timeout 5s;"
                "client_max_body_size 0; proxy_send_timeout 100s; proxy_read_timeout 100s;"
            )
            client = bench.client()
            client.send(message(b"POST", b"/", b"Content-Length: 900000"))
            client.transport.hold()
            self.origin.last.send(response(200, b"x" * 300_000)[:-1])
            self.origin.last.transport.hold()
            for _ in range(2):
                bench.advance(2)
                client.send(b"x" * size)
            bench.advance(2)
            self.assertTrue(client.transport.lost, size)
            self.assertEqual(self.origin.open, 0)
            bench.close()

    def test_pipelined_hits_of_a_client_that_does_not_read(self) -> None:
        """A few bytes of requests must not fill the memory with responses."""
        bench = self.cache()
        self.origin.default = response(200, b"x" * 50_000, b"Cache-Control: max-age=900")
        for hot in (True, False):
            client = bench.client(hot=hot)
            client.get(b"/")
            client.get(b"/")
            client.transport.hold()
            client.send(message(b"GET", b"/") * 100)
            self.assertLess(len(client.transport.held), 200_000)
            self.assertTrue(client.transport.paused)
            client.release()
            for _ in range(100):
                self.assertEqual(len(client.response().body), 50_000)
            self.assertFalse(client.transport.paused)
            self.assertEqual(client.get(b"/").status, 200)

    def test_pipelined_small_responses_of_a_client_that_does_not_read(self) -> None:
        """Many requests in one read: what is gathered in a turn is bounded too."""
        self.serve(f"return 200 {'x' * 3000};")
        client = self.bench.client()
        client.transport.hold()
        client.send(message(b"GET", b"/") * 1000)
        self.assertLess(len(client.transport.held), 200_000)
        client.release()
        for _ in range(1000):
            self.assertEqual(len(client.response().body), 3000)

    def test_draining_with_a_response_unread(self) -> None:
        """The stop waits for the client to read, then ends the connection."""
        bench = self.cache()
        self.origin.default = response(200, b"x" * 100_000, b"Cache-Control: max-age=900")
        client = bench.client()
        client.get(b"/")
        client.get(b"/")
        client.transport.hold()
        client.send(message(b"GET", b"/"))
        client.protocol.drain()
        bench.advance(2)
        client.release()
        self.assertEqual(len(client.response().body), 100_000)
        bench.advance(1.1)
        client.eof()
        self.assertTrue(client.transport.closed)

    def test_slow_connecting_pauses_the_client(self) -> None:
        """What comes before the upstream is connected waits within a limit."""
        bench = self.proxy("proxy_request_buffering off; client_max_body_size 0;")
        self.origin.mode = "hang"
        client = bench.client()
        client.send(message(b"POST", b"/", b"Content-Length: 1000000"))
        for _ in range(10):
            client.send(b"x" * 50_000)
        self.assertTrue(client.transport.paused)

    def test_body_timeout_does_not_run_while_we_pause(self) -> None:
        """The client is not blamed for the origin's slowness."""
        bench = self.proxy(
            "proxy_request_buffering off; client_max_body_size 0; client_body_timeout 3s;"
            "proxy_send_timeout 100s; proxy_read_timeout 100s;"
        )
        client = bench.client()
        client.send(message(b"POST", b"/", b"Content-Length: 1000000"))
        self.origin.last.transport.hold()
        for _ in range(10):
            client.send(b"x" * 100_000)
        bench.advance(30)
        self.assertFalse(client.transport.lost)
        self.origin.last.transport.release()
        bench.reactor.settle()
        self.assertEqual(len(self.origin.requests[0].body), 1_000_000)


class DrainTests(BenchCase):
    """Graceful and fast stop."""

    def test_an_idle_connection_may_send_one_request_more(self) -> None:
        """It may be on its way: it is answered, and the answer says close."""
        self.serve("return 200 hi;")
        idle = self.bench.client()
        self.assertEqual(idle.get(b"/").get(b"connection"), b"keep-alive")
        idle.protocol.drain()
        self.bench.advance(0.5)
        self.assertEqual(idle.get(b"/").get(b"connection"), b"close")
        self.assertTrue(idle.transport.lost)

    def test_an_idle_connection_that_stays_silent_ends_with_fin(self) -> None:
        """After a second; what comes later still is read and not reset, for another second."""
        self.serve("return 200 hi;")
        idle = self.bench.client()
        idle.get(b"/")
        idle.protocol.drain()
        idle.protocol.drain()
        self.bench.advance(1.1)
        self.assertTrue(idle.transport.write_ended)
        self.assertFalse(idle.transport.lost)
        idle.send(message(b"GET", b"/"))
        self.assertEqual(idle.unread, b"")
        self.bench.advance(1.1)
        self.assertTrue(idle.transport.lost)
        self.assertFalse(idle.transport.aborted)

    def test_a_fresh_connection_may_send_its_request(self) -> None:
        """It was accepted just before: one request is answered, or a second waited for."""
        self.serve("return 200 hi;")
        quick, silent = self.bench.client(), self.bench.client()
        for client in (quick, silent):
            client.protocol.drain()
        self.assertEqual(quick.get(b"/").get(b"connection"), b"close")
        self.bench.advance(0.9)
        self.assertFalse(silent.transport.write_ended)
        self.bench.advance(0.2)
        self.assertTrue(silent.transport.write_ended)
        silent.eof()
        self.assertTrue(silent.transport.lost)

    def test_a_request_under_way_is_finished(self) -> None:
        """The response is whole and says close."""
        bench = self.proxy()
        client = bench.client()
        client.send(message(b"GET", b"/"))
        client.protocol.drain()
        self.origin.last.send(OK)
        answer = client.response()
        self.assertEqual((answer.body, answer.get(b"connection")), (b"fine", b"close"))
        self.assertTrue(client.transport.lost)

    def test_a_head_that_has_begun_is_waited_for(self) -> None:
        """Part of a request is not thrown away."""
        self.serve("return 200 hi;")
        client = self.bench.client()
        client.send(b"GET / HTTP/1.1\r\n")
        client.protocol.drain()
        client.send(b"Host: a\r\n\r\n")
        self.assertEqual(client.response().get(b"connection"), b"close")

    def test_a_response_that_kept_alive_before_draining(self) -> None:
        """Its head had promised to persist: one request more is answered, the last."""
        bench = self.proxy()
        client = bench.client()
        client.send(message(b"GET", b"/"))
        self.origin.last.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
        client.protocol.drain()
        self.origin.last.send(b"cd")
        self.assertEqual(client.response().body, b"abcd")
        self.assertFalse(client.transport.closed)
        client.send(message(b"GET", b"/"))
        self.origin.last.send(OK)
        self.assertEqual(client.response().get(b"connection"), b"close")
        self.assertTrue(client.transport.closed)

    def test_what_is_pipelined_behind_a_kept_alive_response(self) -> None:
        """The next request was sent before the client could know: it is answered."""
        bench = self.proxy()
        client = bench.client()
        client.send(message(b"GET", b"/") * 3)
        self.origin.last.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
        client.protocol.drain()
        self.origin.last.send(b"cd")
        self.origin.last.send(OK)
        self.assertEqual(client.response().get(b"connection"), b"keep-alive")
        self.assertEqual(client.response().get(b"connection"), b"close")
        self.assertEqual(client.unread, b"")

    def test_hits_are_refused_while_draining(self) -> None:
        """The fast path does not keep a connection that is to end."""
        bench = self.cache()
        self.origin.default = response(200, b"x", b"Cache-Control: max-age=60")
        client = bench.client()
        client.get(b"/")
        client.get(b"/")
        client.send(b"GET / HTTP/1.1\r\n")
        client.protocol.drain()
        client.send(b"Host: test.example\r\n\r\n")
        self.assertEqual(client.response().get(b"connection"), b"close")

    def test_cut(self) -> None:
        """Fast stop resets."""
        bench = self.proxy()
        client = bench.client()
        client.send(message(b"GET", b"/"))
        client.protocol.cut()
        bench.reactor.settle()
        self.assertTrue(client.transport.aborted)
        self.assertTrue(self.origin.last.closed)


class AddressTests(BenchCase):
    """What variables know of the connection."""

    def test_tcp(self) -> None:
        """Both ends' addresses."""
        bench = self.serve("return 200 $remote_addr:$remote_port,$server_addr:$server_port;")
        self.assertEqual(bench.get(b"/").body, b"192.0.2.1:40000,127.0.0.1:80")

    def test_unix(self) -> None:
        """A UNIX socket's client is ``unix:``, as in nginx."""
        from tests.proxy.harness import Bench

        bench = Bench(
            self, "server { listen unix:$folder/s; return 200 $remote_addr-$remote_port; }"
        )
        self.assertEqual(bench.get(b"/").body, b"unix:-")

    def test_numbers(self) -> None:
        """``$connection`` differs, ``$connection_requests`` counts."""
        bench = self.serve("return 200 $connection/$connection_requests;")
        one, two = bench.client(), bench.client()
        first = one.get(b"/").body
        self.assertEqual(one.get(b"/").body, first[: first.index(b"/")] + b"/2")
        self.assertNotEqual(two.get(b"/").body, first)


def echo(connection: OriginConnection, request: Request) -> None:
    """Answers with the request's body."""
    connection.send(response(200, request.body))


VALID = message(b"GET", b"/ok", b"X-Last: 1")
PIECES = [
    message(b"GET", b"/a"),
    message(b"POST", b"/a", body=b"12345"),
    message(b"POST", b"/a", b"Transfer-Encoding: chunked") + b"2\r\nab\r\n0\r\n\r\n",
    message(b"HEAD", b"/a"),
    message(b"GET", b"/a", b"Range: bytes=0-1"),
    message(b"GET", b"/a", b"If-None-Match: *"),
    message(b"OPTIONS", b"*"),
    message(b"GET", b"/a", b"Upgrade: websocket", b"Connection: Upgrade"),
    b"\r\n",
]
ANSWERS = [
    OK,
    response(200, b"x" * 30, b"Cache-Control: max-age=9", b'ETag: "e"'),
    response(200, b"x" * 30, b"Cache-Control: max-age=9", chunked=True),
    response(304),
    response(204),
    response(500, b"oops"),
    b"HTTP/1.1 103 Early\r\nLink: </x>\r\n\r\n" + OK,
    b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
    b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\nearly",
    response(302, b"", b"Location: http://127.0.0.1:8000/z"),
    response(200, b"", b"X-Accel-Redirect: /other"),
]


@st.composite
def mutated(draw: st.DrawFn, choices: list[bytes]) -> bytes:
    """One of *choices*, perhaps with a few bytes changed, lost or added."""
    data = bytearray(draw(st.sampled_from(choices)))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        kind = draw(st.sampled_from(["change", "drop", "cut", "insert"]))
        if kind == "change" and data:
            data[at] = draw(st.integers(0, 255))
        elif kind == "drop":
            del data[at : at + draw(st.integers(1, 5))]
        elif kind == "cut":
            del data[at:]
        else:
            data[at:at] = draw(st.sampled_from([b"\r\n", b"\0", b":", b" ", b"\r\n\r\n", b"0"]))
    return bytes(data)


STEPS = st.one_of(
    st.tuples(st.just("client"), mutated(PIECES)),
    st.tuples(st.just("split"), mutated(PIECES)),
    st.tuples(st.just("origin"), mutated(ANSWERS)),
    st.tuples(st.just("origin split"), mutated(ANSWERS)),
    st.tuples(
        st.sampled_from(
            ["origin eof", "origin reset", "hold", "release", "time", "eof", "vanish", "drain"]
        ),
        st.just(b""),
    ),
)


class HostileTests(BenchCase):
    """Whatever either side sends, the connection ends or answers on."""

    @given(
        st.sampled_from(["", "proxy_buffering off; proxy_request_buffering off;", "gzip on;"]),
        st.lists(STEPS, max_size=12),
    )
    def test_ends_or_answers(self, options: str, steps: list[tuple[str, bytes]]) -> None:
        """Nothing raises; afterwards the connection is closed or gives a valid answer."""
        bench = self.cache(
            f"{options} proxy_websocket on; proxy_read_timeout 20s; client_body_timeout 20s;"
            "send_timeout 20s;",
            "keepalive_timeout 1d; client_header_timeout 20s; location /ok { return 200 ok; }",
        )
        client = bench.client()
        for kind, data in steps:
            self.play(client, kind, data)
        client.release()
        # Whatever was left unfinished is now timed out.
        bench.advance(400, 20)
        if not client.transport.closed:
            taken = len(client.received)
            client.send(VALID)
            got = client.received[taken:]
            bench.advance(400, 20)
            self.assertTrue(
                b"\r\n\r\nok" in got or b" 400 " in got or client.transport.closed,
                (steps, client.received),
            )
        client.vanish()
        self.assertEqual(bench.connections, 0)
        self.assertEqual(bench.log("error.log.unexpected"), [])
        bench.close()

    def play(self, client: Client, kind: str, data: bytes) -> None:
        """One step; what cannot happen any more is left out."""
        bench = self.bench
        if client.transport.lost:
            return
        if kind == "client":
            client.send(data)
        elif kind == "split":
            for at in range(0, len(data), 7):
                client.send(data[at : at + 7])
        elif kind.startswith("origin"):
            connections = [c for c in self.origin.connections if not c.closed]
            if not connections:
                return
            connection = connections[-1]
            if kind == "origin":
                connection.send(data)
            elif kind == "origin split":
                for at in range(0, len(data), 11):
                    connection.send(data[at : at + 11])
            elif kind == "origin eof":
                connection.close()
            else:
                connection.reset()
        elif kind == "hold":
            client.transport.hold()
        elif kind == "time":
            bench.advance(7, 7)
        elif kind == "drain":
            client.protocol.drain()
            bench.reactor.settle()
        else:
            getattr(client, kind)()
