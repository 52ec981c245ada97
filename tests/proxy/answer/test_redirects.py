"""The target of a redirect as the client sees it."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

from tests.proxy.harness import Bench, BenchCase


class AbsoluteTests(BenchCase):
    """``absolute_redirect``, ``server_name_in_redirect``, ``port_in_redirect``."""

    def location(self, options: str, listen: str = "127.0.0.1:80", host: bytes = b"h") -> bytes:
        """Where a redirect to /to leads."""
        bench = Bench(
            self,
            f"server {{ listen {listen}; server_name named.example; {options}"
            " location / { return 301 /to; } }",
        )
        return bench.get(b"/", b"Host: " + host).get(b"location") or b""

    def test_default(self) -> None:
        """The client's Host; the port where it is not the scheme's own."""
        self.assertEqual(self.location(""), b"http://h/to")
        self.assertEqual(self.location("", "127.0.0.1:8080"), b"http://h:8080/to")
        self.assertEqual(self.location("port_in_redirect off;", "127.0.0.1:8080"), b"http://h/to")

    def test_options(self) -> None:
        """Relative; with the server's name."""
        self.assertEqual(self.location("absolute_redirect off;"), b"/to")
        self.assertEqual(self.location("server_name_in_redirect on;"), b"http://named.example/to")

    def test_ipv6(self) -> None:
        """A literal in Host stays in brackets."""
        self.assertEqual(self.location("", host=b"[::1]"), b"http://[::1]/to")
