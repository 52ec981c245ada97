"""Access and error logs: files, standard streams, syslog.

A log must never fail a request: what cannot be written is dropped, with one
complaint a minute. Lines of one turn of the reactor are written together, by a
single ``write`` to a file opened for appending, so that several processes can
share it; ``close`` writes what waits. One module, since access and error logs share
their files and complain to each other.

Source: ngx_http_log_module, ngx_log.c. Imports ``errors``, ``config.syslog``,
``proxy.interfaces``, ``net.logs.syslog``, twisted.logger.
"""

from __future__ import annotations

import os
import stat
import time
import zlib
from collections import OrderedDict
from collections.abc import Callable, Mapping

from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel, formatEvent
from zope.interface import implementer

from cacheproxy.config.syslog import parse_syslog
from cacheproxy.errors import ConfigError
from cacheproxy.net.logs.syslog import Syslog
from cacheproxy.proxy.interfaces import Cancellable, Scheduler

__all__ = [
    "LEVELS",
    "AccessLogFile",
    "ErrorLog",
    "ErrorLogObserver",
    "LogFiles",
    "OncePerMinute",
    "VariableLogFiles",
    "escape",
]

#: Severities from least to most severe, as ``error_log`` names them.
LEVELS = ("debug", "info", "notice", "warn", "error", "crit", "alert", "emerg")

#: Octets gathered in one turn before they are written without waiting for its end.
TURN_LIMIT = 64 * 1024

#: What ``gzip`` without ``buffer`` gathers, as in nginx.
GZIP_BUFFER = 64 * 1024

#: Characters of one line of an error log (nginx ``NGX_MAX_ERROR_STR``).
MAX_ERROR_LINE = 2048

#: Lines of one traceback that reach the error log.
MAX_TRACEBACK_LINES = 60

#: Files that one ``VariableLogFiles`` keeps open.
MAX_OPEN_LOGS = 64

#: Different complaints that ``OncePerMinute`` remembers.
MAX_COMPLAINTS = 256

_MINUTE = 60.0

_STANDARD_STREAMS = {"/dev/stdout": 1, "/dev/stderr": 2, "stderr": 2}

_TWISTED_LEVELS = {
    "debug": LogLevel.debug,
    "info": LogLevel.info,
    "notice": LogLevel.info,
    "warn": LogLevel.warn,
    "error": LogLevel.error,
}

_CONTROLS = {code: f"\\x{code:02X}" for code in (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029)}
_NOT_ASCII = {**_CONTROLS, **{code: f"\\x{code:02X}" for code in range(0x80, 0x100)}}

_log = Logger()


def _to_twisted(complaint: str) -> None:
    _log.error("{complaint}", complaint=complaint)


def escape(value: str | bytes) -> str:
    """*value* with nothing in it that could end a line or move a terminal's cursor.

    Control characters become ``\\xHH``; of bytes all above ASCII as well.
    """
    if isinstance(value, str):
        return value.translate(_CONTROLS)
    return value.decode("latin-1").translate(_NOT_ASCII)


def _open(path: str) -> int:
    """A descriptor that appends to *path*; raises ``OSError``."""
    stream = _STANDARD_STREAMS.get(path)
    if stream is not None:
        # Not by its name: a socket, as systemd gives, cannot be opened so.
        return os.dup(stream)
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)


def _open_failure(path: str, error: OSError) -> str:
    return f'open() "{path}" failed ({error.errno}: {error.strerror})'


