"""Addresses and networks as integers: what ``allow``, ``deny`` and ``geo`` compare.

An address is read once and remembered (a bounded memo), so that a request costs a
look-up. nginx: ``ngx_ptocidr``, ``ngx_parse_addr``, ``ngx_cidr_match``.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import NamedTuple

__all__ = ["Address", "Network", "parse_address", "parse_network"]

#: Addresses whose integers are remembered.
MEMO_SIZE = 4096

#: The longest text that can be an address, with a zone; clients send longer ones.
MAX_TEXT = 64

_BITS = {4: 32, 6: 128}


class Address(NamedTuple):
    """One address: *version* 4 or 6, *value* its bits."""

    version: int
    value: int

    @property
    def mapped(self) -> Address | None:
        """The IPv4 address in an IPv4-mapped IPv6 one (RFC 4291 §2.5.5.2)."""
        if self.version == 6 and self.value >> 32 == 0xFFFF:
            return Address(4, self.value & 0xFFFFFFFF)
        return None


class Network(NamedTuple):
    """The addresses of *version* whose bits above *shift* are *prefix*."""

    version: int
    prefix: int
    shift: int

    def holds(self, address: Address) -> bool:
        """Whether *address* is in it; a mapped one is not unwrapped."""
        return address.version == self.version and address.value >> self.shift == self.prefix


def parse_address(text: str) -> Address | None:
    """The address that *text* is (a zone after ``%`` is left out); None if it is none."""
    return _parse(text) if len(text) <= MAX_TEXT else None


@lru_cache(maxsize=MEMO_SIZE)
def _parse(text: str) -> Address | None:
    try:
        if ":" in text:
            return Address(6, int(IPv6Address(text.partition("%")[0])))
        return Address(4, int(IPv4Address(text)))
    except AddressValueError:
        return None


def parse_network(text: str) -> tuple[Network, bool]:
    """``address[/bits]``, and whether bits outside of the network were set (and are dropped).

    Raises :class:`ValueError`. Source: nginx ``ngx_ptocidr``.
    """
    host, slash, digits = text.partition("/")
    address = None if "%" in host else parse_address(host)
    if address is None:
        raise ValueError(text)
    bits = _BITS[address.version]
    length = bits
    if slash:
        if not (digits.isascii() and digits.isdigit()) or int(digits) > bits:
            raise ValueError(text)
        length = int(digits)
    shift = bits - length
    prefix = address.value >> shift
    return Network(address.version, prefix, shift), prefix << shift != address.value
