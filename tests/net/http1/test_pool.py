"""Opening connections to the servers of a group, and which idle ones are kept."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    UNIXClientEndpoint,
)

from cacheproxy.config.model import UpstreamServer
from cacheproxy.net.http1.pool import plain_endpoint
from tests.net.http1.test_upstream import OK, UpstreamCase
from tests.proxy.harness import Bench, message


class KeepAliveTests(UpstreamCase):
    """``keepalive``: how many idle connections of a group are kept, and which."""

    def test_limit_closes_the_least_recent(self) -> None:
        """``keepalive 2`` keeps the two used last."""
        bench = self.up("", "keepalive 2;")
        clients = [bench.client() for _ in range(4)]
        for client in clients:
            client.send(message(b"GET", b"/"))
        connections = list(self.origin.connections)
        self.assertEqual(len(connections), 4)
        for connection in connections:
            connection.send(OK)
        self.assertEqual([c.closed for c in connections], [True, True, False, False])

    def test_most_recent_is_used_first(self) -> None:
        """The connection least likely to have been closed is taken."""
        bench = self.up()
        for _ in range(2):
            bench.client().send(message(b"GET", b"/"))
        first, second = self.origin.connections
        first.send(OK)
        second.send(OK)
        self.origin.default = OK
        bench.get(b"/")
        self.assertEqual(second.received.count(b"GET"), 2)

    def test_close_of_the_group(self) -> None:
        """Ending the runtime closes what is idle."""
        bench = self.up()
        self.origin.default = OK
        bench.get(b"/")
        bench.close()
        bench.reactor.settle()
        self.assertEqual(self.origin.open, 0)


class EndpointTests(UpstreamCase):
    """Where connections go."""

    def test_unix(self) -> None:
        """``proxy_pass http://unix:…``."""
        bench = self.serve("proxy_pass http://unix:/run/app.sock:/base/;")
        origin = bench.reactor.origin("/run/app.sock")
        origin.default = OK
        self.assertEqual(bench.get(b"/x").body, b"fine")
        self.assertEqual(origin.requests[0].target, b"/base/x")
        self.assertEqual(origin.requests[0].get(b"host"), b"localhost")
        self.assertFalse(origin.last.transport.no_delay)

    def test_kinds(self) -> None:
        """Addresses are not looked up, names are, at each connection."""
        reactor = Bench(self, "server { listen 127.0.0.1:80; return 200; }").reactor
        for server, kind in (
            (UpstreamServer("127.0.0.1", 80), TCP4ClientEndpoint),
            (UpstreamServer("::1", 80), TCP6ClientEndpoint),
            (UpstreamServer(path="/s", port=0), UNIXClientEndpoint),
        ):
            self.assertIsInstance(plain_endpoint(reactor, server, 5.0), kind)
        from twisted.internet.testing import MemoryReactorClock

        named = plain_endpoint(MemoryReactorClock(), UpstreamServer("app", 80), 5.0)
        self.assertIsInstance(named, HostnameEndpoint)
