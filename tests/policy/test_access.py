"""``policy.access``: who may come in."""

from __future__ import annotations

import ipaddress

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.policy.access import MAX_KNOWN, AccessList, AccessRule
from cacheproxy.policy.networks import parse_network


def rules(text: str) -> AccessList:
    """A list from lines of ``+network``, ``-all``, …"""
    found = []
    for word in text.split():
        deny, rest = word[0] == "-", word[1:]
        if rest == "all":
            found.append(AccessRule(deny))
        elif rest == "unix:":
            found.append(AccessRule(deny, unix=True))
        else:
            found.append(AccessRule(deny, parse_network(rest)[0]))
    return AccessList(found)


_networks = st.sampled_from(
    ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3", "0.0.0.0/0", "128.0.0.0/1", "192.0.2.0/24"]
)
_hosts = st.sampled_from(["10.0.0.1", "10.1.0.1", "10.1.2.3", "192.0.2.9", "8.8.8.8", "200.1.1.1"])


class AccessListTests(SynchronousTestCase):
    """``AccessList.allows``."""

    def test_first_rule_decides(self) -> None:
        """The order of the file counts, not how specific a rule is."""
        office = rules("-10.0.0.9 +10.0.0.0/8 -all")
        self.assertFalse(office.allows("10.0.0.9"))
        self.assertTrue(office.allows("10.0.0.8"))
        self.assertFalse(office.allows("192.0.2.1"))
        self.assertTrue(rules("+10.0.0.0/8 -10.0.0.9").allows("10.0.0.9"))

    @given(st.lists(st.tuples(st.sampled_from("+-"), _networks), min_size=1), _hosts)
    def test_agrees_with_a_walk(self, chosen: list[tuple[str, str]], host: str) -> None:
        """The first network that holds the address; where there is none, it is allowed."""
        expected = True
        for sign, network in chosen:
            if ipaddress.ip_address(host) in ipaddress.ip_network(network):
                expected = sign == "+"
                break
        found = rules(" ".join(sign + network for sign, network in chosen))
        self.assertEqual(found.allows(host), expected)
        self.assertEqual(found.allows(host), expected)

    def test_all_is_for_every_kind(self) -> None:
        """IPv4, IPv6 and UNIX peers."""
        for host in ("192.0.2.1", "2001:db8::1", "unix:"):
            self.assertFalse(rules("-all").allows(host), host)
            self.assertTrue(rules("+all -all").allows(host), host)

    def test_kinds_are_apart(self) -> None:
        """A rule for one kind says nothing of the others."""
        self.assertTrue(rules("-0.0.0.0/0").allows("2001:db8::1"))
        self.assertTrue(rules("-::/0").allows("192.0.2.1"))
        self.assertTrue(rules("-0.0.0.0/0 -::/0").allows("unix:"))
        self.assertFalse(rules("-unix:").allows("unix:"))
        self.assertTrue(rules("-unix:").allows("192.0.2.1"))

    def test_mapped_address_is_one_of_ipv4(self) -> None:
        """As nginx: where there are rules for IPv4, those hold, and only those."""
        self.assertFalse(rules("-10.0.0.0/8 +::/0").allows("::ffff:10.0.0.1"))
        self.assertTrue(rules("+10.0.0.0/8 -all").allows("::ffff:10.0.0.1"))
        self.assertFalse(rules("-::ffff:0:0/96").allows("::ffff:10.0.0.1"))
        self.assertTrue(rules("+192.0.2.1 -::ffff:0:0/96").allows("::ffff:10.0.0.1"))

    def test_nobody_knows_who(self) -> None:
        """A peer without an address does not come in where there are rules."""
        for host in ("", "host.example", "10.0.0.1, 10.0.0.2", "unix:/x"):
            self.assertFalse(rules("+10.0.0.0/8").allows(host), host)

    def test_memory_is_bounded(self) -> None:
        """Any number of addresses may come."""
        office = rules("+10.0.0.0/8 -all")
        for number in range(MAX_KNOWN + 10):
            office.allows(str(ipaddress.IPv4Address(number)))
        self.assertLessEqual(len(office._known), MAX_KNOWN)
        self.assertFalse(office.allows("0.0.0.1"))
        self.assertTrue(office.allows("10.0.0.1"))
