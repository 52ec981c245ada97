"""Turns levels into the frozen model: inheritance, computed defaults, checks across directives.

nginx's ``merge_*_conf`` functions and ``ngx_http_block``.

Imports: ``policy.options``, ``model``, ``table``, ``bundled``, ``fast_path``, ``listening``,
``logins``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, TypeVar

from cacheproxy.config.bundled import DEFAULT_TYPES
from cacheproxy.config.directives import LOCAL_TARGETS
from cacheproxy.config.directives_rewrite import INSTRUCTIONS, REWRITE_READS
from cacheproxy.config.fast_path import Hot
from cacheproxy.config.listening import check_listens, server_listens
from cacheproxy.config.logins import warn_of_logins
from cacheproxy.config.model import (
    Config,
    LimitExcept,
    Location,
    Match,
    Server,
    SslOptions,
    Upstream,
)
from cacheproxy.config.purge_guard import warn_unguarded
from cacheproxy.config.source import Directive
from cacheproxy.config.table import MISSING, Build, Context, Level
from cacheproxy.config.uwsgi_defaults import uwsgi_options
from cacheproxy.config.variables import Declared, behind, reads_of_get
from cacheproxy.errors import ConfigError
from cacheproxy.policy.options import (
    CacheOptions,
    CoreOptions,
    GzipOptions,
    ProxyOptions,
    ProxySsl,
    Return,
)
from cacheproxy.policy.rewrite import If, Instruction
from cacheproxy.template import Template, constant_template

__all__ = ["freeze"]

#: What a request is stored under where no ``proxy_cache_key`` says so. nginx's default
#: leaves the client's Host out, so that two sites before one origin would share entries.
#: Where another URI than the client's is passed on, that is added (``proxy.site.cache_key``).
DEFAULT_KEY = "$scheme$proxy_host$http_host$request_uri"

R = TypeVar("R")


def freeze(build: Build, main: Level, variables: Declared) -> Config | None:
    """The model, or None after faults (which are in ``build.errors``)."""
    _settle_passes(build)
    http = main.values.get("http")
    servers: list[Server] = []
    for level in http.children if http is not None else ():
        _check_duplicates(build, level)
        servers.append(_server(build, level))
    servers = check_listens(build, servers)
    if build.errors:
        return None
    options = {
        name: main.values[name]
        for name in ("error_log", "pid", "user", "worker_shutdown_timeout")
        if name in main.values
    }
    return Config(
        prefix=build.prefix,
        servers=tuple(servers),
        upstreams=MappingProxyType(build.of("upstream")),
        zones=MappingProxyType(build.of("zone")),
        variables=frozenset(variables.used),
        warnings=tuple(build.warnings),
        **options,
    )


def _settle_passes(build: Build) -> None:
    """Find or make the upstream of every ``…_pass``, now that all groups are known."""
    upstreams: dict[str, Upstream] = build.of("upstream")
    groups = {name.lower(): name for name in upstreams}
    for level, directive, (proxy_pass, server, port_given) in build.passes:
        group = groups.get(server.host.lower()) if server.host else None
        if group is None:
            name = server.name
            if not server.port and not server.path:
                build.fault(f'no port in upstream "{server.host}"', directive)
                continue
            if name not in upstreams:
                upstreams[name] = Upstream(name, (server,))
        elif port_given:
            build.fault(f'upstream "{group}" may not have port {server.port}', directive)
            continue
        else:
            name = group
        level.values["proxy.proxy_pass"] = dataclasses.replace(proxy_pass, upstream=name)


def _check_duplicates(build: Build, level: Level) -> None:
    """``duplicate location``: one exact and one prefix location a name (``^~`` is a prefix)."""
    seen: set[tuple[bool, str]] = set()
    for child in level.children:
        match, pattern = child.facts["match"], child.facts["pattern"]
        if match in (Match.PREFIX, Match.PREFIX_FINAL, Match.EXACT):
            key = (match is Match.EXACT, pattern)
            if key in seen:
                build.fault(f'duplicate location "{pattern}"', child.directive)
            seen.add(key)
        _check_duplicates(build, child)


def _record(kind: type[R], prefix: str, level: Level, **extra: Any) -> R:
    """A record of *kind* from the values named *prefix*; what no level says keeps its default."""
    found: dict[str, Any] = dict(extra)
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]  # every kind is a dataclass
        if field.name in found:
            continue
        target = f"{prefix}.{field.name}"
        if target in LOCAL_TARGETS:
            value = level.values.get(target, MISSING)
        else:
            value = level.find(target)
        if value is not MISSING:
            found[field.name] = tuple(value) if isinstance(value, list) else value
    return kind(**found)


def _server(build: Build, level: Level) -> Server:
    names: list[tuple[str, Any]] = level.values.get("server_name") or [("", None)]
    place = level.directive
    assert place is not None
    return _record(
        Server,
        "server",
        level,
        listens=server_listens(level),
        names=tuple(dict.fromkeys(name for name, _ in names)),
        regexes=MappingProxyType({name: regex for name, regex in names if regex is not None}),
        root=_location(build, level),
        ssl=_ssl(build, level),
        file=place.file,
        line=place.line,
    )


def _ssl(build: Build, level: Level) -> SslOptions | None:
    certificates: list[str] = level.get("ssl.certificate", [])
    keys: list[str] = level.get("ssl.certificate_key", [])
    listens = level.values.get("listen", ())
    if not certificates and not any(listen.ssl for listen, _ in listens):
        return None
    if len(keys) < len(certificates):
        missing = certificates[len(keys)]
        build.fault(
            f'no "ssl_certificate_key" is defined for certificate "{missing}"',
            level.place("ssl.certificate"),
        )
    pairs = tuple(zip(certificates, keys, strict=False))
    return _record(SslOptions, "ssl", level, certificates=pairs)


def _location(build: Build, level: Level) -> Location:
    place = level.directive
    assert place is not None
    inside = level.context is not Context.SERVER
    pattern = level.facts["pattern"] if inside else ""
    passing = level.in_family(level.values.get("handler", level.family))
    cache = _cache(build, passing)
    location = Location(
        match=level.facts["match"] if inside else Match.PREFIX,
        pattern=pattern.encode("utf-8", "surrogateescape"),
        core=_core(build, level),
        proxy=_sliced(build, _proxy(build, passing, level), cache),
        cache=cache,
        gzip=_record(GzipOptions, "gzip", level),
        regex=level.facts["regex"] if inside else None,
        locations=tuple(_location(build, child) for child in level.children),
        limit_except=_limit_except(build, level),
        instructions=_instructions(build, level),
        nameless=level.context is Context.LOCATION_IF,
        error_log=level.get("error_log"),
        never_hot=tuple(sorted(row.name for row in level.rows_in_force() if row.hot is Hot.NO)),
        file=place.file,
        line=place.line,
    )
    if level.context is not Context.LIMIT_EXCEPT:
        warn_unguarded(build, passing, location)
    return location


def _instructions(build: Build, level: Level) -> tuple[Instruction, ...]:
    """What the rewrite module has here, each ``if`` of a location with the location that it is."""
    found = level.values.get(INSTRUCTIONS, ())
    if found and isinstance(found[0], Return):
        return ()  # It answers before anything else: ``CoreOptions.return_``.
    made: list[Instruction] = []
    for instruction in found:
        if isinstance(instruction, If) and instruction.location is not None:
            inner: Level = instruction.location
            _inherit_handler(level, inner)
            instruction = dataclasses.replace(instruction, location=_location(build, inner))
        made.append(instruction)
    return tuple(made)


def _limit_except(build: Build, level: Level) -> LimitExcept | None:
    found = level.values.get("location.limit_except")
    if found is None:
        return None
    methods, inner = found
    _inherit_handler(level, inner)
    return LimitExcept(methods, _location(build, inner))


def _inherit_handler(level: Level, inner: Level) -> None:
    """Give *inner*, ``limit_except`` or ``if``, what answers in its location, if it has nothing.

    Unlike ``proxy_pass`` and its like, ``return`` and ``try_files`` are not inherited.
    """
    handler = level.values.get("handler")
    if handler is not None and "handler" not in inner.values:
        inner.values["handler"] = handler
        target = "proxy.proxy_pass"
        inner.in_family(handler).values[target] = level.in_family(handler).values[target]


def _core(build: Build, level: Level) -> CoreOptions:
    types: Mapping[str, bytes] = level.get("core.types", DEFAULT_TYPES)
    index = level.get("core.index") or [constant_template(b"index.html")]
    root, alias, length = _files(build, level)
    _warn_of_no_passwords(build, level)
    return _record(
        CoreOptions,
        "core",
        level,
        types=MappingProxyType(dict(types)),
        index=tuple(index),
        root=root,
        alias=alias,
        alias_length=length,
        return_=_first_return(level),
    )


def _warn_of_no_passwords(build: Build, level: Level) -> None:
    """As in nginx a realm without a file asks for no password; nobody means that."""
    place = level.place("core.auth_basic")
    if place is None or not level.get("core.auth_basic"):
        return
    if level.find("core.auth_basic_user_file") is MISSING:
        message = '"auth_basic" without "auth_basic_user_file" asks for no password'
        if f"{message} in {place.file}:{place.line}" not in build.warnings:
            build.warn(message, place)


def _first_return(level: Level) -> Return | None:
    """A ``return`` that no other instruction comes before."""
    found = level.values.get(INSTRUCTIONS, ())
    return found[0] if found and isinstance(found[0], Return) else None


def _files(build: Build, level: Level) -> tuple[Template | None, Template | None, int | None]:
    """(root, alias, bytes that the alias replaces) of the nearest level that has either."""
    at: Level | None = level
    while at is not None:
        if "core.root" in at.values:
            return at.values["core.root"], None, None
        if "core.alias" in at.values:
            break
        at = at.parent
    else:
        return build.path_template("html"), None, None
    alias: Template = at.values["core.alias"]
    if at.facts["regex"] is not None:
        return None, alias, None
    pattern: str = at.facts["pattern"]
    if at is level or level.facts["regex"] is not None:
        return None, alias, len(pattern.encode("utf-8", "surrogateescape"))
    # said for this level's own name, so that an inner location reads like any other
    own: str = level.facts["pattern"]
    if "$" in own:
        return None, alias, len(pattern.encode("utf-8", "surrogateescape"))
    inner = build.template(alias.text + own[len(pattern) :])
    return None, inner, len(own.encode("utf-8", "surrogateescape"))


def _proxy(build: Build, level: Level, around: Level) -> ProxyOptions:
    """*level* is that of the family which serves; *around* has what belongs to none."""
    proxy_pass = level.values.get("proxy.proxy_pass")
    extra: dict[str, Any] = {
        "ssl": _record(ProxySsl, "proxy_ssl", level),
        "store": _nearest(level)[0],
        "slice": around.get("proxy.slice", 0),
    }
    for name in ("hide_header", "pass_header", "ignore_headers"):
        extra[name] = frozenset(level.get(f"proxy.{name}", ()))
    redirect = level.find("proxy.redirect")
    if level.family == "uwsgi":
        extra |= uwsgi_options(build, level)
    elif proxy_pass is not None and proxy_pass.template is not None:
        if redirect is MISSING:
            # there is no one URL to stand for "default"
            extra["redirect"] = ()
        elif any(rule.default for rule in redirect):
            build.fault(
                '"proxy_redirect default" cannot be used with "proxy_pass" directive '
                "with variables",
                level.place("proxy.redirect"),
            )
    _buffers(build, level, extra)
    options = _record(ProxyOptions, "proxy", level, **extra)
    options = dataclasses.replace(options, reads=_reads(build, level, options))
    _check_tls(build, level, options)
    return options


def _reads(build: Build, level: Level, options: ProxyOptions) -> frozenset[str]:
    """The variables that a request to the origin may be made of, the rewrite module's included.

    Which of its instructions come before is not looked into: any of the server counts.
    """
    read = _read_by(options)
    at: Level | None = level
    while at is not None:
        read |= at.values.get(REWRITE_READS, set())
        at = at.parent
    return behind(read, build.of("map"))


def _sliced(build: Build, proxy: ProxyOptions, cache: CacheOptions) -> ProxyOptions:
    """*proxy*, with ``slice`` only where something that the origin is asked by reads the range."""
    if not proxy.slice:
        return proxy
    found = _made_from(proxy)
    if cache.cache is not None:
        found += cache.bypass if cache.key is None else (*cache.bypass, cache.key)
    if proxy.proxy_pass is not None and proxy.proxy_pass.template is not None:
        found.append(proxy.proxy_pass.template)
    read = "slice_range" in reads_of_get(found, build.of("map"))
    return proxy if read else dataclasses.replace(proxy, slice=0)


def _made_from(options: ProxyOptions) -> list[Template]:
    """What a request to the origin is made from, apart from where it goes."""
    found = [value for _, value in options.set_header]
    found += [param.value for param in options.params]
    return found + [one for one in (options.method, options.set_body) if one is not None]


def _read_by(options: ProxyOptions) -> set[str]:
    """The variables in what makes a request to the origin."""
    target = options.proxy_pass
    templates = _made_from(options)
    if target is not None and target.template is not None:
        templates.append(target.template)
    return {name for template in templates for name in template.variables}


def _check_tls(build: Build, level: Level, options: ProxyOptions) -> None:
    proxy_pass, tls = options.proxy_pass, options.ssl
    if proxy_pass is None:
        return
    encrypted = proxy_pass.scheme in (b"https", b"suwsgi")
    if proxy_pass.template is not None:
        encrypted = not proxy_pass.template.text.lower().startswith(("http:", "uwsgi:"))
    if not encrypted:
        return
    if tls.verify and not tls.trusted_certificate:
        message = level.spell("no proxy_ssl_trusted_certificate for proxy_ssl_verify")
        build.fault(message, level.place("proxy_ssl.verify"))
    if tls.certificate and not tls.certificate_key:
        name = level.spell("proxy_ssl_certificate_key")
        build.fault(
            f'no "{name}" is defined for certificate "{tls.certificate}"',
            level.place("proxy_ssl.certificate"),
        )


def _buffers(build: Build, level: Level, extra: dict[str, Any]) -> None:
    """The sizes that hang together (``ngx_http_proxy_merge_loc_conf``)."""
    count, size = level.get("proxy.buffers", ProxyOptions().buffers)
    one = max(level.get("proxy.buffer_size", ProxyOptions().buffer_size), size)
    busy = level.get("proxy.busy_buffers_size", 2 * one)
    at_once = level.get("proxy.temp_file_write_size", 2 * one)
    largest = level.get("proxy.max_temp_file_size", ProxyOptions().max_temp_file_size)
    both = '"proxy_buffer_size" and one of the "proxy_buffers"'
    _require(
        build,
        level,
        busy >= one,
        '"proxy_busy_buffers_size" must be equal to or greater than '
        f"the maximum of the value of {both}",
    )
    _require(
        build,
        level,
        busy <= (count - 1) * size,
        '"proxy_busy_buffers_size" must be less than the size of all "proxy_buffers" '
        "minus one buffer",
    )
    _require(
        build,
        level,
        at_once >= one,
        '"proxy_temp_file_write_size" must be equal to or greater than '
        f"the maximum of the value of {both}",
    )
    _require(
        build,
        level,
        largest == 0 or largest >= one,
        '"proxy_max_temp_file_size" must be equal to zero to disable temporary files usage '
        f"or must be equal to or greater than the maximum of the value of {both}",
    )
    extra["busy_buffers_size"] = busy
    extra["temp_file_write_size"] = at_once


_BUFFER_TARGETS = (
    "proxy.busy_buffers_size",
    "proxy.temp_file_write_size",
    "proxy.max_temp_file_size",
    "proxy.buffers",
    "proxy.buffer_size",
)


def _require(build: Build, level: Level, holds: bool, message: str) -> None:
    """Note *message* once, at the innermost directive that has to do with it."""
    if holds:
        return
    places = [found for target in _BUFFER_TARGETS if (found := level.place(target)) is not None]
    message = level.spell(message)
    _fault_once(build, message, max(places, key=lambda one: one.line, default=level.directive))


def _fault_once(build: Build, message: str, place: Directive | None) -> None:
    """Note a fault that every level which inherits it would report again."""
    file, line = (place.file, place.line) if place is not None else ("", 0)
    if (message, file, line) not in {(e.message, e.file, e.line) for e in build.errors}:
        build.fault(message, place)


def _cache(build: Build, level: Level) -> CacheOptions:
    cache = _nearest(level)[1]
    if isinstance(cache, str) and cache not in build.of("zone"):
        message = level.spell('"proxy_cache" zone') + f' "{cache}" is unknown'
        _fault_once(build, message, level.place("cache.cache"))
    extra: dict[str, Any] = {
        "cache": cache,
        "valid": MappingProxyType(_valid(level.get("cache.valid", ()))),
        "purge_reads": reads_of_get(level.get("cache.purge", ()), build.of("map")),
    }
    if cache is not None and level.find("cache.key") is MISSING:
        try:
            extra["key"] = build.template(DEFAULT_KEY)
            extra["key_is_default"] = True
        except ConfigError as error:
            build.fault(error.message, level.place("cache.cache"))
    options = _record(CacheOptions, "cache", level, **extra)
    warn_of_logins(build, level, options)
    return options


def _nearest(level: Level) -> tuple[Any, Any]:
    """(``proxy_store``, ``proxy_cache``): each ends the other where it is nearer."""
    store: Any = MISSING
    cache: Any = MISSING
    at: Level | None = level
    while at is not None and (store is MISSING or cache is MISSING):
        own_store = at.values.get("proxy.store", MISSING)
        own_cache = at.values.get("cache.cache", MISSING)
        if store is MISSING:
            ended = own_store is MISSING and own_cache not in (MISSING, None)
            store = False if ended else own_store
        if cache is MISSING:
            ended = own_store not in (MISSING, False)
            cache = None if ended else own_cache
        at = at.parent
    return (False if store is MISSING else store), (None if cache is MISSING else cache)


def _valid(entries: list[tuple[int | None, int]]) -> dict[int | None, int]:
    """The first entry that fits a status holds, so nothing after ``any`` counts."""
    found: dict[int | None, int] = {}
    for status, seconds in entries:
        found.setdefault(status, seconds)
        if status is None:
            break
    return found
