"""A time limit that is moved often and fires rarely.

Moving a timer of the reactor costs more than answering a hit from memory.
A ``Deadline`` therefore only notes the new time; the one timer beneath it is
left alone while it is due earlier, and re-armed when it fires too soon.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["NEVER", "Deadline"]

#: The ``when`` of a deadline that is not set.
NEVER = float("inf")


class Deadline:
    """Calls *expired* once the time set last has passed; *clock* provides ``IReactorTime``."""

    __slots__ = ("_armed", "_call", "_clock", "_expired", "_seconds", "when")

    def __init__(self, clock: Any, expired: Callable[[], None]) -> None:
        self._clock = clock
        self._seconds: Callable[[], float] = clock.seconds
        self._expired = expired
        self._call: Any = None
        self._armed = NEVER
        self.when = NEVER

    def set(self, seconds: float) -> None:
        """Expire *seconds* from now, whatever was set before."""
        self.when = when = self._seconds() + seconds
        if when < self._armed:
            self._arm(seconds, when)

    def clear(self) -> None:
        """Do not expire; the timer beneath may still run out unheard."""
        self.when = NEVER

    def stop(self) -> None:
        """Do not expire and leave no timer behind."""
        self.when = self._armed = NEVER
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _arm(self, seconds: float, when: float) -> None:
        if self._call is not None:
            self._call.cancel()
        self._armed = when
        self._call = self._clock.callLater(seconds, self._fired)

    def _fired(self) -> None:
        self._call = None
        self._armed = NEVER
        if self.when == NEVER:
            return
        left = self.when - self._seconds()
        if left > 0:
            self._arm(left, self.when)
            return
        self.when = NEVER
        self._expired()
