"""A request of ``twisted.web`` as the client's side of an exchange (``Downstream``).

``twisted.web`` reads requests and frames responses; ``WebDownstream`` stands between
its ``Request`` and the exchange. What ``twisted.web`` cannot do is not done: interim
responses and trailers are left out, ``Upgrade`` is not forwarded (RFC 9110 §7.8 lets a
server ignore it), and a request comes here once its body has been read whole.

Source: RFC 9110, RFC 9112, RFC 9113 §8; ``twisted.web.iweb``.
May import ``http``, ``proxy``, twisted.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any, cast

from twisted.internet.address import UNIXAddress
from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from cacheproxy.errors import ProtocolError
from cacheproxy.http.fields import Fields, Pairs
from cacheproxy.http.framing import request_framing
from cacheproxy.http.messages import RequestHead
from cacheproxy.http.syntax import is_token
from cacheproxy.http.target import parse_target
from cacheproxy.net.deadline import Deadline
from cacheproxy.net.tls.stream import ConnectionInfo
from cacheproxy.proxy.exchange.exchange import Exchange
from cacheproxy.proxy.exchange.response import ResponseState
from cacheproxy.proxy.interfaces import ClientListener, TlsInfo, Tunnel
from cacheproxy.proxy.site.site import Site

__all__ = ["WebDownstream"]

#: Bytes of a request's body handed to the exchange at once.
BODY_PIECE = 64 * 1024

_TARGET = re.compile(rb"[\x21-\x7e\x80-\xff]+")
_LINE_BREAK = re.compile(rb"[\r\n\x00]")
_VERSIONS = {b"HTTP/1.1": 11, b"HTTP/1.0": 10, b"HTTP/2": 20}
#: What ``twisted.web`` puts into every response before a resource sees the request.
_PRESET = (b"Server", b"Date", b"Content-Type")
#: Request fields that are not taken over. Nothing can be switched to here.
_NOT_TAKEN = frozenset({b"upgrade"})
_PREFIX = b"X-Forwarded-Prefix"

_log = Logger()


@implementer(IPushProducer)
class WebDownstream:
    """One request of ``twisted.web`` as the exchange sees its client.

    *number* is that of the connection, *requests* how many there have been on it;
    *clock* provides ``IReactorTime``; *forget* is called once, at the end.
    """

    def __init__(
        self,
        request: Any,
        number: int,
        requests: int,
        clock: Any,
        forget: Callable[[WebDownstream], object],
    ) -> None:
        self.number = number
        self.requests = requests
        self.bytes_sent = 0
        self.tls: TlsInfo | None = _tls_info(request)
        self.peer_host, self.peer_port = _host_and_port(request.getClientAddress())
        self.local_host, self.local_port = _host_and_port(request.getHost())
        self._waiting: tuple[Site, bytes, bytes | None] | None = None
        # Twisted says when a connection becomes full, not that it is.
        self.writable = not getattr(request.channel, "_waitingForTransport", False)
        self._forget = forget
        self._request = request
        self._version = _VERSIONS.get(request.clientproto, 11)
        self._exchange: Exchange | None = None
        self._open = True
        self._headed = False
        self._until_close = False
        self._content: Any = None
        self._paused = False
        self._pumping = False
        self._deadline = Deadline(clock, self._timed_out)

    # -- the request ---------------------------------------------------------

    def run(self, site: Site, target: bytes, prefix: bytes | None) -> None:
        """Start the exchange and give it the body.

        *target* is the request-target to route by, *prefix* the path that was cut off
        before it, which the origin is told; None leaves its field as the client sent it.
        """
        request = self._request
        request.registerProducer(self, True)
        request.notifyFinish().addCallbacks(self._finished, self._lost)
        if self.writable:
            self._begin(site, target, prefix)
        else:
            # Pipelined behind what the client has not read yet: it waits until that is read.
            self._waiting = (site, target, prefix)
            self._deadline.set(site.default.root.core.send_timeout)

    def _begin(self, site: Site, target: bytes, prefix: bytes | None) -> None:
        request = self._request
        try:
            self._start(site, target, prefix)
        except Exception:
            # A fault of ours: the client is told, as far as it still can be.
            _log.failure("while answering {request}", request=request)
            if self._open:
                self._let_go()
                if self._headed:
                    self._abort_connection()
                else:
                    request.setResponseCode(500)
                    request.finish()

    def _start(self, site: Site, target: bytes, prefix: bytes | None) -> None:
        request = self._request
        content = request.content
        size = content.seek(0, os.SEEK_END)
        content.seek(0)
        try:
            head = _request_head(request, target, prefix, self._version, size, site)
        except ProtocolError as problem:
            method = b"HEAD" if request.method == b"HEAD" else b""
            head = RequestHead(method, b"", self._version, Fields(), None, False)
            self._exchange = exchange = Exchange(site, self, head)
            exchange.reject(problem.status)
            return
        self._exchange = exchange = Exchange(site, self, head)
        if head.body_length is None:
            exchange.start()
            return
        self._content = content
        exchange.start()
        waiting = exchange.response.state is ResponseState.WAITING
        if waiting and head.method not in (b"GET", b"HEAD"):
            # All of it is here, and what nobody has asked for yet would be read past: the
            # location may still be waiting for its cache.
            exchange.take_body()
        self._pump()

    def _pump(self) -> None:
        """Hand over the body, piece by piece, while it is taken."""
        if self._pumping:
            return
        self._pumping = True
        try:
            while self._open and not self._paused and self._content is not None:
                exchange = cast(Exchange, self._exchange)
                data = self._content.read(BODY_PIECE)
                if data:
                    exchange.on_request_body(data)
                else:
                    self._content = None
                    exchange.on_request_end(None)
        finally:
            self._pumping = False

    def pause_request(self) -> None:
        self._paused = True

    def resume_request(self) -> None:
        self._paused = False
        self._pump()

    # -- the client ----------------------------------------------------------

    def _finished(self, result: None) -> None:
        """The response has been handed over (``notifyFinish``)."""

    def _lost(self, reason: Failure) -> None:
        """The connection is gone (``notifyFinish``)."""
        self._deadline.stop()
        if self._open:
            exchange = self._exchange
            self._let_go()
            if exchange is not None:
                exchange.on_downstream_lost()

    def cut(self) -> None:
        """Close now: the resource is being closed."""
        exchange = self._exchange
        self._let_go()
        if exchange is not None:
            exchange.on_downstream_lost()
        self._abort_connection()

    def _timed_out(self) -> None:
        """The client has read nothing for ``send_timeout``."""
        if self._open:
            self.cut()
        else:
            self._abort_connection()

    def pauseProducing(self) -> None:
        self.writable = False
        if self._open and self._exchange is not None:
            self._deadline.set(self._exchange.request.location.core.send_timeout)

    def resumeProducing(self) -> None:
        self.writable = True
        if not self._open:
            return
        self._deadline.clear()
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            self._begin(*waiting)
        elif self._exchange is not None:
            self._exchange.on_writable()

    def stopProducing(self) -> None:
        """The connection is gone; ``notifyFinish`` says so too."""

    def _let_go(self) -> None:
        """Neither side calls the other any more."""
        self._open = False
        self._content = None
        self._deadline.stop()
        self._forget(self)
        if self._request.channel is not None:
            self._request.unregisterProducer()

    # -- Downstream: the response --------------------------------------------

    def send_informational(self, status: int, pairs: Pairs) -> None:
        """``twisted.web`` sends 100 itself and has no way to send another."""

    def send_head(
        self, status: int, reason: bytes, pairs: Pairs, length: int | None, has_body: bool
    ) -> None:
        if not self._open:
            return
        request = self._request
        headers = request.responseHeaders
        try:
            _set_fields(headers, pairs)
        except ValueError:
            # As the server does: say nothing rather than something broken.
            exchange = cast(Exchange, self._exchange)
            exchange.log_error("error", "a response field cannot be sent")
            self.cut()
            return
        for cookie in request.cookies:
            # Set by what we are mounted in; left there, they would replace the origin's.
            headers.addRawHeader(b"Set-Cookie", cookie)
        request.cookies = []
        request.defaultContentType = None
        if length is not None and status != 204 and (has_body or status != 304):
            headers.setRawHeaders(b"Content-Length", [b"%d" % length])
        else:
            headers.removeHeader(b"Content-Length")
            self._until_close = has_body and self._version == 10
        request.setResponseCode(status, reason)
        self._headed = True

    def send_data(self, data: bytes) -> None:
        if not self._open:
            return
        self.flush()
        request = self._request
        self.bytes_sent += len(data) + (len(b"%x" % len(data)) + 4 if request.chunked else 0)
        request.write(data)

    def flush(self) -> None:
        request = self._request
        if self._open and self._headed and not request.startedWriting:
            request.write(b"")
            self.bytes_sent += _head_size(request)

    def send_end(self, trailers: Fields | None = None) -> None:
        if not self._open:
            return
        self.flush()
        if self._request.chunked:
            self.bytes_sent += 5
        self._let_go()
        self._request.finish()

    def abort(self) -> None:
        """Close with the response unfinished, so that the client can tell."""
        if not self._open:
            return
        self.flush()
        exchange = self._exchange
        self._let_go()
        channel = self._request.channel
        if channel is None:
            return
        if self._version == 20 or self._until_close:
            # HTTP/2: RST_STREAM. HTTP/1.0: only a reset tells this from a whole response.
            self._abort_connection()
            return
        channel.loseConnection()
        if exchange is not None and self._request.channel is not None:
            self._deadline.set(exchange.request.location.core.send_timeout)

    def _abort_connection(self) -> None:
        channel = self._request.channel
        if channel is None:
            return
        transport = channel if self._version == 20 else channel.transport
        getattr(transport, "abortConnection", transport.loseConnection)()

    def close_after_response(self) -> None:
        channel = self._request.channel
        if self._open and self._version < 20 and channel is not None:
            self._request.responseHeaders.setRawHeaders(b"Connection", [b"close"])
            channel.persistent = False

    def hand_over(self, listener: ClientListener) -> None:
        self._exchange = cast(Exchange, listener)

    def start_tunnel(self, other: Tunnel) -> tuple[Tunnel, bytes]:
        """Never asked for: without ``Upgrade`` in the request a 101 is an origin's error."""
        raise RuntimeError("a request of twisted.web cannot become a tunnel")


