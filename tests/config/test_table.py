"""The machinery of rows and levels."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.config.source import Directive, read_text
from cacheproxy.config.table import (
    FLAG,
    MISSING,
    Build,
    Context,
    Level,
    Row,
    UnknownDirective,
    listed,
    only,
    text,
    value,
)
from cacheproxy.errors import ConfigError

PLACE = Directive("x", ("1",), None, "f", 3)

ROWS: list[Row] = [
    value("flag", Context.HTTP, 1, FLAG, "r.flag"),
    listed("word", Context.HTTP | Context.SERVER, 1, text, "r.words"),
    *only("never", Context.HTTP, "off", "Why not."),
]


class LevelTests(SynchronousTestCase):
    """``Level``."""

    def test_lookup_goes_outward(self) -> None:
        """The nearest level answers, with the directive that it has it from."""
        outer = Level(Context.HTTP, None)
        inner = Level(Context.SERVER, outer)
        self.assertIs(inner.find("a"), MISSING)
        outer.put("a", 1, PLACE)
        self.assertEqual(inner.get("a"), 1)
        self.assertIs(inner.place("a"), PLACE)
        inner.put("a", None, PLACE)
        self.assertIsNone(inner.find("a"))
        self.assertEqual(outer.children, [inner])

    def test_second_value_is_refused(self) -> None:
        """One value a level."""
        level = Level(Context.HTTP, None)
        level.put("a", 1, PLACE)
        self.assertRaises(ConfigError, level.put, "a", 2, PLACE)


class WalkTests(SynchronousTestCase):
    """``Build.walk``."""

    def walk(self, source: str) -> tuple[Level, list[str]]:
        """Walk a text on the ``http`` level; the level and the faults."""
        build = Build("/p", lambda name: None, {row.name: (row,) for row in ROWS})
        level = Level(Context.HTTP, None)
        build.walk(read_text(source, "f", "/").directives, level)
        return level, [str(error) for error in build.errors]

    def test_values(self) -> None:
        """Converted values stand under their destination."""
        level, errors = self.walk("flag on; word a; word b; never off;")
        self.assertEqual(errors, [])
        self.assertEqual(level.values, {"r.flag": True, "r.words": ["a", "b"]})

    def test_faults(self) -> None:
        """Each directive's fault is noted and the walk goes on."""
        _, errors = self.walk("flag x;\nflag;\nflag { }\nwrod a;\nnever on;\nflag on;\nflag on;")
        self.assertEqual(
            errors,
            [
                'invalid value "x" in "flag" directive, it must be "on" or "off" in f:1',
                'invalid number of arguments in "flag" directive in f:2',
                'directive "flag" is not terminated by ";" in f:3',
                'unknown directive "wrod" in f:4 (did you mean "word"?)',
                '"never on" is not supported, only "never off" is in f:5',
                '"flag" directive is duplicate in f:7',
            ],
        )

    def test_hint_stands_behind_nginx_message(self) -> None:
        """Scripts that look for nginx's words find them unbroken."""
        error = UnknownDirective('unknown directive "x"', "f", 1, " (hint)")
        self.assertEqual(str(error), 'unknown directive "x" in f:1 (hint)')
