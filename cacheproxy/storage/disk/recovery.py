"""Recovery from a full or failing disk, which needs no free space.

A disk that is full lets no index be opened: ``make_room`` removes bodies first. nginx
keeps to ``min_free`` only; there, what is stored never stands in the way.

A removal that failed, of something that was purged for instance, is pending until the disk
can be used again. ``PendingMark`` is an empty file that says that there are such removals,
so that the next process knows even if this one is killed.

Blocking; runs in the writing thread.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from cacheproxy.storage.disk.index import INDEX_NAME, converted

__all__ = ["ROOM", "PendingMark", "make_room"]

#: Bytes that must be free for the index to be opened and written.
ROOM = 1 << 20
_MARK_NAME = "cacheproxy.owed"


def make_room(folder: str, bodies: Iterable[tuple[bytes, str]]) -> list[bytes]:
    """Remove *bodies* (digest, path) until ``ROOM`` is free on *folder*'s disk.

    Returns the digests of the removed: none if there is room already. ``StorageError``.
    """
    removed: list[bytes] = []
    with converted(f"cannot make room in {folder}"):
        status = os.statvfs(folder)
        wanted = ROOM - status.f_bavail * status.f_frsize
        if wanted > 0:
            for digest, path in bodies:
                blocks = os.stat(path).st_blocks
                os.unlink(path)
                removed.append(digest)
                wanted -= blocks * 512
                if wanted <= 0:
                    break
    return removed


class PendingMark:
    """The file in *folder* that says that something in the index was to be removed."""

    __slots__ = ("_folder", "_path", "is_set")

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._path = os.path.join(folder, _MARK_NAME)
        #: By this process, which knows what is to be removed.
        self.is_set = False

    def set(self) -> None:
        """Note that a removal is pending."""
        if not self.is_set:
            self.is_set = True
            try:
                os.close(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
            except OSError:
                pass  # the folder cannot be reached: the failure itself is logged

    def clear(self) -> None:
        """No removal is pending any more."""
        if self.is_set:
            with converted(f"cannot remove {self._path}"):
                _unlink(self._path)
            self.is_set = False

    def enforce(self) -> bool:
        """Remove the index if an earlier process left removals undone; whether it did.

        Nobody knows which they were. The bodies are orphans then. Before the index is opened.
        """
        if self.is_set or not os.path.exists(self._path):
            return False
        with converted(f"cannot empty {self._folder}"):
            for name in (INDEX_NAME, INDEX_NAME + "-wal", INDEX_NAME + "-shm"):
                _unlink(os.path.join(self._folder, name))
            _unlink(self._path)
        return True


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
