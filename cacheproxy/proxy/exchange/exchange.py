"""One request, from its head to its log record, the same for every HTTP version.

An ``Exchange`` finds the location, runs what nginx calls the rewrite and content
phases in their order (``internal``, ``limit_except``, the size of the body, the slash
after a folder, ``return``, ``allow`` and ``deny``, ``try_files``, then ``proxy_pass`` or
static files) and owns the response's way out: one head, body pieces, an end, each passing
through its ``Response``. What it says
by itself, error pages included, is in ``answers``. What produces other content is a
``Source`` (``relay``, ``caching``, ``static``); the exchange tells it when the client
can take more and when the client has gone.

A failure that the response could not express any
more (its head was sent) aborts the connection, so that the client can tell.

Source: nginx ``ngx_http_core_module`` phases, ``ngx_http_special_response``.
Imports: ``http``, ``policy``, ``proxy`` below it.
"""

from __future__ import annotations

import copy
from typing import Protocol

from cacheproxy.errors import ProtocolError
from cacheproxy.http.fields import Fields, Pairs
from cacheproxy.http.messages import RequestHead
from cacheproxy.http.syntax import format_http_date
from cacheproxy.http.target import Target, parse_target, resolve_dots
from cacheproxy.proxy.answer.answers import answer_error, answer_redirect, answer_return
from cacheproxy.proxy.answer.pages import SERVER, SERVER_WITH_VERSION
from cacheproxy.proxy.exchange.compression import would_gzip
from cacheproxy.proxy.exchange.no_client import NoClient
from cacheproxy.proxy.exchange.record import Record
from cacheproxy.proxy.exchange.request_body import RequestBody
from cacheproxy.proxy.exchange.response import Response, ResponseState
from cacheproxy.proxy.interfaces import Downstream, UpstreamStream
from cacheproxy.proxy.site.site import Route, Site
from cacheproxy.proxy.upstream.tunnel import join

__all__ = ["Exchange", "Source"]

#: Internal redirects that one request may make (nginx NGX_HTTP_MAX_URI_CHANGES).
MAX_INTERNAL_REDIRECTS = 10

#: Statuses made here after which nginx closes the connection.
_CLOSING = frozenset({400, 413, 414, 431, 494, 495, 496, 497, 500, 501})

#: RFC 9110 §9.3.8: what TRACE echoes is for nobody; CONNECT is for forward proxies.
_REFUSED_METHODS = frozenset({b"CONNECT", b"TRACE"})

#: Our Server line, by ``server_tokens``.
_OWN_SERVER = {False: (b"Server", SERVER), True: (b"Server", SERVER_WITH_VERSION)}


# Read for every request; looking a member up in an enumeration is slow.
_WAITING = ResponseState.WAITING
_BODY = ResponseState.BODY
_ENDED = ResponseState.ENDED
_ABORTED = ResponseState.ABORTED


class Source(Protocol):
    """What produces the content of a response."""

    def on_writable(self) -> None:
        """The client can take more."""

    def on_downstream_lost(self) -> None:
        """The client has gone; finish what others need and stop the rest."""


