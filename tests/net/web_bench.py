"""A ``twisted.web`` site with a ``CachingProxyResource``, in memory (see ``proxy.harness``)."""

# trial's test cases and Twisted's interfaces have no types.
# mypy: disable-error-code="no-untyped-call,misc,no-untyped-def"

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IPushProducer
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import Site
from zope.interface import implementer

from cacheproxy.resource import CachingProxyResource
from tests.proxy.harness import Bench, BenchReactor, Client, FakeTransport, QueuedDisk

__all__ = ["WebBench", "WebCase"]


class WebReactor(BenchReactor):
    """Knows triggers too."""

    def __init__(self) -> None:
        super().__init__()
        self.triggers: list[tuple[str, str, Callable[[], object]]] = []

    def addSystemEventTrigger(self, phase: str, event: str, call: Callable[[], object]) -> Any:
        self.triggers.append((phase, event, call))
        return self.triggers[-1]

    def removeSystemEventTrigger(self, trigger: Any) -> None:
        self.triggers.remove(trigger)


@implementer(IPushProducer)
class WebTransport(FakeTransport):
    """A transport that ``twisted.web`` takes for one with back-pressure, as TCP's is."""


class WebClient(Client):
    """A client of a ``twisted.web`` site."""

    def __init__(self, bench: WebBench, peer: Any) -> None:
        self.bench = bench
        self.protocol = bench.site.buildProtocol(peer)
        host = IPv4Address("TCP", "127.0.0.1", 80)
        self.transport = WebTransport(bench.reactor, self.protocol, peer, host)
        self.read = 0
        self.protocol.makeConnection(self.transport)


class WebBench(Bench):
    """A site whose resource *make* makes, mounted at *mount* (path segments; none: the root)."""

    def __init__(
        self,
        case: SynchronousTestCase,
        make: Callable[[WebBench], CachingProxyResource],
        mount: tuple[bytes, ...] = (),
    ) -> None:
        self.folder = tempfile.mkdtemp(prefix="bench")
        case.addCleanup(shutil.rmtree, self.folder, True)
        self.reactor = self.web_reactor = WebReactor()
        self.disk = QueuedDisk(self.reactor)
        self._replace_seams(case)
        self.resource = make(self)
        self.runtime = self.resource._runtime
        top: Any = self.resource
        for name in reversed(mount):
            above = Resource()
            above.putChild(name, top)
            top = above
        self.site = Site(top, reactor=self.reactor)
        self.clients: list[WebClient] = []
        case.addCleanup(self.close)

    def client(self, port: int | None = None, peer: Any = None, hot: bool = True) -> Client:
        """A new connection."""
        self.clients.append(WebClient(self, peer or IPv4Address("TCP", "192.0.2.1", 40000)))
        return self.clients[-1]

    def close(self) -> None:
        """Close everything; nothing may be left behind."""
        self.disk.release()
        self.resource.close()
        for client in self.clients:
            client.vanish()
        self.reactor.settle()
        assert not self.resource._active
        assert not self.web_reactor.triggers


class WebCase(SynchronousTestCase):
    """A test with a web bench."""

    bench: WebBench

    def cache(
        self, directives: str = "", mount: tuple[bytes, ...] = (), **options: Any
    ) -> WebBench:
        """The simple constructor before the origin at port 8000."""

        def make(bench: WebBench) -> CachingProxyResource:
            settings: dict[str, Any] = {"cache_directory": f"{bench.folder}/cache", **options}
            return CachingProxyResource(
                "http://127.0.0.1:8000",
                directives=f"add_header X-Cache $upstream_cache_status; {directives}",
                reactor=bench.reactor,
                **settings,
            )

        self.bench = WebBench(self, make, mount)
        return self.bench

    def configured(self, text: str, mount: tuple[bytes, ...] = (), **options: Any) -> WebBench:
        """A resource of a configuration; ``$folder`` stands for the bench's folder."""

        def make(bench: WebBench) -> CachingProxyResource:
            return CachingProxyResource.from_configuration(
                text.replace("$folder", bench.folder), reactor=bench.reactor, **options
            )

        self.bench = WebBench(self, make, mount)
        return self.bench

    @property
    def origin(self) -> Any:
        """The origin of ``cache``."""
        return self.bench.origin()
