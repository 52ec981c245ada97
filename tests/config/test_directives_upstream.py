"""``upstream`` blocks: servers, balancing methods, connections that are kept."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.config.build import loads
from cacheproxy.config.model import Balancing, Upstream, UpstreamServer
from cacheproxy.errors import ConfigErrors
from cacheproxy.proxy.site.variables import resolve
from tests.config.builders import faults, http


def upstream(inside: str) -> Upstream:
    """The upstream with *inside*."""
    text = f"http {{ upstream u {{ {inside} }} server {{ location / {{ }} }} }}"
    return loads(text, "site.conf", "/", resolve).upstreams["u"]


class UpstreamTests(SynchronousTestCase):
    """``upstream``."""

    def test_options(self) -> None:
        """Everything of the block."""
        config = http(
            "upstream u { server a:1; server b backup; keepalive 5; keepalive_requests 6;"
            "keepalive_time 7s; keepalive_timeout 8s; zone u 64k; }"
        )
        servers = (
            UpstreamServer("a", 1, label="a:1"),
            UpstreamServer("b", backup=True, label="b"),
        )
        self.assertEqual(config.upstreams["u"], Upstream("u", servers, None, 5, 6, 7.0, 8.0))

    def test_keepalive_by_default(self) -> None:
        """32 idle connections, as in nginx since 1.29.7; 0 keeps none."""
        config = http("upstream u { server a; } upstream v { server a; keepalive 0; }")
        self.assertEqual(config.upstreams["u"].keepalive, 32)
        self.assertEqual(config.upstreams["v"].keepalive, 0)

    def test_only_backups(self) -> None:
        """A group needs a server that is no backup."""
        self.assertEqual(
            faults("upstream u { server a backup; }"), ["no servers are inside upstream"]
        )


class BalancingTests(SynchronousTestCase):
    """``least_conn``, ``ip_hash``, ``hash``, ``random``."""

    def test_round_robin_where_none_is_named(self) -> None:
        """The default."""
        self.assertIsNone(upstream("server 127.0.0.1;").balancing)

    def test_each_method(self) -> None:
        """Its record, and what it goes by."""
        for words, method, key in (
            ("least_conn", Balancing.LEAST_CONN, None),
            ("ip_hash", Balancing.IP_HASH, "$remote_addr"),
            ("hash $request_uri", Balancing.HASH, "$request_uri"),
            ("hash $host$uri consistent", Balancing.CONSISTENT_HASH, "$host$uri"),
            ("random", Balancing.RANDOM, None),
            ("random two", Balancing.RANDOM_TWO, None),
            ("random two least_conn", Balancing.RANDOM_TWO, None),
        ):
            chosen = upstream(f"{words}; server 127.0.0.1; server 127.0.0.2;").balancing
            assert chosen is not None
            text = None if chosen[1] is None else chosen[1].text
            self.assertEqual((chosen[0], text), (method, key), words)

    def test_the_last_method_counts(self) -> None:
        """With a warning, as in nginx."""
        chosen = upstream("ip_hash; least_conn; server 127.0.0.1;").balancing
        assert chosen is not None
        self.assertIs(chosen[0], Balancing.LEAST_CONN)

    def test_unknown_words_are_refused(self) -> None:
        """In nginx's words."""
        for words, message in (
            ("hash $uri steady", 'invalid parameter "steady"'),
            ("random three", 'invalid parameter "three"'),
            ("random two least_time=header", 'invalid parameter "least_time=header"'),
            ("ip_hash $uri", "invalid number of arguments"),
        ):
            error = self.assertRaises(ConfigErrors, upstream, f"{words}; server 127.0.0.1;")
            self.assertIn(message, str(error))

    def test_backup_is_refused_by_methods_that_know_none(self) -> None:
        """Where it stands after the method, as in nginx."""
        servers = "server 127.0.0.1; server 127.0.0.2 backup;"
        for method in ("ip_hash", "hash $uri", "hash $uri consistent", "random"):
            error = self.assertRaises(ConfigErrors, upstream, f"{method}; {servers}")
            self.assertIn('does not support parameter "backup"', str(error))
        upstream(f"least_conn; {servers}")
