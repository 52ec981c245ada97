"""A warning about ``proxy_cache_purge`` that any client can trigger.

Whoever can purge can make the origin do all the work, so that a door left open is worth a
word when the configuration is read. Only what is certain is said: the conditions follow
from the method alone, and no ``deny`` stands in the way.

Imports: ``model``, ``table``, ``variables``, ``template``.
"""

from __future__ import annotations

from collections.abc import Mapping

from cacheproxy.config.model import Location
from cacheproxy.config.table import Build, Level
from cacheproxy.config.variables import Map
from cacheproxy.template import Template

__all__ = ["warn_unguarded"]

MESSAGE = (
    '"proxy_cache_purge" lets anybody purge: '
    'neither its conditions nor "deny" or "limit_except" say who may'
)


def warn_unguarded(build: Build, level: Level, location: Location) -> None:
    """Warn, once for each place, where anybody at all may purge through *location*."""
    conditions = location.cache.purge
    place = level.place("cache.purge")
    if place is None or location.proxy.proxy_pass is None or location.core.internal:
        return
    # PURGE is a method that limit_except cannot name: what it says holds for it
    limited = location if location.limit_except is None else location.limit_except.location
    if any(rule.deny for rule in limited.core.access):
        return
    maps: Mapping[str, Map] = build.of("map")
    if any(_open(condition, maps, frozenset()) for condition in conditions):
        warning = f"{level.spell(MESSAGE)} in {place.file}:{place.line}"
        if warning not in build.warnings:
            build.warnings.append(warning)


def _open(value: Template, maps: Mapping[str, Map], above: frozenset[str]) -> bool:
    """Whether *value* is true for some method, whoever asks; False where that is not known."""
    if value.constant is not None:
        return value.constant not in (b"", b"0")
    name = value.text.strip("${}").lower()
    if value.variables != {value.text.strip("${}")} or name in above:
        return False
    if name == "request_method":
        return True
    found = maps.get(name)
    if found is None or not _by_method(found.source, maps, above | {name}):
        return False
    return any(_open(one, maps, above | {name}) for one in found.values)


def _by_method(source: Template, maps: Mapping[str, Map], above: frozenset[str]) -> bool:
    """Whether *source* reads nothing but the method, through maps or not."""
    for name in source.variables:
        lower = name.lower()
        found = maps.get(lower)
        if lower == "request_method":
            continue
        if found is None or lower in above:
            return False
        inside = (found.source, *found.values)
        if not all(_by_method(one, maps, above | {lower}) for one in inside):
            return False
    return True
