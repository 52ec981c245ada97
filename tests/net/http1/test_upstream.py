"""Connections to origins: reuse, keep-alive, failures and time-outs, bytes in and out.

RFC 9112 §9; nginx ``ngx_http_upstream_keepalive_module``.
"""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

from tests.proxy.harness import (
    Bench,
    BenchCase,
    Client,
    OriginConnection,
    Request,
    message,
    response,
)

OK = response(200, b"fine")


def group(options: str = "", servers: str = "server 127.0.0.1:8000;") -> str:
    """An ``upstream`` called ``up``."""
    return f"upstream up {{ {servers} {options} }}"


class UpstreamCase(BenchCase):
    """Tests with one upstream group."""

    def up(self, options: str = "", upstream: str = "") -> Bench:
        """A bench that passes everything to the group ``up``."""
        return self.serve(f"proxy_pass http://up; {options}", "", group(upstream))


class ReuseTests(UpstreamCase):
    """When a connection is used again."""

    def test_kept(self) -> None:
        """A whole response leaves a connection for the next request (§9.3)."""
        bench = self.up()
        self.origin.default = OK
        for _ in range(3):
            self.assertEqual(bench.get(b"/").body, b"fine")
        self.assertEqual(len(self.origin.connections), 1)
        self.assertTrue(self.origin.last.transport.no_delay)

    def test_not_kept(self) -> None:
        """Responses after which the connection may not be used again."""
        for answer in (
            response(200, b"a", b"Connection: close"),
            b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na",
            OK + b"excess",
            OK + OK,
        ):
            with self.subTest(answer=answer):
                bench = self.up()
                self.origin.default = answer
                self.assertEqual(bench.get(b"/").status, 200)
                self.assertTrue(self.origin.last.closed)
                self.assertEqual(bench.get(b"/").status, 200)
                self.assertEqual(len(self.origin.connections), 2)
                bench.close()

    def test_http10_keep_alive(self) -> None:
        """HTTP/1.0 that says keep-alive is kept (§C.2.2)."""
        bench = self.up()
        self.origin.default = (
            b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\na"
        )
        bench.get(b"/")
        bench.get(b"/")
        self.assertEqual(len(self.origin.connections), 1)

    def test_no_keepalive_configured(self) -> None:
        """``keepalive 0`` keeps none."""
        bench = self.up("", "keepalive 0;")
        self.origin.default = OK
        bench.get(b"/")
        self.assertEqual(self.origin.open, 0)

    def test_keepalive_requests(self) -> None:
        """A connection carries as many requests as ``keepalive_requests``."""
        bench = self.up("", "keepalive 8; keepalive_requests 2;")
        self.origin.default = OK
        for _ in range(5):
            bench.get(b"/")
        self.assertEqual(len(self.origin.connections), 3)

    def test_keepalive_time(self) -> None:
        """A connection older than ``keepalive_time`` is closed after its response."""
        bench = self.up("", "keepalive 8; keepalive_time 10s; keepalive_timeout 60s;")
        self.origin.default = OK
        bench.get(b"/")
        bench.advance(11)
        bench.get(b"/")
        self.assertEqual((len(self.origin.connections), self.origin.open), (1, 0))

    def test_keepalive_timeout(self) -> None:
        """An idle connection is closed after ``keepalive_timeout``."""
        bench = self.up("", "keepalive 8; keepalive_timeout 5s;")
        self.origin.default = OK
        bench.get(b"/")
        bench.advance(4)
        self.assertEqual(self.origin.open, 1)
        bench.advance(2)
        self.assertEqual(self.origin.open, 0)

    def test_announced_timeout(self) -> None:
        """We close before the origin does where it says when (``Keep-Alive: timeout``)."""
        bench = self.up("", "keepalive 8; keepalive_timeout 60s;")
        self.origin.default = response(200, b"a", b"Keep-Alive: max=7, timeout=5")
        bench.get(b"/")
        bench.advance(3)
        self.assertEqual(self.origin.open, 1)
        bench.advance(2)
        self.assertEqual(self.origin.open, 0)

    def test_announced_timeout_of_nothing(self) -> None:
        """An origin that keeps for a second at most is not relied on."""
        bench = self.up("", "keepalive 8;")
        self.origin.default = response(200, b"a", b"Keep-Alive: timeout=1")
        bench.get(b"/")
        self.assertEqual(self.origin.open, 0)

    def test_announced_timeout_is_not_trusted_upwards(self) -> None:
        """A longer announcement, or nonsense, changes nothing."""
        for value in (b"timeout=9999", b"timeout=-1", b"timeout=99999999", b"x", b"timeout", b""):
            with self.subTest(value=value):
                bench = self.up("", "keepalive 8; keepalive_timeout 5s;")
                self.origin.default = response(200, b"a", b"Keep-Alive: " + value)
                bench.get(b"/")
                bench.advance(4)
                self.assertEqual(self.origin.open, 1)
                bench.advance(2)
                self.assertEqual(self.origin.open, 0)
                bench.close()

    def test_data_on_an_idle_connection(self) -> None:
        """What nobody asked for is never taken for an answer: the connection is closed."""
        bench = self.up()
        self.origin.default = OK
        bench.get(b"/")
        self.origin.last.send(response(200, b"poison"))
        self.assertTrue(self.origin.last.closed)
        self.assertEqual(bench.get(b"/").body, b"fine")
        self.assertEqual(len(self.origin.connections), 2)

    def test_idle_connection_closed_by_the_origin(self) -> None:
        """It is forgotten."""
        bench = self.up()
        self.origin.default = OK
        bench.get(b"/")
        self.origin.last.close()
        self.assertEqual(bench.get(b"/").body, b"fine")
        self.assertEqual(len(self.origin.connections), 2)

    def test_answer_before_the_request_was_sent(self) -> None:
        """An early answer is passed on, but its connection is not used again (§9.3)."""
        bench = self.up("proxy_request_buffering off;")
        client = bench.client()
        client.send(message(b"POST", b"/", b"Content-Length: 10") + b"abc")
        self.origin.last.send(response(413, b"no"))
        self.assertEqual(client.response().status, 413)
        self.assertTrue(self.origin.last.closed)

    def test_unread_response_is_not_kept(self) -> None:
        """A connection with bytes of a response still to come is closed with its client."""
        bench = self.up()
        client = bench.client()
        client.send(message(b"GET", b"/"))
        self.origin.last.send(OK[:-1])
        client.vanish()
        self.assertEqual(self.origin.open, 0)

    def test_head_response_is_kept(self) -> None:
        """A response to HEAD has no body, whatever it declares (§6.3)."""
        bench = self.up()
        self.origin.default = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"
        for _ in range(2):
            answer = bench.client().request(b"HEAD", b"/")
            self.assertEqual(answer.get(b"content-length"), b"10")
        self.assertEqual(len(self.origin.connections), 1)

    def test_upstream_header_buffer(self) -> None:
        """A response head without end is refused."""
        bench = self.up()
        client = bench.client()
        client.send(message(b"GET", b"/"))
        self.origin.last.send(b"HTTP/1.1 200 OK\r\n")
        for _ in range(100):
            self.origin.last.send(b"X: " + b"a" * 1000 + b"\r\n")
        self.assertEqual(client.response().status, 502)
        self.assertEqual(self.origin.open, 0)


