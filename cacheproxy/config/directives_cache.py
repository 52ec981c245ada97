"""Rows of the cache: ``proxy_cache*`` of nginx's ``ngx_http_proxy_module``."""

from __future__ import annotations

import re
from typing import Any

from cacheproxy.config import units
from cacheproxy.config.model import CacheZone
from cacheproxy.config.source import Directive
from cacheproxy.config.table import (
    FLAG,
    HSL,
    MANY,
    METHODS,
    NUMBER,
    OFFSET,
    TIME,
    Build,
    Context,
    Level,
    Merge,
    Row,
    invalid,
    listed,
    template,
    value,
    words,
)
from cacheproxy.errors import ConfigError
from cacheproxy.policy.zone_size import LEAST_SIZE
from cacheproxy.template import Template

__all__ = ["ROWS"]

_STALE = words(
    "error timeout invalid_header updating http_500 http_502 http_503 http_504 http_403 "
    "http_404 http_429 off"
)
#: Parameters of ``proxy_cache_path`` that pace nginx's cache manager, loader and purger.
_PACING = words(
    "loader_files loader_sleep loader_threshold manager_files manager_sleep manager_threshold "
    "purger_files purger_sleep purger_threshold"
)


#: Seconds that ``proxy_cache_heuristic on`` grants at most.
HEURISTIC_LIMIT = 86400.0


def _cache(build: Build, level: Level, directive: Directive) -> None:
    word = directive.args[0]
    zone: str | Template = build.template(word) if "$" in word else word
    level.put("cache.cache", None if word == "off" else zone, directive)
    if word != "off" and level.values.get("proxy.store"):
        raise ConfigError('"proxy_cache" directive is incompatible with "proxy_store"')


def _valid(build: Build, directive: Directive) -> list[tuple[int | None, int]]:
    *codes, time = directive.args
    try:
        seconds = units.whole_seconds(time)
    except ValueError as error:
        raise ConfigError(f'invalid time value "{time}"') from error
    result: list[tuple[int | None, int]] = []
    for code in codes or ("200", "301", "302"):
        if code == "any":
            result.append((None, seconds))
        elif code.isdigit() and 100 <= int(code) <= 599:
            result.append((int(code), seconds))
        else:
            raise ConfigError(f'invalid status "{code}"')
    return result


def _methods(build: Build, directive: Directive) -> frozenset[bytes]:
    for word in directive.args:
        if word not in METHODS:
            raise invalid(directive, word)
    return frozenset({b"GET", b"HEAD", *(word.encode() for word in directive.args)})


def _predicates(build: Build, directive: Directive) -> list[Template]:
    return [build.template(word) for word in directive.args]


def _use_stale(build: Build, directive: Directive) -> frozenset[str]:
    for word in directive.args:
        if word not in _STALE:
            raise invalid(directive, word)
    return frozenset(directive.args) - {"off"} if "off" not in directive.args else frozenset()


def _heuristic(build: Build, directive: Directive) -> float:
    word = directive.args[0]
    if word in ("on", "off"):
        return HEURISTIC_LIMIT if word == "on" else 0.0
    try:
        return float(units.whole_seconds(word))
    except ValueError as error:
        raise invalid(directive, word) from error


#: RFC 6265 §4.1.1: a cookie's name is a token; a last ``*`` stands for any rest.
_COOKIE_NAME = re.compile(r"[!#%&'+\-.^_`|~0-9A-Za-z]*\*?")
#: What a query cannot have in a name, or the configuration would take for a variable.
_ARGUMENT_NAME = re.compile(r"[^\s&=#$*]*\*?")


def _cookies(build: Build, directive: Directive) -> tuple[bytes, ...] | None:
    names = _names(directive, _COOKIE_NAME)
    return names or None


def _ignore_args(build: Build, directive: Directive) -> tuple[bytes, ...]:
    return _names(directive, _ARGUMENT_NAME)


def _names(directive: Directive, pattern: re.Pattern[str]) -> tuple[bytes, ...]:
    """The names of a directive that also takes ``off``, alone."""
    if directive.args == ("off",):
        return ()
    for word in directive.args:
        if not word or word == "off" or pattern.fullmatch(word) is None:
            raise invalid(directive, word)
    return tuple(word.encode("utf-8", "surrogateescape") for word in directive.args)


def _zone(build: Build, level: Level, directive: Directive) -> None:
    zone = _parse_zone(build, directive)
    zones = build.of("zone")
    if zone.name in zones:
        raise ConfigError(f'duplicate zone "{zone.name}"')
    if any(other.path == zone.path for other in zones.values()):
        raise ConfigError(f'the path "{zone.path}" is already in use by another zone')
    zones[zone.name] = zone
    _warn_of_size(build, directive, zone)


def _warn_of_size(build: Build, directive: Directive, zone: CacheZone) -> None:
    """Say which bounds cannot be kept as they are written."""
    if zone.max_size is None:
        return
    if zone.max_size < LEAST_SIZE:
        least = f"{LEAST_SIZE >> 10}k"
        build.warn(
            f'"max_size" of cache zone "{zone.name}" is too small to be kept to: with its index'
            f" a zone takes up to {least}",
            directive,
        )
    if zone.memory > zone.max_size and any(word.startswith("memory=") for word in directive.args):
        build.warn(
            f'"memory" of cache zone "{zone.name}" is larger than "max_size", which bounds it',
            directive,
        )


