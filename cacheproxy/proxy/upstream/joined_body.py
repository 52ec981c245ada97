"""A response put together from a stored part and what the origin sends beside it (§3.4).

A ``JoinedBody`` stands between a relay and its delivery: it feeds the stored bytes that come
first, then the origin's, then the stored bytes that come last. The delivery sees one
response, stores it, and sends of it what the client asked for. The origin is held up
while bytes that come before its own are read, so that no more than what it had already
sent is kept in memory.

Source: RFC 9111 §3.4, RFC 9110 §15.3.7.3.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Protocol

from cacheproxy.errors import StorageError
from cacheproxy.http.fields import Fields
from cacheproxy.policy.combining import Union
from cacheproxy.proxy.interfaces import BodyReader, Entry, UpstreamStream

if TYPE_CHECKING:
    from cacheproxy.proxy.upstream.delivery import Delivery

__all__ = ["JoinedBody", "JoinedBodyOwner"]


class JoinedBodyOwner(Protocol):
    """The relay that the origin's response came over."""

    def end_response(self, trailers: Fields | None) -> None:
        """The joined body has come to its end."""

    def break_off(self, message: str) -> None:
        """It cannot be brought to its end, for the reason that is to be logged."""


class _State(Enum):
    BEFORE = "before"
    ORIGIN = "origin"
    AFTER = "after"
    DONE = "done"


class JoinedBody:
    """Feeds one delivery in order (``BodySink`` of the part; what the delivery pauses).

    *entry* is the stored part, held from here on; *stream* brings the origin's bytes.
    """

    __slots__ = (
        "_delivery",
        "_ended",
        "_entry",
        "_kept",
        "_owner",
        "_paused",
        "_reader",
        "_received",
        "_state",
        "_stream",
        "_union",
    )

    def __init__(
        self,
        owner: JoinedBodyOwner,
        delivery: Delivery,
        entry: Entry,
        union: Union,
        stream: UpstreamStream,
    ) -> None:
        self._owner = owner
        self._delivery = delivery
        self._entry: Entry | None = entry
        self._union = union
        self._stream: UpstreamStream | None = stream
        self._state = _State.BEFORE
        #: What the origin had sent before it was held up.
        self._kept: list[bytes] = []
        self._received = 0
        #: The origin has sent everything.
        self._ended = False
        self._paused = False
        self._reader: BodyReader | None = None

    def __repr__(self) -> str:
        return f"<JoinedBody {self._state.value}>"

    def start(self) -> None:
        """The delivery has begun, and is stored to where it is to be stored."""
        if self._union.before[1]:
            if self._stream is not None:
                self._stream.pause()
            self._read(_State.BEFORE, self._union.before)
        else:
            self._state = _State.ORIGIN

    # -- the relay's side --------------------------------------------------

    def take(self, data: bytes) -> None:
        """A piece from the origin."""
        if self._state is _State.BEFORE:
            self._kept.append(data)
        elif self._state is _State.ORIGIN:
            self._received += len(data)
            if self._received > self._union.length:
                self._fail("upstream sent more than its Content-Range says")
            else:
                self._delivery.feed(data)

    def take_end(self) -> None:
        """The origin has sent everything, and is not to be touched any more."""
        self._ended = True
        self._stream = None
        if self._state is _State.ORIGIN:
            self._go_after()

    def close(self) -> None:
        """Stop, and let go of the part."""
        self._state = _State.DONE
        self._stream = None
        self._kept.clear()
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()
        entry, self._entry = self._entry, None
        if entry is not None:
            entry.release()

    # -- the delivery's side -----------------------------------------------

    def pause(self) -> None:
        """The delivery cannot take more."""
        self._paused = True
        if self._reader is not None:
            self._reader.pause()
        elif self._state is _State.ORIGIN and self._stream is not None:
            self._stream.pause()

    def resume(self) -> None:
        """It can again."""
        self._paused = False
        if self._reader is not None:
            self._reader.resume()
        elif self._state is _State.ORIGIN and self._stream is not None:
            self._stream.resume()

    # -- BodySink: the part ------------------------------------------------

    def on_body(self, data: bytes) -> None:
        self._delivery.feed(data)

    def on_body_end(self) -> None:
        self._reader = None
        if self._state is _State.BEFORE:
            self._go_on_with_origin()
        elif self._state is _State.AFTER:
            self._finish()

    def on_body_error(self, error: StorageError) -> None:
        self._fail(f"reading a stored part failed: {error}")

    # -- steps -------------------------------------------------------------

    def _read(self, state: _State, span: tuple[int, int]) -> None:
        self._state = state
        entry = self._entry
        assert entry is not None
        reader = entry.read(self, *span)
        # What is in memory has been delivered, and more may have happened, before this.
        if self._state is state and self._entry is not None:
            self._reader = reader
            if self._paused:
                reader.pause()
        else:
            reader.close()

    def _go_on_with_origin(self) -> None:
        self._state = _State.ORIGIN
        kept, self._kept = self._kept, []
        for data in kept:
            self.take(data)
        if self._state is not _State.ORIGIN:
            return
        if self._ended:
            self._go_after()
        elif self._stream is not None and not self._paused:
            self._stream.resume()

    def _go_after(self) -> None:
        if self._received != self._union.length:
            self._fail("upstream sent less than its Content-Range says")
        elif self._union.after[1]:
            self._read(_State.AFTER, self._union.after)
        else:
            self._finish()

    def _finish(self) -> None:
        self.close()
        self._owner.end_response(None)

    def _fail(self, message: str) -> None:
        self.close()
        self._owner.break_off(message)
