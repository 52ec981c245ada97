"""``$variable`` text, compiled once at load into a function.

nginx's complex values (``ngx_http_script``): literal text mixed with ``$name``
and ``${name}``. Every name is resolved at load through the caller's *resolve*,
so rendering is a chain of plain calls and an unknown name is a load-time error.
There is no escape for ``$`` (as in nginx); a ``$`` that no name follows is an
error.

Imports: ``errors`` only.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from cacheproxy.errors import ConfigError

__all__ = ["Getter", "Resolve", "Template", "compile_template", "constant_template"]

#: Reads one variable off the object that stands for the request.
Getter = Callable[[Any], bytes]

#: Finds the getter of a variable by its name without ``$``; None if unknown.
Resolve = Callable[[str], "Getter | None"]

_VARIABLE = re.compile(r"\$(?:\{([A-Za-z0-9_]+)\}|([A-Za-z0-9_]+))")


class Template:
    """A compiled value.

    ``render(context)`` gives bytes; ``constant`` is the value itself when the
    text holds no variable, else None; ``variables`` are the names it reads.
    """

    __slots__ = ("constant", "render", "text", "variables")

    def __init__(
        self,
        text: str,
        render: Getter,
        constant: bytes | None,
        variables: frozenset[str],
    ) -> None:
        self.text = text
        self.render = render
        self.constant = constant
        self.variables = variables

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Template) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Template({self.text!r})"


def constant_template(value: bytes) -> Template:
    """A template whose text is taken literally, ``$`` and all."""
    return Template(value.decode("utf-8", "surrogateescape"), lambda _: value, value, frozenset())


def compile_template(text: str, resolve: Resolve) -> Template:
    """Compile *text*; raises :class:`ConfigError` (without a place) for a bad variable.

    Source: nginx ``ngx_http_compile_complex_value``.
    """
    parts: list[bytes | Getter] = []
    names: set[str] = set()
    position = 0
    while True:
        dollar = text.find("$", position)
        if dollar < 0:
            break
        match = _VARIABLE.match(text, dollar)
        if match is None:
            raise ConfigError("invalid variable name")
        if dollar > position:
            parts.append(text[position:dollar].encode("utf-8", "surrogateescape"))
        name = match.group(1) or match.group(2)
        # nginx reads a digit as one capture: "$10" is capture 1, then "0".
        if match.group(2) and name[0].isdigit():
            name = name[0]
            position = dollar + 2
        else:
            position = match.end()
        getter = resolve(name)
        if getter is None:
            raise ConfigError(f'unknown "{name}" variable')
        names.add(name)
        parts.append(getter)
    if position < len(text):
        parts.append(text[position:].encode("utf-8", "surrogateescape"))
    return _assemble(text, parts, frozenset(names))


def _literal(value: bytes) -> Getter:
    return lambda _: value


def _assemble(text: str, parts: list[bytes | Getter], names: frozenset[str]) -> Template:
    if not names:
        value = b"".join(part for part in parts if isinstance(part, bytes))
        return Template(text, lambda _: value, value, names)
    if len(parts) == 1:
        only = parts[0]
        assert callable(only)
        return Template(text, only, None, names)
    functions = [_literal(part) if isinstance(part, bytes) else part for part in parts]
    if len(functions) == 2:
        first, second = functions
        return Template(text, lambda context: first(context) + second(context), None, names)
    return Template(
        text, lambda context: b"".join([part(context) for part in functions]), None, names
    )
