"""What a row of the directive table is, and the levels that directives fill.

A configuration is walked once. At each level (``http``, a ``server``, a
``location``, …) a row's *apply* puts converted values under their destination,
``record.attribute``. Inheritance is looked up afterwards, so that the order of
directives and blocks does not matter (``ngx_conf_merge_*``).

Imports: ``errors``, ``template``, ``fast_path``, ``source``, ``units``.
"""

from __future__ import annotations

import difflib
import posixpath
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, Flag, auto
from typing import Any

from cacheproxy.config import units
from cacheproxy.config.fast_path import Hot, OnlyIf, rule_of
from cacheproxy.config.source import NGINX_DIRECTIVES, Directive
from cacheproxy.errors import ConfigError
from cacheproxy.template import Getter, Template, compile_template

__all__ = [
    "FLAG",
    "HS",
    "HSL",
    "HSL_IF",
    "MANY",
    "METHODS",
    "MISSING",
    "NUMBER",
    "OFFSET",
    "SECONDS",
    "SIZE",
    "TIME",
    "Build",
    "Context",
    "Level",
    "Merge",
    "Row",
    "UnknownDirective",
    "accepted",
    "checked",
    "invalid",
    "listed",
    "one_of",
    "only",
    "path",
    "refused",
    "template",
    "text",
    "twin",
    "unit",
    "value",
    "words",
]


class Context(Flag):
    """Where a directive may stand."""

    MAIN = auto()
    EVENTS = auto()
    HTTP = auto()
    SERVER = auto()
    LOCATION = auto()
    UPSTREAM = auto()
    LIMIT_EXCEPT = auto()
    #: ``if`` in a server; only the rewrite module's directives may stand there.
    SERVER_IF = auto()
    #: ``if`` in a location, a nameless location.
    LOCATION_IF = auto()


HS = Context.HTTP | Context.SERVER
HSL = HS | Context.LOCATION
#: The same, and in an ``if`` of a location.
HSL_IF = HSL | Context.LOCATION_IF


class Merge(Enum):
    """What a level that does not say has.

    - ``SINGLE``: the enclosing level's value; a second one on one level is an error.
    - ``LIST``: the enclosing level's whole list, if this level adds nothing to it.
    - ``LOCAL``: nothing: the directive holds where it stands.
    - ``GLOBAL``: the directive belongs to the configuration, not to a level.
    """

    SINGLE = "the enclosing level's"
    LIST = "the enclosing level's whole list if there is none here"
    LOCAL = "not inherited"
    GLOBAL = "belongs to the whole configuration"


class _Missing(Enum):
    MISSING = "missing"


MISSING = _Missing.MISSING


