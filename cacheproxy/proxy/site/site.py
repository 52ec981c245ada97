"""The configuration made ready to serve: what can be decided at load is decided here.

A ``Site`` belongs to one listening address: it finds, for a request head, the
``Route`` (server, location, normalised URI, captures). Routes are pure in
(Host, request-target), so they are remembered, and a route also carries what
follows from it: the cache key's digest and the responses that are ready to send
(``proxy.front.hot``). A ``CompiledLocation`` holds one location's options beside the
functions compiled from them; an absent feature is None and costs nothing.

Imports: ``http``, ``template``, ``policy``, ``config.model``, ``config.fast_path``,
``proxy.interfaces``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

from cacheproxy.config.fast_path import hot_obstacles
from cacheproxy.config.model import Listen, Location, Match, Server
from cacheproxy.http.fields import Fields, Pairs
from cacheproxy.http.messages import RequestHead
from cacheproxy.http.request_parser import RequestLimits
from cacheproxy.http.target import Target, normalize_path, parse_target, split_host
from cacheproxy.policy.access import AccessList
from cacheproxy.policy.cookie_rewriting import CookieRewriter, compile_cookies
from cacheproxy.policy.forwarding import (
    RedirectRewriter,
    ResponseRewriter,
    compile_redirects,
    compile_response_fields,
)
from cacheproxy.policy.http_upstream import HttpUpstream
from cacheproxy.policy.options import CoreOptions, ErrorPage, ProxyPass
from cacheproxy.policy.real_ip import Peer, RealIp
from cacheproxy.policy.rewrite import If, Instruction
from cacheproxy.policy.route_variables import follows_route
from cacheproxy.policy.routing import LocationTree, ServerChooser
from cacheproxy.policy.upstream_protocol import UpstreamProtocol
from cacheproxy.policy.uwsgi_upstream import UwsgiUpstream
from cacheproxy.proxy.interfaces import Storage, UpstreamChoice, World
from cacheproxy.proxy.site.added_fields import FieldAdder, TrailerAdder, compile_field_adder
from cacheproxy.proxy.site.phases import Phase
from cacheproxy.proxy.site.ready import Ready, RemembersAnswers
from cacheproxy.proxy.site.selection_rules import SelectionRules, without_query
from cacheproxy.proxy.site.server_line import server_line
from cacheproxy.template import Getter, Template

__all__ = [
    "CompiledLocation",
    "CompiledServer",
    "Front",
    "LogLine",
    "Route",
    "Site",
    "keyed_by_slice",
    "merged_captures",
    "proxy_host",
]

#: Routes remembered per listening address; when full, all are forgotten.
ROUTE_MEMO_SIZE = 8192
#: The longest request-target whose route is remembered, in bytes: a route holds it
#: several times over, and a client can send any number of long ones.
ROUTE_MEMO_TARGET = 1024


#: The exchanges of a front: they stand above this package.
X = TypeVar("X", contravariant=True)


class Front(Protocol[X]):
    """What answers the requests of a site, given to it when it is made.

    Exchanges reach by it what stands above them.
    """

    def phases(self, location: CompiledLocation) -> tuple[Phase, ...]:
        """What a request goes through in *location*; the last phase always answers."""

    def answer_status(self, exchange: X, status: int, extra: Pairs | None) -> None:
        """Answer with *status* through ``error_page``, or with a page made here."""

    def redirect(self, exchange: X, status: int, location: bytes) -> None:
        """Answer with a redirect to *location*."""

    def enter_server(self, exchange: X, route: Route) -> None:
        """Do what a server does before a location is looked for, then enter one.

        *route* is where the request goes if nothing there changes that.
        """

    def rewrite_in_server(self, exchange: X) -> None:
        """Carry out the rewrite module's instructions of a server, then enter a location.

        The request is at the server's own level, with its URI and what was captured so far.
        """


class LogLine:
    """One ``access_log`` of a location: how to render a line, where it goes, and when."""

    __slots__ = ("condition", "path", "render", "write")

    def __init__(
        self,
        render: Getter,
        path: Template,
        write: Callable[[bytes, bytes], None],
        condition: Template | None,
    ) -> None:
        self.render = render
        self.path = path
        self.write = write
        self.condition = condition

    def log(self, request: object) -> None:
        """Write the line of *request*, a ``RequestContext``, where its condition holds."""
        condition = self.condition
        if condition is None or condition.render(request) not in (b"", b"0"):
            self.write(self.path.render(request), self.render(request) + b"\n")


class CompiledLocation:
    """One location, compiled."""

    __slots__ = (
        "access",
        "cache",
        "cache_key",
        "cookies",
        "core",
        "error_pages",
        "field_adder",
        "free_methods",
        "get_key_follows_route",
        "gzip",
        "hot",
        "key_follows_route",
        "limited",
        "location",
        "logs",
        "phases",
        "protocol",
        "proxy",
        "purge",
        "real_ip",
        "real_peer",
        "redirects",
        "response_rewriter",
        "rewrites",
        "selection",
        "server",
        "server_line",
        "slice_keys_follow_route",
        "sole_phase",
        "storage",
        "stored_rewriter",
        "trailer_adder",
        "upstream",
    )

    def __init__(
        self, location: Location, server: CompiledServer, world: World, front: Front[Any]
    ) -> None:
        self.location = location
        self.server = server
        self.core = location.core
        #: Our Server line here.
        self.server_line = server_line(location.core)
        self.proxy = proxy = location.proxy
        self.gzip = location.gzip if location.gzip.gzip else None
        self.cache = location.cache if location.cache.cache is not None else None
        self.field_adder: FieldAdder | None = compile_field_adder(location.core)
        trailers = location.core.add_trailer
        self.trailer_adder = TrailerAdder(trailers) if trailers else None
        self.error_pages: Mapping[int, ErrorPage] = _error_pages(location.core.error_page)
        self.logs = tuple(
            LogLine(log.format.template.render, log.path, world.access_log(log), log.condition)
            for log in location.core.access_log
        )
        self.upstream: UpstreamChoice | None = None
        self.protocol: UpstreamProtocol | None = None
        self.response_rewriter: ResponseRewriter | None = None
        #: Set where stored heads hold fields that are hidden from clients.
        self.stored_rewriter: ResponseRewriter | None = None
        self.redirects: RedirectRewriter | None = None
        self.cookies: CookieRewriter | None = None
        self.storage: Storage | None = None
        self.cache_key: Template | None = None
        #: Which parts of a request select a cached response; None without a cache.
        self.selection: SelectionRules | None = None
        if proxy.proxy_pass is not None:
            self._compile_pass(proxy.proxy_pass, world)
        if self.cache is not None:
            self.cache_key = self.cache.key
            if isinstance(self.cache.cache, str):
                self.storage = world.storage(self.cache.cache)
        rules = location.core.access
        self.access: AccessList | None = AccessList(rules) if rules else None
        #: ``set_real_ip_from``, where that of the server's own level is another.
        self.real_ip: RealIp | None = None
        if _real_ip_options(location.core) != _real_ip_options(server.server.root.core):
            self.real_ip = _real_ip(location.core)
        #: Finds whom the peer speaks for; None where the connection's own address always holds.
        self.real_peer: Callable[[str, Fields], Peer | None] | None = None
        if self.real_ip is not None or server.real_ip is not None:
            self.real_peer = self._find_real_peer
        #: ``limit_except``: what holds for every method but the free ones.
        self.limited: CompiledLocation | None = None
        self.free_methods: frozenset[bytes] = frozenset()
        limit = location.limit_except
        if limit is not None:
            self.limited = CompiledLocation(limit.location, server, world, front)
            self.limited.is_limited()
            self.free_methods = limit.methods
        #: The conditions under which a request is one to purge, also where nothing is kept.
        self.purge = location.cache.purge if proxy.proxy_pass is not None else ()
        #: Whether more than the route decides what answers: the rewrite module is at work.
        self.rewrites = bool(
            location.instructions or location.nameless or server.rewrites
        )
        self._look_at_keys()
        self.hot = self._may_answer_hot()
        #: What a request goes through here; the last always answers.
        self.phases: tuple[Phase, ...] = front.phases(self)
        #: The phase where there is but one: it answers, so that nothing has to be gone on with.
        self.sole_phase: Phase | None = self.phases[0] if len(self.phases) == 1 else None

    def _compile_pass(self, target: ProxyPass, world: World) -> None:
        """What ``proxy_pass`` or ``uwsgi_pass`` makes of requests and responses."""
        proxy, cacheable = self.proxy, self.cache is not None
        protocol: UpstreamProtocol
        if proxy.protocol == "uwsgi":
            protocol = UwsgiUpstream(proxy, cacheable)
        else:
            protocol = HttpUpstream(proxy, cacheable, proxy_host)
        self.protocol = protocol
        if target.template is None:
            ssl = proxy.ssl if target.scheme in (b"https", b"suwsgi") else None
            self.upstream = world.upstream(target.upstream, ssl, protocol.reader)
        self.response_rewriter = compile_response_fields(proxy)
        if self.cache is not None:
            self.stored_rewriter = self.response_rewriter
            self.selection = SelectionRules(proxy, self.cache)
        self.redirects = compile_redirects(proxy, self.location.pattern)
        self.cookies = compile_cookies(proxy)

    def _look_at_keys(self) -> None:
        """Find out which cache keys can be made without an exchange."""
        proxy = self.proxy
        if self.rewrites:
            self.get_key_follows_route = self.key_follows_route = False
            self.slice_keys_follow_route = False
            return
        #: Whether the key of a GET can be made from its route alone …
        self.get_key_follows_route = (
            self.storage is not None
            and (self.cache_key is None or follows_route(self.cache_key, {"request_method"}))
            and (proxy.proxy_pass is None or proxy.proxy_pass.template is None)
        )
        #: … and is that of a converted HEAD too.
        self.key_follows_route = self.get_key_follows_route and (
            self.cache_key is None or "request_method" not in self.cache_key.variables
        )
        #: Whether those of a GET's slices, apart from where they end, can.
        self.slice_keys_follow_route = (
            proxy.slice > 0
            and self.storage is not None
            and self.cache_key is not None
            and keyed_by_slice(self.cache_key)
            and follows_route(self.cache_key, {"request_method", "slice_range"})
            and (proxy.proxy_pass is None or proxy.proxy_pass.template is None)
        )

    def _find_real_peer(self, host: str, fields: Fields) -> Peer | None:
        """As the phases of server and location find it, without an exchange."""
        for real_ip in (self.server.real_ip, self.real_ip):
            found = None if real_ip is None else real_ip.find(host, fields)
            if found is not None:
                return found
        return None

    def is_limited(self) -> None:
        """Take it that a route alone does not lead here: the method decides (``limit_except``)."""
        self.hot = self.key_follows_route = False

    def for_method(self, method: bytes) -> CompiledLocation:
        """What holds here for *method*: this, or what ``limit_except`` says."""
        limited = self.limited
        return self if limited is None or method in self.free_methods else limited

    def _may_answer_hot(self) -> bool:
        """Whether hits or files of this location may be sent without making an exchange."""
        if self.rewrites or (self.proxy.proxy_pass is not None and self.storage is None):
            return False  # in the latter case nothing is kept
        return not hot_obstacles(self.location, self.server.default_core)

    def __repr__(self) -> str:
        pattern = self.location.pattern.decode("latin-1")
        return f"<location {self.location.match.value} {pattern}>"


class ProxiedContext(Protocol):
    """What is passed on to an upstream, as far as ``$proxy_host`` has to know."""

    @property
    def proxy_host(self) -> bytes | None: ...

    @property
    def location(self) -> CompiledLocation: ...


def proxy_host(context: ProxiedContext) -> bytes:
    """``$proxy_host``: the authority of ``proxy_pass``, as written or as rendered."""
    if context.proxy_host is not None:
        return context.proxy_host
    target = context.location.proxy.proxy_pass
    return b"" if target is None else target.authority


def keyed_by_slice(key: Template | None) -> bool:
    """Whether a ``proxy_cache_key`` ends with what tells slices apart."""
    return key is not None and key.text.endswith(("$slice_range", "${slice_range}"))


def _real_ip_options(core: CoreOptions) -> tuple[object, ...]:
    return core.real_ip_from, core.real_ip_header, core.real_ip_recursive


def _real_ip(core: CoreOptions) -> RealIp | None:
    if not core.real_ip_from:
        return None
    return RealIp(core.real_ip_from, core.real_ip_header, core.real_ip_recursive)


def _limits(server: Server) -> RequestLimits:
    return RequestLimits(
        header_buffer_size=server.client_header_buffer_size,
        large_buffers=server.large_client_header_buffers,
        max_headers=server.max_headers,
        underscores=server.underscores_in_headers,
        ignore_invalid=server.ignore_invalid_headers,
    )


def _error_pages(pages: tuple[ErrorPage, ...]) -> dict[int, ErrorPage]:
    found: dict[int, ErrorPage] = {}
    for page in pages:
        for status in page.statuses:
            found.setdefault(status, page)
    return found


def _nameless(instructions: tuple[Instruction, ...]) -> tuple[Location, ...]:
    """The locations that the ``if`` instructions of a location are."""
    return tuple(one.location for one in instructions if isinstance(one, If))


class CompiledServer:
    """One server: its locations compiled and arranged for look-up."""

    __slots__ = (
        "_compiled",
        "_front",
        "_world",
        "default_core",
        "has_phases",
        "name",
        "named",
        "real_ip",
        "rewrites",
        "root",
        "server",
        "tree",
    )

    def __init__(
        self, server: Server, world: World, default: Server, front: Front[Any]
    ) -> None:
        self.server = server
        #: By what connections of the listening address go while they have no exchange.
        self.default_core = default.root.core
        self._world = world
        self._front = front
        self.name = server.names[0].encode() if server.names else b""
        #: Whether its own level has instructions of the rewrite module.
        self.rewrites = bool(server.root.instructions)
        #: ``set_real_ip_from`` of its own level, asked before a location is looked for.
        self.real_ip = _real_ip(server.root.core)
        #: Whether anything is done before a location is looked for.
        self.has_phases = self.rewrites or self.real_ip is not None
        self._compiled: dict[int, CompiledLocation] = {}
        self.root = self.compiled(server.root)
        self.tree = LocationTree(server.root.locations)
        self.named = {
            location.pattern: self.compiled(location)
            for location in server.root.locations
            if location.match is Match.NAMED
        }
        self._compile_all(server.root.locations)

    def _compile_all(self, locations: tuple[Location, ...]) -> None:
        for location in locations:
            self.compiled(location)
            self._compile_all(location.locations)
            self._compile_all(_nameless(location.instructions))

    def compiled(self, location: Location) -> CompiledLocation:
        """The compiled form of one of this server's locations."""
        found = self._compiled.get(id(location))
        if found is None:
            found = CompiledLocation(location, self, self._world, self._front)
            self._compiled[id(location)] = found
        return found


