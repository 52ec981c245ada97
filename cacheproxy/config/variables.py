"""Variables that the configuration itself declares: captures, ``map`` and ``set``.

A request's context, the object that getters are given, must have three
dictionaries: ``captures`` (named groups by name, positional ones under ``"1"``,
``"2"``, …), ``map_values`` (what maps have answered so far) and ``set_values`` (what ``set`` has
set).

nginx's ``ngx_http_map_module`` and ``ngx_http_regex_exec``.

Imports: ``errors``, ``template``, ``policy.routing``, ``patterns``, ``source``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Protocol

from cacheproxy.config.patterns import compile_pattern
from cacheproxy.config.source import Directive
from cacheproxy.errors import ConfigError
from cacheproxy.policy.routing import captured
from cacheproxy.template import (
    Getter,
    Resolve,
    Template,
    compile_template,
    constant_template,
)

__all__ = ["CaptureContext", "Declared", "Map", "behind", "declared_names", "reads_of_get"]


class CaptureContext(Protocol):
    """What a getter of this module reads off the request's context."""

    captures: dict[str, bytes]
    map_values: dict[str, bytes]
    set_values: Mapping[str, bytes]


def _capture(name: str) -> Getter:
    return lambda context: context.captures.get(name, b"")


class Declared:
    """Finds any variable: declared here, else by the caller's *resolve*. Names ignore case."""

    def __init__(self, resolve: Resolve) -> None:
        self._resolve = resolve
        self._getters: dict[str, Getter] = {
            str(digit): _capture(str(digit)) for digit in "123456789"
        }
        self.names: set[str] = set()
        self.used: set[str] = set()

    def __call__(self, name: str) -> Getter | None:
        lower = name.lower()
        self.used.add(lower)
        return self._getters.get(lower) or self._resolve(lower)

    def built_in(self, name: str) -> bool:
        """Whether the caller's *resolve* knows *name* already."""
        return self._resolve(name) is not None

    def add_capture(self, name: str) -> None:
        """Declare a named group of a regular expression."""
        self.names.add(name)
        self._getters.setdefault(name, _capture(name))

    def add_map(self, name: str) -> Map:
        """Declare the variable of a ``map``; its content comes later."""
        found = Map(name)
        self.add(name, found.get)
        return found

    def add_set(self, name: str) -> None:
        """Declare a variable of ``set``: empty until it is set."""
        self.add(name, lambda context: context.set_values.get(name, b""))

    def add(self, name: str, getter: Getter) -> None:
        """Declare a variable with a getter of its own."""
        self.names.add(name)
        self._getters[name] = getter


_GROUP = re.compile(r"\(\?P?(?:<([A-Za-z_]\w*)>|'([A-Za-z_]\w*)')")


def declared_names(
    directives: Iterable[Directive],
) -> tuple[set[str], dict[str, Directive], dict[str, Directive]]:
    """The named groups of every regular expression, and the variables of ``map`` and of ``set``.

    The last two come with the places where they stand.

    Read before anything is converted, because a variable may be used above the
    block that declares it.
    """
    captures: set[str] = set()
    maps: dict[str, Directive] = {}
    sets: dict[str, Directive] = {}
    for directive in directives:
        if directive.name == "map" and len(directive.args) == 2:
            maps[directive.args[1].removeprefix("$").lower()] = directive
            texts = [line.name for line in directive.block or ()]
        elif directive.name in ("server_name", "location", "proxy_redirect", "rewrite", "if") or (
            directive.name.startswith("proxy_cookie_")
        ):
            texts = list(directive.args)
        elif directive.name == "set" and directive.args:
            sets.setdefault(directive.args[0].removeprefix("$").lower(), directive)
            texts = []
        else:
            texts = []
        for text in texts:
            captures.update((one or two).lower() for one, two in _GROUP.findall(text))
        if directive.block:
            inner = declared_names(directive.block)
            captures |= inner[0]
            maps.update(inner[1])
            sets = {**inner[2], **sets}
    return captures, maps, sets


