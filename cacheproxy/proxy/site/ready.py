"""The seams of the fast path: answers that are kept ready, who keeps them, who gets them.

The general path, which is below ``proxy.front``, reports its answers to what its ``Site`` was
given; a ``Route`` holds what is ready for it; a connection sends it.

Imports: ``http``, ``proxy.interfaces``.
"""

from __future__ import annotations

from typing import Any, Protocol

from cacheproxy.http.fields import Fields, Pairs
from cacheproxy.proxy.interfaces import Client, Entry, OpenFile, Storage

__all__ = ["KeptClient", "Ready", "RemembersAnswers"]


class KeptClient(Client, Protocol):
    """A client whose connection goes on to the next request after a response.

    *requests* counts the one that is being answered too.
    """

    #: Wall seconds until when (``keepalive_time``).
    keep_until: float


class Ready(Protocol):
    """An answer that is kept ready to send (``proxy.front.ready``).

    *selector* is what it is found by on its route; *by_cookie*: the client's cookies are
    in it. The rest holds for *second* of wall time: status and body, and what a kept
    HTTP/1.1 connection sends: its fields, and the bytes, with a long body apart. The
    connection is kept by ``keepalive_requests`` and ``keepalive_timeout`` of its location.
    """

    selector: bytes
    by_cookie: bool
    second: int
    status: int
    body: bytes
    http1_pairs: Pairs
    http1: bytes
    http1_body: bytes
    keepalive_requests: int
    keepalive_timeout: float

    @property
    def cache_status(self) -> bytes:
        """``$upstream_cache_status``."""

    @property
    def upstream_fields(self) -> Fields | None:
        """What ``$upstream_http_*`` reads."""

    def is_current(self, now: float) -> bool:
        """Whether it still is what the general path would answer at wall time *now*."""

    def render(self, now: float) -> None:
        """Make the answer for the second of *now*."""


class RemembersAnswers(Protocol):
    """Keeps answers of the general path ready for the fast path of one listening address."""

    def remember_hit(self, exchange: Any, storage: Storage, base: Entry, entry: Entry) -> None:
        """*entry*, found through *base* (itself, or its plain form), has answered *exchange*."""

    def remember_file(self, exchange: Any, path: bytes, file: OpenFile) -> None:
        """*file* at *path* is about to answer *exchange*, as it is on disk."""

    def forget_all(self) -> None:
        """The routes that answers are kept on are gone."""
