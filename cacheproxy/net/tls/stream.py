"""TLS between a plain transport and a protocol, both ends: OpenSSL on memory BIOs.

One object is the protocol of the transport below and the transport of the
protocol above. Nothing is deferred: what is written is encrypted and handed
down in the same call, so that a push producer can be registered straight with
the transport below and back-pressure needs no code here. The exception is what
the protocol above writes while it is being given data: that is gathered, up to
``ssl_buffer_size``, and leaves as one record when it returns.

Reading takes a short way where the bytes received are exactly one record, as
nearly every request is: then OpenSSL need not be asked whether there is more,
and no exception is made to say no.

Closing: ``loseConnection`` sends close_notify and does not wait for the peer's
(RFC 8446 §6.1). A peer that closes without one gives ``TruncatedClose``. Source: RFC
8446, RFC 5246; ``ssl_buffer_size``. Imports twisted, pyOpenSSL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from OpenSSL import SSL
from twisted.internet import error, interfaces
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from cacheproxy.net.reactor.interfaces import LONG_READ, IDirectProtocol, give_way
from cacheproxy.net.tls import openssl as tls_openssl

__all__ = [
    "MAX_EARLY_WRITE",
    "MAX_HANDSHAKE_INPUT",
    "MAX_PAUSED_INPUT",
    "ConnectionInfo",
    "TlsFailure",
    "TlsStream",
    "TruncatedClose",
]

#: Bytes of one peer's handshake; certificate chains are the largest part.
MAX_HANDSHAKE_INPUT = 128 * 1024

#: Bytes that the transport below may still deliver after it was paused.
MAX_PAUSED_INPUT = 1 << 20

#: Bytes that the protocol above may write before the handshake is done.
MAX_EARLY_WRITE = 64 * 1024

#: Largest plaintext of a record (RFC 8446 §5.1).
MAX_RECORD = 16384

#: Records handed down at once in a long write.
RECORDS_PER_WRITE = 16

_APPLICATION_DATA = 0x17

_log = Logger()


class TruncatedClose(error.ConnectionLost):
    """The peer closed without close_notify: what it had sent may be cut short."""


class TlsFailure(error.ConnectionLost):
    """TLS failed; ``str()`` ends with OpenSSL's reason."""


class ConnectionInfo:
    """What ``$ssl_*`` read off an established connection (``TlsInfo``); valid after its end.

    *session_id* is hexadecimal; empty with TLSv1.3, where the server hello only
    echoes what the client made up.
    """

    __slots__ = ("_connection", "_session_id", "server_name")

    def __init__(self, connection: SSL.Connection, server_name: str, session_id: bytes) -> None:
        self._connection = connection
        self._session_id = session_id
        self.server_name = server_name

    @property
    def protocol(self) -> str:
        return self._connection.get_protocol_version_name()

    @property
    def cipher(self) -> str:
        return self._connection.get_cipher_name() or ""

    @property
    def session_reused(self) -> bool:
        return tls_openssl.session_reused(self._connection)

    @property
    def session_id(self) -> str:
        return "" if self.protocol == "TLSv1.3" else self._session_id.hex()

    @property
    def alpn(self) -> bytes:
        """The protocol chosen by ALPN, empty where there was none."""
        return self._connection.get_alpn_proto_negotiated()


def _discard(_data: bytes) -> None:
    """Takes what arrives once the connection is gone."""


def _no_slices(_data: bytes, _size: int) -> Iterable[bytes]:
    """Stands for ``encrypt_slices`` likewise."""
    return ()


def _failure(exception: Exception) -> Failure:
    return Failure(exception)


def _nothing(*_arguments: Any) -> bytes:
    """Stands for the calls that give bytes once the connection is gone."""
    return b""


