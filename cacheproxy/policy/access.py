"""Who may come in: ``allow`` and ``deny`` of nginx's ``ngx_http_access_module``.

The first rule that fits an address decides; where none does, it may come in. Rules
are arranged at load by the kind of address, and what was found for an address is
remembered, so that a request costs one look-up.

Imports: ``policy.networks``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cacheproxy.policy.networks import Network, parse_address

__all__ = ["MAX_KNOWN", "AccessList", "AccessRule"]

#: Addresses of which a list remembers what it found; when full, all are forgotten.
MAX_KNOWN = 4096

#: How a peer on a UNIX socket is called (``$remote_addr``).
_UNIX = "unix:"


@dataclass(frozen=True, slots=True)
class AccessRule:
    """One ``allow`` or ``deny``: of *network*, of UNIX peers (*unix*), or with neither of all."""

    deny: bool
    network: Network | None = None
    unix: bool = False

    @property
    def everyone(self) -> bool:
        """Whether it is about ``all``."""
        return self.network is None and not self.unix


class AccessList:
    """The rules of one location, in the order of the file."""

    __slots__ = ("_four", "_known", "_six", "_unix")

    def __init__(self, rules: Iterable[AccessRule]) -> None:
        #: (bits to drop, what is then left, whether to deny): by kind of address.
        self._four: list[tuple[int, int, bool]] = []
        self._six: list[tuple[int, int, bool]] = []
        self._unix: list[bool] = []
        for rule in rules:
            network = rule.network
            if network is None:
                self._unix.append(rule.deny)
                if rule.everyone:
                    self._four.append((32, 0, rule.deny))
                    self._six.append((128, 0, rule.deny))
            else:
                rows = self._four if network.version == 4 else self._six
                rows.append((network.shift, network.prefix, rule.deny))
        self._known: dict[str, bool] = {}

    def allows(self, host: str) -> bool:
        """Whether the peer *host* (``$remote_addr``: an address, or ``unix:``) may come in."""
        known = self._known
        verdict = known.get(host)
        if verdict is None:
            if len(known) >= MAX_KNOWN:
                known.clear()
            verdict = known[host] = self.verdict(host) is not False
        return verdict

    def verdict(self, host: str) -> bool | None:
        """What the first rule that fits *host* says; None where none does."""
        if host == _UNIX:
            return not self._unix[0] if self._unix else None
        address = parse_address(host)
        if address is None:
            return False  # nobody that a rule could be about
        rows = self._four
        if address.version == 6:
            # As nginx: an IPv4-mapped address is one of IPv4, if there are rules for those.
            mapped = address.mapped if rows else None
            if mapped is None:
                rows = self._six
            else:
                address = mapped
        for shift, prefix, deny in rows:
            if address.value >> shift == prefix:
                return not deny
        return None
