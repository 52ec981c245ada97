"""The exchange that gets one slice, and what stands for its client.

A ``SliceExchange`` goes through the cache and to the origin as any other, with
``$slice_range`` set. What it would send to a client, or do with one, it tells its
``Slicing`` (``proxy.slice.slicing``), until that has no more use for it; from then on it goes on
alone, for what is being stored of the slice.

Imports: ``http``, ``proxy.exchange``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cacheproxy.http.fields import Fields, Pairs
from cacheproxy.http.messages import RequestHead
from cacheproxy.proxy.exchange.exchange import Exchange
from cacheproxy.proxy.exchange.no_client import NoClient

if TYPE_CHECKING:
    from cacheproxy.proxy.interfaces import Downstream
    from cacheproxy.proxy.slice.slicing import Slicing

__all__ = ["SliceExchange"]


class SliceClient(NoClient):
    """Stands for the client at the end of a slice's exchange."""

    def __init__(self, slicing: Slicing, client: Downstream) -> None:
        super().__init__(client)
        self.requests = client.requests
        self._slicing: Slicing | None = slicing
        self._client = client

    @property
    def writable(self) -> bool:
        return self._slicing is None or self._client.writable

    def send_informational(self, status: int, pairs: Pairs) -> None:
        if self._slicing is not None and self._slicing.waiting:
            self._client.send_informational(status, pairs)

    def leave(self) -> None:
        """Nothing that comes is wanted any more."""
        self._slicing = None


class SliceExchange(Exchange):
    """The exchange that gets one slice: what it would send goes to its ``Slicing``."""

    __slots__ = ("_client", "_slicing", "of_whole")

    def __init__(self, slicing: Slicing, asked: bytes, head: RequestHead) -> None:
        whole = slicing.exchange
        self._client = SliceClient(slicing, whole.downstream)
        super().__init__(whole.site, self._client, head)
        self._slicing: Slicing | None = slicing
        #: It answers the client's own Range, from a whole.
        self.of_whole = False
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
        if self._slicing is not None:
            self._slicing.on_head(self, pairs, length, reason)

    def begin_ranges(self, pairs: Pairs, length: int) -> None:
        self.of_whole = True
        self.begin(206, pairs, length)

    def wanted_of(self, length: int) -> tuple[int, int]:
        return (0, length) if self._slicing is None else self._slicing.wanted_of(length)

    def send_body(self, data: bytes) -> None:
        if self._slicing is not None and self.response.has_body:
            self._slicing.on_body(data)

    def flush_body(self) -> None:
        if self._slicing is not None:
            self._slicing.exchange.flush_body()

    def end(self, trailers: Fields | None = None) -> None:
        self.response.note_end()
        slicing = self._finish()
        if slicing is not None:
            slicing.on_end(trailers)

    def abort(self) -> None:
        self.response.note_abort()
        slicing = self._finish()
        if slicing is not None:
            slicing.on_abort()

    def answer_status(self, status: int, extra: Pairs | None = None) -> None:
        self.response.note_answered()
        slicing = self._finish()
        if slicing is not None:
            slicing.on_status(self, status, extra)

    def internal_redirect(self, uri: bytes, args: bytes | None = None) -> None:
        self.response.note_answered()
        slicing = self._finish()
        if slicing is not None and slicing.leaves(self):
            slicing.exchange.internal_redirect(uri, args)

    def enter_named(self, name: bytes) -> None:
        self.response.note_answered()
        slicing = self._finish()
        if slicing is not None and slicing.leaves(self):
            slicing.exchange.enter_named(name)

    def _finish(self) -> Slicing | None:
        slicing = self._slicing
        self.forget()
        self.clear_source()
        return slicing

    def forget(self) -> None:
        """The client has what it needs, or wants no more: go on only for what is stored."""
        self._slicing = None
        self._client.leave()