def _parse_zone(build: Build, directive: Directive) -> CacheZone:
    found: dict[str, Any] = {}
    for word in directive.args[1:]:
        key, _, text = word.partition("=")
        try:
            _zone_parameter(found, key, text)
        except ValueError as error:
            raise ConfigError(f'invalid {key} value "{text}"') from error
        except KeyError as error:
            raise ConfigError(f'invalid parameter "{word}"') from error
    if "name" not in found:
        raise ConfigError('"proxy_cache_path" must have "keys_zone" parameter')
    return CacheZone(path=build.path(directive.args[0]), **found)


def _zone_parameter(found: dict[str, Any], key: str, text: str) -> None:
    if key == "keys_zone":
        name, colon, size = text.partition(":")
        if not name or not colon:
            raise ValueError
        found["name"], found["keys_size"] = name, units.size(size)
        if units.size(size) < 8192:
            raise ValueError
    elif key == "levels":
        levels = text.split(":")
        if not 1 <= len(levels) <= 3 or any(level not in ("1", "2") for level in levels):
            raise ValueError
        found["levels"] = tuple(map(int, levels))
    elif key == "inactive":
        found["inactive"] = float(units.whole_seconds(text))
    elif key in ("max_size", "min_free", "memory"):
        found[key] = units.offset(text)
    elif key == "use_temp_path":
        found[key] = units.flag(text)
    elif key in _PACING:
        pace = units.number(text) if key.endswith("files") else units.seconds(text)
        if not key.startswith("purger"):
            found[key] = pace
    elif key == "purger":
        units.flag(text)
    else:
        raise KeyError(key)


ROWS: list[Row] = [
    Row(
        "proxy_cache_path",
        Context.HTTP,
        (2, MANY),
        _zone,
        "zone",
        Merge.GLOBAL,
        note="memory=SIZE is ours: entries kept ready to send in memory, never more than "
        "max_size. max_size counts the index as well; one below 288k is warned of. "
        "loader_* pace the reading of a zone after a start. purger* are accepted without effect: "
        "a purge goes through the disk at once.",
    ),
    Row("proxy_cache", HSL, (1, 1), _cache, "cache.cache"),
    value("proxy_cache_key", HSL, 1, template, "cache.key"),
    listed("proxy_cache_valid", HSL, (1, MANY), _valid, "cache.valid"),
    value("proxy_cache_methods", HSL, (1, MANY), _methods, "cache.methods"),
    listed("proxy_cache_bypass", HSL, (1, MANY), _predicates, "cache.bypass"),
    listed("proxy_no_cache", HSL, (1, MANY), _predicates, "cache.no_cache"),
    listed(
        "proxy_cache_purge",
        HSL,
        (1, MANY),
        _predicates,
        "cache.purge",
        note="More than nginx's: by host, tag and zone, and soft; see purging.rst.",
    ),
    value("proxy_cache_min_uses", HSL, 1, NUMBER, "cache.min_uses"),
    value(
        "proxy_cache_use_stale",
        HSL,
        (1, MANY),
        _use_stale,
        "cache.use_stale",
        note="Not set: error timeout, as for an origin that cannot be reached.",
    ),
    value("proxy_cache_background_update", HSL, 1, FLAG, "cache.background_update"),
    value("proxy_cache_revalidate", HSL, 1, FLAG, "cache.revalidate"),
    value(
        "proxy_cache_lock",
        HSL,
        1,
        FLAG,
        "cache.lock",
        note="Not set: on. Requests that cannot share an answer do not wait: those with "
        "Authorization, and those for what was found not storable in the last 2 minutes.",
    ),
    value(
        "proxy_cache_lock_age",
        HSL,
        1,
        TIME,
        "cache.lock_age",
        note="Counts until the response has begun.",
    ),
    value(
        "proxy_cache_lock_timeout",
        HSL,
        1,
        TIME,
        "cache.lock_timeout",
        note="Counts until the response has begun: from then on it is sent on as it comes.",
    ),
    value("proxy_cache_convert_head", HSL, 1, FLAG, "cache.convert_head"),
    value(
        "proxy_cache_max_range_offset",
        HSL,
        1,
        OFFSET,
        "cache.max_range_offset",
        note="Where it is not set, a range at the end (bytes=-N) is asked for alone. "
        "The part that comes is stored and answers ranges within it.",
    ),
    value(
        "proxy_cache_status",
        HSL,
        1,
        FLAG,
        "cache.status",
        note="Ours: Cache-Status (RFC 9211) in what a cached location answers.",
    ),
    value(
        "proxy_cache_cookies",
        HSL,
        (1, MANY),
        _cookies,
        "cache.cookies",
        note="Ours: the only cookies that count, in Vary and for the origin. A name may end in *; "
        "off: all count.",
    ),
    value(
        "proxy_cache_ignore_args",
        HSL,
        (1, MANY),
        _ignore_args,
        "cache.ignore_args",
        note="Ours: arguments that are neither in the key nor sent to the origin. A name may end "
        "in *; off: none.",
    ),
    value(
        "proxy_cache_sort_args",
        HSL,
        1,
        FLAG,
        "cache.sort_args",
        note="Ours: sort the arguments by name, in the key and for the origin.",
    ),
    value(
        "proxy_cache_deception_armor",
        HSL,
        1,
        FLAG,
        "cache.deception_armor",
        note="Ours, on: do not store by proxy_cache_valid alone where the URL is ambiguous or the "
        "media type is not that of its extension.",
    ),
    value(
        "proxy_cache_heuristic",
        HSL,
        1,
        _heuristic,
        "cache.heuristic",
        note="Ours: on, off or the greatest lifetime (on: 1d) given to a response with "
        "Last-Modified and no lifetime of its own: a tenth of the time since then.",
    ),
]
