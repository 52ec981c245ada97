"""Rows of compression."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.policy.options import GzipOptions
from tests.config.builders import faults, location


class GzipTests(SynchronousTestCase):
    """``gzip*``."""

    def test_defaults(self) -> None:
        """Off, and nginx's values otherwise."""
        self.assertEqual(location("").gzip, GzipOptions())

    def test_types(self) -> None:
        """text/html is always among them; ``*`` is all."""
        types = location("gzip_types text/CSS application/json;").gzip.types
        self.assertEqual(types, {b"text/html", b"text/css", b"application/json"})
        self.assertIsNone(location("gzip_types *;").gzip.types)

    def test_disable(self) -> None:
        """Expressions without regard to case, and the special word; inherited as one list."""
        gzip = location("", 'gzip_disable "mozilla/4"; gzip_disable msie6;').gzip
        self.assertTrue(gzip.disable_msie6)
        self.assertIsNotNone(gzip.disable[0].search(b"Mozilla/4.0"))

    def test_values(self) -> None:
        """The plain ones."""
        gzip = location(
            "gzip on; gzip_min_length 1k; gzip_comp_level 9; gzip_vary on; gzip_proxied any;"
            "gzip_http_version 1.0; gzip_buffers 4 4k;"
        ).gzip
        self.assertEqual(
            gzip,
            GzipOptions(
                gzip=True,
                min_length=1024,
                comp_level=9,
                vary=True,
                proxied=frozenset({"any"}),
                http_version=10,
                buffers=(4, 4096),
            ),
        )

    def test_refused(self) -> None:
        """Out of range."""
        for text in (
            "gzip_comp_level 0;",
            "gzip_comp_level x;",
            "gzip_http_version 2.0;",
            "gzip_disable degradation;",
            "gzip_disable (;",
            "gzip_buffers 0 4k;",
        ):
            self.assertEqual(len(faults(text)), 1, text)
