"""One open log file: appending, reopening, changing its owner.

A log must never fail a request: what cannot be written is dropped, and a callback hears why.
Files are opened for appending and written to with one ``write``, so that several processes
can share them.

Source: nginx ``ngx_open_file.c``, ngx_log.c. Imports ``errors``.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

from cacheproxy.errors import ConfigError

__all__ = ["LogFile", "escape"]

_STANDARD_STREAMS = {"/dev/stdout": 1, "/dev/stderr": 2, "stderr": 2}

_CONTROLS = {code: f"\\x{code:02X}" for code in (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029)}
_NOT_ASCII = {**_CONTROLS, **{code: f"\\x{code:02X}" for code in range(0x80, 0x100)}}


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


class LogFile:
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
