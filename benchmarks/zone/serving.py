"""A running proxy on the zone: start, memory, hits while it culls, purges, ``max_size``."""

from __future__ import annotations

import os
import socket
import sqlite3
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load import wrk
from benchmarks.servers import LOAD_CORE, Server, pin, start_proxy
from benchmarks.zone.filling import SIZE_ON_DISK, key_of, whole_entries
from benchmarks.zone.lookups import forget_pages
from benchmarks.zone.objects import cpu_of, download, memory_of
from benchmarks.zone.origin import SIZES, origin, unique_urls
from cacheproxy.storage.disk.index import INDEX_NAME
from tests.support.ports import free_port
from tests.support.processes import wait_until

__all__ = ["Bounds", "Serving", "bounds", "serving"]

_HTTP = """
access_log off;
keepalive_requests 100000000;
proxy_cache_path {zone} levels=1:2 keys_zone=zone:100m max_size={max_size} inactive=30d
                 use_temp_path=off;
proxy_http_version 1.1;
proxy_set_header Connection "";
map $request_method $purges {{ PURGE 1; default 0; }}
upstream origin {{ server 127.0.0.1:{origin}; keepalive 64; keepalive_requests 100000000; }}
server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
        proxy_pass http://origin;
        proxy_cache zone;
        proxy_cache_key $request_uri;
        proxy_cache_valid 200 1h;
        proxy_cache_purge $purges;
        add_header X-Cache $upstream_cache_status;
    }}
}}
"""
#: Purged one after the other.
PURGES = 200
#: Seconds between two looks at how large a zone is.
LOOK = 0.05


@dataclass(frozen=True)
class Serving:
    """*start*: seconds from the start of the process to a hit from disk; memory in octets;
    rates in requests a second; purges in microseconds."""

    start: float
    memory: int
    idle_rate: float
    culling_rate: float
    culled: int
    culling_seconds: float
    purge_p50: float
    purge_p99: float


@dataclass(frozen=True)
class Bounds:
    """A zone under a stream of stores, in octets: its bound; what its index said at most and at
    least once it was full; what it said and what the folder occupied when all was over."""

    max_size: int
    stores: int
    most: int
    least: int
    last: int
    occupied: int


@contextmanager
def running(folder: Path, zone: Path, max_size: int, origin_port: int) -> Iterator[Server]:
    """The proxy on *zone*; not waited for."""
    port = free_port()
    http = _HTTP.format(zone=zone, max_size=max_size, origin=origin_port, port=port)
    process = start_proxy(folder, http)
    try:
        yield Server("cacheproxy", port, port, process)
    finally:
        process.stop()


def usage(zone: Path) -> tuple[int, int]:
    """(entries, octets) as the index of *zone* says."""
    with sqlite3.connect(f"file:{zone / INDEX_NAME}?mode=ro", uri=True, timeout=10) as connection:
        rows = dict(connection.execute("SELECT key, value FROM Settings").fetchall())
    connection.close()
    return rows["count"], rows["size"]


def _is_there(zone: Path) -> bool:
    """Whether *zone* has been opened."""
    try:
        usage(zone)
    except (sqlite3.OperationalError, KeyError):
        return False
    return True


