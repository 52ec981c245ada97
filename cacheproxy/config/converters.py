"""Converters and rows that several modules of the directive table share.

A converter makes an option's value of a directive, or raises ``ConfigError`` without a
place. What is particular to one directive stays in the module of its rows.
"""

from __future__ import annotations

from collections.abc import Callable

from cacheproxy.config import units
from cacheproxy.config.source import Directive
from cacheproxy.config.table import HSL, Build, Context, Row, accepted, invalid, path, value
from cacheproxy.errors import ConfigError
from cacheproxy.template import Template

__all__ = [
    "count_and_size",
    "field",
    "field_name",
    "file_path",
    "protocols",
    "sizes_of_tables",
    "temp_path",
    "types_option",
]

_PROTOCOLS = frozenset({"SSLv2", "SSLv3", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"})

#: What nginx also takes for a certificate or a key, and we do not.
_NO_FILES = ("data:", "engine:", "store:")


def field_name(name: str, directive: Directive) -> None:
    """Names that would break the framing of a message are refused (RFC 9110 §5.1)."""
    if not name or not name.isascii() or any(c <= " " or c in ":\x7f" for c in name):
        raise invalid(directive, name)


def field(build: Build, directive: Directive) -> tuple[bytes, Template]:
    """A field's name and the text of its value: the first two arguments."""
    name, text = directive.args[:2]
    field_name(name, directive)
    return name.encode(), build.template(text)


def count_and_size(build: Build, directive: Directive) -> tuple[int, int]:
    """``number size``, both above zero."""
    try:
        count, size = units.number(directive.args[0]), units.size(directive.args[1])
    except ValueError as error:
        raise ConfigError(f'"{directive.name}" directive invalid value') from error
    if not count or not size:
        raise ConfigError(f'"{directive.name}" directive invalid value')
    return count, size


def types_option(always: bytes) -> Callable[[Build, Directive], frozenset[bytes] | None]:
    """A converter for a list of media types: *always* is in it; None stands for ``*``."""

    def convert(build: Build, directive: Directive) -> frozenset[bytes] | None:
        if "*" in directive.args:
            return None
        return frozenset({always, *(word.lower().encode() for word in directive.args)})

    return convert


def protocols(build: Build, directive: Directive) -> frozenset[str]:
    """Names of TLS versions."""
    for word in directive.args:
        if word not in _PROTOCOLS:
            raise invalid(directive, word)
    return frozenset(directive.args)


def file_path(build: Build, directive: Directive) -> str:
    """The path of a certificate or a key, absolute; nginx's other sources are refused."""
    word = directive.args[0]
    if word.startswith(_NO_FILES):
        raise ConfigError(f'"{word}" is not supported in "{directive.name}" directive')
    return build.path(word)


def temp_path(name: str, target: str) -> Row:
    """The row of a folder for temporary files."""
    return value(
        name,
        HSL,
        (1, 4),
        path,
        target,
        note="Levels of subfolders are accepted without effect: the files are unlinked at once.",
    )


def sizes_of_tables(names: str, contexts: Context) -> list[Row]:
    """Rows of the sizes of nginx's hash tables."""
    return accepted(names, contexts, "Tables size themselves.")
