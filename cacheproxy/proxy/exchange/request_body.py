"""The body of a request on its way from the client to an upstream.

With ``proxy_request_buffering on`` it is collected first: in memory up to
``client_body_buffer_size``, then in a temporary file, so that a slow client holds
no upstream connection and a failed attempt can be repeated. With ``off`` the
pieces are passed on as they come and can be sent only once; what arrives before the
upstream is connected, or while it is full, is kept up to ``STREAM_BUFFER``.

Only this module pauses the client because of its body. The client is paused while
``_full`` holds, and every event that can end that calls ``_regulate``: the upstream is
connected, has room again or is gone, the spool has drained, the body is collected
rather than passed on, or it is not wanted any more (``close``).

Imports: ``errors``, ``proxy.interfaces``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from cacheproxy.errors import StorageError
from cacheproxy.proxy.interfaces import BodyReader, Downstream, Spool

__all__ = ["STREAM_BUFFER", "BodyTarget", "RequestBody"]

#: Bytes that may wait in memory for an upstream connection while the body is
#: passed on as it comes; the client is paused beyond it.
STREAM_BUFFER = 64 * 1024

#: Pieces up to this many bytes are joined, so that a client that sends single bytes
#: does not make a list of a million of them.
SMALL_PIECE = 4096


class BodyTarget(Protocol):
    """Where a request body goes: one attempt on an upstream.

    It calls ``RequestBody.on_target_writable`` when ``takes_body`` turns true again,
    and ``detach`` when it takes nothing more.
    """

    @property
    def takes_body(self) -> bool:
        """False while the upstream's transport is full."""

    def on_body_piece(self, data: bytes, complete: bool) -> None: ...

    def on_body_failed(self) -> None: ...


