"""Typed option records: what the directives of a location, server or upstream say.

One frozen record per concern, each attribute named after the nginx directive
that sets it and given nginx's default. The records hold values only; the policy
functions and the exchange read them, ``config`` fills them. Sizes are bytes,
times are seconds, names of fields are lower-case bytes unless said otherwise.

Imports: ``template``, ``policy.access``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from cacheproxy.policy.access import AccessRule
from cacheproxy.template import Template

__all__ = [
    "AccessLog",
    "AddHeader",
    "CacheOptions",
    "CoreOptions",
    "ErrorPage",
    "Expires",
    "GzipOptions",
    "LogFormat",
    "ProxyOptions",
    "ProxyPass",
    "ProxyRedirect",
    "ProxySsl",
    "Return",
    "TryFiles",
    "UpstreamParam",
]


@dataclass(frozen=True, slots=True)
class AddHeader:
    """``add_header name value [always]``; *name* keeps its case."""

    name: bytes
    value: Template
    always: bool = False


@dataclass(frozen=True, slots=True)
class Expires:
    """``expires``. *kind* is one of ``epoch``, ``max``, ``delta``, ``modified``, ``daily``.

    *seconds* is the delta (may be negative), or the time of day for ``daily``.
    With *template* set the value is parsed per request and the rest unused.
    """

    kind: str = "delta"
    seconds: int = 0
    template: Template | None = None


@dataclass(frozen=True, slots=True)
class Return:
    """``return code [text|URL]``; *text* None where the directive gave none."""

    status: int
    text: Template | None = None


@dataclass(frozen=True, slots=True)
class ErrorPage:
    """``error_page code … [=[response]] uri``.

    *response* is None to keep the status, 0 for a bare ``=`` (the status of the
    answer to the new request counts), or the status to answer with.
    """

    statuses: frozenset[int]
    uri: Template
    response: int | None = None


@dataclass(frozen=True, slots=True)
class TryFiles:
    """``try_files file … uri|=code``; exactly one of *uri* and *status* is set.

    *files* are (template, wants_directory).
    """

    files: tuple[tuple[Template, bool], ...]
    uri: Template | None = None
    status: int | None = None


@dataclass(frozen=True, slots=True)
class LogFormat:
    """``log_format name [escape=default|json|none] string …``, each variable escaped."""

    name: str
    template: Template
    escape: str = "default"


@dataclass(frozen=True, slots=True)
class AccessLog:
    """``access_log path [format [buffer=] [gzip] [flush=] [if=]]``."""

    path: Template
    format: LogFormat
    buffer: int = 0
    flush: float | None = None
    gzip: int = 0
    condition: Template | None = None


@dataclass(frozen=True, slots=True)
class CoreOptions:
    """The HTTP core's options of one location."""

    root: Template | None = None
    alias: Template | None = None
    #: Bytes of the URI that *alias* replaces; None where it replaces all of it
    #: (``alias`` in a location given by a regular expression).
    alias_length: int | None = None
    index: tuple[Template, ...] = ()
    try_files: TryFiles | None = None
    error_page: tuple[ErrorPage, ...] = ()
    recursive_error_pages: bool = False
    internal: bool = False
    return_: Return | None = None
    rewrite_log: bool = False
    #: ``allow`` and ``deny``, in their order.
    access: tuple[AccessRule, ...] = ()
    #: ``auth_basic``; None where it is off.
    auth_basic: Template | None = None
    auth_basic_user_file: Template | None = None
    #: Whether an address that is allowed or a password is enough (``any``), or both are asked.
    satisfy: str = "all"
    #: ``set_real_ip_from``: peers that are believed about whom they speak for.
    real_ip_from: tuple[AccessRule, ...] = ()
    real_ip_header: bytes = b"x-real-ip"
    real_ip_recursive: bool = False
    types: Mapping[str, bytes] = field(default_factory=lambda: MappingProxyType({}))
    default_type: bytes = b"text/plain"
    #: ``charset``: added to Content-Type of *charset_types* (None: every type).
    charset: Template | None = None
    charset_types: frozenset[bytes] | None = frozenset(
        {
            b"text/html",
            b"text/xml",
            b"text/plain",
            b"text/vnd.wap.wml",
            b"application/javascript",
            b"application/rss+xml",
        }
    )
    add_header: tuple[AddHeader, ...] = ()
    add_trailer: tuple[AddHeader, ...] = ()
    expires: Expires | None = None
    etag: bool = True
    #: nginx's default is ``exact``; RFC 9110 §13.1.3 compares.
    if_modified_since: str = "before"
    max_ranges: int | None = None
    server_tokens: bool = True
    client_max_body_size: int = 1 << 20
    client_body_buffer_size: int = 16 * 1024
    client_body_temp_path: str = ""
    client_body_timeout: float = 60.0
    send_timeout: float = 60.0
    keepalive_timeout: float = 75.0
    keepalive_timeout_header: int | None = None
    keepalive_requests: int = 1000
    keepalive_time: float = 3600.0
    keepalive_disable: frozenset[str] = frozenset({"msie6"})
    #: "off", "on" or "always".
    lingering_close: str = "on"
    lingering_time: float = 30.0
    lingering_timeout: float = 5.0
    chunked_transfer_encoding: bool = True
    absolute_redirect: bool = True
    server_name_in_redirect: bool = False
    port_in_redirect: bool = True
    log_not_found: bool = True
    access_log: tuple[AccessLog, ...] = ()


