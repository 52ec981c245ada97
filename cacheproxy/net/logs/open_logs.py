"""Every log file that one configuration has open: reopened, given away and closed together.

Source: nginx ``ngx_cycle.c`` (``open_files``). Imports ``errors``, ``proxy.interfaces``,
``net.logs``.
"""

from __future__ import annotations

from cacheproxy.errors import ConfigError
from cacheproxy.net.logs.access_log import AccessLogFile, VariableLogFiles
from cacheproxy.net.logs.error_log import ErrorLog, OncePerMinute
from cacheproxy.proxy.interfaces import Scheduler

__all__ = ["LogFiles"]


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
