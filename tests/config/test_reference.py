"""The documentation's table of directives."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.config.directives import ROWS
from cacheproxy.config.reference import directives_rst

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "directives.rst"


class ReferenceTests(SynchronousTestCase):
    """``docs/directives.rst``."""

    def test_page_is_current(self) -> None:
        """The page is what ``python -m cacheproxy.config.reference`` prints."""
        self.assertEqual(PAGE.read_text(), directives_rst())

    def test_every_directive_is_there(self) -> None:
        """Each row of the table is in the page, with where it may stand."""
        page = directives_rst()
        for row in ROWS:
            self.assertIn(f"   * - ``{row.name}``\n     - ", page)

    def test_defaults_are_shown_as_they_are_written(self) -> None:
        """Sizes with their suffix, times with theirs, flags as words."""
        lines = directives_rst().splitlines()
        for name, default in {
            "client_max_body_size": "1m",
            "proxy_read_timeout": "60s",
            "proxy_buffering": "on",
            "proxy_buffers": "8 8k",
            "gzip_http_version": "1.1",
        }.items():
            at = lines.index(f"   * - ``{name}``")
            self.assertEqual(lines[at + 3], f"     - ``{default}``")


class WithoutEffectTests(SynchronousTestCase):
    """The directives that are accepted without effect."""

    def test_each_is_listed_in_its_section(self) -> None:
        """A reader of an existing configuration finds what does nothing here."""
        section = directives_rst().partition("Accepted without effect")[2]
        idle = {row.name for row in ROWS if row.without_effect}
        self.assertEqual({name for name in idle if f"``{name}``" not in section}, set())
        self.assertIn("sendfile", idle)
