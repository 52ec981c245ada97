"""Which zone a location stores in."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

from tests.proxy.harness import BenchCase, response


class ZoneTests(BenchCase):
    """``zone_of``, by what ``proxy_cache`` says."""

    def asked(self, *targets: bytes) -> int:
        """How often the origin is asked where a variable names the zone."""
        bench = self.proxy(
            "proxy_cache $arg_zone; proxy_cache_key $uri;",
            http="proxy_cache_path cache keys_zone=z:1m;",
        )
        self.origin.default = response(200, b"x", b"Cache-Control: max-age=60")
        for target in targets:
            self.last = bench.get(target)
        return len(self.origin.requests)

    def test_variable_names_a_zone(self) -> None:
        """The second request is a hit."""
        self.assertEqual(self.asked(b"/a?zone=z", b"/a?zone=z"), 1)

    def test_empty_and_off_name_none(self) -> None:
        """Nothing is stored."""
        for value in (b"", b"off"):
            self.assertEqual(self.asked(b"/a?zone=" + value, b"/a?zone=" + value), 2)

    def test_unknown_name_is_an_error(self) -> None:
        """nginx: 500 and a line in the error log."""
        self.assertEqual(self.asked(b"/a?zone=none"), 0)
        self.assertEqual(self.last.status, 500)
        self.assertIn('cache "none" not found', "\n".join(self.bench.log("error.log")))
