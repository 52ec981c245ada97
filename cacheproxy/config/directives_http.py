"""Rows of blocks and of what stands at the top: servers, locations, processes.

nginx's core, ``ngx_http_core_module`` and ``ngx_http_map_module``. Blocks open levels and
walk their content.
"""

from __future__ import annotations

from typing import Any

from cacheproxy.config.addresses import parse_listen
from cacheproxy.config.model import Listen, Match
from cacheproxy.config.patterns import compile_pattern
from cacheproxy.config.source import Directive
from cacheproxy.config.table import (
    MANY,
    TIME,
    Build,
    Context,
    Level,
    Merge,
    Row,
    accepted,
    value,
)
from cacheproxy.config.variables import Map
from cacheproxy.errors import ConfigError

__all__ = ["ROWS"]

_MAIN = Context.MAIN


def _events(build: Build, level: Level, directive: Directive) -> None:
    if "events" in level.values:
        raise ConfigError('"events" directive is duplicate')
    level.put("events", True, directive)
    build.walk(directive.block or (), Level(Context.EVENTS, None, directive))


def _http(build: Build, level: Level, directive: Directive) -> None:
    if "http" in level.values:
        raise ConfigError('"http" directive is duplicate')
    http = Level(Context.HTTP, None, directive)
    level.put("http", http, directive)
    build.walk(directive.block or (), http)


def _server(build: Build, level: Level, directive: Directive) -> None:
    build.walk(directive.block or (), Level(Context.SERVER, level, directive))


def _listen(build: Build, level: Level, directive: Directive) -> None:
    mine: list[tuple[Listen, Directive]] = level.values.setdefault("listen", [])
    for listen in parse_listen(directive.args):
        if any(other.address == listen.address for other, _ in mine):
            raise ConfigError(f"a duplicate listen {directive.args[0]}")
        mine.append((listen, directive))
    if "http2" in directive.args:
        build.warn('"listen ... http2" is accepted, HTTP/1.1 is served', directive)


def _server_name(build: Build, level: Level, directive: Directive) -> None:
    names: list[tuple[str, Any]] = level.values.setdefault("server_name", [])
    for word in directive.args:
        if word.startswith("~"):
            # host names are compared in lower case
            names.append((word, compile_pattern(word[1:], ignore_case=word != word.lower())))
            if len(word) == 1:
                raise ConfigError('empty regex in server name "~"')
            continue
        name = word.lower()
        if "$" in name:
            raise ConfigError(f'variables in server name "{word}" are not supported')
        body = name[2:] if name.startswith("*.") else name.removeprefix(".")
        body = body.removesuffix(".*") if not name.startswith((".", "*.")) else body
        if "*" in body or "//" in body or (name and not body) or "/" in body:
            raise ConfigError(f'server name "{word}" is invalid')
        names.append((name, None))


_MODIFIERS = {match.value: match for match in Match if match not in (Match.PREFIX, Match.NAMED)}


def _location(build: Build, level: Level, directive: Directive) -> None:
    match, pattern = _location_pattern(directive)
    _check_nesting(level, match, pattern)
    regex = None
    if match in (Match.REGEX, Match.REGEX_NOCASE):
        regex = compile_pattern(pattern, ignore_case=match is Match.REGEX_NOCASE)
    inner = Level(
        Context.LOCATION,
        level,
        directive,
        match=match,
        pattern=pattern,
        regex=regex,
        named=match is Match.NAMED,
    )
    build.walk(directive.block or (), inner)


def _location_pattern(directive: Directive) -> tuple[Match, str]:
    first, *rest = directive.args
    if rest:
        if first not in _MODIFIERS:
            raise ConfigError(f'invalid location modifier "{first}"')
        return _MODIFIERS[first], rest[0]
    if first.startswith("@"):
        return Match.NAMED, first
    for modifier in ("=", "^~", "~*", "~"):
        if first.startswith(modifier):
            return _MODIFIERS[modifier], first[len(modifier) :]
    return Match.PREFIX, first


