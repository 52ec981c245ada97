"""One request through the phases: their order, internal redirects, access, logs."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

from tests.proxy.harness import Bench, BenchCase, Client, message, response


class PhaseTests(BenchCase):
    """nginx's order of phases."""

    def test_internal(self) -> None:
        """An ``internal`` location is not found from outside."""
        bench = self.serve("return 200 x;", "location /i { internal; return 200 inside; }")
        self.assertEqual(bench.get(b"/i").status, 404)

    def test_named(self) -> None:
        """A named location keeps the URI; one that does not exist is refused at load."""
        bench = self.serve(
            "error_page 404 = @n; return 404;", "location @n { return 200 named:$uri; }"
        )
        self.assertEqual(bench.get(b"/x").body, b"named:/x")

    def test_redirect_of_a_prefix(self) -> None:
        """``location /a/ { proxy_pass }`` redirects ``/a``."""
        bench = self.serve("return 404;", "location /a/ { proxy_pass http://127.0.0.1:8000; }")
        answer = bench.get(b"/a?x=y")
        self.assertEqual(answer.status, 301)
        self.assertEqual(answer.get(b"location"), b"http://test.example/a/?x=y")

    def test_unroutable(self) -> None:
        """A bad target is refused, and the connection closed."""
        bench = self.serve("return 200 x;")
        for target in (b"/%zz", b"/%00", b"/../..", b"*", b"nonsense"):
            client = bench.client()
            answer = client.get(target)
            self.assertEqual(answer.status, 400, target)
            self.assertEqual(answer.get(b"connection"), b"close")

    def test_connect_is_never_granted(self) -> None:
        """No tunnel to anywhere."""
        bench = self.proxy()
        client = bench.client()
        client.send(b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n")
        self.assertGreaterEqual(client.response().status, 400)
        self.assertTrue(client.transport.closed)
        self.assertEqual(self.origin.connections, [])


class AccessTests(BenchCase):
    """``allow`` and ``deny``, where nginx asks for them; the client is 192.0.2.1."""

    def test_refused(self) -> None:
        """403 and nginx's words in the error log; the origin hears nothing."""
        self.proxy("allow 10.0.0.0/8; deny all;")
        self.assertEqual(self.bench.get(b"/").status, 403)
        self.assertEqual(self.origin.requests, [])
        (line,) = [x for x in self.bench.log("error.log") if "forbidden" in x]
        self.assertIn("[error]", line)
        self.assertIn("access forbidden by rule, client: 192.0.2.1", line)

    def test_after_return(self) -> None:
        """``return`` answers before anybody is asked who he is."""
        self.assertEqual(self.serve("deny all; return 204;").get(b"/").status, 204)

    def test_again_after_a_redirect_inside(self) -> None:
        """Where it leads has rules of its own."""
        self.serve(
            "deny all; error_page 403 /page;",
            "location = /page { allow all; return 200 page; }"
            "location = /moved { error_page 404 /closed; return 404; }"
            "location = /closed { deny all; }",
        )
        answer = self.bench.get(b"/a")
        self.assertEqual((answer.status, answer.body), (403, b"page"))
        answer = self.bench.get(b"/moved")
        self.assertEqual(answer.status, 403)

    def test_unix_peers(self) -> None:
        """They are called ``unix:``."""
        for rules, status in (("deny unix:;", 403), ("allow unix:; deny all;", 204)):
            bench = Bench(
                self,
                "access_log off; server { listen unix:$folder/s; error_page 404 =204 @none;"
                f"location / {{ {rules} }} location @none {{ return 204; }} }}",
            )
            self.assertEqual(bench.get(b"/none").status, status, rules)

    def test_limit_except(self) -> None:
        """Other methods are in the block; what its location returns is not for them."""
        self.serve("limit_except GET { deny all; } return 200 read;")
        client = self.bench.client()
        for method, status in ((b"GET", 200), (b"HEAD", 200), (b"POST", 403), (b"BREW", 403)):
            body = b"" if method == b"POST" else None
            self.assertEqual(client.request(method, b"/", body=body).status, status, method)


class LogTests(BenchCase):
    """The access log."""

    def test_condition(self) -> None:
        """``if=`` leaves lines out."""
        bench = self.serve(
            "return 200 x;", "access_log access.log l if=$arg_log;", "log_format l '$uri';"
        )
        for target in (b"/a", b"/b?log=1", b"/c?log=0"):
            bench.get(target)
        self.assertEqual(bench.log(), ["/b"])

    def test_written_before_the_next_request(self) -> None:
        """Lines have the order of the requests, one each."""
        bench = self.proxy("", "access_log access.log l;", "log_format l '$status $uri';")
        self.origin.default = response(200, b"x")
        client = bench.client()
        client.send(b"".join(message(b"GET", b"/%d" % n) for n in range(5)))
        self.assertEqual(bench.log(), [f"200 /{n}" for n in range(5)])

    def test_escaping(self) -> None:
        """What a client sends cannot forge a line."""
        bench = self.serve("return 200 x;", "access_log access.log;")
        bench.get(b"/", b'User-Agent: a"\x80\\b')
        lines = bench.log()
        self.assertEqual(len(lines), 1)
        self.assertIn(r"a\x22\x80\x5C", lines[0])

    def test_variable_path(self) -> None:
        """A file name made from variables."""
        bench = self.serve(
            "return 200 x;", "access_log $folder/$arg_f.log l;", "log_format l '$uri';"
        )
        bench.get(b"/one?f=a")
        bench.get(b"/two?f=b")
        self.assertEqual((bench.log("a.log"), bench.log("b.log")), (["/one"], ["/two"]))


class RepeatTests(BenchCase):
    """Nothing is carried from one exchange to the next on a connection."""

    def test_all_kinds_on_one_connection(self) -> None:
        """Fresh state each time."""
        bench = Bench(
            self,
            """
            access_log off;
            server { listen 127.0.0.1:80;
                location /r { return 200 r; }
                location /e { return 404; }
                location /p { proxy_pass http://127.0.0.1:8000; }
                location /h { add_header X-H 1 always; return 204; } }""",
        )
        bench.origin().default = response(200, b"p", chunked=True)
        client = bench.client()
        for _ in range(2):
            for target, status in ((b"/r", 200), (b"/e", 404), (b"/p", 200), (b"/h", 204)):
                answer = client.get(target)
                self.assertEqual(answer.status, status)
                self.assertEqual(answer.get(b"x-h"), b"1" if target == b"/h" else None)
        self.assertEqual(client.unread, b"")


class RefusedBodyTests(BenchCase):
    """A body that breaks its framing (400) or is too large (413) while the answer is under way."""

    CHUNKED = b"Transfer-Encoding: chunked"
    FRESH = b"Cache-Control: max-age=60"
    #: What is sent after the head, the status that it is answered with.
    ENDS = ((b"ZZ\r\n", 400), (b"20\r\n" + b"x" * 32, 413), (b"4\r\nabcdXX", 400))

    def refuse(self, method: bytes, end: bytes, target: bytes = b"/") -> Client:
        """A client whose body is refused 0.1 s after its head."""
        client = self.bench.client()
        client.send(message(method, target, self.CHUNKED))
        self.bench.advance(0.1)
        client.send(end)
        return client

    def assert_quiet(self) -> None:
        """Nothing has failed, nothing is logged as an error."""
        self.assertEqual(self.flushLoggedErrors(), [])
        self.assertEqual(self.bench.log("error.log"), [])

    def test_while_the_origin_is_asked(self) -> None:
        """It goes on for those who wait for the same, and is stored."""
        for method in (b"GET", b"HEAD"):
            for end, status in self.ENDS:
                self.cache("client_max_body_size 16;")
                client = self.refuse(method, end)
                self.assertEqual(client.response(method).status, status)
                self.assertTrue(client.transport.closed)
                other = self.bench.client()
                other.send(message(b"GET", b"/"))
                self.origin.last.send(response(200, b"page", self.FRESH))
                self.assertEqual(other.response().body, b"page")
                self.assertEqual(self.bench.get(b"/").get(b"x-cache"), b"HIT")
                self.assertEqual((len(self.origin.requests), client.unread), (1, b""))
                self.assert_quiet()

    def test_while_a_stored_response_is_looked_up(self) -> None:
        for end, status in self.ENDS:
            bench = self.cache("client_max_body_size 16;", zone="memory=0")
            self.origin.default = response(200, b"page", self.FRESH)
            bench.get(b"/")
            bench.disk.hold()
            client = self.refuse(b"GET", end)
            self.assertEqual(client.response().status, status)
            bench.disk.release()
            bench.reactor.settle()
            self.assertEqual((bench.get(b"/").body, client.unread), (b"page", b""))
            self.assert_quiet()

    def test_answered_by_an_error_page_of_the_origin(self) -> None:
        """The page comes from another location; what is stored keeps to its own."""
        page = "location /e { proxy_pass http://127.0.0.1:8001; }"
        self.cache("error_page 400 /e; proxy_cache_valid 200 1m;", server=page)
        client = self.refuse(b"GET", b"ZZ\r\n")
        self.assertEqual(client.received, b"")
        self.bench.origin(8001).last.send(response(200, b"sorry"))
        answer = client.response()
        self.assertEqual((answer.status, answer.body), (400, b"sorry"))
        self.origin.last.send(response(200, b"page"))
        self.assertEqual(self.bench.get(b"/").get(b"x-cache"), b"HIT")
        self.assertEqual(client.unread, b"")
        self.assert_quiet()

    def test_after_the_response_has_begun(self) -> None:
        """The client's response is cut; who follows it has it whole."""
        self.cache()
        client = self.bench.client()
        client.send(message(b"GET", b"/", self.CHUNKED))
        whole = response(200, b"page", self.FRESH)
        self.origin.last.send(whole[:-2])
        other = self.bench.client()
        other.send(message(b"GET", b"/"))
        client.send(b"ZZ\r\n")
        self.assertTrue(client.transport.closed)
        self.assertTrue(client.received.endswith(b"\r\n\r\npa"))
        self.origin.last.send(whole[-2:])
        self.assertEqual(other.response().body, b"page")
        self.assert_quiet()

    def test_one_log_line(self) -> None:
        """It is logged as what the client got."""
        for end, status in self.ENDS:
            http = "log_format s '$status $request_length'; client_max_body_size 16;"
            self.cache(http=http, server="access_log access.log s;")
            self.refuse(b"GET", end)
            self.origin.last.send(response(200, b"page", self.FRESH))
            lines = [line.split()[0] for line in self.bench.log()]
            self.assertEqual(lines, [str(status)])
