"""Password files of ``auth_basic_user_file``, read and compared off the reactor thread.

A good password is remembered, as a keyed digest of it and of what the file was then, so that
it costs once; a changed file makes it cost again.

Imports: ``policy.passwords``, ``storage.threads``.
"""

from __future__ import annotations

import errno
import hashlib
import os
import warnings
from collections.abc import Callable

from cacheproxy.policy.passwords import Credentials, PasswordVerdict, is_password, password_of
from cacheproxy.storage.threads import CallFromThread, Executor

__all__ = ["MAX_CHECKS", "MAX_REMEMBERED", "PASSWORD_THREADS", "PasswordFiles", "system_crypt"]

#: Threads that compare: passwords are made to be slow, so that one core is left to the rest.
PASSWORD_THREADS = 1
#: Good passwords remembered; the oldest goes first.
MAX_REMEMBERED = 4096
#: Checks that may wait for a thread; clients beyond that get 503.
MAX_CHECKS = 256
#: Bytes of a password file that are read.
MAX_FILE = 16 << 20

_GOOD = PasswordVerdict(0, "", "")
_MISSING = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)


def system_crypt(password: bytes, stored: bytes) -> bytes:
    """The system's ``crypt``; empty where it has none, or does not know the format."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            import crypt  # gone from Python 3.13 on
    except ImportError:
        return b""
    try:
        made = crypt.crypt(password.decode(), stored.decode())
    except (OSError, ValueError):
        return b""
    return (made or "").encode()


class _Check:
    """One password under way; *told* hears of it unless nobody waits any more."""

    def __init__(self, told: Callable[[PasswordVerdict], None]) -> None:
        self.told: Callable[[PasswordVerdict], None] | None = told

    def cancel(self) -> None:
        """The client has left."""
        self.told = None


class PasswordFiles:
    """Checks passwords (``proxy.interfaces.Passwords``)."""

    def __init__(self, executor: Executor, call_from_thread: CallFromThread) -> None:
        self._executor = executor
        self._call = call_from_thread
        self._key = os.urandom(32)
        self._remembered: dict[bytes, None] = {}
        self._checks = 0

    def knows(self, path: bytes, given: Credentials) -> bool:
        """Whether *given* were good when asked before, and the file has not changed."""
        if not self._remembered:
            return False
        try:
            return self._digest(path, os.stat(path), given) in self._remembered
        except (OSError, ValueError):
            return False

    def check(
        self, path: bytes, given: Credentials, told: Callable[[PasswordVerdict], None]
    ) -> _Check:
        """Read the file and compare; *told* hears of it later, on this thread."""
        check = _Check(told)
        if self._checks >= MAX_CHECKS:
            busy = PasswordVerdict(503, "error", "too many passwords are being checked")
            self._call(self._tell, check, busy, None)
            self._checks += 1
            return check
        self._checks += 1

        def work() -> None:
            verdict, digest = _GOOD, None
            try:
                if check.told is not None:
                    verdict, digest = self._compare(path, given)
            except Exception as problem:
                verdict = PasswordVerdict(500, "error", f"password check failed: {problem!r}")
                raise
            finally:
                self._call(self._tell, check, verdict, digest)

        self._executor.submit(work)
        return check

    def _tell(self, check: _Check, verdict: PasswordVerdict, digest: bytes | None) -> None:
        self._checks -= 1
        if digest is not None:
            self._remembered[digest] = None
            if len(self._remembered) > MAX_REMEMBERED:
                del self._remembered[next(iter(self._remembered))]
        told, check.told = check.told, None
        if told is not None:
            told(verdict)

    def _compare(self, path: bytes, given: Credentials) -> tuple[PasswordVerdict, bytes | None]:
        name = path.decode("utf-8", "replace")
        user = given.user.decode("utf-8", "backslashreplace")
        try:
            with open(path, "rb") as file:
                seen = os.fstat(file.fileno())
                stored = password_of(given.user, file.read(MAX_FILE).splitlines(keepends=True))
        except (OSError, ValueError) as problem:
            missing = isinstance(problem, OSError) and problem.errno in _MISSING
            message = f'open() "{name}" failed ({problem})'
            return PasswordVerdict(403 if missing else 500, "error" if missing else "crit",
                                   message), None
        if stored is None:
            return PasswordVerdict(401, "error", f'user "{user}" was not found in "{name}"'), None
        if not is_password(given.password, stored, system_crypt):
            return PasswordVerdict(401, "error", f'user "{user}": password mismatch'), None
        return _GOOD, self._digest(path, seen, given)

    def _digest(self, path: bytes, seen: os.stat_result, given: Credentials) -> bytes:
        state = b"%d %d %d" % (seen.st_mtime_ns, seen.st_size, seen.st_ino)
        made = hashlib.blake2b(key=self._key, digest_size=32)
        for part in (path, state, given.user, given.password):
            made.update(b"%d:" % len(part) + part)
        return made.digest()