@dataclass(frozen=True, slots=True)
class ProxyPass:
    """``proxy_pass URL``.

    With *template* set (the URL holds variables) the URL is rendered and parsed
    per request; *uri* is then the literal start of its path, which the rendered one
    may not leave, and every other attribute is unused. *authority* is the
    ``host[:port]`` as written (``$proxy_host``); *upstream* the name of the
    upstream group, explicit or made from the authority; *uri* the URI part,
    None where the directive has none.
    """

    scheme: bytes = b"http"
    authority: bytes = b""
    upstream: str = ""
    uri: bytes | None = None
    template: Template | None = None


@dataclass(frozen=True, slots=True)
class CookieRule:
    """``proxy_cookie_domain`` or ``_path``: *subject* or *regex*, and what replaces it."""

    subject: Template | None
    regex: re.Pattern[bytes] | None
    replacement: Template


@dataclass(frozen=True, slots=True)
class CookieFlags:
    """``proxy_cookie_flags``: the cookies by *name* or *regex*, and what becomes of their flags.

    *added* are lower-case names with a value, empty for none; *removed* lower-case names.
    """

    name: Template | None
    regex: re.Pattern[bytes] | None
    added: tuple[tuple[bytes, bytes], ...]
    removed: frozenset[bytes]


@dataclass(frozen=True, slots=True)
class ProxyRedirect:
    """One ``proxy_redirect redirect replacement``.

    *default* stands for ``proxy_redirect default``; *regex* is set for the
    ``~``/``~*`` forms, whose captures the replacement may use.
    """

    redirect: Template | None = None
    replacement: Template | None = None
    regex: re.Pattern[bytes] | None = None
    default: bool = False


@dataclass(frozen=True, slots=True)
class ProxySsl:
    """``proxy_ssl_*``: TLS toward the upstream."""

    certificate: str = ""
    certificate_key: str = ""
    ciphers: str = "DEFAULT"
    crl: str = ""
    name: Template | None = None
    protocols: frozenset[str] = frozenset({"TLSv1.2", "TLSv1.3"})
    server_name: bool = False
    session_reuse: bool = True
    trusted_certificate: str = ""
    verify: bool = False
    verify_depth: int = 1


@dataclass(frozen=True, slots=True)
class UpstreamParam:
    """``uwsgi_param name value [if_not_empty]``: one variable that an application gets."""

    name: bytes
    value: Template
    if_not_empty: bool = False


