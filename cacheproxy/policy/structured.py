"""Structured field values, as far as targeted cache control needs them: RFC 8941 §4.2.

A Dictionary's members are parsed strictly; of their values only booleans,
integers and strings are kept.

Imports nothing of the project.
"""

from __future__ import annotations

import re

__all__ = ["Item", "parse_dictionary"]

_ESCAPE = re.compile(rb"\\(.)")

#: RFC 8941 §3.1.2, §3.2, §3.3: keys and bare items, first alternative first.
_SF_KEY = re.compile(rb"[a-z*][a-z0-9_\-.*]*")
_SF_ITEM = re.compile(
    rb"(?P<decimal>-?[0-9]{1,12}\.[0-9]{1,3}(?![0-9.]))"
    rb"|(?P<integer>-?[0-9]{1,15}(?![0-9.]))"
    rb'|"(?P<string>(?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"'
    rb"|(?P<token>[A-Za-z*][!#$%&'*+\-.^_`|~0-9A-Za-z:/]*)"
    rb"|(?P<binary>:[A-Za-z0-9+/=]*:)"
    rb"|\?(?P<boolean>[01])"
)
_SF_COMMA = re.compile(rb"[ \t]*(?:,[ \t]*|$)")

#: What is kept of an item: bool, int, or bytes for a string; None for other types.
Item = bool | int | bytes | None


class _Malformed(ValueError):
    """The value is not a Dictionary."""


def parse_dictionary(value: bytes) -> dict[bytes, Item] | None:
    """The members of a Dictionary; None if it is malformed.

    Items are bool, int, or bytes (strings); None stands for every other type.
    """
    value = value.strip(b" ")
    members: dict[bytes, Item] = {}
    position = 0
    try:
        while position < len(value):
            match = _SF_KEY.match(value, position)
            if match is None:
                return None
            position, item = _member_value(value, match.end())
            members.pop(match.group(), None)  # the last one counts, at its own place
            members[match.group()] = item
            comma = _SF_COMMA.match(value, position)
            if comma is None or (comma.end() == len(value) and comma.group().strip(b" \t")):
                return None
            position = comma.end()
    except _Malformed:
        return None
    return members


def _member_value(value: bytes, position: int) -> tuple[int, Item]:
    item: Item = True
    if value[position : position + 1] == b"=":
        position += 1
        if value[position : position + 1] == b"(":
            position, item = _inner_list(value, position + 1), None
        else:
            position, item = _bare_item(value, position)
    return _parameters(value, position), item


def _inner_list(value: bytes, position: int) -> int:
    """The position after an inner list whose parenthesis was read; its items are not kept."""
    while True:
        start = position
        while value[position : position + 1] == b" ":
            position += 1
        if value[position : position + 1] == b")":
            return position + 1
        if start == position and value[position - 1 : position] != b"(":
            raise _Malformed
        position = _parameters(value, _bare_item(value, position)[0])


def _bare_item(value: bytes, position: int) -> tuple[int, Item]:
    match = _SF_ITEM.match(value, position)
    if match is None:
        raise _Malformed
    kind, text = match.lastgroup, match.group(match.lastgroup or 0)
    if kind == "integer":
        return match.end(), int(text)
    if kind == "boolean":
        return match.end(), text == b"1"
    if kind == "string":
        return match.end(), _ESCAPE.sub(rb"\1", text)
    return match.end(), None


def _parameters(value: bytes, position: int) -> int:
    while value[position : position + 1] == b";":
        position += 1
        while value[position : position + 1] == b" ":
            position += 1
        match = _SF_KEY.match(value, position)
        if match is None:
            raise _Malformed
        position = match.end()
        if value[position : position + 1] == b"=":
            position, _ = _bare_item(value, position + 1)
    return position
