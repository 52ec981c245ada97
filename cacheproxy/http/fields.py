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

__all__ = ["HOP_BY_HOP", "Fields", "Pairs"]

#: Field lines in order, each a name and a value.
Pairs = list[tuple[bytes, bytes]]

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


_NONE: dict[bytes, list[bytes]] = {}


class Fields:
    """An ordered list of ``(name, value)`` byte pairs.

    ``pairs`` may be appended to while the head is being parsed; every lookup
    afterwards sees the index made by the first one. From then on it is not
    changed: requests with the same field section share one object.
    """

    __slots__ = ("_index", "_repeated", "pairs", "passed", "traits")

    def __init__(self, pairs: Iterable[tuple[bytes, bytes]] = ()) -> None:
        self.pairs: Pairs = list(pairs)
        #: The value of the first line of each name, by the name in lower case.
        self._index: dict[bytes, bytes] | None = None
        #: All values of the names that more than one line has.
        self._repeated: dict[bytes, list[bytes]] = _NONE
        #: What a reader of requests has concluded from them; belongs to ``proxy.front.hot``.
        self.traits: Any = None
        #: What of them was passed on last; belongs to ``policy.forwarding``.
        self.passed: Any = None

    def _lookup(self) -> dict[bytes, bytes]:
        index = {name.lower(): value for name, value in self.pairs}
        if len(index) != len(self.pairs):
            repeated: dict[bytes, list[bytes]] = {}
            for name, value in self.pairs:
                repeated.setdefault(name.lower(), []).append(value)
            index = {name: values[0] for name, values in repeated.items()}
            self._repeated = {
                name: values for name, values in repeated.items() if len(values) > 1
            }
        self._index = index
        return index

    def get(self, name: bytes) -> bytes | None:
        """The value of the first line called *name* (lower case), or None."""
        return (self._index or self._lookup()).get(name)

    def get_all(self, name: bytes) -> list[bytes]:
        """The values of every line called *name* (lower case), in order."""
        value = (self._index or self._lookup()).get(name)
        if value is None:
            return []
        return self._repeated.get(name) or [value]

    def combined(self, name: bytes) -> bytes | None:
        """The values of *name* joined by ``", "`` (RFC 9110 §5.3), or None."""
        value = (self._index or self._lookup()).get(name)
        if self._repeated and name in self._repeated:
            return b", ".join(self._repeated[name])
        return value

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