# -- twisted.web's records to ours -------------------------------------------------


def _request_head(
    request: Any, target: bytes, prefix: bytes | None, version: int, size: int, site: Site
) -> RequestHead:
    """The head, judged by the server's own rules; raises :class:`ProtocolError`.

    *size* is that of the body, which has lost its framing.
    """
    method: bytes = request.method
    if not is_token(method):
        raise ProtocolError("invalid method")
    if _TARGET.fullmatch(target) is None:
        raise ProtocolError("invalid request-target")
    lines = []
    for name, values in request.requestHeaders.getAllRawHeaders():
        if name.lower() in _NOT_TAKEN or (prefix is not None and name == _PREFIX):
            continue
        for value in values:
            if _LINE_BREAK.search(value):
                raise ProtocolError("invalid field value")
            lines.append(b"%b: %b\r\n" % (name, value))
    if prefix:
        lines.append(b"%b: %b\r\n" % (_PREFIX, prefix))
    # One reader for both: names that nginx drops, Host, Content-Length, limits.
    facts = site.limits.facts(b"".join(lines) + b"\r\n")
    fields = facts.fields
    # HTTP/2 is held to what holds for HTTP/1.1; RFC 9113 §8.3.1 has Host from :authority.
    body_length, keep_alive = request_framing(method, target, min(version, 11), facts)
    if body_length is not None or size:
        body_length = size
    authority = None if target[:1] == b"/" else parse_target(target, method).authority
    if authority is not None:
        fields = Fields([(b"Host", authority), *fields.without({b"host"}).pairs])
    return RequestHead(method, target, version, fields, body_length, keep_alive)


