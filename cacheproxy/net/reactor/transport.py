"""One stream connection: an asyncio protocol towards uvloop, a transport towards Twisted.

The two are one object, so that on the busy paths nothing of this package runs at all: uvloop
looks ``data_received`` up once, when a protocol is set. It is an instance attribute holding, for
a protocol that allows it (``interfaces.IDirectProtocol``), the protocol's own bound
``dataReceived``, and for others a function that first sets the log context. Assigning
``protocol`` renews it. ``writing`` does the like for ``write``.

Source: asyncio's Protocol; ``twisted.internet.interfaces`` ITCPTransport, ITLSTransport,
IPushProducer, IHalfCloseableProtocol. Must not import uvloop.
"""

from __future__ import annotations

# Most of Twisted's own methods have no annotations.
# mypy: disable-error-code="no-untyped-call"
import socket as socketlib
from collections.abc import Iterable
from typing import Any

from twisted.internet import error, interfaces
from twisted.internet._newtls import startTLS
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.log import callWithContext
from zope.interface import implementer

from cacheproxy.net.reactor.interfaces import IDirectProtocol
from cacheproxy.net.reactor.writing import RawConnection

__all__ = ["StayPaused", "StreamConnection"]

_log = Logger()

_CONNECTION_DONE = Failure(error.ConnectionDone())
_CONNECTION_LOST = Failure(error.ConnectionLost())


class StayPaused(Exception):
    """Raised out of ``connection_made`` to keep uvloop from reading.

    uvloop starts reading when ``connection_made`` has returned, even if it was told to pause
    there. The reactor's exception handler passes this over.
    """


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
    _breathing = False
    _log_context: dict[str, str] | None = None  # None for a direct protocol
    _socket: socketlib.socket | None = None
    _shut_down_on_close = False  # the descriptor is a copy of one that someone else holds

    # The beginning.

    def open(self, uv: Any, protocol: Any) -> None:
        """Start with uvloop's transport; the last thing that ``connection_made`` does.

        Raises StayPaused if reading has to wait.
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
        if self._log_context is not None:
            # With Twisted's reactors a callLater(0) in connectionMade comes before the first
            # bytes; ClientCreator's users depend on it. uvloop polls before it runs timers.
            self.reactor._asyncioEventloop.call_soon(self._begin_reading)
            raise StayPaused
        if self._reading_paused:
            raise StayPaused

    def _begin_reading(self) -> None:
        if not self._reading_paused:
            self.startReading()

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
        """uvloop: bytes have arrived. Replaced per instance; see the module's head."""
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
            self.reactor._connections.add(self)
            self._uv.resume_reading()

    def breathe(self) -> None:
        """Read on in the next turn of the reactor (``interfaces.give_way``)."""
        if self.connected and not self._reading_paused and not self._breathing:
            self._breathing = True
            self._uv.pause_reading()
            self.reactor._asyncioEventloop.call_soon(self._breathed)

    def _breathed(self) -> None:
        self._breathing = False
        if self.isReading():
            self._uv.resume_reading()

    def resumeProducing(self) -> None:
        """Read again, unless the connection is being closed."""
        if self.connected and not self.disconnecting:
            self.startReading()

    def stopProducing(self) -> None:
        """Close: the consumer of what we read is gone."""
        self.loseConnection()

    def isReading(self) -> bool:
        """Whether bytes that arrive now would be delivered."""
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
