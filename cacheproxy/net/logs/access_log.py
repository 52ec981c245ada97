"""Access logs: lines gathered for one write a turn, or in a buffer; paths with variables.

Lines of one turn of the reactor are written together; ``close`` writes what waits.

Source: ngx_http_log_module. Imports ``errors``, ``config.syslog``, ``proxy.interfaces``,
``net.logs``.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Callable

from cacheproxy.config.syslog import parse_syslog
from cacheproxy.errors import ConfigError
from cacheproxy.net.logs.error_log import to_twisted
from cacheproxy.net.logs.log_file import LogFile
from cacheproxy.net.logs.syslog import Syslog
from cacheproxy.proxy.interfaces import Cancellable, Scheduler

__all__ = ["AccessLogFile", "VariableLogFiles"]

#: Bytes gathered in one turn before they are written without waiting for its end.
TURN_LIMIT = 64 * 1024

#: What ``gzip`` without ``buffer`` gathers, as in nginx.
GZIP_BUFFER = 64 * 1024

#: Files that one ``VariableLogFiles`` keeps open.
MAX_OPEN_LOGS = 64


class AccessLogFile:
    """``access_log path [buffer= [flush=]] [gzip]``; lines come formatted, with their newline.

    *buffer* is bytes, 0 for one write a turn; *flush* seconds, None for no limit;
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
        complain: Callable[[str], None] = to_twisted,
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
        self._file: LogFile | None = None
        self._syslog: Syslog | None = None
        if path.startswith("syslog:"):
            if self._limit:
                raise ConfigError("logs to syslog cannot be buffered")
            self._syslog = Syslog(parse_syslog(path))
        else:
            self._file = LogFile(path, complain)

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


class VariableLogFiles:
    """``access_log`` with variables in its path: the files used last are kept open.

    Paths come partly from clients: one with a NUL or a ``..`` segment is refused.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        complain: Callable[[str], None] = to_twisted,
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
