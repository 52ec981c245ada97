"""``add_header``, ``expires``, ``charset`` on every kind of response."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

from cacheproxy.policy.options import CoreOptions
from cacheproxy.proxy.site.added_fields import compile_field_adder
from tests.proxy.harness import BenchCase, http_date, response


class AddedTests(BenchCase):
    """Through the proxy."""

    def test_nothing(self) -> None:
        """Without directives there is nothing to run."""
        self.assertIsNone(compile_field_adder(CoreOptions()))

    def test_add_header(self) -> None:
        """On successes; on any status with ``always``; an empty value adds nothing."""
        bench = self.proxy("add_header A $arg_a; add_header B b always;")
        self.origin.default = response(200, b"x")
        answer = bench.get(b"/?a=1")
        self.assertEqual((answer.get(b"a"), answer.get(b"b")), (b"1", b"b"))
        self.assertIsNone(bench.get(b"/").get(b"a"))
        self.origin.default = response(500, b"x")
        answer = bench.get(b"/?a=1")
        self.assertEqual((answer.get(b"a"), answer.get(b"b")), (None, b"b"))

    def test_upstream_variables(self) -> None:
        """Values read from the response."""
        bench = self.proxy("add_header X $upstream_http_x-$upstream_status;")
        self.origin.default = response(200, b"x", b"X: y")
        self.assertIn(b"y-200", bench.get(b"/").get_all(b"x"))

    def test_expires(self) -> None:
        """Expires and Cache-Control from the clock; daily in local time."""
        bench = self.serve("expires 1h; return 200 x;")
        answer = bench.get(b"/")
        self.assertEqual(answer.get(b"expires"), http_date(3600))
        self.assertEqual(answer.get(b"cache-control"), b"max-age=3600")
        bench = self.serve("expires epoch; return 200 x;")
        self.assertEqual(bench.get(b"/").get(b"cache-control"), b"no-cache")
        bench = self.serve("expires @15h30m; return 200 x;")
        value = bench.get(b"/").get(b"cache-control") or b""
        self.assertLessEqual(int(value.partition(b"=")[2]), 86400)
        bench = self.serve("expires $arg_e; return 200 x;")
        self.assertEqual(bench.get(b"/?e=max").get(b"cache-control"), b"max-age=315360000")
        self.assertIsNone(bench.get(b"/?e=off").get(b"expires"))

    def test_expires_by_the_type_that_is_sent(self) -> None:
        """``map $sent_http_content_type $expires``: every form that ``expires`` has."""
        bench = self.proxy(
            "expires $expires; charset utf-8;",
            http="map $sent_http_content_type $expires { default off; text/html epoch;"
            " text/css max; application/javascript 30d; image/png @15h; image/gif -1;"
            " ~font/ modified; text/plain ''; }",
        )
        for kind, control in (
            (b"text/html", b"no-cache"),
            (b"text/css", b"max-age=315360000"),
            (b"application/javascript", b"max-age=2592000"),
            (b"image/gif", b"no-cache"),
            (b"font/woff", b"from-origin"),
            (b"text/plain", b"from-origin"),
            (b"video/mp4", b"from-origin"),
        ):
            self.origin.default = response(
                200, b"x", b"Content-Type: " + kind, b"Cache-Control: from-origin"
            )
            self.assertEqual(bench.get(b"/").get(b"cache-control"), control, kind)
        self.origin.default = response(200, b"x", b"Content-Type: image/png")
        by_variable = bench.get(b"/")
        bench = self.proxy("expires @15h;")
        self.origin.default = response(200, b"x", b"Content-Type: image/png")
        literal = bench.get(b"/")
        for name in (b"expires", b"cache-control"):
            self.assertEqual(by_variable.get(name), literal.get(name))

    def test_expires_by_a_variable_on_hits_and_files(self) -> None:
        """Each answer has what its own request makes of it."""
        bench = self.cache("expires $arg_e; proxy_cache_key $uri; proxy_cache_valid 1h;")
        self.origin.default = response(200, b"x")
        for value, control in ((b"epoch", b"no-cache"), (b"30d", b"max-age=2592000")) * 2:
            self.assertEqual(bench.get(b"/?e=" + value).get(b"cache-control"), control)
        bench = self.serve("root $folder/www; expires $arg_e;")
        bench.write("www/x", b"x")
        for value, control in ((b"epoch", b"no-cache"), (b"30d", b"max-age=2592000")) * 2:
            self.assertEqual(bench.get(b"/x?e=" + value).get(b"cache-control"), control)

    def test_charset_by_a_variable(self) -> None:
        """The variable's value; an empty one adds nothing; a line break cannot be one."""
        bench = self.proxy("charset $arg_c;")
        self.origin.default = response(200, b"x", b"Content-Type: text/html")
        for value, wanted in (
            (b"koi8-r", b"text/html; charset=koi8-r"),
            (b"utf-8", b"text/html; charset=utf-8"),
            (b"", b"text/html"),
        ):
            self.assertEqual(bench.get(b"/?c=" + value).get(b"content-type"), wanted)
        bench = self.serve("charset $uri; return 200 x;", "default_type text/html;")
        self.assertEqual(
            bench.get(b"/a%0d%0ab").get(b"content-type"), b"text/html; charset=/a  b"
        )

    def test_charset_by_a_variable_on_hits(self) -> None:
        """A ready answer is not given another request's charset."""
        bench = self.cache("charset $http_x_c; proxy_cache_valid 1h;")
        self.origin.default = response(200, b"x", b"Content-Type: text/html")
        client = bench.client()
        for name in (b"a", b"b") * 3:
            answer = client.get(b"/", b"X-C: " + name)
            self.assertEqual(answer.get(b"content-type"), b"text/html; charset=" + name)

    def test_trailers(self) -> None:
        """``add_trailer``: behind a chunked body, on successes or always; not empty ones."""
        bench = self.proxy("add_trailer A $upstream_status-$arg_a; add_trailer B $arg_b always;")
        self.origin.default = response(200, b"text")
        answer = bench.get(b"/?a=1&b=2")
        self.assertEqual(answer.get(b"transfer-encoding"), b"chunked")
        self.assertIsNone(answer.get(b"content-length"))
        self.assertEqual((answer.body, answer.trailers), (b"text", b"A: 200-1\r\nB: 2\r\n"))
        self.origin.default = response(404, b"none")
        self.assertEqual(bench.get(b"/?b=2").trailers, b"B: 2\r\n")
        self.assertEqual(bench.get(b"/").trailers, b"")
        bench = self.proxy("add_trailer A a;")
        self.origin.default = response(404, b"none")
        self.assertEqual(bench.get(b"/").get(b"content-length"), b"4")

    def test_trailers_follow_the_upstreams(self) -> None:
        """What the origin has sent as trailers goes first."""
        bench = self.proxy("add_trailer A a;")
        self.origin.default = (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nO: o\r\n\r\n"
        )
        self.assertEqual(bench.get(b"/").trailers, b"O: o\r\nA: a\r\n")

    def test_no_trailers_without_chunks(self) -> None:
        """HTTP/1.0, HEAD, 304 and ``chunked_transfer_encoding off`` keep their framing."""
        bench = self.proxy("add_trailer A a;")
        self.origin.default = response(200, b"text")
        client = bench.client()
        client.send(b"GET / HTTP/1.0\r\nHost: test.example\r\n\r\n")
        self.assertEqual(client.response().get(b"content-length"), b"4")
        client = bench.client()
        answer = client.request(b"HEAD", b"/")
        self.assertEqual((answer.get(b"content-length"), client.unread), (b"4", b""))
        self.origin.default = response(304)
        self.assertIsNone(client.get(b"/").get(b"transfer-encoding"))
        bench = self.proxy("add_trailer A a; chunked_transfer_encoding off;")
        self.origin.default = response(200, b"text")
        self.assertEqual(bench.get(b"/").get(b"content-length"), b"4")

    def test_trailers_of_hits_and_files(self) -> None:
        """Answers from memory and files have them too, each time."""
        bench = self.cache("add_trailer A $upstream_cache_status; proxy_cache_valid 1h;")
        self.origin.default = response(200, b"text")
        client = bench.client()
        for status in (b"MISS", b"HIT", b"HIT", b"HIT"):
            answer = client.get(b"/")
            self.assertEqual((answer.body, answer.trailers), (b"text", b"A: " + status + b"\r\n"))
        bench = self.serve("root $folder/www; add_trailer A a;")
        bench.write("www/x", b"file")
        client = bench.client()
        for _ in range(3):
            self.assertEqual(client.get(b"/x").trailers, b"A: a\r\n")

    def test_charset(self) -> None:
        """Where there is none yet, for the types it is for; not for 301 and 302 (nginx)."""
        for given, wanted in (
            (b"text/html", b"text/html; charset=utf-8"),
            (b"text/html; charset=x", b"text/html; charset=x"),
            (b"image/png", b"image/png"),
        ):
            bench = self.proxy("charset utf-8;")
            self.origin.default = response(200, b"x", b"Content-Type: " + given)
            self.assertEqual(bench.get(b"/").get(b"content-type"), wanted)
        for status, wanted in ((301, b"text/html"), (303, b"text/html; charset=utf-8")):
            self.origin.default = response(status, b"x", b"Content-Type: text/html")
            self.assertEqual(bench.get(b"/").get(b"content-type"), wanted)
