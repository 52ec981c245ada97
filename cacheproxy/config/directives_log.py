"""Rows of the logs: nginx's ``ngx_http_log_module`` and ``error_log``."""

from __future__ import annotations

import json
import re
from typing import Any

from cacheproxy.config import units
from cacheproxy.config.model import ErrorLog
from cacheproxy.config.source import Directive
from cacheproxy.config.syslog import parse_syslog
from cacheproxy.config.table import (
    FLAG,
    HSL,
    HSL_IF,
    MANY,
    Build,
    Context,
    Level,
    Merge,
    Row,
    accepted,
    checked,
    value,
)
from cacheproxy.errors import ConfigError
from cacheproxy.policy.options import AccessLog, LogFormat
from cacheproxy.template import Getter, compile_template, constant_template

__all__ = ["COMBINED", "ROWS"]

#: nginx's predefined format.
COMBINED = (
    '$remote_addr - $remote_user [$time_local] "$request" '
    '$status $body_bytes_sent "$http_referer" "$http_user_agent"'
)

_LEVELS = ("debug", "info", "notice", "warn", "error", "crit", "alert", "emerg")

_HEX = {
    byte: f"\\x{byte:02X}" for byte in range(256) if byte < 32 or byte > 126 or byte in b'"\\'
}

#: What no escaping leaves as it is. Nearly every value is free of it, and searching
#: is many times faster than translating.
_find_special = re.compile(rb'[^ !#-\[\]-~]').search


def escape_default(data: bytes) -> bytes:
    r"""``"``, ``\`` and what is not printable ASCII as ``\xXX``; a missing value as ``-``."""
    if not data:
        return b"-"
    if _find_special(data) is None:
        return data
    return data.decode("latin-1").translate(_HEX).encode("latin-1")


def escape_json(data: bytes) -> bytes:
    """Fit for the inside of a JSON string; bytes that are not UTF-8 are replaced."""
    if _find_special(data) is None:
        return data
    return json.dumps(data.decode("utf-8", "replace"), ensure_ascii=False)[1:-1].encode()


_ESCAPES = {"default": escape_default, "json": escape_json, "none": None}


def compile_format(build: Build, name: str, text: str, escape: str) -> LogFormat:
    """A log format whose variables are escaped one by one, at load."""
    function = _ESCAPES[escape]

    def resolve(variable: str) -> Getter | None:
        getter = build.variable(variable)
        if getter is None or function is None:
            return getter
        return lambda context: function(getter(context))

    return LogFormat(name, compile_template(text, resolve), escape)


def _log_format(build: Build, level: Level, directive: Directive) -> None:
    name, *strings = directive.args
    formats = build.of("log_format")
    if name in formats or name == "combined":
        raise ConfigError(f'duplicate "log_format" name "{name}"')
    escape = "default"
    if strings[0].startswith("escape="):
        escape = strings.pop(0)[len("escape=") :]
        if escape not in _ESCAPES:
            raise ConfigError(f'unknown log format escaping "{escape}"')
    # known even if it is faulty, so that one mistake is one error
    formats[name] = LogFormat(name, constant_template(b""), escape)
    formats[name] = compile_format(build, name, "".join(strings), escape)


def _format(build: Build, name: str) -> LogFormat:
    formats = build.of("log_format")
    if name not in formats:
        if name != "combined":
            raise ConfigError(f'unknown log format "{name}"')
        return compile_format(build, name, COMBINED, "default")
    found: LogFormat = formats[name]
    return found


def _access_log(build: Build, level: Level, directive: Directive) -> None:
    path, *rest = directive.args
    if path == "off":
        if rest:
            raise ConfigError(f'invalid parameter "{rest[0]}"')
        level.values["core.access_log"] = []
        level.places.setdefault("core.access_log", directive)
        return
    name = rest.pop(0) if rest and "=" not in rest[0] and rest[0] != "gzip" else "combined"
    options = _log_options(build, rest, path)
    if path.startswith("syslog:"):
        parse_syslog(path)
        if "buffer" in options:
            raise ConfigError("logs to syslog cannot be buffered")
        target = constant_template(path.encode())
    else:
        target = build.path_template(path)
    log = AccessLog(target, _format(build, name), **options)
    level.append("core.access_log", log, directive)


def _log_options(build: Build, words: list[str], path: str) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for word in words:
        key, _, text = word.partition("=")
        try:
            if key == "buffer":
                options["buffer"] = units.size(text)
            elif key == "flush":
                options["flush"] = units.seconds(text)
            elif key == "gzip":
                options["gzip"] = units.number(text) if text else 1
                if not 1 <= options["gzip"] <= 9:
                    raise ValueError
            elif key == "if":
                options["condition"] = build.template(text)
            else:
                raise ConfigError(f'invalid parameter "{word}"')
        except ValueError as error:
            raise ConfigError(f'invalid {key} value "{text}"') from error
    if "gzip" in options:
        options.setdefault("buffer", 64 << 10)
    if "flush" in options and "buffer" not in options:
        raise ConfigError(f'no buffer is defined for access_log "{path}"')
    if "buffer" in options and "$" in path:
        raise ConfigError("buffered logs cannot have variables in name")
    return options


def _error_log(build: Build, directive: Directive) -> ErrorLog:
    path, *level = directive.args
    if path.startswith("memory:"):
        raise ConfigError(f'"{path}" is not supported in "error_log" directive')
    syslog = path.startswith("syslog:")
    if syslog:
        parse_syslog(path)
    if level and level[0] not in _LEVELS:
        raise ConfigError(f'invalid log level "{level[0]}"')
    return ErrorLog(path if syslog or path == "stderr" else build.path(path), *level)


ROWS: list[Row] = [
    Row(
        "access_log",
        HSL_IF | Context.LIMIT_EXCEPT,
        (1, MANY),
        _access_log,
        "core.access_log",
        Merge.LIST,
        note="Off where nothing is configured (nginx writes logs/access.log).",
    ),
    Row("log_format", Context.HTTP, (2, MANY), _log_format, "", Merge.GLOBAL),
    value(
        "error_log",
        Context.MAIN | HSL,
        (1, 2),
        _error_log,
        "error_log",
        note="Default: twistd's log. One per level.",
    ),
    checked("log_subrequest", HSL, FLAG, "No request has subrequests."),
    *accepted("open_log_file_cache", HSL, "Log files with variables are kept open.", (1, 4)),
]
