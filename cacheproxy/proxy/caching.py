"""The cache's part of an exchange: look up, reuse, validate, store.

A ``CacheTurn`` finds the stored response for a request (by key, then by the
selecting fields of Vary), lets ``policy.reuse`` judge it, and either answers
from it or sends a ``Relay`` to the origin. The relay shows it the response's head:
a 304 freshens what is stored (RFC 9111 §4.3.4), a failure may be covered by a
stale response (§4.2.4, ``proxy_cache_use_stale``), anything else is judged by
``policy.storing`` and, where it may be stored, written while it is sent. A part of
something (206) is stored beside the whole, and answers ranges within it (§3.3).

Source: nginx ``ngx_http_upstream_cache``, ``ngx_http_file_cache``; RFC 9111.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cacheproxy.errors import UpstreamError
from cacheproxy.http.messages import ResponseHead
from cacheproxy.policy import cache_status
from cacheproxy.policy.key import (
    matches,
    selecting,
    variant_digest,
)
from cacheproxy.policy.partial import keyed_by_range, passes_range, plain_range
from cacheproxy.policy.purge import ByKey
from cacheproxy.policy.retry import condition_of_error, condition_of_status
from cacheproxy.policy.reuse import (
    Action,
    Verdict,
    decide_reuse,
    invalidates,
    may_serve_stale,
)
from cacheproxy.policy.storing import NoStore, NoStoreReason, Store, decide_storing, supersedes
from cacheproxy.policy.validation import freshen, selects, validation_fields
from cacheproxy.proxy.background import unattended
from cacheproxy.proxy.collapse import UNSHARED_TIME, Growing
from cacheproxy.proxy.counted import count
from cacheproxy.proxy.elsewhere import goes_elsewhere
from cacheproxy.proxy.following import Following
from cacheproxy.proxy.head_update import keep_length, update_get
from cacheproxy.proxy.interfaces import Entry, Storage
from cacheproxy.proxy.invalidation import Invalidation
from cacheproxy.proxy.keys import holds, keys_of, zone_of
from cacheproxy.proxy.parts import (
    Missing,
    answer_part,
    combined_selection,
    may_take_part,
    part_digest,
)
from cacheproxy.proxy.relay import Relay
from cacheproxy.proxy.representation import tell
from cacheproxy.proxy.sharing import Sharing
from cacheproxy.proxy.stored_answer import StoredAnswer

if TYPE_CHECKING:
    from cacheproxy.proxy.exchange import Exchange

#: Seconds for which nobody waits for what is a server error now.
_ERROR_UNSHARED_TIME = 1.0

__all__ = ["CacheTurn", "forgetter", "refresh", "serve"]


def serve(exchange: Exchange) -> None:
    """Answer through the location's cache."""
    options = exchange.location.cache
    assert options is not None
    try:
        storage = zone_of(exchange)
    except LookupError as problem:
        exchange.log_error("error", str(problem))
        exchange.answer_status(500)
        return
    if storage is None:
        Relay(exchange).start()
    elif exchange.method not in options.methods:
        invalidation = None
        if invalidates(exchange.method, 200):
            invalidation = Invalidation(exchange, storage)
        Relay(exchange, invalidation).start()
    else:
        CacheTurn(exchange, storage).start()


def forgetter(exchange: Exchange) -> Callable[[], None] | None:
    """What removes the stored response that answers *exchange*, or that its answer becomes.

    To be asked for when the head has come; None where no zone has to do with it.
    """
    source = exchange.source
    turn = source.cache if isinstance(source, Relay) else source
    if not isinstance(turn, CacheTurn):
        return None
    storage, place = turn.storage, turn.digest
    return lambda: storage.delete(place)


def refresh(cause: Exchange, storage: Storage) -> None:
    """Validate what is stored for the request of *cause*, with nobody waiting."""
    turn = CacheTurn(unattended(cause), storage)
    turn.background = True
    turn.start()


