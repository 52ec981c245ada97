"""Answers from memory without an exchange: the fast path of hits and small files.

What the general path (``caching``, ``static``) has just answered is remembered on its
``Route`` as a ``ReadyResponse``: the head as it will be sent, with the body. The next
request that is equal in all that matters (a GET on a kept connection, the same
Host and target, the same Accept-Encoding after normalisation, the same cookies if they
count, the same fields that could steer the answer, nothing that asks for more thought) is
answered with those octets, as long as the entry is the one
in memory and is fresh, or the file the one on disk. Once a second the head is
rendered anew, for ``Age`` and for what ``expires`` makes of the time.

This is an optimisation of the general path and nothing else: a test holds the two
equal, octet by octet.

Imports: ``http``, ``policy``, ``proxy.site.site``, ``proxy.site.cache_key``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING

from cacheproxy.http.fields import Fields, Pairs
from cacheproxy.http.h1 import encode_response_head
from cacheproxy.http.messages import RequestHead, reason_phrase
from cacheproxy.http.syntax import format_http_date
from cacheproxy.policy.encoding import may_encode, vary_accept_encoding
from cacheproxy.policy.key import normal_accept_encoding
from cacheproxy.policy.reuse import STEERING_FIELDS, reusable_until
from cacheproxy.policy.unkeyed import METHOD_FIELDS, forms
from cacheproxy.proxy.answer.fields import file_pairs, hit_pairs, server_line
from cacheproxy.proxy.interfaces import Downstream, Entry, OpenFile, Storage
from cacheproxy.proxy.site.cache_key import RouteContext
from cacheproxy.proxy.site.selecting import COUNTED_FIELDS, CountRules
from cacheproxy.proxy.site.site import Route, Site

if TYPE_CHECKING:
    from cacheproxy.proxy.exchange.exchange import Exchange

__all__ = [
    "HotHits",
    "ReadyFile",
    "ReadyHit",
    "ReadyResponse",
    "Traits",
    "remember",
    "remember_file",
    "traits_of",
]

#: Answers remembered for one route: they differ by coding, cookies, steering fields.
MAX_READY = 8

#: The longest form, in octets, that an answer is remembered by: it holds cookies.
MAX_FORM = 2048

#: Octets of all that is remembered for one listening address, and what each costs
#: besides its body. The bodies are mostly those in the zone's memory or among the files
#: kept there; but one that has left its place must not live on here without a bound.
READY_SIZE = 32 << 20
READY_OVERHEAD = 4096

#: Bodies longer than this are written beside the head, not joined with it.
JOIN_LIMIT = 16 * 1024

#: Fields that leave a request to the general path.
_SLOW_FIELDS = STEERING_FIELDS | forms(METHOD_FIELDS) | {
    b"authorization",
    b"expect",
    b"if-range",
    b"upgrade",
    b"via",
}


class Traits:
    """What the fast path wants to know of a request's fields.

    What selects an answer beside the route is its *form*. For a *bare* request it is the
    normalised Accept-Encoding; else `form_for` makes it, by a location's rules.
    """

    __slots__ = ("_rules", "bare", "cookieless", "encoding", "form", "simple")

    def __init__(self, fields: Fields) -> None:
        names = fields.names()
        self.encoding = normal_accept_encoding(fields.combined(b"accept-encoding"))
        connection = fields.combined(b"connection")
        agent = fields.get(b"user-agent")
        self.simple = (
            _SLOW_FIELDS.isdisjoint(names)
            and (connection is None or connection.lower() == b"keep-alive")
            and (agent is None or b"MSIE " not in agent)
        )
        self.bare = COUNTED_FIELDS.isdisjoint(names)
        #: The form, and that of a request without the cookies, by the rules looked at last.
        self.form = self.cookieless = self.encoding
        self._rules: CountRules | None = None

    def form_for(self, rules: CountRules | None, fields: Fields) -> bytes:
        """What selects an answer for a request with *fields* in a location with *rules*."""
        if rules is not self._rules:
            self._rules = rules
            self.form = self.cookieless = self.encoding
            if rules is not None and not self.bare:
                self.cookieless += rules.unkeyed.suffix(fields)
                cookie = rules.cookie(fields)
                self.form = self.cookieless
                if cookie is not None:
                    self.form += b"\n" + cookie
        return self.form


def traits_of(fields: Fields) -> Traits:
    """The traits of a request's fields, found once."""
    traits: Traits | None = fields.traits
    if traits is None:
        traits = fields.traits = Traits(fields)
    return traits


