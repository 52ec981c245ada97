"""The sending half of a stream connection: writing, producers and closing, below any TLS.

``write`` is an instance attribute holding uvloop's bound ``write`` for as long as nothing has to
happen besides writing, and another function otherwise (see ``_choose_write``). Callers must look
``write`` up each time and not keep it.

Where this differs from ``twisted.internet.tcp``, by design:

- A write goes to the kernel at once, not at the end of the turn; TCP_NODELAY is on.
- A write after ``loseConnection`` is ignored unless a producer is still registered.
- A push producer is paused when the kernel takes no more, with ``bufferSize`` bytes waiting.
  Setting ``bufferSize`` asks for Twisted's own measure: bytes written in one turn.

Source: asyncio's Transport; ``twisted.internet.interfaces`` IConsumer, IHalfCloseableProtocol.
Must not import uvloop.
"""

from __future__ import annotations

# Most of Twisted's own methods have no annotations.
# mypy: disable-error-code="no-untyped-call"
import socket as socketlib
import struct
from collections.abc import Iterable
from typing import Any

from twisted.internet import error, interfaces
from twisted.logger import Logger
from twisted.python.failure import Failure

__all__ = ["RawConnection"]

_log = Logger()

DEFAULT_BUFFER_SIZE = 65536
"""Bytes waiting in user space before a push producer is paused; uvloop's default too."""

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def _discard(data: object) -> None:
    """Take the place of ``write`` once nothing more can be written."""