def merged_captures(before: dict[str, bytes], own: dict[str, bytes]) -> dict[str, bytes]:
    """The captures of a location after those *before*; numbered ones of both never mix."""
    if "1" in own:
        before = {name: value for name, value in before.items() if not name.isdigit()}
    return {**before, **own}


class Route:
    """Where a request goes. ``uri`` is normalised; ``raw_path`` and ``args`` are as received."""

    __slots__ = (
        "args",
        "captures",
        "digest",
        "has_args",
        "host",
        "key",
        "location",
        "raw_path",
        "ready",
        "redirect",
        "selecting",
        "server",
        "target",
        "uri",
    )

    def __init__(
        self,
        server: CompiledServer,
        location: CompiledLocation,
        host: bytes,
        uri: bytes,
        target: Target,
        captures: dict[str, bytes],
        redirect: bytes | None,
    ) -> None:
        self.server = server
        self.location = location
        self.host = host
        self.uri = uri
        self.target = target
        self.raw_path = target.path
        self.args = target.args
        self.has_args = target.has_args
        self.captures = captures
        self.redirect = redirect
        self.key: bytes | None = None
        self.digest: bytes | None = None
        #: The answers that are ready to send, by what in a request's fields selects them.
        self.ready: dict[bytes, Ready] = {}
        #: The route with the part of the query that selects, where that is not all of it.
        self.selecting: Route | None = None
        rules = location.selection
        if rules is not None and rules.query is not None:
            theirs = rules.target(target)
            if theirs is not target:
                self.selecting = Route(server, location, host, uri, theirs, captures, redirect)


