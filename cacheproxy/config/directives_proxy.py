"""Rows of proxying: nginx's ``ngx_http_proxy_module`` without its cache, and ``proxy_ssl_*``."""

from __future__ import annotations

from cacheproxy.config.addresses import parse_proxy_pass
from cacheproxy.config.converters import (
    count_and_size,
    field,
    field_name,
    file_path,
    protocols,
    sizes_of_tables,
    temp_path,
)
from cacheproxy.config.patterns import compile_pattern
from cacheproxy.config.source import Directive
from cacheproxy.config.table import (
    FLAG,
    HSL,
    MANY,
    NUMBER,
    OFFSET,
    SIZE,
    TIME,
    Apply,
    Build,
    Context,
    Level,
    Merge,
    Row,
    invalid,
    listed,
    one_of,
    only,
    path,
    template,
    text,
    value,
    words,
)
from cacheproxy.errors import ConfigError
from cacheproxy.policy.containment import literal_uri
from cacheproxy.policy.options import CookieFlags, CookieRule, ProxyPass, ProxyRedirect
from cacheproxy.template import Template

__all__ = ["ROWS"]

_NEXT = words(
    "error timeout invalid_header non_idempotent http_500 http_502 http_503 http_504 "
    "http_403 http_404 http_429 updating off"
)
_IGNORED = words(
    "x-accel-redirect x-accel-expires x-accel-limit-rate x-accel-buffering "
    "x-accel-charset expires cache-control set-cookie vary"
)


def _proxy_pass(build: Build, level: Level, directive: Directive) -> None:
    url = directive.args[0]
    level.values["handler"] = level.family
    if "$" in url:
        target = ProxyPass(uri=literal_uri(url), template=build.template(url))
        level.put("proxy.proxy_pass", target, directive)
        return
    proxy_pass, server, port_given = parse_proxy_pass(url)
    if proxy_pass.uri is not None and (
        level.facts.get("regex")
        or level.facts.get("named")
        or level.context in (Context.LIMIT_EXCEPT, Context.LOCATION_IF)
    ):
        raise ConfigError(
            '"proxy_pass" cannot have URI part in location given by regular expression, '
            'or inside named location, or inside "if" statement, or inside "limit_except" block'
        )
    level.put("proxy.proxy_pass", proxy_pass, directive)
    # whether it names a group is known once every upstream block has been read
    build.passes.append((level, directive, (proxy_pass, server, port_given)))


def _names(build: Build, directive: Directive) -> bytes:
    name = directive.args[0]
    field_name(name, directive)
    return name.lower().encode()


def _ignore_headers(build: Build, directive: Directive) -> list[bytes]:
    for word in directive.args:
        if word.lower() not in _IGNORED:
            raise invalid(directive, word)
    return [word.lower().encode() for word in directive.args]


def _redirect(build: Build, level: Level, directive: Directive) -> None:
    target = "proxy.redirect"
    first, *rest = directive.args
    if not rest:
        if first == "off":
            level.values[target] = []
            level.places.setdefault(target, directive)
        elif first == "default":
            level.append(target, ProxyRedirect(default=True), directive)
        else:
            raise ConfigError(f'invalid parameter "{first}"')
        return
    if first.startswith("~"):
        pattern = compile_pattern(first.lstrip("~*"), ignore_case=first.startswith("~*"))
        replacement = build.template(rest[0])
        level.append(target, ProxyRedirect(None, replacement, pattern), directive)
        return
    redirect = ProxyRedirect(build.template(first), build.template(rest[0]))
    level.append(target, redirect, directive)


def _cookie_rules(name: str) -> Apply:
    """``proxy_cookie_domain`` and ``proxy_cookie_path``; domains are compared without case."""
    target = f"proxy.cookie_{name}"

    def apply(build: Build, level: Level, directive: Directive) -> None:
        first, *rest = directive.args
        if not rest:
            _cookies_off(target, level, directive)
            return
        subject = regex = None
        if first.startswith("~"):
            ignore_case = name == "domain" or first.startswith("~*")
            text = first[1:] if name == "domain" else first.removeprefix("~").removeprefix("*")
            regex = compile_pattern(text, ignore_case=ignore_case)
        else:
            subject = build.template(first)
        level.append(target, CookieRule(subject, regex, build.template(rest[0])), directive)

    return apply


def _cookies_off(target: str, level: Level, directive: Directive) -> None:
    if directive.args != ("off",):
        raise ConfigError(f'invalid parameter "{directive.args[0]}"')
    level.values[target] = []
    level.places.setdefault(target, directive)


