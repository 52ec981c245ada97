"""Fetch a response from the origin for the cache: validate, store, or serve stale.

A ``Fetch`` carries out a ``Question`` by a ``Relay``: it sends a conditional request, a range
request or a plain one, and receives the response's head. A 304 freshens the stored response
(RFC 9111 §4.3.4); on an error a stale response may be served (§4.2.4,
``proxy_cache_use_stale``); any other response is judged by ``policy.storing`` and, if it may be
stored, written while it is sent. A fetch continues without its client if others wait for it.

Source: nginx ``ngx_http_upstream_cache``, ``ngx_http_file_cache_update``; RFC 9111 §3, §4.3.
Imports: ``policy``, ``proxy`` below it.
"""

from __future__ import annotations

from cacheproxy.errors import UpstreamError
from cacheproxy.http.fields import Pairs
from cacheproxy.http.messages import ResponseHead
from cacheproxy.policy import cache_status
from cacheproxy.policy.key import matches, variant_digest
from cacheproxy.policy.partial import keyed_by_range
from cacheproxy.policy.purge import ByKey
from cacheproxy.policy.retry import condition_of_error, condition_of_status
from cacheproxy.policy.reuse import may_serve_stale
from cacheproxy.policy.stored import StoredResponse
from cacheproxy.policy.storing import NoStore, NoStoreReason, Store, decide_storing, supersedes
from cacheproxy.policy.validation import (
    freshen,
    same_representation,
    selects,
    validation_fields,
)
from cacheproxy.proxy.answer.other_location import is_answered_elsewhere
from cacheproxy.proxy.answer.representation import add_cache_status
from cacheproxy.proxy.cache.fills import UNSHARED_TIME
from cacheproxy.proxy.cache.head_update import keep_length, update_get
from cacheproxy.proxy.cache.parts import MissingRange, combined_selection, part_digest
from cacheproxy.proxy.cache.question import Asker, Question
from cacheproxy.proxy.interfaces import Entry
from cacheproxy.proxy.site.conditions import holds
from cacheproxy.proxy.site.selecting import forwarded
from cacheproxy.proxy.upstream.relay import Relay
from cacheproxy.proxy.upstream.response_taker import FailureVerdict, RelayedResponse, Verdict

#: Seconds for which requests do not wait for a response that was a server error.
_ERROR_UNSHARED_TIME = 1.0

__all__ = ["Fetch"]