def occupied(folder: Path) -> int:
    """Octets that everything below *folder* takes on disk, but for SQLite's log."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                if not name.endswith(("-wal", "-shm")):
                    total += os.stat(os.path.join(path, name)).st_blocks * 512
    return total


def _settled(pid: int) -> None:
    """Return when the process has nothing more to do: its filter is loaded."""
    spent = [cpu_of(pid)]

    def idle() -> bool:
        time.sleep(1.0)
        spent.append(cpu_of(pid))
        return spent[-1] - spent[-2] < 0.04

    wait_until(idle, "the proxy is idle", 180)


def serving(folder: Path, zone: Path, entries: int, bodies: int, seconds: int) -> Serving:
    """All that is measured of one proxy on a full zone; the zone is smaller afterwards."""
    whole = list(whole_entries(entries, bodies))
    spread = whole[bodies // 2 :]
    size = usage(zone)[1]
    # One object of this size pushes out most of the entries at the old end that have files.
    pushed = bodies // 2 * (SIZE_ON_DISK + 600) * 3 // 4
    with ExitStack() as stack:
        behind = stack.enter_context(origin(folder))
        with (folder / "files" / "large").open("wb") as file:
            file.truncate(pushed)
        forget_pages(zone)
        started = time.perf_counter()
        server = stack.enter_context(running(folder / "proxy", zone, size + 4096, behind.port))
        url = key_of(spread[-1]).decode()
        server.wait_ready()
        status, head = download(server.port, url)[:2]
        start = time.perf_counter() - started
        if status != 200 or b"X-Cache: HIT" not in head:
            raise RuntimeError(f"no hit: {head!r}")
        _settled(server.worker)
        memory = memory_of(server.worker, "VmRSS")
        purges = [_purge(server.port, key_of(number)) for number in spread[:PURGES]]
        target = f"http://127.0.0.1:{server.port}{url}"
        wrk(pin(LOAD_CORE), target, 1)
        idle = wrk(pin(LOAD_CORE), target, seconds).rate
        download(server.port, "/large/x")
        before, began = usage(zone)[0], time.perf_counter()
        culling = Culling(zone, size + 4096)
        rate = wrk(pin(LOAD_CORE), target, seconds).rate
        culled = before - usage(zone)[0]
        ended = culling.wait() or time.perf_counter()
    purges.sort()
    return Serving(
        start,
        memory,
        idle,
        rate,
        culled,
        min(ended - began, seconds),
        statistics.median(purges) * 1e6,
        purges[len(purges) * 99 // 100] * 1e6,
    )


class Culling:
    """Watches, in a thread, when a zone is back below its bound."""

    def __init__(self, zone: Path, bound: int) -> None:
        self._zone = zone
        self._bound = bound
        self._ended: float | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        while not self._stop.wait(LOOK):
            if usage(self._zone)[1] < self._bound * 0.9951:
                self._ended = time.perf_counter()
                return

    def wait(self) -> float | None:
        """When it was, if it is."""
        self._stop.set()
        self._thread.join()
        return self._ended


def _purge(port: int, path: bytes) -> float:
    """Seconds that the purge of one key takes, with a connection that is open already."""
    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        connection.sendall(b"GET /none/ HTTP/1.1\r\nHost: x\r\n\r\n")
        connection.recv(65536)
        started = time.perf_counter()
        connection.sendall(b"PURGE %b HTTP/1.1\r\nHost: x\r\n\r\n" % path)
        answer = connection.recv(65536)
        seconds = time.perf_counter() - started
    if not answer.startswith(b"HTTP/1.1 204"):
        raise RuntimeError(f"nothing was purged: {answer!r}")
    return seconds


def bounds(folder: Path, max_size: int, seconds: int) -> Bounds:
    """How close a zone keeps to *max_size* while responses of random sizes are stored."""
    zone = folder / "cache"
    most, least = 0, 1 << 62
    with ExitStack() as stack:
        behind = stack.enter_context(origin(folder))
        server = stack.enter_context(running(folder / "proxy", zone, max_size, behind.port))
        server.wait_ready()
        wait_until(lambda: _is_there(zone), "the zone's index")
        script = unique_urls(folder, SIZES)
        command = [*pin(LOAD_CORE), "wrk", "-t1", "-c8", f"-d{seconds}s", "-s", str(script)]
        command += ["-H", "X-Run: a", f"http://127.0.0.1:{server.port}"]
        load = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        full = False
        try:
            while load.poll() is None:
                size = usage(zone)[1]
                full = full or size >= max_size * 0.995
                if full:
                    most, least = max(most, size), min(least, size)
                time.sleep(LOOK)
        finally:
            load.kill()
            load.wait()
        if not full:
            raise RuntimeError("the zone was not filled")
        _settled(server.worker)
        return Bounds(max_size, _newest(zone), most, least, usage(zone)[1], occupied(zone))


def _newest(zone: Path) -> int:
    """How many rows were ever made in *zone*."""
    with sqlite3.connect(f"file:{zone / INDEX_NAME}?mode=ro", uri=True) as connection:
        (number,) = connection.execute("SELECT max(rowid) FROM Cache").fetchone()
    connection.close()
    return int(number)