class StaleConnectionTests(UpstreamCase):
    """A kept connection that the origin closed just as a request went out (§9.3.1)."""

    def stale(self, options: str = "", how: str = "close") -> Bench:
        """A bench with a kept connection whose next request makes the origin close it."""
        bench = self.up(options)
        self.origin.reply(OK)
        bench.get(b"/")

        def die(connection: OriginConnection, request: Request) -> None:
            getattr(connection, how)()

        self.origin.reply(die)
        return bench

    def test_get_is_sent_again(self) -> None:
        """Once, on a new connection, and the client sees nothing of it."""
        for how in ("close", "reset"):
            bench = self.stale(how=how)
            self.origin.reply(response(200, b"second"))
            self.assertEqual(bench.get(b"/").body, b"second")
            self.assertEqual(len(self.origin.connections), 2)
            bench.close()

    def test_only_once(self) -> None:
        """A new connection that dies as well is the origin's fault."""
        bench = self.stale()
        self.origin.reply(lambda connection, request: connection.close())
        self.assertEqual(bench.get(b"/").status, 502)
        self.assertEqual(len(self.origin.connections), 2)

    def test_post_is_not_sent_again(self) -> None:
        """It may have been carried out (RFC 9110 §9.2.2)."""
        bench = self.stale()
        self.assertEqual(bench.client().request(b"POST", b"/", body=b"x").status, 502)
        self.assertEqual(len(self.origin.connections), 1)

    def test_put_is_sent_again_with_its_body(self) -> None:
        """An idempotent request with a collected body can be repeated."""
        bench = self.stale()
        self.origin.default = lambda c, r: c.send(response(200, r.body))
        self.assertEqual(bench.client().request(b"PUT", b"/", body=b"body").body, b"body")

    def test_not_after_part_of_an_answer(self) -> None:
        """Bytes of a response have come: no second try."""
        bench = self.up()
        self.origin.reply(OK)
        bench.get(b"/")
        client = bench.client()
        client.send(message(b"GET", b"/"))
        self.origin.last.send(b"HTTP/1.1 20")
        self.origin.last.close()
        self.assertEqual(client.response().status, 502)
        self.assertEqual(len(self.origin.connections), 1)

    def test_not_after_a_timeout(self) -> None:
        """A kept connection that is silent is not a stale one."""
        bench = self.up("proxy_read_timeout 5s;")
        self.origin.reply(OK)
        bench.get(b"/")
        client = bench.client()
        client.send(message(b"GET", b"/"))
        bench.advance(6)
        self.assertEqual(client.response().status, 504)
        self.assertEqual(len(self.origin.connections), 1)


