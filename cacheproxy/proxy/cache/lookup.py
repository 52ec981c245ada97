"""Cache look-up: find the stored response, decide whether it is reusable, and answer.

A ``CacheLookup`` finds the stored response for a request (by key, then by the selecting
fields of Vary); ``policy.reuse`` decides whether it may be reused. Other modules do the rest:

- ``stored_answer`` answers from it;
- ``parts`` answers a range from a stored part (206), or finds which bytes are missing (§3.3);
- ``sharing`` waits for the response to another request, and ``following`` answers from it;
- ``fetching`` requests the response from the origin, and stores it or freshens the stored one.

Source: nginx ``ngx_http_upstream_cache``, ``ngx_http_file_cache``; RFC 9111.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cacheproxy.http.messages import ResponseHead
from cacheproxy.policy import cache_status
from cacheproxy.policy.key import matches, selecting, variant_digest
from cacheproxy.policy.partial import keyed_by_range, passes_range, plain_range
from cacheproxy.policy.reuse import Action, Verdict, decide_reuse, invalidates
from cacheproxy.policy.stored import StoredResponse
from cacheproxy.proxy.cache.fetching import Fetch
from cacheproxy.proxy.cache.following import Following
from cacheproxy.proxy.cache.invalidation import Invalidation
from cacheproxy.proxy.cache.parts import (
    MissingRange,
    answer_part,
    judge_part,
    may_take_part,
    part_digest,
)
from cacheproxy.proxy.cache.question import Question
from cacheproxy.proxy.cache.sharing import Sharing
from cacheproxy.proxy.cache.stored_answer import StoredAnswer
from cacheproxy.proxy.cache.unattended import unattended
from cacheproxy.proxy.interfaces import Entry, GrowingResponse, GrowingWriter, Storage
from cacheproxy.proxy.site.cache_key import keys_of
from cacheproxy.proxy.site.conditions import holds
from cacheproxy.proxy.site.selecting import selected_request
from cacheproxy.proxy.site.zone import zone_of
from cacheproxy.proxy.upstream.relay import Relay

if TYPE_CHECKING:
    from cacheproxy.proxy.exchange.exchange import Exchange

__all__ = ["CacheLookup", "refresh", "serve", "stored_response_remover"]


def serve(exchange: Exchange) -> None:
    """Answer through the location's cache."""
    options = exchange.request.location.cache
    assert options is not None
    try:
        storage = zone_of(exchange.request)
    except LookupError as problem:
        exchange.log_error("error", str(problem))
        exchange.answer_status(500)
        return
    if storage is None:
        Relay(exchange).start()
    elif exchange.request.method not in options.methods:
        invalidation = None
        if invalidates(exchange.request.method, 200) and not exchange.request.denied:
            invalidation = Invalidation(exchange, storage)
        Relay(exchange, invalidation).start()
    else:
        lookup = CacheLookup(exchange, storage)
        body = None if exchange.request.method in (b"GET", b"HEAD") else exchange.take_body()
        if body is None:
            lookup.start()
        else:
            # As in nginx the key may hold $request_body.
            body.when_whole(lookup.start)


def stored_response_remover(exchange: Exchange) -> Callable[[], None] | None:
    """A function that removes the stored response of *exchange*; None if no zone is used.

    The stored response is the one that answers it, or the one made from the origin's response.
    Call this once the head has arrived.
    """
    source = exchange.source
    found: CacheLookup | Question
    if isinstance(source, CacheLookup):
        found = source
    elif isinstance(source, Relay) and isinstance(source.taker, Fetch):
        found = source.taker.question
    else:
        return None
    storage, place = found.storage, found.digest
    return lambda: storage.delete(place)


def refresh(cause: Exchange, storage: Storage) -> None:
    """Validate the response stored for the request of *cause* in the background."""
    lookup = CacheLookup(unattended(cause), storage)
    lookup.background = True
    lookup.start()


