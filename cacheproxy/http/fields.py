"""Field lines in the order received, with case-insensitive lookup.

RFC 9110 §5. Names keep the case in which they were received, because origins
and clients see them relayed; lookups take lower-case names. A ``Fields`` is
filled once, by a parser or a builder, and not changed after it has been handed
on: the lookup index is built on first use.

Imports nothing of the project.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any

__all__ = ["HOP_BY_HOP", "Fields"]

#: Fields that concern one connection only (RFC 9110 §7.6.1, with the two
#: legacy names that intermediaries must drop as well).
HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)


class Fields:
    """An ordered list of ``(name, value)`` byte pairs.

    ``pairs`` may be appended to while the head is being parsed; every lookup
    afterwards sees the index made by the first one. From then on it is not
    changed: requests with the same field section share one object.
    """

    __slots__ = ("_index", "pairs", "traits")

    def __init__(self, pairs: Iterable[tuple[bytes, bytes]] = ()) -> None:
        self.pairs: list[tuple[bytes, bytes]] = list(pairs)
        self._index: dict[bytes, list[bytes]] | None = None
        #: What a reader of requests has concluded from them; belongs to ``proxy.hot``.
        self.traits: Any = None

    def _lookup(self) -> dict[bytes, list[bytes]]:
        index = self._index
        if index is None:
            index = self._index = {}
            for name, value in self.pairs:
                lower = name.lower()
                if lower in index:
                    index[lower].append(value)
                else:
                    index[lower] = [value]
        return index

    def get(self, name: bytes) -> bytes | None:
        """The value of the first line called *name* (lower case), or None."""
        values = (self._index or self._lookup()).get(name)
        return values[0] if values is not None else None

    def get_all(self, name: bytes) -> list[bytes]:
        """The values of every line called *name* (lower case), in order."""
        return (self._index or self._lookup()).get(name, [])

    def combined(self, name: bytes) -> bytes | None:
        """The values of *name* joined by ``", "`` (RFC 9110 §5.3), or None."""
        values = (self._index or self._lookup()).get(name)
        if values is None:
            return None
        return values[0] if len(values) == 1 else b", ".join(values)

    def without(self, names: Collection[bytes]) -> Fields:
        """A copy that lacks the lines whose lower-case name is in *names*."""
        return Fields(pair for pair in self.pairs if pair[0].lower() not in names)

    def names(self) -> Collection[bytes]:
        """The lower-case names present."""
        return (self._index or self._lookup()).keys()

    def __contains__(self, name: bytes) -> bool:
        return name in (self._index or self._lookup())

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        return iter(self.pairs)

    def __len__(self) -> int:
        return len(self.pairs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fields) and self.pairs == other.pairs

    __hash__ = None  # type: ignore[assignment]  # filled after construction

    def __repr__(self) -> str:
        return f"Fields({self.pairs!r})"
