"""The frozen model of one configuration: what ``build`` makes and everything else reads.

Only aggregates: the option records live in ``policy.options``. Paths are
absolute. One ``Config`` is the whole of a file; it owns no socket, file or
thread, so a reload builds a new one and compares.

Imports: ``policy``, ``template``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType

from cacheproxy.policy.options import (
    CacheOptions,
    CoreOptions,
    GzipOptions,
    ProxyOptions,
)
from cacheproxy.policy.rewrite import Instruction
from cacheproxy.template import Template

__all__ = [
    "Balancing",
    "CacheZone",
    "Config",
    "ErrorLog",
    "LimitExcept",
    "Listen",
    "Location",
    "Match",
    "Server",
    "SslOptions",
    "Upstream",
    "UpstreamServer",
]


class Match(Enum):
    """How a location's pattern is compared (the modifier of ``location``)."""

    PREFIX = ""
    PREFIX_FINAL = "^~"
    EXACT = "="
    REGEX = "~"
    REGEX_NOCASE = "~*"
    NAMED = "@"


@dataclass(frozen=True, slots=True)
class ErrorLog:
    """``error_log file [level]``; *path* ``stderr`` is standard error."""

    path: str
    level: str = "error"


@dataclass(frozen=True, slots=True)
class Listen:
    """One ``listen``. Exactly one of (*host*, *port*) and *path* is meant: *path* is for ``unix:``.

    Several servers may share one address; the socket's own options
    (*backlog*, *reuseport*, *ipv6only*, …) are then those of the server that set them.
    """

    host: str = "0.0.0.0"
    port: int = 80
    path: str = ""
    ssl: bool = False
    default_server: bool = False
    reuseport: bool = False
    backlog: int = 511
    ipv6only: bool = True
    so_keepalive: bool = False
    rcvbuf: int = 0
    sndbuf: int = 0
    http2: bool = False

    @property
    def address(self) -> tuple[str, int] | str:
        """What identifies the socket: ``(host, port)``, or the path of a UNIX socket."""
        return self.path or (self.host, self.port)


@dataclass(frozen=True, slots=True)
class SslOptions:
    """``ssl_*`` of one server; certificates are (certificate, key) paths."""

    certificates: tuple[tuple[str, str], ...] = ()
    protocols: frozenset[str] = frozenset({"TLSv1.2", "TLSv1.3"})
    ciphers: str = "HIGH:!aNULL:!MD5"
    conf_command: tuple[tuple[str, str], ...] = ()
    dhparam: str = ""
    ecdh_curve: str = "auto"
    prefer_server_ciphers: bool = False
    session_cache: str = "none"
    session_cache_size: int = 0
    session_timeout: float = 300.0
    session_tickets: bool = True
    session_ticket_keys: tuple[str, ...] = ()
    buffer_size: int = 16384
    password_files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Location:
    """One ``location``, or the server's own level (*pattern* empty) that holds where none matches.

    *regex* is compiled for the two regex kinds. *locations* are nested ones in
    the order of the file. *limit_except* takes the place of all of it for some methods.
    *never_hot* are the directives in force that rule out the fast path (``fast_path``).
    """

    match: Match
    pattern: bytes
    core: CoreOptions
    proxy: ProxyOptions
    cache: CacheOptions
    gzip: GzipOptions
    regex: re.Pattern[bytes] | None = None
    locations: tuple[Location, ...] = ()
    limit_except: LimitExcept | None = None
    #: ``rewrite``, ``set``, ``if`` …, in their order; an ``If`` holds the ``Location`` that it is.
    instructions: tuple[Instruction, ...] = ()
    #: An ``if`` of a location, which is found by its condition and not by a URI.
    nameless: bool = False
    error_log: ErrorLog | None = None
    never_hot: tuple[str, ...] = ()
    file: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True)
class LimitExcept:
    """``limit_except``: what holds instead of its location for every method not in *methods*."""

    methods: frozenset[bytes]
    location: Location


@dataclass(frozen=True, slots=True)
class Server:
    """One ``server``.

    *names* are as written, lower-case (``*.example.com``, ``.example.com``,
    ``~regex``); *regexes* those compiled, by name. *root* is the server-level
    pseudo location; *location_tree* its top-level locations in file order.
    """

    listens: tuple[Listen, ...]
    names: tuple[str, ...]
    root: Location
    regexes: Mapping[str, re.Pattern[bytes]] = field(default_factory=lambda: MappingProxyType({}))
    ssl: SslOptions | None = None
    client_header_timeout: float = 60.0
    client_header_buffer_size: int = 1024
    large_client_header_buffers: tuple[int, int] = (4, 8192)
    max_headers: int = 1000
    underscores_in_headers: bool = False
    ignore_invalid_headers: bool = True
    merge_slashes: bool = True
    file: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True)
class UpstreamServer:
    """``server address [parameters]`` in ``upstream``; *path* is set for ``unix:``."""

    host: str = ""
    port: int = 80
    path: str = ""
    weight: int = 1
    max_conns: int = 0
    max_fails: int = 1
    fail_timeout: float = 10.0
    backup: bool = False
    down: bool = False
    #: As it is written, by which ``hash … consistent`` places it.
    label: str = ""

    @property
    def name(self) -> str:
        """``$upstream_addr``'s form: ``host:port`` or ``unix:/path``."""
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Balancing(Enum):
    """How an upstream chooses among its servers, where it is not by round robin."""

    LEAST_CONN = "least_conn"
    IP_HASH = "ip_hash"
    HASH = "hash"
    CONSISTENT_HASH = "hash consistent"
    RANDOM = "random"
    RANDOM_TWO = "random two"


@dataclass(frozen=True, slots=True)
class Upstream:
    """``upstream name``, or the implicit one of a ``proxy_pass`` that names an address.

    *keepalive* 0 means that connections are not kept.
    """

    name: str
    servers: tuple[UpstreamServer, ...]
    #: The method and what it goes by, such as the text of ``hash``.
    balancing: tuple[Balancing, Template | None] | None = None
    keepalive: int = 32
    keepalive_requests: int = 1000
    keepalive_time: float = 3600.0
    keepalive_timeout: float = 60.0


@dataclass(frozen=True, slots=True)
class CacheZone:
    """``proxy_cache_path``. *memory* is ours: bytes of ready-to-send entries in memory.

    *loader_* and *manager_*: items, then seconds, of one iteration, and seconds between two.
    """

    name: str
    path: str
    levels: tuple[int, ...] = ()
    keys_size: int = 10 << 20
    inactive: float = 600.0
    max_size: int | None = None
    min_free: int = 0
    memory: int = 64 << 20
    use_temp_path: bool = True
    temp_path: str = ""
    loader_files: int = 100
    loader_threshold: float = 0.2
    loader_sleep: float = 0.05
    manager_files: int = 100
    manager_threshold: float = 0.2
    manager_sleep: float = 0.05


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that one configuration says. *prefix* is where relative paths start."""

    prefix: str
    servers: tuple[Server, ...]
    upstreams: Mapping[str, Upstream]
    zones: Mapping[str, CacheZone]
    error_log: ErrorLog | None = None
    pid: str = ""
    user: tuple[str, str] | None = None
    worker_shutdown_timeout: float | None = None
    variables: frozenset[str] = frozenset()
    warnings: tuple[str, ...] = ()
