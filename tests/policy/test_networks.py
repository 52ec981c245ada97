"""``policy.networks``: addresses and networks as integers."""

from __future__ import annotations

import ipaddress

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.policy.networks import Address, Network, parse_address, parse_network


class AddressTests(SynchronousTestCase):
    """``parse_address``."""

    @given(st.ip_addresses())
    def test_every_address(self, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
        """Both kinds, with their bits."""
        self.assertEqual(parse_address(str(address)), Address(address.version, int(address)))

    def test_what_is_none(self) -> None:
        """Neither names nor half an address, however long."""
        for text in ("", "unix:", "localhost", "1.2.3", "1.2.3.4.5", "1.2.3.256", "1.2.3.4 ",
                     ":::", "::g", "1:2", "x" * 100_000, "[::1]", "1.2.3.4/8"):  # fmt: skip
            self.assertIsNone(parse_address(text), text[:20])

    def test_zone(self) -> None:
        """A link-local peer has one; it is no part of the address."""
        self.assertEqual(parse_address("fe80::1%eth0"), parse_address("fe80::1"))

    def test_mapped(self) -> None:
        """The IPv4 address in an IPv6 one."""
        found = parse_address("::ffff:192.0.2.1")
        assert found is not None
        self.assertEqual(found.mapped, parse_address("192.0.2.1"))
        for text in ("::1", "192.0.2.1", "::192.0.2.1", "1::ffff:192.0.2.1"):
            other = parse_address(text)
            assert other is not None
            self.assertIsNone(other.mapped, text)


class NetworkTests(SynchronousTestCase):
    """``parse_network``."""

    @given(st.ip_addresses(), st.data())
    def test_agrees_with_ipaddress(
        self, address: ipaddress.IPv4Address | ipaddress.IPv6Address, data: st.DataObject
    ) -> None:
        """The network of any address and length, and who is in it."""
        bits = data.draw(st.integers(0, address.max_prefixlen))
        expected = ipaddress.ip_network(f"{address}/{bits}", strict=False)
        found, loose = parse_network(f"{address}/{bits}")
        self.assertEqual(loose, expected.network_address != address)
        near = int(address) ^ (1 << data.draw(st.integers(0, address.max_prefixlen - 1)))
        for value in (int(address), near):
            inside = type(address)(value) in expected
            self.assertEqual(found.holds(Address(address.version, value)), inside)

    def test_one_address(self) -> None:
        """Without a length all bits count."""
        self.assertEqual(parse_network("192.0.2.1"), (Network(4, 0xC0000201, 0), False))

    def test_kinds_are_apart(self) -> None:
        """No IPv6 address is in an IPv4 network."""
        network, _ = parse_network("0.0.0.0/0")
        self.assertFalse(network.holds(Address(6, 0)))

    def test_what_is_none(self) -> None:
        """Anything that cannot be read is refused, not guessed."""
        for text in ("", "/8", "10.0.0.0/", "10.0.0.0/33", "::/129", "10.0.0.0/-1", "all",
                     "10.0.0.0/+8", "10.0.0.0/255.0.0.0", "10.0.0/8", "10.0.0.0/²",
                     "fe80::1%x/64"):  # fmt: skip
            with self.assertRaises(ValueError, msg=text):
                parse_network(text)
