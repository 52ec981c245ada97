"""Answering from a stored response, whose gzip form is made once and kept.

Imports: ``policy``, ``proxy.answer``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cacheproxy.policy.encoding import encoded_fields
from cacheproxy.proxy.answer.fields import hit_pairs
from cacheproxy.proxy.answer.representation import Representation, send
from cacheproxy.proxy.cache.head_update import split_length
from cacheproxy.proxy.interfaces import Entry, Storage

if TYPE_CHECKING:
    from cacheproxy.proxy.exchange.exchange import Exchange

__all__ = ["StoredAnswer"]


class StoredAnswer:
    """One answer from *storage*. *forwarded* is what Cache-Status says where it is not just a hit.

    *fresh*: requests like this one are to be answered with the same (``RemembersAnswers``).
    """

    __slots__ = ("_exchange", "_forwarded", "_fresh", "_storage")

    def __init__(
        self, exchange: Exchange, storage: Storage, forwarded: bytes | None, fresh: bool
    ) -> None:
        self._exchange = exchange
        self._storage = storage
        self._forwarded = forwarded
        self._fresh = fresh

    def start(self, entry: Entry, age: float) -> None:
        """Answer from *entry*, which is taken over; *age* is in seconds."""
        exchange = self._exchange
        if exchange.lost:
            entry.release()
            return
        stored = entry.stored
        gzip = exchange.request.location.gzip
        if gzip is None or stored.body_length <= 0 or not exchange.would_gzip(
            stored.status, stored.fields, stored.body_length
        ):
            self._send(entry, entry, age, self._fresh)
            return
        encoded = self._storage.peek_encoded(entry, b"gzip", gzip.comp_level)
        if encoded is None:
            self._encode(entry, age)
        else:
            self._send(entry, encoded, age, self._fresh)

    def _encode(self, entry: Entry, age: float) -> None:
        gzip = self._exchange.request.location.gzip
        assert gzip is not None

        def done(encoded: Entry | None) -> None:
            if self._exchange.lost:
                entry.release()
                if encoded is not None:
                    encoded.release()
                return
            if encoded is None:
                # It is compressed on the way; the next request may find it made.
                self._send(entry, entry, age, False)
            else:
                self._send(entry, encoded, age, self._fresh)

        fields = encoded_fields(entry.stored.fields, b"gzip", gzip.vary)
        head = replace(entry.stored, fields=fields, body_length=-1)
        self._storage.encoded(entry, b"gzip", gzip.comp_level, head, done)

    def _send(self, base: Entry, entry: Entry, age: float, remember: bool) -> None:
        exchange = self._exchange
        stored, judged = entry.stored, base.stored.fields
        exchange.record.note_upstream_fields(stored.fields)
        location = exchange.request.location
        pairs = hit_pairs(location, stored, age, self._forwarded, base is not entry)
        length: int | None = stored.body_length
        options = exchange.request.location.cache
        if exchange.request.method == b"HEAD" and options is not None and not options.convert_head:
            pairs, length = split_length(stored, pairs)
        remembers = exchange.site.remembers
        if remember and remembers is not None:
            remembers.remember_hit(exchange, self._storage, base, entry)
        if base is not entry:
            exchange.response.note_gzipped()
            base.release()
        send(
            exchange,
            Representation(
                stored.status,
                stored.reason,
                pairs,
                stored.fields,
                length,
                entry,
                entry.body,
                stored.response_time,
                judged,
            ),
        )
