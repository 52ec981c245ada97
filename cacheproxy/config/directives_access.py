"""Rows of access: ``allow``, ``deny``, ``limit_except``, ``geo``, ``real_ip_*``, ``auth_basic``.

nginx's ``ngx_http_access_module``, ``ngx_http_geo_module``, ``ngx_http_realip_module``,
``ngx_http_auth_basic_module``, and ``limit_except`` and ``satisfy`` of ``ngx_http_core_module``.
"""

from __future__ import annotations

from cacheproxy.config.geo import Geo, network
from cacheproxy.config.source import Directive
from cacheproxy.config.table import (
    FLAG,
    HSL,
    MANY,
    METHODS,
    Build,
    Context,
    Level,
    Merge,
    Row,
    listed,
    one_of,
    value,
)
from cacheproxy.errors import ConfigError
from cacheproxy.policy.access import AccessRule
from cacheproxy.template import Template

__all__ = ["ROWS"]


def _rule(build: Build, directive: Directive) -> AccessRule:
    text = directive.args[0]
    deny = directive.name == "deny"
    if text == "all":
        return AccessRule(deny)
    if text == "unix:":
        return AccessRule(deny, unix=True)
    found = network(text, "parameter", lambda message: build.warn(message, directive))
    return AccessRule(deny, found)


def _trusted(build: Build, directive: Directive) -> AccessRule:
    text = directive.args[0]
    if text == "unix:":
        return AccessRule(deny=False, unix=True)
    try:
        found = network(text, "parameter", lambda message: build.warn(message, directive))
    except ConfigError as error:
        raise ConfigError(f'{error.message}: names are not looked up, write addresses') from error
    return AccessRule(deny=False, network=found)


def _real_ip_header(build: Build, directive: Directive) -> bytes:
    name = directive.args[0].lower()
    if name == "proxy_protocol":
        raise ConfigError(
            '"real_ip_header proxy_protocol" is not supported: have the proxy before this one '
            "send the address in a field, such as X-Forwarded-For"
        )
    return name.encode("utf-8", "surrogateescape")


def _realm(build: Build, directive: Directive) -> Template | None:
    text = directive.args[0]
    return None if text == "off" else build.template(text)


def _limit_except(build: Build, level: Level, directive: Directive) -> None:
    methods = {word.upper() for word in directive.args}
    for word in directive.args:
        if word.upper() not in METHODS:
            raise ConfigError(f'invalid method "{word}"')
    if "GET" in methods:
        methods.add("HEAD")
    inner = Level(Context.LIMIT_EXCEPT, level, directive, **level.facts)
    level.children.remove(inner)  # no location that a URI could lead to
    free = frozenset(method.encode() for method in methods)
    level.put("location.limit_except", (free, inner), directive)
    build.walk(directive.block or (), inner)


def _geo(build: Build, level: Level, directive: Directive) -> None:
    *source, variable = directive.args
    for word in directive.args:
        if not word.startswith("$") or len(word) == 1:
            raise ConfigError(f'invalid variable name "{word}"')
    found: Geo = build.of("geo")[variable[1:].lower()]
    if found.filled:
        raise ConfigError(f'duplicate geo variable "{variable}"')
    address = build.template(source[0] if source else "$remote_addr").render
    forwarded = build.template("$http_x_forwarded_for").render
    for error, line in found.fill(address, forwarded, directive.block or (), build.warn):
        build.fault(error.message, line)


ROWS: list[Row] = [
    listed("allow", HSL | Context.LIMIT_EXCEPT, 1, _rule, "core.access"),
    listed(
        "deny",
        HSL | Context.LIMIT_EXCEPT,
        1,
        _rule,
        "core.access",
        note="allow and deny are one list: the first rule that fits decides.",
    ),
    Row(
        "limit_except",
        Context.LOCATION,
        (1, MANY),
        _limit_except,
        "location.limit_except",
        Merge.LOCAL,
        block=True,
        note="Holds allow, deny, proxy_pass, access_log.",
    ),
    listed("set_real_ip_from", HSL, 1, _trusted, "core.real_ip_from",
           note="Addresses, networks and unix:. Names are not looked up."),
    value(
        "real_ip_header",
        HSL,
        1,
        _real_ip_header,
        "core.real_ip_header",
        note="Any field; not proxy_protocol.",
    ),
    value("real_ip_recursive", HSL, 1, FLAG, "core.real_ip_recursive"),
    Row(
        "geo",
        Context.HTTP,
        (1, 2),
        _geo,
        "",
        Merge.GLOBAL,
        block=True,
        note="default, delete, include, proxy, proxy_recursive, ranges, volatile. "
        "Binary bases are not used.",
    ),
    value(
        "auth_basic",
        HSL | Context.LIMIT_EXCEPT,
        1,
        _realm,
        "core.auth_basic",
        note="A good password is remembered until its file changes.",
    ),
    value(
        "auth_basic_user_file",
        HSL | Context.LIMIT_EXCEPT,
        1,
        lambda build, directive: build.path_template(directive.args[0]),
        "core.auth_basic_user_file",
        note="apr1, {SHA}, {SSHA}, {PLAIN}, bcrypt, and what the system's crypt knows (up to "
        "Python 3.12).",
    ),
    value("satisfy", HSL, 1, one_of("all", "any"), "core.satisfy"),
]