class ReadyResponse(ABC):
    """An answer that is ready to send: *data*, then *body* where the two are not joined."""

    __slots__ = (
        "body",
        "by_cookie",
        "context",
        "cost",
        "data",
        "form",
        "length",
        "pairs",
        "second",
        "status",
    )

    #: The word for ``$upstream_cache_status``.
    cache_status = b""


    def __init__(self, context: RouteContext, size: int) -> None:
        self.context = context
        #: Octets that it is accounted for, with a body of *size*.
        self.cost = size + READY_OVERHEAD
        #: What it is remembered by; whether the client's cookies selected it.
        self.form = b""
        self.by_cookie = False
        self.second = -1
        self.data = b""
        self.body = b""
        self.status = 0
        self.length = 0
        #: The fields in *data*.
        self.pairs: Pairs = []

    @property
    def upstream_fields(self) -> Fields | None:
        """What ``$upstream_http_*`` reads."""
        return None

    @abstractmethod
    def is_current(self, now: float) -> bool:
        """Whether it still is what the general path would answer at wall time *now*."""

    @abstractmethod
    def content(self, now: float) -> tuple[int, bytes | None, Pairs, bytes]:
        """Status, reason, fields before ``add_header`` and framing, and body."""

    def render(self, now: float) -> None:
        """Make the octets for the second of *now*."""
        self.second = int(now)
        context = self.context
        location = context.location
        status, reason, pairs, body = self.content(now)
        self.status, self.length = status, len(body)
        if location.field_adder is not None:
            pairs = location.field_adder.render(context, status, pairs, now)
        if status not in (204, 304):
            pairs.append((b"Content-Length", b"%d" % len(body)))
        pairs.append((b"Connection", b"keep-alive"))
        if location.core.keepalive_timeout_header is not None:
            pairs.append((b"Keep-Alive", b"timeout=%d" % location.core.keepalive_timeout_header))
        self.pairs = pairs
        head = encode_response_head(
            status, reason_phrase(status) if reason is None else reason, pairs
        )
        if len(body) > JOIN_LIMIT:
            self.data, self.body = head, body
        else:
            self.data, self.body = head + body, b""


class ReadyHit(ReadyResponse):
    """A hit: *entry*, found through *base*, which is the same or its plain form."""

    __slots__ = ("base", "digest", "entry", "storage", "until")

    cache_status = b"HIT"

    def __init__(self, context: RouteContext, storage: Storage, base: Entry, entry: Entry) -> None:
        super().__init__(context, len(entry.body or b""))
        context.record.cache_status = self.cache_status
        self.storage = storage
        self.base = base
        self.digest = base.digest
        self.entry = entry
        self.until = reusable_until(base.stored)

    @property
    def upstream_fields(self) -> Fields | None:
        return self.entry.stored.fields

    def is_current(self, now: float) -> bool:
        return now < self.until and self.storage.peek(self.digest) is self.base

    def content(self, now: float) -> tuple[int, bytes | None, Pairs, bytes]:
        stored = self.entry.stored
        pairs = hit_pairs(self.context.location, stored, stored.age(now))
        return stored.status, stored.reason, pairs, self.entry.body or b""


class ReadyFile(ReadyResponse):
    """A small file; every use looks whether it is the same on disk."""

    __slots__ = ("file", "path")

    def __init__(self, context: RouteContext, path: bytes, file: OpenFile) -> None:
        super().__init__(context, file.size)
        self.path = path
        self.file = file

    def is_current(self, now: float) -> bool:
        opened = self.context.world.files.open(self.path)
        if opened is self.file:
            return True
        if not isinstance(opened, int):
            opened.close()
        return False

    def content(self, now: float) -> tuple[int, bytes | None, Pairs, bytes]:
        location = self.context.location
        pairs: Pairs = [server_line(location.core), (b"Date", format_http_date(now))]
        pairs += file_pairs(location, self.file, self.context.route.uri)
        gzip = location.gzip
        if gzip is not None and gzip.vary:
            fields = Fields(pairs)
            if may_encode(200, fields, self.file.size, gzip):
                pairs = vary_accept_encoding(fields).pairs
        return 200, None, pairs, self.file.content or b""


