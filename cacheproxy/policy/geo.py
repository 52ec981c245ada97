"""Values by address: the tables of nginx's ``ngx_http_geo_module``.

``Networks`` answers with the most specific network that holds an address,
``Ranges`` with the range of IPv4 addresses. Both are filled at load; a look-up asks
one dictionary for each length of prefix in use, or bisects one list.

Imports: ``policy.networks``.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence

from cacheproxy.policy.networks import Address, Network, parse_address

__all__ = ["Networks", "Overlap", "Ranges", "forwarded_address", "split_host_port"]

#: What an address that is none is looked up as (nginx ``INADDR_NONE``).
NOWHERE = Address(4, 0xFFFFFFFF)


class Networks:
    """CIDR networks; the longest prefix wins."""

    __slots__ = ("_tables",)

    def __init__(self) -> None:
        #: By version: bits to drop → what is then left → value; the longest prefix first.
        self._tables: dict[int, dict[int, dict[int, bytes]]] = {4: {}, 6: {}}

    def add(self, network: Network, value: bytes) -> bytes | None:
        """Set the value of *network*; the one that it had before, if any."""
        tables = self._tables[network.version]
        if network.shift not in tables:
            tables[network.shift] = {}
            self._tables[network.version] = dict(sorted(tables.items()))
        table = self._tables[network.version][network.shift]
        old = table.get(network.prefix)
        table[network.prefix] = value
        return old

    def delete(self, network: Network) -> bool:
        """Remove *network*; whether it was there."""
        table = self._tables[network.version].get(network.shift, {})
        return table.pop(network.prefix, None) is not None

    def find(self, address: Address | None) -> bytes:
        """The value for *address*; empty where no network holds it."""
        version, bits = (address and address.mapped) or address or NOWHERE
        for shift, table in self._tables[version].items():
            value = table.get(bits >> shift)
            if value is not None:
                return value
        return b""


class Overlap(Exception):
    """A range that cuts another one; *low* and *high* are the ends of that one."""

    def __init__(self, low: int, high: int) -> None:
        super().__init__(low, high)
        self.low = low
        self.high = high


class _Slice:
    """The ranges within one /16, in order, none over another."""

    __slots__ = ("highs", "lows", "values")

    def __init__(self) -> None:
        self.lows: list[int] = []
        self.highs: list[int] = []
        self.values: list[bytes] = []

    def put(self, at: int, stop: int, *ranges: tuple[int, int, bytes]) -> None:
        """Replace ranges [at, stop)."""
        self.lows[at:stop] = [low for low, _, _ in ranges]
        self.highs[at:stop] = [high for _, high, _ in ranges]
        self.values[at:stop] = [value for _, _, value in ranges]


class Ranges:
    """Ranges of IPv4 addresses; one may lie within another, and then takes its place.

    As in nginx they are kept and compared slice by slice, a /16 each.
    """

    __slots__ = ("_slices", "default")

    def __init__(self) -> None:
        self._slices: dict[int, _Slice] = {}
        self.default = b""

    def add(self, low: int, high: int, value: bytes) -> bytes | None:
        """Set the value of [low, high]; that of an equal range before it, if there was one.

        Raises :class:`Overlap` where it cuts another range, or holds one.
        """
        old = None
        for number, start, end in _slices(low, high):
            part = self._slices.setdefault(number, _Slice())
            found = _add(part, number, start, end, value)
            old = found if found is not None else old
        return old

    def delete(self, low: int, high: int) -> bool:
        """Remove the range [low, high]; whether all of it was there as such."""
        complete = True
        for number, start, end in _slices(low, high):
            part = self._slices.get(number)
            at = -1 if part is None else bisect_right(part.lows, start) - 1
            if part is None or at < 0 or (part.lows[at], part.highs[at]) != (start, end):
                complete = False
            else:
                part.put(at, at + 1)
        return complete

    def find(self, address: Address | None) -> bytes:
        """The value for *address*; the default's where no range holds it."""
        address = (address and address.mapped) or address or NOWHERE
        if address.version == 6:
            address = NOWHERE
        part = self._slices.get(address.value >> 16)
        if part is not None:
            rest = address.value & 0xFFFF
            at = bisect_right(part.lows, rest) - 1
            if at >= 0 and rest <= part.highs[at]:
                return part.values[at]
        return self.default


def _slices(low: int, high: int) -> Iterable[tuple[int, int, int]]:
    """(number of the /16, first, last address within it) of [low, high]."""
    for number in range(low >> 16, (high >> 16) + 1):
        start = low & 0xFFFF if number == low >> 16 else 0
        end = high & 0xFFFF if number == high >> 16 else 0xFFFF
        yield number, start, end


def _add(part: _Slice, number: int, start: int, end: int, value: bytes) -> bytes | None:
    at = bisect_right(part.lows, end) - 1  # the last range that does not lie behind
    if at < 0 or part.highs[at] < start:
        part.put(at + 1, at + 1, (start, end, value))
        return None
    low, high, old = part.lows[at], part.highs[at], part.values[at]
    if start < low or end > high:
        raise Overlap(number << 16 | low, number << 16 | high)
    pieces = [(start, end, value)]
    if low < start:
        pieces.insert(0, (low, start - 1, old))
    if end < high:
        pieces.append((end + 1, high, old))
    part.put(at, at + 1, *pieces)
    return old if len(pieces) == 1 else None


def forwarded_address(
    address: Address, forwarded: str, proxies: Sequence[Network], recursive: bool
) -> Address:
    """Where a request came from, told by *proxies* that are trusted.

    *forwarded* is X-Forwarded-For. Its last address counts where *address* is a trusted
    proxy; with *recursive*, so does the one before it while the one found is trusted too.
    Source: nginx ``ngx_http_get_forwarded_addr``.
    """
    for text in reversed(forwarded.replace(",", " ").split()):
        if not _trusted(address, proxies):
            break
        found = parse_address(split_host_port(text))
        if found is None:
            break
        address = found
        if not recursive:
            break
    return address


def _trusted(address: Address, proxies: Sequence[Network]) -> bool:
    address = address.mapped or address
    return any(proxy.holds(address) for proxy in proxies)


def split_host_port(text: str) -> str:
    """The host of ``host``, ``host:port`` or ``[host]:port``; empty where it is none of these."""
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or (":" in host and not bracketed):
        return text
    if not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536):
        return ""
    return host[1:-1] if bracketed else host
