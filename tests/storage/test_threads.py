"""Tests of the disk threads."""

from __future__ import annotations

import threading

from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.storage.threads import ThreadExecutor


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
