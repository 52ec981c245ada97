"""How ``max_size`` of a cache zone is divided between the index's own files and the responses.

The files of the index are SQLite's: the table, its write-ahead log and the log's shared
memory. What a row adds to the table is counted with its entry; the rest is what this module
sets aside. The log is as long as ``log_pages`` allows between two transactions.
The folders of ``levels=`` stay when they are empty, as in nginx, and are not counted.

Source: nginx ``proxy_cache_path`` (``max_size``), which has no index on disk. Imports nothing.
"""

from __future__ import annotations

__all__ = ["LEAST_SIZE", "PAGE_SIZE", "log_pages", "memory_size", "room"]

#: Bytes of one page of the index and of its log.
PAGE_SIZE = 4096
#: Bytes of the empty index (48 KiB) and of the shared memory of its log (32 KiB).
INDEX_BASE = 80 << 10
#: The log may take this part of ``max_size``, within the bounds below, in pages.
LOG_SHARE = 16
LOG_MOST = 1000
LOG_LEAST = 16
#: The index never takes more than this part of ``max_size`` away from the responses.
INDEX_SHARE = 2
#: The smallest ``max_size`` that holds for the folder as a whole.
LEAST_SIZE = INDEX_SHARE * (INDEX_BASE + LOG_LEAST * PAGE_SIZE)


def log_pages(max_size: int | None) -> int:
    """Pages of the write-ahead log after which it is written back to the table."""
    if max_size is None:
        return LOG_MOST
    return max(LOG_LEAST, min(LOG_MOST, max_size // (LOG_SHARE * PAGE_SIZE)))


def room(max_size: int) -> int:
    """Bytes of *max_size* that are left for responses, their rows included."""
    index = INDEX_BASE + log_pages(max_size) * PAGE_SIZE
    return max_size - min(index, max_size // INDEX_SHARE)


def memory_size(memory: int, max_size: int | None) -> int:
    """Bytes of entries in memory: what is in memory is on disk as well, so *max_size* bounds it."""
    return memory if max_size is None else min(memory, max_size)
