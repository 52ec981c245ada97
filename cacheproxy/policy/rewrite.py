"""The instructions of nginx's rewrite module, and what each makes of a request.

A server's or location's instructions are compiled at load and carried out one after the other
(``proxy.site.rewriting``): ``rewrite``, ``set``, ``if`` with what is in it, ``break``, ``return``.
Here is what can be decided without a request's context: whether a condition holds of given
values, and the URI or redirect that a matched ``rewrite`` leads to.

Source: nginx ``ngx_http_rewrite_module``, ``ngx_http_script``.
Imports: ``template``, ``options``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Any

from cacheproxy.policy.options import Return
from cacheproxy.template import Template

__all__ = [
    "Break",
    "Comparison",
    "Condition",
    "FileTest",
    "Flag",
    "If",
    "Instruction",
    "PatternTest",
    "Rewrite",
    "SetVariable",
    "escape_args",
    "joined_args",
    "unescape_redirect",
]


class Flag(Enum):
    """What follows a ``rewrite`` that matched."""

    #: The next instruction.
    NEXT = ""
    #: The search for a location with the new URI.
    LAST = "last"
    #: The next phase, in the same location.
    BREAK = "break"
    #: A redirect with status 302.
    REDIRECT = "redirect"
    #: A redirect with status 301.
    PERMANENT = "permanent"

    @property
    def status(self) -> int:
        """The status of a redirect; 0 for none."""
        return _STATUSES.get(self, 0)


_STATUSES = {Flag.REDIRECT: 302, Flag.PERMANENT: 301}


@dataclass(frozen=True, slots=True)
class Rewrite:
    """``rewrite pattern replacement [flag]``.

    *path* is what the replacement has before its first ``?``, *args* what comes after it
    (None without one); *keeps_args* says that the request's own query is added.
    """

    pattern: re.Pattern[bytes]
    path: Template
    args: Template | None
    keeps_args: bool
    flag: Flag


@dataclass(frozen=True, slots=True)
class SetVariable:
    """``set $name value``."""

    name: str
    value: Template


@dataclass(frozen=True, slots=True)
class Break:
    """``break``."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A variable against a string: ``=``, ``!=``; without one, whether it is true.

    True is every value but the empty one and ``0``.
    """

    subject: Template
    other: Template | None
    negated: bool

    def holds(self, context: Any) -> bool:
        """Whether the condition holds of what *context* renders."""
        value = self.subject.render(context)
        if self.other is None:
            return value not in (b"", b"0")
        return (value == self.other.render(context)) is not self.negated


@dataclass(frozen=True, slots=True)
class PatternTest:
    """A variable against a regular expression: ``~``, ``~*``, ``!~``, ``!~*``."""

    subject: Template
    pattern: re.Pattern[bytes]
    negated: bool


@dataclass(frozen=True, slots=True)
class FileTest:
    """``-f``, ``-d``, ``-e``, ``-x`` (*kind* is the letter) and their negations."""

    subject: Template
    kind: str
    negated: bool


Condition = Comparison | PatternTest | FileTest


@dataclass(frozen=True, slots=True)
class If:
    """``if (condition) { … }``; *location* is what holds from then on, None in a server."""

    condition: Condition
    instructions: tuple[Instruction, ...]
    location: Any = None


Instruction = Rewrite | SetVariable | Break | Return | If

#: What a captured part of a decoded path must not bring into a query or a redirect.
_ARGS_UNSAFE = re.compile(rb"[\x00-\x20#%&+;?\x7f-\xff]")
_ESCAPED = re.compile(rb"%([0-9A-Fa-f]{2})")


def escape_args(value: bytes) -> bytes:
    """*value* as a part of a query (nginx ``NGX_ESCAPE_ARGS``)."""
    return _ARGS_UNSAFE.sub(lambda match: b"%%%02X" % match.group()[0], value)


def unescape_redirect(value: bytes) -> bytes:
    """The path of a redirect without the escapes that it does not need.

    Source: nginx ``ngx_unescape_uri`` with ``NGX_UNESCAPE_REDIRECT``.
    """
    path, mark, args = value.partition(b"?")
    return _ESCAPED.sub(_plain, path) + mark + args


def _plain(match: re.Match[bytes]) -> bytes:
    byte = int(match.group(1), 16)
    return bytes((byte,)) if 0x25 < byte < 0x7F else match.group()


def joined_args(rewrite: Rewrite, made: bytes | None, own: bytes) -> bytes:
    """The query after *rewrite*: *made* by its replacement (None without ``?``), and its *own*."""
    if made is None:
        return own if rewrite.keeps_args else b""
    return made + b"&" + own if rewrite.keeps_args and own else made
