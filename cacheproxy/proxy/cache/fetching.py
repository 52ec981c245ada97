"""A cache's question to the origin, and what the answer means for what is stored.

A ``Fetch`` rides along a ``Relay`` for a ``CacheTurn`` (``caching``), which has looked
things up: it asks for a validation, for a part or for the whole, and is shown the
response's head. A 304 freshens what is stored (RFC 9111 §4.3.4), a failure may be
covered by a stale response (§4.2.4, ``proxy_cache_use_stale``), anything else is judged
by ``policy.storing`` and, where it may be stored, written while it is sent.

Source: nginx ``ngx_http_upstream_cache``, ``ngx_http_file_cache_update``; RFC 9111 §3, §4.3.
Imports: ``policy``, ``proxy`` below it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cacheproxy.errors import UpstreamError
from cacheproxy.http.fields import Pairs
from cacheproxy.http.messages import ResponseHead
from cacheproxy.policy import cache_status
from cacheproxy.policy.key import matches, variant_digest
from cacheproxy.policy.partial import keyed_by_range
from cacheproxy.policy.purge import ByKey
from cacheproxy.policy.retry import condition_of_error, condition_of_status
from cacheproxy.policy.reuse import may_serve_stale
from cacheproxy.policy.storing import NoStore, NoStoreReason, Store, decide_storing, supersedes
from cacheproxy.policy.validation import (
    freshen,
    same_representation,
    selects,
    validation_fields,
)
from cacheproxy.proxy.answer.other_location import goes_elsewhere
from cacheproxy.proxy.answer.representation import tell
from cacheproxy.proxy.cache.fills import UNSHARED_TIME
from cacheproxy.proxy.cache.head_update import keep_length, update_get
from cacheproxy.proxy.cache.parts import Missing, combined_selection, part_digest
from cacheproxy.proxy.interfaces import Entry
from cacheproxy.proxy.site.cache_key import holds
from cacheproxy.proxy.site.selecting import forwarded
from cacheproxy.proxy.upstream.relay import Relay

if TYPE_CHECKING:
    from cacheproxy.policy.stored import StoredResponse
    from cacheproxy.proxy.cache.lookup import CacheTurn

#: Seconds for which nobody waits for what is a server error now.
_ERROR_UNSHARED_TIME = 1.0

__all__ = ["Fetch"]


class Fetch:
    """What one ``CacheTurn`` asks the origin (``ResponseTaker``)."""

    __slots__ = ("_detail", "_request_time", "turn")

    def __init__(self, turn: CacheTurn) -> None:
        self.turn = turn
        self._request_time = turn.storage.asked_now()
        #: What Cache-Status says of why nothing is stored.
        self._detail = turn.detail

    @property
    def converts_head(self) -> bool:
        return self.turn.options.convert_head

    @property
    def answers_conditions(self) -> bool:
        return True

    @property
    def fills(self) -> bool:
        return self.turn.storing

    def start(self) -> None:
        """Ask, with the fields of a validation or of a range where there is cause."""
        turn = self.turn
        relay = Relay(turn.exchange, self)
        asked = relay.request
        asked.client_head, asked.counts = forwarded(turn.exchange.request), True
        asked.conditional = self._conditional()
        relay.start()

    def _conditional(self) -> Pairs:
        turn = self.turn
        entry, missing = turn.entry, turn.missing
        if entry is not None and (turn.options.revalidate or entry.stored.always_validate):
            return validation_fields(entry.stored)
        if missing is not None and missing.rest.bound:
            return missing.rest.fields()
        if turn.passed_range:
            pairs = turn.exchange.request.head.fields.pairs
            return [pair for pair in pairs if pair[0].lower() in (b"range", b"if-range")]
        return []

    # -- the origin's head -------------------------------------------------

    def on_response(self, relay: Relay, head: ResponseHead) -> bool:
        """The origin's head has come; True if the relay is not to send it on."""
        turn = self.turn
        exchange, entry = turn.exchange, turn.entry
        now = exchange.world.scheduler.wall()
        if entry is not None and self._takes_stored(relay, head, entry, now):
            return True
        missing, turn.missing = turn.missing, None
        if missing is not None:
            combined = missing.combined(relay, head)
            if combined is not None:
                head = combined
            elif self._misses_part(missing, head):
                self._ask_again(relay)
                return True
            else:
                missing = None
        plain = turn.base == turn.primary and not self._detail
        if plain and exchange.request.method == b"HEAD" and not self.converts_head:
            update_get(exchange, turn.storage, head, self._request_time)
        self._consider_storing(relay, head, now)
        if turn.options.status and not turn.background:
            delivery = relay.delivery
            stored = delivery is not None and delivery.writer is not None
            theirs = 206 if missing is not None and head.status != 206 else 0
            did = cache_status.forward_value(turn.why, theirs, stored=stored, detail=self._detail)
            tell(exchange, did, head)
        if entry is not None:
            entry.release()
            turn.entry = None
        if missing is not None:
            missing.answer(relay)
            return True
        return self._answer_from_stream(relay, head)

    def _takes_stored(self, relay: Relay, head: ResponseHead, entry: Entry, now: float) -> bool:
        """Whether what is stored answers after all, or the origin is asked once more for it."""
        if head.status == 304 and relay.request.conditional:
            if selects(entry.stored, head):
                self._revalidated(relay, entry, head, now)
            else:
                # The answer is about something else than what is stored (§4.3.4).
                self.turn.entry = None
                entry.release()
                self._ask_again(relay)
            return True
        condition = condition_of_status(head.status)
        if condition and self._stale_allowed(entry, condition, now):
            relay.discard_response()
            self._answer_stale(entry, condition, head.status)
            return True
        return False

    def _misses_part(self, missing: Missing, head: ResponseHead) -> bool:
        """*head* does not go with the stored part; whether the whole is to be asked for."""
        missing.release()
        if missing.rest.bound and head.status in (200, 206, 404, 410, 416):
            # There is something else now, or nothing.
            self.turn.storage.delete(part_digest(self.turn.key))
        return missing.rest.bound and head.status in (206, 416)

    def _ask_again(self, relay: Relay) -> None:
        relay.discard_response()
        self.turn.fetch()

    def _answer_from_stream(self, relay: Relay, head: ResponseHead) -> bool:
        """A miss: send the response on, judged by the client's own preconditions."""
        turn = self.turn
        exchange = turn.exchange
        delivery = relay.delivery
        assert delivery is not None
        if turn.background or exchange.lost:
            delivery.muted = True
            return True
        if goes_elsewhere(exchange, head):
            return False
        if exchange.request.method == b"HEAD" and self.converts_head:
            delivery.begin(head)
            delivery.muted = True
            exchange.end()
            return True
        return delivery.answer_partially(head)

    # -- storing -----------------------------------------------------------

    def _consider_storing(self, relay: Relay, head: ResponseHead, now: float) -> None:
        turn = self.turn
        exchange, options, storage = turn.exchange, turn.options, turn.storage
        decision = decide_storing(
            turn.request,
            head,
            options,
            exchange.request.location.proxy.ignore_headers,
            self._no_cache(),
            turn.key,
            self._request_time,
            now,
            exchange.request.route.host,
        )
        if not isinstance(decision, Store):
            if decision.reason is NoStoreReason.DECEPTION:
                self._detail = b"deception-" + decision.detail.encode()
            if turn.entry is not None and supersedes(decision, head.status):
                self._drop(turn.entry)
            self._set_free(head.status)
            return
        if not turn.storing:
            turn.release()
            return
        partial = head.status == 206 and not keyed_by_range(options)
        if partial and relay.splice is None and not turn.passed_range:
            return  # nobody asked for a part
        if options.min_uses > 1 and storage.note_use(turn.base) < options.min_uses:
            turn.release()
        elif not storage.fits(head.body_length) or goes_elsewhere(exchange, head):
            self._set_free(head.status)
        else:
            self._store(relay, head, decision.stored, partial)

    def _store(
        self, relay: Relay, head: ResponseHead, stored: StoredResponse, partial: bool
    ) -> None:
        """Have the response written to its place, and offered to those who want the same."""
        turn = self.turn
        exchange, storage = turn.exchange, turn.storage
        if exchange.request.method == b"HEAD" and not self.converts_head:
            keep_length(stored, head)
        fills = exchange.world.fills(storage)
        fills.note_shared(turn.digest)
        if partial:
            fills.parts.note(turn.primary)
            if relay.splice is not None:
                stored.vary = combined_selection(stored.vary)
        target = part_digest(turn.key) if partial else self._place(stored.vary)
        writer = storage.open_writer(target, turn.primary, stored)
        delivery = relay.delivery
        if writer is None or delivery is None:
            turn.release()
        else:
            delivery.store_to(writer)
            if turn.sharing is not None and not partial:
                turn.sharing.offer(writer, head)

    def _no_cache(self) -> bool:
        conditions = self.turn.options.no_cache
        return bool(conditions) and holds(conditions, self.turn.exchange.request)

    def _set_free(self, status: int) -> None:
        """Nobody is to wait for such an answer, now or for a while."""
        if self.turn.sharing is not None:
            # A server error may be over soon.
            self.turn.sharing.set_free(UNSHARED_TIME if status < 500 else _ERROR_UNSHARED_TIME)

    def _drop(self, entry: Entry) -> None:
        """Remove *entry*; with the first variant of a URL go those that are found through it.

        They would come back with the next first one, older than what was seen meanwhile.
        """
        turn = self.turn
        if entry.digest == turn.base and entry.stored.vary:
            turn.storage.purge(ByKey(turn.primary), lambda count: None)
        else:
            turn.storage.delete(entry.digest)

    def _place(self, vary: tuple[tuple[bytes, bytes | None], ...]) -> bytes:
        """Which digest a response with selecting fields *vary* is stored under.

        The first variant of a URL takes the primary one; others, while that one
        stays and selects by the same fields, have their own.
        """
        turn = self.turn
        primary = turn.primary_entry
        if primary is None or not vary or primary.stored.key != turn.key:
            if vary:
                # An older one of the same variant must not be found behind this one.
                turn.storage.delete(variant_digest(turn.key, vary))
            return turn.base
        theirs = primary.stored.vary
        if theirs == vary or [n for n, _ in theirs] != [n for n, _ in vary]:
            return turn.base
        return variant_digest(turn.key, vary)

    # -- validation --------------------------------------------------------

    def _revalidated(self, relay: Relay, entry: Entry, head: ResponseHead, now: float) -> None:
        turn = self.turn
        stored = freshen(
            entry.stored,
            turn.request,
            head,
            turn.options,
            turn.exchange.request.location.proxy.ignore_headers,
            self._request_time,
            now,
            self._no_cache(),
        )
        turn.entry = None
        kept = not isinstance(stored, NoStore)
        if isinstance(stored, NoStore):
            # Not to be kept any more, but good for this one answer (RFC 9111 §4.3.4).
            self._drop(entry)
        else:
            turn.storage.update(entry.digest, stored)
        turn.exchange.record.note_cache_status(b"REVALIDATED")
        did = cache_status.forward_value(turn.why, head.status, stored=kept)

        def answer(found: Entry | None) -> None:
            if found is not None and not self._answers_too(found.stored, entry.stored):
                found.release()
                found = None
            if found is not None:
                entry.release()
            chosen = found or entry
            if turn.background or turn.gone:
                chosen.release()
            else:
                turn.answer(chosen, chosen.stored.age(now), did, fresh=found is not None)

        relay.take_over(lambda: turn.storage.lookup(entry.digest, answer))

    def _answers_too(self, stored: StoredResponse, validated: StoredResponse) -> bool:
        """Whether *stored*, found where *validated* was, is what the 304 was about.

        Another request may have stored something else there, for itself or for its like.
        """
        return (
            stored.key == self.turn.key
            and matches(stored.vary, self.turn.request.fields)
            and same_representation(stored.fields, validated.fields)
        )

    # -- failure -----------------------------------------------------------

    def on_failure(self, relay: Relay, status: int, problem: UpstreamError | None) -> bool:
        """No response could be had; True if a stale one answers."""
        turn = self.turn
        entry, turn.entry = turn.entry, None
        turn.forget_missing()
        turn.release()
        if turn.background:
            if entry is not None:
                entry.release()
            return True
        if entry is None or turn.exchange.lost:
            return False
        condition = "error" if problem is None else condition_of_error(problem)
        if self._stale_allowed(entry, condition, turn.exchange.world.scheduler.wall()):
            self._answer_stale(entry, condition)
            return True
        entry.release()
        return False

    def _stale_allowed(self, entry: Entry, condition: str, now: float) -> bool:
        turn = self.turn
        return may_serve_stale(entry.stored, condition, now, turn.options, turn.request)

    def _answer_stale(self, entry: Entry, condition: str, status: int = 0) -> None:
        turn = self.turn
        turn.release()
        if turn.background:
            entry.release()
            return
        did = cache_status.forward_value(turn.why, status, detail=condition.encode())
        turn.exchange.record.note_cache_status(b"STALE")
        turn.answer(entry, entry.stored.age(turn.exchange.world.scheduler.wall()), did)

    def on_fill_end(self, complete: bool) -> None:
        """The relay has ended: whoever waited may look again."""
        self.turn.drop_entry()
        self.turn.release()
