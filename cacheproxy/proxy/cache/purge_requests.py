"""Purge requests: ``proxy_cache_purge``, and the request fields that select what is purged.

A request without these fields purges the response stored for a GET of its URI, with all
variants, and with all slices or ranges if the key ends with them. If the client wrote ``*`` at
the end of the URI, everything whose key starts with the text before it is purged. One of these
fields may select differently:

- ``Cache-Purge: host`` purges the responses of the request's host, ``Cache-Purge: all`` the zone;
- ``Surrogate-Key``, ``xkey``, ``Cache-Tag`` (``policy.tags``) purge responses with these tags.

``Cache-Purge: soft`` (or ``Fastly-Soft-Purge: 1``) marks responses stale; ``hard``, nginx's
meaning and the default, removes them. The answer is sent when the storage has finished: 204, or
404 if one key was named and nothing was stored; ``Cache-Purged`` is the number of responses
purged. No purge request is forwarded to the origin.

Access control (``allow``, ``deny``, ``limit_except``) has run before.

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

__all__ = ["InvalidPurge", "PurgeOrder", "PurgeRun", "parse_purge", "serve"]

#: How many responses a purge took; in the answer.
COUNT = b"Cache-Purged"

_WORDS = frozenset({b"host", b"all", b"soft", b"hard"})

#: How the value of a range starts, after what its key has before it.
_RANGE_START = b"bytes="


class InvalidPurge(Exception):
    """A purge request with invalid fields; the text is sent to the client."""


@dataclass(frozen=True, slots=True)
class PurgeOrder:
    """What to purge: *what* is ``host``, ``all``, or empty for tags or the URI."""

    what: bytes = b""
    tags: frozenset[bytes] = frozenset()
    soft: bool = False


def parse_purge(fields: Fields) -> PurgeOrder:
    """The order in a request's *fields*. Raises :class:`InvalidPurge`."""
    said = fields.combined(b"cache-purge") or b""
    words = {word.strip(b" \t").lower() for word in said.split(b",")} - {b""}
    if words - _WORDS:
        raise InvalidPurge("Cache-Purge knows host, all, soft, hard")
    soft = b"soft" in words or fields.get(b"fastly-soft-purge") == b"1"
    if soft and b"hard" in words:
        raise InvalidPurge("both soft and hard")
    try:
        tags = tags_of(fields)
    except TagLimitError as error:
        raise InvalidPurge(str(error)) from error
    if not tags and any(name in fields for name in TAG_FIELDS):
        raise InvalidPurge("a field for tags without any tag")
    what = words & {b"host", b"all"}
    if len(what) + bool(tags) > 1:
        raise InvalidPurge("more than one of host, all and tags")
    return PurgeOrder(b"".join(what), tags, soft)


def serve(exchange: Exchange) -> None:
    """Carry out a purge request, in the zone of the exchange's location."""
    try:
        order = parse_purge(exchange.request.head.fields)
        if order.what == b"host" and not exchange.request.route.host:
            raise InvalidPurge("the request names no host")
    except InvalidPurge as problem:
        _answer(exchange, 400, None, str(problem))
        return
    try:
        storage = zone_of(exchange.request)
    except LookupError:
        storage = None
    if storage is None:
        _answer(exchange, 404, 0, "nothing is cached here")
    else:
        PurgeRun(exchange, storage, order).start()


class PurgeRun:
    """One purge request in one zone; it continues if the client disconnects."""

    __slots__ = ("_count", "_exchange", "_one", "_order", "_storage", "_waiting")

    def __init__(self, exchange: Exchange, storage: Storage, order: PurgeOrder) -> None:
        self._exchange = exchange
        self._storage = storage
        self._order = order
        #: Whether it names one key, so that 404 is possible.
        self._one = False
        self._count = 0
        self._waiting = 0

    def start(self) -> None:
        """Start the purge; the answer is sent when it is complete."""
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
        """The purge continues."""


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
