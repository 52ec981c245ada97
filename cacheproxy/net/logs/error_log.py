"""Error logs: lines in nginx's form, complaints at most once a minute, Twisted's own errors.

Source: ngx_log.c, ``error_log``. Imports ``errors``, ``config.syslog``, ``proxy.interfaces``,
``net.logs``, twisted.logger.
"""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import Mapping

from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel, formatEvent
from zope.interface import implementer

from cacheproxy.config.syslog import parse_syslog
from cacheproxy.errors import ConfigError
from cacheproxy.net.logs.log_file import LogFile, escape
from cacheproxy.net.logs.syslog import Syslog
from cacheproxy.proxy.interfaces import Scheduler

__all__ = ["LEVELS", "ErrorLog", "ErrorLogObserver", "OncePerMinute", "to_twisted"]

#: Severities from least to most severe, as ``error_log`` names them.
LEVELS = ("debug", "info", "notice", "warn", "error", "crit", "alert", "emerg")

#: Characters of one line of an error log (nginx ``NGX_MAX_ERROR_STR``).
MAX_ERROR_LINE = 2048

#: Lines of one traceback that reach the error log.
MAX_TRACEBACK_LINES = 60

#: Different complaints that ``OncePerMinute`` remembers.
MAX_COMPLAINTS = 256

_MINUTE = 60.0

_TWISTED_LEVELS = {
    "debug": LogLevel.debug,
    "info": LogLevel.info,
    "notice": LogLevel.info,
    "warn": LogLevel.warn,
    "error": LogLevel.error,
}

_QUOTED = frozenset({"request", "subrequest", "upstream", "host", "referrer"})

_log = Logger()


def to_twisted(complaint: str) -> None:
    """The last resort: Twisted's own log. Never copied into an error log again."""
    _log.error("{complaint}", complaint=complaint)


class ErrorLog:
    """``error_log path [level]``; with *path* None everything goes to ``twisted.logger``.

    Lines have nginx's form: ``2026/11/21 07:00:00 [error] 12#12: *45 message,
    client: 192.0.2.1, server: x``. Raises ``ConfigError`` where it cannot be opened.
    """

    def __init__(self, path: str | None, level: str, scheduler: Scheduler) -> None:
        if level not in LEVELS:
            raise ConfigError(f'invalid log level "{level}"')
        self.path = path
        self.level = level
        self._threshold = LEVELS.index(level)
        self._scheduler = scheduler
        self._file: LogFile | None = None
        self._syslog: Syslog | None = None
        self._second = -1
        self._stamp = ""
        self._last_failure = float("-inf")
        if path is None:
            return
        if path.startswith("syslog:"):
            self._syslog = Syslog(parse_syslog(path))
        else:
            self._file = LogFile(path, self._write_failed)

    def enabled(self, level: str) -> bool:
        """Whether a message of *level* would be written."""
        return LEVELS.index(level) >= self._threshold

    def log(
        self,
        level: str,
        message: str,
        context: Mapping[str, str | bytes] | None = None,
        connection: int = 0,
    ) -> None:
        """Write one line; never raises for what it is given.

        *context* follows the message in its order, as ``name: value``; ``request``,
        ``upstream``, ``host`` and ``referrer`` are quoted. *connection* is the
        connection's number, 0 for none. Everything is escaped and cut to ``MAX_ERROR_LINE``.
        """
        severity = LEVELS.index(level)
        if severity < self._threshold:
            return
        text = f"*{connection} {escape(message)}" if connection else escape(message)
        if context:
            text += "".join(_named(name, value) for name, value in context.items() if value)
        if self._file is None and self._syslog is None:
            twisted_level = _TWISTED_LEVELS.get(level, LogLevel.critical)
            _log.emit(twisted_level, "{text}", text=text[:MAX_ERROR_LINE])
            return
        process = os.getpid()
        line = f"{self._time()} [{level}] {process}#{process}: {text}"[: MAX_ERROR_LINE - 1] + "\n"
        data = line.encode("utf-8", "backslashreplace")
        if self._file is not None:
            self._file.write(data)
        elif self._syslog is not None:
            try:
                # syslog counts the other way round: 0 is emerg, 7 is debug.
                self._syslog.write_line(data, self._scheduler.wall(), 7 - severity)
            except OSError as error:
                self._write_failed(f"send() to syslog failed ({error.errno}: {error.strerror})")

    def error(self, message: str, context: Mapping[str, str | bytes] | None = None) -> None:
        """``log`` at level ``error``."""
        self.log("error", message, context)

    def _write_failed(self, complaint: str) -> None:
        """The last resort: twistd's own log, once a minute."""
        now = self._scheduler.monotonic()
        if now - self._last_failure >= _MINUTE:
            self._last_failure = now
            to_twisted(complaint)

    def _time(self) -> str:
        second = int(self._scheduler.wall())
        if second != self._second:
            self._second = second
            self._stamp = time.strftime("%Y/%m/%d %H:%M:%S", time.localtime(second))
        return self._stamp

    def give_to(self, uid: int, gid: int) -> None:
        """Make the file belong to *uid*."""
        if self._file is not None:
            self._file.give_to(uid, gid)

    def reopen(self) -> None:
        if self._file is not None:
            self._file.reopen()
        if self._syslog is not None:
            self._syslog.close()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        if self._syslog is not None:
            self._syslog.close()


def _named(name: str, value: str | bytes) -> str:
    text = escape(value)
    return f', {name}: "{text}"' if name in _QUOTED else f", {name}: {text}"


class OncePerMinute:
    """Repeats a complaint at most once a minute, saying how many were left out.

    *scheduler* gives monotonic time; at most ``MAX_COMPLAINTS`` are told apart.
    """

    def __init__(self, log: ErrorLog, scheduler: Scheduler) -> None:
        self._log = log
        self._scheduler = scheduler
        self._last: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def complain(self, message: str, key: str | None = None, level: str = "error") -> None:
        """Log *message* unless one of the same *key* (default: the text) was logged just now."""
        key = message if key is None else key
        now = self._scheduler.monotonic()
        last, left_out = self._last.get(key, (float("-inf"), 0))
        if now - last < _MINUTE:
            self._last[key] = (last, left_out + 1)
            return
        self._last[key] = (now, 0)
        self._last.move_to_end(key)
        if len(self._last) > MAX_COMPLAINTS:
            self._last.popitem(last=False)
        suffix = f" ({left_out} more since the last report)" if left_out else ""
        self._log.log(level, message + suffix)


@implementer(ILogObserver)
class ErrorLogObserver:
    """Copies what Twisted logs, from *level* up, into an error log, tracebacks line by line.

    What an ``ErrorLog`` itself gave to ``twisted.logger`` is left alone.
    """

    def __init__(self, log: ErrorLog, level: LogLevel = LogLevel.warn) -> None:
        self._log = log
        self._level = level
        self._busy = False

    def __call__(self, event: LogEvent) -> None:
        level = event.get("log_level")
        if level is None or level < self._level or self._busy:
            return
        if self._log.path is None or event.get("log_namespace") == __name__:
            return
        # A failure in here must not come back here.
        self._busy = True
        try:
            self._copy(event, level)
        finally:
            self._busy = False

    def _copy(self, event: LogEvent, level: LogLevel) -> None:
        name = {"warn": "warn", "critical": "crit"}.get(level.name, "error")
        name = level.name if level.name in ("debug", "info") else name
        self._log.log(name, formatEvent(event))
        failure = event.get("log_failure")
        if failure is not None:
            for line in failure.getTraceback().splitlines()[-MAX_TRACEBACK_LINES:]:
                self._log.log(name, line)
