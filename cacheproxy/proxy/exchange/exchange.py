"""One request, from its head to its log record, the same for every HTTP version.

An ``Exchange`` joins what asks (``Request``), what answers (``Response``) and what is noted of
both (``Record``). It finds the location and runs its phases, which were compiled with it
(``site.phases``). What produces the content is its ``Source``: the exchange tells it when the
client can take more and when the client has gone. Errors and redirects are answered by the
``Front`` of its site, which stands above it.

A failure that the response cannot express any more (its head was sent) aborts the
connection, so that the client can tell.

Source: nginx ``ngx_http_core_module`` phases, ``ngx_http_special_response``.
Imports: ``http``, ``policy``, ``proxy`` below it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Protocol

from cacheproxy.errors import ProtocolError
from cacheproxy.http.fields import Fields, Pairs
from cacheproxy.http.messages import RequestHead
from cacheproxy.http.syntax import format_http_date
from cacheproxy.http.target import Target, parse_target, resolve_dots
from cacheproxy.proxy.exchange.compression import would_gzip
from cacheproxy.proxy.exchange.no_client import NoClient
from cacheproxy.proxy.exchange.phase_wait import PhaseWait
from cacheproxy.proxy.exchange.record import Record
from cacheproxy.proxy.exchange.request import Request
from cacheproxy.proxy.exchange.request_body import RequestBody
from cacheproxy.proxy.exchange.response import Response, ResponseState
from cacheproxy.proxy.interfaces import Downstream
from cacheproxy.proxy.site.phases import Phase, Progress
from cacheproxy.proxy.site.site import Route, Site, merged_captures

__all__ = ["Exchange", "Source"]

#: Internal redirects that one request may make (nginx NGX_HTTP_MAX_URI_CHANGES).
MAX_INTERNAL_REDIRECTS = 10

#: Statuses made here after which nginx closes the connection.
_CLOSING = frozenset({400, 413, 414, 431, 494, 495, 496, 497, 500, 501})

#: RFC 9110 §9.3.8: what TRACE echoes is for nobody; CONNECT is for forward proxies.
_REFUSED_METHODS = frozenset({b"CONNECT", b"TRACE"})


# Read for every request; looking a member up in an enumeration is slow.
_WAITING = ResponseState.WAITING
_BODY = ResponseState.BODY
_ENDED = ResponseState.ENDED
_ABORTED = ResponseState.ABORTED
_GO_ON = Progress.GO_ON
_WAIT = Progress.WAIT


class Source(Protocol):
    """What produces the content of a response."""

    def on_writable(self) -> None:
        """The client can take more."""

    def on_downstream_lost(self) -> None:
        """The client has gone; finish what others need and stop the rest."""


class Exchange:
    """One request and its response."""

    __slots__ = (
        "downstream",
        "logged",
        "lost",
        "record",
        "request",
        "response",
        "site",
        "source",
        "world",
    )

    def __init__(self, site: Site, downstream: Downstream, head: RequestHead) -> None:
        self.site = site
        self.world = world = site.world
        self.downstream = downstream
        self.source: Source | None = None
        #: The client has gone, or another exchange answers it.
        self.lost = False
        self.logged = False
        self.response = response = Response(downstream)
        self.record = record = Record(world.scheduler.monotonic(), downstream.bytes_sent)
        self.request = Request(site, downstream, head, response, record)

    # -- the request -------------------------------------------------------

    def start(self) -> None:
        """Route the request and begin to answer it."""
        try:
            route = self.site.route(self.request.head)
        except ProtocolError as problem:
            self.reject(problem.status)
            return
        if self.request.method in _REFUSED_METHODS:
            self.request.adopt(route)
            self.downstream.close_after_response()
            self.answer_status(405)
            return
        if route.server.has_phases:
            self.site.front.enter_server(self, route)
        else:
            self.enter(route)

    def reject(self, status: int) -> None:
        """Answer a request that cannot be routed, and close after it."""
        server = self.site.default
        target = parse_target(b"/")
        self.request.adopt(Route(server, server.root, server.name, b"/", target, {}, None))
        self.downstream.close_after_response()
        self.answer_status(status)

    def enter(self, route: Route) -> None:
        """Run the phases of the location that *route* leads to."""
        request = self.request
        request.adopt(route)
        if route.location.core.internal and not request.internal:
            self.answer_status(404)
            return
        location = route.location
        if location.limited is not None:
            location = location.for_method(request.method)
            request.use_location(location)
        core = location.core
        length = request.head.body_length
        if length is not None and request.body is None and not request.body_refused:
            limit = core.client_max_body_size
            if limit and length > limit:
                request.body_refused = True
                self.downstream.close_after_response()
                self.answer_status(413)
                return
        if route.redirect is not None:
            arguments = b"?" + route.args if route.args else b""
            self.redirect(301, route.redirect + arguments)
            return
        if location.sole_phase is not None:
            location.sole_phase(self)
        else:
            self.run_phases(location.phases)

    def run_phases(self, phases: tuple[Phase, ...]) -> None:
        """Run *phases*, one after the other."""
        self._run(iter(phases))

    def _run(self, phases: Iterator[Phase]) -> None:
        """Run *phases* until one of them answers or waits."""
        for phase in phases:
            progress = phase(self)
            if progress is _GO_ON:
                continue
            if progress is _WAIT:
                wait = self.source
                assert isinstance(wait, PhaseWait), phase
                if not wait.hold(phases):
                    self.source = None
                    continue
            return

    def begin_wait(self) -> PhaseWait:
        """What a phase waits with, which then returns ``Progress.WAIT``."""
        wait = self.source = PhaseWait(self._go_on)
        return wait

    def _go_on(self, wait: PhaseWait, rest: Iterator[Phase]) -> None:
        """What *wait* was for has come; something may have answered in the meantime."""
        if self.source is wait:
            self.source = None
            self._run(rest)

    def internal_redirect(self, uri: bytes, args: bytes | None = None) -> None:
        """Start again at *uri* (decoded), inside; *args* None keeps none.

        Dot segments that variables have brought into it are resolved first, so that what
        locations are chosen by, and files and forwarded paths made from, holds none.
        """
        if self.lost:
            self.stop()
            return
        request = self.request
        if self.goes_in_circles():
            return
        request.internal = request.uri_changed = True
        try:
            uri = resolve_dots(uri)
        except ProtocolError as problem:
            self._log_error("error", problem.message)
            self.answer_status(404)
            return
        request.passes_whole_uri = False
        server, host = request.server, request.route.host
        target = Target(uri, args or b"", bool(args))
        request.adopt(Route(server, server.root, host, uri, target, request.captures, None))
        if server.rewrites:
            self.site.front.rewrite_in_server(self)
        else:
            self.enter_location()

    def enter_location(self) -> None:
        """Enter the location that the URI, as it is now, leads to in its server."""
        request, old = self.request, self.request.route
        route = self.site.locate(request.server, old.host, old.uri, old.target, {})
        route.captures = merged_captures(request.captures, route.captures)
        self.enter(route)

    def goes_in_circles(self) -> bool:
        """Count one more internal redirect; whether it is one too many, and answered with 500."""
        request = self.request
        request.redirects += 1
        if request.redirects <= MAX_INTERNAL_REDIRECTS:
            return False
        self._log_error("error", "rewrite or internal redirection cycle")
        request.note_error_page()
        self.answer_status(500)
        return True

    def enter_named(self, name: bytes) -> None:
        """Go on in the named location *name*, with the URI as it is."""
        if self.lost:
            self.stop()
            return
        request = self.request
        request.redirects += 1
        location = request.server.named.get(name)
        if location is None or request.redirects > MAX_INTERNAL_REDIRECTS:
            self._log_error("error", f"could not find named location \"{name.decode('latin-1')}\"")
            request.note_error_page()
            self.answer_status(500)
            return
        request.internal = True
        old = request.route
        self.enter(
            Route(request.server, location, old.host, old.uri, old.target, request.captures, None)
        )

    def detached(self, downstream: Downstream, head: RequestHead) -> Exchange:
        """Another exchange in the same place, that nobody waits for and nothing logs."""
        other = Exchange(self.site, downstream, head)
        other.lost = other.logged = True
        other.request.place_like(self.request)
        other.request.note_slice(self.request.slice_range)
        return other

    def redirect(self, status: int, location: bytes) -> None:
        """Answer with a redirect to *location*."""
        self.site.front.redirect(self, status, location)

    def switch(self, pairs: Pairs) -> None:
        """101: the client is told; what it sends from now on is no request."""
        self.response.note_sent(101, [], 0)
        self.source = None
        self.downstream.send_informational(101, pairs)

    def take_body(self) -> RequestBody | None:
        """The request's body, to be collected or passed on; None where it has none."""
        if self.request.head.body_length is None or self.request.body_refused:
            return None
        if self.request.body is None:
            expect = self.request.head.fields.get(b"expect")
            if expect is not None and self.request.head.version >= 11:
                self.downstream.send_informational(100, [])
        return self.request.collected_body()

    def on_request_body(self, data: bytes) -> None:
        request = self.request
        if request.body_refused or (request.body is None and self.response.state is not _WAITING):
            return  # answered without it: read past
        # Nobody may have asked for it yet: a cache is looking things up first.
        body = self.request.collected_body()
        limit = self.request.location.core.client_max_body_size
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
        if self.lost or self.request.body_refused:
            return
        if self.response.state is _WAITING:
            other = self._replacement()
            other.request.body_refused = True
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
        other.source = None
        other.response = self.response.copy()
        other.record = self.record.copy()
        other.request = self.request.unanswered(other.response, other.record)
        return other

    def on_request_end(self, trailers: Fields | None) -> None:
        if self.request.body is not None or self.response.state is _WAITING:
            self.request.collected_body().end()

    # -- the response ------------------------------------------------------

    def begin(
        self, status: int, pairs: Pairs, length: int | None, reason: bytes | None = None
    ) -> None:
        """Send the head. *pairs* are end-to-end fields; Server and Date are added.

        *length* is that of the body which follows, None if unknown.
        """
        self.response.begin(self.request, status, pairs, length, reason)

    def begin_ranges(self, pairs: Pairs, length: int) -> None:
        """Send the head of a 206 for the client's Range, of a whole that is at hand."""
        self.begin(206, pairs, length)

    def own_pairs(self) -> Pairs:
        """Server and Date, with which a head made here starts."""
        return [self.own_server(), self.own_date()]

    def own_server(self) -> tuple[bytes, bytes]:
        """Our Server line."""
        return self.request.location.server_line

    def own_date(self) -> tuple[bytes, bytes]:
        """The Date line of now."""
        return b"Date", format_http_date(self.world.scheduler.wall())

    def would_gzip(self, status: int, fields: Fields, length: int | None) -> bool:
        """Whether a response with *fields* would be compressed for this client."""
        request = self.request
        return request.location.gzip is not None and would_gzip(request, status, fields, length)

    def needed_range(self, length: int) -> tuple[int, int]:
        """Which bytes [start, stop) of a body that is at hand ``send_body`` is to get."""
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
        response, body = self.response, self.request.body
        response.note_end()
        self.source = None
        if body is not None:
            body.close()
        if not self.lost:
            if response.gzip is not None:
                response.finish_body()
            # Logged after the last byte was handed over, before the next request.
            if response.adds_trailers:
                trailers = response.trailers(self.request, trailers)
            self.downstream.send_end(trailers)
            if self.request.location.logs:
                self.log()

    def abort(self) -> None:
        """The response cannot be finished: close so that the client can tell."""
        self.response.note_abort()
        self.source = None
        self.request.close_body()
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
        self.site.front.answer_status(self, status, extra)

    def stop(self) -> None:
        """There is no client to answer: nothing goes on any more."""
        self.source = None
        self.request.close_body()

    def answer_from(self, source: Source) -> None:
        """Have *source* produce the content: it hears of the client from now on."""
        self.source = source

    def clear_source(self) -> None:
        """What produced the content is done with the client."""
        self.source = None

    def leave_unlogged(self) -> None:
        """Another exchange writes the log line of the request that this is a part of."""
        self.logged = True

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
        self.downstream = self.request.downstream = NoClient(self.downstream)
        self.response.send_to(self.downstream)
        source = self.source
        if source is not None:
            source.on_downstream_lost()
        self.request.close_body()

    def log(self) -> None:
        """Write the access log, once."""
        if self.logged:
            return
        self.logged = True
        for line in self.request.location.logs:
            line.log(self.request)

    def _log_error(self, level: str, message: str) -> None:
        self.world.log_error(level, message, self.request)

    log_error = _log_error

    def __repr__(self) -> str:
        return f"<Exchange {self.request!r} {self.response!r}>"
