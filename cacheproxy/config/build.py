"""Turns a configuration file into the frozen model, or reports all its faults at once.

Three steps: read the text (``source``), walk it with the directive table, which
fills levels (``table``), then check what spans directives and freeze
(``freeze``).

Imports: everything else of ``config``.
"""

from __future__ import annotations

import posixpath

from cacheproxy.config.directives import TABLE
from cacheproxy.config.freeze import freeze
from cacheproxy.config.geo import Geo, declared_geos
from cacheproxy.config.model import Config
from cacheproxy.config.source import Source, absolute, read_file, read_text
from cacheproxy.config.table import Build, Context, Level
from cacheproxy.config.variables import Declared, declared_names
from cacheproxy.errors import ConfigError, ConfigErrors
from cacheproxy.template import Resolve

__all__ = ["load", "loads"]

#: Variables of nginx that a ``map`` may be called like, because they can be assigned to.
_ASSIGNABLE = frozenset({"args", "limit_rate"})
#: Names of which a configuration may take single ones for itself.
_PREFIXES = (
    "http_",
    "sent_http_",
    "sent_trailer_",
    "upstream_http_",
    "upstream_trailer_",
    "upstream_cookie_",
    "cookie_",
    "arg_",
)


def load(path: str, prefix: str | None, resolve: Resolve) -> Config:
    """Read the configuration in *path*.

    *prefix* is where relative paths start, the file's folder if None. *resolve*
    answers for the built-in variables. Raises :class:`ConfigErrors` with every
    fault found. What is accepted but worth knowing is in ``Config.warnings``.
    """
    path = absolute(path)
    base = absolute(prefix) if prefix is not None else posixpath.dirname(path)
    return _build(read_file(path, base), base, resolve)


def loads(text: str, name: str, prefix: str, resolve: Resolve) -> Config:
    """As :func:`load`, for a text; *name* stands for the file in messages."""
    base = absolute(prefix)
    return _build(read_text(text, name, base), base, resolve)


def _build(source: Source, prefix: str, resolve: Resolve) -> Config:
    variables = Declared(resolve)
    build = Build(prefix, variables, TABLE)
    build.errors.extend(source.errors)
    build.warnings.extend(source.warnings)
    _declare(build, variables, source)
    main = Level(Context.MAIN, None)
    build.walk(source.directives, main)
    if not source.errors and "http" not in main.values and not build.errors:
        build.errors.append(ConfigError('no "http" section in configuration'))
    config = freeze(build, main, variables)
    if build.errors or config is None:
        raise ConfigErrors(_in_order(build.errors, source))
    return config


def _declare(build: Build, variables: Declared, source: Source) -> None:
    """Make the configuration's own variables known before any text that uses them is compiled."""
    captures, maps, sets = declared_names(source.directives)
    for name in captures:
        variables.add_capture(name)
    for name, place in maps.items():
        assignable = name in _ASSIGNABLE or name.startswith(_PREFIXES)
        if variables.built_in(name) and not assignable:
            build.fault(f'the duplicate "{name}" variable', place)
        build.of("map").setdefault(name, variables.add_map(name))
    for name, place in sets.items():
        taken = name in maps or variables.built_in(name)
        if not taken or name.startswith(_PREFIXES):
            variables.add_set(name)
        elif name not in _ASSIGNABLE:
            build.fault(f'the duplicate "{name}" variable', place)
    for name, place in declared_geos(source.directives).items():
        assignable = name in _ASSIGNABLE or name.startswith(_PREFIXES)
        if name in maps or (variables.built_in(name) and not assignable):
            build.fault(f'the duplicate "{name}" variable', place)
        geo = build.of("geo")[name] = Geo(name)
        variables.add(name, geo.get)


def _in_order(errors: list[ConfigError], source: Source) -> list[ConfigError]:
    """The faults in the order of the text, file by file as they were opened."""
    order = {file: index for index, file in enumerate(source.files)}
    return sorted(errors, key=lambda error: (order.get(error.file, 0), error.line))