class CacheTurn:
    """One request's dealings with one zone."""

    __slots__ = (
        "_detail",
        "_did",
        "_missing",
        "_only_stored",
        "_passed_range",
        "_primary_entry",
        "_relay",
        "_request_time",
        "_sharing",
        "_storing",
        "_why",
        "background",
        "base",
        "digest",
        "entry",
        "exchange",
        "key",
        "options",
        "primary",
        "request",
        "storage",
    )

    def __init__(self, exchange: Exchange, storage: Storage) -> None:
        self.exchange = exchange
        self.storage = storage
        options = exchange.location.cache
        assert options is not None
        self.options = options
        self.entry: Entry | None = None
        self.background = False
        #: What is stored for the key alone, or is about to be.
        self._primary_entry: Entry | Growing | None = None
        #: From when it turns out that the origin is to be asked.
        self._sharing: Sharing | None = None
        self._relay: Relay | None = None
        self._request_time = 0.0
        self._storing = True
        #: The origin is asked for what the client's Range says, not for the whole.
        self._passed_range = False
        #: What is asked for beside a stored part.
        self._missing: Missing | None = None
        #: ``only-if-cached``: the origin is not to be asked.
        self._only_stored = False
        #: What Cache-Status says: why the origin was asked; what was done, if not a mere hit.
        self._why = b""
        self._detail = b""
        self._did: bytes | None = None

    @property
    def converts_head(self) -> bool:
        return self.options.convert_head

    @property
    def answers_conditions(self) -> bool:
        return True

    @property
    def fills(self) -> bool:
        return self._storing

    # -- look-up -----------------------------------------------------------

    def start(self) -> None:
        """Make the key and look for a stored response."""
        exchange = self.exchange
        exchange.source = self
        self.request, suffix, self._detail = count(exchange)
        # ``primary`` is the URL's and owns all that is stored for it, ``base`` is where it is.
        self.key, self.primary, self.base = keys_of(exchange, self.converts_head, suffix)
        self.digest = self.base
        self._storing = not self._detail
        if self._detail or (self.options.bypass and holds(self.options.bypass, exchange)):
            exchange.cache_status = b"BYPASS"
            self._why = b"bypass"
            self.fetch()
            return
        self.look_up()

    def look_up(self) -> None:
        """Find the entry; a cold one is found later."""
        self.storage.lookup(self.base, self._found)

    def _found(self, entry: Entry | None) -> None:
        if self.gone:
            if entry is not None:
                entry.release()
            return
        self._primary_entry = entry
        if entry is not None and entry.stored.key == self.key and entry.stored.vary:
            fields = self.request.fields
            if not matches(entry.stored.vary, fields):
                names = [name for name, _ in entry.stored.vary]
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
        self.exchange.cache_status = verdict.status
        if self.background and action in (Action.FRESH, Action.STALE):
            action = Action.REVALIDATE
        if action is Action.FRESH:
            assert entry is not None
            if self._sharing is not None and self._sharing.waited:
                self._did = cache_status.forward_value(self._why, collapsed=True)
            self._answer(entry, verdict.age, fresh=True)
        elif action is Action.STALE:
            assert entry is not None
            if verdict.refresh:
                refresh(self.exchange, self.storage)
            self._answer(entry, verdict.age)
        elif action is Action.GATEWAY_TIMEOUT and not self._takes_part():
            self.exchange.answer_status(504)
        else:
            self._why = cache_status.FORWARD_REASONS.get(verdict.reason, b"miss")
            if entry is None and self.digest != self.base:
                self._why = b"vary-miss"
            if action is Action.REVALIDATE:
                self.entry = entry
                self.exchange.validated = None if entry is None else entry.stored
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
        """The whole is not stored, or not for this request: is the part of it that is asked for?"""
        if self.gone:
            if entry is not None:
                entry.release()
            return
        exchange, options = self.exchange, self.options
        if entry is not None and answer_part(exchange, options, self.key, entry):
            return
        if self._only_stored:
            if entry is not None:
                entry.release()
            exchange.answer_status(504)
            return
        value = plain_range(exchange.head)
        passed = value is not None and passes_range(value, options.max_range_offset)
        if entry is not None:
            if passed:
                self._why = b"partial"
            self._missing = Missing.of(exchange, options, self.key, entry, not passed)
            if self._missing is None:
                entry.release()
            else:
                self._why = b"partial"
        if passed:
            self._passed_range = True
            self.fetch()
        else:
            self._collapse()

    # -- collapsing --------------------------------------------------------

    def _collapse(self) -> None:
        """Go to the origin, or share the response of the request that is already there."""
        if self._sharing is None:
            self._sharing = Sharing(self)
        self._sharing.enter()

    def _beyond_offset(self) -> bool:
        """Whether ``proxy_cache_max_range_offset`` keeps a range of its own key out (nginx)."""
        options = self.options
        value = self.exchange.head.fields.get(b"range")
        return (
            options.max_range_offset is not None
            and value is not None
            and keyed_by_range(options)
            and passes_range(value, options.max_range_offset)
        )

    def look_again(self) -> None:
        """Start anew: what was waited for or followed has ended."""
        self.exchange.source = self
        self._drop_entry()
        self.digest = self.base
        self.look_up()

    def look_for_variant(self, growing: Growing, digest: bytes) -> None:
        """Go on as if the head of *growing* were stored, with the variant of *digest*."""
        self._drop_entry()
        self._primary_entry = growing
        self.digest = digest
        self.storage.lookup(digest, self._judge)

    def follow(self, growing: Growing, status: bytes) -> None:
        """Answer from what another request brings; *status* is ``$upstream_cache_status``."""
        self._drop_entry()
        self.exchange.cache_status = status
        self.exchange.upstream_fields = growing.stored.fields
        did = cache_status.forward_value(self._why, collapsed=True)
        Following(self.exchange, growing, did, self.look_again).start()

    def _drop_entry(self) -> None:
        """What was found in storage is not the answer."""
        entry, self.entry = self.entry, None
        if entry is not None:
            entry.release()
        self._forget_missing()

    # -- the origin --------------------------------------------------------

    def fetch_alone(self) -> None:
        """Ask the origin for this request only: what comes is not stored."""
        self._storing = False
        self.fetch()

    def fetch_range(self) -> bool:
        """Ask the origin for the range that the client asks for; False where that may not be."""
        if not self._takes_part():
            return False
        self._drop_entry()
        self._passed_range = True
        self.fetch()
        return True

    def fetch(self) -> None:
        """Ask the origin."""
        exchange = self.exchange
        self._request_time = exchange.world.scheduler.wall()
        relay = self._relay = Relay(exchange, self)
        asked = relay.request
        asked.client_head, asked.counts = self.request, True
        if self.entry is not None and (
            self.options.revalidate or self.entry.stored.always_validate
        ):
            asked.conditional = validation_fields(self.entry.stored)
        elif self._missing is not None and self._missing.rest.bound:
            asked.conditional = self._missing.rest.fields()
        elif self._passed_range:
            asked.conditional = [
                (name, value)
                for name, value in exchange.head.fields.pairs
                if name.lower() in (b"range", b"if-range")
            ]
        relay.start()

    def on_response(self, relay: Relay, head: ResponseHead) -> bool:
        """The origin's head has come; True if the relay is not to send it on."""
        exchange = self.exchange
        now = exchange.world.scheduler.wall()
        entry = self.entry
        if entry is not None:
            if head.status == 304 and relay.request.conditional:
                if selects(entry.stored, head):
                    self._revalidated(entry, head, now)
                else:
                    self.entry = None
                    entry.release()
                    self._ask_again(relay)
                return True
            condition = condition_of_status(head.status)
            if condition and self._stale_allowed(entry, condition, now):
                relay.discard_response()
                self._answer_stale(entry, condition, head.status)
                return True
        missing, self._missing = self._missing, None
        if missing is not None:
            combined = missing.combined(relay, head)
            if combined is None:
                missing.release()
                if missing.rest.bound and head.status in (200, 206, 404, 410, 416):
                    # There is something else now, or nothing.
                    self.storage.delete(part_digest(self.key))
                if missing.rest.bound and head.status in (206, 416):
                    self._ask_again(relay)
                    return True
                missing = None
            else:
                head = combined
        plain = self.base == self.primary and not self._detail
        if plain and exchange.method == b"HEAD" and not self.converts_head:
            update_get(exchange, self.storage, head, self._request_time)
        self._consider_storing(relay, head, now)
        if self.options.status and not self.background:
            delivery = relay.delivery
            stored = delivery is not None and delivery.writer is not None
            theirs = 206 if missing is not None and head.status != 206 else 0
            did = cache_status.forward_value(
                self._why, theirs, stored=stored, detail=self._detail
            )
            tell(exchange, did, head)
        if entry is not None:
            entry.release()
            self.entry = None
        if missing is not None:
            missing.answer(relay)
            return True
        return self._answer_from_stream(relay, head)

    def _forget_missing(self) -> None:
        missing, self._missing = self._missing, None
        if missing is not None:
            missing.release()

    def _consider_storing(self, relay: Relay, head: ResponseHead, now: float) -> None:
        exchange = self.exchange
        options = self.options
        decision = decide_storing(
            self.request,
            head,
            options,
            exchange.location.proxy.ignore_headers,
            bool(options.no_cache) and holds(options.no_cache, exchange),
            self.key,
            self._request_time,
            now,
            exchange.route.host,
        )
        if not isinstance(decision, Store):
            if decision.reason is NoStoreReason.DECEPTION:
                self._detail = b"deception-" + decision.detail.encode()
            if self.entry is not None and supersedes(decision, head.status):
                self._drop(self.entry)
            self._set_free(head.status)
            return
        if not self._storing:
            self._release()
            return
        partial = head.status == 206 and not keyed_by_range(options)
        if partial and relay.splice is None and not self._passed_range:
            return  # nobody asked for a part
        if options.min_uses > 1 and self.storage.note_use(self.base) < options.min_uses:
            self._release()
            return
        if not self.storage.fits(head.body_length) or goes_elsewhere(exchange, head):
            self._set_free(head.status)
            return
        stored = decision.stored
        if exchange.method == b"HEAD" and not self.converts_head:
            keep_length(stored, head)
        fills = exchange.world.fills(self.storage)
        fills.note_shared(self.digest)
        if partial:
            fills.parts.note(self.primary)
            if relay.splice is not None:
                stored.vary = combined_selection(stored.vary)
        target = part_digest(self.key) if partial else self._place(stored.vary)
        writer = self.storage.open_writer(target, self.primary, stored)
        delivery = relay.delivery
        if writer is None or delivery is None:
            self._release()
        else:
            delivery.store_to(writer)
            if self._sharing is not None and not partial:
                self._sharing.offer(stored, writer, head)

    def _set_free(self, status: int) -> None:
        """Nobody is to wait for such an answer, now or for a while."""
        if self._sharing is not None:
            # A server error may be over soon.
            self._sharing.set_free(UNSHARED_TIME if status < 500 else _ERROR_UNSHARED_TIME)

    def _drop(self, entry: Entry) -> None:
        """Remove *entry*; with the first variant of a URL go those that are found through it.

        They would come back with the next first one, older than what was seen meanwhile.
        """
        if entry.digest == self.base and entry.stored.vary:
            self.storage.purge(ByKey(self.primary), lambda count: None)
        else:
            self.storage.delete(entry.digest)

    def _place(self, vary: tuple[tuple[bytes, bytes | None], ...]) -> bytes:
        """Which digest a response with selecting fields *vary* is stored under.

        The first variant of a URL takes the primary one; others, while that one
        stays and selects by the same fields, have their own.
        """
        primary = self._primary_entry
        if primary is None or not vary or primary.stored.key != self.key:
            if vary:
                # An older one of the same variant must not be found behind this one.
                self.storage.delete(variant_digest(self.key, vary))
            return self.base
        theirs = primary.stored.vary
        if theirs == vary or [n for n, _ in theirs] != [n for n, _ in vary]:
            return self.base
        return variant_digest(self.key, vary)

    def _revalidated(self, entry: Entry, head: ResponseHead, now: float) -> None:
        relay = self._relay
        assert relay is not None
        stored = freshen(
            entry.stored,
            self.request,
            head,
            self.options,
            self.exchange.location.proxy.ignore_headers,
            self._request_time,
            now,
        )
        self.entry = None
        if isinstance(stored, NoStore):
            # Not to be kept any more, but good for this one answer (RFC 9111 §4.3.4).
            self._drop(entry)
        else:
            self.storage.update(entry.digest, stored)
        self.exchange.cache_status = b"REVALIDATED"
        self._did = cache_status.forward_value(
            self._why, head.status, stored=not isinstance(stored, NoStore)
        )

        def answer(found: Entry | None) -> None:
            if found is not None:
                entry.release()
            chosen = found or entry
            if self.background or self.gone:
                chosen.release()
            else:
                self._answer(chosen, chosen.stored.age(now), fresh=found is not None)

        relay.take_over(lambda: self.storage.lookup(entry.digest, answer))

    def _ask_again(self, relay: Relay) -> None:
        """The answer is about something else than what is stored: ask for the whole (§4.3.4)."""
        relay.discard_response()
        self.fetch()

    def on_failure(self, relay: Relay, status: int, problem: UpstreamError | None) -> bool:
        """No response could be had; True if a stale one answers."""
        entry, self.entry = self.entry, None
        self._forget_missing()
        self._release()
        if self.background:
            if entry is not None:
                entry.release()
            return True
        if entry is None or self.exchange.lost:
            return False
        condition = "error" if problem is None else condition_of_error(problem)
        if self._stale_allowed(entry, condition, self.exchange.world.scheduler.wall()):
            self._answer_stale(entry, condition)
            return True
        entry.release()
        return False

    def _stale_allowed(self, entry: Entry, condition: str, now: float) -> bool:
        return may_serve_stale(entry.stored, condition, now, self.options, self.request)

    def _answer_stale(self, entry: Entry, condition: str, status: int = 0) -> None:
        self._release()
        self._did = cache_status.forward_value(self._why, status, detail=condition.encode())
        if self.background:
            entry.release()
            return
        self.exchange.cache_status = b"STALE"
        self._answer(entry, entry.stored.age(self.exchange.world.scheduler.wall()))

    def on_fill_end(self, complete: bool) -> None:
        """The relay has ended: whoever waited may look again."""
        self._release()

    def _release(self) -> None:
        if self._sharing is not None:
            self._sharing.release()

    # -- answers -----------------------------------------------------------

    def _answer_from_stream(self, relay: Relay, head: ResponseHead) -> bool:
        """A miss: send the response on, judged by the client's own preconditions."""
        exchange = self.exchange
        delivery = relay.delivery
        assert delivery is not None
        if self.background or exchange.lost:
            delivery.muted = True
            return True
        if goes_elsewhere(exchange, head):
            return False
        if exchange.method == b"HEAD" and self.converts_head:
            delivery.begin(head)
            delivery.muted = True
            exchange.end()
            return True
        return delivery.answer_partially(head)

    def _answer(self, entry: Entry, age: float, fresh: bool = False) -> None:
        """Answer from a stored response; *fresh*: one that answers others like this one, too."""
        StoredAnswer(self.exchange, self.storage, self._did, fresh).start(entry, age)

    # -- Source, while nothing is being sent -------------------------------

    def on_writable(self) -> None:
        """Nothing is waiting to be written."""

    def on_downstream_lost(self) -> None:
        if self._sharing is not None:
            self._sharing.lose_client()
        self._forget_missing()
