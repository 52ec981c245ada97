"""Which entries a purge selects, and how a soft purge makes an entry stale.

A hard purge removes entries. A soft one makes them stale: they are served while one
request brings a new response (RFC 5861 §3), for no longer than they would have been fresh.
Entries that must not be served stale are validated before their next use.

Imports: ``stored``, ``tags``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from cacheproxy.policy.stored import StoredResponse
from cacheproxy.policy.tags import TagLimitError, tags_of

__all__ = [
    "ByHost",
    "ByKey",
    "ByPrefix",
    "ByTags",
    "Everything",
    "Selection",
    "mark_stale",
    "selects",
]


@dataclass(frozen=True, slots=True)
class ByKey:
    """Every variant of one cache key; *primary* is the digest over the key (``policy.key``)."""

    primary: bytes


@dataclass(frozen=True, slots=True)
class ByPrefix:
    """Every entry whose cache key starts with *prefix*."""

    prefix: bytes


@dataclass(frozen=True, slots=True)
class ByHost:
    """Every entry stored for a request to *host*: lower case, no port, any scheme, any key.

    An entry of which the host is not known is selected by every host: it may be that one's.
    """

    host: bytes


@dataclass(frozen=True, slots=True)
class ByTags:
    """Every entry with at least one of *tags* (``policy.tags``)."""

    tags: frozenset[bytes]


@dataclass(frozen=True, slots=True)
class Everything:
    """Every entry of the zone."""


Selection = ByKey | ByPrefix | ByHost | ByTags | Everything


def selects(selection: Selection, primary: bytes, stored: StoredResponse) -> bool:
    """Whether *selection* takes the entry *stored*, whose key has the digest *primary*."""
    if isinstance(selection, ByKey):
        return primary == selection.primary
    if isinstance(selection, ByPrefix):
        return stored.key.startswith(selection.prefix)
    if isinstance(selection, ByHost):
        return stored.host == selection.host or not stored.host
    if isinstance(selection, ByTags):
        try:
            return not selection.tags.isdisjoint(tags_of(stored.fields))
        except TagLimitError:
            return True  # never stored so; whatever it is, it must not be missed
    return True


def mark_stale(stored: StoredResponse, now: float) -> StoredResponse:
    """*stored* made stale at wall time *now*; itself where it is stale already.

    What was left of its lifetime becomes ``stale_while_revalidate``, where that is not
    longer of itself: the age at which it is last used does not rise.
    """
    age = stored.age(now)
    left = stored.lifetime - age
    if left <= 0:
        return stored
    return replace(
        stored, lifetime=age, stale_while_revalidate=max(stored.stale_while_revalidate, left)
    )
