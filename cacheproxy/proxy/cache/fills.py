"""Request collapsing: while one request fills an entry, others of the same key wait.

``proxy_cache_lock``: the first request becomes the leader; the others queue until its
response begins and turns out to be storable, and are offered it while it grows
(``Growing``); or until it has failed or is found not storable. A waiter gives up after
``proxy_cache_lock_timeout`` and goes to the origin by itself, its response not stored;
after ``proxy_cache_lock_age`` without a response one more request may go.

Unlike nginx, a response that cannot be shared is remembered for a while ("hit-for-miss"):
the requests that waited for it, and the next ones, go to the origin without waiting.

Imports: ``proxy.interfaces``.
"""

from __future__ import annotations

from collections.abc import Callable

from cacheproxy.policy.stored import StoredResponse
from cacheproxy.proxy.interfaces import (
    Cancellable,
    GrowingResponse,
    GrowingWriter,
    Scheduler,
)

__all__ = [
    "MAX_FOLLOWERS",
    "MAX_KNOWN_PARTS",
    "MAX_UNSHARED",
    "MAX_WAITERS",
    "UNSHARED_TIME",
    "Fill",
    "Fills",
    "Growing",
    "KnownParts",
    "Waiter",
]

#: Keys remembered as having a stored part; beyond that number all are forgotten.
MAX_KNOWN_PARTS = 4096

#: Requests that may wait for one fill; more go to the origin by themselves.
MAX_WAITERS = 1000

#: Requests that may be answered from one response while it grows; more go by themselves.
MAX_FOLLOWERS = 1000

#: Keys whose last answer could not be shared; the one noted longest ago is forgotten first.
MAX_UNSHARED = 16384

#: Seconds for which that is remembered.
UNSHARED_TIME = 120.0


class Growing:
    """A response that is being stored by *writer*, which has its head and its body.

    *length* is that of the whole body, None where it is not known yet. *flushed* says that
    each piece is to reach clients at once (``proxy_buffering off``).
    """

    __slots__ = ("flushed", "followers", "length", "writer")

    def __init__(self, writer: GrowingWriter, length: int | None, flushed: bool) -> None:
        self.writer = writer
        self.length = length
        self.flushed = flushed
        #: How many requests are being answered from it.
        self.followers = 0

    @property
    def stored(self) -> StoredResponse:
        """The head; a soft purge may have made it stale by now."""
        return self.writer.stored


