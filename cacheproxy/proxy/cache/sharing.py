"""Request collapsing for one request: it leads a fill, waits for one, or follows one.

``proxy_cache_lock`` (nginx): if several requests miss, one goes to the origin. As soon as its
response is being stored, it is offered to the others (``fills``). Each of them checks it like a
stored response (RFC 9111 §4) and follows it, looks up its own variant, or goes to the origin.

``proxy_cache_lock_timeout`` and ``proxy_cache_lock_age`` run until the head of the response has
arrived. In nginx they run until the response is complete.

Imports: ``policy``, ``proxy.cache.fills``, ``proxy.cache.following``, ``proxy.site.cache_key``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from cacheproxy.policy.cache_control import request_directives
from cacheproxy.policy.key import selecting, variant_digest
from cacheproxy.policy.reuse import Action, Reason, decide_reuse
from cacheproxy.proxy.cache.fills import MAX_FOLLOWERS, Growing
from cacheproxy.proxy.cache.following import FollowDecision, decide_following
from cacheproxy.proxy.interfaces import Fill, GrowingResponse
from cacheproxy.proxy.site.conditions import holds
from cacheproxy.proxy.upstream.delivery import is_buffered

if TYPE_CHECKING:
    from cacheproxy.http.messages import RequestHead, ResponseHead
    from cacheproxy.policy.options import CacheOptions
    from cacheproxy.proxy.exchange.exchange import Exchange
    from cacheproxy.proxy.interfaces import Entry, GrowingWriter, Storage

__all__ = ["Sharer", "Sharing"]

#: How often a request that is offered another variant looks up its own.
MAX_MOVES = 2


class Sharer(Protocol):
    """The look-up that takes part in request collapsing."""

    @property
    def exchange(self) -> Exchange: ...

    @property
    def storage(self) -> Storage: ...

    @property
    def options(self) -> CacheOptions: ...

    @property
    def request(self) -> RequestHead: ...

    @property
    def key(self) -> bytes: ...

    @property
    def digest(self) -> bytes:
        """The digest that requests must have in common to share a response."""

    @property
    def background(self) -> bool:
        """Whether this is a background refresh, without a client."""

    @property
    def entry(self) -> Entry | None:
        """The stored response that the origin would validate."""

    @property
    def gone(self) -> bool:
        """Whether the client has disconnected and nothing is left to do."""

    def fetch(self) -> None:
        """Ask the origin, for others as well."""

    def fetch_alone(self) -> None:
        """Ask the origin for this request only: what comes is not stored."""

    def fetch_range(self) -> bool:
        """Ask the origin for the range that the client asks for; False where that may not be."""

    def restart(self) -> None:
        """Repeat the look-up: the response that was waited for or followed has ended."""

    def look_for_variant(self, growing: GrowingResponse, digest: bytes) -> None:
        """Go on as if the head of *growing* were stored, with the variant of *digest*."""

    def follow(self, growing: GrowingResponse, status: bytes) -> None:
        """Answer from the response to another request; *status*: ``$upstream_cache_status``."""


class Sharing:
    """Request collapsing, as one request takes part in it."""

    __slots__ = (
        "_fill",
        "_following",
        "_leave",
        "_moves",
        "_sharer",
        "_wait_until",
        "_waiting_since",
    )

    def __init__(self, sharer: Sharer) -> None:
        self._sharer = sharer
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

    # -- entering ----------------------------------------------------------

    def enter(self) -> None:
        """Follow, wait, or go to the origin, for others or alone."""
        sharer = self._sharer
        options = sharer.options
        fills = sharer.exchange.world.fills(sharer.storage)
        # A refresh has a fill all the same, by which the next one knows of it.
        shares = options.lock and not sharer.background
        if shares and (
            fills.unshared(sharer.digest) or self._cannot_share() or self._validates_alone()
        ):
            sharer.fetch()
            return
        growing = fills.growing(sharer.digest) if shares else None
        if growing is not None:
            self._consider(growing)
            return
        self._fill = fills.lead(sharer.digest, options.lock_age if options.lock else float("inf"))
        if self._fill is None and shares:
            if not self._wait():
                sharer.fetch_alone()
            return
        sharer.fetch()

    def _cannot_share(self) -> bool:
        """Whether the request itself makes it unlikely that its answer is stored."""
        sharer = self._sharer
        fields = sharer.exchange.request.head.fields
        if b"authorization" in fields or b"upgrade" in fields:
            return True
        if b"cache-control" in fields and request_directives(fields).no_store:
            return True
        conditions = sharer.options.no_cache
        return bool(conditions) and holds(conditions, sharer.exchange.request)

    def _validates_alone(self) -> bool:
        """Whether the response it waited for was stored, but every request must validate it.

        Waiting again would send the validations one after the other.
        """
        entry, since = self._sharer.entry, self._waiting_since
        return entry is not None and since is not None and entry.stored.response_time >= since

    # -- waiting -----------------------------------------------------------

    def _wait(self) -> bool:
        sharer = self._sharer
        world = sharer.exchange.world
        now = world.scheduler.monotonic()
        if self._wait_until is None:
            self._wait_until = now + sharer.options.lock_timeout
        # nginx: however often it is woken in vain, it waits for so long in all.
        if self._wait_until <= now:
            return False
        self._leave = world.fills(sharer.storage).wait(
            sharer.digest, self._wait_until - now, self._woken, self._consider
        )
        if self._leave is None:
            return False
        self._waiting_since = world.scheduler.wall()
        return True

    def _woken(self, ended: bool) -> None:
        following, self._following = self._following, None
        self._leave = None
        sharer = self._sharer
        if sharer.gone:
            return
        if ended:
            sharer.restart()
        elif following is not None:
            sharer.follow(*following)
        else:
            # nginx: who has waited too long is answered by the origin, unstored.
            sharer.fetch_alone()

    def _leave_queue(self) -> None:
        self._following = None
        if self._leave is not None:
            self._leave()
            self._leave = None

    # -- following ---------------------------------------------------------

    def _consider(self, growing: GrowingResponse) -> None:
        """A response has begun that may be the answer."""
        sharer = self._sharer
        exchange = sharer.exchange
        verdict = decide_reuse(
            growing.stored,
            sharer.request,
            exchange.world.scheduler.wall(),
            sharer.options,
            key=sharer.key,
            updating=True,
        )
        if verdict.reason is Reason.OTHER_VARIANT:
            self._leave_queue()
            self._seek_variant(growing)
        elif verdict.action not in (Action.FRESH, Action.STALE):
            # Not for this request without validation, for which it is too early.
            self._leave_queue()
            sharer.fetch_alone()
        else:
            self._take(growing, verdict.status)

    def _take(self, growing: GrowingResponse, status: bytes) -> None:
        decision = decide_following(self._sharer.exchange, growing)
        waits = decision in (FollowDecision.ENCODE, FollowDecision.WHOLE)
        if waits and (self._leave is not None or self._wait()):
            self._following = (growing, status) if decision is FollowDecision.ENCODE else None
            return
        self._leave_queue()
        if decision is FollowDecision.WHOLE or growing.followers >= MAX_FOLLOWERS:
            self._sharer.fetch_alone()
        elif decision is not FollowDecision.ASK or not self._sharer.fetch_range():
            self._sharer.follow(growing, status)

    def _seek_variant(self, growing: GrowingResponse) -> None:
        """What grows is another variant: look for the one that this request selects."""
        sharer = self._sharer
        names = [name for name, _ in growing.stored.vary]
        own = variant_digest(sharer.key, selecting(names, sharer.request.fields))
        self._moves += 1
        if own == sharer.digest or self._moves > MAX_MOVES:
            sharer.fetch_alone()
        else:
            sharer.look_for_variant(growing, own)

    # -- leading -----------------------------------------------------------

    def offer(self, writer: GrowingWriter, head: ResponseHead) -> None:
        """What this request leads for has begun, and is being stored."""
        if self._fill is not None:
            length = head.body_length if head.body_length >= 0 else None
            flushed = not is_buffered(self._sharer.exchange, head)
            self._fill.offer(Growing(writer, length, flushed))

    def release_unshared(self, seconds: float) -> None:
        """The answer is for this request alone; others are to have their own for *seconds*."""
        if self._fill is not None:
            sharer = self._sharer
            sharer.exchange.world.fills(sharer.storage).note_unshared(sharer.digest, seconds)
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
