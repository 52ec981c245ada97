"""Another place answers: ``X-Accel-Redirect``, ``proxy_intercept_errors``, ``error_page``."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

from tests.proxy.harness import (
    BenchCase,
    echo,
    response,
)


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
