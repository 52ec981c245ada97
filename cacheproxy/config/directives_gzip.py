"""Rows of compression: nginx's ``ngx_http_gzip_filter_module`` and the core's ``gzip_*``."""

from __future__ import annotations

from cacheproxy.config.converters import count_and_size, types_option
from cacheproxy.config.patterns import compile_pattern
from cacheproxy.config.source import Directive
from cacheproxy.config.table import (
    FLAG,
    HSL,
    HSL_IF,
    MANY,
    SIZE,
    Build,
    Level,
    Merge,
    Row,
    accepted,
    invalid,
    one_of,
    value,
    words,
)
from cacheproxy.errors import ConfigError

__all__ = ["ROWS"]

_PROXIED = words("off expired no-cache no-store private no_last_modified no_etag auth any")


def _level(build: Build, directive: Directive) -> int:
    word = directive.args[0]
    if not word.isdigit():
        raise ConfigError('"gzip_comp_level" directive invalid number')
    if not 1 <= int(word) <= 9:
        raise ConfigError("value must be between 1 and 9")
    return int(word)


def _proxied(build: Build, directive: Directive) -> frozenset[str]:
    for word in directive.args:
        if word not in _PROXIED:
            raise invalid(directive, word)
    return frozenset(directive.args)


def _http_version(build: Build, directive: Directive) -> int:
    return 11 if one_of("1.0", "1.1")(build, directive) == "1.1" else 10


def _disable(build: Build, level: Level, directive: Directive) -> None:
    for word in directive.args:
        if word == "msie6":
            level.values["gzip.disable_msie6"] = True
            level.places["gzip.disable_msie6"] = directive
        elif word == "degradation":
            raise ConfigError('"gzip_disable degradation" is not supported')
        else:
            level.append("gzip.disable", compile_pattern(word, ignore_case=True), directive)


ROWS: list[Row] = [
    value("gzip", HSL_IF, 1, FLAG, "gzip.gzip"),
    value("gzip_types", HSL, (1, MANY), types_option(b"text/html"), "gzip.types"),
    value("gzip_min_length", HSL, 1, SIZE, "gzip.min_length"),
    value("gzip_comp_level", HSL, 1, _level, "gzip.comp_level"),
    value("gzip_vary", HSL, 1, FLAG, "gzip.vary"),
    value("gzip_proxied", HSL, (1, MANY), _proxied, "gzip.proxied"),
    value("gzip_http_version", HSL, 1, _http_version, "gzip.http_version"),
    Row("gzip_disable", HSL, (1, MANY), _disable, "gzip.disable", Merge.LIST),
    value(
        "gzip_buffers",
        HSL,
        2,
        count_and_size,
        "gzip.buffers",
        note="The size of one buffer is what is compressed at a time.",
    ),
    *accepted("gzip_window gzip_hash gzip_no_buffer", HSL, "zlib's memory is left to it."),
]