class FailureTests(UpstreamCase):
    """What the client gets when the origin fails."""

    def asked(self, options: str = "") -> Client:
        """A client whose request the origin has received."""
        bench = self.up(options)
        client = bench.client()
        client.send(message(b"GET", b"/"))
        return client

    def test_closed_before_the_head(self) -> None:
        """502: nothing, part of a status line, or part of the fields."""
        for part in (b"", b"HTT", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nA: b\r\n"):
            for how in ("close", "reset"):
                with self.subTest(part=part, how=how):
                    client = self.asked()
                    if part:
                        self.origin.last.send(part)
                    getattr(self.origin.last, how)()
                    self.assertEqual(client.response().status, 502)
                    self.assertFalse(client.transport.closed)
                    self.bench.close()

    def test_malformed(self) -> None:
        """502: what is no HTTP response."""
        for data in (
            b"SSH-2.0-x\r\n",
            b"HTTP/1.1 banana\r\n\r\n",
            b"HTTP/2.0 200 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na",
            b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\na",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nBad Name: x\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX: a\x00b\r\n\r\n",
        ):
            with self.subTest(data=data):
                client = self.asked()
                self.origin.last.send(data)
                self.assertEqual(client.response().status, 502)
                self.assertTrue(self.origin.last.closed)
                self.bench.close()

    def test_reset_within_a_body_until_close(self) -> None:
        """Only an orderly end delimits a body (§6.3, §8)."""
        client = self.asked()
        self.origin.last.send(b"HTTP/1.1 200 OK\r\n\r\nabc")
        self.origin.last.reset()
        self.assertTrue(client.transport.lost)
        self.assertNotIn(b"\r\n0\r\n\r\n", client.received)

    def test_bad_chunk(self) -> None:
        """A body that breaks its framing is cut short for the client too."""
        client = self.asked()
        self.origin.last.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        self.origin.last.send(b"zz\r\n")
        self.assertTrue(client.transport.lost)
        self.assertTrue(client.received.endswith(b"3\r\nabc\r\n"))

    def test_read_timeout(self) -> None:
        """504 after ``proxy_read_timeout`` of silence."""
        client = self.asked("proxy_read_timeout 5s;")
        self.bench.advance(4)
        self.assertEqual(client.unread, b"")
        self.bench.advance(2)
        self.assertEqual(client.response().status, 504)
        self.assertTrue(self.origin.last.closed)

    def test_read_timeout_is_between_reads(self) -> None:
        """Bytes that keep coming keep the connection."""
        client = self.asked("proxy_read_timeout 5s;")
        self.origin.last.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
        for byte in (b"a", b"b", b"c", b"d"):
            self.bench.advance(4)
            self.origin.last.send(byte)
        self.assertEqual(client.response().body, b"abcd")

    def test_read_timeout_within_the_body(self) -> None:
        """The client can tell that the response was cut short."""
        client = self.asked("proxy_read_timeout 5s;")
        self.origin.last.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
        self.bench.advance(6)
        self.assertTrue(client.transport.lost)
        self.assertTrue(client.received.endswith(b"\r\n\r\nab"))

    def test_no_read_timeout_while_we_do_not_read(self) -> None:
        """An origin that we pause is not blamed."""
        client = self.asked("proxy_read_timeout 5s; proxy_buffering off; send_timeout 100s;")
        client.transport.hold()
        self.origin.last.send(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n")
        self.origin.last.send(b"x" * 100_000)
        self.bench.advance(20)
        client.release()
        self.origin.last.send(b"x" * 100_000)
        self.assertEqual(len(client.response().body), 200_000)

    def test_connect_refused(self) -> None:
        """502, with the reason in the error log."""
        bench = self.up()
        self.origin.mode = "refuse"
        self.assertEqual(bench.get(b"/").status, 502)
        self.assertIn("connect() failed", "\n".join(bench.log("error.log")))

    def test_connect_timeout(self) -> None:
        """504 after ``proxy_connect_timeout``."""
        bench = self.up("proxy_connect_timeout 3s;")
        self.origin.mode = "hang"
        client = bench.client()
        client.send(message(b"GET", b"/"))
        bench.advance(2)
        self.assertEqual(client.unread, b"")
        bench.advance(2)
        self.assertEqual(client.response().status, 504)

    def test_send_timeout(self) -> None:
        """An origin that does not read the request: ``proxy_send_timeout``."""
        bench = self.up("proxy_send_timeout 5s; proxy_read_timeout 50s; client_max_body_size 0;")
        self.origin.reads = False
        client = bench.client()
        client.send(message(b"POST", b"/1", body=b"x" * 500_000))
        self.assertLess(len(self.origin.last.transport.held), 300_000)
        bench.advance(4)
        self.assertEqual(client.unread, b"")
        bench.advance(2)
        self.assertEqual(client.response().status, 504)

    def test_informational_is_not_the_end(self) -> None:
        """1xx are passed on, 100 is not, and the final response follows (RFC 9110 §15.2)."""
        client = self.asked()
        self.origin.last.send(
            b"HTTP/1.1 100 Continue\r\n\r\n"
            b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n" + OK
        )
        early = client.response()
        self.assertEqual((early.status, early.get(b"link")), (103, b"</a>; rel=preload"))
        self.assertEqual(client.response().body, b"fine")
        self.assertEqual(client.unread, b"")

    def test_informational_not_for_http10(self) -> None:
        """An HTTP/1.0 client gets none (RFC 9110 §15.2)."""
        bench = self.up()
        self.origin.default = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK
        client = bench.client()
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        self.assertEqual(client.response().status, 200)

    def test_endless_informational(self) -> None:
        """Interim responses without end are refused."""
        client = self.asked()
        self.origin.last.send(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)
        self.assertEqual(client.response().status, 502)


#: What an origin may do in the middle of a response, and what is logged then.
CUTS = {
    "close": "upstream prematurely closed connection while reading upstream",
    "reset": "upstream reset the connection while reading upstream",
    "timeout": "upstream timed out while reading upstream",
}


class CutResponseTests(BenchCase):
    """A response that breaks off: one error line, which says how."""

    def cut(self, way: str, head: bytes) -> None:
        """The origin sends *head* and some of the body, and breaks off."""
        self.origin.last.send(head)
        if way == "timeout":
            self.bench.advance(6)
        else:
            getattr(self.origin.last, way)()

    def test_one_line(self) -> None:
        """However it breaks off, with a cache and without, and whether the client still reads."""
        length = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"
        chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
        for make in (self.proxy, self.cache):
            for way, message_ in CUTS.items():
                for head in (length, chunked):
                    bench = make("proxy_read_timeout 5s; proxy_buffering off;")
                    client = bench.client()
                    client.send(message(b"GET", b"/"))
                    self.cut(way, head)
                    self.assertTrue(client.transport.lost)
                    lines = bench.log("error.log")
                    self.assertEqual(len(lines), 1, lines)
                    self.assertIn(message_, lines[0])
                    self.assertIn('request: "GET / HTTP/1.1", upstream: "127.0.0.1:8000"', lines[0])
                    bench.close()

    def test_one_line_for_each_client(self) -> None:
        """A client that followed what was being stored has a line of its own."""
        bench = self.cache("proxy_cache_valid 1m;")
        clients = [bench.client() for _ in range(2)]
        for client in clients:
            client.send(message(b"GET", b"/"))
        self.cut("reset", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        lines = sorted(line.partition("] ")[2].partition(" ")[2] for line in bench.log("error.log"))
        self.assertEqual(len(lines), 2, lines)
        self.assertIn("the response that was being stored was cut short", lines[0] + lines[1])
        self.assertIn(CUTS["reset"], lines[0] + lines[1])
