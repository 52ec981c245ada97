"""What several modules of the directive table share; each directive has its own tests too."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.config.converters import (
    count_and_size,
    field,
    file_path,
    protocols,
    sizes_of_tables,
    temp_path,
    types_option,
)
from cacheproxy.config.source import Directive
from cacheproxy.config.table import HSL, Build
from cacheproxy.errors import ConfigError
from cacheproxy.proxy.site.variables import resolve


def directive(*words: str) -> Directive:
    """A directive of these words."""
    return Directive(words[0], words[1:], None, "test.conf", 1)


class ConverterTests(SynchronousTestCase):
    """Values and faults."""

    def setUp(self) -> None:
        self.build = Build("/prefix", resolve, {})

    def test_field_is_a_name_and_the_text_of_its_value(self) -> None:
        """Further arguments are the directive's own."""
        name, value = field(self.build, directive("add_header", "X-A", "a$host", "always"))
        self.assertEqual((name, value.text), (b"X-A", "a$host"))
        for bad in ("", "a b", "a:b", "a\n"):
            with self.assertRaises(ConfigError):
                field(self.build, directive("add_header", bad, "x"))

    def test_counts_and_sizes_are_above_zero(self) -> None:
        """``8 4k``."""
        self.assertEqual(count_and_size(self.build, directive("x", "8", "4k")), (8, 4096))
        for words in (("0", "4k"), ("8", "0"), ("a", "4k"), ("8", "4x")):
            with self.assertRaises(ConfigError):
                count_and_size(self.build, directive("x", *words))

    def test_types_hold_the_one_that_is_always_meant(self) -> None:
        """In lower case; ``*`` is every type."""
        convert = types_option(b"text/html")
        self.assertEqual(
            convert(self.build, directive("x", "Text/CSS")), frozenset({b"text/html", b"text/css"})
        )
        self.assertIsNone(convert(self.build, directive("x", "a/b", "*")))

    def test_protocols_have_names(self) -> None:
        """Those of nginx."""
        self.assertEqual(
            protocols(self.build, directive("x", "TLSv1.2", "TLSv1.3")), {"TLSv1.2", "TLSv1.3"}
        )
        with self.assertRaises(ConfigError):
            protocols(self.build, directive("x", "TLSv1.4"))

    def test_files_are_paths_alone(self) -> None:
        """Relative ones are below the prefix; engines and inline data are refused."""
        self.assertEqual(file_path(self.build, directive("x", "a.pem")), "/prefix/a.pem")
        for word in ("data:x", "engine:a:b", "store:file:x"):
            with self.assertRaises(ConfigError):
                file_path(self.build, directive("x", word))

    def test_rows(self) -> None:
        """A folder for temporary files has levels; sizes of hash tables have no effect."""
        self.assertEqual(temp_path("x_temp_path", "proxy.temp_path").arity, (1, 4))
        rows = sizes_of_tables("a_size b_size", HSL)
        self.assertEqual([row.name for row in rows], ["a_size", "b_size"])
        self.assertTrue(all(row.without_effect for row in rows))
