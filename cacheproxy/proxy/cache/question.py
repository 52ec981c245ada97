"""The parameters of one fetch from the origin, fixed before the request is sent.

A look-up (``lookup``) creates a ``Question``: the request, the stored responses to validate or
complete, and whether the response may be stored. It does not change during the fetch;
``fetching`` reads nothing else, and reports the outcome to an ``Asker``.

Imports: ``http``, ``policy``, ``proxy.cache.parts``, ``proxy.interfaces``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from cacheproxy.http.messages import RequestHead, ResponseHead
from cacheproxy.policy.options import CacheOptions
from cacheproxy.policy.stored import StoredResponse
from cacheproxy.proxy.cache.parts import MissingRange
from cacheproxy.proxy.interfaces import Entry, GrowingWriter, Storage

if TYPE_CHECKING:
    from cacheproxy.proxy.exchange.exchange import Exchange

__all__ = ["Asker", "Question"]


@dataclass(frozen=True, slots=True)
class Question:
    """One fetch from the origin, which takes over the entries held here."""

    exchange: Exchange
    storage: Storage
    options: CacheOptions
    #: The parts of the client's request that select a stored response.
    request: RequestHead
    #: The cache key.
    key: bytes
    #: The digest of the URL; a purge of it removes everything stored for the URL (``Storage``).
    primary: bytes
    #: The digest of the key, under which its first variant is stored.
    first_variant_digest: bytes
    #: The digest that was looked up, under which other requests wait for the response.
    digest: bytes
    #: The head that is stored at ``first_variant_digest``, or is about to be.
    first_variant: StoredResponse | None
    #: The stored response that the origin is to validate, or that is sent where it fails; held.
    validated: Entry | None
    #: The bytes to fetch beside a stored part, which is held.
    missing: MissingRange | None
    #: The client's Range is forwarded; the whole is not fetched.
    passed_range: bool
    #: Whether what the origin sends may be stored.
    storing: bool
    #: This is a background refresh: there is no client to answer.
    background: bool
    #: For Cache-Status (RFC 9211): the ``fwd`` reason, and the ``detail`` if the cache is bypassed.
    forward_reason: bytes
    detail: bytes

    @property
    def has_client(self) -> bool:
        """Whether there is a client to answer."""
        return not (self.background or self.exchange.lost)

    def for_the_whole(self) -> Question:
        """The same question as if nothing were stored."""
        return replace(self, validated=None, missing=None)


class Asker(Protocol):
    """The owner of a fetch: answers the client from storage, and wakes waiting requests."""

    def answer(
        self, entry: Entry, age: float, forwarded: bytes | None = None, fresh: bool = False
    ) -> None:
        """Answer from *entry*, which is taken over, *age* seconds old.

        *forwarded* is the value of Cache-Status, None for a hit; *fresh*: the answer may be
        kept ready for later requests.
        """

    def offer(self, writer: GrowingWriter, head: ResponseHead) -> None:
        """The response has begun, and *writer* is storing it: others may follow it."""

    def release_unshared(self, seconds: float) -> None:
        """The response cannot be shared; for *seconds* other requests do not wait."""

    def release(self) -> None:
        """Let the requests that wait for the response repeat their look-up."""
