"""The body of a request on its way from the client to an upstream.

With ``proxy_request_buffering on`` it is collected first: in memory up to
``client_body_buffer_size``, then in a temporary file, so that a slow client holds
no upstream connection and a failed attempt can be repeated. With ``off`` the
pieces pass as they come, each edge pausing the other, and can be sent only once.

Imports: ``errors``, ``proxy.interfaces``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from cacheproxy.errors import StorageError
from cacheproxy.proxy.interfaces import BodyReader, Downstream, Spool

__all__ = ["BodyTarget", "RequestBody"]

#: Octets that may wait in memory for an upstream connection while the body is
#: passed on as it comes; the client is paused beyond it.
STREAM_BUFFER = 64 * 1024


class BodyTarget(Protocol):
    """Where a request body goes: one attempt on an upstream."""

    @property
    def takes_body(self) -> bool:
        """False while the upstream's transport is full."""

    def on_body_piece(self, data: bytes, complete: bool) -> None: ...

    def on_body_failed(self) -> None: ...


class RequestBody:
    """Collects or passes on one request's body; *length* is -1 when not declared."""

    __slots__ = (
        "_make_spool",
        "_memory_limit",
        "_pieces",
        "_reader",
        "_spool",
        "_target",
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
        self.streaming = False
        #: Whether every octet that has been taken can be sent again.
        self.replayable = True
        self._memory_limit = memory_limit
        self._make_spool = make_spool
        self._pieces: list[bytes] = []
        self._spool: Spool | None = None
        self._reader: BodyReader | None = None
        self._target: BodyTarget | None = None
        self._whole: Callable[[], None] | None = None

    # -- from the client ---------------------------------------------------

    def feed(self, data: bytes) -> None:
        """A piece arrived."""
        self.received += len(data)
        if self.streaming:
            self._pass_on(data)
        elif self._spool is not None:
            self._spool.write(data)
            if self._spool.congested:
                self.downstream.pause_request()
        else:
            self._pieces.append(data)
            if self.received > self._memory_limit:
                self._spill()

    def end(self) -> None:
        """The body is whole."""
        self.complete = True
        if self._spool is not None:
            self._spool.end()
        if self.streaming:
            target = self._target
            if target is not None and (target.takes_body or not self._pieces):
                self._flush(target)
        whole, self._whole = self._whole, None
        if whole is not None:
            whole()

    def close(self) -> None:
        """Free what is held; nothing is delivered any more."""
        self._target = self._whole = None
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        if self._spool is not None:
            self._spool.close()
            self._spool = None
        self._pieces = []

    # -- to the upstream ---------------------------------------------------

    def when_whole(self, call: Callable[[], None]) -> None:
        """Call *call* once the body has been collected."""
        if self.complete:
            call()
        else:
            self._whole = call

    def in_memory(self) -> bytes | None:
        """The whole body, if it has been collected and fits in memory."""
        if not self.complete or self._spool is not None or self.streaming:
            return None
        return self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)

    def send_to(self, target: BodyTarget) -> None:
        """Start to deliver to *target*: from the first octet, or what comes from now on."""
        self._target = target
        if self._spool is not None:
            self._reader = self._spool.read(self)
            return
        if self.streaming and (self._pieces or self.complete):
            self._flush(target)

    def detach(self) -> None:
        """The attempt that took the body is over."""
        self._target = None
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def on_target_writable(self) -> None:
        """The upstream's transport has room again."""
        if self._reader is not None:
            self._reader.resume()
        elif self.streaming and self._target is not None:
            if self._pieces:
                self._flush(self._target)
            self.downstream.resume_request()

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

    # -- private -----------------------------------------------------------

    def _spill(self) -> None:
        spool = self._spool = self._make_spool()
        spool.on_drain(self.downstream.resume_request)
        for piece in self._pieces:
            spool.write(piece)
        self._pieces = []

    def _pass_on(self, data: bytes) -> None:
        target = self._target
        if target is not None and target.takes_body and not self._pieces:
            self.replayable = False
            target.on_body_piece(data, False)
            if not target.takes_body:
                self.downstream.pause_request()
            return
        self._pieces.append(data)
        if sum(map(len, self._pieces)) > STREAM_BUFFER:
            self.downstream.pause_request()

    def _flush(self, target: BodyTarget) -> None:
        data = b"".join(self._pieces)
        self._pieces = []
        if data:
            self.replayable = False
        target.on_body_piece(data, self.complete)
