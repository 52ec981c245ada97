"""``syslog:`` as the target of a log: one datagram a line, never blocking.

Lines that the socket does not take are lost, as in nginx; the caller complains.
Source: RFC 3164 §4.1 as nginx writes it.
"""

from __future__ import annotations

import socket
import time
from typing import Any

from cacheproxy.config.syslog import SyslogOptions
from cacheproxy.errors import ConfigError

__all__ = ["Syslog"]

#: Bytes of one datagram; what is longer is cut, as the largest UDP payload demands.
MAX_DATAGRAM = 65000

_MONTHS = (
    *("Jan", "Feb", "Mar", "Apr", "May", "Jun"),
    *("Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
)


class Syslog:
    """Sends lines to one server. The address is resolved once, when this is made.

    Raises ``ConfigError`` where the host is unknown; a missing socket is not an
    error yet, since the daemon may start later.
    """

    def __init__(self, options: SyslogOptions, hostname: str | None = None) -> None:
        self.options = options
        self._hostname = hostname if hostname is not None else socket.gethostname()
        self._socket: socket.socket | None = None
        self._family = socket.AF_UNIX
        self._target: Any = options.path
        if not options.path:
            try:
                found = socket.getaddrinfo(options.host, options.port, type=socket.SOCK_DGRAM)
            except OSError as error:
                raise ConfigError(f'host not found in syslog server "{options.host}"') from error
            self._family, _, _, _, self._target = found[0]
        self._second = -1
        self._stamp = ""

    def write_line(self, line: bytes, wall: float, severity: int | None = None) -> None:
        """Send one line; *wall* is wall seconds, *severity* defaults to the options'.

        Raises ``OSError`` where the line was lost; the next call tries afresh.
        """
        header = self._header(int(wall), self.options.severity if severity is None else severity)
        try:
            if self._socket is None:
                self._socket = self._open()
            self._socket.send((header + line.rstrip(b"\n"))[:MAX_DATAGRAM])
        except OSError:
            self.close()
            raise

    def _open(self) -> socket.socket:
        opened = socket.socket(self._family, socket.SOCK_DGRAM)
        try:
            opened.setblocking(False)
            opened.connect(self._target)
        except BaseException:
            opened.close()
            raise
        return opened

    def _header(self, second: int, severity: int) -> bytes:
        if second != self._second:
            self._second = second
            now = time.localtime(second)
            month = _MONTHS[now.tm_mon - 1]
            self._stamp = f"{month} {now.tm_mday:2d} {time.strftime('%H:%M:%S', now)}"
        options = self.options
        host = f" {self._hostname}" if options.hostname else ""
        priority = options.facility * 8 + severity
        return f"<{priority}>{self._stamp}{host} {options.tag}: ".encode("utf-8", "replace")

    def close(self) -> None:
        """Close the socket; it is opened again when there is something to send."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
