"""Rows of nginx's ``ngx_http_uwsgi_module``: ``uwsgi_pass``, ``uwsgi_param``, and the twins.

A directive that nginx has as ``proxy_x`` and as ``uwsgi_x`` is written once, as the row of
``proxy_x``; its twin is made from that row here. What twins say is kept in a family of
levels of its own (``table.Level.in_family``), so that the two are inherited apart.
"""

from __future__ import annotations

from dataclasses import replace

from cacheproxy.config import directives_cache, directives_proxy
from cacheproxy.config.addresses import parse_uwsgi_pass
from cacheproxy.config.source import Directive
from cacheproxy.config.table import (
    HSL,
    NUMBER,
    Build,
    Context,
    Level,
    Merge,
    Row,
    listed,
    twin,
    value,
    words,
)
from cacheproxy.errors import ConfigError
from cacheproxy.policy.options import ProxyPass, UpstreamParam

__all__ = ["FAMILY", "ROWS"]

FAMILY = "uwsgi"

#: Directives of ``proxy_*`` that are about HTTP itself.
_NOT_SHARED = words(
    "proxy_pass proxy_set_header proxy_set_body proxy_method proxy_http_version proxy_redirect "
    "proxy_cookie_domain proxy_cookie_flags proxy_cookie_path proxy_headers_hash_bucket_size "
    "proxy_headers_hash_max_size proxy_pass_trailers proxy_websocket"
)


def _uwsgi_pass(build: Build, level: Level, directive: Directive) -> None:
    url = directive.args[0]
    if "$" in url:
        level.put("proxy.proxy_pass", ProxyPass(b"uwsgi", template=build.template(url)), directive)
        return
    uwsgi_pass, server, port_given = parse_uwsgi_pass(url)
    level.put("proxy.proxy_pass", uwsgi_pass, directive)
    build.passes.append((level, directive, (uwsgi_pass, server, port_given)))


def _param(build: Build, directive: Directive) -> UpstreamParam:
    name, text, *rest = directive.args
    if rest and rest != ["if_not_empty"]:
        raise ConfigError(f'invalid parameter "{rest[0]}"')
    return UpstreamParam(name.encode(), build.template(text), bool(rest))


def _modifier(build: Build, directive: Directive) -> int:
    number: int = NUMBER(build, directive)
    if number > 255:
        raise ConfigError(f'"{directive.name}" directive value must be between 0 and 255')
    return number


def _handles(row: Row) -> Row:
    """*row*, which also says that its location is served by this family."""

    def apply(build: Build, level: Level, directive: Directive) -> None:
        row.apply(build, level, directive)
        level.values["handler"] = FAMILY

    return replace(row, apply=apply)


_OWN = [
    twin(row, FAMILY)
    for row in (
        listed("uwsgi_param", HSL, (2, 3), _param, "proxy.params"),
        value("uwsgi_modifier1", HSL, 1, _modifier, "proxy.modifier1"),
        value("uwsgi_modifier2", HSL, 1, _modifier, "proxy.modifier2"),
    )
]
_PASS = Row(
    "uwsgi_pass",
    Context.LOCATION | Context.LOCATION_IF,
    (1, 1),
    _uwsgi_pass,
    "proxy.proxy_pass",
    Merge.LOCAL,
    twin_of="proxy_pass",
    note="address:port, unix:path, the name of an upstream group, or variables; uwsgi:// or "
    "suwsgi:// (TLS) before it. See uwsgi.rst.",
)

ROWS: list[Row] = [
    _handles(twin(_PASS, FAMILY)),
    *_OWN,
    *(
        twin(row, FAMILY)
        for row in (*directives_proxy.ROWS, *directives_cache.ROWS)
        if row.name.startswith("proxy_") and row.name not in _NOT_SHARED
    ),
]