class Level:
    """The values set on one level, and the level around it.

    *kind* tells apart what a block needs to remember of its opening line.

    What ``uwsgi_*`` directives say is kept apart from what ``proxy_*`` say, under the same
    destinations, in a level of another *family* beside this one (`in_family`).
    """

    __slots__ = (
        "_families",
        "children",
        "context",
        "directive",
        "facts",
        "family",
        "parent",
        "places",
        "rows",
        "values",
    )

    def __init__(
        self,
        context: Context,
        parent: Level | None,
        directive: Directive | None = None,
        **facts: Any,
    ) -> None:
        self.context = context
        self.parent = parent
        self.directive = directive
        self.facts = facts
        self.values: dict[str, Any] = {}
        self.places: dict[str, Directive] = {}
        #: The rows of the directives that stand here.
        self.rows: set[Row] = set()
        self.children: list[Level] = []
        self.family = "proxy"
        self._families: dict[str, Level] = {}
        if parent is not None:
            parent.children.append(self)

    def in_family(self, family: str) -> Level:
        """The level of *family* beside this one; its values are inherited within the family."""
        found = self if family == self.family else self._families.get(family)
        if found is None:
            found = self._families[family] = Level(self.context, None, self.directive)
            found.parent = None if self.parent is None else self.parent.in_family(family)
            found.facts, found.family = self.facts, family
        return found

    def spell(self, message: str) -> str:
        """*message*, about directives of ``proxy_*``, with the names that this family has."""
        return message.replace("proxy_", f"{self.family}_")

    def put(self, target: str, value: Any, directive: Directive) -> None:
        """Set *target* here; raises where the level has it already."""
        if target in self.values:
            raise ConfigError(f'"{directive.name}" directive is duplicate')
        self.values[target] = value
        self.places[target] = directive

    def append(self, target: str, value: Any, directive: Directive) -> None:
        """Add to the list of *target* here."""
        self.values.setdefault(target, []).append(value)
        self.places.setdefault(target, directive)

    def find(self, target: str) -> Any:
        """The value here or on the nearest enclosing level; ``MISSING`` if none has it."""
        level: Level | None = self
        while level is not None:
            if target in level.values:
                return level.values[target]
            level = level.parent
        return MISSING

    def get(self, target: str, default: Any = None) -> Any:
        """As :meth:`find`, with a default."""
        found = self.find(target)
        return default if found is MISSING else found

    def rows_in_force(self) -> set[Row]:
        """The rows of the directives here and, where they are inherited, of those around."""
        found = set(self.rows)
        level = self.parent
        while level is not None:
            found |= {row for row in level.rows if row.merge is not Merge.LOCAL}
            level = level.parent
        return found

    def place(self, target: str) -> Directive | None:
        """The directive that :meth:`find` answers from."""
        level: Level | None = self
        while level is not None:
            if target in level.values:
                return level.places[target]
            level = level.parent
        return None


@dataclass
class Build:
    """One configuration being built: what rows may ask for and add to.

    *variable* answers for every variable, the configuration's own included;
    *rows* are the table's, by name (a name may have one row per context).
    """

    prefix: str
    variable: Callable[[str], Getter | None]
    rows: Mapping[str, tuple[Row, ...]]
    errors: list[ConfigError] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    named: dict[str, dict[str, Any]] = field(default_factory=dict)
    passes: list[tuple[Level, Directive, Any]] = field(default_factory=list)

    def template(self, text: str) -> Template:
        """Compile text with variables; raises :class:`ConfigError`."""
        return compile_template(text, self.variable)

    def path(self, text: str) -> str:
        """*text* as an absolute path."""
        return posixpath.normpath(posixpath.join(self.prefix, text)) if text else text

    def path_template(self, text: str) -> Template:
        """As :meth:`path` for a path that may hold variables."""
        if text.startswith("$"):
            return self.template(text)
        # not normalised: the trailing slash of an alias counts
        return self.template(posixpath.join(self.prefix, text))

    def of(self, kind: str) -> dict[str, Any]:
        """The things of *kind* that have names: zones, upstreams, log formats, …"""
        return self.named.setdefault(kind, {})

    def fault(self, message: str, place: Directive | None) -> None:
        """Note an error that stands at *place*."""
        file, line = (place.file, place.line) if place is not None else ("", 0)
        self.errors.append(ConfigError(message, file, line))

    def warn(self, message: str, place: Directive) -> None:
        """Note a warning that stands at *place*."""
        self.warnings.append(f"{message} in {place.file}:{place.line}")

    def walk(self, block: Iterable[Directive], level: Level) -> None:
        """Apply every directive of *block* to *level*; faults are noted, not raised."""
        for directive in block:
            try:
                self._apply(directive, level)
            except ConfigError as error:
                if error.file:
                    self.errors.append(error)
                else:
                    error.file, error.line = directive.file, directive.line
                    self.errors.append(error)

    def _apply(self, directive: Directive, level: Level) -> None:
        rows = self.rows.get(directive.name)
        if rows is None:
            raise _unknown(directive, self.rows)
        row = next((row for row in rows if row.contexts & level.context), None)
        if row is None:
            raise ConfigError(f'"{directive.name}" directive is not allowed here')
        if row.block and directive.block is None:
            raise ConfigError(f'directive "{row.name}" has no opening "{{"')
        if not row.block and directive.block is not None:
            raise ConfigError(f'directive "{row.name}" is not terminated by ";"')
        least, most = row.arity
        if not least <= len(directive.args) <= most:
            raise ConfigError(f'invalid number of arguments in "{row.name}" directive')
        row.apply(self, level, directive)
        level.rows.add(row)