class Exchange:
    """One request and its response."""

    __slots__ = (
        "body",
        "body_refused",
        "captures",
        "denied",
        "downstream",
        "error_uri",
        "head",
        "internal",
        "location",
        "logged",
        "lost",
        "map_values",
        "method",
        "proxy_host",
        "record",
        "redirects",
        "response",
        "route",
        "server",
        "site",
        "slice_range",
        "source",
        "uri_changed",
        "world",
    )

    def __init__(self, site: Site, downstream: Downstream, head: RequestHead) -> None:
        self.site = site
        self.world = world = site.world
        self.downstream = downstream
        self.head = head
        self.method = head.method
        self.body: RequestBody | None = None
        self.source: Source | None = None
        self.lost = False
        self.logged = False
        self.internal = False
        #: ``$uri`` is not what the client sent any more (nginx ``valid_unparsed_uri``).
        self.uri_changed = False
        self.error_uri = False
        #: ``allow`` and ``deny`` have refused it: what answers stands in for an error page.
        self.denied = False
        self.redirects = 0
        self.map_values: dict[str, bytes] = {}
        #: The authority of a proxy_pass with variables, once rendered.
        self.proxy_host: bytes | None = None
        self.response = Response(downstream)
        self.record = Record(world.scheduler.monotonic(), downstream.bytes_sent)
        #: ``$slice_range``, while a slice is being asked for.
        self.slice_range = b""
        #: The body was refused; what is left of it is read past.
        self.body_refused = False

    # -- the request -------------------------------------------------------

    def start(self) -> None:
        """Route the request and begin to answer it."""
        try:
            route = self.site.route(self.head)
        except ProtocolError as problem:
            self.reject(problem.status)
            return
        if self.method in _REFUSED_METHODS:
            self.adopt(route)
            self.downstream.close_after_response()
            self.answer_status(405)
            return
        self.enter(route)

    def reject(self, status: int) -> None:
        """Answer a request that cannot be routed, and close after it."""
        server = self.site.default
        target = parse_target(b"/")
        self.adopt(Route(server, server.root, server.name, b"/", target, {}, None))
        self.downstream.close_after_response()
        self.answer_status(status)

    def adopt(self, route: Route) -> None:
        """Take *route* for what variables and options are read from."""
        self.route = route
        self.server = route.server
        self.captures = route.captures
        self.location = route.location

    def enter(self, route: Route) -> None:
        """Run the phases of the location that *route* leads to."""
        self.adopt(route)
        if self.location.core.internal and not self.internal:
            self.answer_status(404)
            return
        location = self.location = self.location.for_method(self.method)
        core = location.core
        length = self.head.body_length
        if length is not None and self.body is None and not self.body_refused:
            limit = core.client_max_body_size
            if limit and length > limit:
                self.body_refused = True
                self.downstream.close_after_response()
                self.answer_status(413)
                return
        if route.redirect is not None:
            arguments = b"?" + route.args if route.args else b""
            answer_redirect(self, 301, route.redirect + arguments)
            return
        if core.return_ is not None:
            answer_return(self, core.return_)
            return
        access = location.access
        if access is not None and not access.allows(self.downstream.peer_host):
            self._log_error("error", "access forbidden by rule")
            self.denied = True
            self.answer_status(403)
            return
        self.site.serve(self)

    def internal_redirect(self, uri: bytes, args: bytes | None = None) -> None:
        """Start again at *uri* (decoded), inside; *args* None keeps none.

        Dot segments that variables have brought into it are resolved first, so that what
        locations are chosen by, and files and forwarded paths made from, holds none.
        """
        if self.lost:
            self.stop()
            return
        self.redirects += 1
        if self.redirects > MAX_INTERNAL_REDIRECTS:
            self._log_error("error", "rewrite or internal redirection cycle")
            self.error_uri = True
            self.answer_status(500)
            return
        self.internal = self.uri_changed = True
        try:
            uri = resolve_dots(uri)
        except ProtocolError as problem:
            self._log_error("error", problem.message)
            self.answer_status(404)
            return
        target = Target(uri, args or b"", bool(args))
        route = self.site.locate(self.server, self.route.host, uri, target, {})
        route.captures = {**self.captures, **route.captures}
        self.enter(route)

    def enter_named(self, name: bytes) -> None:
        """Go on in the named location *name*, with the URI as it is."""
        if self.lost:
            self.stop()
            return
        self.redirects += 1
        location = self.server.named.get(name)
        if location is None or self.redirects > MAX_INTERNAL_REDIRECTS:
            self._log_error("error", f"could not find named location \"{name.decode('latin-1')}\"")
            self.error_uri = True
            self.answer_status(500)
            return
        self.internal = True
        old = self.route
        route = Route(self.server, location, old.host, old.uri, old.target, self.captures, None)
        self.enter(route)

    def detached(self, downstream: Downstream, head: RequestHead) -> Exchange:
        """Another exchange in the same place, that nobody waits for and nothing logs."""
        other = Exchange(self.site, downstream, head)
        other.lost = other.logged = True
        other.adopt(self.route)
        other.location = self.location
        other.captures = self.captures
        other.internal = self.internal
        other.uri_changed = self.uri_changed
        other.slice_range = self.slice_range
        return other

    def set_uri(self, uri: bytes) -> None:
        """Change ``$uri`` without choosing a location again (``try_files``)."""
        old = self.route
        if uri != old.uri:
            self.uri_changed = True
            self.route = Route(
                self.server, self.location, old.host, uri, old.target, self.captures, None
            )

    def redirect(self, status: int, location: bytes) -> None:
        """Answer with a redirect to *location*."""
        answer_redirect(self, status, location)

    def switch(self, pairs: Pairs, reason: bytes, upstream: UpstreamStream) -> None:
        """101: join the two connections (``proxy.upstream.tunnel``)."""
        self.response.note_sent(101, [], 0)
        self.source = None
        self.downstream.send_informational(101, pairs)
        join(self, upstream)

    def take_body(self) -> RequestBody | None:
        """The request's body, to be collected or passed on; None where it has none."""
        if self.head.body_length is None or self.body_refused:
            return None
        if self.body is None:
            expect = self.head.fields.get(b"expect")
            if expect is not None and self.head.version >= 11:
                self.downstream.send_informational(100, [])
        return self._collected_body()

    def _collected_body(self) -> RequestBody:
        if self.body is None:
            # Without a way back to the exchange, so that no cycle is left to collect.
            core, world = self.location.core, self.world
            self.body = RequestBody(
                self.downstream,
                self.head.body_length or 0,
                core.client_body_buffer_size,
                lambda: world.spool(
                    core.client_body_buffer_size,
                    1 << 62,
                    core.client_body_temp_path,
                    replayable=True,
                ),
            )
        return self.body

    def on_request_body(self, data: bytes) -> None:
        if self.body_refused or (self.body is None and self.response.state is not _WAITING):
            return  # answered without it: read past
        # Nobody may have asked for it yet: a cache is looking things up first.
        body = self._collected_body()
        limit = self.location.core.client_max_body_size
        if limit and body.received + len(data) > limit:
            self.refuse_body(413)
            return
        body.feed(data)

    def refuse_body(self, status: int) -> None:
        """The body is too large (413), or its framing broke (400): answer so, if still possible.

        Another exchange answers in this one's place. What goes on here for others (a response
        that is being stored) finds that its client has gone, as it would if it had left; and
        the answer, which ``error_page`` may fetch from another location, changes nothing of
        the location that it goes on in.
        """
        self.downstream.close_after_response()
        if self.lost or self.body_refused:
            return
        if self.response.state is _WAITING:
            other = self._replacement()
            other.body_refused = True
            self.downstream.hand_over(other)
            self.logged = True
            self._go_on_without_client()
            other.answer_status(status)
        elif self.response.state is _BODY:
            self.response.note_abort()
            self.downstream.abort()
            self.log()
            self._go_on_without_client()

    def _replacement(self) -> Exchange:
        """Another exchange for the same request, nothing of which is under way yet."""
        other = copy.copy(self)
        other.source = other.body = None
        other.response = self.response.copy()
        other.record = self.record.copy()
        other.map_values = dict(self.map_values)
        return other

    def on_request_end(self, trailers: Fields | None) -> None:
        if self.body is not None or self.response.state is _WAITING:
            self._collected_body().end()

    # -- the response ------------------------------------------------------

    def begin(
        self, status: int, pairs: Pairs, length: int | None, reason: bytes | None = None
    ) -> None:
        """Send the head. *pairs* are end-to-end fields; Server and Date are added.

        *length* is that of the body which follows, None if unknown.
        """
        self.response.begin(self, status, pairs, length, reason)

    def begin_ranges(self, pairs: Pairs, length: int) -> None:
        """Send the head of a 206 for the client's Range, of a whole that is at hand."""
        self.begin(206, pairs, length)

    def own_pairs(self) -> Pairs:
        """Server and Date, with which a head made here starts."""
        return [self.own_server(), self.own_date()]

    def own_server(self) -> tuple[bytes, bytes]:
        """Our Server line."""
        return _OWN_SERVER[self.location.core.server_tokens]

    def own_date(self) -> tuple[bytes, bytes]:
        """The Date line of now."""
        return b"Date", format_http_date(self.world.scheduler.wall())

    def would_gzip(self, status: int, fields: Fields, length: int | None) -> bool:
        """Whether a response with *fields* would be compressed for this client."""
        return self.location.gzip is not None and would_gzip(self, status, fields, length)

    def wanted_of(self, length: int) -> tuple[int, int]:
        """Which octets [start, stop) of a body that is at hand ``send_body`` is to get."""
        return 0, length

    def send_body(self, data: bytes) -> None:
        """Send a piece of the body; a piece for a response without body is dropped."""
        if not self.lost:
            self.response.send_body(data)

    def flush_body(self) -> None:
        """Let the client see what it was sent so far (a pause in an unbuffered response)."""
        if not self.lost:
            self.response.flush_body()

    def end(self, trailers: Fields | None = None) -> None:
        """The response is whole."""
        response = self.response
        response.note_end()
        self.source = None
        if self.body is not None:
            self.body.close()
        if not self.lost:
            response.finish_body()
            # Logged after the last byte was handed over, before the next request.
            self.downstream.send_end(trailers)
            self.log()

    def abort(self) -> None:
        """The response cannot be finished: close so that the client can tell."""
        self.response.note_abort()
        self.source = None
        if self.body is not None:
            self.body.close()
        if not self.lost:
            self.downstream.abort()
            self.log()

    def answer(
        self, status: int, body: bytes, content_type: bytes, extra: Pairs | None = None
    ) -> None:
        """A whole response made here."""
        pairs = self.own_pairs()
        if status != 204:
            pairs.append((b"Content-Type", content_type))
        if extra:
            pairs.extend(extra)
        self.begin(status, pairs, len(body) if status != 204 else 0)
        if body:
            self.send_body(body)
        self.end()

    def answer_status(self, status: int, extra: Pairs | None = None) -> None:
        """Answer with *status* through ``error_page``, or with the page made here."""
        self.source = None
        if self.lost:
            self.stop()
            return
        if status in _CLOSING:
            self.downstream.close_after_response()
        answer_error(self, status, extra)

    def stop(self) -> None:
        """There is no client to answer: nothing goes on any more."""
        self.source = None
        self._close_body()

    # -- the client --------------------------------------------------------

    def on_writable(self) -> None:
        if self.source is not None:
            self.source.on_writable()

    def on_downstream_lost(self) -> None:
        """The client's connection is gone."""
        if self.lost:
            return
        if self.response.state in (_ENDED, _ABORTED):
            self.lost = True
            return
        if self.response.state is _WAITING:
            self.response.note_status(499)
        self.log()
        self._go_on_without_client()

    def _go_on_without_client(self) -> None:
        """Whatever goes on is for others: nothing that it sends reaches the connection."""
        self.lost = True
        self.downstream = NoClient(self.downstream)
        self.response.send_to(self.downstream)
        source = self.source
        if source is not None:
            source.on_downstream_lost()
        self._close_body()

    def _close_body(self) -> None:
        if self.body is not None:
            self.body.close()

    def log(self) -> None:
        """Write the access log, once."""
        if self.logged:
            return
        self.logged = True
        for line in self.location.logs:
            condition = line.condition
            if condition is not None and condition.render(self) in (b"", b"0"):
                continue
            line.write(line.path.render(self), line.render(self) + b"\n")

    def _log_error(self, level: str, message: str) -> None:
        self.world.log_error(level, message, self)

    log_error = _log_error

    def __repr__(self) -> str:
        return f"<Exchange {self.method!r} {self.head.target!r} {self.response.state.value}>"
