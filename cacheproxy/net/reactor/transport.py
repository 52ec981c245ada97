"""One stream connection: an asyncio protocol towards uvloop, a transport towards Twisted.

The two are one object, so that on the busy paths nothing of this module runs at all:

- uvloop looks ``data_received`` up once, when a protocol is set. It is an instance attribute
  holding, for a protocol that allows it (``interfaces.IDirectProtocol``), the protocol's own bound
  ``dataReceived``, and for others a function that first sets the log context. Assigning
  ``protocol`` renews it.
- ``write`` is an instance attribute holding uvloop's bound ``write`` for as long as nothing has
  to happen besides writing, and another function otherwise (see ``_choose_write``). Callers must
  look ``write`` up each time and not keep it.

Where this differs from ``twisted.internet.tcp``, by design:

- A write goes to the kernel at once, not at the end of the turn; TCP_NODELAY is on.
- A write after ``loseConnection`` is ignored unless a producer is still registered.
- A push producer is paused when the kernel takes no more, with ``bufferSize`` octets waiting.
  Setting ``bufferSize`` asks for Twisted's own measure: octets written in one turn.

Source: asyncio's Protocol and Transport; ``twisted.internet.interfaces`` ITCPTransport,
ITLSTransport, IConsumer, IPushProducer, IHalfCloseableProtocol. Must not import uvloop.
"""

from __future__ import annotations

# Most of Twisted's own methods have no annotations.
# mypy: disable-error-code="no-untyped-call"
import socket as socketlib
import struct
from collections.abc import Iterable
from typing import Any

from twisted.internet import error, interfaces
from twisted.internet._newtls import startTLS
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.log import callWithContext
from zope.interface import implementer  # type: ignore[import-untyped]

from cacheproxy.net.reactor.interfaces import IDirectProtocol

__all__ = ["RawConnection", "StayPaused", "StreamConnection"]

_log = Logger()

DEFAULT_BUFFER_SIZE = 65536
"""Octets waiting in user space before a push producer is paused; uvloop's default too."""

_CONNECTION_DONE = Failure(error.ConnectionDone())
_CONNECTION_LOST = Failure(error.ConnectionLost())
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def _discard(data: object) -> None:
    """Take the place of ``write`` once nothing more can be written."""


class StayPaused(Exception):
    """Raised out of ``connection_made`` to keep uvloop from reading.

    uvloop starts reading when ``connection_made`` has returned, even if it was told to pause
    there. The reactor's exception handler passes this over.
    """


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
        """Write octets; ignored when the connection can take no more."""
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
        """Octets that may wait before a push producer is paused."""
        return DEFAULT_BUFFER_SIZE if self._buffer_size is None else self._buffer_size

    @bufferSize.setter
    def bufferSize(self, size: int) -> None:
        self._buffer_size = size
        if self.connected:
            self._uv.set_write_buffer_limits(high=size)
            self._choose_write()

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
            # Octets written earlier in this turn are with the kernel already, and nothing
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