#: The words of ``proxy_cookie_flags``: what each adds, and what it takes away.
_FLAG_WORDS: dict[str, tuple[tuple[bytes, bytes] | None, bytes | None]] = {
    "secure": ((b"secure", b""), None),
    "httponly": ((b"httponly", b""), None),
    "samesite=strict": ((b"samesite", b"Strict"), None),
    "samesite=lax": ((b"samesite", b"Lax"), None),
    "samesite=none": ((b"samesite", b"None"), None),
    "nosecure": (None, b"secure"),
    "nohttponly": (None, b"httponly"),
    "nosamesite": (None, b"samesite"),
}


def _cookie_flags(build: Build, level: Level, directive: Directive) -> None:
    target = "proxy.cookie_flags"
    first, *rest = directive.args
    if not rest and first == "off":
        _cookies_off(target, level, directive)
        return
    name = regex = None
    if first.startswith("~"):
        regex = compile_pattern(first[1:], ignore_case=True)
    else:
        name = build.template(first)
    for word in rest:
        if word not in _FLAG_WORDS:
            raise ConfigError(f'invalid parameter "{word}"')
    effects = [_FLAG_WORDS[word] for word in rest]
    added = tuple(adds for adds, _ in effects if adds is not None)
    removed = frozenset(removes for _, removes in effects if removes is not None)
    level.append(target, CookieFlags(name, regex, added, removed), directive)


def _next_upstream(build: Build, directive: Directive) -> frozenset[str]:
    for word in directive.args:
        if word not in _NEXT:
            raise invalid(directive, word)
    return frozenset() if "off" in directive.args else frozenset(directive.args)


def _buffers(build: Build, directive: Directive) -> tuple[int, int]:
    count, size = count_and_size(build, directive)
    if count < 2:
        raise ConfigError('there must be at least 2 "proxy_buffers"')
    return count, size


def _store(build: Build, level: Level, directive: Directive) -> None:
    word = directive.args[0]
    kept: bool | Template = word == "on"
    if word not in ("on", "off"):
        kept = build.path_template(word)
    level.put("proxy.store", kept, directive)
    if kept and level.values.get("cache.cache") is not None:
        raise ConfigError('"proxy_store" directive is incompatible with "proxy_cache"')


#: What ``proxy_store_access`` grants: where its three bits stand, and which of them.
_ACCESS_OF = {"user": 6, "group": 3, "all": 0}
_ACCESS = {"r": 4, "rw": 6}


def _store_access(build: Build, directive: Directive) -> int:
    mode, user = 0, 0o600
    for word in directive.args:
        who, _, right = word.partition(":")
        if who not in _ACCESS_OF or right not in _ACCESS:
            raise ConfigError(f'invalid value "{word}"')
        mode |= _ACCESS[right] << _ACCESS_OF[who]
        if who == "user":
            user = 0
    return mode | user


def _ssl_file(build: Build, directive: Directive) -> str:
    word = directive.args[0]
    if "$" in word:
        raise ConfigError(f'"{word}" is not supported in "{directive.name}" directive')
    return file_path(build, directive)


_TLS = [
    value("proxy_ssl_certificate", HSL, 1, _ssl_file, "proxy_ssl.certificate"),
    value("proxy_ssl_certificate_key", HSL, 1, _ssl_file, "proxy_ssl.certificate_key"),
    value("proxy_ssl_ciphers", HSL, 1, text, "proxy_ssl.ciphers"),
    value("proxy_ssl_crl", HSL, 1, path, "proxy_ssl.crl"),
    value("proxy_ssl_name", HSL, 1, template, "proxy_ssl.name"),
    value("proxy_ssl_protocols", HSL, (1, MANY), protocols, "proxy_ssl.protocols"),
    value("proxy_ssl_server_name", HSL, 1, FLAG, "proxy_ssl.server_name"),
    value("proxy_ssl_session_reuse", HSL, 1, FLAG, "proxy_ssl.session_reuse"),
    value("proxy_ssl_trusted_certificate", HSL, 1, path, "proxy_ssl.trusted_certificate"),
    value("proxy_ssl_verify", HSL, 1, FLAG, "proxy_ssl.verify"),
    value("proxy_ssl_verify_depth", HSL, 1, NUMBER, "proxy_ssl.verify_depth"),
]

_PACE = "Its bounds are checked, as in nginx; how much is written at once follows the peer's pace."

