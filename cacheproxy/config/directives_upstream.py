"""Rows of ``upstream`` blocks: servers, how to choose among them, connections that are kept.

nginx's ``ngx_http_upstream_module`` and its ``least_conn``, ``ip_hash``, ``hash``, ``random``
and ``keepalive`` modules.
"""

from __future__ import annotations

from cacheproxy.config import units
from cacheproxy.config.addresses import parse_upstream_server
from cacheproxy.config.model import Balancing, Upstream, UpstreamServer
from cacheproxy.config.source import Directive
from cacheproxy.config.table import (
    MANY,
    NUMBER,
    TIME,
    Build,
    Context,
    Level,
    Merge,
    Row,
    accepted,
    invalid,
    value,
)
from cacheproxy.errors import ConfigError
from cacheproxy.template import Template

__all__ = ["ROWS"]

_UPSTREAM = Context.UPSTREAM

#: Methods beside which nginx takes a ``server`` with ``backup``.
_WITH_BACKUP = frozenset({Balancing.LEAST_CONN})

_Chosen = tuple[Balancing, Template | None]


def _upstream(build: Build, level: Level, directive: Directive) -> None:
    name = directive.args[0]
    upstreams = build.of("upstream")
    if name in upstreams:
        raise ConfigError(f'duplicate upstream "{name}"')
    inner = Level(Context.UPSTREAM, None, directive)
    before = len(build.errors)
    build.walk(directive.block or (), inner)
    servers: list[UpstreamServer] = inner.values.pop("server", [])
    options = {target.partition(".")[2]: value for target, value in inner.values.items()}
    upstreams[name] = Upstream(name, tuple(servers), **options)
    if not any(not server.backup for server in servers) and len(build.errors) == before:
        raise ConfigError("no servers are inside upstream")


def _upstream_server(build: Build, level: Level, directive: Directive) -> None:
    server = parse_upstream_server(directive.args)
    chosen = level.values.get("upstream.balancing")
    if server.backup and chosen is not None and chosen[0] not in _WITH_BACKUP:
        raise ConfigError('balancing method does not support parameter "backup"')
    level.append("server", server, directive)


def _keepalive(build: Build, directive: Directive) -> int:
    word = directive.args[0]
    try:
        return units.number(word)
    except ValueError as error:
        raise invalid(directive, word) from error


def _put_balancing(build: Build, level: Level, directive: Directive, chosen: _Chosen) -> None:
    if "upstream.balancing" in level.values:
        build.warn("load balancing method redefined", directive)
        del level.values["upstream.balancing"]
    level.put("upstream.balancing", chosen, directive)


def _least_conn(build: Build, level: Level, directive: Directive) -> None:
    _put_balancing(build, level, directive, (Balancing.LEAST_CONN, None))


def _ip_hash(build: Build, level: Level, directive: Directive) -> None:
    chosen = Balancing.IP_HASH, build.template("$remote_addr")
    _put_balancing(build, level, directive, chosen)


def _hash(build: Build, level: Level, directive: Directive) -> None:
    key, *rest = directive.args
    if rest not in ([], ["consistent"]):
        raise ConfigError(f'invalid parameter "{rest[0]}"')
    method = Balancing.CONSISTENT_HASH if rest else Balancing.HASH
    _put_balancing(build, level, directive, (method, build.template(key)))


def _random(build: Build, level: Level, directive: Directive) -> None:
    words = directive.args
    if words and words[0] != "two":
        raise ConfigError(f'invalid parameter "{words[0]}"')
    if len(words) > 1 and words[1] != "least_conn":
        raise ConfigError(f'invalid parameter "{words[1]}", only "least_conn" is supported')
    method = Balancing.RANDOM_TWO if words else Balancing.RANDOM
    _put_balancing(build, level, directive, (method, None))


ROWS: list[Row] = [
    Row("upstream", Context.HTTP, (1, 1), _upstream, "upstreams", Merge.GLOBAL, block=True),
    Row(
        "server",
        _UPSTREAM,
        (1, MANY),
        _upstream_server,
        "upstream.servers",
        Merge.LOCAL,
        note="weight, max_conns, max_fails, fail_timeout, backup, down.",
    ),
    Row("least_conn", _UPSTREAM, (0, 0), _least_conn, merge=Merge.LOCAL),
    Row("ip_hash", _UPSTREAM, (0, 0), _ip_hash, merge=Merge.LOCAL),
    Row(
        "hash",
        _UPSTREAM,
        (1, 2),
        _hash,
        merge=Merge.LOCAL,
        note="With consistent or without; keys have the same places as in nginx.",
    ),
    Row("random", _UPSTREAM, (0, 2), _random, merge=Merge.LOCAL, note="two, least_conn."),
    value(
        "keepalive",
        _UPSTREAM,
        1,
        _keepalive,
        "upstream.keepalive",
        merge=Merge.LOCAL,
        note="Default 32, as in nginx since 1.29.7; 0 keeps none.",
    ),
    value(
        "keepalive_requests",
        _UPSTREAM,
        1,
        NUMBER,
        "upstream.keepalive_requests",
        merge=Merge.LOCAL,
    ),
    value("keepalive_time", _UPSTREAM, 1, TIME, "upstream.keepalive_time", merge=Merge.LOCAL),
    value("keepalive_timeout", _UPSTREAM, 1, TIME, "upstream.keepalive_timeout", merge=Merge.LOCAL),
    *accepted("zone", _UPSTREAM, "One process holds the state of the peers.", (1, 2)),
]
