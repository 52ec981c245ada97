"""The file of one body on its way to disk, and the tokens that tell files apart.

A file ends with a seal that names its token, which its row names too: a file that was cut
short, or belongs to another edition, is recognised by it (``entry``).

Source: nginx ``proxy_cache_path`` (``use_temp_path``). Blocking; imports ``storage.disk.entry``.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from typing import Final

from cacheproxy.errors import StorageError
from cacheproxy.storage.disk.entry import TOKEN_SIZE, seal

__all__ = ["CHECKED", "TemporaryBody", "Tokens", "new_token"]

#: The largest body that has a checksum, and so the largest that is read whole from disk.
CHECKED = 1 << 24
#: The largest rest of a body that is copied to write it together with its seal.
_JOINED = 1 << 16
#: To be read as well, by who follows a store.
_NEW_FILE: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
#: Tokens drawn from the system at a time: each call gives up the interpreter's lock.
_TOKENS = 256


class TemporaryBody:
    """A body on its way to disk, in a file of its own; used by one thread at a time."""

    __slots__ = ("_descriptor", "_write", "checksum", "path", "size")

    def __init__(self, path: str, write: Callable[[int, bytes], int]) -> None:
        try:
            self._descriptor = os.open(path, _NEW_FILE, 0o600)
        except OSError as error:
            raise StorageError(f"cannot create file for a body: {error}") from error
        self.path = path
        self.checksum = 0
        self.size = 0
        self._write = write

    def reopened(self) -> int:
        """Another descriptor of the open file, which outlives this one; ``OSError``."""
        return os.dup(self._descriptor)

    def append(self, data: bytes) -> None:
        """Write *data* whole."""
        self._count(data)
        self._put(data)

    def _count(self, data: bytes) -> None:
        self.size += len(data)
        # The checksum of larger bodies is never compared, and takes a second per gigabyte.
        self.checksum = zlib.crc32(data, self.checksum) if self.size <= CHECKED else 0

    def _put(self, data: bytes) -> None:
        try:
            done = self._write(self._descriptor, data)
            while done < len(data):
                done += self._write(self._descriptor, data[done:])
        except OSError as error:
            raise StorageError(f"cannot write {self.path}: {error}") from error

    def finish(self, token: bytes, rest: bytes = b"") -> None:
        """Write the *rest* of the body, seal and close the file."""
        self._count(rest)
        self._put(rest + seal(token) if len(rest) <= _JOINED else rest)
        if len(rest) > _JOINED:
            self._put(seal(token))
        self._close()

    def move(self, path: str) -> None:
        """Rename the file into its place, unless it is there, making folders that are missing."""
        if self.path == path:
            return
        try:
            os.replace(self.path, path)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
            os.replace(self.path, path)
        self.path = path

    def discard(self) -> None:
        """Remove the file, if it is still there."""
        self._close()
        try:
            os.unlink(self.path)
        except OSError:
            pass

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            try:
                os.close(descriptor)
            except OSError as error:
                raise StorageError(f"cannot close {self.path}: {error}") from error


def new_token() -> bytes:
    """A random identity for a body file or a head."""
    return os.urandom(TOKEN_SIZE)


class Tokens:
    """``new_token`` for one thread that needs many."""

    __slots__ = ("_drawn",)

    def __init__(self) -> None:
        self._drawn: list[bytes] = []

    def take(self) -> bytes:
        """A token that nobody else gets."""
        drawn = self._drawn
        if not drawn:
            data = os.urandom(TOKEN_SIZE * _TOKENS)
            drawn += [data[at : at + TOKEN_SIZE] for at in range(0, len(data), TOKEN_SIZE)]
        return drawn.pop()