class _File:
    """One open log file; opened at once (``ConfigError`` where that fails)."""

    __slots__ = ("_complain", "_descriptor", "path")

    def __init__(self, path: str, complain: Callable[[str], None]) -> None:
        self.path = path
        self._complain = complain
        try:
            self._descriptor = _open(path)
        except (OSError, ValueError) as error:
            if not isinstance(error, OSError):
                raise ConfigError(f'invalid log path "{escape(path)}"') from error
            raise ConfigError(_open_failure(path, error)) from error

    def write(self, data: bytes) -> None:
        """Append; on failure what could not be written is dropped."""
        if self._descriptor < 0:
            return
        try:
            written = os.write(self._descriptor, data)
            if written < len(data):
                # Mostly a disk that has just filled up: the second try tells why.
                os.write(self._descriptor, data[written:])
        except OSError as error:
            self._complain(f'write() to "{self.path}" failed ({error.errno}: {error.strerror})')

    def reopen(self) -> None:
        """Open the path anew (the file was renamed); keep the old one where that fails."""
        if self._descriptor < 0 or self.path in _STANDARD_STREAMS:
            return
        try:
            descriptor = _open(self.path)
        except OSError as error:
            self._complain(_open_failure(self.path, error))
            return
        os.close(self._descriptor)
        self._descriptor = descriptor

    def give_to(self, uid: int, gid: int) -> None:
        """Make the file belong to *uid*, which is to open it again (nginx: at reopening)."""
        try:
            if self._descriptor >= 0 and stat.S_ISREG(os.fstat(self._descriptor).st_mode):
                os.fchown(self._descriptor, uid, gid)
        except OSError as error:
            self._complain(f'chown() of "{self.path}" failed ({error.errno}: {error.strerror})')

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class AccessLogFile:
    """``access_log path [buffer= [flush=]] [gzip]``; lines come formatted, with their newline.

    *buffer* is octets, 0 for one write a turn; *flush* seconds, None for no limit;
    *gzip* a level, 0 for none: each buffer is then a gzip member of its own.
    Raises ``ConfigError`` where the file cannot be opened.
    """

    def __init__(
        self,
        path: str,
        scheduler: Scheduler,
        *,
        buffer: int = 0,
        flush: float | None = None,
        gzip: int = 0,
        complain: Callable[[str], None] = _to_twisted,
    ) -> None:
        self.path = path
        self.parameters = (buffer, flush, gzip)
        self._scheduler = scheduler
        self._gzip = gzip
        self._limit = buffer or (GZIP_BUFFER if gzip else 0)
        self._delay = flush if self._limit else 0.0
        self._lines: list[bytes] = []
        self._size = 0
        self._timer: Cancellable | None = None
        self._complain = complain
        self._file: _File | None = None
        self._syslog: Syslog | None = None
        if path.startswith("syslog:"):
            if self._limit:
                raise ConfigError("logs to syslog cannot be buffered")
            self._syslog = Syslog(parse_syslog(path))
        else:
            self._file = _File(path, complain)

    def write(self, line: bytes) -> None:
        """Log *line*. Never raises, never waits for the disk's queue."""
        if self._syslog is not None:
            self._send(self._syslog, line)
            return
        size = len(line)
        limit = self._limit or TURN_LIMIT
        if self._size + size > limit:
            self.flush()
        self._lines.append(line)
        self._size += size
        if self._size >= limit:
            self.flush()
        elif self._timer is None and self._delay is not None:
            self._timer = self._scheduler.call_later(self._delay, self._timed_flush)

    def _send(self, syslog: Syslog, line: bytes) -> None:
        try:
            syslog.write_line(line, self._scheduler.wall())
        except OSError as error:
            self._complain(f"send() to syslog failed ({error.errno}: {error.strerror})")

    def _timed_flush(self) -> None:
        self._timer = None
        self.flush()

    def flush(self) -> None:
        """Write what has been gathered."""
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
        if not self._lines:
            return
        data = b"".join(self._lines)
        self._lines = []
        self._size = 0
        if self._gzip:
            compressor = zlib.compressobj(self._gzip, zlib.DEFLATED, 31)
            data = compressor.compress(data) + compressor.flush()
        if self._file is not None:
            self._file.write(data)

    def give_to(self, uid: int, gid: int) -> None:
        """Make the file belong to *uid*."""
        if self._file is not None:
            self._file.give_to(uid, gid)

    def reopen(self) -> None:
        """What was logged before goes to the old file, what follows to the new."""
        self.flush()
        if self._file is not None:
            self._file.reopen()
        if self._syslog is not None:
            self._syslog.close()

    def close(self) -> None:
        """Write what waits and close; later lines are dropped."""
        self.flush()
        if self._file is not None:
            self._file.close()
        if self._syslog is not None:
            self._syslog.close()


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
        self._file: _File | None = None
        self._syslog: Syslog | None = None
        self._second = -1
        self._stamp = ""
        self._last_failure = float("-inf")
        if path is None:
            return
        if path.startswith("syslog:"):
            self._syslog = Syslog(parse_syslog(path))
        else:
            self._file = _File(path, self._write_failed)

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
            _to_twisted(complaint)

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


