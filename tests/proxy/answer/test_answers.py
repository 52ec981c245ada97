"""``return``, redirects and error pages."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

from tests.proxy.harness import BenchCase, message


class ReturnTests(BenchCase):
    """nginx's ``return``."""

    def test_text(self) -> None:
        """A body with variables, of the default type."""
        bench = self.serve("default_type text/plain; return 200 'hello $arg_name';")
        answer = bench.get(b"/?name=you")
        self.assertEqual(answer.body, b"hello you")
        self.assertEqual(answer.get(b"content-type"), b"text/plain")

    def test_of_the_server(self) -> None:
        """It comes before any location: nginx's server rewrite phase."""
        bench = self.proxy(server="return 301 https://$host$request_uri;")
        answer = bench.get(b"/a?b")
        self.assertEqual(answer.status, 301)
        self.assertEqual(answer.get(b"location"), b"https://test.example/a?b")

    def test_types(self) -> None:
        """The type follows the URI's extension."""
        bench = self.serve("types { text/css css; } return 200 x;")
        self.assertEqual(bench.get(b"/a.css").get(b"content-type"), b"text/css")

    def test_statuses(self) -> None:
        """With and without text."""
        for status, body in ((200, b""), (204, b""), (205, b"")):
            bench = self.serve(f"return {status};")
            answer = bench.get(b"/")
            self.assertEqual((answer.status, answer.body), (status, body))
        for status in (402, 404, 410, 500, 503):
            bench = self.serve(f"return {status};")
            answer = bench.get(b"/")
            self.assertEqual(answer.status, status)
            self.assertIn(b"<h1>%d " % status, answer.body)

    def test_redirects(self) -> None:
        """Text of a redirect is its target; 302 without a code."""
        for directive, status, location in (
            ("return 301 /there;", 301, b"http://test.example/there"),
            ("return 308 https://$host$request_uri;", 308, b"https://test.example/x?y"),
            ("return http://a.example/;", 302, b"http://a.example/"),
            ("absolute_redirect off; return 307 /there;", 307, b"/there"),
        ):
            bench = self.serve(directive)
            answer = bench.get(b"/x?y")
            self.assertEqual((answer.status, answer.get(b"location")), (status, location))

    def test_444(self) -> None:
        """444 closes without a word."""
        bench = self.serve("return 444;", "access_log access.log l;", "log_format l '$status';")
        client = bench.client()
        client.send(message(b"GET", b"/"))
        self.assertEqual(client.received, b"")
        self.assertTrue(client.transport.lost)
        self.assertEqual(bench.log(), ["444"])

    def test_head(self) -> None:
        """HEAD declares the length and sends nothing."""
        bench = self.serve("return 200 hello;")
        client = bench.client()
        self.assertEqual(client.request(b"HEAD", b"/").get(b"content-length"), b"5")
        self.assertEqual(client.unread, b"")


class ErrorPageTests(BenchCase):
    """``error_page``."""

    def test_page(self) -> None:
        """The page with the status that it stands for."""
        bench = self.serve(
            "return 404;", "error_page 404 /p; location = /p { return 200 'not here'; }"
        )
        answer = bench.get(b"/x")
        self.assertEqual((answer.status, answer.body), (404, b"not here"))

    def test_uri_of_the_request(self) -> None:
        """``$uri`` is decoded, and is not decoded again."""
        page = "error_page 404 = /p$uri; location /p { return 200 $uri; }"
        bench = self.serve("return 404;", page)
        for target, uri in (
            (b"/a%2541", b"/p/a%41"),
            (b"/%25", b"/p/%"),
            (b"/a%3Fb", b"/p/a"),
            (b"/a%20b", b"/p/a b"),
        ):
            self.assertEqual(bench.get(target).body, uri, target)

    def test_of_another_status(self) -> None:
        """``=code``, and ``=`` alone."""
        bench = self.serve(
            "return 404;", "error_page 404 =410 /p; location = /p { return 200 gone; }"
        )
        self.assertEqual(bench.get(b"/x").status, 410)

    def test_elsewhere(self) -> None:
        """A URL is a redirect."""
        bench = self.serve("return 403;", "error_page 403 http://other.example/denied;")
        answer = bench.get(b"/x")
        self.assertEqual(
            (answer.status, answer.get(b"location")), (302, b"http://other.example/denied")
        )

    def test_missing_page(self) -> None:
        """A page that fails itself is not looked for again."""
        bench = self.serve("return 404;", "error_page 404 500 /p; location = /p { return 500; }")
        self.assertIn(bench.get(b"/x").status, (404, 500))

    def test_circle(self) -> None:
        """``recursive_error_pages`` in a circle ends."""
        bench = self.serve(
            "return 404;",
            "recursive_error_pages on; error_page 404 = /p; location = /p { return 404; }",
        )
        self.assertIn(bench.get(b"/x").status, (404, 500))

    def test_post(self) -> None:
        """The page is fetched with GET, and the body read past."""
        bench = self.proxy(
            "",
            "error_page 413 /p; location = /p { return 200 $request_method; }"
            "client_max_body_size 3;",
        )
        client = bench.client()
        answer = client.request(b"POST", b"/", body=b"12345")
        self.assertEqual((answer.status, answer.body), (413, b"GET"))
