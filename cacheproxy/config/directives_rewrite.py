"""Rows of ``rewrite``, ``set``, ``if``, ``break`` and ``return``.

What a server or location has of them is gathered in the order of the text, as instructions
(``policy.rewrite``). An ``if`` in a location is a nameless location inside it: directives in
it hold from the moment that its condition did.

Source: nginx ``ngx_http_rewrite_module``.
Imports: ``table``, ``patterns``, ``source``, ``policy.rewrite``.
"""

from __future__ import annotations

from typing import Any

from cacheproxy.config.patterns import compile_pattern
from cacheproxy.config.source import Directive
from cacheproxy.config.table import FLAG, Build, Context, Level, Merge, Row, accepted, value
from cacheproxy.errors import ConfigError
from cacheproxy.policy.options import Return
from cacheproxy.policy.rewrite import (
    Break,
    Comparison,
    Condition,
    FileTest,
    Flag,
    If,
    Instruction,
    PatternTest,
    Rewrite,
    SetVariable,
)
from cacheproxy.template import Template

__all__ = ["INSTRUCTIONS", "REWRITE_READS", "ROWS"]

#: Where a level gathers its instructions.
INSTRUCTIONS = "location.instructions"
#: Where a server gathers the variables that the instructions in it read, wherever they stand.
REWRITE_READS = "rewrite.reads"

_ALL = Context.SERVER | Context.LOCATION | Context.SERVER_IF | Context.LOCATION_IF
_SL = Context.SERVER | Context.LOCATION

#: Replacements that start like this are redirects (nginx).
_ABSOLUTE = ("http://", "https://", "$scheme")
_FLAGS = {flag.value: flag for flag in Flag}


def _add(
    level: Level, made: Instruction, directive: Directive, *reads: Template | None
) -> None:
    """Append an instruction to *level*; *reads* are what it reads of a request."""
    level.append(INSTRUCTIONS, made, directive)
    server = level
    while server.context is not Context.SERVER and server.parent is not None:
        server = server.parent
    found: set[str] = server.values.setdefault(REWRITE_READS, set())
    for template in reads:
        if template is not None:
            found |= template.variables


def _rewrite(build: Build, level: Level, directive: Directive) -> None:
    pattern, text, *rest = directive.args
    if rest and rest[0] not in _FLAGS:
        raise ConfigError(f'invalid parameter "{rest[0]}"')
    flag = _FLAGS[rest[0]] if rest else Flag.NEXT
    if flag is not Flag.PERMANENT and text.startswith(_ABSOLUTE):
        flag = Flag.REDIRECT
    regex = compile_pattern(pattern)
    keeps_args = not text.endswith("?")
    path, mark, args = text.removesuffix("?").partition("?")
    made = Rewrite(
        regex, build.template(path), build.template(args) if mark else None, keeps_args, flag
    )
    _add(level, made, directive, made.path, made.args)


def _set(build: Build, level: Level, directive: Directive) -> None:
    variable, text = directive.args
    if not variable.startswith("$") or len(variable) < 2:
        raise ConfigError(f'invalid variable name "{variable}"')
    made = SetVariable(variable[1:].lower(), build.template(text))
    _add(level, made, directive, made.value)


def _break(build: Build, level: Level, directive: Directive) -> None:
    level.append(INSTRUCTIONS, Break(), directive)


def _return(build: Build, level: Level, directive: Directive) -> None:
    first, *rest = directive.args
    if first.isdigit() and int(first) <= 999:
        answer = Return(int(first), build.template(rest[0]) if rest else None)
    elif rest or not first.startswith(_ABSOLUTE):
        raise ConfigError(f'invalid return code "{first}"')
    else:
        answer = Return(302, build.template(first))
    level.append(INSTRUCTIONS, answer, directive)


def _if(build: Build, level: Level, directive: Directive) -> None:
    condition = _condition(build, list(directive.args))
    in_location = level.context is Context.LOCATION
    context = Context.LOCATION_IF if in_location else Context.SERVER_IF
    inner = Level(context, level, directive, **level.facts)
    # It is found by its condition, not by a URI.
    level.children.remove(inner)
    build.walk(directive.block or (), inner)
    instructions = tuple(inner.values.pop(INSTRUCTIONS, ()))
    made = If(condition, instructions, inner if in_location else None)
    _add(level, made, directive, condition.subject)


def _condition(build: Build, words: list[str]) -> Condition:
    """The condition within the parentheses, however the words are spaced."""
    if words and words[0].startswith("("):
        words[0] = words[0][1:]
    else:
        raise ConfigError(f'invalid condition "{words[0] if words else ""}"')
    if not words[-1].endswith(")"):
        raise ConfigError(f'invalid condition "{words[-1]}"')
    words[-1] = words[-1][:-1]
    words = words[not words[0] : len(words) - (len(words) > 1 and not words[-1])]
    if not words:
        raise ConfigError('invalid condition ""')
    first, *rest = words
    if first.startswith("$") and len(first) > 1:
        return _of_variable(build, first, rest)
    negated = first.startswith("!")
    letter = first.removeprefix("!")
    if letter not in ("-f", "-d", "-e", "-x") or len(rest) != 1:
        raise ConfigError(f'invalid condition "{first}"')
    return FileTest(build.template(rest[0]), letter[1], negated)


def _of_variable(build: Build, variable: str, rest: list[str]) -> Condition:
    subject = _variable(build, variable)
    if not rest:
        return Comparison(subject, None, False)
    if len(rest) != 2:
        raise ConfigError(f'invalid condition "{variable}"')
    operator, text = rest
    negated = operator.startswith("!")
    if operator in ("=", "!="):
        return Comparison(subject, build.template(text), negated)
    if operator in ("~", "~*", "!~", "!~*"):
        pattern = compile_pattern(text, ignore_case=operator.endswith("*"))
        return PatternTest(subject, pattern, negated)
    raise ConfigError(f'unexpected "{operator}" in condition')


def _variable(build: Build, text: str) -> Template:
    if text[1:].isdigit():
        # As in nginx a capture is tested by way of "set".
        raise ConfigError(f'unknown "{text[1:]}" variable')
    made = build.template(text)
    if len(made.variables) != 1 or text not in (f"${name}" for name in made.variables):
        raise ConfigError(f'invalid variable name "{text}"')
    return made


def _row(name: str, contexts: Context, arity: tuple[int, int], apply: Any, **more: Any) -> Row:
    return Row(name, contexts, arity, apply, INSTRUCTIONS, Merge.LOCAL, **more)


ROWS: list[Row] = [
    _row(
        "rewrite",
        _ALL,
        (2, 3),
        _rewrite,
        note="Unlike in nginx 404, where dot segments lead above what the replacement starts with.",
    ),
    _row("set", _ALL, (2, 2), _set),
    _row("if", _SL, (1, 16), _if, block=True),
    _row("break", _ALL, (0, 0), _break),
    _row("return", _ALL, (1, 2), _return),
    value("rewrite_log", Context.HTTP | _ALL, 1, FLAG, "core.rewrite_log"),
    *accepted(
        "uninitialized_variable_warn",
        Context.HTTP | _ALL,
        "A variable that was not set is empty; nothing is logged.",
    ),
]
