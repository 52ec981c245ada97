"""The request of one exchange, and where in the configuration it is: data, and how it may change.

A ``Request`` is what directives' texts are rendered on (``RequestContext``): it also leads to
the response and to what is noted of both. It changes where nginx changes it, by an internal
redirect, an error page or a named location, and through the methods here.

Imports: ``http``, ``proxy.site``, ``proxy.exchange`` below it.
"""

from __future__ import annotations

import copy
import re

from cacheproxy.config.model import Location
from cacheproxy.http.messages import RequestHead
from cacheproxy.http.target import Target
from cacheproxy.policy.real_ip import Peer, RealIp
from cacheproxy.policy.routing import captured
from cacheproxy.proxy.exchange.record import Record
from cacheproxy.proxy.exchange.request_body import RequestBody
from cacheproxy.proxy.exchange.response import Response
from cacheproxy.proxy.interfaces import Downstream
from cacheproxy.proxy.site.site import CompiledLocation, CompiledServer, Route, Site

__all__ = ["Request"]

#: Bytes of a request body that a temporary file may take: ``client_max_body_size`` is the limit.
UNLIMITED = 1 << 62


class Request:
    """A request with the *head* that *downstream* sent to *site*."""

    __slots__ = (
        "body",
        "body_refused",
        "captures",
        "denied",
        "downstream",
        "head",
        "internal",
        "is_error_page",
        "location",
        "map_values",
        "method",
        "passes_whole_uri",
        "proxy_host",
        "real_peer",
        "record",
        "redirects",
        "response",
        "route",
        "server",
        "set_values",
        "site",
        "slice_range",
        "tried_path",
        "uri_changed",
        "world",
    )

    # Set by ``adopt``, before anything reads them.
    route: Route
    server: CompiledServer
    location: CompiledLocation
    captures: dict[str, bytes]
    #: Where ``try_files`` has found the file that answers.
    tried_path: bytes | None

    def __init__(
        self,
        site: Site,
        downstream: Downstream,
        head: RequestHead,
        response: Response,
        record: Record,
    ) -> None:
        self.site = site
        self.world = site.world
        self.downstream = downstream
        self.head = head
        #: The client's, or the one that an error page or X-Accel-Redirect is answered as.
        self.method = head.method
        self.response = response
        self.record = record
        self.body: RequestBody | None = None
        #: The body was refused; what is left of it is read past.
        self.body_refused = False
        #: It may enter locations that are ``internal``.
        self.internal = False
        #: ``$uri`` is not what the client sent any more (nginx ``valid_unparsed_uri``).
        self.uri_changed = False
        #: ``error_page`` has sent it where it is.
        self.is_error_page = False
        #: ``allow`` and ``deny`` have refused it: what answers stands in for an error page.
        self.denied = False
        #: Internal redirects so far.
        self.redirects = 0
        #: Whom a trusted proxy speaks for; None: the connection's own address holds.
        self.real_peer: Peer | None = None
        self.map_values: dict[str, bytes] = {}
        #: What ``set`` has set.
        self.set_values: dict[str, bytes] = {}
        #: The URI of ``proxy_pass`` takes no part (nginx ``valid_location``).
        self.passes_whole_uri = False
        #: The authority of a proxy_pass with variables, once rendered.
        self.proxy_host: bytes | None = None
        #: ``$slice_range``, while a slice is being asked for.
        self.slice_range = b""

    # -- where it is -------------------------------------------------------

    def adopt(self, route: Route) -> None:
        """Take *route* for what variables and options are read from."""
        self.route = route
        self.server = route.server
        self.captures = route.captures
        self.location = route.location
        self.tried_path = None

    def use_location(self, location: CompiledLocation) -> None:
        """Read options from *location*, without changing where the URI leads."""
        self.location = location

    def place_like(self, other: Request) -> None:
        """Be where *other* is."""
        self.adopt(other.route)
        self.location = other.location
        self.captures = other.captures
        self.real_peer = other.real_peer
        self.internal = other.internal
        self.uri_changed = other.uri_changed
        self.set_values = dict(other.set_values)
        self.passes_whole_uri = other.passes_whole_uri

    def capture(self, match: re.Match[bytes] | None) -> None:
        """What ``$1`` and named captures read after an expression of the rewrite module.

        One that did not match leaves none of the numbered ones (nginx).
        """
        if match is not None:
            self.captures = captured(self.captures, match)
        elif "1" in self.captures:
            before = self.captures.items()
            self.captures = {name: value for name, value in before if not name.isdigit()}

    def with_captures(self, captures: dict[str, bytes]) -> Request:
        """What text is rendered on as if these had been captured."""
        other = copy.copy(self)
        other.captures = captures
        return other

    def set_variable(self, name: str, value: bytes) -> None:
        """``set``."""
        self.set_values[name] = value

    def enter_inside(self) -> None:
        """It may enter locations that are ``internal``."""
        self.internal = True

    def enter_if(self, location: Location) -> None:
        """An ``if`` of the location holds: its options are read from here on."""
        self.location = self.server.compiled(location)

    def rewrite_to(self, uri: bytes, args: bytes) -> None:
        """Change ``$uri`` and ``$args``, without choosing a location again (``rewrite``)."""
        old = self.route
        self.uri_changed = True
        target = Target(old.target.path, args, bool(args))
        self.route = Route(
            self.server, self.location, old.host, uri, target, self.captures, None
        )

    def keep_location(self) -> None:
        """``break``: no location is looked for again, whatever the URI is now."""
        self.passes_whole_uri = True

    def set_uri(self, uri: bytes) -> None:
        """Change ``$uri`` without choosing a location again (``try_files``)."""
        old = self.route
        if uri != old.uri:
            self.uri_changed = True
            self.route = Route(
                self.server, self.location, old.host, uri, old.target, self.captures, None
            )

    def note_tried_path(self, path: bytes | None) -> None:
        """``try_files`` has found the file at *path*."""
        self.tried_path = path

    # -- whose it is -------------------------------------------------------

    @property
    def remote_host(self) -> str:
        """The client's address (``$remote_addr``)."""
        peer = self.real_peer
        return self.downstream.peer_host if peer is None else peer.host

    @property
    def remote_port(self) -> int:
        """The client's port; 0 where it is not known (``$remote_port``)."""
        peer = self.real_peer
        return self.downstream.peer_port if peer is None else peer.port

    def find_real_peer(self, real_ip: RealIp) -> None:
        """Ask *real_ip* whose request this is, unless that is known."""
        if self.real_peer is None:
            self.real_peer = real_ip.find(self.downstream.peer_host, self.head.fields)

    # -- what it has become ------------------------------------------------

    def become_get(self) -> None:
        """Another location answers: as it answers a GET, unless only the head is wanted."""
        if self.method != b"HEAD":
            self.method = b"GET"

    def take_method(self, other: Request) -> None:
        """Be answered as *other* is."""
        self.method = other.method

    def note_error_page(self) -> None:
        """What answers from here on stands in for an error."""
        self.is_error_page = True

    def note_denied(self) -> None:
        """``allow`` and ``deny`` have refused it."""
        self.denied = True

    def note_proxy_host(self, authority: bytes | None) -> None:
        """What ``proxy_pass`` was rendered to; None where it has no variables."""
        self.proxy_host = authority

    def note_slice(self, slice_range: bytes) -> None:
        """What ``$slice_range`` is from here on; empty: no slice is asked for."""
        self.slice_range = slice_range

    # -- its body ----------------------------------------------------------

    def collected_body(self) -> RequestBody:
        """The body, which is collected from now on if it was not yet."""
        if self.body is None:
            # Without a way back to the request, so that no cycle is left to collect.
            core, world = self.location.core, self.world
            self.body = RequestBody(
                self.downstream,
                self.head.body_length or 0,
                core.client_body_buffer_size,
                lambda: world.spool(
                    core.client_body_buffer_size,
                    UNLIMITED,
                    core.client_body_temp_path,
                    replayable=True,
                ),
            )
        return self.body

    def close_body(self) -> None:
        """Free what is held of the body."""
        if self.body is not None:
            self.body.close()

    def give_up_body(self) -> None:
        """Whoever sends the body on closes it, whatever becomes of the request."""
        self.body = None

    # -- others like it ----------------------------------------------------

    def replaced(self, head: RequestHead, route: Route) -> Request:
        """What text is rendered on as if the request had *head* and led to *route*."""
        other = copy.copy(self)
        other.head = head
        other.route = route
        other.map_values = {}
        return other

    def unanswered(self, response: Response, record: Record) -> Request:
        """The same request, without its body, to be answered by *response*."""
        other = copy.copy(self)
        other.response = response
        other.record = record
        other.body = None
        other.map_values = dict(self.map_values)
        return other

    def __repr__(self) -> str:
        return f"<Request {self.method!r} {self.head.target!r}>"
