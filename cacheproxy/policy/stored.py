"""The head of a stored response: what a cache must remember to reuse it (RFC 9111).

Written by ``storing`` when the response starts, replaced whole by
``validation`` when a 304 freshens it, encoded by ``storage.disk.entry``.

Imports: ``http.fields`` only.
"""

from __future__ import annotations

from dataclasses import dataclass

from cacheproxy.http.fields import Fields

__all__ = ["StoredResponse"]


@dataclass(slots=True)
class StoredResponse:
    """A stored response without its body; treated as immutable once handed on.

    Times are wall-clock seconds. *fields* are end-to-end fields only, as they
    will be sent: no Age, no hop-by-hop, and never Set-Cookie, whatever
    ``proxy_ignore_headers`` says, because it is meant for one client.

    - *key*: the whole cache key; compared on reuse, so that a collision of
      digests is a miss.
    - *vary*: selecting fields, (lower-case name, normalised value of the request
      that stored it or None when absent); empty for a response without Vary.
    - *request_time*, *response_time*: RFC 9111 §4.2.3.
    - *initial_age*: corrected initial age at *response_time* (§4.2.3).
    - *lifetime*: freshness lifetime (§4.2.1 or the operator's), seconds from an
      age of zero.
    - *stale_while_revalidate*, *stale_if_error*: RFC 5861 windows after
      *lifetime*; 0 where absent.
    - *must_revalidate*: §5.2.2.2, .8 (or s-maxage): never to be served stale.
    - *always_validate*: ``no-cache``: stored, but never used unvalidated.
    - *body_length*: bytes of the stored body; -1 until the writer finished.
    - *host*: the host that the request was for, lower-case, without port; empty where
      it is not known.
    """

    key: bytes
    status: int
    reason: bytes
    fields: Fields
    request_time: float
    response_time: float
    initial_age: float = 0.0
    lifetime: float = 0.0
    vary: tuple[tuple[bytes, bytes | None], ...] = ()
    stale_while_revalidate: float = 0.0
    stale_if_error: float = 0.0
    must_revalidate: bool = False
    always_validate: bool = False
    body_length: int = -1
    host: bytes = b""

    def age(self, now: float) -> float:
        """Current age in seconds at wall time *now*; never negative (§4.2.3)."""
        resident = now - self.response_time
        return self.initial_age + resident if resident > 0 else self.initial_age

    @property
    def fresh_until(self) -> float:
        """The wall time at which the age reaches the lifetime."""
        return self.response_time + self.lifetime - self.initial_age