def _check_nesting(level: Level, match: Match, pattern: str) -> None:
    if level.context is not Context.LOCATION:
        return
    outer: str = level.facts["pattern"]
    kind: Match = level.facts["match"]
    if kind is Match.EXACT:
        raise ConfigError(f'location "{pattern}" cannot be inside the exact location "{outer}"')
    if kind is Match.NAMED:
        raise ConfigError(f'location "{pattern}" cannot be inside the named location "{outer}"')
    if match is Match.NAMED:
        raise ConfigError(f'named location "{pattern}" can be on the server level only')
    regex = match in (Match.REGEX, Match.REGEX_NOCASE)
    if not regex and not pattern.startswith(outer):
        raise ConfigError(f'location "{pattern}" is outside location "{outer}"')


def _map(build: Build, level: Level, directive: Directive) -> None:
    source, variable = directive.args
    name = variable.removeprefix("$").lower()
    if not variable.startswith("$") or not name:
        raise ConfigError(f'invalid variable name "{variable}"')
    found: Map = build.of("map")[name]
    for error, line in found.fill(build.template(source), directive.block or (), build.variable):
        build.fault(error.message, line)


def _user(build: Build, directive: Directive) -> tuple[str, str]:
    user, *group = directive.args
    return user, group[0] if group else user


def _pid(build: Build, directive: Directive) -> str:
    return build.path(directive.args[0])


def _worker_processes(build: Build, directive: Directive) -> int:
    word = directive.args[0]
    if word == "auto":
        return 1
    if not word.isdigit() or not int(word):
        raise ConfigError('"worker_processes" directive invalid value')
    if int(word) > 1:
        build.warn("one worker process is run", directive)
    return int(word)


ROWS: list[Row] = [
    Row("events", _MAIN, (0, 0), _events, merge=Merge.GLOBAL, block=True),
    Row("http", _MAIN, (0, 0), _http, merge=Merge.GLOBAL, block=True),
    Row("server", Context.HTTP, (0, 0), _server, "servers", Merge.LOCAL, block=True),
    Row(
        "listen",
        Context.SERVER,
        (1, MANY),
        _listen,
        "server.listens",
        Merge.LOCAL,
        note="Default ``*:80``. Port 0 lets the system choose. http2: a warning, HTTP/1.1 is "
        "served. Not supported: quic, proxy_protocol.",
    ),
    Row("server_name", Context.SERVER, (1, MANY), _server_name, "server.names", Merge.LOCAL),
    Row(
        "location",
        Context.SERVER | Context.LOCATION,
        (1, 2),
        _location,
        "location.locations",
        Merge.LOCAL,
        block=True,
    ),
    Row("map", Context.HTTP, (2, 2), _map, "", Merge.GLOBAL, block=True),
    value("user", _MAIN, (1, 2), _user, "user", merge=Merge.GLOBAL),
    value("pid", _MAIN, 1, _pid, "pid", merge=Merge.GLOBAL),
    value(
        "worker_processes",
        _MAIN,
        1,
        _worker_processes,
        "worker_processes",
        merge=Merge.GLOBAL,
        note="One process is run; auto is 1.",
    ),
    value(
        "worker_shutdown_timeout",
        _MAIN,
        1,
        TIME,
        "worker_shutdown_timeout",
        merge=Merge.GLOBAL,
    ),
    *accepted("daemon master_process", _MAIN, "twistd's own options decide."),
    *accepted("load_module", _MAIN, "Directives of modules are refused where they are used."),
    *accepted(
        "worker_rlimit_nofile worker_rlimit_core worker_priority timer_resolution lock_file "
        "pcre_jit working_directory",
        _MAIN,
        "Belongs to nginx's processes.",
    ),
    *accepted("worker_cpu_affinity thread_pool", _MAIN, "Belongs to nginx's processes.", (1, 8)),
    *accepted(
        "worker_connections use multi_accept accept_mutex accept_mutex_delay "
        "worker_aio_requests debug_connection",
        Context.EVENTS,
        "The reactor decides.",
    ),
]
