"""``policy.geo``: values by address."""

from __future__ import annotations

import ipaddress

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.policy.geo import Networks, Overlap, Ranges, forwarded_address, split_host_port
from cacheproxy.policy.networks import Address, parse_address, parse_network

_small = st.integers(0, 0x3FFFF)


def at(text: str) -> Address:
    """An address."""
    found = parse_address(text)
    assert found is not None
    return found


class NetworksTests(SynchronousTestCase):
    """``Networks``."""

    @given(
        st.lists(st.tuples(st.ip_addresses(v=4), st.integers(0, 32)), max_size=12),
        st.ip_addresses(v=4),
    )
    def test_longest_prefix_wins(
        self, named: list[tuple[ipaddress.IPv4Address, int]], address: ipaddress.IPv4Address
    ) -> None:
        """Whatever the order in which they come."""
        table = Networks()
        model = {}
        for number, (start, bits) in enumerate(named):
            text = f"{start}/{bits}"
            table.add(parse_network(text)[0], b"%d" % number)
            model[ipaddress.ip_network(text, strict=False)] = b"%d" % number
        holding = [network for network in model if address in network]
        best = max(holding, key=lambda network: network.prefixlen, default=None)
        expected = b"" if best is None else model[best]
        self.assertEqual(table.find(at(str(address))), expected)
        self.assertEqual(table.find(at(f"::ffff:{address}")), expected)

    def test_delete(self) -> None:
        """What lies around it holds again."""
        table = Networks()
        table.add(parse_network("10.0.0.0/8")[0], b"wide")
        table.add(parse_network("10.1.0.0/16")[0], b"narrow")
        self.assertEqual(table.find(at("10.1.0.1")), b"narrow")
        self.assertTrue(table.delete(parse_network("10.1.0.0/16")[0]))
        self.assertFalse(table.delete(parse_network("10.1.0.0/16")[0]))
        self.assertEqual(table.find(at("10.1.0.1")), b"wide")

    def test_no_address(self) -> None:
        """It counts as the last address of all (nginx ``INADDR_NONE``)."""
        table = Networks()
        table.add(parse_network("128.0.0.0/1")[0], b"high")
        self.assertEqual(table.find(None), b"high")


class RangesTests(SynchronousTestCase):
    """``Ranges``."""

    @given(st.lists(st.tuples(_small, _small), max_size=8), _small)
    def test_agrees_with_a_plain_table(self, pairs: list[tuple[int, int]], address: int) -> None:
        """The last range within another takes its place; a cut is refused."""
        table = Ranges()
        table.default = b"none"
        model: dict[int, bytes] = {}
        for number, (one, two) in enumerate(pairs):
            low, high = min(one, two), max(one, two)
            value = b"%d" % number
            try:
                table.add(low, high, value)
            except Overlap as overlap:
                # Something is there already, and it is not all around what was to be added.
                self.assertTrue(low <= overlap.high and overlap.low <= high)
                return
            if low <= address <= high:
                model[address] = value
        self.assertEqual(table.find(Address(4, address)), model.get(address, b"none"))

    def test_splits(self) -> None:
        """In the middle, at either end, all of it."""
        table = Ranges()
        table.add(100, 200, b"outer")
        for low, high, value in ((150, 160, b"m"), (100, 110, b"l"), (190, 200, b"h")):
            self.assertIsNone(table.add(low, high, value))
        self.assertEqual(table.add(150, 160, b"M"), b"m")
        found = [table.find(Address(4, one)) for one in (99, 100, 110, 111, 149, 150, 160, 161)]
        self.assertEqual(found, [b"", b"l", b"l", b"outer", b"outer", b"M", b"M", b"outer"])

    def test_cuts(self) -> None:
        """A range may neither cut nor hold one that is there."""
        for low, high in ((90, 150), (150, 250), (90, 250), (100, 201), (99, 200)):
            table = Ranges()
            table.add(100, 200, b"there")
            with self.assertRaises(Overlap):
                table.add(low, high, b"new")

    def test_delete(self) -> None:
        """Only what was added as such."""
        table = Ranges()
        table.add(0, 0x2FFFF, b"wide")
        self.assertFalse(table.delete(1, 5))
        self.assertFalse(table.delete(0x50000, 0x50001))
        self.assertTrue(table.delete(0, 0x2FFFF))
        self.assertEqual(table.find(Address(4, 0x10005)), b"")

    def test_ipv6(self) -> None:
        """Ranges are of IPv4: mapped addresses are looked up, others are nowhere."""
        table = Ranges()
        table.default = b"none"
        table.add(0, 0xFFFF0000, b"four")
        self.assertEqual(table.find(at("::ffff:1.2.3.4")), b"four")
        self.assertEqual(table.find(at("::1")), b"none")
        self.assertEqual(table.find(None), b"none")


class ForwardedTests(SynchronousTestCase):
    """``forwarded_address``."""

    def found(self, peer: str, forwarded: str, proxies: str, recursive: bool = False) -> Address:
        """The address that counts."""
        networks = [parse_network(text)[0] for text in proxies.split()]
        return forwarded_address(at(peer), forwarded, networks, recursive)

    def test_untrusted_peer(self) -> None:
        """What it says of itself is worth nothing."""
        self.assertEqual(self.found("192.0.2.1", "10.0.0.1", "10.0.0.0/8"), at("192.0.2.1"))
        self.assertEqual(self.found("192.0.2.1", "10.0.0.1", ""), at("192.0.2.1"))

    def test_last_address(self) -> None:
        """The one that the trusted proxy has added itself."""
        self.assertEqual(self.found("10.0.0.1", "1.1.1.1, 2.2.2.2", "10.0.0.0/8"), at("2.2.2.2"))

    def test_recursive(self) -> None:
        """The last that is not a trusted proxy."""
        proxies = "10.0.0.0/8 2.2.2.2"
        text = "3.3.3.3, 1.1.1.1, 10.0.0.2, 2.2.2.2"
        self.assertEqual(self.found("10.0.0.1", text, proxies, True), at("1.1.1.1"))
        self.assertEqual(self.found("10.0.0.1", text, proxies), at("2.2.2.2"))
        self.assertEqual(self.found("10.0.0.1", "10.0.0.2", proxies, True), at("10.0.0.2"))

    def test_rubbish_ends_it(self) -> None:
        """The last address that could be read counts."""
        for text in ("", " , ", "x", "1.1.1.1 x", "[::1]", "[::1]:0", "1.1.1.1:99999", "a:b:c:d"):
            self.assertEqual(self.found("10.0.0.1", text, "10.0.0.0/8"), at("10.0.0.1"), text)

    def test_mapped_peer(self) -> None:
        """A mapped address is trusted as the one in it is."""
        self.assertEqual(self.found("::ffff:10.0.0.1", "1.1.1.1", "10.0.0.0/8"), at("1.1.1.1"))
        self.assertEqual(self.found("::ffff:10.0.0.1", "1.1.1.1", "::/0"), at("::ffff:10.0.0.1"))

    def test_ports(self) -> None:
        """An address may come with its port."""
        for text, host in {
            "1.2.3.4": "1.2.3.4",
            "1.2.3.4:80": "1.2.3.4",
            "[::1]:80": "::1",
            "::1": "::1",
            "1.2.3.4:": "",
            "1.2.3.4:0": "",
        }.items():
            self.assertEqual(split_host_port(text), host, text)
