"""Accepting stops while the process is short of file descriptors.

Where descriptors have run out, libuv and Twisted accept a connection only to close it,
and neither the client nor the operator learns why. A ``DescriptorGuard`` stops a little
earlier: clients wait in the kernel's queue, what is being served can still open files and
upstream connections, one line says what happened, and accepting goes on as soon as
descriptors are free again. nginx pauses accepting for half a second likewise. Twisted's own
ports accept a burst of clients before a pause takes effect, and may drop the last of them.

How many are in use is read off the number that the kernel gives out, which is always the
lowest free one. Looking costs system calls, so it is done the more rarely the more
descriptors are free.

Source: nginx ``ngx_event_accept``; getrlimit(2), RLIMIT_NOFILE. Imports twisted.logger.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Callable
from typing import Any, Protocol

from twisted.logger import Logger

__all__ = ["RESERVE", "DescriptorGuard", "Pausable", "descriptor_limit", "lowest_free"]

#: Descriptors that stay free for files and upstream connections; of a small limit an eighth.
RESERVE = 32

#: Descriptors that one client may come to use until the next look: its own, an upstream's,
#: a file of the cache, a temporary file.
PER_CLIENT = 4

#: Seconds until it is looked again whether descriptors are free.
RETRY = 0.5

#: Seconds between two lines in the log.
LOG_INTERVAL = 60.0

_log = Logger()


class Pausable(Protocol):
    """A listener that can stop accepting for a while."""

    def pause_accepting(self) -> None: ...

    def resume_accepting(self) -> None: ...


def lowest_free() -> int | None:
    """The number that the next descriptor gets; None where none is free."""
    try:
        descriptor = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    os.close(descriptor)
    return descriptor


def descriptor_limit() -> int:
    """``RLIMIT_NOFILE``; a number that is never reached where there is none."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit


class DescriptorGuard:
    """Pauses every listener added to it while descriptors are short.

    *clock* provides ``IReactorTime``. *free* and *limit* look at the process.
    """

    def __init__(
        self,
        clock: Any,
        free: Callable[[], int | None] = lowest_free,
        limit: Callable[[], int] = descriptor_limit,
    ) -> None:
        self._clock = clock
        self._free = free
        self._limit = limit
        self._listeners: set[Pausable] = set()
        self._left = 0
        self._retry: Any = None
        self._logged = float("-inf")

    @property
    def paused(self) -> bool:
        """Whether nothing is accepted for now."""
        return self._retry is not None

    def add(self, listener: Pausable) -> None:
        """Watch over *listener*, which accepts from now on."""
        self._listeners.add(listener)
        if self.paused:
            listener.pause_accepting()

    def remove(self, listener: Pausable) -> None:
        """*listener* is closed."""
        self._listeners.discard(listener)
        if not self._listeners and self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def accepted(self) -> None:
        """A connection was accepted."""
        self._left -= 1
        if self._left < 0 and not self.paused:
            self._look()

    def _look(self) -> None:
        lowest, limit = self._free(), self._limit()
        above = limit - min(RESERVE, limit // 8)
        if lowest is not None and lowest < above:
            self._left = (above - lowest) // PER_CLIENT
            return
        self._complain(limit if lowest is None else lowest, limit)
        self._retry = self._clock.callLater(RETRY, self._look_again)
        for listener in list(self._listeners):
            listener.pause_accepting()

    def _look_again(self) -> None:
        self._retry = None
        self._look()
        if not self.paused:
            for listener in list(self._listeners):
                listener.resume_accepting()

    def _complain(self, used: int, limit: int) -> None:
        now = self._clock.seconds()
        if now - self._logged < LOG_INTERVAL:
            return
        self._logged = now
        _log.critical(
            "accept() is paused: {used} of {limit} file descriptors (RLIMIT_NOFILE) are in use;"
            " new connections wait in the listen queue until some are closed. Raise the hard"
            ' limit on open files ("ulimit -Hn", or LimitNOFILE= of the systemd unit)',
            used=used,
            limit=limit,
        )
