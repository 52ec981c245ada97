"""Peers, failures and the choice among them, with the time injected."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

import shutil
import tempfile

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.config.model import Balancing
from cacheproxy.net.tls.client import UpstreamTls
from cacheproxy.net.upstream_group import UpstreamGroup
from cacheproxy.policy.options import ProxySsl
from tests.config.builders import http
from tests.net.tls_peers import Authority

NOBODY: frozenset[str] = frozenset()


class UpstreamGroupTests(SynchronousTestCase):
    """``UpstreamGroup``."""

    def setUp(self) -> None:
        self.clock = Clock()

    def group(self, text: str) -> UpstreamGroup:
        """The group of an ``upstream`` block."""
        config = http(f"upstream u {{ {text} }} server {{ location / {{ proxy_pass http://u; }} }}")
        return UpstreamGroup(self.clock, config.upstreams["u"], None, self.clock.seconds)

    def picks(self, group: UpstreamGroup, count: int, key: bytes = b"") -> list[str]:
        """The names of so many choices, each finished at once."""
        names = []
        for _ in range(count):
            chosen = group.pick(NOBODY, key)
            assert chosen is not None
            names.append(chosen[0])
            group.finished(chosen[0])
        return names

    def test_a_single_server_is_always_chosen_but_not_twice_for_one_request(self) -> None:
        """However often it fails: there is no other."""
        group = self.group("server 127.0.0.1:1 max_fails=1;")
        for _ in range(3):
            group.failed("127.0.0.1:1")
        self.assertEqual(self.picks(group, 2), ["127.0.0.1:1"] * 2)
        self.assertIsNone(group.pick(frozenset({"127.0.0.1:1"})))
        self.assertEqual(group.size, 1)

    def test_a_failed_server_is_set_aside_for_its_time(self) -> None:
        """``max_fails``, ``fail_timeout``: the clock is the one that was given."""
        group = self.group("server 127.0.0.1:1 fail_timeout=10s; server 127.0.0.1:2;")
        group.failed("127.0.0.1:1")
        self.assertEqual(set(self.picks(group, 4)), {"127.0.0.1:2"})
        self.clock.advance(10.1)
        self.assertIn("127.0.0.1:1", self.picks(group, 2))

    def test_every_method_chooses_among_the_servers(self) -> None:
        """``least_conn``, ``ip_hash``, ``hash``, ``random``; a key decides where there is one."""
        servers = "".join(f"server 127.0.0.1:{port};" for port in range(1, 9))
        for method in (
            "least_conn;", "ip_hash;", "hash $uri;", "hash $uri consistent;", "random;",
            "random two least_conn;",
        ):
            group = self.group(method + servers)
            kind = group.upstream.balancing
            assert kind is not None
            keyed = kind[0] in (Balancing.IP_HASH, Balancing.HASH, Balancing.CONSISTENT_HASH)
            chosen = set(self.picks(group, 20, b"192.0.2.1"))
            self.assertEqual(len(chosen) == 1, keyed, method)
            self.assertEqual(group.key is None, kind[1] is None)

    def test_group_is_the_same_while_its_block_and_its_tls_files_are(self) -> None:
        """A renewed certificate authority must not wait for a restart."""
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        group = self.group("server 127.0.0.1:1;")
        upstream = group.upstream
        other = self.group("server 127.0.0.1:2;").upstream
        self.assertTrue(group.same_as(upstream, None))
        self.assertFalse(group.same_as(other, None))
        options = ProxySsl(trusted_certificate=Authority(folder).path)
        first = UpstreamTls(options)
        secure = UpstreamGroup(self.clock, upstream, first, self.clock.seconds)
        self.assertTrue(secure.same_as(upstream, UpstreamTls(options)))
        self.assertFalse(secure.same_as(upstream, None))
        Authority(folder)
        self.assertFalse(secure.same_as(upstream, UpstreamTls(options)))

    def test_close_keeps_no_idle_connection(self) -> None:
        """Those in use close when they are done."""
        group = self.group("server 127.0.0.1:1; keepalive 5;")
        group.close()
        self.assertEqual(group._keep_alive.limit, 0)
