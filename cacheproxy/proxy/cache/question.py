"""What a cache asks the origin, settled before it is asked.

A look-up (``lookup``) puts together a ``Question``: for which request, of which stored
responses, and what may be done with the answer. It does not change while the origin takes its
time; ``fetching`` reads nothing else, and tells an ``Asker`` what has come of it.

Imports: ``http``, ``policy``, ``proxy.cache.parts``, ``proxy.interfaces``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from cacheproxy.http.messages import RequestHead, ResponseHead
from cacheproxy.policy.options import CacheOptions
from cacheproxy.policy.stored import StoredResponse
from cacheproxy.proxy.cache.parts import Missing
from cacheproxy.proxy.interfaces import Entry, GrowingWriter, Storage

if TYPE_CHECKING:
    from cacheproxy.proxy.exchange.exchange import Exchange

__all__ = ["Asker", "Question"]


@dataclass(frozen=True, slots=True)
class Question:
    """One question to the origin. Whoever asks it takes over what is held in it."""

    exchange: Exchange
    storage: Storage
    options: CacheOptions
    #: The client's request, as far as it selects a stored response.
    request: RequestHead
    #: The cache key.
    key: bytes
    #: The digest of the URL, which owns all that is stored for it (``Storage``).
    primary: bytes
    #: Where the first variant of the key is stored.
    base: bytes
    #: Where the response to this request was looked for, and is waited for by others.
    digest: bytes
    #: The head that is stored at ``base``, or is about to be.
    first_variant: StoredResponse | None
    #: The stored response that the origin is to validate, or that is sent where it fails; held.
    validated: Entry | None
    #: What is asked for beside a stored part, which is held.
    missing: Missing | None
    #: The origin is asked for what the client's Range says, not for the whole.
    passed_range: bool
    #: Whether what the origin sends may be stored.
    storing: bool
    #: A stored response is refreshed, and no client is to be answered.
    background: bool
    #: Why the origin is asked, and why the cache has no part in it: for Cache-Status (RFC 9211).
    forward_reason: bytes
    detail: bytes

    @property
    def has_client(self) -> bool:
        """Whether somebody is there to be answered."""
        return not (self.background or self.exchange.lost)

    def for_the_whole(self) -> Question:
        """The same question as if nothing were stored."""
        return replace(self, validated=None, missing=None)


class Asker(Protocol):
    """Who asks: it answers the client from storage, and others wait for what it gets."""

    def answer(
        self, entry: Entry, age: float, forwarded: bytes | None = None, fresh: bool = False
    ) -> None:
        """Answer from *entry*, which is taken over, *age* seconds old.

        *forwarded* is what Cache-Status says, None for a hit; *fresh*: requests like this one
        are to be answered with the same.
        """

    def offer(self, writer: GrowingWriter, head: ResponseHead) -> None:
        """The response has begun, and *writer* is storing it: others may follow it."""

    def set_free(self, seconds: float) -> None:
        """The response is for this request alone; others get their own for *seconds*."""

    def release(self) -> None:
        """Whoever waits for the response may look again."""
