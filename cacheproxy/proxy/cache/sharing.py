"""One request's part in collapsing: it leads a fill, waits for one, or follows one.

``proxy_cache_lock`` (nginx): of the requests that miss, one goes to the origin. Its
response, once it has begun and is being stored, is offered to the others (``collapse``).
Each judges it as it would a stored response (RFC 9111 §4) and follows it, or goes its own
way: to its own variant, or to the origin.

``proxy_cache_lock_timeout`` and ``proxy_cache_lock_age`` count until a response has begun.
In nginx they count until it is whole.

Imports: ``policy``, ``proxy.cache.fills``, ``proxy.cache.following``, ``proxy.site.cache_key``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cacheproxy.policy.cache_control import request_directives
from cacheproxy.policy.key import selecting, variant_digest
from cacheproxy.policy.reuse import Action, Reason, decide_reuse
from cacheproxy.proxy.cache.fills import MAX_FOLLOWERS, Growing
from cacheproxy.proxy.cache.following import Way, way_to_answer
from cacheproxy.proxy.interfaces import Fill, GrowingResponse
from cacheproxy.proxy.site.cache_key import holds
from cacheproxy.proxy.upstream.delivery import is_buffered

if TYPE_CHECKING:
    from cacheproxy.http.messages import ResponseHead
    from cacheproxy.proxy.cache.lookup import CacheTurn
    from cacheproxy.proxy.interfaces import GrowingWriter

__all__ = ["Sharing"]

#: How often a request that is offered another variant looks for its own.
MAX_MOVES = 2


class Sharing:
    """What one ``CacheTurn`` has to do with the others that want the same."""

    __slots__ = (
        "_fill",
        "_following",
        "_leave",
        "_moves",
        "_turn",
        "_wait_until",
        "_waiting_since",
    )

    def __init__(self, turn: CacheTurn) -> None:
        self._turn = turn
        self._fill: Fill | None = None
        self._leave: Callable[[], None] | None = None
        #: What is followed, and as which status, when the time to wait for its end is over.
        self._following: tuple[GrowingResponse, bytes] | None = None
        self._moves = 0
        #: Wall seconds; None where it has not waited.
        self._waiting_since: float | None = None
        #: Monotonic seconds; None likewise.
        self._wait_until: float | None = None

    @property
    def waited(self) -> bool:
        """Whether the request has waited for another's response."""
        return self._waiting_since is not None

    # -- the way in --------------------------------------------------------

    def enter(self) -> None:
        """Follow, wait, or go to the origin, for others or alone."""
        turn = self._turn
        options = turn.options
        fills = turn.exchange.world.fills(turn.storage)
        # A refresh has a fill all the same, by which the next one knows of it.
        shares = options.lock and not turn.background
        if shares and (
            fills.unshared(turn.digest) or self._cannot_share() or self._validates_alone()
        ):
            turn.fetch()
            return
        growing = fills.growing(turn.digest) if shares else None
        if growing is not None:
            self._consider(growing)
            return
        self._fill = fills.lead(turn.digest, options.lock_age if options.lock else float("inf"))
        if self._fill is None and shares:
            if not self._wait():
                turn.fetch_alone()
            return
        turn.fetch()

    def _cannot_share(self) -> bool:
        """Whether the request itself makes it unlikely that its answer is stored."""
        turn = self._turn
        fields = turn.exchange.request.head.fields
        if b"authorization" in fields or b"upgrade" in fields:
            return True
        if b"cache-control" in fields and request_directives(fields).no_store:
            return True
        return bool(turn.options.no_cache) and holds(turn.options.no_cache, turn.exchange.request)

    def _validates_alone(self) -> bool:
        """Whether what was waited for has come, and still needs validation for each request.

        To wait for one another would be to ask one after the other.
        """
        entry, since = self._turn.entry, self._waiting_since
        return entry is not None and since is not None and entry.stored.response_time >= since

    # -- waiting -----------------------------------------------------------

    def _wait(self) -> bool:
        turn = self._turn
        world = turn.exchange.world
        now = world.scheduler.monotonic()
        if self._wait_until is None:
            self._wait_until = now + turn.options.lock_timeout
        # nginx: however often it is woken in vain, it waits for so long in all.
        if self._wait_until <= now:
            return False
        self._leave = world.fills(turn.storage).wait(
            turn.digest, self._wait_until - now, self._woken, self._consider
        )
        if self._leave is None:
            return False
        self._waiting_since = world.scheduler.wall()
        return True

    def _woken(self, ended: bool) -> None:
        following, self._following = self._following, None
        self._leave = None
        turn = self._turn
        if turn.gone:
            return
        if ended:
            turn.look_again()
        elif following is not None:
            turn.follow(*following)
        else:
            # nginx: who has waited too long is answered by the origin, unstored.
            turn.fetch_alone()

    def _leave_queue(self) -> None:
        self._following = None
        if self._leave is not None:
            self._leave()
            self._leave = None

    # -- following ---------------------------------------------------------

    def _consider(self, growing: GrowingResponse) -> None:
        """A response has begun that may be the answer."""
        turn = self._turn
        exchange = turn.exchange
        verdict = decide_reuse(
            growing.stored,
            turn.request,
            exchange.world.scheduler.wall(),
            turn.options,
            key=turn.key,
            updating=True,
        )
        if verdict.reason is Reason.OTHER_VARIANT:
            self._leave_queue()
            self._seek_variant(growing)
        elif verdict.action not in (Action.FRESH, Action.STALE):
            # Not for this request without validation, for which it is too early.
            self._leave_queue()
            turn.fetch_alone()
        else:
            self._take(growing, verdict.status)

    def _take(self, growing: GrowingResponse, status: bytes) -> None:
        way = way_to_answer(self._turn.exchange, growing)
        if way in (Way.ENCODE, Way.WHOLE) and (self._leave is not None or self._wait()):
            self._following = (growing, status) if way is Way.ENCODE else None
            return
        self._leave_queue()
        if way is Way.WHOLE or growing.followers >= MAX_FOLLOWERS:
            self._turn.fetch_alone()
        elif way is not Way.ASK or not self._turn.fetch_range():
            self._turn.follow(growing, status)

    def _seek_variant(self, growing: GrowingResponse) -> None:
        """What grows is another variant: look for the one that this request selects."""
        turn = self._turn
        names = [name for name, _ in growing.stored.vary]
        own = variant_digest(turn.key, selecting(names, turn.request.fields))
        self._moves += 1
        if own == turn.digest or self._moves > MAX_MOVES:
            turn.fetch_alone()
        else:
            turn.look_for_variant(growing, own)

    # -- leading -----------------------------------------------------------

    def offer(self, writer: GrowingWriter, head: ResponseHead) -> None:
        """What this request leads for has begun, and is being stored."""
        if self._fill is not None:
            length = head.body_length if head.body_length >= 0 else None
            flushed = not is_buffered(self._turn.exchange, head)
            self._fill.offer(Growing(writer, length, flushed))

    def set_free(self, seconds: float) -> None:
        """The answer is for this request alone; others are to have their own for *seconds*."""
        if self._fill is not None:
            turn = self._turn
            turn.exchange.world.fills(turn.storage).note_unshared(turn.digest, seconds)
            self.release()

    def release(self) -> None:
        """Whoever waits may look again."""
        fill, self._fill = self._fill, None
        if fill is not None:
            fill.release()

    def lose_client(self) -> None:
        """Wait no more, lead no more."""
        self._leave_queue()
        self.release()
