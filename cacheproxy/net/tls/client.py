"""TLS toward upstreams.

The protocol above is connected only when the handshake is done and the
upstream's certificate has passed: no byte that came outside TLS can ever reach
it, and it can write at once. ``TlsEndpoint`` makes this an endpoint like any other:
its Deferred fires with the connected protocol, or fails with
``UpstreamError(stage=TLS)``; ``proxy_connect_timeout`` covers each of connecting and handshake.

Source: ngx_http_proxy_module ``proxy_ssl_*``; RFC 6125 for names. Imports twisted,
pyOpenSSL, service_identity.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from OpenSSL import SSL
from service_identity import CertificateError, VerificationError
from service_identity.pyopenssl import verify_hostname, verify_ip_address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from zope.interface import implementer

from cacheproxy.errors import Stage, UpstreamError
from cacheproxy.net.tls.contexts import content_of, make_client_context
from cacheproxy.net.tls.stream import TlsFailure, TlsStream
from cacheproxy.policy.options import ProxySsl

__all__ = ["MAX_SESSIONS", "TlsClientProtocol", "TlsEndpoint", "UpstreamTls"]

#: Sessions kept for resumption by one ``UpstreamTls``, least recently used out first.
MAX_SESSIONS = 256


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _without_port(name: str) -> str:
    """``proxy_ssl_name`` without a port and an address without brackets, as nginx cuts it."""
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return name.rpartition(":")[0] if name.count(":") == 1 else name


class UpstreamTls:
    """``proxy_ssl_*`` ready for use: one context and the sessions to resume.

    Raises ``ConfigError`` where a file cannot be used.
    """

    def __init__(self, options: ProxySsl, passwords: tuple[str, ...] = ()) -> None:
        self.options = options
        self.context = make_client_context(options, passwords)
        #: Tells whether the files are the same as when another one was made.
        self.content = content_of(
            [options.certificate, options.certificate_key, options.trusted_certificate, options.crl]
        )
        self._sessions: OrderedDict[object, Any] = OrderedDict()

    def connection(self, name: str, key: object) -> SSL.Connection:
        """A connection to *name*, resuming what was kept under *key*."""
        connection = SSL.Connection(self.context, None)
        connection.set_connect_state()
        if self.options.server_name and name and not _is_address(name):
            connection.set_tlsext_host_name(name.encode("latin-1", "replace"))
        session = self._sessions.get(key)
        if session is not None:
            self._sessions.move_to_end(key)
            connection.set_session(session)
        return connection

    def keep_session(self, key: object, connection: SSL.Connection) -> None:
        """Keep what *connection* can be resumed with (``proxy_ssl_session_reuse``)."""
        if not self.options.session_reuse:
            return
        session = connection.get_session()
        if session is None:
            return
        self._sessions[key] = session
        self._sessions.move_to_end(key)
        if len(self._sessions) > MAX_SESSIONS:
            self._sessions.popitem(last=False)

    def forget_session(self, key: object) -> None:
        self._sessions.pop(key, None)

    def check_name(self, connection: SSL.Connection, name: str) -> None:
        """Raise ``TlsFailure`` unless the certificate is for *name* (``proxy_ssl_verify``)."""
        if not self.options.verify:
            return
        try:
            if _is_address(name):
                verify_ip_address(connection, name)
            else:
                verify_hostname(connection, name)
        except (VerificationError, CertificateError, ValueError, TypeError) as failure:
            raise TlsFailure(f'upstream SSL certificate does not match "{name}"') from failure


class TlsClientProtocol(TlsStream):
    """One connection to an upstream; see ``TlsStream`` for the transport that it is.

    *name* is ``proxy_ssl_name`` (a port in it is cut off); *key* tells apart what
    sessions may be resumed with. Exactly one of *on_handshake* and
    *on_handshake_failed* is called, the latter with an ``UpstreamError``.
    """

    def __init__(
        self,
        inner: Any,
        tls: UpstreamTls,
        name: str,
        reactor: Any,
        *,
        key: object = None,
        on_handshake: Callable[[], object],
        on_handshake_failed: Callable[[UpstreamError], object],
    ) -> None:
        super().__init__(inner, reactor)
        self._tls = tls
        self._name = _without_port(name)
        # What was verified under one name must not be resumed under another.
        self._key = (self._name, key)
        self._on_handshake = on_handshake
        self._on_handshake_failed = on_handshake_failed

    def connectionMade(self) -> None:
        self._lower = self.transport
        self._attach(self._tls.connection(self._name, self._key))
        self._handshake()

    def _early(self, data: bytes) -> None:
        if not self.disconnecting:
            self._handshake(data)

    def _established(self) -> None:
        assert self._connection is not None
        try:
            self._tls.check_name(self._connection, self._name)
        except TlsFailure as failure:
            self._done = False
            self._fail(failure)
            return
        self._inner_received = self._first_received
        self._connect_inner()
        self._on_handshake()

    def _server_name(self) -> str:
        return self._name

    def _first_received(self, plain: bytes) -> None:
        """Stands for the protocol above until data comes.

        With TLSv1.3 the ticket comes after the handshake, before the first answer.
        """
        self._inner_received = self.inner.dataReceived
        if self._connection is not None:
            self._tls.keep_session(self._key, self._connection)
        self._inner_received(plain)

    def _handshake_failed(self, failure: Exception) -> None:
        noted = self._connection.get_app_data() if self._connection is not None else None
        self._tls.forget_session(self._key)
        message = f"SSL_do_handshake() failed: {failure}"
        if noted is not None:
            message = f"upstream SSL certificate verify error: ({noted})"
        elif str(failure).startswith("upstream"):
            message = str(failure)
        self._on_handshake_failed(UpstreamError(message, Stage.TLS))


class _TlsClientFactory(Factory):
    """Builds the TLS protocol around what the wrapped factory builds, for one attempt."""

    noisy = False

    def __init__(self, endpoint: TlsEndpoint, wrapped: Any, attempt: _Handshake) -> None:
        self._endpoint = endpoint
        self._wrapped = wrapped
        self._attempt = attempt

    def doStart(self) -> None:
        self._wrapped.doStart()

    def doStop(self) -> None:
        self._wrapped.doStop()

    def buildProtocol(self, addr: Any) -> TlsClientProtocol | None:
        inner = self._wrapped.buildProtocol(addr)
        if inner is None:
            return None
        endpoint = self._endpoint
        attempt = self._attempt
        attempt.inner = inner
        attempt.stream = TlsClientProtocol(
            inner,
            endpoint.tls,
            endpoint.name,
            endpoint.reactor,
            key=endpoint.key,
            on_handshake=attempt.done,
            on_handshake_failed=attempt.failed,
        )
        return attempt.stream


class _Handshake:
    """One attempt: connecting, then the handshake, each within the time-out."""

    def __init__(self, endpoint: TlsEndpoint, wrapped: Any) -> None:
        self._endpoint = endpoint
        self.inner: Any = None
        self.stream: TlsClientProtocol | None = None
        self._timer: Any = None
        self.result: Deferred[Any] = Deferred(self._cancelled)
        factory = _TlsClientFactory(endpoint, wrapped, self)
        self._connecting: Deferred[Any] | None = endpoint.below.connect(factory)
        self._connecting.addCallbacks(self._connected, self._not_connected)

    def _connected(self, _stream: Any) -> None:
        self._connecting = None
        if not self.result.called:
            reactor = self._endpoint.reactor
            self._timer = reactor.callLater(self._endpoint.timeout, self._timed_out)

    def _not_connected(self, reason: Failure) -> None:
        self._connecting = None
        if not self.result.called:
            self.result.errback(reason)

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def done(self) -> None:
        self._stop_timer()
        if not self.result.called:
            self.result.callback(self.inner)

    def failed(self, error: UpstreamError) -> None:
        self._stop_timer()
        if not self.result.called:
            self.result.errback(error)

    def _timed_out(self) -> None:
        if not self.result.called:
            self.result.errback(
                UpstreamError("upstream timed out while SSL handshaking", Stage.TLS, timeout=True)
            )
        self._abort()

    def _cancelled(self, _deferred: Deferred[Any]) -> None:
        self._stop_timer()
        if self._connecting is not None:
            self._connecting.cancel()
        self._abort()

    def _abort(self) -> None:
        if self.stream is not None and self.stream.transport is not None:
            self.stream.abortConnection()


@implementer(IStreamClientEndpoint)
class TlsEndpoint:
    """TLS on top of the endpoint *below*.

    *name* is ``proxy_ssl_name`` as rendered; *key* identifies the server for
    resumption (its address); *timeout* is ``proxy_connect_timeout``, seconds.
    """

    def __init__(
        self,
        reactor: Any,
        below: Any,
        tls: UpstreamTls,
        name: str,
        *,
        key: object = None,
        timeout: float = 60.0,
    ) -> None:
        self.reactor = reactor
        self.below = below
        self.tls = tls
        self.name = name
        self.key = key
        self.timeout = timeout

    def connect(self, protocolFactory: Any) -> Deferred[Any]:
        """Fires with the protocol that *protocolFactory* built, once it can write."""
        return _Handshake(self, protocolFactory).result