@dataclass(frozen=True, slots=True)
class ProxyOptions:
    """``proxy_*`` of one location, or their twins ``uwsgi_*``; apart from the cache's.

    *protocol* says which of the two. For uwsgi *proxy_pass* is what ``uwsgi_pass`` says,
    *params* are the variables to send, and *set_header* shows those of them by which
    applications get request fields (``HTTP_*``) under the fields' names.
    """

    protocol: str = "http"
    params: tuple[UpstreamParam, ...] = ()
    modifier1: int = 0
    modifier2: int = 0

    proxy_pass: ProxyPass | None = None
    set_header: tuple[tuple[bytes, Template], ...] = ()
    set_body: Template | None = None
    hide_header: frozenset[bytes] = frozenset()
    pass_header: frozenset[bytes] = frozenset()
    ignore_headers: frozenset[bytes] = frozenset()
    method: Template | None = None
    pass_request_headers: bool = True
    pass_request_body: bool = True
    http_version: str = "1.1"
    connect_timeout: float = 60.0
    read_timeout: float = 60.0
    send_timeout: float = 60.0
    buffering: bool = True
    buffer_size: int = 8192
    buffers: tuple[int, int] = (8, 8192)
    busy_buffers_size: int = 16384
    max_temp_file_size: int = 1 << 30
    temp_file_write_size: int = 16384
    temp_path: str = ""
    request_buffering: bool = True
    ignore_client_abort: bool = False
    intercept_errors: bool = False
    redirect: tuple[ProxyRedirect, ...] = (ProxyRedirect(default=True),)
    cookie_domain: tuple[CookieRule, ...] = ()
    cookie_path: tuple[CookieRule, ...] = ()
    cookie_flags: tuple[CookieFlags, ...] = ()
    next_upstream: frozenset[str] = frozenset({"error", "timeout"})
    next_upstream_tries: int = 0
    next_upstream_timeout: float = 0.0
    socket_keepalive: bool = False
    #: ``proxy_store``: False, True for the file that the URI names, or the file's path.
    store: bool | Template = False
    store_access: int = 0o600
    #: ``slice``: bytes asked for at a time; 0 where that is off or nothing reads the range.
    slice: int = 0
    #: ``proxy_force_ranges``; None where it is not set.
    force_ranges: bool | None = None
    ssl: ProxySsl = field(default_factory=ProxySsl)
    #: ``proxy_websocket``, a directive of ours: forward a valid WebSocket
    #: handshake without being told how (nginx configurations spell it out).
    websocket: bool = False
    #: The variables that what is sent to the origin is made of, those behind ``map`` included.
    reads: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class CacheOptions:
    """``proxy_cache*`` of one location; *cache* is None for ``off``.

    *valid* maps a status, or None for ``any``, to seconds. Methods are those
    named and always GET and HEAD. Where ``use_stale`` is not set, what is stale
    answers while the origin cannot be reached (RFC 9111 §4.2.4). *heuristic* is the
    greatest heuristic lifetime in seconds, 0 for none. *max_range_offset* is None
    where it is not set. *key_is_default*: no ``proxy_cache_key`` holds. *purge* are the
    conditions of ``proxy_cache_purge``, and *purge_reads* the variables that their values
    depend on for a GET.
    """

    cache: str | Template | None = None
    key: Template | None = None
    key_is_default: bool = False
    valid: Mapping[int | None, int] = field(default_factory=lambda: MappingProxyType({}))
    methods: frozenset[bytes] = frozenset({b"GET", b"HEAD"})
    bypass: tuple[Template, ...] = ()
    no_cache: tuple[Template, ...] = ()
    min_uses: int = 1
    use_stale: frozenset[str] = frozenset({"error", "timeout"})
    background_update: bool = False
    revalidate: bool = True
    #: nginx's default is ``off``.
    lock: bool = True
    lock_age: float = 5.0
    lock_timeout: float = 5.0
    convert_head: bool = True
    heuristic: float = 0.0
    max_range_offset: int | None = None
    purge: tuple[Template, ...] = ()
    purge_reads: frozenset[str] = frozenset()
    #: ``proxy_cache_status``, a directive of ours: send Cache-Status (RFC 9211).
    status: bool = True
    #: Directives of ours: ``proxy_cache_cookies`` (None: all count), ``proxy_cache_ignore_args``,
    #: ``proxy_cache_sort_args``, ``proxy_cache_deception_armor``.
    cookies: tuple[bytes, ...] | None = None
    ignore_args: tuple[bytes, ...] = ()
    sort_args: bool = False
    deception_armor: bool = True


@dataclass(frozen=True, slots=True)
class GzipOptions:
    """``gzip*`` of one location; *types* None stands for ``*``."""

    gzip: bool = False
    types: frozenset[bytes] | None = frozenset({b"text/html"})
    min_length: int = 20
    comp_level: int = 1
    vary: bool = False
    proxied: frozenset[str] = frozenset({"off"})
    http_version: int = 11
    disable: tuple[re.Pattern[bytes], ...] = ()
    disable_msie6: bool = False
    buffers: tuple[int, int] = (16, 8192)
