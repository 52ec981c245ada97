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

    def test_charset(self) -> None:
        """Where there is none yet, and for the types it is for."""
        for given, wanted in (
            (b"text/html", b"text/html; charset=utf-8"),
            (b"text/html; charset=x", b"text/html; charset=x"),
            (b"image/png", b"image/png"),
        ):
            bench = self.proxy("charset utf-8;")
            self.origin.default = response(200, b"x", b"Content-Type: " + given)
            self.assertEqual(bench.get(b"/").get(b"content-type"), wanted)
