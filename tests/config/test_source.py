"""Text to directives: words, quotes, blocks, includes, faults of the syntax."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.config.source import Directive, Source, read_file, read_text


def words(text: str) -> list[tuple[str, ...]]:
    """The words of each top-level directive of a text without faults."""
    source = read_text(text, "t.conf", "/")
    assert not source.errors, source.errors
    return [(directive.name, *directive.args) for directive in source.directives]


def fault(text: str) -> tuple[str, int]:
    """The only fault of a text: message and line."""
    (error,) = read_text(text, "t.conf", "/").errors
    return error.message, error.line


class WordTests(SynchronousTestCase):
    """``ngx_conf_read_token``."""

    def test_quotes_and_escapes(self) -> None:
        """Escapes of quotes, backslash, tab, CR, LF are undone; others stay for regexes."""
        self.assertEqual(
            words(r'a "b c" "d\"e" f\;g \d\.\\;'), [("a", "b c", 'd"e', r"f\;g", r"\d\.\ "[:-1])]
        )
        self.assertEqual(words(r"a 'x\ty\nz\\' ;"), [("a", "x\ty\nz\\")])
        self.assertEqual(
            words("a 'single \"double\" #no; {}';"), [("a", 'single "double" #no; {}')]
        )
        self.assertEqual(words('a "";'), [("a", "")])
        self.assertEqual(words('a b"c"d;'), [("a", 'b"c"d')])

    def test_braces_inside_words(self) -> None:
        """``${name}`` and a ``}`` inside a word belong to it."""
        self.assertEqual(words("a ${b} c;"), [("a", "${b}", "c")])
        self.assertEqual(words("a ${b}c${d};"), [("a", "${b}c${d}")])
        self.assertEqual(words("a b}c}d;"), [("a", "b}c}d")])
        self.assertEqual(words('a "^/[0-9]{2,3}$";'), [("a", "^/[0-9]{2,3}$")])
        self.assertEqual(words('a "${b" c;'), [("a", "${b", "c")])

    def test_comments_and_lines(self) -> None:
        """Comments end with their line, count as nothing, and lines are those of the name."""
        source = read_text("# x; } {\na b # c ;\n  d;\n\ne#f\n  g;", "t.conf", "/")
        self.assertEqual(source.errors, [])
        self.assertEqual(
            source.directives,
            (
                Directive("a", ("b", "d"), None, "t.conf", 2),
                Directive("e#f", ("g",), None, "t.conf", 5),
            ),
        )

    def test_blocks(self) -> None:
        """A simple directive has no block, an empty block is one."""
        source = read_text("a { b { } c; } d;", "t.conf", "/")
        outer, last = source.directives
        assert outer.block is not None
        self.assertEqual([inner.block for inner in outer.block], [(), None])
        self.assertIsNone(last.block)

    def test_bytes_that_are_not_utf8_survive(self) -> None:
        """A file may hold any bytes."""
        path = Path(self.mktemp())
        path.write_bytes(b"a \xff\xc3\xa9;")
        (directive,) = read_file(str(path), "/").directives
        self.assertEqual(directive.args[0].encode("utf-8", "surrogateescape"), b"\xff\xc3\xa9")

    def test_faults(self) -> None:
        """The words of nginx, at the line of the fault."""
        end = 'unexpected end of file, expecting ";" or "}"'
        self.assertEqual(fault("a b"), (end, 1))
        self.assertEqual(fault("a {\n b;\n"), ('unexpected end of file, expecting "}"', 3))
        self.assertEqual(fault("a 'b;\nc;"), (end, 2))
        self.assertEqual(fault("a;\n}"), ('unexpected "}"', 2))
        self.assertEqual(fault("a b }"), ('unexpected "}"', 1))
        self.assertEqual(fault(";"), ('unexpected ";"', 1))
        self.assertEqual(fault("{ }"), ('unexpected "{"', 1))
        self.assertEqual(fault('a "b"c;'), ('unexpected "c"', 1))
        self.assertEqual(fault("a ${b"), (end, 1))
        self.assertEqual(fault("a b\\"), (end, 1))

    def test_depth_of_blocks(self) -> None:
        """Nesting is bounded, and said so, not by Python's stack."""
        message, _ = fault("a {" * 5000)
        self.assertIn("deeper than", message)
        self.assertEqual(len(words("a {" * 60 + "}" * 60)), 1)

    @settings(max_examples=150, deadline=None)
    @given(st.text(alphabet="ab{};\"'\\ \n#$}", max_size=25))
    def test_any_text_is_read_or_refused(self, text: str) -> None:
        """No text raises, and a refusal stands on a line of the text."""
        source = read_text(text, "t.conf", "/")
        for error in source.errors:
            self.assertTrue(1 <= error.line <= text.count("\n") + 1)

    @settings(max_examples=100, deadline=None)
    @given(st.lists(st.text(alphabet="ab$ {};\"'\\#\t\n", max_size=8), min_size=1, max_size=4))
    def test_quoted_words_come_back(self, given_words: list[str]) -> None:
        """Any words, quoted and escaped, are read back as they were."""
        quoted = ['"' + w.replace("\\", "\\\\").replace('"', '\\"') + '"' for w in given_words]
        self.assertEqual(words(" ".join(quoted) + ";"), [tuple(given_words)])


