"""What is noted of a request for its variables, its log lines and what counts requests.

A ``Record`` is written by whoever learns something (the cache its status, a relay the
upstream's fields) through the methods here, and read by the ``$variables``. It decides nothing.

Imports: ``http``, ``policy``.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

from cacheproxy.http.fields import Fields
from cacheproxy.policy.stored import StoredResponse

__all__ = ["REQUEST_ID_BYTES", "Record", "UpstreamRecord"]

#: Random bytes in a ``$request_id``, which shows them in hexadecimal.
REQUEST_ID_BYTES = 16


class UpstreamRecord:
    """One attempt on an upstream, for the ``$upstream_*`` variables; times in seconds."""

    __slots__ = (
        "address",
        "body_received",
        "bytes_received",
        "bytes_sent",
        "connect_time",
        "header_time",
        "response_time",
        "started",
        "status",
    )

    def __init__(self, address: str, started: float) -> None:
        self.address = address
        self.started = started
        self.status = 0
        self.connect_time: float | None = None
        self.header_time: float | None = None
        self.response_time: float | None = None
        self.bytes_received = 0
        self.body_received = 0
        self.bytes_sent = 0


class Record:
    """What is known of one request. *started* is in monotonic seconds.

    *bytes_before* is what the client's connection had sent before its response.
    """

    __slots__ = (
        "attempts",
        "bytes_before",
        "cache_status",
        "request_id",
        "started",
        "upstream_fields",
        "upstream_trailers",
        "validated",
    )

    def __init__(self, started: float, bytes_before: int) -> None:
        self.started = started
        self.bytes_before = bytes_before
        #: ``$upstream_cache_status``; empty where no cache was asked.
        self.cache_status = b""
        #: ``$request_id``, once something has asked for it.
        self.request_id = b""
        self.attempts: list[UpstreamRecord] = []
        #: The fields of the upstream's response, or of the stored one that answers.
        self.upstream_fields: Fields | None = None
        self.upstream_trailers: Fields | None = None
        #: The stored response that is no longer fresh, while the origin is asked about it.
        self.validated: StoredResponse | None = None

    def copy(self) -> Record:
        """The same, to be gone on with apart from this one."""
        other = copy.copy(self)
        other.attempts = list(self.attempts)
        return other

    def note_cache_status(self, status: bytes) -> None:
        """What the cache did for the request: HIT, MISS …"""
        self.cache_status = status

    def note_upstream_fields(self, fields: Fields | None) -> None:
        """The head that answers has come, from an upstream or from storage."""
        self.upstream_fields = fields

    def note_upstream_trailers(self, trailers: Fields | None) -> None:
        """An upstream's response has come to its end."""
        self.upstream_trailers = trailers

    def note_validated(self, stored: StoredResponse | None) -> None:
        """The origin is about to be asked whether *stored* still holds."""
        self.validated = stored

    def note_bytes_before(self, count: int) -> None:
        """The response began when the connection had sent *count* bytes."""
        self.bytes_before = count

    def add_attempt(self, attempt: UpstreamRecord) -> None:
        """An upstream is about to be tried."""
        self.attempts.append(attempt)

    def share_attempts(self, other: Record) -> None:
        """Note attempts where *other* does: this request is a part of that one."""
        self.attempts = other.attempts

    def share_request_id(self, other: Record) -> None:
        """Have the ``$request_id`` of *other*, if it has one yet."""
        self.request_id = other.request_id

    def take_answer(self, other: Record) -> None:
        """What answered *other* answers this request too."""
        self.cache_status = other.cache_status
        self.upstream_fields = other.upstream_fields
        self.request_id = other.request_id

    def identify(self, random_bytes: Callable[[int], bytes]) -> bytes:
        """``$request_id``: made when first asked for, then the same."""
        if not self.request_id:
            self.request_id = random_bytes(REQUEST_ID_BYTES).hex().encode()
        return self.request_id