class UnknownDirective(ConfigError):
    """A directive that the table does not have; *hint* follows nginx's message."""

    def __init__(self, message: str, file: str, line: int, hint: str) -> None:
        super().__init__(message, file, line)
        self.hint = hint

    def __str__(self) -> str:
        return f"{super().__str__()}{self.hint}"


def _unknown(directive: Directive, names: Iterable[str]) -> UnknownDirective:
    name = directive.name
    hint = ""
    if name in NGINX_DIRECTIVES:
        hint = " (nginx has it, but it is not supported here)"
    else:
        near = difflib.get_close_matches(name, names, 1, 0.75)
        if near:
            hint = f' (did you mean "{near[0]}"?)'
    return UnknownDirective(f'unknown directive "{name}"', directive.file, directive.line, hint)


Apply = Callable[[Build, Level, Directive], None]

#: Stands for "any number" in an arity.
MANY = 1 << 16


@dataclass(frozen=True)
class Row:
    """One directive: everything that is known of it.

    *arity* counts arguments, least and most. *target* is the destination,
    ``record.attribute``. *note* says for the table of the documentation what is
    particular: why a directive without effect is accepted, or what differs. *refused*: it
    always is an error. *twin_of* names the row that this one was made from (``twin``).
    """

    name: str
    contexts: Context
    arity: tuple[int, int]
    apply: Apply
    target: str = ""
    merge: Merge = Merge.SINGLE
    block: bool = False
    note: str = ""
    without_effect: bool = False
    refused: bool = False
    twin_of: str = ""

    @property
    def hot(self) -> Hot | OnlyIf:
        """How it concerns the fast path; ``Hot.NO`` where ``fast_path`` does not say."""
        return rule_of(self.twin_of or self.name, self.without_effect or self.refused)


Convert = Callable[[Build, Directive], Any]


def unit(parse: Callable[[str], Any]) -> Convert:
    """A converter that parses the only argument with a function of ``units``."""

    def convert(build: Build, directive: Directive) -> Any:
        try:
            return parse(directive.args[0])
        except ValueError as error:
            reason = str(error)
            if reason.startswith("it must"):
                raise ConfigError(f"{invalid(directive, directive.args[0])}, {reason}") from error
            raise ConfigError(f'"{directive.name}" directive {reason}') from error

    return convert


FLAG = unit(units.flag)
NUMBER = unit(units.number)
SIZE = unit(units.size)
OFFSET = unit(units.offset)
TIME = unit(units.seconds)
SECONDS = unit(units.whole_seconds)


def text(build: Build, directive: Directive) -> str:
    """A converter: the only argument as it is."""
    return directive.args[0]


def path(build: Build, directive: Directive) -> str:
    """A converter: the first argument as an absolute path."""
    return build.path(directive.args[0])


def template(build: Build, directive: Directive) -> Template:
    """A converter: the only argument as text with variables."""
    return build.template(directive.args[0])


def invalid(directive: Directive, text: str) -> ConfigError:
    """nginx's words for an argument that cannot be."""
    return ConfigError(f'invalid value "{text}" in "{directive.name}" directive')


