"""Attempts on several upstreams: who is asked next, and when no more."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

from tests.proxy.harness import (
    Bench,
    BenchCase,
    echo,
    message,
    response,
)

OK = response(200, b"fine")


def _any_packet(data: bytes) -> tuple[bytes | None, int]:
    """Whatever has come, as one request."""
    return (data, len(data)) if data else (None, 0)


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

    def test_key_is_read_from_the_request(self) -> None:
        """``hash``: one value leads to one server, by ``proxy_pass`` and by ``uwsgi_pass``."""
        servers = "".join(f"server 127.0.0.1:{8000 + n};" for n in range(3))
        bench = self.serve(
            "proxy_pass http://up;",
            "location /u { uwsgi_pass up; include uwsgi_params; }",
            f"upstream up {{ hash $arg_key; {servers} }}",
        )
        for port in (8000, 8001, 8002):
            bench.origin(port).default = response(200, b"%d" % port)
        answers = [[bench.get(b"/?key=%d" % key).body for key in range(20)] for _ in range(2)]
        self.assertEqual(answers[0], answers[1])
        self.assertEqual(set(answers[0]), {b"8000", b"8001", b"8002"})
        for port in (8000, 8001, 8002):
            bench.origin(port).parse = _any_packet
            bench.origin(port).default = b"Content-Length: 4\r\n\r\n%d" % port
        self.assertEqual([bench.get(b"/u?key=%d" % key).body for key in range(20)], answers[0])

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
