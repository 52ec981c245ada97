"""Addresses of ``listen``, ``server`` in ``upstream``, ``proxy_pass`` and ``uwsgi_pass``.

nginx's ``ngx_parse_url`` and the parameter loops around it. Names are kept as
written: they are resolved where connections are made.

Imports: ``errors``, ``model``, ``units``.
"""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Any

from cacheproxy.config import units
from cacheproxy.config.model import Listen, UpstreamServer
from cacheproxy.errors import ConfigError
from cacheproxy.policy.options import ProxyPass

__all__ = [
    "parse_listen",
    "parse_proxy_pass",
    "parse_upstream_server",
    "parse_uwsgi_pass",
    "split_host",
]

_HOST = re.compile(r"[^\s/:?#@\[\]\\]+")
_SCHEMES = {"http": 80, "https": 443}
#: Bytes that the path of a UNIX socket may have (``sockaddr_un`` without the NUL at its end).
MAX_SOCKET_PATH = 107

_SOCKET_PARAMETERS = ("backlog", "rcvbuf", "sndbuf")


def split_host(text: str, default: int, *, least: int = 1) -> tuple[str, int, bool]:
    """``host[:port]`` to (host, port, whether a port was given).

    Raises :class:`ValueError` with nginx's reason. IPv6 addresses come in
    brackets and are returned without.
    """
    if text.startswith("["):
        inside, bracket, rest = text[1:].partition("]")
        try:
            host = str(IPv6Address(inside)) if bracket else ""
        except AddressValueError as error:
            raise ValueError("invalid IPv6 address") from error
        if not host or (rest and not rest.startswith(":")):
            raise ValueError("invalid host")
        port_text, given = rest[1:], bool(rest)
    else:
        host, colon, port_text = text.partition(":")
        given = bool(colon)
        if not host:
            raise ValueError("no host")
        if not _HOST.fullmatch(host) and host != "*":
            raise ValueError("invalid host")
        if re.fullmatch(r"[0-9.]+", host) and "." in host:
            try:
                IPv4Address(host)
            except AddressValueError as error:
                raise ValueError("host not found") from error
    if not given:
        return host, default, False
    if not port_text.isascii() or not port_text.isdigit():
        raise ValueError("invalid port")
    port = int(port_text[:9])
    if not least <= port <= 65535:
        raise ValueError("invalid port")
    return host, port, True


def _socket_path(path: str, place: str) -> str:
    """The path of a UNIX socket; raises :class:`ConfigError`, with *place* at its end."""
    if not path:
        raise ConfigError(f"no path in the unix domain socket in {place}")
    if len(path.encode("utf-8", "surrogateescape")) > MAX_SOCKET_PATH:
        raise ConfigError(f"too long path in the unix domain socket in {place}")
    return path


def parse_listen(args: tuple[str, ...]) -> list[Listen]:
    """One ``listen``: several results for a range of ports.

    Unlike nginx, port 0 is taken: the system then picks a free one.
    """
    options = _listen_options(args)
    address = args[0]
    if address.startswith("unix:"):
        path = _socket_path(address[5:], f'"{address}" of the "listen"')
        return [Listen(host="", port=0, path=path, **options)]
    ports = re.fullmatch(r"((?:.*:)?)([0-9]+)-([0-9]+)", address)
    first = last = 0
    if ports is not None:
        first, last = int(ports.group(2)[:9]), int(ports.group(3)[:9])
        address = ports.group(1) + ports.group(2)
        if not first <= last <= 65535:
            raise ConfigError(f'invalid port in "{args[0]}" of the "listen" directive')
    if re.fullmatch(r"[0-9]+", address):
        address = f"*:{address}"
    try:
        host, port, _ = split_host(address, 80, least=0)
    except ValueError as error:
        raise ConfigError(f'{error} in "{args[0]}" of the "listen" directive') from error
    host = "0.0.0.0" if host == "*" else host
    return [Listen(host=host, port=one, **options) for one in range(port, max(port, last) + 1)]


