"""Tests of the disk threads."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue

from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.config.model import CacheZone
from cacheproxy.proxy.interfaces import Entry
from cacheproxy.storage.threads import ThreadExecutor
from cacheproxy.storage.zone import Zone
from tests.storage.support import LARGE, RecordingSink, TestScheduler, digest_of, head_of


class ThreadExecutorTests(SynchronousTestCase):
    """``ThreadExecutor``."""

    def test_one_thread_keeps_the_order(self) -> None:
        """The writing thread's order is what the zone relies on."""
        done: list[int] = []
        executor = ThreadExecutor("test", 1, lambda line: None)
        for number in range(100):
            executor.submit(lambda number=number: done.append(number))  # type: ignore[misc]  # a lambda's default has no type
        executor.stop()
        self.assertEqual(done, list(range(100)))

    def test_fault_is_logged_and_the_thread_lives(self) -> None:
        """A fault of the program costs one piece of work."""
        lines: list[str] = []
        done: list[str] = []
        executor = ThreadExecutor("test", 1, lines.append)

        def fault() -> None:
            raise ZeroDivisionError

        executor.submit(fault)
        executor.submit(lambda: done.append("next"))
        executor.stop()
        self.assertEqual(done, ["next"])
        self.assertEqual(len(lines), 1)
        self.assertIn("ZeroDivisionError", lines[0])

    def test_no_thread_before_work(self) -> None:
        """Threads do not survive the fork of a daemon, so none is there before it."""
        before = threading.active_count()
        executor = ThreadExecutor("test", 4, lambda line: None)
        self.assertEqual(threading.active_count(), before)
        executor.stop()
        executor.submit(lambda: None)
        self.assertEqual(threading.active_count(), before)


class ThreadedZoneTests(SynchronousTestCase):
    """A zone on its real threads."""

    def test_stores_and_lookups_in_threads(self) -> None:
        """What was stored by one thread is read by the others, whole, also after a restart."""
        calls: SimpleQueue[tuple[Callable[..., object], tuple[object, ...]]] = SimpleQueue()
        config = CacheZone("z", os.path.abspath(self.mktemp()), (1, 2), use_temp_path=False)

        def turn(condition: Callable[[], bool]) -> None:
            while not condition():
                function, arguments = calls.get(timeout=30)
                function(*arguments)

        def open_zone() -> Zone:
            zone = Zone(
                config,
                scheduler=TestScheduler(),
                call_from_thread=lambda function, *arguments: calls.put((function, arguments)),
                log=self.fail,
            )
            zone.open()
            return zone

        bodies = {b"%d" % n: os.urandom(500_000 if n % 10 == 0 else n) for n in range(60)}
        bodies[b"large"] = LARGE
        zone = open_zone()
        for key, body in bodies.items():
            writer = zone.open_writer(digest_of(key), digest_of(key), head_of(key))
            assert writer is not None
            for start in range(0, len(body), 300_000):
                writer.write(body[start : start + 300_000])
            writer.finish()
        turn(lambda: not zone._finishing)
        zone.close()
        zone = open_zone()
        found: dict[bytes, Entry | None] = {}
        for key in bodies:
            zone.lookup(digest_of(key), partial(found.__setitem__, key))
        turn(lambda: len(found) == len(bodies))
        for key, body in bodies.items():
            entry = found[key]
            assert entry is not None
            sink = RecordingSink()
            entry.read(sink, 0, len(body))
            turn(lambda sink=sink: sink.ended)  # type: ignore[misc]  # a lambda's default has no type
            entry.release()
            self.assertEqual(sink.body, body)
        zone.close()