class Map:
    """One ``map``: exact, then ``*.`` and ``.*`` wildcards (longest first), then expressions."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.volatile = False
        self.source = constant_template(b"")
        self.hostnames = False
        self.exact: dict[bytes, Template] = {}
        self.heads: dict[bytes, Template] = {}
        self.tails: dict[bytes, Template] = {}
        self.regexes: list[tuple[re.Pattern[bytes], Template]] = []
        self.default: Template | None = None

    def get(self, context: CaptureContext) -> bytes:
        """The value for this request; kept for the rest of it unless ``volatile``."""
        values = context.map_values
        value = values.get(self.name)
        if value is None:
            # what a map that leads back to itself reads, as in nginx
            values[self.name] = b""
            value = values[self.name] = self._evaluate(context)
            if self.volatile:
                del values[self.name]
        return value

    def _evaluate(self, context: CaptureContext) -> bytes:
        found, match = self.choose(self.source.render(context))
        if match is not None:
            context.captures = captured(context.captures, match)
        return b"" if found is None else found.render(context)

    def choose(self, subject: bytes) -> tuple[Template | None, re.Match[bytes] | None]:
        """The value for *subject*, and the match that led to it, if one did."""
        lower = subject.lower()
        if self.hostnames and lower.endswith(b"."):
            lower = lower[:-1]
        found = self.exact.get(lower) or self._wildcard(lower)
        if found is None:
            for pattern, value in self.regexes:
                match = pattern.search(subject)
                if match is not None:
                    return value, match
            found = self.default
        return found, None

    @property
    def values(self) -> list[Template]:
        """Every value that it may have."""
        tables = (self.exact, self.heads, self.tails)
        found = [value for table in tables for value in table.values()]
        found += [value for _, value in self.regexes]
        return found if self.default is None else [*found, self.default]

    def _wildcard(self, name: bytes) -> Template | None:
        if self.heads:
            rest = name
            while b"." in rest:
                rest = rest.partition(b".")[2]
                if rest in self.heads:
                    return self.heads[rest]
        if self.tails:
            rest = name
            while b"." in rest:
                rest = rest.rpartition(b".")[0]
                if rest in self.tails:
                    return self.tails[rest]
        return None

    def fill(
        self, source: Template, block: Iterable[Directive], resolve: Resolve
    ) -> list[tuple[ConfigError, Directive]]:
        """Take the content of the block; returns its faults and where they stand."""
        self.source = source
        lines = list(block)
        # these may stand anywhere, and say how the others are read
        self.hostnames = any(_is_flag(line, "hostnames") for line in lines)
        self.volatile = any(_is_flag(line, "volatile") for line in lines)
        faults: list[tuple[ConfigError, Directive]] = []
        for line in lines:
            if _is_flag(line, "hostnames") or _is_flag(line, "volatile"):
                continue
            try:
                self._add(line, resolve)
            except ConfigError as error:
                faults.append((error, line))
        return faults

    def _add(self, line: Directive, resolve: Resolve) -> None:
        if len(line.args) != 1 or line.block is not None:
            raise ConfigError("invalid number of the map parameters")
        key, value = line.name, compile_template(line.args[0], resolve)
        if key == "default":
            if self.default is not None:
                raise ConfigError("duplicate default map parameter")
            self.default = value
        elif key.startswith("~"):
            ignore_case = key.startswith("~*")
            pattern = compile_pattern(key[2 if ignore_case else 1 :], ignore_case=ignore_case)
            self.regexes.append((pattern, value))
        else:
            self._add_string(key.removeprefix("\\"), value)

    def _add_string(self, key: str, value: Template) -> None:
        name = key.lower().encode("utf-8", "surrogateescape")
        places: list[tuple[dict[bytes, Template], bytes]] = [(self.exact, name)]
        if self.hostnames:
            if name.startswith(b"*."):
                places = [(self.heads, name[2:])]
            elif name.startswith(b"."):
                places = [(self.exact, name[1:]), (self.heads, name[1:])]
            elif name.endswith(b".*"):
                places = [(self.tails, name[:-2])]
            elif b"*" in name:
                raise ConfigError(f'invalid hostname or wildcard "{key}"')
        for table, text in places:
            if text in table:
                raise ConfigError(f'conflicting parameter "{key}"')
            table[text] = value


def _is_flag(line: Directive, name: str) -> bool:
    return line.name == name and not line.args


def reads_of_get(templates: Iterable[Template], maps: Mapping[str, Map]) -> frozenset[str]:
    """The variables on which the values of *templates* depend while the method is GET.

    A map over ``$request_method`` alone counts with the one value that it has for GET.
    """
    reads: set[str] = set()
    waiting = [name for template in templates for name in template.variables]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop().lower()
        if name in seen or name == "request_method":
            continue
        seen.add(name)
        found = maps.get(name)
        if found is None:
            reads.add(name)
        elif found.source.text in ("$request_method", "${request_method}"):
            value, match = found.choose(b"GET")
            waiting += () if value is None else value.variables
            # its captures last, for whatever is read after it
            reads |= set() if match is None else {"1"}
        else:
            waiting += found.source.variables
            waiting += [inner for value in found.values for inner in value.variables]
    return frozenset(reads)


def behind(names: Iterable[str], maps: Mapping[str, Map]) -> frozenset[str]:
    """*names* and every variable that they may be made of: by *maps*, and by what these capture."""
    found: set[str] = set()
    waiting = [name.lower() for name in names]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        for one in maps.values():
            if name == one.name or any(_captures(pattern, name) for pattern, _ in one.regexes):
                for template in (one.source, *one.values):
                    waiting += [inner.lower() for inner in template.variables]
    return frozenset(found)


def _captures(pattern: re.Pattern[bytes], name: str) -> bool:
    if name.isdigit():
        return int(name) <= pattern.groups
    return name in (group.lower() for group in pattern.groupindex)