class RawConnection:
    """The connection below any TLS that ``startTLS`` adds: writing, producers and closing."""

    connected = False
    disconnected = False
    disconnecting = False
    producer: Any = None
    streamingProducer = False
    producerPaused = False
    TLS = False
    sessionno = 0

    _uv: Any = None
    _protocol: Any = None
    _reason: Failure | None = None
    _abandoned = False  # closed before uvloop handed over its transport
    _aborting = False
    _write_disconnecting = False
    _write_disconnected = False
    _write_paused = False  # uvloop called pause_writing
    _awaiting_flush = False
    _limit_is_zero = False
    _written_this_turn = 0
    _buffer_size: int | None = None

    def __init__(self, reactor: Any) -> None:
        self.reactor = reactor
        self._raw_write: Any = _discard

    # Consumer: writing.

    def write(self, data: bytes) -> None:
        """Write bytes; ignored when the connection can take no more."""
        self._raw_write(data)

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """Write several chunks with one system call; raises TypeError unless all are bytes."""
        chunks = list(iovec)
        for chunk in chunks:
            if not isinstance(chunk, bytes):
                raise TypeError("Data must be bytes")
        if self._raw_write is _discard:
            return
        if self._counts_writes():
            self._write_counted(b"".join(chunks))
        else:
            self._uv.writelines(chunks)

    def _counts_writes(self) -> bool:
        """Whether each write must be noticed on behalf of the producer."""
        return self.producer is not None and (
            not self.streamingProducer or self._buffer_size is not None
        )

    def _choose_write(self) -> None:
        """Choose what ``write`` is, from the state of the connection."""
        if not self.connected or self._write_disconnected:
            self._raw_write = _discard
        elif self._counts_writes():
            self._raw_write = self._write_counted
        else:
            self._raw_write = self._uv.write
        self.write = self._raw_write  # type: ignore[method-assign]

    def _write_counted(self, data: bytes) -> None:
        self._uv.write(data)
        self._written_this_turn += len(data)
        if (
            self.streamingProducer
            and not self.producerPaused
            and self._written_this_turn > self.bufferSize
        ):
            self._pause_producer()
        self._after_flush()

    @property
    def bufferSize(self) -> int:
        """Bytes that may wait before a push producer is paused."""
        return DEFAULT_BUFFER_SIZE if self._buffer_size is None else self._buffer_size

    @bufferSize.setter
    def bufferSize(self, size: int) -> None:
        self._buffer_size = size
        if self.connected:
            self._uv.set_write_buffer_limits(high=size)
            self._choose_write()

    def isWriting(self) -> bool:
        """Whether something is still to happen on the sending side."""
        return self.connected and bool(
            self.disconnecting or self._awaiting_flush or self._uv.get_write_buffer_size()
        )

    # Consumer: producers.

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Let a producer fill the connection; raises RuntimeError if there is one already."""
        if self.producer is not None:
            raise RuntimeError(
                f"Cannot register producer {producer}, "
                f"because producer {self.producer} was never unregistered."
            )
        if not self.connected:
            producer.stopProducing()
            return
        self.producer = producer
        self.streamingProducer = bool(streaming)
        self.producerPaused = False
        self._choose_write()
        if not streaming:
            producer.resumeProducing()
            # Bytes written earlier in this turn are with the kernel already, and nothing
            # tells: ask once more, as for a buffer that has become empty.
            self._after_flush()
        elif self._write_paused:
            # uvloop tells of a full buffer once, and has done so.
            self._pause_producer()

    def unregisterProducer(self) -> None:
        """Forget the producer; a close or half-close that waited for it now happens."""
        self.producer = None
        self.producerPaused = False
        if self.connected:
            self._choose_write()
            if self.disconnecting or self._write_disconnecting:
                self._after_flush()
            else:
                self._restore_limits()

    def stopConsuming(self) -> None:
        """Close the connection because the producer's own end is gone."""
        self.unregisterProducer()
        self.loseConnection()

    def _pause_producer(self) -> None:
        self.producerPaused = True
        self.producer.pauseProducing()

    def pause_writing(self) -> None:
        """uvloop: more than the limit is waiting for the kernel."""
        self._write_paused = True
        if self.producer is not None and self.streamingProducer and not self.producerPaused:
            self._pause_producer()

    def resume_writing(self) -> None:
        """uvloop: what was waiting has gone out. Never called from within a write."""
        self._write_paused = False
        if self._awaiting_flush or self.producerPaused:
            self._flushed()

    def _after_flush(self) -> None:
        """Have ``_flushed`` called, in a later turn, when all is with the kernel."""
        if self._awaiting_flush or not self.connected:
            return
        self._awaiting_flush = True
        if self._uv.get_write_buffer_size():
            # Makes uvloop call pause_writing now and resume_writing when all is gone.
            self._limit_is_zero = True
            self._uv.set_write_buffer_limits(high=0)
        else:
            self.reactor._asyncioEventloop.call_soon(self._flushed)

    def _restore_limits(self) -> None:
        if self._limit_is_zero:
            self._limit_is_zero = False
            self._uv.set_write_buffer_limits(high=self.bufferSize)

    def _flushed(self) -> None:
        """Take the next step that waited for an empty buffer, as Twisted's doWrite does."""
        if not self.connected:
            return
        draining = self._awaiting_flush
        self._awaiting_flush = False
        if draining and self._uv.get_write_buffer_size():
            self._after_flush()
            return
        self._written_this_turn = 0
        if self.producer is not None and (not self.streamingProducer or self.producerPaused):
            self.producerPaused = False
            try:
                self.producer.resumeProducing()
            except Exception:
                self._failed("resumeProducing failed")
        elif self.disconnecting:
            self._close()
        elif self._write_disconnecting and not self._write_disconnected:
            self._shut_write()
        else:
            self._restore_limits()

    # Closing.

    def loseConnection(self) -> None:
        """Close after what was written has gone out and a waiting producer has finished."""
        if not self.connected:
            self._abandoned = True
            return
        if self.disconnecting:
            return
        self.disconnecting = True
        if self.producer is None or self._write_disconnected:
            self._close()
        else:
            self.stopReading()
            self._after_flush()

    def _close(self) -> None:
        self._raw_write = _discard
        self.write = _discard  # type: ignore[method-assign]
        self._uv.close()

    def abortConnection(self) -> None:
        """Close at once with a TCP reset; what waits to be written is dropped."""
        if self.disconnected or self._aborting:
            return
        self._aborting = True
        if not self.connected:
            self._abandoned = True
            return
        handle = self._uv.get_extra_info("socket")
        if handle is not None and handle.fileno() != -1:
            handle.setsockopt(socketlib.SOL_SOCKET, socketlib.SO_LINGER, _RESET_ON_CLOSE)
        self._drop(Failure(error.ConnectionAborted()))

    def _drop(self, reason: Failure) -> None:
        """Close without flushing; connectionLost follows in a later turn, for this reason."""
        self._reason = reason
        self._raw_write = _discard
        self.write = _discard  # type: ignore[method-assign]
        self._uv.abort()

    def _failed(self, what: str) -> None:
        """Log the exception being handled and drop the connection because of it."""
        failure = Failure()
        _log.failure("{what} on {connection!r}", failure, what=what, connection=self)
        if self.connected:
            self._drop(failure)

    def loseWriteConnection(self) -> None:
        """Close the sending half once what was written has gone out."""
        if self.connected and not self._write_disconnecting:
            self._write_disconnecting = True
            self._after_flush()

    def _shut_write(self) -> None:
        self._write_disconnected = True
        self._choose_write()
        self._uv.write_eof()
        protocol: Any = interfaces.IHalfCloseableProtocol(self._protocol, None)
        if protocol is not None:
            try:
                protocol.writeConnectionLost()
            except Exception:
                self._failed("writeConnectionLost failed")

    def stopReading(self) -> None:
        """Read no more until ``startReading``."""
        raise NotImplementedError
