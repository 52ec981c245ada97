"""Purge requests: ``proxy_cache_purge``, and what more a request may say of what goes.

Without any field of ours a request purges what a GET of its URI would find, with all
variants, and with all slices or ranges where those are the end of the key; where the URI
ends in ``*`` as the client wrote it, everything whose key starts with the rest. These
fields of the request select otherwise, one of them at a time:

- ``Cache-Purge: host`` what is stored for the request's host, ``Cache-Purge: all`` the zone;
- ``Surrogate-Key``, ``xkey``, ``Cache-Tag`` (``policy.tags``) what has one of these tags.

``Cache-Purge: soft`` (or ``Fastly-Soft-Purge: 1``) makes stale instead of removing it;
``hard`` is nginx's way and the default. The answer comes when the storage is done: 204,
or 404 where one key was named and nothing was there; ``Cache-Purged`` tells how many
responses went. No purge request gets to the origin.

Whoever may come in (``allow``, ``deny``, ``limit_except``) has been asked before.

Source: nginx ``ngx_http_proxy_module`` (``proxy_cache_purge``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cacheproxy.http.fields import Fields
from cacheproxy.http.messages import RequestHead
from cacheproxy.policy.key import digest, request_key
from cacheproxy.policy.purge import ByHost, ByKey, ByPrefix, ByTags, Everything, Selection
from cacheproxy.policy.tags import TAG_FIELDS, TagLimitError, tags_of
from cacheproxy.proxy.exchange.no_client import NoClient
from cacheproxy.proxy.interfaces import Storage
from cacheproxy.proxy.site.cache_key import cache_key
from cacheproxy.proxy.site.site import keyed_by_slice
from cacheproxy.proxy.site.zone import zone_of

if TYPE_CHECKING:
    from cacheproxy.proxy.exchange.exchange import Exchange

__all__ = ["PurgeOrder", "PurgeTurn", "UnclearPurge", "read_order", "serve"]

#: How many responses a purge took; in the answer.
COUNT = b"Cache-Purged"

_WORDS = frozenset({b"host", b"all", b"soft", b"hard"})

#: How the value of a range starts, after what its key has before it.
_RANGE_START = b"bytes="


class UnclearPurge(Exception):
    """A purge request that does not say what it wants; the text is for its client."""


@dataclass(frozen=True, slots=True)
class PurgeOrder:
    """What a request's fields order: *what* is ``host``, ``all``, or empty for tags or the URI."""

    what: bytes = b""
    tags: frozenset[bytes] = frozenset()
    soft: bool = False


def read_order(fields: Fields) -> PurgeOrder:
    """The order in a request's *fields*. Raises :class:`UnclearPurge`."""
    said = fields.combined(b"cache-purge") or b""
    words = {word.strip(b" \t").lower() for word in said.split(b",")} - {b""}
    if words - _WORDS:
        raise UnclearPurge("Cache-Purge knows host, all, soft, hard")
    soft = b"soft" in words or fields.get(b"fastly-soft-purge") == b"1"
    if soft and b"hard" in words:
        raise UnclearPurge("both soft and hard")
    try:
        tags = tags_of(fields)
    except TagLimitError as error:
        raise UnclearPurge(str(error)) from error
    if not tags and any(name in fields for name in TAG_FIELDS):
        raise UnclearPurge("a field for tags without any tag")
    what = words & {b"host", b"all"}
    if len(what) + bool(tags) > 1:
        raise UnclearPurge("more than one of host, all and tags")
    return PurgeOrder(b"".join(what), tags, soft)


def serve(exchange: Exchange) -> None:
    """Carry out a purge request, in the zone of the exchange's location."""
    try:
        order = read_order(exchange.request.head.fields)
        if order.what == b"host" and not exchange.request.route.host:
            raise UnclearPurge("the request names no host")
    except UnclearPurge as problem:
        _answer(exchange, 400, None, str(problem))
        return
    try:
        storage = zone_of(exchange.request)
    except LookupError:
        storage = None
    if storage is None:
        _answer(exchange, 404, 0, "nothing is cached here")
    else:
        PurgeTurn(exchange, storage, order).start()


class PurgeTurn:
    """One purge request's dealings with one zone. Goes on when its client has gone."""

    __slots__ = ("_count", "_exchange", "_one", "_order", "_storage", "_waiting")

    def __init__(self, exchange: Exchange, storage: Storage, order: PurgeOrder) -> None:
        self._exchange = exchange
        self._storage = storage
        self._order = order
        #: Whether it names one key, of which it can be said that it was not there.
        self._one = False
        self._count = 0
        self._waiting = 0

    def start(self) -> None:
        """Order the purge; the answer follows when all of it is done."""
        self._exchange.answer_from(self)
        selections = self._selections()
        self._waiting = len(selections)
        for selection in selections:
            self._storage.purge(selection, self._done, self._order.soft)

    def _selections(self) -> list[Selection]:
        order = self._order
        if order.tags:
            return [ByTags(order.tags)]
        if order.what == b"all":
            return [Everything()]
        if order.what == b"host":
            return [ByHost(self._exchange.request.route.host)]
        return self._by_uri()

    def _by_uri(self) -> list[Selection]:
        """What is stored for the URI: under its key, or those that start like it.

        What other methods have stored (``request_key``) is of the same URI.
        """
        exchange = self._exchange
        options = exchange.request.location.cache
        assert options is not None
        key, target = _key_of_get(exchange), exchange.request.head.target
        prefix = key[:-1] if target.endswith(b"*") and key.endswith(b"*") else None
        self._one = prefix is None
        found: list[Selection] = []
        for method in sorted(options.methods):
            if method == b"HEAD" and options.convert_head:
                continue
            if prefix is not None:
                found.append(ByPrefix(request_key(prefix, method, options.convert_head)))
                continue
            own = request_key(key, method, options.convert_head)
            found.append(ByKey(digest(own)))
            if keyed_by_slice(exchange.request.location.cache_key) or _keyed_by_range(exchange):
                found.append(ByPrefix(own + _RANGE_START))
        return found

    def _done(self, count: int) -> None:
        self._count += count
        self._waiting -= 1
        if self._waiting or self._exchange.lost:
            return
        if self._one and not self._count:
            _answer(self._exchange, 404, 0, "nothing was stored under this key")
        else:
            _answer(self._exchange, 204, self._count, "")

    # -- Source --------------------------------------------------------------

    def on_writable(self) -> None:
        """Nothing is waiting to be written."""

    def on_downstream_lost(self) -> None:
        """What was ordered is carried out."""


def _key_of_get(exchange: Exchange) -> bytes:
    """The key that a GET with the same target and fields has."""
    head = exchange.request.head
    other = exchange.detached(
        NoClient(exchange.downstream),
        RequestHead(b"GET", head.target, head.version, head.fields),
    )
    location = exchange.request.route.location.for_method(b"GET")
    if location.cache_key is not None:
        other.request.use_location(location)
    return cache_key(other.request)


def _keyed_by_range(exchange: Exchange) -> bool:
    """Whether ranges are stored by the client's Range (nginx's way), and this names none."""
    key = exchange.request.location.cache_key
    return (
        key is not None
        and key.text.endswith(("$http_range", "${http_range}"))
        and b"range" not in exchange.request.head.fields
    )


def _answer(exchange: Exchange, status: int, count: int | None, text: str) -> None:
    """Answer without ``error_page``, which could lead to the origin."""
    extra = [] if count is None else [(COUNT, b"%d" % count)]
    body = text.encode() + b"\n" if text else b""
    exchange.answer(status, body, b"text/plain", extra)