class HotHits:
    """The fast path of one listening address; *exchange* makes one, for the log."""

    def __init__(
        self, site: Site, exchange: Callable[[Site, Downstream, RequestHead], Exchange]
    ) -> None:
        self._site = site
        self._exchange = exchange
        self._known = site.routes
        self._wall = site.world.scheduler.wall

    def answer(self, downstream: Downstream, head: RequestHead) -> ReadyResponse | None:
        """What answers *head*, a request without body; None leaves it to the general path."""
        fields = head.fields
        route = self._known.get((fields.get(b"host"), head.target))
        if route is None or not route.ready:
            return None
        traits = traits_of(fields)
        if not traits.simple or head.method != b"GET" or head.version != 11:
            return None
        ready = (
            route.ready.get(traits.encoding) if traits.bare else _selected(route, traits, fields)
        )
        if ready is None:
            return None
        access = route.location.access
        if access is not None and not access.allows(downstream.peer_host):
            return None  # refused, and logged, by the general path
        now = self._wall()
        if not ready.is_current(now):
            del route.ready[ready.form]
            return None
        if ready.second != int(now):
            ready.render(now)
        if route.location.logs:
            self._log(downstream, head, route, ready)
        return ready

    def _log(
        self, downstream: Downstream, head: RequestHead, route: Route, ready: ReadyResponse
    ) -> None:
        exchange = self._exchange(self._site, downstream, head)
        exchange.adopt(route)
        record = exchange.record
        record.note_cache_status(ready.cache_status)
        record.note_upstream_fields(ready.upstream_fields)
        exchange.note_sent(ready.status, ready.pairs, ready.length)
        record.note_bytes_before(downstream.bytes_sent - len(ready.data) - len(ready.body))
        exchange.log()


def _selected(route: Route, traits: Traits, fields: Fields) -> ReadyResponse | None:
    """What is ready for a request that has cookies, or fields that could steer the answer."""
    known = route.ready
    form = traits.form_for(route.location.counts, fields)
    ready: ReadyResponse | None = known.get(form)
    if ready is None and form is not traits.cookieless:
        ready = known.get(traits.cookieless)
        if ready is not None and ready.by_cookie:
            return None  # it is for those who have no cookie
    return ready


def remember(exchange: Exchange, storage: Storage, base: Entry, entry: Entry) -> None:
    """Note that *entry*, found through *base*, answers requests like this one."""
    if entry.body is None or not _repeats(exchange):
        return
    vary = base.stored.vary
    names = [name for name, _ in vary]
    if names and not _SELECTING.issuperset(names):
        return
    rules = exchange.location.counts
    if names and rules is not None and not rules.told.keys().isdisjoint(names):
        return  # it is not the client's own field that selected it
    if entry is base and base.stored.body_length > 0 and _compresses(exchange, base):
        return  # the plain form goes out only while the other is being made
    ready = ReadyHit(_context(exchange), storage, base, entry)
    ready.by_cookie = any(name == b"cookie" for name, _ in vary)
    _keep(exchange, ready)


#: By which fields a variant may be selected that is remembered.
_SELECTING = frozenset({b"accept-encoding", b"cookie"})


def _compresses(exchange: Exchange, entry: Entry) -> bool:
    stored = entry.stored
    return exchange.would_gzip(stored.status, stored.fields, stored.body_length)


def remember_file(exchange: Exchange, path: bytes, file: OpenFile, fields: Fields) -> None:
    """Note that *file*, with these *fields*, answers requests like this one."""
    if file.content is None or not _repeats(exchange):
        return
    if exchange.would_gzip(200, fields, file.size):
        return
    _keep(exchange, ReadyFile(_context(exchange), path, file))


def _repeats(exchange: Exchange) -> bool:
    """Whether the same answer is good for every request with the same route and coding."""
    if not exchange.location.hot or exchange.uri_changed or exchange.method != b"GET":
        return False
    return exchange.head.version == 11 and traits_of(exchange.head.fields).simple


def _context(exchange: Exchange) -> RouteContext:
    """The route's context, with nothing of this request that does not follow from it."""
    head = exchange.head
    host = head.fields.get(b"host")
    fields = Fields([] if host is None else [(b"Host", host)])
    return RouteContext(
        exchange.site, RequestHead(b"GET", head.target, head.version, fields), exchange.route
    )


def _keep(exchange: Exchange, ready: ReadyResponse) -> None:
    site, route = exchange.site, exchange.route
    fields = exchange.head.fields
    traits = traits_of(fields)
    if site.routes.get((fields.get(b"host"), exchange.head.target)) is not route:
        return  # nobody would find it
    rules = route.location.counts
    form = traits.form_for(rules, fields)
    if ready.by_cookie and form is not traits.cookieless:
        if rules is None or rules.cookies is None or len(form) > MAX_FORM:
            return  # every visitor's cookies are different
    else:
        form = traits.cookieless
    ready.form = form
    ready.cost += len(form)
    known = route.ready
    if len(known) >= MAX_READY and form not in known:
        # Those for single visitors go first.
        del known[next((old for old in known if b"\n" in old), next(iter(known)))]
    known[form] = ready
    order = site.ready_order
    order.append((route, form, ready))
    site.ready_size += ready.cost
    while site.ready_size > READY_SIZE:
        old_route, form, old = order.popleft()
        site.ready_size -= old.cost
        if old_route.ready.get(form) is old:
            del old_route.ready[form]