class Waiter:
    """One request in a queue.

    *woken* hears True after the fill's end, False on time-out; *offered* hears of a
    response that has begun, and leaves the queue if that will do.
    """

    __slots__ = ("_timer", "offered", "woken")

    def __init__(
        self, woken: Callable[[bool], None], offered: Callable[[GrowingResponse], None]
    ) -> None:
        self.woken = woken
        self.offered = offered
        self._timer: Cancellable | None = None

    def start(self, scheduler: Scheduler, seconds: float, expired: Callable[[], None]) -> None:
        self._timer = scheduler.call_later(seconds, expired)

    def stop(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None


class Fill:
    """The leader's hold on one key; ``offer`` and ``release`` wake those who wait."""

    __slots__ = ("_digest", "_fills", "_offered", "growing", "started", "waiters")

    def __init__(self, fills: Fills, digest: bytes, started: float) -> None:
        self._fills = fills
        self._digest = digest
        self.started = started
        self.waiters: dict[Waiter, None] = {}
        #: What can be followed; of an older leader, where that one was first.
        self.growing: GrowingResponse | None = None
        self._offered: GrowingResponse | None = None

    def offer(self, growing: GrowingResponse) -> None:
        """The response has begun and is being stored: whoever waits may follow it."""
        # A younger leader may have the queue.
        fill = self._fills.current(self._digest) or self
        self._offered = fill.growing = growing

        def aborted() -> None:
            if growing.writer.given_up:
                self._fills.note_unshared(self._digest)
            self.release()

        growing.writer.on_abort(aborted)
        for waiter in list(fill.waiters):
            if waiter in fill.waiters and fill.growing is growing:
                waiter.offered(growing)

    def release(self) -> None:
        """The fill has ended, one way or the other. More than once is allowed."""
        current = self._fills.current(self._digest)
        if current is not None and current.growing is self._offered:
            current.growing = None
        self._fills.end(self._digest, self)
        waiters, self.waiters = self.waiters, {}
        for waiter in waiters:
            waiter.stop()
        for waiter in waiters:
            waiter.woken(True)


class KnownParts:
    """The keys of one zone of which a part was stored a short while ago.

    A request for the whole asks for a part only where it may find one. What is forgotten,
    or was stored before a restart, still answers ranges.
    """

    __slots__ = ("_keys",)

    def __init__(self) -> None:
        self._keys: set[bytes] = set()

    def note(self, primary: bytes) -> None:
        """A part is stored."""
        if len(self._keys) >= MAX_KNOWN_PARTS:
            self._keys.clear()
        self._keys.add(primary)

    def has(self, primary: bytes) -> bool:
        """Whether one may be."""
        return primary in self._keys


class Fills:
    """The fills under way in one zone."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._fills: dict[bytes, Fill] = {}
        self._unshared: dict[bytes, float] = {}
        #: The keys of which a part is stored.
        self.parts = KnownParts()

    def lead(self, digest: bytes, lock_age: float) -> Fill | None:
        """Become the leader for *digest*; None while another one is, and not too old."""
        now = self._scheduler.monotonic()
        current = self._fills.get(digest)
        if current is not None and (
            current.growing is not None or now - current.started < lock_age
        ):
            return None
        fill = Fill(self, digest, now)
        if current is not None:
            fill.waiters, current.waiters = current.waiters, {}
        self._fills[digest] = fill
        return fill

    def filling(self, digest: bytes) -> bool:
        """Whether some request is filling *digest* now."""
        return digest in self._fills

    def current(self, digest: bytes) -> Fill | None:
        """The fill of *digest* that has the queue."""
        return self._fills.get(digest)

    def growing(self, digest: bytes) -> GrowingResponse | None:
        """The response that is being stored for *digest* now, if it has begun."""
        fill = self._fills.get(digest)
        return None if fill is None else fill.growing

    def note_unshared(self, digest: bytes, seconds: float = UNSHARED_TIME) -> None:
        """The answer for *digest* is for one client only, and the next ones will be."""
        unshared = self._unshared
        unshared.pop(digest, None)
        if len(unshared) >= MAX_UNSHARED:
            del unshared[next(iter(unshared))]
        unshared[digest] = self._scheduler.monotonic() + seconds

    def note_shared(self, digest: bytes) -> None:
        """The answer for *digest* is stored."""
        if self._unshared:
            self._unshared.pop(digest, None)

    def unshared(self, digest: bytes) -> bool:
        """Whether the response for *digest* is known not to be shareable."""
        until = self._unshared.get(digest)
        if until is None:
            return False
        if self._scheduler.monotonic() < until:
            return True
        del self._unshared[digest]
        return False

    def wait(
        self,
        digest: bytes,
        timeout: float,
        woken: Callable[[bool], None],
        offered: Callable[[GrowingResponse], None],
    ) -> Callable[[], None] | None:
        """Queue for *digest*; returns what leaves the queue, None if the queue is full."""
        fill = self._fills[digest]
        if len(fill.waiters) >= MAX_WAITERS:
            return None
        waiter = Waiter(woken, offered)
        fill.waiters[waiter] = None

        def leave() -> None:
            waiter.stop()
            current = self._fills.get(digest)
            if current is not None:
                current.waiters.pop(waiter, None)

        def expired() -> None:
            leave()
            woken(False)

        waiter.start(self._scheduler, timeout, expired)
        return leave

    def end(self, digest: bytes, fill: Fill) -> None:
        """Forget *fill* if it is still the one of *digest*."""
        if self._fills.get(digest) is fill:
            del self._fills[digest]
