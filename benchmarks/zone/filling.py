"""A zone of many entries, made through the index, as stores would have left it.

A file is made for *bodies* of them only: half of those are the ones unused for longest, which
are culled first, the others are spread over the rest. A million files would take 4 GB and
minutes to make, and what is measured of look-ups reads the file of the entry asked for, no
other. The rows are real: encoded heads of a page's usual fields, sizes as if all had a file.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

from cacheproxy.config.model import CacheZone
from cacheproxy.errors import StorageError
from cacheproxy.http.fields import Fields
from cacheproxy.policy.stored import StoredResponse
from cacheproxy.storage.disk.body_file import Tokens
from cacheproxy.storage.disk.disk import Disk, Store
from cacheproxy.storage.disk.entry import Header, encode
from cacheproxy.storage.disk.index import PUT_LIMIT, ROW_OVERHEAD, NewRow

__all__ = ["BODY", "INACTIVE", "SIZE_ON_DISK", "digest_of", "fill", "key_of", "whole_entries"]

#: What each entry that has a file has in it.
BODY = b"<!doctype html><title>page</title>" + b"x" * 990
SIZE_ON_DISK = 4096
#: Entries made in one transaction.
AT_ONCE = 20_000
#: Seconds; nothing becomes inactive while it is measured.
INACTIVE = 30 * 86400.0


def key_of(number: int) -> bytes:
    """The cache key of the entry of *number*: its URI."""
    return b"/item/%d.html" % number


def digest_of(number: int) -> bytes:
    """The MD5 of the key, as the proxy makes it."""
    return hashlib.md5(key_of(number), usedforsecurity=False).digest()


def whole_entries(entries: int, bodies: int) -> Iterator[int]:
    """Which entries have a file: the oldest, then every so many of the others."""
    oldest = bodies // 2
    yield from range(oldest)
    spread = bodies - oldest
    if spread:
        yield from range(oldest, entries, max(1, (entries - oldest) // spread))


def _head(number: int, now: float) -> StoredResponse:
    fields = [
        (b"Server", b"nginx/1.22.1"),
        (b"Date", b"Mon, 02 Nov 2026 10:00:00 GMT"),
        (b"Content-Type", b"text/html; charset=utf-8"),
        (b"Last-Modified", b"Sun, 01 Nov 2026 08:30:00 GMT"),
        (b"ETag", b'"%x"' % number),
        (b"Cache-Control", b"public, max-age=2592000"),
    ]
    return StoredResponse(
        key=key_of(number),
        status=200,
        reason=b"OK",
        fields=Fields(fields),
        request_time=now,
        response_time=now,
        lifetime=INACTIVE,
        body_length=len(BODY),
    )


def _no_file(path: str) -> None:
    """The place of a row without a file."""


def fill(folder: Path, entries: int, bodies: int) -> float:
    """Make the zone in *folder*, closed in order; the seconds that it took."""
    zone = CacheZone(
        name="zone", path=str(folder), levels=(1, 2), use_temp_path=False, inactive=INACTIVE
    )
    disk = Disk(zone, print, 1 << 20)
    disk.open()
    now, started = time.time(), time.perf_counter()
    whole = set(whole_entries(entries, bodies))
    for first in range(0, entries, AT_ONCE):
        with disk.index.transaction():
            _load(disk, range(first, min(first + AT_ONCE, entries)), whole, entries, now)
    while disk.sweep_step():
        pass
    disk.close()
    return time.perf_counter() - started


def _load(disk: Disk, numbers: range, whole: set[int], entries: int, now: float) -> None:
    tokens = Tokens()
    rows: list[NewRow] = []
    stores: list[Store] = []
    for number in numbers:
        digest = digest_of(number)
        header = Header(_head(number, now), tokens.take(), tokens.take())
        # Used one after the other, a millisecond apart.
        used = now - (entries - number) / 1000
        if number in whole:
            stores.append(Store(digest, digest, header, None, BODY, used, lambda: True))
        else:
            value = encode(header)
            size = SIZE_ON_DISK + len(value) + ROW_OVERHEAD
            rows.append(NewRow(digest, b"p" + digest, value, size, used + INACTIVE, _no_file))
    for start in range(0, len(rows), PUT_LIMIT):
        disk.index.put_all(rows[start : start + PUT_LIMIT])
    for start in range(0, len(stores), PUT_LIMIT):
        for outcome in disk.commit_all(stores[start : start + PUT_LIMIT]):
            if isinstance(outcome, StorageError):
                raise outcome
