"""Warnings about configurations that could serve one user's pages to another.

Nothing here changes what is served: what the operator writes holds (``proxy_ignore_headers``,
``proxy_set_header``). It is said at load what it amounts to.

Imports: ``policy``, ``model``, ``source``, ``table``, ``variables``.
"""

from __future__ import annotations

from collections.abc import Iterable

from cacheproxy.config.model import Match
from cacheproxy.config.source import Directive
from cacheproxy.config.table import Build, Level
from cacheproxy.config.variables import behind
from cacheproxy.policy.cookies import CookieFilter
from cacheproxy.policy.options import CacheOptions
from cacheproxy.template import Template

__all__ = ["warn_of_logins"]


def warn_of_logins(build: Build, level: Level, options: CacheOptions) -> None:
    """Note what a cached location does with cookies, where that is likely not meant."""
    if options.cache is None or "proxy.proxy_pass" not in level.values:
        return
    if options.cookies is None:
        _of_ignored_cookies(build, level, options)
    else:
        _of_cookies_sent(build, level, CookieFilter(options.cookies))


def _of_ignored_cookies(build: Build, level: Level, options: CacheOptions) -> None:
    """``proxy_ignore_headers Set-Cookie`` where nothing asks who is logged in."""
    place = level.place("proxy.ignore_headers")
    if place is None or b"set-cookie" not in level.get("proxy.ignore_headers"):
        return
    regex = level.facts.get("match") in (Match.REGEX, Match.REGEX_NOCASE)
    if regex and "\\." in level.facts["pattern"]:
        return  # files by their extension
    conditions = [*options.bypass, *options.no_cache]
    if options.key is not None:
        conditions.append(options.key)
    if not any(map(_is_cookie, _read(build, conditions))):
        _warn_once(
            build,
            level.spell(
                '"proxy_ignore_headers Set-Cookie" lets pages of those who are logged in be stored '
                'for everybody; "proxy_no_cache" or "proxy_cache_cookies" can tell which they are'
            ),
            place,
        )


def _of_cookies_sent(build: Build, level: Level, counted: CookieFilter) -> None:
    """What is sent on purpose of a cookie that ``proxy_cache_cookies`` leaves out."""
    templates = [template for _, template in level.get("proxy.set_header", ())]
    templates += [param.value for param in level.get("proxy.params", ())]
    place = level.place("proxy.set_header") or level.place("proxy.params")
    for name in sorted(_read(build, templates)):
        if _is_cookie(name) and place is not None:
            if name != "http_cookie" and counted.selects(name[len("cookie_") :].encode()):
                continue
            _warn_once(
                build,
                f'"${name}" sends the origin a cookie that '
                + level.spell('"proxy_cache_cookies" does not count'),
                place,
            )


def _read(build: Build, templates: Iterable[Template]) -> frozenset[str]:
    names = (name for template in templates for name in template.variables)
    return behind(names, build.of("map"))


def _is_cookie(name: str) -> bool:
    return name == "http_cookie" or name.startswith("cookie_")


def _warn_once(build: Build, message: str, place: Directive) -> None:
    """What several levels inherit is said once."""
    if f"{message} in {place.file}:{place.line}" not in build.warnings:
        build.warn(message, place)
