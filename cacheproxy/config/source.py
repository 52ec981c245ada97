"""Parses configuration text into a tree of directives, each with its file and line.

crossplane's lexer cuts the text into tokens; what its parser leaves to an
analyzer of its own (contexts, arity, which names exist) is decided by our
directive table, so only the lexer is used, and its results are held to
nginx's rules (``ngx_conf_read_token``) where it is more lenient. ``include`` is
expanded here: this module holds the only file reads of the package.

A fault of the syntax ends the reading of that file; what had been read of it
stays in the tree, so that later faults are still found.
"""

from __future__ import annotations

import glob
import os.path
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from crossplane.analyzer import DIRECTIVES
from crossplane.lexer import _lex_file_object

from cacheproxy.config.bundled import BUNDLED
from cacheproxy.errors import ConfigError

__all__ = ["NGINX_DIRECTIVES", "Directive", "Source", "absolute", "read_file", "read_text"]

#: Every directive that crossplane knows to exist in nginx: lets an error tell a
#: directive that is not supported from a misspelt one.
NGINX_DIRECTIVES: frozenset[str] = frozenset(DIRECTIVES)

#: How deep ``include`` may nest; a cycle is told apart and refused at once.
MAX_INCLUDE_DEPTH = 32

#: How deep blocks may nest; nginx's own contexts need a handful.
MAX_BLOCK_DEPTH = 64

#: The largest configuration file that is read, bytes.
MAX_FILE_SIZE = 16 << 20


@dataclass(frozen=True, slots=True)
class Directive:
    """One directive: *block* is None for a simple one; *line* is where its name stands."""

    name: str
    args: tuple[str, ...]
    block: tuple[Directive, ...] | None
    file: str
    line: int


@dataclass(slots=True)
class Source:
    """What was read: the tree, the faults of syntax, the warnings, and the files used."""

    directives: tuple[Directive, ...] = ()
    errors: list[ConfigError] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)


def read_file(path: str, prefix: str) -> Source:
    """Read the configuration in *path*; relative includes start at *prefix*."""
    source = Source()
    text = _load(path, source, None)
    if text is not None:
        source.directives = _Reader(prefix, source).read(text, path, ())
    return source


def read_text(text: str, name: str, prefix: str) -> Source:
    """Read a configuration given as text; *name* stands for its file in messages."""
    source = Source()
    source.directives = _Reader(prefix, source).read(text, name, ())
    return source


def absolute(path: str) -> str:
    """*path* seen from the working directory, without ``.`` and ``..``."""
    return os.path.abspath(path)


def _load(path: str, source: Source, place: Directive | None) -> str | None:
    """The text of *path*, bytes that are not UTF-8 kept as surrogates; None after an error."""
    file, line = (place.file, place.line) if place is not None else ("", 0)
    try:
        with open(path, "rb") as stream:
            data = stream.read(MAX_FILE_SIZE + 1)
    except OSError as error:
        reason = f'open() "{path}" failed ({error.errno}: {error.strerror})'
        source.errors.append(ConfigError(reason, file, line))
        return None
    if len(data) > MAX_FILE_SIZE:
        source.errors.append(ConfigError(f'"{path}" is larger than 16m', file, line))
        return None
    source.files.append(path)
    return data.decode("utf-8", "surrogateescape")


#: Text as the lexer is fed with it. Two things are handed over in one piece,
#: because nginx takes them as part of a word and crossplane's lexer, which
#: looks at one character at a time, does not: ``${name}`` (a blank after it
#: would be glued to the word) and a ``}`` inside a word (it would end the block).
_UNIT = re.compile(r"\$\{[^}\s\"';]*\}|\\.|[^\s;{}\"'\\#$]\}|.", re.DOTALL)


