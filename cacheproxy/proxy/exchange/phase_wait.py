"""A phase that waits: what the exchange is held up by, and how it goes on.

``Exchange.begin_wait`` gives a phase a ``PhaseWait``; the phase tells it what to cancel, and
returns ``Progress.WAIT``. When what it waits for has come, it calls ``resume`` (the next phase
goes on) or answers by the exchange. A client that leaves, or whose body is refused,
ends the wait; from then on ``resume`` does nothing. It may be called before the phase
has returned.

Imports: ``proxy.site.phases``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from cacheproxy.proxy.site.phases import Phase

__all__ = ["PhaseWait", "Waiter"]


class Waiter(Protocol):
    """What is waited for: a timer, a subrequest."""

    def cancel(self) -> None:
        """Nobody waits for it any more."""


class PhaseWait:
    """One wait of one exchange (a ``Source``); *go_on* runs the phases that are left."""

    __slots__ = ("_go_on", "_rest", "_waiter", "ended", "resumed")

    def __init__(self, go_on: Callable[[PhaseWait, Iterator[Phase]], None]) -> None:
        #: None once there is nothing to go on with, so that no cycle is left to collect.
        self._go_on: Callable[[PhaseWait, Iterator[Phase]], None] | None = go_on
        self._rest: Iterator[Phase] | None = None
        self._waiter: Waiter | None = None
        #: What was waited for has come.
        self.resumed = False
        #: The client has gone before.
        self.ended = False

    def cancels(self, waiter: Waiter) -> None:
        """Have *waiter* cancelled if the client leaves first."""
        if self.ended:
            waiter.cancel()
        elif not self.resumed:
            self._waiter = waiter

    def resume(self) -> None:
        """What was waited for has come: the phases that are left go on."""
        if self.resumed or self.ended:
            return
        self.resumed = True
        self._waiter = None
        go_on, rest = self._go_on, self._rest
        if go_on is not None and rest is not None:
            self._go_on = None
            go_on(self, rest)

    def hold(self, rest: Iterator[Phase]) -> bool:
        """The phase has returned; False where it was resumed before, so that *rest* goes on now."""
        if self.resumed:
            self._go_on = None
            return False
        self._rest = rest
        return True

    # -- Source ------------------------------------------------------------

    def on_writable(self) -> None:
        """Nothing is waiting to be written."""

    def on_downstream_lost(self) -> None:
        self.ended = True
        self._go_on = None
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            waiter.cancel()
