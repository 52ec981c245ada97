"""PCRE spellings for :mod:`re`."""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.config.patterns import compile_pattern
from cacheproxy.errors import ConfigError


class PatternTests(SynchronousTestCase):
    """``compile_pattern``."""

    def groups(self, pattern: str, subject: bytes) -> dict[str, bytes] | None:
        """The named groups of a match."""
        match = compile_pattern(pattern).search(subject)
        return match.groupdict() if match is not None else None

    def test_named_groups(self) -> None:
        """All three ways to write one."""
        for pattern in ("^(?<a>.)", "^(?P<a>.)", "^(?'a'.)"):
            self.assertEqual(self.groups(pattern, b"xy"), {"a": b"x"})

    def test_names_become_lower_case(self) -> None:
        """References to a group follow."""
        self.assertEqual(self.groups(r"(?<Aa>.)(?P=Aa)\k<Aa>\k{Aa}", b"xxxx"), {"aa": b"x"})

    def test_lookarounds_are_not_groups(self) -> None:
        """``(?<=`` and ``(?<!`` keep their meaning."""
        self.assertIsNotNone(compile_pattern("(?<=a)b(?<!c)").search(b"ab"))

    def test_classes_and_anchors(self) -> None:
        """POSIX classes, ``\\z``, ``\\Z`` and ``\\h``; an escaped backslash is not touched."""
        self.assertIsNotNone(compile_pattern(r"^[[:alpha:]]+[[:digit:]]\z").search(b"ab1"))
        self.assertIsNone(compile_pattern(r"a\z").search(b"a\n"))
        self.assertIsNotNone(compile_pattern(r"a\Z").search(b"a\n"))
        self.assertIsNotNone(compile_pattern(r"a\hb").search(b"a\tb"))
        self.assertIsNotNone(compile_pattern(r"\\z").search(b"\\z"))

    def test_case(self) -> None:
        """Case counts unless told otherwise."""
        self.assertIsNone(compile_pattern("a").search(b"A"))
        self.assertIsNotNone(compile_pattern("a", ignore_case=True).search(b"A"))

    def test_brackets_in_sets(self) -> None:
        """``[`` in a set is itself, without a warning."""
        self.assertIsNotNone(compile_pattern("^[[a]$").search(b"["))

    def test_bytes(self) -> None:
        """Patterns match bytes; ``\\w`` is ASCII, as PCRE has it without UTF."""
        self.assertIsNone(compile_pattern(r"\w").search("é".encode()))
        self.assertIsNotNone(compile_pattern("é").search("é".encode()))

    def test_faulty(self) -> None:
        """What cannot be compiled or translated is an error, never a warning."""
        for pattern in ("(", "[", "a**", "(?<a>.)(?<a>.)", r"a\Kb", "[[:nope:]]"):
            self.assertRaises(ConfigError, compile_pattern, pattern)
        self.assertIsInstance(compile_pattern("a"), re.Pattern)