class _Feed:
    """The text, unit by unit, and where the lexer stands in it."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.position = 0

    def __iter__(self) -> Iterator[str]:
        for match in _UNIT.finditer(self._text):
            self.position = match.end()
            unit = match.group()
            if unit[0] == "\\" and len(unit) == 2:
                # the lexer pairs a backslash with the unit that follows it
                yield "\\"
                yield unit[1]
            elif unit.startswith("${"):
                yield "$"
                # one unit, so that the lexer's own loop for "${" stays out of it
                yield unit[1:]
            else:
                yield unit

    @property
    def next_character(self) -> str:
        return self._text[self.position : self.position + 1]


_ESCAPE = re.compile(r"""\\(["'\\trn])""")
_ESCAPED = {"t": "\t", "r": "\r", "n": "\n"}


def _unescape(token: str) -> str:
    r"""nginx drops the backslash before a quote or a backslash, and knows ``\t \r \n``."""
    if "\\" not in token:
        return token
    return _ESCAPE.sub(lambda match: _ESCAPED.get(match.group(1), match.group(1)), token)


#: A directive put behind the text: the lexer forgets an unfinished word or
#: string at the end of its input, and this one then goes missing with it.
_END = "\x00end"


class _Reader:
    """Parses one file and what it includes."""

    def __init__(self, prefix: str, source: Source) -> None:
        self._prefix = prefix
        self._source = source

    def read(self, text: str, file: str, chain: tuple[str, ...]) -> tuple[Directive, ...]:
        """The top-level directives of *text*; *chain* are the files that include it."""
        parser = _Parser(text, file, self, chain)
        found = parser.parse()
        self._source.errors.extend(parser.errors)
        return found

    def include(self, directive: Directive, chain: tuple[str, ...]) -> list[Directive]:
        """What an ``include`` stands for, in place of it."""
        if len(directive.args) != 1 or directive.block is not None:
            return self._refuse(directive, 'invalid number of arguments in "include" directive')
        if len(chain) >= MAX_INCLUDE_DEPTH:
            return self._refuse(directive, f"includes nest deeper than {MAX_INCLUDE_DEPTH}")
        pattern = os.path.join(self._prefix, directive.args[0])
        if any(character in pattern for character in "*?["):
            paths = sorted(glob.glob(pattern))
        else:
            paths = [pattern]
        found: list[Directive] = []
        for path in paths:
            if path in chain:
                self._refuse(directive, f'"{path}" includes itself')
                continue
            text = self._text(path, directive)
            if text is not None:
                found.extend(self.read(text, path, (*chain, path)))
        return found

    def _text(self, path: str, directive: Directive) -> str | None:
        bundled = BUNDLED.get(os.path.basename(path))
        if bundled is not None and not os.path.exists(path):
            self._source.warnings.append(
                f'"{path}" does not exist, the bundled "{os.path.basename(path)}" is used'
                f" in {directive.file}:{directive.line}"
            )
            return bundled
        return _load(path, self._source, directive)

    def _refuse(self, directive: Directive, message: str) -> list[Directive]:
        self._source.errors.append(ConfigError(message, directive.file, directive.line))
        return []


class _Parser:
    """Tokens of one file to directives (``ngx_conf_parse``)."""

    def __init__(self, text: str, file: str, reader: _Reader, chain: tuple[str, ...]) -> None:
        self._feed = _Feed(f"{text}\n{_END};")
        self._tokens: Iterator[tuple[str, int, bool]] = _lex_file_object([self._feed])
        self._file = file
        self._reader = reader
        self._chain = chain or (file,)
        self._last_line = text.count("\n") + 1
        self._depth = 0
        self.errors: list[ConfigError] = []

    def parse(self) -> tuple[Directive, ...]:
        found: list[Directive] = []
        try:
            self._block(found, nested=False)
        except ConfigError as error:
            self.errors.append(error)
        return tuple(found)

    def _fault(self, message: str, line: int) -> ConfigError:
        return ConfigError(message, self._file, min(line, self._last_line))

    def _block(self, found: list[Directive], *, nested: bool) -> None:
        """Fill *found* up to the end of the block; raises at the first fault.

        A list that is filled, not a result, so that what precedes a fault is kept.
        """
        words: list[str] = []
        start = 0
        for token, line, quoted in self._tokens:
            if quoted:
                following = self._feed.next_character
                if following not in " \t\r\n;{)":
                    raise self._fault(f'unexpected "{following}"', line)
            elif token.startswith("#"):
                continue
            elif token == _END:
                self._at_end(bool(words), nested)
                return
            elif token == "}":
                if words or not nested:
                    raise self._fault('unexpected "}"', line)
                return
            elif token in (";", "{"):
                if not words:
                    raise self._fault(f'unexpected "{token}"', line)
                self._directive(found, words, start, opened=token == "{")
                words = []
                continue
            if not words:
                start = line
            words.append(_unescape(token))
        self._at_end(True, nested)

    def _at_end(self, unfinished: bool, nested: bool) -> None:
        if unfinished:
            message = 'unexpected end of file, expecting ";" or "}"'
            raise self._fault(message, self._last_line)
        if nested:
            raise self._fault('unexpected end of file, expecting "}"', self._last_line)

    def _directive(self, found: list[Directive], words: list[str], line: int, opened: bool) -> None:
        block: list[Directive] | None = [] if opened else None
        if self._depth >= MAX_BLOCK_DEPTH:
            raise self._fault(f"blocks nest deeper than {MAX_BLOCK_DEPTH}", line)
        self._depth += 1
        try:
            if block is not None:
                self._block(block, nested=True)
        finally:
            self._depth -= 1
            directive = Directive(
                words[0],
                tuple(words[1:]),
                tuple(block) if block is not None else None,
                self._file,
                line,
            )
            if directive.name == "include":
                found.extend(self._reader.include(directive, self._chain))
            else:
                found.append(directive)
