"""The exchange that gets one slice, and what stands for its client.

A ``SliceExchange`` uses the cache and the origin like any other exchange, with ``$slice_range``
set. It passes its response to a ``SliceSink`` (``proxy.slice.slicing``) instead of a client. Once
the sink is detached (``forget``), the exchange continues only to store the slice.

Imports: ``http``, ``proxy.exchange``.
"""

from __future__ import annotations

from typing import Protocol

from cacheproxy.http.fields import Fields, Pairs
from cacheproxy.http.messages import RequestHead
from cacheproxy.proxy.exchange.exchange import Exchange
from cacheproxy.proxy.exchange.no_client import NoClient
from cacheproxy.proxy.interfaces import Downstream

__all__ = ["SliceExchange", "SliceSink"]


class SliceSink(Protocol):
    """Who puts the slices together for a client, whose exchange is ``exchange``."""

    @property
    def exchange(self) -> Exchange: ...

    @property
    def waiting(self) -> bool:
        """Whether the client has got no head yet."""

    def on_head(
        self, made: SliceExchange, pairs: Pairs, length: int | None, reason: bytes | None
    ) -> None:
        """The head of the slice has come; its status is that of the response of *made*."""

    def needed_range(self, length: int) -> tuple[int, int]:
        """Which bytes [start, stop) of a stored slice the client is to get."""

    def on_body(self, data: bytes) -> None:
        """A piece of the slice has come."""

    def on_end(self, trailers: Fields | None) -> None:
        """The slice has come whole."""

    def on_abort(self) -> None:
        """The slice broke off."""

    def on_status(self, made: SliceExchange, status: int, extra: Pairs | None) -> None:
        """No slice could be had, but an answer of *status* that is made here."""

    def on_redirect(self, made: SliceExchange) -> bool:
        """Whether the client is sent to another location, which the slice's answer names."""


class SliceClient(NoClient):
    """Stands for the client at the end of a slice's exchange."""

    def __init__(self, sink: SliceSink, client: Downstream) -> None:
        super().__init__(client)
        self.requests = client.requests
        self._sink: SliceSink | None = sink
        self._client = client

    @property
    def writable(self) -> bool:
        return self._sink is None or self._client.writable

    def send_informational(self, status: int, pairs: Pairs) -> None:
        if self._sink is not None and self._sink.waiting:
            self._client.send_informational(status, pairs)

    def leave(self) -> None:
        """Nothing that comes is wanted any more."""
        self._sink = None


class SliceExchange(Exchange):
    """The exchange that gets one slice: what it would send goes to its *sink*."""

    __slots__ = ("_client", "_sink", "is_range_of_full")

    def __init__(self, sink: SliceSink, asked: bytes, head: RequestHead) -> None:
        whole = sink.exchange
        self._client = SliceClient(sink, whole.downstream)
        super().__init__(whole.site, self._client, head)
        self._sink: SliceSink | None = sink
        #: The response is a range of a complete stored response.
        self.is_range_of_full = False
        self.leave_unlogged()
        self.request.place_like(whole.request)
        self.request.note_slice(asked)
        self.record.share_request_id(whole.record)
        self.response.share_kept_fields(whole.response)

    # -- the response ------------------------------------------------------

    def begin(
        self, status: int, pairs: Pairs, length: int | None, reason: bytes | None = None
    ) -> None:
        self.response.begin_unsent(self.request.method, status)
        if self._sink is not None:
            self._sink.on_head(self, pairs, length, reason)

    def begin_ranges(self, pairs: Pairs, length: int) -> None:
        self.is_range_of_full = True
        self.begin(206, pairs, length)

    def needed_range(self, length: int) -> tuple[int, int]:
        return (0, length) if self._sink is None else self._sink.needed_range(length)

    def send_body(self, data: bytes) -> None:
        if self._sink is not None and self.response.has_body:
            self._sink.on_body(data)

    def flush_body(self) -> None:
        if self._sink is not None:
            self._sink.exchange.flush_body()

    def end(self, trailers: Fields | None = None) -> None:
        self.response.note_end()
        sink = self._finish()
        if sink is not None:
            sink.on_end(trailers)

    def abort(self) -> None:
        self.response.note_abort()
        sink = self._finish()
        if sink is not None:
            sink.on_abort()

    def answer_status(self, status: int, extra: Pairs | None = None) -> None:
        self.response.note_answered()
        sink = self._finish()
        if sink is not None:
            sink.on_status(self, status, extra)

    def internal_redirect(self, uri: bytes, args: bytes | None = None) -> None:
        self.response.note_answered()
        sink = self._finish()
        if sink is not None and sink.on_redirect(self):
            sink.exchange.internal_redirect(uri, args)

    def enter_named(self, name: bytes) -> None:
        self.response.note_answered()
        sink = self._finish()
        if sink is not None and sink.on_redirect(self):
            sink.exchange.enter_named(name)

    def _finish(self) -> SliceSink | None:
        sink = self._sink
        self.forget()
        self.clear_source()
        return sink

    def forget(self) -> None:
        """Detach the sink: continue only to store the slice."""
        self._sink = None
        self._client.leave()
