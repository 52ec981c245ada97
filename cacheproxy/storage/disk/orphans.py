"""Files in a zone's folder that a process which was killed may have left behind.

Body files are compared with the index (``Disk.sweep_step``); temporary files carry the number
of the process that made them.

Blocking; runs in the writing thread.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Final

from cacheproxy.errors import StorageError
from cacheproxy.storage.disk.index import converted

__all__ = ["TEMPORARY_PREFIX", "body_files", "remove_stale_temporaries"]

#: What the names of temporary files begin with, before the number of the process.
TEMPORARY_PREFIX = "cacheproxy"
_PROCESS_START: Final = time.time()


def body_files(folder: str, levels: int) -> Iterator[bytes]:
    """Digests of the body files in *folder*, which lie *levels* folders deep in it."""
    with converted(f"cannot list {folder}"):
        names = sorted(os.listdir(folder))
    for name in names:
        if levels and len(name) <= 2 and _is_hex(name):
            try:
                yield from body_files(os.path.join(folder, name), levels - 1)
            except StorageError:
                continue
        elif not levels and len(name) == 32 and _is_hex(name):
            yield bytes.fromhex(name)


def remove_stale_temporaries(folder: str) -> None:
    """Remove temporary files of processes that have ended; ``StorageError``."""
    with converted("cannot list temporary files"):
        names = os.listdir(folder)
    for name in names:
        prefix, _, rest = name.partition("-")
        pid = rest.partition("-")[0]
        if prefix != TEMPORARY_PREFIX or not pid.isdigit():
            continue
        path = os.path.join(folder, name)
        try:
            # The number of a process may have been given to another one since.
            if not _is_running(int(pid)) or os.stat(path).st_mtime < _PROCESS_START:
                os.unlink(path)
        except OSError:
            continue


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _is_hex(name: str) -> bool:
    return all(character in "0123456789abcdef" for character in name)