class Fetch:
    """One *question* to the origin, for *asker* (``ResponseTaker``)."""

    __slots__ = (
        "_asker",
        "_conditional",
        "_detail",
        "_missing",
        "_request_time",
        "_validated",
        "question",
    )

    def __init__(self, question: Question, asker: Asker) -> None:
        self.question = question
        self._asker = asker
        #: The stored responses of the question, until they are used or released.
        self._validated = question.validated
        self._missing = question.missing
        #: The fields that ask for a validation or for a part.
        self._conditional = _conditional_fields(question)
        self._request_time = question.storage.asked_now()
        #: For Cache-Status: why the response is not stored.
        self._detail = question.detail

    @property
    def converts_head(self) -> bool:
        return self.question.options.convert_head

    @property
    def answers_conditions(self) -> bool:
        return True

    @property
    def fills(self) -> bool:
        return self.question.storing

    def start(self) -> None:
        """Send the request, with the fields of a validation or of a range if there are any."""
        exchange = self.question.exchange
        relay = Relay(exchange, self)
        asked = relay.request
        asked.client_head, asked.selected = forwarded(exchange.request), True
        asked.conditional = self._conditional
        relay.start()

    # -- the origin's head -------------------------------------------------

    def on_response(self, relayed: RelayedResponse, head: ResponseHead) -> Verdict:
        """The origin's head has come."""
        question, entry = self.question, self._validated
        exchange = question.exchange
        now = exchange.world.scheduler.wall()
        if entry is not None:
            verdict = self._answer_from_storage(relayed, head, entry, now)
            if verdict is not None:
                return verdict
        missing, self._missing = self._missing, None
        if missing is not None:
            combined = missing.combined(relayed, head)
            if combined is not None:
                head = combined
            elif self._misses_part(missing, head):
                return self._ask_again(relayed)
            else:
                missing = None
        plain = question.first_variant_digest == question.primary and not self._detail
        if plain and exchange.request.method == b"HEAD" and not self.converts_head:
            update_get(exchange, question.storage, head, self._request_time)
        self._consider_storing(relayed, head, now)
        self._release_stored()
        if question.options.status and not question.background:
            self._say_cache_status(relayed, head, missing is not None and head.status != 206)
        if missing is not None:
            missing.answer(relayed)
            return Verdict.BEGUN
        return self._answer_from_stream(relayed, head)

    def _say_cache_status(self, relayed: RelayedResponse, head: ResponseHead, part: bool) -> None:
        """Add the fetch to Cache-Status; *part*: the origin sent a part, which was combined."""
        question, delivery = self.question, relayed.delivery
        stored = delivery is not None and delivery.writer is not None
        value = cache_status.forward_value(
            question.forward_reason, 206 if part else 0, stored=stored, detail=self._detail
        )
        add_cache_status(question.exchange, value, head)

    def _answer_from_storage(
        self, relayed: RelayedResponse, head: ResponseHead, entry: Entry, now: float
    ) -> Verdict | None:
        """Answer from the stored response, or fetch again without it; None if neither applies."""
        if head.status == 304 and self._conditional:
            if selects(entry.stored, head):
                self._revalidated(relayed, entry, head, now)
                return Verdict.REPLACED
            # The 304 does not select the stored response (§4.3.4).
            return self._ask_again(relayed)
        condition = condition_of_status(head.status)
        if condition and self._stale_allowed(entry, condition, now):
            relayed.discard_response()
            self._validated = None
            self._answer_stale(entry, condition, head.status)
            return Verdict.DISCARDED
        return None

    def _misses_part(self, missing: MissingRange, head: ResponseHead) -> bool:
        """*head* cannot be combined with the stored part; return whether to fetch the whole."""
        missing.release()
        if missing.rest.bound and head.status in (200, 206, 404, 410, 416):
            # The resource has changed or is gone.
            self.question.storage.delete(part_digest(self.question.key))
        return missing.rest.bound and head.status in (206, 416)

    def _ask_again(self, relayed: RelayedResponse) -> Verdict:
        """Fetch the whole: the response matches nothing that is stored."""
        relayed.discard_response()
        self._release_stored()
        Fetch(self.question.for_the_whole(), self._asker).start()
        return Verdict.DISCARDED

    def _release_stored(self) -> None:
        """Release the stored response and the stored part."""
        entry, self._validated = self._validated, None
        if entry is not None:
            entry.release()
        missing, self._missing = self._missing, None
        if missing is not None:
            missing.release()

    def _answer_from_stream(self, relayed: RelayedResponse, head: ResponseHead) -> Verdict:
        """A miss: send the response on, judged by the client's own preconditions."""
        question = self.question
        exchange = question.exchange
        delivery = relayed.delivery
        assert delivery is not None
        if not question.has_client:
            delivery.client_done = True
            return Verdict.BEGUN
        if is_answered_elsewhere(exchange, head):
            return Verdict.PASS_ON
        if exchange.request.method == b"HEAD" and self.converts_head:
            if not delivery.answer_partially(head):
                delivery.begin(head)
                delivery.client_done = True
                exchange.end()
            return Verdict.BEGUN
        return Verdict.BEGUN if delivery.answer_partially(head) else Verdict.PASS_ON

    # -- storing -----------------------------------------------------------

    def _consider_storing(
        self, relayed: RelayedResponse, head: ResponseHead, now: float
    ) -> None:
        question = self.question
        exchange, options, storage = question.exchange, question.options, question.storage
        decision = decide_storing(
            question.request,
            head,
            options,
            exchange.request.location.proxy.ignore_headers,
            self._no_cache(),
            question.key,
            self._request_time,
            now,
            exchange.request.route.host,
        )
        if not isinstance(decision, Store):
            if decision.reason is NoStoreReason.DECEPTION:
                self._detail = b"deception-" + decision.detail.encode()
            if self._validated is not None and supersedes(decision, head.status):
                self._drop(self._validated)
            self._release_unshared(head.status)
            return
        if not question.storing:
            self._asker.release()
            return
        partial = head.status == 206 and not keyed_by_range(options)
        if partial and not relayed.is_joined and not question.passed_range:
            return  # nobody asked for a part
        uses = options.min_uses
        if uses > 1 and storage.note_use(question.first_variant_digest) < uses:
            self._asker.release()
        elif not storage.fits(head.body_length) or is_answered_elsewhere(exchange, head):
            self._release_unshared(head.status)
        else:
            self._store(relayed, head, decision.stored, partial)

    def _store(
        self, relayed: RelayedResponse, head: ResponseHead, stored: StoredResponse, partial: bool
    ) -> None:
        """Write the response to storage, and offer it to the requests that wait for it."""
        question = self.question
        exchange, storage = question.exchange, question.storage
        if exchange.request.method == b"HEAD" and not self.converts_head:
            keep_length(stored, head)
        fills = exchange.world.fills(storage)
        fills.note_shared(question.digest)
        if partial:
            fills.parts.note(question.primary)
            if relayed.is_joined:
                stored.vary = combined_selection(stored.vary)
        target = part_digest(question.key) if partial else self._place(stored.vary)
        writer = storage.open_writer(target, question.primary, stored)
        delivery = relayed.delivery
        if writer is None or delivery is None:
            self._asker.release()
        else:
            delivery.store_to(writer)
            if not partial:
                self._asker.offer(writer, head)

    def _no_cache(self) -> bool:
        conditions = self.question.options.no_cache
        return bool(conditions) and holds(conditions, self.question.exchange.request)

    def _release_unshared(self, status: int) -> None:
        """Let waiting requests go to the origin, and for a while let no request wait."""
        # A server error may be over soon.
        self._asker.release_unshared(UNSHARED_TIME if status < 500 else _ERROR_UNSHARED_TIME)

    def _drop(self, entry: Entry) -> None:
        """Remove *entry*; removing the first variant of a URL removes the other variants too.

        They are found through the first one; the next first variant would bring back old ones.
        """
        question = self.question
        if entry.digest == question.first_variant_digest and entry.stored.vary:
            question.storage.purge(ByKey(question.primary), lambda count: None)
        else:
            question.storage.delete(entry.digest)

    def _place(self, vary: tuple[tuple[bytes, bytes | None], ...]) -> bytes:
        """The digest under which a response with selecting fields *vary* is stored.

        The first variant of a key is stored under the digest of the key. Other variants have
        digests of their own while the first one is stored and varies by the same fields.
        """
        question = self.question
        first = question.first_variant
        if first is None or not vary or first.key != question.key:
            if vary:
                # An older one of the same variant must not be found behind this one.
                question.storage.delete(variant_digest(question.key, vary))
            return question.first_variant_digest
        theirs = first.vary
        if theirs == vary or [n for n, _ in theirs] != [n for n, _ in vary]:
            return question.first_variant_digest
        return variant_digest(question.key, vary)

    # -- validation --------------------------------------------------------

    def _revalidated(
        self, relayed: RelayedResponse, entry: Entry, head: ResponseHead, now: float
    ) -> None:
        question = self.question
        stored = freshen(
            entry.stored,
            question.request,
            head,
            question.options,
            question.exchange.request.location.proxy.ignore_headers,
            self._request_time,
            now,
            self._no_cache(),
        )
        self._validated = None
        kept = not isinstance(stored, NoStore)
        if isinstance(stored, NoStore):
            # It must be removed, but may answer this one request (RFC 9111 §4.3.4).
            self._drop(entry)
        else:
            question.storage.update(entry.digest, stored)
        question.exchange.record.note_cache_status(b"REVALIDATED")
        value = cache_status.forward_value(question.forward_reason, head.status, stored=kept)

        def answer(found: Entry | None) -> None:
            if found is not None and not self._answers_too(found.stored, entry.stored):
                found.release()
                found = None
            if found is not None:
                entry.release()
            chosen = found or entry
            if question.has_client:
                age = chosen.stored.age(now)
                self._asker.answer(chosen, age, value, fresh=found is not None)
            else:
                chosen.release()

        relayed.answer_at_end(lambda: question.storage.lookup(entry.digest, answer))

    def _answers_too(self, stored: StoredResponse, validated: StoredResponse) -> bool:
        """Whether *stored*, now found in the place of *validated*, was validated by the 304.

        Another request may have stored a different response there in the meantime.
        """
        return (
            stored.key == self.question.key
            and matches(stored.vary, self.question.request.fields)
            and same_representation(stored.fields, validated.fields)
        )

    # -- failure -----------------------------------------------------------

    def on_failure(self, problem: UpstreamError | None) -> FailureVerdict:
        """The origin sent no response: answer with a stale one if allowed."""
        question = self.question
        entry = self._validated
        if entry is not None and question.has_client:
            condition = "error" if problem is None else condition_of_error(problem)
            if self._stale_allowed(entry, condition, question.exchange.world.scheduler.wall()):
                self._validated = None
                self._answer_stale(entry, condition)
                return FailureVerdict.REPLACED
        self._release_stored()
        self._asker.release()
        return FailureVerdict.REPLACED if question.background else FailureVerdict.ERROR

    def _stale_allowed(self, entry: Entry, condition: str, now: float) -> bool:
        question = self.question
        return may_serve_stale(entry.stored, condition, now, question.options, question.request)

    def _answer_stale(self, entry: Entry, condition: str, status: int = 0) -> None:
        question = self.question
        self._asker.release()
        if not question.has_client:
            entry.release()
            return
        value = cache_status.forward_value(
            question.forward_reason, status, detail=condition.encode()
        )
        question.exchange.record.note_cache_status(b"STALE")
        age = entry.stored.age(question.exchange.world.scheduler.wall())
        self._asker.answer(entry, age, value)

    def on_fill_end(self, complete: bool) -> None:
        """The relay has ended: waiting requests repeat their look-up."""
        self._release_stored()
        self._asker.release()


def _conditional_fields(question: Question) -> Pairs:
    """The fields by which *question* asks for a validation, or for a part."""
    entry, missing = question.validated, question.missing
    if entry is not None and (question.options.revalidate or entry.stored.always_validate):
        return validation_fields(entry.stored)
    if missing is not None and missing.rest.bound:
        return missing.rest.fields()
    if question.passed_range:
        pairs = question.exchange.request.head.fields.pairs
        return [pair for pair in pairs if pair[0].lower() in (b"range", b"if-range")]
    return []
