"""Parses words of the configuration: sizes, times, flags, codes.

nginx's ``ngx_parse.c`` and ``ngx_conf_file.c``. Every function raises
:class:`ValueError` with nginx's short reason; the caller knows the directive.

Imports nothing of the project.
"""

from __future__ import annotations

import re

__all__ = ["flag", "number", "offset", "seconds", "size", "whole_seconds"]

#: Nothing configured may be larger (nginx's ``NGX_MAX_OFF_T_VALUE``).
MAXIMUM = (1 << 63) - 1

_SIZE = re.compile(r"([0-9]+)([kKmM]?)")
_OFFSET = re.compile(r"([0-9]+)([kKmMgG]?)")
_SCALE = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_TIME_PART = re.compile(r"([0-9]+)(ms|[yMwdhms]?)(?: +|$)?")

#: Unit to (rank, milliseconds); parts of one time come in falling rank.
_TIME_UNITS = {
    "y": (0, 31_536_000_000),
    "M": (1, 2_592_000_000),
    "w": (2, 604_800_000),
    "d": (3, 86_400_000),
    "h": (4, 3_600_000),
    "m": (5, 60_000),
    "s": (6, 1_000),
    "": (6, 1_000),
    "ms": (7, 1),
}


def number(text: str) -> int:
    """A decimal integer, 0 or more."""
    if not text.isascii() or not text.isdigit() or int(text[:30]) > MAXIMUM:
        raise ValueError("invalid number")
    return int(text)


def size(text: str) -> int:
    """Bytes: ``8192``, ``8k``, ``1m``. Source: ``ngx_parse_size``."""
    return _scaled(_SIZE, text)


def offset(text: str) -> int:
    """Bytes, with ``g`` as well. Source: ``ngx_parse_offset``."""
    return _scaled(_OFFSET, text)


def _scaled(pattern: re.Pattern[str], text: str) -> int:
    match = pattern.fullmatch(text)
    if match is None or len(text) > 25:
        raise ValueError("invalid value")
    value = int(match.group(1)) * _SCALE[match.group(2).lower()]
    if value > MAXIMUM:
        raise ValueError("invalid value")
    return value


def seconds(text: str) -> float:
    """Seconds of ``30``, ``500ms``, ``1h30m``, ``1h 30m``. Source: ``ngx_parse_time``."""
    return _milliseconds(text) / 1000


def whole_seconds(text: str) -> int:
    """As :func:`seconds`, for directives that do not take ``ms``."""
    if "ms" in text:
        raise ValueError("invalid value")
    return _milliseconds(text) // 1000


def _milliseconds(text: str) -> int:
    position, rank, total = 0, -1, 0
    if not text or len(text) > 100:
        raise ValueError("invalid value")
    while position < len(text):
        match = _TIME_PART.match(text, position)
        if match is None:
            raise ValueError("invalid value")
        unit_rank, scale = _TIME_UNITS[match.group(2)]
        # a part without a unit is seconds, and nothing can follow it
        if unit_rank <= rank or (not match.group(2) and match.end() < len(text)):
            raise ValueError("invalid value")
        total += int(match.group(1)) * scale
        rank, position = unit_rank, match.end()
    if total > MAXIMUM:
        raise ValueError("invalid value")
    return total


def flag(text: str) -> bool:
    """``on`` or ``off``, in any case."""
    lower = text.lower()
    if lower not in ("on", "off"):
        raise ValueError('it must be "on" or "off"')
    return lower == "on"
