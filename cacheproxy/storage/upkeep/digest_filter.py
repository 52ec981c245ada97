"""A Bloom filter over digests: says for certain that an entry is not on disk.

A digest is evenly distributed already, so its four 32-bit words are the four hash
values. At ``BITS_PER_ENTRY`` bits an entry and four probes at most 0.3 % of
absent digests are taken for present; that costs them one look-up, nothing else.
A removed digest stays in: the owner builds a new filter when enough were added.

Imports nothing of the project.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct

__all__ = ["BITS_PER_ENTRY", "DigestFilter"]

BITS_PER_ENTRY = 16
#: The smallest capacity, in entries: 64 KiB of bits.
LEAST = 1 << 15

_words = Struct("<IIII").unpack


class DigestFilter:
    """Sized for *capacity* entries; 2 to 4 bytes of memory an entry."""

    __slots__ = ("_bits", "_mask", "capacity", "count")

    def __init__(self, capacity: int) -> None:
        entries = LEAST
        while entries < capacity:
            entries *= 2
        self.capacity = entries
        self.count = 0
        self._bits = bytearray(entries * BITS_PER_ENTRY // 8)
        self._mask = entries * BITS_PER_ENTRY - 1

    def add(self, digest: bytes) -> None:
        """Note *digest*, 16 bytes."""
        self.update((digest,))

    def update(self, digests: Iterable[bytes]) -> None:
        """Note each of *digests*."""
        bits = self._bits
        mask = self._mask
        for digest in digests:
            one, two, three, four = _words(digest)
            one &= mask
            two &= mask
            three &= mask
            four &= mask
            bits[one >> 3] |= 1 << (one & 7)
            bits[two >> 3] |= 1 << (two & 7)
            bits[three >> 3] |= 1 << (three & 7)
            bits[four >> 3] |= 1 << (four & 7)
            self.count += 1

    def __contains__(self, digest: bytes) -> bool:
        bits = self._bits
        mask = self._mask
        for word in _words(digest):
            word &= mask
            if not bits[word >> 3] >> (word & 7) & 1:
                return False
        return True
