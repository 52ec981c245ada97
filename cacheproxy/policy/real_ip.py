"""The address that a request came from, told by trusted proxies: nginx's realip module.

``set_real_ip_from`` says which peers are believed, ``real_ip_header`` what they say it in. Where
the peer is not one of them, or what it says is no address, the connection's own address holds.

Source: nginx ``ngx_http_realip_handler``, ``ngx_http_get_forwarded_addr``, ``ngx_parse_addr_port``.
Imports: ``http.fields``, ``policy.access``, ``policy.networks``.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from cacheproxy.http.fields import Fields
from cacheproxy.policy.access import AccessList, AccessRule
from cacheproxy.policy.networks import Address, parse_address

__all__ = ["Peer", "RealIp", "address_text"]

#: Holds one address a proxy, several where the request came by several.
_FORWARDED_FOR = b"x-forwarded-for"


class Peer(NamedTuple):
    """Who sent a request; *port* 0 where that is not known."""

    host: str
    port: int


class RealIp:
    """Whom to believe (*trusted*), and about which field; *recursive*: up to the first stranger."""

    __slots__ = ("_field", "_recursive", "_trusted")

    def __init__(self, trusted: Iterable[AccessRule], field: bytes, recursive: bool) -> None:
        self._trusted = AccessList([*trusted, AccessRule(deny=True)])
        self._field = field
        self._recursive = recursive

    def find(self, host: str, fields: Fields) -> Peer | None:
        """Where a request with *fields* from *host* came from; None: from there."""
        if self._field != _FORWARDED_FOR:
            said = fields.get(self._field)
            return None if said is None else self._follow(host, said)[0]
        found: Peer | None = None
        for said in reversed(fields.get_all(_FORWARDED_FOR)):
            peer, goes_on = self._follow(host if found is None else found.host, said)
            found = peer or found
            if not goes_on:
                break
        return found

    def _follow(self, host: str, said: bytes) -> tuple[Peer | None, bool]:
        """What *said* names, from its end, while the one before is trusted.

        And whether a line before this one has a say too: all in this one were believed.
        """
        found: Peer | None = None
        while self._trusted.allows(host):
            said = said.rstrip(b" ,")
            # A separator at the very start makes no address of what follows (nginx).
            start = max(said.rfind(b" ", 1), said.rfind(b",", 1)) + 1
            peer = _peer(said[start:])
            if peer is None:
                break
            found, host = peer, peer.host
            if not self._recursive:
                break
            if not start:
                return found, True
            said = said[:start]
        return found, False


def _peer(text: bytes) -> Peer | None:
    """``address``, ``address:port`` or ``[address]:port``; None where it is none of these."""
    said = text.decode("latin-1")
    address = _address(said)
    if address is not None:
        return Peer(address_text(address), 0)
    host, colon, digits = said.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        return None
    address = _address(host)
    if not colon or address is None or not (digits.isascii() and digits.isdigit()):
        return None
    port = int(digits[:6])
    return Peer(address_text(address), port) if 0 < port < 65536 else None


def _address(text: str) -> Address | None:
    return None if "%" in text else parse_address(text)


def address_text(address: Address) -> str:
    """*address* as ``$remote_addr`` shows it."""
    if address.version == 4:
        return str(IPv4Address(address.value))
    mapped = address.mapped
    if mapped is not None:
        return f"::ffff:{IPv4Address(mapped.value)}"
    return str(IPv6Address(address.value))