class Site:
    """The servers of one listening address."""

    def __init__(
        self,
        listen: Listen,
        servers: list[Server],
        default: Server,
        world: World,
        front: Front[Any],
        remembers: RemembersAnswers | None = None,
    ) -> None:
        self.listen = listen
        self.world = world
        #: What exchanges reach above them.
        self.front = front
        #: Keeps answers ready for the fast path; None where there is no fast path.
        self.remembers = remembers
        self.scheme = b"https" if listen.ssl else b"http"
        self.servers = {
            id(server): CompiledServer(server, world, default, front) for server in servers
        }
        self.default = self.servers[id(default)]
        self.limits = _limits(default)
        self._chooser = ServerChooser(servers, default)
        self.routes: dict[tuple[bytes | None, bytes], Route] = {}

    def route(self, head: RequestHead) -> Route:
        """Where *head* goes. Raises :class:`ProtocolError` for a bad target or host."""
        host_field = head.fields.get(b"host")
        memo = (host_field, head.target)
        route = self.routes.get(memo)
        if route is None:
            route = self._find(head, host_field)
            if route.selecting is not None:
                self._share(route, route.selecting, head)
            if len(head.target) <= ROUTE_MEMO_TARGET:
                if len(self.routes) >= ROUTE_MEMO_SIZE:
                    self.routes.clear()
                    if self.remembers is not None:
                        self.remembers.forget_all()
                self.routes[memo] = route
        return route

    def _share(self, route: Route, selecting: Route, head: RequestHead) -> None:
        """Let what is ready for one query serve all that select the same."""
        location = route.location
        adder, cache = location.field_adder, location.cache
        read = set() if adder is None else set(adder.variables)
        if cache is not None and without_query(read | cache.purge_reads):
            path, args = selecting.target.path, selecting.target.args
            target = path + b"?" + args if args else path
            route.ready = self.route(
                RequestHead(head.method, target, head.version, head.fields)
            ).ready

    def _find(self, head: RequestHead, host_field: bytes | None) -> Route:
        target = parse_target(head.target)
        authority = target.authority if target.authority is not None else host_field
        host = b""
        if authority:
            host, _ = split_host(authority)
        server, captures = self.server_of(host)
        # As nginx: the request line is read before the server is known by its name.
        uri = normalize_path(target.path, self.default.server.merge_slashes)
        return self.locate(server, host or server.name, uri, target, captures)

    def server_of(self, host: bytes) -> tuple[CompiledServer, dict[str, bytes]]:
        """The server for a host name, and what its regular expression captured."""
        chosen, captures = self._chooser.choose(host)
        return self.servers[id(chosen)], dict(captures)

    def locate(
        self,
        server: CompiledServer,
        host: bytes,
        uri: bytes,
        target: Target,
        captures: dict[str, bytes],
    ) -> Route:
        """The route of a normalised *uri* within *server*.

        A ``return`` of the server's own level answers before any location is looked for.
        """
        if server.root.core.return_ is not None:
            return Route(server, server.root, host, uri, target, captures, None)
        found = server.tree.find(uri)
        location = server.root if found.location is None else server.compiled(found.location)
        if found.captures:
            captures = {**captures, **found.captures}
        return Route(server, location, host, uri, target, captures, found.redirect)