@implementer(interfaces.ITransport, interfaces.IConsumer, interfaces.IPushProducer, IDirectProtocol)
class TlsStream(Protocol):
    """The part that server and client share; see the module.

    Subclasses call ``_attach`` and ``_handshake`` and implement ``_early`` (bytes
    before the stream is open), ``_established`` and ``_handshake_failed``.
    """

    disconnecting = False

    #: Set once the handshake is done.
    info: ConnectionInfo | None = None

    #: Whether the peer said that it has finished.
    close_notify_received = False

    #: Whether the peer turned out not to speak TLS, and bytes pass as they are.
    plain = False

    def __init__(self, inner: Any, reactor: Any) -> None:
        self.inner = inner
        self._reactor = reactor
        self._lower: Any = None
        self._connection: SSL.Connection | None = None
        self._inner_connected = False
        self._inner_received: Any = inner.dataReceived
        self._feed: Callable[[bytes], None] = _discard
        self._decrypt: Callable[[], bytes] = _nothing
        self._encrypt: Callable[[bytes], bytes] = _nothing
        self._encrypt_slices: Callable[[bytes, int], Iterable[bytes]] = _no_slices
        self._take: Callable[[], bytes] = _nothing
        self._slice = MAX_RECORD
        self._done = False  # the handshake
        self._readable = False
        self._writable = False
        self._corked = False
        self._pending: list[bytes] = []
        self._pending_size = 0
        self._paused = False
        self._held = 0
        self._backlog = False
        self._draining = False
        self._drain_call: Any = None
        self._producer: Any = None
        self._streaming = False
        self._failure: Exception | None = None
        self._input = 0
        # Where in the peer's records the bytes received so far end.
        self._aligned = True
        self._to_boundary = 0
        self._header = b""
        self._first_output = b""

    def _connect_inner(self) -> None:
        """From now on the protocol above is owed a ``connectionLost``."""
        self._inner_connected = True
        self.inner.makeConnection(self)

    # -- what subclasses decide ------------------------------------------------

    def _early(self, data: bytes) -> None:
        """Bytes that arrive before the stream is open."""
        raise NotImplementedError

    def _established(self) -> None:
        """The handshake is done and ``info`` is set; may call ``_fail``."""
        raise NotImplementedError

    def _handshake_failed(self, failure: Exception) -> None:
        """Called once if the handshake never gets done."""

    # -- handshake -------------------------------------------------------------

    def _attach(self, connection: SSL.Connection, buffer_size: int = MAX_RECORD) -> None:
        self._connection = connection
        pump = tls_openssl.make_pump(connection)
        self._feed = pump.feed
        self._decrypt = pump.decrypt
        self._encrypt = pump.encrypt
        self._encrypt_slices = pump.encrypt_slices
        self._take = pump.take
        self._slice = max(1, min(buffer_size, MAX_RECORD))

    def _handshake(self, data: bytes = b"") -> None:
        """Go on with the handshake, *data* being what the peer sent."""
        assert self._connection is not None
        self._input += len(data)
        try:
            if data:
                self._follow(data)
                self._feed(data)
            self._connection.do_handshake()
        except SSL.WantReadError:
            self._flush()
            if self._input > MAX_HANDSHAKE_INPUT:
                self._fail(TlsFailure("the peer's handshake is too long"))
            return
        except SSL.Error as failure:
            self._fail(failure)
            return
        self._flush()
        self._done = True
        server_name = self._server_name()
        self.info = ConnectionInfo(self._connection, server_name, self._session_id())
        self._readable = self._writable = True
        self._established()
        if self._producer is not None and not self._streaming:
            self._lower.registerProducer(self._producer, False)
        if self._pending:
            self._uncork()
        self._drain()

    def _server_name(self) -> str:
        return ""

    def _session_id(self) -> bytes:
        """The session identifier of our server hello (RFC 5246 §7.4.1.3), else empty."""
        hello, self._first_output = self._first_output, b""
        if len(hello) > 44 and hello[0] == 0x16 and hello[5] == 2:
            return hello[44 : 44 + hello[43]]
        return b""

    # -- from below ------------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        """Never raises: TLS faults and those of the protocol above end the connection."""
        if len(data) >= LONG_READ:
            give_way(self._lower)
        if not self._readable:
            if not self._done:
                self._early(data)
            return
        size = len(data)
        if (
            self._aligned
            and not self._paused
            and not self._draining
            and size > 5
            and data[0] == _APPLICATION_DATA
            and (data[3] << 8 | data[4]) + 5 == size
        ):
            try:
                self._feed(data)
                plain = self._decrypt()
            except SSL.Error as failure:
                self._read_ended(failure)
                return
            if plain:
                self._deliver(plain)
            else:
                self._flush()
            return
        self._follow(data)
        if self._paused:
            self._backlog = True
            self._held += size
            if self._held > MAX_PAUSED_INPUT:
                self._fail(TlsFailure("the transport does not pause"))
                return
        try:
            self._feed(data)
        except SSL.Error as failure:
            self._fail(failure)
            return
        self._drain()

    def _follow(self, data: bytes) -> None:
        """Note whether *data* ends where a record ends (RFC 8446 §5.1: type, version, length)."""
        if self._header:
            data = self._header + data
        position = self._to_boundary
        size = len(data)
        while position + 5 <= size:
            position += 5 + (data[position + 3] << 8 | data[position + 4])
        self._header = data[position:] if position < size else b""
        self._to_boundary = position - size if position > size else 0
        self._aligned = position == size

    def _drain(self) -> None:
        """Decrypt and deliver until nothing is left or the protocol above has paused."""
        if self._draining:
            return
        self._draining = True
        while self._readable and not self._paused:
            try:
                plain = self._decrypt()
            except SSL.Error as failure:
                self._read_ended(failure)
                break
            if not plain:
                self._flush()
                break
            self._deliver(plain)
        self._backlog = self._paused
        self._draining = False

    def _deliver(self, plain: bytes) -> None:
        self._corked = True
        try:
            self._inner_received(plain)
        except Exception:
            self._crashed()
        self._corked = False
        if self._pending:
            self._uncork()

    def _crashed(self) -> None:
        _log.failure("Unhandled error in a protocol over TLS")
        self.abortConnection()

    def _read_ended(self, failure: SSL.Error) -> None:
        """OpenSSL gave no plaintext: the peer has finished, or it failed."""
        if isinstance(failure, SSL.ZeroReturnError):
            self._flush()
            self._peer_finished()
        else:
            self._fail(failure)

    def _peer_finished(self) -> None:
        self.close_notify_received = True
        self._readable = False
        if interfaces.IHalfCloseableProtocol.providedBy(self.inner):
            try:
                self.inner.readConnectionLost()
            except Exception:
                self._crashed()
        else:
            self.loseConnection()

    def _fail(self, failure: Exception) -> None:
        """End the connection, sending the alert that OpenSSL has made if it has made one."""
        if self._failure is not None:
            return
        if not isinstance(failure, TlsFailure):
            failure = TlsFailure(tls_openssl.error_reason(failure))
        self._failure = failure
        self._readable = self._writable = False
        self._pending = []
        self._flush()
        if self._producer is not None:
            self._drop_producer()
        if not self._done:
            self._done = True
            self._handshake_failed(failure)
        self.disconnecting = True
        self._lower.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell the protocol above, with what ended the stream as the reason."""
        failure = self._failure
        if failure is None and not self._done and not self.plain:
            failure = TlsFailure("the connection was closed during the handshake")
            self._handshake_failed(failure)
        elif (
            failure is None
            and not self.close_notify_received
            and not self.disconnecting
            and isinstance(reason.value, error.ConnectionDone)
            and self.info is not None
        ):
            failure = TruncatedClose("closed without close_notify")
        self._readable = self._writable = False
        self._done = self.disconnecting = True
        self._pending = []
        if self._drain_call is not None:
            self._drain_call.cancel()
            self._drain_call = None
        # The streams' cycle of references ends here, so that memory is freed at once.
        self._connection = None
        self._feed = self._inner_received = _discard
        self._decrypt = self._encrypt = self._take = _nothing
        self._encrypt_slices = _no_slices
        self._producer = None
        inner, self.inner = self.inner, None
        if inner is not None and self._inner_connected:
            inner.connectionLost(reason if failure is None else _failure(failure))

    # -- writing ---------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Encrypt and send; ignored once the stream cannot be written to any more."""
        if self._corked:
            self._pending.append(data)
            self._pending_size += len(data)
            if self._pending_size >= self._slice:
                self._uncork()
        elif self._writable:
            if data:
                self._send(data)
        elif not self._done and not self.disconnecting:
            self._write_early(data)

    def _write_early(self, data: bytes) -> None:
        """Keep what is written before the handshake is done."""
        self._pending.append(data)
        self._pending_size += len(data)
        if self._pending_size > MAX_EARLY_WRITE:
            self._fail(TlsFailure("too much was written before the handshake was done"))

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        self.write(b"".join(iovec))

    def _uncork(self) -> None:
        pending = self._pending
        self._pending = []
        self._pending_size = 0
        data = pending[0] if len(pending) == 1 else b"".join(pending)
        if data and self._writable:
            self._send(data)

    def _send(self, data: bytes) -> None:
        try:
            if len(data) <= self._slice:
                self._lower.write(self._encrypt(data))
            else:
                self._send_slices(data)
        except SSL.Error as failure:
            self._fail(failure)

    def _send_slices(self, data: bytes) -> None:
        """Slice by slice, so that OpenSSL's buffer never holds more than a record or two."""
        output: list[bytes] = []
        for record in self._encrypt_slices(data, self._slice):
            output.append(record)
            if len(output) >= RECORDS_PER_WRITE:
                self._lower.write(b"".join(output))
                output.clear()
        if output:
            self._lower.write(b"".join(output))

    def _flush(self) -> None:
        """Send what OpenSSL has to say of its own: handshake, tickets, alerts."""
        data = self._take()
        if data:
            if not self._done and not self._first_output:
                self._first_output = data[:128]
            self._lower.write(data)

    # -- closing ---------------------------------------------------------------

    def loseConnection(self) -> None:
        """Close once what was written is sent.

        A pull producer is waited for; a push producer is not, as on TCP.
        """
        if self.disconnecting:
            return
        self.disconnecting = True
        if self._producer is None or self._streaming:
            self._close()

    def _close(self) -> None:
        self._shut_down()
        self._readable = False
        if self._producer is not None:
            self._drop_producer()
        self._lower.loseConnection()

    def loseWriteConnection(self) -> None:
        """Send close_notify and close the writing half; reading goes on."""
        self._shut_down()
        if self._producer is not None:
            self._drop_producer()
        half_close = getattr(self._lower, "loseWriteConnection", None)
        if half_close is not None:
            half_close()

    def _shut_down(self) -> None:
        """Send what was gathered, then close_notify."""
        if not self._writable or self._connection is None:
            return
        if self._pending:
            self._uncork()
        self._writable = False
        try:
            self._connection.shutdown()
        except SSL.Error as failure:
            # Closing all the same: the peer sees a truncated stream.
            _log.debug("close_notify: {reason}", reason=tls_openssl.error_reason(failure))
        self._flush()

    def abortConnection(self) -> None:
        """Close at once, without close_notify."""
        self._readable = self._writable = False
        self.disconnecting = True
        self._pending = []
        abort = getattr(self._lower, "abortConnection", self._lower.loseConnection)
        abort()

    # -- flow control ----------------------------------------------------------

    def pauseProducing(self) -> None:
        self._paused = True
        self._lower.pauseProducing()

    def resumeProducing(self) -> None:
        """Read again. What was held back comes in a later turn, never within this call."""
        self._paused = False
        self._held = 0
        if self._backlog and not self._draining:
            if self._drain_call is None:
                self._drain_call = self._reactor.callLater(0, self._resume)
        else:
            self._lower.resumeProducing()

    def _resume(self) -> None:
        self._drain_call = None
        if not self._paused:
            self._drain()
        if not self._paused:
            self._lower.resumeProducing()

    def stopProducing(self) -> None:
        self.loseConnection()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        if self._producer is not None:
            raise RuntimeError("a producer is registered already")
        if self._lower is None or (self.disconnecting and self.inner is None):
            producer.stopProducing()
            return
        self._producer = producer
        self._streaming = streaming
        if streaming or self._writable or self.plain:
            self._lower.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        if self._producer is None:
            return
        waited = self.disconnecting and not self._streaming
        self._drop_producer()
        if waited:
            self._close()

    def _drop_producer(self) -> None:
        self._producer = None
        self._lower.unregisterProducer()

    # -- the rest of a transport -----------------------------------------------

    def getPeer(self) -> Any:
        return self._lower.getPeer()

    def getHost(self) -> Any:
        return self._lower.getHost()

    def getPeerCertificate(self) -> Any:
        """The peer's certificate (``cryptography``'s), None where it sent none."""
        connection = self._connection
        return connection and connection.get_peer_certificate(as_cryptography=True)

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Pass on; a UNIX socket has no such option."""
        set_option = getattr(self._lower, "setTcpNoDelay", None)
        if set_option is not None:
            set_option(enabled)

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Pass on; a UNIX socket has no such option."""
        set_option = getattr(self._lower, "setTcpKeepAlive", None)
        if set_option is not None:
            set_option(enabled)
