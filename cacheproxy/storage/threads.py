"""Threads for disk work, so that the reactor's never waits for a disk.

``ThreadExecutor`` starts its threads with the first work given to it, after
any fork of a daemon. ``InlineExecutor`` does the work at once, for tests that
are to be deterministic.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from queue import SimpleQueue
from typing import Protocol

__all__ = ["DISK_THREADS", "CallFromThread", "Executor", "InlineExecutor", "ThreadExecutor"]

#: Threads that read and write bodies; four keep a disk's queue busy and cost little idle.
DISK_THREADS = 4

#: How a thread hands a call to the reactor: ``call(function, *arguments)``.
CallFromThread = Callable[..., object]


class Executor(Protocol):
    """Runs work elsewhere; one with a single thread runs it in the order submitted."""

    def submit(self, work: Callable[[], None]) -> None: ...

    def stop(self) -> None:
        """Finish what was submitted, then end; blocks. Later work is dropped."""


class InlineExecutor:
    """Does each piece of work before ``submit`` returns."""

    def submit(self, work: Callable[[], None]) -> None:
        work()

    def stop(self) -> None:
        """Nothing is left to finish."""


class ThreadExecutor:
    """At most *size* daemon threads called *name*, fed from one queue.

    Work reports its own failures; an exception out of it is a fault of the
    program, logged through *log*, and does not end the thread.
    """

    def __init__(self, name: str, size: int, log: Callable[[str], None]) -> None:
        self._name = name
        self._size = size
        self._log = log
        self._queue: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._stopped = False

    def submit(self, work: Callable[[], None]) -> None:
        """Queue *work*. Called from the reactor thread only."""
        if self._stopped:
            return
        self._queue.put(work)
        if len(self._threads) < self._size:
            self._start()

    def stop(self) -> None:
        """Wait for the queued work, then end the threads."""
        self._stopped = True
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    def _start(self) -> None:
        thread = threading.Thread(
            target=self._run, name=f"{self._name}-{len(self._threads)}", daemon=True
        )
        self._threads.append(thread)
        thread.start()

    def _run(self) -> None:
        get = self._queue.get
        while True:
            work = get()
            if work is None:
                return
            try:
                work()
            except Exception:
                self._log(f"disk thread {self._name}: {traceback.format_exc()}")
            del work