def _set_fields(headers: Any, pairs: Pairs) -> None:
    """Put *pairs* in place of what is there under their names, and of the preset fields."""
    for preset in _PRESET:
        headers.removeHeader(preset)
    seen = set()
    for name, value in pairs:
        lower = name.lower()
        if lower not in seen:
            seen.add(lower)
            headers.removeHeader(name)
        if _LINE_BREAK.search(value):
            raise ValueError("CR, LF or NUL in a field")
        headers.addRawHeader(name, value)


def _head_size(request: Any) -> int:
    """Bytes of the head as HTTP/1.1 has it (what HTTP/2 sends is smaller)."""
    size = len(request.clientproto) + len(request.code_message) + 9
    for name, values in request.responseHeaders.getAllRawHeaders():
        size += sum(len(name) + len(value) + 4 for value in values)
    return size


def _host_and_port(address: Any) -> tuple[str, int]:
    """What ``$remote_addr`` and ``$remote_port`` say; no address is not that of a UNIX peer."""
    if isinstance(address, UNIXAddress):
        return "unix:", 0
    host = getattr(address, "host", None) or ""
    return str(host).partition("%")[0], int(getattr(address, "port", 0) or 0)


def _tls_info(request: Any) -> TlsInfo | None:
    """What ``$ssl_*`` read; None where the transport has no OpenSSL connection to ask."""
    handle = getattr(getattr(request.channel, "transport", None), "getHandle", None)
    connection = None if handle is None else handle()
    if not hasattr(connection, "get_cipher_name"):
        return None
    established = cast(Any, connection)
    name = established.get_servername() or b""
    return ConnectionInfo(established, name.decode("latin-1"), b"")
