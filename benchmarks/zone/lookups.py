"""Opening a zone and finding in it, in a process of its own.

``python -m benchmarks.zone.lookups FOLDER ENTRIES BODIES COUNT`` prints JSON:

- *open*: seconds from ``Zone.open`` to the answer of the first look-up that needs the disk,
  with the index put out of the system's page cache before;
- *find*: microseconds of the blocking call: row, head and body, all from the page cache;
- *index*: of these, the row alone;
- *first*: microseconds from asking the zone to its answer, as a request sees it: through a
  disk thread and back to the reactor, nothing else running, pages still to be read;
- *lookup*: the same asked again, with the memory tier emptied and the pages there;
- *hop*: microseconds of the way to a disk thread and back with no work at all;
- *filter*: seconds until the zone knows what it has not;
- *memory*: octets resident before, and with the zone open and its filter loaded.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.zone.filling import INACTIVE, digest_of, whole_entries
from cacheproxy.config.model import CacheZone
from cacheproxy.storage.disk.disk import Disk, Found
from cacheproxy.storage.disk.index import INDEX_NAME

__all__ = ["forget_pages", "percentiles"]


def percentiles(seconds: list[float]) -> dict[str, float]:
    """Median and 99th percentile in microseconds."""
    ordered = sorted(seconds)
    return {
        "p50": ordered[len(ordered) // 2] * 1e6,
        "p99": ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)] * 1e6,
    }


def forget_pages(folder: Path) -> None:
    """Put the index out of the page cache, as after a start of the machine."""
    with (folder / INDEX_NAME).open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _resident() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def blocking(zone: CacheZone, digests: list[bytes]) -> dict[str, Any]:
    """The calls that the disk threads make, in this thread."""
    disk = Disk(zone, print, 1 << 20)
    disk.open()
    now, clock = time.time(), time.perf_counter
    finds: list[float] = []
    rows: list[float] = []
    # The first time brings the pages in; what is measured is the second.
    for times in (finds, rows, finds, rows):
        times.clear()
        for digest in digests:
            started = clock()
            found = disk.find(digest, now) if times is finds else disk.index.find(digest)
            times.append(clock() - started)
            if found is None or (times is finds and not isinstance(found, Found)):
                raise RuntimeError(f"entry {digest.hex()} is not there")
    disk.close()
    return {"find": percentiles(finds), "index": percentiles(rows)}


class Session:
    """A zone on a running reactor, asked one question after the other."""

    def __init__(self, reactor: Any, zone: CacheZone, digests: list[bytes]) -> None:
        from cacheproxy.runtime import ReactorScheduler
        from cacheproxy.storage.zone import Zone

        self.reactor = reactor
        self.digests = digests
        self.again = digests[:-1]
        self.result: dict[str, Any] = {"memory": [_resident()]}
        self.times: list[float] = []
        self.started = time.perf_counter()
        self.zone = Zone(
            zone,
            scheduler=ReactorScheduler(reactor),
            call_from_thread=reactor.callFromThread,
            log=print,
        )

    def start(self) -> None:
        """Open, and ask for the first entry."""
        self.started = time.perf_counter()
        self.zone.open()
        self.zone.lookup(self.digests.pop(), self.opened)

    def opened(self, entry: object) -> None:
        if entry is None:
            raise RuntimeError("the first entry is not there")
        self.result["open"] = time.perf_counter() - self.started
        self.wait_for_filter()

    def wait_for_filter(self) -> None:
        """What is nowhere is known to be absent as soon as the filter is loaded."""
        if not any(self.zone.maintenance.is_absent(digest_of(-number)) for number in range(1, 9)):
            self.reactor.callLater(0.05, self.wait_for_filter)
            return
        self.result["filter"] = time.perf_counter() - self.started
        self.result["memory"].append(_resident())
        self.look()

    def look(self) -> None:
        started = time.perf_counter()

        def found(entry: object) -> None:
            self.times.append(time.perf_counter() - started)
            if entry is None:
                raise RuntimeError("an entry is not there")
            if self.digests:
                # Not from within the answer: a request comes from the reactor.
                self.reactor.callLater(0, self.look)
            else:
                self.looked()

        self.zone.lookup(self.digests.pop(), found)

    def looked(self) -> None:
        times, self.times = self.times, []
        if "first" in self.result:
            self.result["lookup"] = percentiles(times)
            self.hop(2000)
        else:
            self.result["first"] = percentiles(times)
            self.zone.memory.clear()
            self.digests = list(self.again)
            self.look()

    def hop(self, left: int) -> None:
        started = time.perf_counter()
        reactor = self.reactor

        def back() -> None:
            self.times.append(time.perf_counter() - started)
            if left:
                reactor.callLater(0, lambda: self.hop(left - 1))
            else:
                self.result["hop"] = percentiles(self.times)
                self.zone.close()
                reactor.stop()

        self.zone.disk_queue.pool.submit(lambda: reactor.callFromThread(back))


def main(folder: Path, entries: int, bodies: int, count: int) -> dict[str, Any]:
    """All of it."""
    from cacheproxy.net.reactor.reactor import install

    install()
    from twisted.internet import reactor as installed

    reactor: Any = installed
    zone = CacheZone(
        name="zone", path=str(folder), levels=(1, 2), use_temp_path=False, inactive=INACTIVE
    )
    whole = list(whole_entries(entries, bodies))
    chosen = random.Random(1).sample(whole, min(count + 1, len(whole)))
    digests = [digest_of(number) for number in chosen]
    forget_pages(folder)
    session = Session(reactor, zone, list(digests))
    _crash_on_error(reactor, session.start)
    reactor.run()
    if "hop" not in session.result:
        raise RuntimeError("the reactor stopped early")
    return {**session.result, **blocking(zone, digests)}


def _crash_on_error(reactor: Any, start: Callable[[], None]) -> None:
    reactor.callWhenRunning(start)
    reactor.callLater(300, reactor.stop)


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), *map(int, sys.argv[2:5]))))
