"""Variables that the configuration itself declares: captures and ``map``.

A request's context, the object that getters are given, must have two
dictionaries: ``captures`` (named groups by name, positional ones under ``"1"``,
``"2"``, …) and ``map_values`` (what maps have answered so far).

nginx's ``ngx_http_map_module`` and ``ngx_http_regex_exec``.

Imports: ``errors``, ``template``, ``policy.routing``, ``patterns``, ``source``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Protocol

from cacheproxy.config.patterns import compile_pattern
from cacheproxy.config.source import Directive
from cacheproxy.errors import ConfigError
from cacheproxy.policy.routing import set_captures
from cacheproxy.template import Getter, Resolve, Template, compile_template

__all__ = ["CaptureContext", "Declared", "Map", "declared_names"]


class CaptureContext(Protocol):
    """What a getter of this module reads off the request's context."""

    captures: dict[str, bytes]
    map_values: dict[str, bytes]


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
        self.names.add(name)
        found = Map(name)
        self._getters[name] = found.get
        return found


_GROUP = re.compile(r"\(\?P?(?:<([A-Za-z_]\w*)>|'([A-Za-z_]\w*)')")


def declared_names(
    directives: Iterable[Directive],
) -> tuple[set[str], dict[str, Directive]]:
    """The named groups of every regular expression, and each ``map``'s variable with its place.

    Read before anything is converted, because a variable may be used above the
    block that declares it.
    """
    captures: set[str] = set()
    maps: dict[str, Directive] = {}
    for directive in directives:
        if directive.name == "map" and len(directive.args) == 2:
            maps[directive.args[1].removeprefix("$").lower()] = directive
            texts = [line.name for line in directive.block or ()]
        elif directive.name in ("server_name", "location", "proxy_redirect"):
            texts = list(directive.args)
        else:
            texts = []
        for text in texts:
            captures.update((one or two).lower() for one, two in _GROUP.findall(text))
        if directive.block:
            inner = declared_names(directive.block)
            captures |= inner[0]
            maps.update(inner[1])
    return captures, maps


class Map:
    """One ``map``: exact, then ``*.`` and ``.*`` wildcards (longest first), then expressions."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.volatile = False
        self.source: Getter = lambda _: b""
        self.hostnames = False
        self.exact: dict[bytes, Getter] = {}
        self.heads: dict[bytes, Getter] = {}
        self.tails: dict[bytes, Getter] = {}
        self.regexes: list[tuple[re.Pattern[bytes], Getter]] = []
        self.default: Getter | None = None

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
        subject = self.source(context)
        lower = subject.lower()
        if self.hostnames and lower.endswith(b"."):
            lower = lower[:-1]
        found = self.exact.get(lower) or self._wildcard(lower)
        if found is not None:
            return found(context)
        for pattern, getter in self.regexes:
            match = pattern.search(subject)
            if match is not None:
                set_captures(context.captures, match)
                return getter(context)
        return self.default(context) if self.default is not None else b""

    def _wildcard(self, name: bytes) -> Getter | None:
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
        self.source = source.render
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
        key, getter = line.name, compile_template(line.args[0], resolve).render
        if key == "default":
            if self.default is not None:
                raise ConfigError("duplicate default map parameter")
            self.default = getter
        elif key.startswith("~"):
            ignore_case = key.startswith("~*")
            pattern = compile_pattern(key[2 if ignore_case else 1 :], ignore_case=ignore_case)
            self.regexes.append((pattern, getter))
        else:
            self._add_string(key.removeprefix("\\"), getter)

    def _add_string(self, key: str, getter: Getter) -> None:
        name = key.lower().encode("utf-8", "surrogateescape")
        places: list[tuple[dict[bytes, Getter], bytes]] = [(self.exact, name)]
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
            table[text] = getter


def _is_flag(line: Directive, name: str) -> bool:
    return line.name == name and not line.args