_QUOTED = frozenset({"request", "subrequest", "upstream", "host", "referrer"})


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


class LogFiles:
    """Every log that is open, each path once.

    *error_log* hears, once a minute each, of logs that cannot be written.
    """

    def __init__(self, scheduler: Scheduler, error_log: ErrorLog | None = None) -> None:
        self._scheduler = scheduler
        own = error_log or ErrorLog(None, "error", scheduler)
        self._complaints = OncePerMinute(own, scheduler)
        self._access: dict[str, AccessLogFile] = {}
        self._error: dict[tuple[str, str], ErrorLog] = {}
        self._variable: list[VariableLogFiles] = []
        if error_log is not None and error_log.path is not None:
            self._error[error_log.path, error_log.level] = error_log

    def access(
        self, path: str, *, buffer: int = 0, flush: float | None = None, gzip: int = 0
    ) -> AccessLogFile:
        """The access log at *path*; raises ``ConfigError`` where parameters conflict."""
        found = self._access.get(path)
        if found is None:
            found = self._access[path] = AccessLogFile(
                path,
                self._scheduler,
                buffer=buffer,
                flush=flush,
                gzip=gzip,
                complain=self._complaints.complain,
            )
        elif found.parameters != (buffer, flush, gzip):
            raise ConfigError(f'access_log "{path}" already defined with conflicting parameters')
        return found

    def error(self, path: str, level: str = "error") -> ErrorLog:
        """The error log at *path* with this threshold."""
        found = self._error.get((path, level))
        if found is None:
            found = self._error[path, level] = ErrorLog(path, level, self._scheduler)
        return found

    def variable(self) -> VariableLogFiles:
        """Logs whose path is rendered per request."""

        def complain(message: str) -> None:
            # One key for all: clients choose the paths, and each would be reported.
            self._complaints.complain(message, "access_log with variables")

        logs = VariableLogFiles(self._scheduler, complain)
        self._variable.append(logs)
        return logs

    def _all(self) -> list[AccessLogFile | ErrorLog | VariableLogFiles]:
        return [*self._access.values(), *self._variable, *self._error.values()]

    def reopen_all(self) -> None:
        """USR1: every file anew, under its name."""
        for log in self._all():
            log.reopen()

    def give_to(self, uid: int, gid: int) -> None:
        """Make every open file belong to *uid*: a reload opens it again, without root."""
        for access in self._access.values():
            access.give_to(uid, gid)
        for error in self._error.values():
            error.give_to(uid, gid)

    def close_all(self) -> None:
        """Write what waits and close everything; error logs last, since others complain there."""
        for log in self._all():
            log.close()


class VariableLogFiles:
    """``access_log`` with variables in its path: the files used last are kept open.

    Paths come partly from clients: one with a NUL or a ``..`` segment is refused.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        complain: Callable[[str], None] = _to_twisted,
        limit: int = MAX_OPEN_LOGS,
    ) -> None:
        self._scheduler = scheduler
        self._complain = complain
        self._limit = limit
        self._files: OrderedDict[str, AccessLogFile] = OrderedDict()

    def write(self, path: str, line: bytes) -> None:
        """Log *line* to *path*. Never raises."""
        log = self._files.get(path)
        if log is None:
            log = self._open(path)
            if log is None:
                return
        else:
            self._files.move_to_end(path)
        log.write(line)

    def _open(self, path: str) -> AccessLogFile | None:
        if "\0" in path or ".." in path.split("/") or path.startswith("syslog:"):
            self._complain("a log path with variables was refused")
            return None
        try:
            log = AccessLogFile(path, self._scheduler, complain=self._complain)
        except (ConfigError, UnicodeEncodeError) as error:
            self._complain(str(error))
            return None
        self._files[path] = log
        if len(self._files) > self._limit:
            self._files.popitem(last=False)[1].close()
        return log

    def reopen(self) -> None:
        """Close everything: each file is opened again when it is next written to."""
        self.close()

    def close(self) -> None:
        files, self._files = self._files, OrderedDict()
        for log in files.values():
            log.close()
