"""The request as an upstream gets it: where to, which method and target, which fields and body.

An ``UpstreamRequest`` is made once and sent with every attempt. Fields that ask for a
validation, or for a part, are a cache's to add (``conditional``); a cache also removes
the parts of the client's request that do not select a response (``proxy.site.selecting``).

Source: nginx ``proxy_pass``, ``proxy_method``, ``proxy_set_header``, ``proxy_set_body``,
``proxy_request_buffering``; RFC 9110 §7.6, RFC 9112 §6.
Imports: ``http``, ``policy``, ``proxy`` below it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cacheproxy.errors import ProtocolError
from cacheproxy.http.fields import Pairs
from cacheproxy.policy.containment import rendered_climbs
from cacheproxy.policy.routing import proxy_uri
from cacheproxy.proxy.exchange.record import UpstreamRecord
from cacheproxy.proxy.exchange.request import Request
from cacheproxy.proxy.exchange.request_body import RequestBody
from cacheproxy.proxy.interfaces import UpstreamChoice, UpstreamStream
from cacheproxy.proxy.site.selecting import as_selected
from cacheproxy.proxy.upstream.response_taker import ResponseTaker

if TYPE_CHECKING:
    from cacheproxy.proxy.exchange.exchange import Exchange

__all__ = ["UpstreamRequest"]


class UpstreamRequest:
    """One request, made from the client's by the location's options."""

    __slots__ = (
        "_data",
        "_exchange",
        "_head",
        "_protocol",
        "_taker",
        "answers_conditions",
        "body",
        "chunked",
        "client_head",
        "conditional",
        "length",
        "method",
        "selected",
        "target",
    )

    def __init__(self, exchange: Exchange, taker: ResponseTaker | None) -> None:
        self._exchange = exchange
        self._taker = taker
        protocol = exchange.request.location.protocol
        assert protocol is not None
        self._protocol = protocol
        #: What is passed on of the client's request.
        self.client_head = exchange.request.head
        #: Whether only the part of the query that selects a stored response is sent.
        self.selected = False
        #: Fields that ask the upstream to validate a stored response, or for a part.
        self.conditional: Pairs = []
        self.target = b""
        self.method = b""
        self.length: int | None = None
        self._head = b""
        #: What is sent behind the head: the body where memory holds all of it.
        self._data: bytes | None = None
        #: The client's body, where it goes with it.
        self.body: RequestBody | None = None
        #: Whether a cache answers preconditions and ranges; known when the head is written.
        self.answers_conditions = False
        self.chunked = False

    # -- making it ---------------------------------------------------------

    def address(self) -> UpstreamChoice:
        """Settle method and target; returns the group of upstreams to choose from.

        Errors: ``ProtocolError`` and ``UpstreamError`` where variables name no upstream.
        """
        exchange, taker = self._exchange, self._taker
        choice, self.target = self._resolve()
        template = exchange.request.location.proxy.method
        self.method = exchange.request.method
        if template is not None:
            self.method = template.render(self._context).upper()
        if taker is not None and self.method == b"HEAD" and taker.converts_head:
            self.method = b"GET"
        return choice

    @property
    def _context(self) -> Request:
        """What is rendered on: the client's request, with the query that is to be sent."""
        request = self._exchange.request
        return as_selected(request) if self.selected else request

    def _resolve(self) -> tuple[UpstreamChoice, bytes]:
        """The upstream group, and the request-target to send."""
        exchange = self._exchange
        # Not ``_context``: its call is saved where everything of the request counts.
        context = self._context if self.selected else exchange.request
        location = context.location
        target = location.proxy.proxy_pass
        assert target is not None
        if target.template is None:
            assert location.upstream is not None
            choice = location.upstream
            if exchange.request.proxy_host is not None:
                exchange.request.note_proxy_host(None)
            replacement = target.uri
        else:
            protocol = self._protocol
            scheme, authority, uri = protocol.split_address(target.template.render(context))
            ssl = location.proxy.ssl if scheme in (b"https", b"suwsgi") else None
            choice = exchange.world.resolve_upstream(scheme, authority, ssl, protocol.reader)
            exchange.request.note_proxy_host(authority)
            if uri:
                if rendered_climbs(target.uri or b"/", uri):
                    raise ProtocolError("path leads above the URI of proxy_pass", 404)
                return choice, uri
            replacement = None
        route = context.route
        return choice, proxy_uri(
            location.location.pattern,
            None if exchange.request.passes_whole_uri else replacement,
            route.uri,
            None if exchange.request.uri_changed else route.target.path,
            route.args if route.has_args else None,
        )

    def take_body(self) -> bool:
        """Take the client's body, if it is to go with it; False where it was sent already."""
        exchange = self._exchange
        length = exchange.request.head.body_length
        if length is not None and self._takes_body():
            self.body = exchange.take_body()
        body = self.body
        # An attempt in another location may have sent part of it.
        return body is None or not body.streaming or body.replayable

    def _takes_body(self) -> bool:
        exchange = self._exchange
        if not exchange.request.location.proxy.pass_request_body:
            return False
        method = exchange.request.method
        if method != exchange.request.head.method:
            return False  # it belonged to the request that an error page stands in for
        # A cached answer stands for a GET without content (RFC 9110 §9.3.1).
        return self._taker is None or method not in (b"GET", b"HEAD")

    def when_ready(self, ready: Callable[[int | None], None]) -> None:
        """Call *ready* with the body's length, once as much of it is here as has to be.

        The length is None where there is no body, negative where it is not known.
        """
        exchange, body = self._exchange, self.body
        proxy = exchange.request.location.proxy
        set_body = proxy.set_body
        if set_body is not None:
            self._data = set_body.render(self._context)
            ready(len(self._data))
        elif body is None:
            # An empty body that the client declared stays declared: some origins ask for it.
            declared = b"content-length" in exchange.request.head.fields
            ready(0 if declared and self._takes_body() else None)
        elif proxy.request_buffering or (
            body.length < 0 and not self._protocol.frames_unknown_length
        ):
            body.when_whole(lambda: ready(body.received))
        else:
            body.streaming = True
            self.chunked = body.length < 0
            ready(body.length)

    def write(self, length: int | None) -> None:
        """Write the head, for a body of *length*.

        Errors: as ``UpstreamProtocol.encode_head``.
        """
        self.length = length
        taker = self._taker
        if taker is not None:
            self.answers_conditions = taker.answers_conditions
        context = self._context if self.selected else self._exchange.request
        self._head = self._protocol.encode_head(context, self)
        body = self.body
        if body is not None and not body.streaming and self._data is None:
            self._data = body.in_memory()

    # -- sending it --------------------------------------------------------

    def send(self, stream: UpstreamStream, record: UpstreamRecord) -> RequestBody | None:
        """Send the head, and the body that is in memory; returns the body that is to follow."""
        data = self._data
        if data is not None:
            record.bytes_sent = len(self._head) + len(data)
            stream.send_request(self.method, self._head + data, True)
            return None
        record.bytes_sent = len(self._head)
        stream.send_request(self.method, self._head, self.body is None)
        return self.body

    def send_piece(
        self, stream: UpstreamStream, record: UpstreamRecord, data: bytes, complete: bool
    ) -> None:
        """Send a piece of the body, framed as the head has declared."""
        data = self._protocol.encode_piece(self, data, complete)
        record.bytes_sent += len(data)
        stream.send_body(data, complete)

    def on_upstream_writable(self) -> None:
        """The upstream can take more of the body."""
        if self.body is not None:
            self.body.on_target_writable()

    def detach(self) -> None:
        """The attempt that the body was sent with is over."""
        if self.body is not None:
            self.body.detach()

    def keep_body(self) -> None:
        """The client has gone: the body is this request's alone, until ``close_body``."""
        if self.body is not None:
            self._exchange.request.give_up_body()

    def close_body(self) -> None:
        """The body is not needed any more."""
        if self.body is not None:
            self.body.close()

    @property
    def replayable(self) -> bool:
        """Whether it can be sent once more."""
        return self.body is None or self.body.replayable

    @property
    def complete(self) -> bool:
        """Whether all of the client's body is here."""
        return self.body is None or self.body.complete

    @property
    def asks_upgrade(self) -> bool:
        """Whether the client asked for another protocol, and the upstream was told."""
        asked = b"upgrade" in self._exchange.request.head.fields
        return asked and self._protocol.asks_upgrade(self._head)