class IncludeTests(SynchronousTestCase):
    """``include``."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).resolve()
        (self.folder / "sites").mkdir(parents=True)

    def read(self, **files: str) -> Source:
        """Write files (``_`` for ``/`` and ``.conf`` added) and read ``main``."""
        for name, text in files.items():
            (self.folder / (name.replace("_", "/") + ".conf")).write_text(text)
        return read_file(str(self.folder / "main.conf"), str(self.folder))

    def test_glob_in_order(self) -> None:
        """A pattern stands for its files in alphabetical order, none is fine."""
        source = self.read(
            main="a; include sites/*.conf; include none/*.conf; d;", sites_2="c;", sites_1="b;"
        )
        self.assertEqual([d.name for d in source.directives], ["a", "b", "c", "d"])
        self.assertEqual(source.directives[1].file, str(self.folder / "sites/1.conf"))
        self.assertEqual(source.errors, [])

    def test_relative_to_the_prefix(self) -> None:
        """A relative include in an included file starts at the prefix too, as in nginx."""
        source = self.read(main="include sites/1.conf;", sites_1="include x.conf;", x="a;")
        self.assertEqual([d.name for d in source.directives], ["a"])

    def test_same_file_in_two_blocks(self) -> None:
        """One file may be included many times."""
        source = self.read(main="a { include x.conf; } b { include x.conf; }", x="c;")
        self.assertEqual([len(d.block or ()) for d in source.directives], [1, 1])

    def test_missing_file(self) -> None:
        """A file named outright has to exist."""
        (error,) = self.read(main="\ninclude nonesuch.conf;").errors
        self.assertIn('nonesuch.conf" failed (2: No such file', error.message)
        self.assertEqual(error.line, 2)

    def test_cycle(self) -> None:
        """A file that includes itself, by way of another, is an error and not a loop."""
        (error,) = self.read(main="include x.conf;", x="include main.conf;").errors
        self.assertIn("includes itself", error.message)

    def test_fault_in_an_included_file(self) -> None:
        """Faults are placed in the file they stand in, and both files' are found."""
        errors = self.read(main="include x.conf; a b", x="c {\n").errors
        self.assertEqual([Path(error.file).name for error in errors], ["x.conf", "main.conf"])

    def test_bundled_files(self) -> None:
        """``mime.types`` and ``proxy_params`` need not exist; a warning says what is used."""
        source = self.read(main="include /nowhere/mime.types; include proxy_params;")
        self.assertEqual(source.directives[0].name, "types")
        self.assertEqual(len(source.directives), 5)
        self.assertEqual(len(source.warnings), 2)

    def test_existing_file_goes_before_the_bundled_one(self) -> None:
        """A ``mime.types`` of the user's own is what is read."""
        (self.folder / "mime.types").write_text("types { a b; }")
        source = self.read(main="include mime.types;")
        self.assertEqual(source.warnings, [])
        (types,) = source.directives
        self.assertEqual(len(types.block or ()), 1)

    def test_arguments(self) -> None:
        """``include`` takes one argument."""
        (error,) = self.read(main="include a b;").errors
        self.assertEqual(error.message, 'invalid number of arguments in "include" directive')