def value(
    name: str,
    contexts: Context,
    arity: int | tuple[int, int],
    convert: Convert,
    target: str,
    *,
    merge: Merge = Merge.SINGLE,
    note: str = "",
) -> Row:
    """A row for one value."""

    def apply(build: Build, level: Level, directive: Directive) -> None:
        if target in level.values:
            raise ConfigError(f'"{name}" directive is duplicate')
        level.put(target, convert(build, directive), directive)

    return Row(name, contexts, _range(arity), apply, target, merge, note=note)


def listed(
    name: str,
    contexts: Context,
    arity: int | tuple[int, int],
    convert: Convert,
    target: str,
    *,
    note: str = "",
) -> Row:
    """A row whose values gather in a list; *convert* gives one value or a list of them."""

    def apply(build: Build, level: Level, directive: Directive) -> None:
        result = convert(build, directive)
        if isinstance(result, list):
            level.values.setdefault(target, []).extend(result)
            level.places.setdefault(target, directive)
        else:
            level.append(target, result, directive)

    return Row(name, contexts, _range(arity), apply, target, Merge.LIST, note=note)


def accepted(
    names: str, contexts: Context, note: str, arity: tuple[int, int] = (1, 1), block: bool = False
) -> list[Row]:
    """Rows for directives that mean nothing here and do no harm."""

    def apply(build: Build, level: Level, directive: Directive) -> None:
        pass

    return [
        Row(name, contexts, arity, apply, block=block, note=note, without_effect=True)
        for name in names.split()
    ]


def checked(name: str, contexts: Context, convert: Convert, note: str) -> Row:
    """A row like those of ``accepted``, whose one argument must be good all the same."""
    row = value(name, contexts, 1, convert, f"unused.{name}")
    return replace(row, note=note, without_effect=True)


def only(names: str, contexts: Context, allowed: str, note: str) -> list[Row]:
    """Rows for directives of which only one setting is served, the one that asks for nothing."""

    def apply(build: Build, level: Level, directive: Directive) -> None:
        if directive.args != (allowed,):
            given = " ".join((directive.name, *directive.args))
            raise ConfigError(f'"{given}" is not supported, only "{directive.name} {allowed}" is')

    return [
        Row(name, contexts, (1, 8), apply, note=note, without_effect=True) for name in names.split()
    ]


def refused(name: str, contexts: Context, advice: str) -> Row:
    """A row for a directive that cannot be served; *advice* says what to write instead."""

    def apply(build: Build, level: Level, directive: Directive) -> None:
        raise ConfigError(f'"{name}" is not supported: {advice}')

    return Row(name, contexts, (0, MANY), apply, note=f"{advice[0].upper()}{advice[1:]}.",
               refused=True)


def twin(row: Row, family: str) -> Row:
    """The row of *family* that is a ``proxy_*`` *row* in all but its name."""

    def spell(text: str) -> str:
        return text.replace("proxy_", f"{family}_")

    def apply(build: Build, level: Level, directive: Directive) -> None:
        try:
            row.apply(build, level.in_family(family), directive)
        except ConfigError as error:
            error.message = spell(error.message)
            raise

    note = f"As ``{row.name}``." if row.note and spell(row.name) != row.name else row.note
    original = row.name if spell(row.name) != row.name else row.twin_of
    return replace(row, name=spell(row.name), apply=apply, note=note, twin_of=original)


def words(text: str) -> frozenset[str]:
    """The words that a directive takes, from a line of them."""
    return frozenset(text.split())


#: The methods that nginx knows by name (``ngx_http_core_module``).
METHODS = words(
    "GET HEAD POST PUT DELETE MKCOL COPY MOVE OPTIONS PROPFIND PROPPATCH LOCK UNLOCK PATCH"
)


def one_of(*allowed: str) -> Convert:
    """A converter for one word out of a few."""

    def convert(build: Build, directive: Directive) -> str:
        word = directive.args[0]
        if word not in allowed:
            raise invalid(directive, word)
        return word

    return convert


def _range(arity: int | tuple[int, int]) -> tuple[int, int]:
    return arity if isinstance(arity, tuple) else (arity, arity)