class CacheLookup:
    """The look-up of one request in one zone (``Source``, ``Asker``, ``Sharer``)."""

    __slots__ = (
        "_first_variant",
        "_forward_reason",
        "_missing",
        "_only_stored",
        "_passed_range",
        "_sharing",
        "_storing",
        "background",
        "detail",
        "digest",
        "entry",
        "exchange",
        "first_variant_digest",
        "key",
        "options",
        "primary",
        "request",
        "storage",
    )

    def __init__(self, exchange: Exchange, storage: Storage) -> None:
        self.exchange = exchange
        self.storage = storage
        options = exchange.request.location.cache
        assert options is not None
        self.options = options
        self.entry: Entry | None = None
        self.background = False
        #: The head that is stored for the key alone, or is about to be.
        self._first_variant: StoredResponse | None = None
        #: From when it turns out that the origin is to be asked.
        self._sharing: Sharing | None = None
        #: Whether what the origin sends may be stored.
        self._storing = True
        #: The origin is asked for what the client's Range says, not for the whole.
        self._passed_range = False
        #: What is asked for beside a stored part.
        self._missing: MissingRange | None = None
        #: ``only-if-cached``: the origin is not to be asked.
        self._only_stored = False
        #: For Cache-Status: why the origin is asked, and why the cache has no part in it.
        self._forward_reason = b""
        self.detail = b""

    # -- look-up -----------------------------------------------------------

    def start(self) -> None:
        """Make the key and look for a stored response."""
        exchange = self.exchange
        exchange.answer_from(self)
        self.request, suffix, self.detail = selected_request(exchange.request)
        # A purge of ``primary``, the digest of the URL, removes everything stored for the URL.
        self.key, self.primary, self.first_variant_digest = keys_of(
            exchange.request, self.options.convert_head, suffix
        )
        self.digest = self.first_variant_digest
        body = None if exchange.request.method in (b"GET", b"HEAD") else exchange.request.body
        if body is not None and body.in_memory() is None:
            self.detail = b"content"  # $request_body is empty: the key cannot tell it apart
        self._storing = not self.detail
        if self.detail or (self.options.bypass and holds(self.options.bypass, exchange.request)):
            exchange.record.note_cache_status(b"BYPASS")
            self._forward_reason = b"bypass"
            self.fetch()
            return
        self.look_up()

    def look_up(self) -> None:
        """Find the entry; a cold one is found later."""
        self.storage.lookup(self.first_variant_digest, self._found)

    def _found(self, entry: Entry | None) -> None:
        if self.gone:
            if entry is not None:
                entry.release()
            return
        self._first_variant = None if entry is None else entry.stored
        if entry is not None and entry.stored.key == self.key and entry.stored.vary:
            fields = self.request.fields
            if not matches(entry.stored.vary, fields):
                names = [name for name, _ in entry.stored.vary]
                entry.release()
                self.digest = variant_digest(self.key, selecting(names, fields))
                self.storage.lookup(self.digest, self._judge)
                return
        self._judge(entry)

    @property
    def gone(self) -> bool:
        """Whether the client has gone, and nothing is to be done without it."""
        return self.exchange.lost and not self.background

    def _judge(self, entry: Entry | None) -> None:
        exchange = self.exchange
        if self.gone:
            if entry is not None:
                entry.release()
            return
        verdict = decide_reuse(
            None if entry is None else entry.stored,
            self.request,
            exchange.world.scheduler.wall(),
            self.options,
            key=self.key,
            updating=exchange.world.fills(self.storage).filling(self.digest),
        )
        self._carry_out(verdict, entry)

    def _carry_out(self, verdict: Verdict, entry: Entry | None) -> None:
        action = verdict.action
        if verdict.refresh and self.exchange.request.method not in (b"GET", b"HEAD"):
            # It cannot be asked for again without its client, who has the content.
            action, verdict.status = Action.REVALIDATE, b"EXPIRED"
        self.exchange.record.note_cache_status(verdict.status)
        if self.background and action in (Action.FRESH, Action.STALE):
            action = Action.REVALIDATE
        if action is Action.FRESH:
            assert entry is not None
            forwarded = None
            if self._sharing is not None and self._sharing.waited:
                forwarded = cache_status.forward_value(self._forward_reason, collapsed=True)
            self.answer(entry, verdict.age, forwarded, fresh=True)
        elif action is Action.STALE:
            assert entry is not None
            if verdict.refresh:
                refresh(self.exchange, self.storage)
            self.answer(entry, verdict.age)
        elif action is Action.GATEWAY_TIMEOUT and not self._takes_part():
            self.exchange.answer_status(504)
        else:
            self._forward_reason = cache_status.FORWARD_REASONS.get(verdict.reason, b"miss")
            if entry is None and self.digest != self.first_variant_digest:
                self._forward_reason = b"vary-miss"
            if action is Action.REVALIDATE:
                self.entry = entry
                self.exchange.record.note_validated(None if entry is None else entry.stored)
            elif self._takes_part():
                self._only_stored = action is Action.GATEWAY_TIMEOUT
                self.storage.lookup(part_digest(self.key), self._judge_part)
                return
            if self._beyond_offset():
                self.fetch_alone()
            else:
                self._collapse()

    # -- parts -------------------------------------------------------------

    def _takes_part(self) -> bool:
        known = self.exchange.world.fills(self.storage).parts
        return not self.background and may_take_part(
            self.exchange, self.options, known, self.primary
        )

    def _judge_part(self, entry: Entry | None) -> None:
        """Answer from the stored part if possible, as no complete response can be used."""
        if self.gone:
            if entry is not None:
                entry.release()
            return
        exchange, options = self.exchange, self.options
        verdict = None
        if entry is not None:
            now = exchange.world.scheduler.wall()
            verdict = judge_part(entry.stored, self.request, now, options, self.key)
            if answer_part(exchange, entry, verdict):
                return
        if self._only_stored:
            if entry is not None:
                entry.release()
            exchange.answer_status(504)
            return
        value = plain_range(exchange.request.head)
        passed = value is not None and passes_range(value, options.max_range_offset)
        if entry is not None and verdict is not None:
            if passed:
                self._forward_reason = b"partial"
            self._missing = MissingRange.of(exchange, entry, verdict, not passed)
            if self._missing is None:
                entry.release()
            else:
                self._forward_reason = b"partial"
        if passed:
            self._passed_range = True
            self.fetch()
        else:
            self._collapse()

    # -- collapsing --------------------------------------------------------

    def _collapse(self) -> None:
        """Fetch from the origin, or wait for a fetch that is already running."""
        if self._sharing is None:
            self._sharing = Sharing(self)
        self._sharing.enter()

    def _beyond_offset(self) -> bool:
        """Whether ``proxy_cache_max_range_offset`` excludes the requested range (nginx)."""
        options = self.options
        value = self.exchange.request.head.fields.get(b"range")
        return (
            options.max_range_offset is not None
            and value is not None
            and keyed_by_range(options)
            and passes_range(value, options.max_range_offset)
        )

    def restart(self) -> None:
        """Start anew: what was waited for or followed has ended."""
        self.exchange.answer_from(self)
        self._drop_stored()
        self.digest = self.first_variant_digest
        self.look_up()

    def look_for_variant(self, growing: GrowingResponse, digest: bytes) -> None:
        """Go on as if the head of *growing* were stored, with the variant of *digest*."""
        self._drop_stored()
        self._first_variant = growing.stored
        self.digest = digest
        self.storage.lookup(digest, self._judge)

    def follow(self, growing: GrowingResponse, status: bytes) -> None:
        """Answer from what another request brings; *status* is ``$upstream_cache_status``."""
        self._drop_stored()
        record = self.exchange.record
        record.note_cache_status(status)
        record.note_upstream_fields(growing.stored.fields)
        forwarded = cache_status.forward_value(self._forward_reason, collapsed=True)
        Following(self.exchange, growing, forwarded, self.restart).start()

    def _drop_stored(self) -> None:
        """Release what was found in storage: it does not answer the request."""
        entry, self.entry = self.entry, None
        if entry is not None:
            entry.release()
        missing, self._missing = self._missing, None
        if missing is not None:
            missing.release()

    # -- the origin --------------------------------------------------------

    def fetch_alone(self) -> None:
        """Ask the origin for this request only: what comes is not stored."""
        self._storing = False
        self.fetch()

    def fetch_range(self) -> bool:
        """Ask the origin for the range that the client asks for; False where that may not be."""
        if not self._takes_part():
            return False
        self._drop_stored()
        self._passed_range = True
        self.fetch()
        return True

    def fetch(self) -> None:
        """Start the fetch, which takes over what was found in storage."""
        question = Question(
            exchange=self.exchange,
            storage=self.storage,
            options=self.options,
            request=self.request,
            key=self.key,
            primary=self.primary,
            first_variant_digest=self.first_variant_digest,
            digest=self.digest,
            first_variant=self._first_variant,
            validated=self.entry,
            missing=self._missing,
            passed_range=self._passed_range,
            storing=self._storing,
            background=self.background,
            forward_reason=self._forward_reason,
            detail=self.detail,
        )
        self.entry = self._missing = None
        Fetch(question, self).start()

    # -- Asker: what comes of it -------------------------------------------

    def answer(
        self, entry: Entry, age: float, forwarded: bytes | None = None, fresh: bool = False
    ) -> None:
        StoredAnswer(self.exchange, self.storage, forwarded, fresh).start(entry, age)

    def offer(self, writer: GrowingWriter, head: ResponseHead) -> None:
        if self._sharing is not None:
            self._sharing.offer(writer, head)

    def release_unshared(self, seconds: float) -> None:
        if self._sharing is not None:
            self._sharing.release_unshared(seconds)

    def release(self) -> None:
        if self._sharing is not None:
            self._sharing.release()

    # -- Source, while nothing is being sent -------------------------------

    def on_writable(self) -> None:
        """Nothing is waiting to be written."""

    def on_downstream_lost(self) -> None:
        if self._sharing is not None:
            self._sharing.lose_client()
        self._drop_stored()
