"""``syslog:server=…`` as the target of ``error_log`` and ``access_log``: its parameters.

Source: nginx ``ngx_syslog_process_conf``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from cacheproxy.errors import ConfigError

__all__ = ["SyslogOptions", "parse_syslog"]

_FACILITIES = (
    *("kern", "user", "mail", "daemon", "auth", "intern", "lpr", "news", "uucp", "clock"),
    *("authpriv", "ftp", "ntp", "audit", "alert", "cron"),
    *(f"local{number}" for number in range(8)),
)

_SEVERITIES = ("emerg", "alert", "crit", "error", "warn", "notice", "info", "debug")

_PORT = 514


@dataclass(frozen=True, slots=True)
class SyslogOptions:
    """``syslog:server=…``; *path* is set for a UNIX socket, else *host* and *port* are."""

    host: str = ""
    port: int = _PORT
    path: str = ""
    facility: int = 23
    severity: int = 6
    tag: str = "cacheproxy"
    hostname: bool = True


def parse_syslog(text: str) -> SyslogOptions:
    """Read ``syslog:server=address[,parameter=value]``; raises ``ConfigError``."""
    values: dict[str, str] = {}
    for part in text.removeprefix("syslog:").split(","):
        name, equals, value = part.partition("=")
        if name == "nohostname" and not equals:
            value = "yes"
        elif name not in ("server", "facility", "severity", "tag") or not value:
            raise ConfigError(f'unknown syslog parameter "{part}"')
        if name in values:
            raise ConfigError(f'duplicate syslog "{name}"')
        values[name] = value
    if "server" not in values:
        raise ConfigError("no syslog server specified")
    host, port, path = _address(values["server"])
    tag = values.get("tag", "cacheproxy")
    if not re.fullmatch(r"\w{1,32}", tag, re.ASCII):
        raise ConfigError(f'syslog "tag" only allows 32 alphanumeric characters: "{tag}"')
    return SyslogOptions(
        host,
        port,
        path,
        _index("facility", _FACILITIES, values.get("facility", "local7")),
        _index("severity", _SEVERITIES, values.get("severity", "info")),
        tag,
        "nohostname" not in values,
    )


def _index(what: str, names: tuple[str, ...], name: str) -> int:
    if name not in names:
        raise ConfigError(f'unknown syslog {what} "{name}"')
    return names.index(name)


def _address(server: str) -> tuple[str, int, str]:
    if server.startswith("unix:"):
        return "", 0, server[5:]
    match = re.fullmatch(r"(?:\[([^]]+)\]|([^:]+))(?::(\d{1,5}))?", server)
    port = int(match[3] or _PORT) if match else 0
    if match is None or not 0 < port < 65536:
        raise ConfigError(f'invalid syslog server "{server}"')
    return match[1] or match[2], port, ""
