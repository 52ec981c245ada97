"""What a request's expressions capture is its own: it never shows in another request.

Routes are remembered and shared by all requests for one Host and target, so what a ``map``
captures from one visitor's cookie must not be kept there.
"""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

from tests.proxy.harness import BenchCase

MAP = "map $http_x $seen { ~^(?<whole>s.+)$ yes; default no; }"


class CaptureTests(BenchCase):
    """``map`` with captures, and ``$1`` beside it."""

    def test_captures_of_a_map_do_not_show_in_the_next_request(self) -> None:
        """Whether the location has captures of its own or not."""
        bench = self.serve(
            'return 200 "$seen-$1-$whole";',
            'location ~ ^/of/(.*) { return 200 "$seen-$1-$whole"; }',
            http=MAP,
        )
        for target, own in ((b"/", b""), (b"/of/me", b"me")):
            expected = [b"no-" + own + b"-", b"yes-secret-secret", b"no-" + own + b"-"]
            fields: list[tuple[bytes, ...]] = [(), (b"X: secret",), ()]
            found = [bench.get(target, *field).body for field in fields]
            self.assertEqual(found, expected)

    def test_captures_of_a_redirect_do_not_show_in_the_next_request(self) -> None:
        """``proxy_redirect`` with an expression."""
        bench = self.proxy(
            r"proxy_redirect ~^http://([a-z]+)/(.*)$ /$1/$2; add_header X-One $1;"
        )
        for _ in range(2):
            self.origin.default = lambda connection, request: connection.send(
                b"HTTP/1.1 302 Found\r\nLocation: http://inner/x\r\nContent-Length: 0\r\n\r\n"
            )
            answer = bench.get(b"/")
            self.assertEqual(answer.get(b"location"), b"http://test.example/inner/x")
            self.assertIsNone(answer.get(b"x-one"))

    def test_refresh_is_rewritten_like_location(self) -> None:
        """By an expression too."""
        bench = self.proxy(r"proxy_redirect ~^http://([a-z]+)/(.*)$ /$1/$2;")
        self.origin.default = lambda connection, request: connection.send(
            b"HTTP/1.1 200 OK\r\nRefresh: 5; url=http://inner/x\r\nContent-Length: 0\r\n\r\n"
        )
        self.assertEqual(bench.get(b"/").get(b"refresh"), b"5; url=/inner/x")
