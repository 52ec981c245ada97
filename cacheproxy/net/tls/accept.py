"""TLS termination: accepted connections.

``TlsFactory`` wraps the factory of an HTTP connection. The wrapped protocol is
connected at once, so that its ``client_header_timeout`` covers the handshake. It may have:

- ``on_handshake_done()``: called when data can flow; ``transport.info`` is set.
- ``on_plain_http(data)``: a client speaks HTTP without TLS (nginx's status 497).
  From this call on the stream is plain both ways; what follows *data* goes to
  ``dataReceived``. Without the method such a client gets a fixed 400.

Source: RFC 8446; ngx_http_request.c's handshake handler. Imports twisted, pyOpenSSL.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from OpenSSL import SSL
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import Logger
from zope.interface import implementer

from cacheproxy.config.model import SslOptions
from cacheproxy.net.reactor.interfaces import IByteStreamFactory
from cacheproxy.net.tls.client_hello import MAX_CLIENT_HELLO, ClientHello, parse_client_hello
from cacheproxy.net.tls.named import NoCertificate
from cacheproxy.net.tls.stream import MAX_RECORD, TlsFailure, TlsStream

__all__ = ["PLAIN_HTTP_RESPONSE", "TlsFactory", "TlsServerProtocol"]

_BODY = b"The plain HTTP request was sent to HTTPS port\n"

#: What a client without TLS gets where the protocol above has no answer.
PLAIN_HTTP_RESPONSE = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n"
    b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(_BODY)
) + _BODY

#: A fatal ``unrecognized_name`` alert (RFC 6066 §3) in a record of its own.
_UNRECOGNIZED_NAME = b"\x15\x03\x03\x00\x02\x02\x70"

_HANDSHAKE = 0x16
_SSL2_FLAG = 0x80

_log = Logger()


class TlsServerProtocol(TlsStream):
    """One accepted connection; see ``TlsStream`` for the transport that it is."""

    def __init__(
        self,
        inner: Any,
        contexts: Callable[[str | None], SSL.Context | None],
        reactor: Any,
    ) -> None:
        super().__init__(inner, reactor)
        self._contexts = contexts
        self._hello_data = b""
        self._hello: ClientHello | None = None

    def connectionMade(self) -> None:
        self._lower = self.transport
        self._connect_inner()

    def _early(self, data: bytes) -> None:
        if self.disconnecting:
            return
        if self.plain:
            self._deliver_plain(self._inner_received, data)
            return
        if self._connection is not None:
            self._handshake(data)
            return
        if not self._hello_data and data[0] != _HANDSHAKE and not data[0] & _SSL2_FLAG:
            self._speak_plain(data)
            return
        received = self._hello_data + data if self._hello_data else data
        hello = parse_client_hello(received)
        if hello is None:
            self._hello_data = received
            # Twice: the headers of many small records count, too.
            if len(received) > 2 * MAX_CLIENT_HELLO:
                self._fail(TlsFailure("the client hello is too long"))
            return
        self._hello_data = b""
        self._begin(hello, received)

    def _begin(self, hello: ClientHello, received: bytes) -> None:
        """Make the connection in the context that the server name asks for."""
        self._hello = hello
        try:
            context = self._contexts(self._requested_name())
        except NoCertificate as failure:
            self._lower.write(_UNRECOGNIZED_NAME)
            self._fail(TlsFailure(str(failure)))
            return
        except Exception:
            _log.failure("Unhandled error in the choice of a TLS context")
            self.abortConnection()
            return
        if context is None:
            self._lower.write(_UNRECOGNIZED_NAME)
            self._fail(TlsFailure("no server has the name that the client asked for"))
            return
        options = context.get_app_data()
        size = options.buffer_size if isinstance(options, SslOptions) else MAX_RECORD
        connection = SSL.Connection(context, None)
        connection.set_accept_state()
        self._attach(connection, size)
        self._handshake(received)

    def _requested_name(self) -> str | None:
        """The server name where it is ASCII, as every host name on the wire is."""
        name = self._hello.server_name if self._hello is not None else b""
        return name.decode("ascii") if name and name.isascii() else None

    def _server_name(self) -> str:
        return self._hello.server_name.decode("latin-1") if self._hello is not None else ""

    def _established(self) -> None:
        assert self._connection is not None and self._hello is not None
        seen = self._connection.get_servername()
        if seen is not None and seen != self._hello.server_name:
            # Two readings of one hello: the context may be another server's.
            self._fail(TlsFailure("the client hello is ambiguous"))
            return
        done = getattr(self.inner, "on_handshake_done", None)
        if done is not None:
            try:
                done()
            except Exception:
                self._crashed()

    # -- clients without TLS -----------------------------------------------------

    def _speak_plain(self, data: bytes) -> None:
        self.plain = True
        if self._producer is not None and not self._streaming:
            self._lower.registerProducer(self._producer, False)
        received = getattr(self.inner, "on_plain_http", None)
        if received is None:
            self.write(PLAIN_HTTP_RESPONSE)
            self.loseConnection()
            return
        pending, self._pending = self._pending, []
        for early in pending:
            self._lower.write(early)
        self._deliver_plain(received, data)

    def _deliver_plain(self, received: Any, data: bytes) -> None:
        try:
            received(data)
        except Exception:
            self._crashed()

    def _write_early(self, data: bytes) -> None:
        if self.plain:
            self._lower.write(data)
        else:
            super()._write_early(data)


@implementer(IByteStreamFactory)
class TlsFactory(Factory):
    """Puts TLS under the protocols of *inner*.

    *contexts* chooses by server name (None where the client sent none); it
    returns None to refuse. *reactor* provides ``IReactorTime``.
    """

    noisy = False

    def __init__(
        self,
        inner: Any,
        contexts: Callable[[str | None], SSL.Context | None],
        reactor: Any,
    ) -> None:
        self.inner = inner
        #: May be replaced at a reload; connections that are open keep theirs.
        self.contexts = contexts
        self._reactor = reactor

    def buildProtocol(self, addr: Any) -> Protocol | None:
        inner = self.inner.buildProtocol(addr)
        if inner is None:
            return None
        return TlsServerProtocol(inner, self.contexts, self._reactor)

    def doStart(self) -> None:
        self.inner.doStart()
        super().doStart()  # type: ignore[no-untyped-call]  # Twisted's

    def doStop(self) -> None:
        self.inner.doStop()
        super().doStop()  # type: ignore[no-untyped-call]  # Twisted's
