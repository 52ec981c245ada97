"""Rows of TLS on the listening side: nginx's ``ngx_http_ssl_module`` and ``http2``."""

from __future__ import annotations

import re

from cacheproxy.config import units
from cacheproxy.config.converters import file_path, protocols
from cacheproxy.config.source import Directive
from cacheproxy.config.table import (
    FLAG,
    HS,
    MANY,
    SECONDS,
    SIZE,
    Build,
    Level,
    Merge,
    Row,
    accepted,
    listed,
    only,
    path,
    text,
    value,
)
from cacheproxy.errors import ConfigError

__all__ = ["ROWS"]

_SERVER_NAME = re.compile(r"\$(?:ssl_server_name\b|\{ssl_server_name\})")

def _certificate(build: Build, directive: Directive) -> str:
    """A path; of variables it may hold the one that is known before the handshake."""
    word = directive.args[0]
    if "$" in _SERVER_NAME.sub("", word):
        raise ConfigError(
            f'only the variable "$ssl_server_name" can be used in "{directive.name}" directive'
        )
    return file_path(build, directive)


def _session_cache(build: Build, level: Level, directive: Directive) -> None:
    kind, size = "none", 0
    for word in directive.args:
        name, _, rest = word.partition(":")
        if word in ("off", "none"):
            kind, size = word, 0
        elif name == "builtin":
            kind = "builtin" if kind != "shared" else kind
        elif name == "shared" and ":" in rest:
            zone, _, amount = rest.partition(":")
            kind, size = "shared", _zone_size(zone, amount)
        else:
            raise ConfigError(f'invalid session cache "{word}"')
    level.put("ssl.session_cache", kind, directive)
    level.put("ssl.session_cache_size", size, directive)


def _zone_size(zone: str, amount: str) -> int:
    try:
        size = units.size(amount)
    except ValueError:
        size = 0
    if not zone or not size:
        raise ConfigError(f'invalid session cache "shared:{zone}:{amount}"')
    if size < 8 * 4096:
        raise ConfigError(f'session cache "shared:{zone}:{amount}" is too small')
    return size


def _http2(build: Build, level: Level, directive: Directive) -> None:
    if FLAG(build, directive):
        build.warn('"http2" is accepted, HTTP/1.1 is served', directive)


def _conf_command(build: Build, directive: Directive) -> tuple[str, str]:
    return directive.args[0], directive.args[1]


ROWS: list[Row] = [
    listed("ssl_certificate", HS, 1, _certificate, "ssl.certificate"),
    listed("ssl_certificate_key", HS, 1, _certificate, "ssl.certificate_key"),
    listed("ssl_password_file", HS, 1, path, "ssl.password_files"),
    value("ssl_protocols", HS, (1, MANY), protocols, "ssl.protocols"),
    value("ssl_ciphers", HS, 1, text, "ssl.ciphers"),
    listed("ssl_conf_command", HS, 2, _conf_command, "ssl.conf_command"),
    value("ssl_dhparam", HS, 1, path, "ssl.dhparam"),
    value("ssl_ecdh_curve", HS, 1, text, "ssl.ecdh_curve"),
    value("ssl_prefer_server_ciphers", HS, 1, FLAG, "ssl.prefer_server_ciphers"),
    Row("ssl_session_cache", HS, (1, 2), _session_cache, "ssl.session_cache"),
    value("ssl_session_timeout", HS, 1, SECONDS, "ssl.session_timeout"),
    value("ssl_session_tickets", HS, 1, FLAG, "ssl.session_tickets"),
    listed("ssl_session_ticket_key", HS, 1, path, "ssl.session_ticket_keys"),
    value("ssl_buffer_size", HS, 1, SIZE, "ssl.buffer_size"),
    Row(
        "http2",
        HS,
        (1, 1),
        _http2,
        merge=Merge.LOCAL,
        note="HTTP/1.1 is served: clients agree on it by ALPN. A warning says so.",
        without_effect=True,
    ),
    *only("ssl_stapling", HS, "off", "OCSP responses are not stapled."),
    *accepted(
        "ssl_stapling_verify ssl_trusted_certificate", HS, "Only matters with ssl_stapling."
    ),
    *only("ssl_verify_client", HS, "off", "Clients are not asked for certificates."),
    *only("ssl_early_data", HS, "off", "Early data can be replayed by an attacker."),
    *only("ssl_reject_handshake", HS, "off", "A certificate is always presented."),
]