def _listen_options(args: tuple[str, ...]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for word in args[1:]:
        key, equals, text = word.partition("=")
        if word in ("default_server", "default"):
            options["default_server"] = True
        elif word in ("ssl", "reuseport", "http2"):
            options[word] = True
        elif word in ("bind", "deferred"):
            continue
        elif word == "quic":
            raise ConfigError('"quic" parameter of the "listen" directive is not supported')
        elif word == "proxy_protocol":
            raise ConfigError('"proxy_protocol" parameter of "listen" is not supported')
        elif key in _SOCKET_PARAMETERS and equals:
            options[key] = _socket_number(key, text)
        elif key == "fastopen" and text.isdigit():
            continue
        elif key == "ipv6only":
            if text not in ("on", "off"):
                raise ConfigError(f'invalid ipv6only flags "{text}"')
            options["ipv6only"] = text == "on"
        elif key == "so_keepalive":
            options["so_keepalive"] = _keepalive(text)
        else:
            raise ConfigError(f'invalid parameter "{word}"')
    return options


def _socket_number(key: str, text: str) -> int:
    try:
        value = units.number(text) if key == "backlog" else units.size(text)
    except ValueError:
        value = 0
    if not value:
        raise ConfigError(f'invalid {key} "{text}"')
    return value


def _keepalive(text: str) -> bool:
    if text in ("on", "off"):
        return text == "on"
    raise ConfigError(f'invalid so_keepalive value: "{text}"')


def parse_upstream_server(args: tuple[str, ...]) -> UpstreamServer:
    """``server address [parameters]`` of an ``upstream`` block."""
    address = args[0]
    options = _upstream_options(args[1:])
    if address.startswith("unix:"):
        path = _socket_path(address[5:], f'upstream "{address}"')
        return UpstreamServer(path=path, port=0, label=address, **options)
    try:
        host, port, _ = split_host(address, 80)
    except ValueError as error:
        raise ConfigError(f'{error} in upstream "{address}"') from error
    if host == "*":
        raise ConfigError(f'invalid host in upstream "{address}"')
    return UpstreamServer(host=host, port=port, label=address, **options)


def _upstream_options(words: tuple[str, ...]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if word in ("backup", "down"):
            options[word] = True
            continue
        try:
            if not equals or key not in ("weight", "max_fails", "max_conns", "fail_timeout"):
                raise ValueError
            if key == "fail_timeout":
                options[key] = float(units.whole_seconds(text))
            else:
                options[key] = units.number(text)
                if key == "weight" and not options[key]:
                    raise ValueError
        except ValueError as error:
            raise ConfigError(f'invalid parameter "{word}"') from error
    return options


def parse_proxy_pass(url: str) -> tuple[ProxyPass, UpstreamServer, bool]:
    """A ``proxy_pass`` URL without variables, the address it names, and if it gives a port.

    The port that the scheme implies is left out of the authority, and a UNIX
    socket's is ``localhost`` (``ngx_http_proxy_set_vars``).
    """
    scheme, separator, rest = url.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in _SCHEMES:
        raise ConfigError("invalid URL prefix")
    default = _SCHEMES[scheme]
    if rest.startswith("unix:"):
        return _unix_pass(url, scheme, rest[5:])
    end = min((rest.find(c) for c in "/?" if c in rest), default=len(rest))
    authority, uri = rest[:end], rest[end:]
    if uri.startswith("?"):
        uri = f"/{uri}"
    try:
        host, port, given = split_host(authority, default)
    except ValueError as error:
        raise ConfigError(f'{error} in upstream "{rest}"') from error
    if host == "*":
        raise ConfigError(f'invalid host in upstream "{rest}"')
    shown = f"[{host}]" if ":" in host else host
    if port != default:
        shown = f"{shown}:{port}"
    server = UpstreamServer(host=host, port=port)
    proxy_pass = ProxyPass(
        scheme.encode(),
        shown.encode(),
        server.name if given or ":" in host else host,
        uri.encode("utf-8", "surrogateescape") if uri else None,
    )
    return proxy_pass, server, given


def _unix_pass(url: str, scheme: str, rest: str) -> tuple[ProxyPass, UpstreamServer, bool]:
    path, colon, uri = rest.partition(":")
    server = UpstreamServer(path=_socket_path(path, f'upstream "{url}"'), port=0)
    target = uri.encode("utf-8", "surrogateescape") if colon and uri else None
    return ProxyPass(scheme.encode(), b"localhost", server.name, target), server, False


_UWSGI_SCHEMES = ("uwsgi", "suwsgi")


def parse_uwsgi_pass(url: str) -> tuple[ProxyPass, UpstreamServer, bool]:
    """As :func:`parse_proxy_pass` for a ``uwsgi_pass``: ``[[s]uwsgi://]host:port`` or ``unix:``.

    There is no port by default: without one it must be the name of a group.
    """
    scheme, separator, address = url.partition("://")
    if not separator or scheme.lower() not in _UWSGI_SCHEMES:
        scheme, address = "uwsgi", url
    scheme = scheme.lower()
    if address.startswith("unix:"):
        path = _socket_path(address[5:], f'upstream "{address}"')
        server = UpstreamServer(path=path, port=0)
        return ProxyPass(scheme.encode(), b"localhost", server.name), server, False
    try:
        if "/" in address:
            raise ValueError("invalid host")
        host, port, given = split_host(address, 0)
        if host == "*":
            raise ValueError("invalid host")
    except ValueError as error:
        raise ConfigError(f'{error} in upstream "{address}"') from error
    server = UpstreamServer(host=host, port=port)
    name = server.name if given else host
    return ProxyPass(scheme.encode(), address.encode(), name), server, given