ROWS: list[Row] = [
    Row(
        "proxy_pass",
        Context.LOCATION | Context.LIMIT_EXCEPT | Context.LOCATION_IF,
        (1, 1),
        _proxy_pass,
        "proxy.proxy_pass",
        Merge.LOCAL,
        note="Host names are resolved when connections are made, not when the file is read.",
    ),
    listed("proxy_set_header", HSL, 2, field, "proxy.set_header"),
    value("proxy_set_body", HSL, 1, template, "proxy.set_body"),
    listed("proxy_hide_header", HSL, 1, _names, "proxy.hide_header"),
    listed("proxy_pass_header", HSL, 1, _names, "proxy.pass_header"),
    listed("proxy_ignore_headers", HSL, (1, MANY), _ignore_headers, "proxy.ignore_headers"),
    value("proxy_method", HSL, 1, template, "proxy.method"),
    value("proxy_pass_request_headers", HSL, 1, FLAG, "proxy.pass_request_headers"),
    value("proxy_pass_request_body", HSL, 1, FLAG, "proxy.pass_request_body"),
    value(
        "proxy_http_version",
        HSL,
        1,
        one_of("1.0", "1.1"),
        "proxy.http_version",
        note="Default 1.1, as in nginx since 1.29.7.",
    ),
    value("proxy_connect_timeout", HSL, 1, TIME, "proxy.connect_timeout"),
    value("proxy_read_timeout", HSL, 1, TIME, "proxy.read_timeout"),
    value("proxy_send_timeout", HSL, 1, TIME, "proxy.send_timeout"),
    value("proxy_buffering", HSL, 1, FLAG, "proxy.buffering"),
    value(
        "proxy_buffer_size",
        HSL,
        1,
        SIZE,
        "proxy.buffer_size",
        note="A response head may be larger: it is bounded at 64k.",
    ),
    value("proxy_buffers", HSL, 2, _buffers, "proxy.buffers"),
    value(
        "proxy_busy_buffers_size",
        HSL,
        1,
        SIZE,
        "proxy.busy_buffers_size",
        note=_PACE,
    ),
    value("proxy_max_temp_file_size", HSL, 1, OFFSET, "proxy.max_temp_file_size"),
    value(
        "proxy_temp_file_write_size",
        HSL,
        1,
        SIZE,
        "proxy.temp_file_write_size",
        note=_PACE,
    ),
    temp_path("proxy_temp_path", "proxy.temp_path"),
    value("proxy_request_buffering", HSL, 1, FLAG, "proxy.request_buffering"),
    value("proxy_ignore_client_abort", HSL, 1, FLAG, "proxy.ignore_client_abort"),
    value("proxy_intercept_errors", HSL, 1, FLAG, "proxy.intercept_errors"),
    Row("proxy_redirect", HSL, (1, 2), _redirect, "proxy.redirect", Merge.LIST),
    *(
        Row(
            f"proxy_cookie_{name}",
            HSL,
            (1, 2),
            _cookie_rules(name),
            f"proxy.cookie_{name}",
            Merge.LIST,
        )
        for name in ("domain", "path")
    ),
    Row(
        "proxy_cookie_flags",
        HSL,
        (1, 4),
        _cookie_flags,
        "proxy.cookie_flags",
        Merge.LIST,
        note="Flags cannot be given by variables.",
    ),
    value("proxy_next_upstream", HSL, (1, MANY), _next_upstream, "proxy.next_upstream"),
    value("proxy_next_upstream_tries", HSL, 1, NUMBER, "proxy.next_upstream_tries"),
    value("proxy_next_upstream_timeout", HSL, 1, TIME, "proxy.next_upstream_timeout"),
    value("proxy_socket_keepalive", HSL, 1, FLAG, "proxy.socket_keepalive"),
    Row(
        "proxy_store",
        HSL,
        (1, 1),
        _store,
        "proxy.store",
        note="What a GET gets is stored, and no other method's response; "
        "never a path with a .. segment.",
    ),
    value("proxy_store_access", HSL, (1, 3), _store_access, "proxy.store_access"),
    value(
        "proxy_force_ranges",
        HSL,
        1,
        FLAG,
        "proxy.force_ranges",
        note="Not set: ranges of what passes through a cache are answered, as with on.",
    ),
    value(
        "slice",
        HSL,
        1,
        SIZE,
        "proxy.slice",
        note="For GET and HEAD, where the request to the origin or its key reads $slice_range.",
    ),
    value(
        "proxy_websocket",
        HSL,
        1,
        FLAG,
        "proxy.websocket",
        note="Ours: forwards a valid WebSocket handshake with no further directives.",
    ),
    *_TLS,
    *sizes_of_tables("proxy_headers_hash_max_size proxy_headers_hash_bucket_size", HSL),
    *only("proxy_limit_rate", HSL, "0", "Rates are not limited."),
    *only("proxy_bind", HSL, "off", "The system chooses the source address."),
]
