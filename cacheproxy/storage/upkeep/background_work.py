"""Background work on disk, within the limits that ``proxy_cache_path`` sets.

Work is done in iterations: at most so many items (``*_files``), for so long
(``*_threshold``), with a pause between two (``*_sleep``). An iteration consists of steps of
a bounded size, each queued behind the writes that were asked for before it, so that no
store waits for more than one step.

Source: nginx's cache manager and loader processes. Runs in the reactor thread, apart from
the steps themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from cacheproxy.errors import StorageError
from cacheproxy.proxy.interfaces import Cancellable
from cacheproxy.storage.disk.queue import DiskQueue

__all__ = ["BackgroundWork", "WorkLimits"]


class WorkLimits:
    """Items and seconds of one iteration, seconds between two."""

    __slots__ = ("files", "sleep", "threshold")

    def __init__(self, files: int, threshold: float, sleep: float) -> None:
        self.files = max(files, 1)
        self.threshold = threshold
        self.sleep = sleep


class BackgroundWork:
    """Work that is done again and again until nothing is left.

    *step* does up to as many items as it is told, in the writing thread, and answers how
    many there were; fewer mean that nothing is left. *done* is called then with True. A
    failing disk ends the work, with False; it is begun anew by who began it.
    """

    __slots__ = (
        "_disk_queue",
        "_done",
        "_iteration_ends",
        "_left",
        "_limit",
        "_limits",
        "_step",
        "_stopped",
        "_timer",
        "running",
    )

    def __init__(
        self,
        disk_queue: DiskQueue,
        limits: WorkLimits,
        limit: int,
        step: Callable[[int], int],
        done: Callable[[bool], None] | None = None,
    ) -> None:
        self._disk_queue = disk_queue
        self._limits = limits
        self._limit = limit
        self._step = step
        self._done = done
        self.running = False
        self._stopped = False
        self._timer: Cancellable | None = None
        self._left = 0
        self._iteration_ends = 0.0

    def start(self) -> None:
        """Begin, unless it is under way."""
        if self.running or self._stopped:
            return
        if self._disk_queue.down:
            self._end(False)
        else:
            self.running = True
            self._iterate()

    def _end(self, complete: bool) -> None:
        self.running = False
        if self._done is not None and not self._stopped:
            self._done(complete)

    def stop(self) -> None:
        """Do nothing more."""
        self._stopped = True
        self.running = False
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def _iterate(self) -> None:
        self._timer = None
        self._left = self._limits.files
        self._iteration_ends = self._disk_queue.scheduler.monotonic() + self._limits.threshold
        self._next()

    def _next(self) -> None:
        limit = min(self._left, self._limit)
        self._disk_queue.write(partial(self._step, limit), partial(self._stepped, limit))

    def _stepped(self, limit: int, count: int | None, error: StorageError | None) -> None:
        if count is None or count < limit or self._stopped:
            self._end(count is not None)
        else:
            self._left -= count
            if self._left > 0 and self._disk_queue.scheduler.monotonic() < self._iteration_ends:
                self._next()
            else:
                call_later = self._disk_queue.scheduler.call_later
                self._timer = call_later(self._limits.sleep, self._iterate)
