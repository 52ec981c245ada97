"""Small writes, gathered until the end of the reactor's turn.

A response's head and the start of its body, or the pieces of a chunked body, are
written one after the other; sent one by one each would be a system call and, where
the peer sleeps, a wake-up. An ``Outbox`` keeps what one connection writes and a
``Turn`` sends it for all of them once the events at hand have been dealt with.
Large pieces go out at once, so that the transport's back-pressure is felt.

A reactor may offer ``callSoon(function)`` (ours on uvloop does), which is cheaper
than ``callLater(0, …)``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.logger import Logger

__all__ = ["DIRECT", "Outbox", "Turn"]

#: Bytes from which a piece is written at once, beside what waits, uncopied.
DIRECT = 16 * 1024

#: Bytes that one connection may gather; beyond them it sends, so that the transport
#: can say that it is full while one read brings a thousand pipelined requests.
GATHERED = 64 * 1024


_log = Logger()


class Turn:
    """The outboxes of one reactor that have something to send."""

    __slots__ = ("_reactor", "_soon", "_waiting")

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._soon: Callable[[Callable[[], None]], object] = getattr(reactor, "callSoon", None) or (
            lambda function: reactor.callLater(0, function)
        )
        self._waiting: list[Outbox] = []

    def add(self, outbox: Outbox) -> None:
        """Send *outbox* at the end of this turn."""
        waiting = self._waiting
        waiting.append(outbox)
        if len(waiting) == 1:
            self._soon(self._flush)

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for outbox in waiting:
            try:
                outbox.flush()
            except Exception:
                # One connection's fault must not take the others' bytes with it.
                _log.failure("a write failed")


class Outbox:
    """What one connection's transport is yet to be given."""

    __slots__ = ("_parts", "_size", "_transport_write", "_transport_write_parts", "_turn")

    def __init__(self, turn: Turn, transport: Any) -> None:
        self._turn = turn
        self._transport_write: Callable[[bytes], None] = transport.write
        self._transport_write_parts: Callable[[list[bytes]], None] = transport.writeSequence
        self._parts: list[bytes] = []
        self._size = 0

    def write(self, data: bytes) -> None:
        """Send *data* with what else this turn brings, or at once if it is large."""
        parts = self._parts
        if len(data) >= DIRECT:
            self._parts = []
            self._size = 0
            self._transport_write_parts([*parts, data])
            return
        if not parts:
            self._turn.add(self)
        parts.append(data)
        self._size = size = self._size + len(data)
        if size >= GATHERED:
            self.flush()

    def write_now(self, data: bytes) -> None:
        """Send *data* in this call, after what waits."""
        if self._parts:
            self._parts.append(data)
            self.flush()
        else:
            self._transport_write(data)

    def flush(self) -> None:
        """Send what waits."""
        parts = self._parts
        if parts:
            self._parts = []
            self._size = 0
            self._transport_write(parts[0] if len(parts) == 1 else b"".join(parts))

    def close(self) -> None:
        """Forget what waits; nothing is written any more."""
        self._parts = []
        self._transport_write = self._transport_write_parts = _ignore


def _ignore(data: object) -> None:
    """What is written after the end."""
