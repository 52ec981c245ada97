"""Combines the ``listen`` and ``server_name`` of all servers into listening addresses.

nginx's ``ngx_http_add_addresses`` and ``ngx_http_server_names``: options of a
socket are given once, one server is the default of an address, a name belongs
to the first server that has it.

Imports: ``model``, ``source``, ``table``.
"""

from __future__ import annotations

import dataclasses

from cacheproxy.config.model import Listen, Server
from cacheproxy.config.source import Directive
from cacheproxy.config.table import Build, Level

__all__ = ["address_text", "check_listens", "server_listens"]

_SOCKET_OPTIONS = ("reuseport", "backlog", "ipv6only", "so_keepalive", "rcvbuf", "sndbuf")
_PLAIN = Listen()


def server_listens(level: Level) -> tuple[Listen, ...]:
    """The ``listen`` directives of one server; ``*:80`` where it has none."""
    listens = level.values.get("listen")
    return tuple(listen for listen, _ in listens) if listens else (Listen(),)


def address_text(listen: Listen) -> str:
    """An address as messages show it."""
    if listen.path:
        return f"unix:{listen.path}"
    host = f"[{listen.host}]" if ":" in listen.host else listen.host
    return f"{host}:{listen.port}"


def check_listens(build: Build, servers: list[Server]) -> list[Server]:
    """Give every server what others say of its addresses; faults go to *build*."""
    by_address: dict[object, list[tuple[Server, Listen]]] = {}
    for server in servers:
        for listen in server.listens:
            # port 0 is another port each time
            key = listen.address if listen.port or listen.path else (listen.host, id(listen))
            by_address.setdefault(key, []).append((server, listen))
    settled = {}
    for address, group in by_address.items():
        settled[address] = _settle(build, group)
        _check_names(build, group)
    return [
        dataclasses.replace(
            server,
            listens=tuple(
                _merged(listen, server, settled.get(listen.address)) for listen in server.listens
            ),
        )
        for server in servers
    ]


def _place(server: Server) -> Directive:
    return Directive("server", (), (), server.file, server.line)


@dataclasses.dataclass(frozen=True)
class _Settled:
    """What holds for one address, whoever said it."""

    options: Listen
    default: Server


def _settle(build: Build, group: list[tuple[Server, Listen]]) -> _Settled:
    defaults = [server for server, listen in group if listen.default_server]
    setters = [(server, listen) for server, listen in group if _sets_options(listen)]
    shown = address_text(group[0][1])
    for server in defaults[1:]:
        build.fault(f"a duplicate default server for {shown}", _place(server))
    for server, _ in setters[1:]:
        build.fault(f"duplicate listen options for {shown}", _place(server))
    default = defaults[0] if defaults else group[0][0]
    ssl = any(listen.ssl for _, listen in group)
    if ssl and not (default.ssl and default.ssl.certificates):
        build.fault(
            'no "ssl_certificate" is defined for the "listen ... ssl" directive', _place(default)
        )
    options = setters[0][1] if setters else group[0][1]
    http2 = any(listen.http2 for _, listen in group)
    return _Settled(dataclasses.replace(options, ssl=ssl, http2=http2), default)


def _sets_options(listen: Listen) -> bool:
    return any(getattr(listen, name) != getattr(_PLAIN, name) for name in _SOCKET_OPTIONS)


def _merged(listen: Listen, server: Server, settled: _Settled | None) -> Listen:
    if settled is None:
        return dataclasses.replace(listen, default_server=True)
    return dataclasses.replace(settled.options, default_server=server is settled.default)


def _check_names(build: Build, group: list[tuple[Server, Listen]]) -> None:
    seen: set[str] = set()
    for server, listen in group:
        for name in server.names:
            if name in seen:
                build.warn(
                    f'conflicting server name "{name}" on {address_text(listen)}, ignored',
                    _place(server),
                )
            seen.add(name)
