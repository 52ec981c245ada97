"""What the storage tests share: a clock, executors without threads, sinks, builders."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable

from twisted.internet import task
from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.config.model import CacheZone
from cacheproxy.errors import StorageError
from cacheproxy.http.fields import Fields
from cacheproxy.policy.stored import StoredResponse
from cacheproxy.proxy.interfaces import BodyReader, Cancellable, Entry
from cacheproxy.storage.threads import Executor, InlineExecutor
from cacheproxy.storage.zone import Zone

__all__ = [
    "LARGE",
    "Harness",
    "QueueExecutor",
    "RecordingSink",
    "TestScheduler",
    "ZoneCase",
    "call_at_once",
    "descriptors",
    "digest_of",
    "head_of",
    "read_all",
]

#: A body that the memory tier does not keep and that is streamed to disk.
LARGE = bytes(range(256)) * 8192


def descriptors() -> set[str]:
    """What the process has open."""
    return set(os.listdir("/proc/self/fd"))


def digest_of(key: bytes) -> bytes:
    """The digest of a cache key."""
    return hashlib.md5(key, usedforsecurity=False).digest()


def head_of(key: bytes, **changes: object) -> StoredResponse:
    """A stored head with defaults."""
    values: dict[str, object] = {
        "key": key,
        "status": 200,
        "reason": b"OK",
        "fields": Fields([(b"Content-Type", b"text/plain"), (b"X-Key", key)]),
        "request_time": 1.0,
        "response_time": 2.0,
        "lifetime": 60.0,
    }
    values.update(changes)
    return StoredResponse(**values)  # type: ignore[arg-type]  # built from a table


def call_at_once(function: Callable[..., object], *arguments: object) -> None:
    """``callFromThread`` where there is but one thread."""
    function(*arguments)


class TestScheduler:
    """A ``Scheduler`` on a ``Clock`` whose wall time is the monotonic time."""

    __test__ = False

    def __init__(self) -> None:
        self.clock = task.Clock()
        self.clock.advance(1_000_000.0)

    def call_later(self, seconds: float, function: Callable[[], object]) -> Cancellable:
        delayed: Cancellable = self.clock.callLater(seconds, function)
        return delayed

    def monotonic(self) -> float:
        now: float = self.clock.seconds()
        return now

    def wall(self) -> float:
        return self.monotonic()


class QueueExecutor:
    """Work waits until the test runs it: every interleaving can be played."""

    def __init__(self) -> None:
        self.queue: deque[Callable[[], None]] = deque()

    def submit(self, work: Callable[[], None]) -> None:
        self.queue.append(work)

    def stop(self) -> None:
        self.run()

    def call(self, function: Callable[..., object], *arguments: object) -> None:
        """``callFromThread``, where the queue is the reactor's."""
        self.queue.append(lambda: function(*arguments) and None)

    def step(self) -> bool:
        """Do one piece of work; whether there was one."""
        if not self.queue:
            return False
        self.queue.popleft()()
        return True

    def run(self) -> None:
        """Do everything queued, and what that queues."""
        while self.step():
            pass


class RecordingSink:
    """A ``BodySink`` that keeps what it is told."""

    def __init__(self) -> None:
        self.data: list[bytes] = []
        self.ended = False
        self.error: StorageError | None = None

    @property
    def body(self) -> bytes:
        return b"".join(self.data)

    def on_body(self, data: bytes) -> None:
        assert not self.ended and self.error is None
        self.data.append(data)

    def on_body_end(self) -> None:
        assert not self.ended and self.error is None
        self.ended = True

    def on_body_error(self, error: StorageError) -> None:
        assert not self.ended and self.error is None
        self.error = error


def read_all(entry: Entry, start: int = 0, stop: int | None = None) -> bytes:
    """The body of *entry*; its executor must do work at once."""
    sink = RecordingSink()
    end = entry.stored.body_length if stop is None else stop
    reader: BodyReader = entry.read(sink, start, end)
    assert sink.ended, sink.error
    reader.close()
    return sink.body


class Harness:
    """A zone in a folder, without threads unless executors are given."""

    def __init__(
        self,
        path: str,
        *,
        pool: Executor | None = None,
        writer: Executor | None = None,
        scheduler: TestScheduler | None = None,
        reactor: QueueExecutor | None = None,
        **settings: object,
    ) -> None:
        values: dict[str, object] = {
            "name": "z",
            "path": path,
            "levels": (1, 2),
            "use_temp_path": False,
            "inactive": 600.0,
        }
        values.update(settings)
        self.config = CacheZone(**values)  # type: ignore[arg-type]  # built from a table
        self.lines: list[str] = []
        self.scheduler = scheduler or TestScheduler()
        self.pool = pool or InlineExecutor()
        self.writer = writer or InlineExecutor()
        #: Where calls from threads wait for the reactor; None: they are made at once.
        self.reactor = reactor
        self.zone = self.make()

    def make(self) -> Zone:
        """A new zone over the same folder, open."""
        zone = Zone(
            self.config,
            scheduler=self.scheduler,
            call_from_thread=call_at_once if self.reactor is None else self.reactor.call,
            log=self.lines.append,
            pool=self.pool,
            writer=self.writer,
            encoder=self.pool,
        )
        zone.open()
        return zone

    def restart(self) -> None:
        """Close in order and open again."""
        self.zone.close()
        self.zone = self.make()

    def advance(self, seconds: float) -> None:
        """Let time pass in steps, as a reactor does."""
        while seconds > 0:
            step = min(seconds, 1.0)
            self.scheduler.clock.advance(step)
            seconds -= step

    def store(
        self, key: bytes, body: bytes, variant: bytes = b"", head: StoredResponse | None = None
    ) -> bytes:
        """Store *body*; its digest."""
        digest = digest_of(key + variant)
        head = head or head_of(key, request_time=self.scheduler.wall())
        writer = self.zone.open_writer(digest, digest_of(key), head)
        assert writer is not None
        writer.write(body)
        writer.finish()
        return digest

    def look(self, digest: bytes) -> Entry | None:
        """Look up; the answer must come at once."""
        found: list[Entry | None] = []
        self.zone.lookup(digest, found.append)
        assert len(found) == 1, found
        return found[0]

    def body(self, digest: bytes) -> bytes | None:
        """The stored body, or None."""
        entry = self.look(digest)
        if entry is None:
            return None
        try:
            return read_all(entry)
        finally:
            entry.release()

    def forget_memory(self) -> None:
        """Empty the memory tier, so that the disk tier answers."""
        self.zone.memory.clear()


class ZoneCase(SynchronousTestCase):
    """A harness in a temporary folder."""

    def setUp(self) -> None:
        self.path = os.path.join(os.path.abspath(self.mktemp()), "cache")

    def harness(self, **settings: object) -> Harness:
        harness = Harness(self.path, **settings)  # type: ignore[arg-type]  # settings of a zone
        self.addCleanup(harness.zone.close)
        return harness

    def files(self) -> list[str]:
        """Body files below the zone's folder."""
        found = []
        for folder, _, names in os.walk(self.path):
            found += [os.path.join(folder, name) for name in names if len(name) == 32]
        return found