@implementer(
    interfaces.ITLSTransport,
    interfaces.ITCPTransport,
    interfaces.ISystemHandle,
    interfaces.IConsumer,
    interfaces.IPushProducer,
    interfaces.ILoggingContext,
)
class StreamConnection(RawConnection):
    """A connection with its protocol: reading, addresses, options, TLS and the end."""

    _tlsClientDefault = False
    _reading_paused = False
    _read_closed = False
    _log_context: dict[str, str] | None = None  # None for a direct protocol
    _socket: socketlib.socket | None = None
    _shut_down_on_close = False  # the descriptor is a copy of one that someone else holds

    # The beginning.

    def open(self, uv: Any, protocol: Any) -> None:
        """Start with uvloop's transport; the last thing that ``connection_made`` does.

        Raises StayPaused if the protocol has asked not to be read to.
        """
        self._uv = uv
        self._protocol = protocol
        self.connected = True
        self.reactor._connections.add(self)
        self._choose_write()
        if self._buffer_size is not None:
            uv.set_write_buffer_limits(high=self._buffer_size)
        try:
            protocol.makeConnection(self)
        except Exception:
            self._failed("makeConnection failed")
        if not self.connected:
            return
        self._choose_data_received()
        if self._reading_paused:
            raise StayPaused

    @property
    def protocol(self) -> Any:
        """The protocol that gets what is read; may be replaced at any time."""
        return self._protocol

    @protocol.setter
    def protocol(self, protocol: Any) -> None:
        self._protocol = protocol
        if self.connected:
            self._choose_data_received()

    def _choose_data_received(self) -> None:
        if IDirectProtocol.providedBy(self._protocol):
            self.data_received = self._protocol.dataReceived  # type: ignore[method-assign]
        else:
            self._log_context = {"system": self.logPrefix()}
            self.__dict__.pop("data_received", None)
        self._uv.set_protocol(self)  # makes uvloop look data_received up again

    # Reading.

    def data_received(self, data: bytes) -> None:
        """uvloop: octets have arrived. Replaced per instance; see the module's head."""
        callWithContext(self._log_context, self._protocol.dataReceived, data)

    def eof_received(self) -> bool:
        """uvloop: the peer has closed its half. True keeps ours open."""
        self._read_closed = True
        protocol: Any = interfaces.IHalfCloseableProtocol(self._protocol, None)
        if protocol is None:
            self._drop(_CONNECTION_DONE)
            return False
        try:
            protocol.readConnectionLost()
        except Exception:
            self._failed("readConnectionLost failed")
        return True

    def stopReading(self) -> None:
        """Read no more until ``startReading``."""
        self._reading_paused = True
        if self.connected:
            self._uv.pause_reading()

    pauseProducing = stopReading

    def startReading(self) -> None:
        """Read again; no effect once the peer has closed its half."""
        self._reading_paused = False
        if self.connected and not self._read_closed:
            self._uv.resume_reading()

    def resumeProducing(self) -> None:
        """Read again, unless the connection is being closed."""
        if self.connected and not self.disconnecting:
            self.startReading()

    def stopProducing(self) -> None:
        """Close: the consumer of what we read is gone."""
        self.loseConnection()

    def isReading(self) -> bool:
        """Whether octets that arrive now would be delivered."""
        return self.connected and not (
            self._reading_paused or self._read_closed or self.disconnecting
        )

    # The end.

    def connection_lost(self, exc: BaseException | None) -> None:
        """uvloop: the transport is about to be closed."""
        if self.disconnected or self._protocol is None:
            return
        reason = self._reason
        if reason is None:
            if exc is None:
                reason = _CONNECTION_DONE
            elif isinstance(exc, OSError) and exc.__traceback__ is None:
                reason = _CONNECTION_LOST  # made by uvloop from an error number
            else:
                reason = Failure(exc)
                if isinstance(exc, OSError):  # uvloop reports the others itself
                    _log.failure("Unhandled error on {connection!r}", reason, connection=self)
        self.connectionLost(reason)

    def connectionLost(self, reason: Failure) -> None:
        """Tell the producer and the protocol that all is over. Never twice."""
        if self.disconnected or self._protocol is None:
            return
        self.disconnected = True
        self.connected = False
        self.reactor._connections.discard(self)
        self._choose_write()
        self.__dict__.pop("data_received", None)
        if self._shut_down_on_close and not self._aborting:
            try:
                self.socket.shutdown(socketlib.SHUT_RDWR)
            except OSError:
                pass  # the peer was faster
        self._uv.abort()
        if self._socket is not None:
            self._socket.close()
        producer, self.producer = self.producer, None
        protocol, self._protocol = self._protocol, None
        if producer is not None:
            producer.stopProducing()
        if self._log_context is None:
            protocol.connectionLost(reason)
        else:
            callWithContext(self._log_context, protocol.connectionLost, reason)

    # TLS.

    def startTLS(self, ctx: Any, normal: bool = True) -> None:
        """Put TLS between the connection and its protocol. Source: ITLSTransport."""
        startTLS(self, ctx, normal, RawConnection)
        self.write = self._write_tls  # type: ignore[method-assign]
        self.writeSequence = self._write_sequence_tls  # type: ignore[method-assign]

    def _choose_write(self) -> None:
        super()._choose_write()
        if self.TLS:
            self.write = self._write_tls  # type: ignore[method-assign]

    def _write_tls(self, data: bytes) -> None:
        if self.connected:
            self._protocol.write(data)

    def _write_sequence_tls(self, iovec: Iterable[bytes]) -> None:
        if self.connected:
            self._protocol.writeSequence(iovec)

    def loseConnection(self) -> None:
        """Close after what was written has gone out, with a TLS shutdown if there is TLS."""
        if not self.TLS:
            super().loseConnection()
        elif self.connected and not self.disconnecting:
            self._protocol.loseConnection()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Let a producer fill the connection, through TLS if there is TLS."""
        if self.TLS:
            self._protocol.registerProducer(producer, streaming)
        else:
            super().registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        """Forget the producer."""
        if not self.TLS:
            super().unregisterProducer()
        elif self._protocol is not None:
            self._protocol.unregisterProducer()

    # Addresses, options and descriptions.

    def getHost(self) -> Any:
        """Our address."""
        raise NotImplementedError

    def getPeer(self) -> Any:
        """The peer's address."""
        raise NotImplementedError

    @property
    def socket(self) -> socketlib.socket:
        """A socket object for options and addresses, on its own copy of the descriptor."""
        if self._socket is None:
            self._socket = self._uv.get_extra_info("socket").dup()
        return self._socket

    def getHandle(self) -> Any:
        """The socket object."""
        return self.socket

    def fileno(self) -> int:
        """The descriptor that uvloop uses; -1 when closed."""
        handle = self._uv.get_extra_info("socket") if self._uv is not None else None
        return -1 if handle is None else int(handle.fileno())

    def getTcpNoDelay(self) -> bool:
        """Whether small writes go out at once; uvloop turns this on."""
        return bool(self._option().getsockopt(socketlib.IPPROTO_TCP, socketlib.TCP_NODELAY))

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Whether small writes go out at once."""
        self._option().setsockopt(socketlib.IPPROTO_TCP, socketlib.TCP_NODELAY, int(enabled))

    def getTcpKeepAlive(self) -> bool:
        """Whether the kernel probes an idle peer."""
        return bool(self._option().getsockopt(socketlib.SOL_SOCKET, socketlib.SO_KEEPALIVE))

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Whether the kernel probes an idle peer."""
        self._option().setsockopt(socketlib.SOL_SOCKET, socketlib.SO_KEEPALIVE, int(enabled))

    def _option(self) -> Any:
        return self._uv.get_extra_info("socket")

    def logPrefix(self) -> str:
        """What log lines about this connection start with."""
        return self.logstr

    @property
    def logstr(self) -> str:
        """What log lines about this connection start with."""
        return self._protocol_name()

    def _protocol_name(self) -> str:
        if interfaces.ILoggingContext.providedBy(self._protocol):
            return str(self._protocol.logPrefix())
        return type(self._protocol).__name__
