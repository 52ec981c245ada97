"""``policy.real_ip``: whom trusted proxies speak for."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.http.fields import Fields
from cacheproxy.policy.access import AccessRule
from cacheproxy.policy.networks import parse_network
from cacheproxy.policy.real_ip import RealIp


def found(
    *values: str,
    peer: str = "10.0.0.1",
    field: str = "X-Forwarded-For",
    recursive: bool = False,
) -> tuple[str, int] | None:
    """What 10.0.0.0/8 and peers on UNIX sockets, which are trusted, say in lines of *field*."""
    trusted = [AccessRule(False, parse_network("10.0.0.0/8")[0]), AccessRule(False, unix=True)]
    real_ip = RealIp(trusted, field.lower().encode(), recursive)
    return real_ip.find(peer, Fields([(field.encode(), value.encode()) for value in values]))


class RealIpTests(SynchronousTestCase):
    """``RealIp.find``."""

    def test_strangers_are_not_believed(self) -> None:
        """Whatever they send; nor is a request without the field."""
        self.assertIsNone(found("192.0.2.1", peer="198.51.100.1"))
        self.assertIsNone(found("192.0.2.1", peer="2001:db8::1"))
        self.assertIsNone(found("192.0.2.1", peer="no address"))
        self.assertIsNone(found())

    def test_trusted_peers_are_believed(self) -> None:
        """By address, mapped address, or on a UNIX socket."""
        for peer in ("10.9.9.9", "::ffff:10.0.0.1", "unix:"):
            self.assertEqual(found("192.0.2.1", peer=peer), ("192.0.2.1", 0), peer)

    def test_the_last_address_counts(self) -> None:
        """Of the last line, whether or not that address is trusted."""
        self.assertEqual(found("192.0.2.1, 10.0.0.2"), ("10.0.0.2", 0))
        self.assertEqual(found("192.0.2.1", "192.0.2.2 , ,"), ("192.0.2.2", 0))
        self.assertIsNone(found("192.0.2.1", ""))

    def test_recursive_looks_past_trusted_proxies(self) -> None:
        """Within a line and over several, up to the first that is not trusted."""
        self.assertEqual(
            found("6.6.6.6, 192.0.2.1, 10.0.0.2,10.0.0.3", recursive=True), ("192.0.2.1", 0)
        )
        self.assertEqual(
            found("6.6.6.6, 192.0.2.1", "10.0.0.2", recursive=True), ("192.0.2.1", 0)
        )
        self.assertEqual(found("10.0.0.4, 10.0.0.2", recursive=True), ("10.0.0.4", 0))

    def test_recursive_stops_at_what_is_no_address(self) -> None:
        """Nothing before it has a say, on other lines neither."""
        self.assertEqual(found("192.0.2.1, ?, 10.0.0.2", recursive=True), ("10.0.0.2", 0))
        self.assertEqual(found("192.0.2.1", "?, 10.0.0.2", recursive=True), ("10.0.0.2", 0))
        self.assertEqual(found("192.0.2.1", ",10.0.0.2", recursive=True), None)

    def test_ports(self) -> None:
        """They are taken where they are ports."""
        self.assertEqual(found("192.0.2.1:80"), ("192.0.2.1", 80))
        self.assertEqual(found("[2001:DB8:0::1]:443"), ("2001:db8::1", 443))
        self.assertEqual(found("2001:db8::1"), ("2001:db8::1", 0))
        self.assertEqual(found("::ffff:192.0.2.1"), ("::ffff:192.0.2.1", 0))
        for text in ("[::1]", "192.0.2.1:0", "192.0.2.1:65536", "192.0.2.1:", "fe80::1%eth0",
                     "192.0.2.1:+1", "[::1]:²", "unix:", "name", "", ","):
            self.assertIsNone(found(text), text)

    def test_any_field(self) -> None:
        """Of one that is not X-Forwarded-For the first line counts."""
        self.assertEqual(found("192.0.2.1", "192.0.2.2", field="X-Real-IP"), ("192.0.2.1", 0))
        self.assertEqual(
            found("192.0.2.1, 10.0.0.2", field="CF-Connecting", recursive=True), ("192.0.2.1", 0)
        )
