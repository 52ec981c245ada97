"""What the exchange of a slice does in place of the client's, and what it leaves to it."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

from tests.proxy.harness import message, response
from tests.proxy.slice.test_slicing import BODY, SLICED, SliceCase, Thing


class SliceExchangeTests(SliceCase):
    """One slice's way to the origin and back."""

    def test_elsewhere(self) -> None:
        """The first answer may name another place, or be replaced by a page of ours."""
        self.sliced("proxy_intercept_errors on; error_page 503 /busy;", server=(
            "location /busy { return 200 sorry; } location /in/ { internal; return 200 inside; }"
        ))
        self.origin.default = response(200, b"", b"X-Accel-Redirect: /in/a")
        self.assertEqual(self.bench.get(b"/a").body, b"inside")
        self.origin.default = response(503, b"busy")
        answer = self.bench.get(b"/b")
        self.assertEqual((answer.status, answer.body), (503, b"sorry"))

    def test_variables(self) -> None:
        """Of ``$upstream_*`` the first slice counts; ``$slice_range`` is its range."""
        self.cache(
            "slice 1k; add_header X-Range $slice_range;"
            "add_header X-CR $upstream_http_content_range;" + SLICED,
            "access_log access.log l;",
            "log_format l '$status $upstream_status $upstream_addr [$slice_range] $request_id';",
        )
        self.origin.default = Thing()
        answer = self.bench.get(b"/a", b"Range: bytes=2000-4000")
        self.assertEqual(answer.get(b"x-range"), b"bytes=1024-2047")
        self.assertEqual(answer.get(b"x-cr"), b"bytes 1024-2047/10247")
        self.assertRegex(self.bench.log()[0], r"^206 206 127.0.0.1:8000 \[-?\] \w{32}$")

    def test_early_hints(self) -> None:
        """Informational responses pass before the head and never within the body."""
        self.sliced()
        thing = Thing()
        hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        self.origin.default = lambda connection, request: connection.send(
            hints + thing.answer(request)
        )
        client = self.bench.client()
        client.send(message(b"GET", b"/a"))
        self.assertEqual(client.response().status, 103)
        self.assertEqual(client.response().body, BODY)

    def test_upgrade(self) -> None:
        """An upgrade is not asked for, so that no slice can become a tunnel."""
        self.sliced("proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;")
        answer = self.bench.get(b"/a", b"Connection: upgrade", b"Upgrade: x")
        self.assertEqual(answer.body, BODY)

    def test_limit_except(self) -> None:
        """The slices are asked for by what holds for the client's method."""
        self.proxy(
            "slice 8k; proxy_set_header Range $slice_range;"
            "limit_except POST { proxy_pass http://127.0.0.1:8001; }"
        )
        other = self.bench.origin(8001)
        other.default = Thing()
        self.assertEqual(self.bench.get(b"/").body, BODY)
        self.assertEqual((len(other.requests), self.asked()), (2, []))