class RequestBody:
    """Collects or passes on one request's body; *length* is -1 when not declared."""

    __slots__ = (
        "_closed",
        "_make_spool",
        "_memory_limit",
        "_paused",
        "_pieces",
        "_reader",
        "_spool",
        "_target",
        "_waiting",
        "_whole",
        "complete",
        "downstream",
        "length",
        "received",
        "replayable",
        "streaming",
    )

    def __init__(
        self,
        downstream: Downstream,
        length: int,
        memory_limit: int,
        make_spool: Callable[[], Spool],
    ) -> None:
        self.downstream = downstream
        self.length = length
        self.received = 0
        self.complete = False
        #: Passed on as it comes; ``collect`` ends that.
        self.streaming = False
        #: Whether every byte that has been taken can be sent again.
        self.replayable = True
        self._memory_limit = memory_limit
        self._make_spool = make_spool
        #: What is in memory, and how many bytes that is.
        self._pieces: list[bytes] = []
        self._waiting = 0
        self._spool: Spool | None = None
        self._reader: BodyReader | None = None
        self._target: BodyTarget | None = None
        self._whole: Callable[[], None] | None = None
        self._paused = False
        self._closed = False

    # -- from the client ---------------------------------------------------

    def feed(self, data: bytes) -> None:
        """A piece arrived."""
        self.received += len(data)
        if self._closed:
            return
        if self._spool is not None:
            self._spool.write(data)
        elif self.streaming:
            self._pass_on(data)
        else:
            self._keep(data)
            if self._waiting > self._memory_limit:
                self._spill()
        if self._full:
            self._pause()

    def end(self) -> None:
        """The body is whole."""
        self.complete = True
        target = self._target
        if self._spool is not None:
            self._spool.end()
        elif self.streaming and target is not None and (target.takes_body or not self._pieces):
            self._flush(target)
        whole, self._whole = self._whole, None
        if whole is not None:
            whole()

    def close(self) -> None:
        """Free what is held; nothing is delivered any more, and what still comes is dropped."""
        self._closed = True
        self._target = self._whole = None
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        if self._spool is not None:
            self._spool.close()
            self._spool = None
        self._forget()
        self._regulate()

    # -- to the upstream ---------------------------------------------------

    def when_whole(self, call: Callable[[], None]) -> None:
        """Collect the body and call *call* once it is whole."""
        if self.streaming:
            # An attempt in another location passed it on; nothing of it was sent.
            self.streaming = False
            if self._spool is None and self._waiting > self._memory_limit:
                self._spill()
        if self.complete:
            call()
            return
        self._whole = call
        self._regulate()

    def in_memory(self) -> bytes | None:
        """The whole body, if it has been collected and fits in memory."""
        if not self.complete or self._spool is not None or self.streaming:
            return None
        return self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)

    def send_to(self, target: BodyTarget) -> None:
        """Start to deliver to *target*: from the first byte, or what comes from now on."""
        assert self.replayable, "a part of the body was sent and is gone"
        self._target = target
        if self._spool is not None:
            reader = self._spool.read(self)
            # It may have delivered, and more may have happened, before this.
            if self._target is not target:
                reader.close()
                return
            self._reader = reader
            if not target.takes_body:
                reader.pause()
        elif self.streaming and (self._pieces or self.complete):
            self._flush(target)
        self._regulate()

    def detach(self) -> None:
        """The attempt that took the body is over."""
        self._target = None
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        if not self.replayable:
            # It can be sent to nobody else: the rest is read and dropped.
            self._forget()
        self._regulate()

    def on_target_writable(self) -> None:
        """The upstream's transport has room again."""
        if self._reader is not None:
            self._reader.resume()
        elif self.streaming and self._target is not None and self._pieces:
            self._flush(self._target)
        self._regulate()

    # -- BodySink (reading the spool) --------------------------------------

    def on_body(self, data: bytes) -> None:
        target = self._target
        if target is None:
            return
        target.on_body_piece(data, False)
        if not target.takes_body and self._reader is not None:
            self._reader.pause()

    def on_body_end(self) -> None:
        self._reader = None
        if self._target is not None:
            self._target.on_body_piece(b"", True)

    def on_body_error(self, error: StorageError) -> None:
        self._reader = None
        if self._target is not None:
            self._target.on_body_failed()

    # -- the client's pace -------------------------------------------------

    @property
    def _full(self) -> bool:
        """Whether nothing more ought to come for now."""
        if self._spool is not None:
            return self._spool.congested
        if not self.streaming:
            return False
        target = self._target
        return self._waiting > STREAM_BUFFER or (target is not None and not target.takes_body)

    def _pause(self) -> None:
        if not self._paused:
            self._paused = True
            self.downstream.pause_request()

    def _regulate(self) -> None:
        """Pause the client while ``_full`` holds, and let it go on otherwise."""
        if self._full:
            self._pause()
        elif self._paused:
            self._paused = False
            self.downstream.resume_request()

    # -- private -----------------------------------------------------------

    def _keep(self, data: bytes) -> None:
        pieces = self._pieces
        self._waiting += len(data)
        if pieces and len(pieces[-1]) + len(data) <= SMALL_PIECE:
            pieces[-1] += data
        else:
            pieces.append(data)

    def _forget(self) -> None:
        self._pieces = []
        self._waiting = 0

    def _spill(self) -> None:
        spool = self._spool = self._make_spool()
        spool.on_drain(self._regulate)
        pieces = self._pieces
        self._forget()
        for piece in pieces:
            spool.write(piece)
        if self.complete:
            spool.end()

    def _pass_on(self, data: bytes) -> None:
        target = self._target
        if target is None and not self.replayable:
            return  # the attempt that had a part of it is over
        if target is not None and target.takes_body and not self._pieces:
            self.replayable = False
            target.on_body_piece(data, False)
        else:
            self._keep(data)

    def _flush(self, target: BodyTarget) -> None:
        data = b"".join(self._pieces)
        self._forget()
        if data:
            self.replayable = False
        target.on_body_piece(data, self.complete)
