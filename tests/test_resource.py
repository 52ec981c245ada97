"""``resource``: making, mounting, opening and closing a ``CachingProxyResource``."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc,no-untyped-def"

from __future__ import annotations

import os
import ssl
import sys
import tempfile
from pathlib import Path
from typing import Any

import httpx
import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.ssl import DefaultOpenSSLContextFactory
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import IResource
from zope.interface import directlyProvides
from zope.interface.verify import verifyObject

from cacheproxy.errors import ConfigError, ConfigErrors
from cacheproxy.resource import CachingProxyResource
from tests.net.web_bench import WebBench, WebCase, WebReactor, WebTransport
from tests.proxy.harness import message, response
from tests.support.certificates import make_certificate
from tests.support.origins import Seen, origin, reply
from tests.support.ports import free_port
from tests.support.processes import TOP, TWISTD, Daemon, accepts, environment

FRESH = b"Cache-Control: max-age=60"

TWO_SERVERS = """http {
    proxy_cache_path $folder/zone keys_zone=z:1m;
    log_format own '$connection $connection_requests $bytes_sent $scheme $server_protocol';
    server { listen 80; server_name a.example; location / { return 200 "a $scheme\\n"; } }
    server { listen 80 default_server; server_name b.example; access_log $folder/access.log own;
        location / { return 200 "b\\n"; }
        location /app/ { proxy_pass http://127.0.0.1:8000/; proxy_cache z;
            proxy_cache_valid 1m; add_header X-Cache $upstream_cache_status; }
        location = /old { return 301 /new; }
    }
}"""


class MakingTests(SynchronousTestCase):
    """What the constructors take and refuse."""

    def made(self, *arguments: Any, **options: Any) -> CachingProxyResource:
        resource = CachingProxyResource(*arguments, reactor=WebReactor(), **options)
        self.addCleanup(resource.close)
        return resource

    def folder(self) -> str:
        """A folder of this test's own."""
        made = tempfile.TemporaryDirectory()
        self.addCleanup(made.cleanup)
        return made.name

    def target(self, upstream: str) -> tuple[bytes, str, bytes | None]:
        proxy = self.made(upstream)._config.servers[0].root.locations[0].proxy.proxy_pass
        assert proxy is not None
        return proxy.scheme, proxy.upstream, proxy.uri

    def test_it_is_a_resource(self) -> None:
        """``IResource``, and a leaf: what is below its path is its own."""
        resource = self.made("http://127.0.0.1:8000")
        self.assertTrue(verifyObject(IResource, resource))
        self.assertTrue(resource.isLeaf)

    def test_upstreams(self) -> None:
        """A scheme may be left out; a path goes before the request's."""
        self.assertEqual(self.target("127.0.0.1:8000"), self.target("http://127.0.0.1:8000/"))
        self.assertEqual(self.target("http://127.0.0.1:8000")[2], None)
        self.assertEqual(self.target("http://127.0.0.1:8000/base")[2], b"/base/")
        self.assertEqual(self.target("https://127.0.0.1/base/")[0], b"https")
        self.assertEqual(self.target("http://unix:/run/app.sock")[2], None)

    def test_arguments_cannot_be_more_than_they_are(self) -> None:
        """A value that would end its directive is refused."""
        for options in (
            {"cache_size": "1g; }"},
            {"cache_memory": ""},
            {"inactive": "1h\n"},
            {"max_body_size": "$arg_a"},
            {"cache_directory": 'a" levels=1'},
        ):
            with self.assertRaises(ConfigError):
                self.made("http://127.0.0.1:8000", **options)
        with self.assertRaises(ConfigError):
            self.made("http://127.0.0.1:8000;")

    def test_wrong_values(self) -> None:
        """What is no size, time or directive is an error when the resource is made."""
        for options in ({"cache_size": "big"}, {"inactive": "soon"}, {"directives": "nonsense;"}):
            with self.assertRaises(ConfigErrors):
                self.made("http://127.0.0.1:8000", **options)

    def test_a_failed_making_leaves_no_folder(self) -> None:
        """The temporary folder goes with the error."""
        folder = self.folder()
        self.patch(tempfile, "tempdir", folder)
        with self.assertRaises(ConfigErrors):
            self.made("http://127.0.0.1:8000", directives="nonsense;")
        self.assertEqual(os.listdir(folder), [])

    def test_a_folder_with_a_space(self) -> None:
        """Paths may hold what a word of nginx's syntax may not."""
        folder = os.path.join(self.folder(), "a {b}; c")
        resource = self.made("http://127.0.0.1:8000", cache_directory=Path(folder))
        self.assertEqual(resource._config.zones["resource"].path, folder)

    def test_configuration_faults(self) -> None:
        """Faults are reported as the server does; listening addresses must agree."""
        for text in ("http { nonsense; }", "http { server { location / { }"):
            with self.assertRaises(ConfigErrors):
                CachingProxyResource.from_configuration(text, reactor=WebReactor())
        text = "http { server { listen 80; } server { listen 81; } }"
        with self.assertRaisesRegex(ConfigError, 'same "listen"'):
            CachingProxyResource.from_configuration(text, reactor=WebReactor())
        with self.assertRaisesRegex(ConfigError, 'no "server"'):
            CachingProxyResource.from_configuration("http { }", reactor=WebReactor())

    def test_configuration_file(self) -> None:
        """A string without a block is a path, and so is a path object."""
        path = Path(self.folder(), "site.conf")
        path.write_text("http { server { location / { return 204; } } }")
        for given in (path, str(path)):
            resource = CachingProxyResource.from_configuration(given, reactor=WebReactor())
            self.assertEqual(resource._config.prefix, str(path.parent))
            resource.close()
        with self.assertRaises(ConfigErrors):
            CachingProxyResource.from_configuration("/nowhere/site.conf", reactor=WebReactor())


class MountTests(WebCase):
    """Paths below a mount."""

    def asked(self, target: bytes, *fields: bytes) -> tuple[bytes, bytes | None]:
        """The origin's request-target and X-Forwarded-Prefix."""
        self.origin.default = response(200, b"x")
        self.assertEqual(self.bench.get(target, *fields).status, 200)
        seen = self.origin.requests[-1]
        return seen.target, seen.get(b"x-forwarded-prefix")

    def test_the_path_goes_on_as_received(self) -> None:
        """By default the mount's path is the origin's too, escapes and all."""
        self.cache(mount=(b"app",))
        self.assertEqual(self.asked(b"/app/a%2Fb//c?d=%20"), (b"/app/a%2Fb//c?d=%20", None))
        self.assertEqual(self.asked(b"/app"), (b"/app", None))

    def test_strip_prefix(self) -> None:
        """The mount's path is cut off and told."""
        self.cache(mount=(b"app", b"v1"), strip_prefix=True)
        for target, cut in (
            (b"/app/v1/a%2Fb/c?d=/e/f", b"/a%2Fb/c?d=/e/f"),
            (b"/app/v1/", b"/"),
            (b"/app/v1", b"/"),
            (b"/app/v1?q", b"/?q"),
            (b"/%61pp/v1//x", b"//x"),
        ):
            got, prefix = self.asked(target)
            self.assertEqual(got, cut, target)
            self.assertIn(prefix, (b"/app/v1", b"/%61pp/v1"))

    def test_a_client_cannot_name_the_prefix(self) -> None:
        """The field is ours alone, also where nothing is cut off."""
        forged = b"X-Forwarded-Prefix: /evil"
        self.cache(mount=(b"app",), strip_prefix=True)
        self.assertEqual(self.asked(b"/app/a", forged), (b"/a", b"/app"))
        for strip in (True, False):
            self.cache(strip_prefix=strip)
            self.assertEqual(self.asked(b"/app/a", forged), (b"/app/a", None))

    def test_a_configuration_decides_on_the_prefix(self) -> None:
        """Where nothing is cut off, the field is one like any other."""
        text = "http { server { location / { proxy_pass http://127.0.0.1:8000; %s } } }"
        for more, seen in (("", b"/outer"), ('proxy_set_header X-Forwarded-Prefix "";', None)):
            self.configured(text.replace("%s", more))
            asked = self.asked(b"/a", b"X-Forwarded-Prefix: /outer")
            self.assertEqual(asked, (b"/a", seen))

    def test_other_resources_are_untouched(self) -> None:
        """A request beside the mount never comes here."""
        bench = self.cache(mount=(b"app",))
        self.assertEqual(bench.get(b"/other").status, 404)
        self.assertEqual(self.origin.requests, [])


class ConfigurationTests(WebCase):
    """``from_configuration``."""

    def test_servers_by_name(self) -> None:
        """``server_name`` and ``default_server`` choose, as behind one address."""
        bench = self.configured(TWO_SERVERS)
        self.assertEqual(bench.get(b"/", b"Host: a.example").body, b"a http\n")
        for host in (b"b.example", b"c.example"):
            self.assertEqual(bench.get(b"/", b"Host: " + host).body, b"b\n")

    def test_locations(self) -> None:
        """``proxy_pass`` with a URI, a cache zone, ``return``."""
        bench = self.configured(TWO_SERVERS)
        self.origin.default = response(200, b"hello")
        answers = [bench.get(b"/app/x").get(b"x-cache") for _ in range(2)]
        self.assertEqual(answers, [b"MISS", b"HIT"])
        self.assertEqual(self.origin.requests[0].target, b"/x")
        moved = bench.get(b"/old", b"Host: b.example")
        self.assertEqual((moved.status, moved.get(b"location")), (301, b"http://b.example/new"))

    def test_access_log(self) -> None:
        """``$connection_requests`` counts a connection's requests, ``$bytes_sent`` all bytes."""
        bench = self.configured(TWO_SERVERS)
        self.origin.default = response(200, b"hello", chunked=True)
        client = bench.client()
        sizes = [len(client.get(path).raw) for path in (b"/", b"/app/1", b"/app/1")]
        sizes.append(len(client.request(b"HEAD", b"/").raw))
        bench.client().get(b"/")
        lines = [line.split() for line in bench.log()]
        self.assertEqual([line[1] for line in lines], ["1", "2", "3", "4", "1"])
        self.assertEqual([int(line[2]) for line in lines[:4]], sizes)
        self.assertEqual(len({line[0] for line in lines}), 2)
        self.assertEqual(lines[0][3:], ["http", "HTTP/1.1"])

    def test_scheme(self) -> None:
        """``$scheme`` is that of the site's connection, whatever ``listen`` says."""
        bench = self.configured(TWO_SERVERS)
        client = bench.client()
        directlyProvides(client.transport, ISSLTransport)
        self.assertEqual(client.get(b"/", b"Host: a.example").body, b"a https\n")
        self.assertEqual(bench.get(b"/", b"Host: a.example").body, b"a http\n")

    def test_warnings_are_logged(self) -> None:
        """What is accepted but worth knowing is in the error log once it serves."""
        bench = self.configured(
            "error_log $folder/error.log warn;"
            + TWO_SERVERS.replace("http {", "http { include mime.types;"),
            prefix="/nowhere",
        )
        bench.get(b"/")
        self.assertIn("mime.types", "".join(bench.log("error.log")))


class TlsTests(WebCase):
    """A site behind Twisted's own TLS."""

    def test_variables(self) -> None:
        """``$scheme``, ``$https`` and ``$ssl_*`` are those of the site's connection."""
        text = "$scheme $https $ssl_protocol $ssl_cipher $ssl_server_name"
        start, end = "http { server { location / { return 200 ", "; } } }"
        bench = self.configured(f'{start}"{text}"{end}')
        pair = make_certificate(Path(bench.folder), "a.example")
        contexts: Any = DefaultOpenSSLContextFactory(str(pair.key), str(pair.certificate))
        site: Any = bench.site
        clock: Any = bench.reactor
        factory = TLSMemoryBIOFactory(contexts, False, site, clock=clock)
        peer: Any = IPv4Address("TCP", "192.0.2.1", 40000)
        protocol = factory.buildProtocol(peer)
        transport = WebTransport(bench.reactor, protocol, peer, peer)
        protocol.makeConnection(transport)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = ssl.create_default_context(cafile=str(pair.certificate))
        client: Any = context.wrap_bio(incoming, outgoing, server_hostname="a.example")
        read = 0

        def turn(call: Any, *arguments: Any) -> Any:
            """Do *call*, as often as it needs the other side."""
            nonlocal read
            while True:
                try:
                    return call(*arguments)
                except ssl.SSLWantReadError:
                    sent = outgoing.read()
                    if sent:
                        transport.deliver(sent)
                    bench.reactor.settle()
                    new, read = transport.sent[read:], len(transport.sent)
                    self.assertTrue(new, "the site says nothing")
                    incoming.write(new)

        turn(client.do_handshake)
        turn(client.write, message(b"GET", b"/"))
        answer = turn(client.read, 65536)
        expected = f"https on {client.version()} {client.cipher()[0]} a.example"
        self.assertEqual(answer.partition(b"\r\n\r\n")[2], expected.encode())


class LifeTests(WebCase):
    """Opening and closing."""

    def test_nothing_is_opened_before_the_first_request(self) -> None:
        """The process may still fork and give up root."""
        bench = self.cache()
        self.assertEqual(os.listdir(bench.folder), [])
        self.assertEqual(bench.web_reactor.triggers, [])
        self.origin.default = response(200, b"x")
        bench.get(b"/")
        self.assertIn("cache", os.listdir(bench.folder))
        self.assertEqual(len(bench.web_reactor.triggers), 1)

    def test_start_twice(self) -> None:
        """Opening again changes nothing."""
        bench = self.cache()
        bench.resource.start()
        bench.resource.start()
        self.assertEqual(len(bench.web_reactor.triggers), 1)

    def test_the_reactors_end_closes(self) -> None:
        """The cache is closed once the reactor has stopped, and is there for the next run."""
        bench = self.cache()
        self.origin.reply(response(200, b"hello", FRESH))
        bench.get(b"/")
        ((phase, event, call),) = bench.web_reactor.triggers
        self.assertEqual((phase, event), ("after", "shutdown"))
        bench.web_reactor.triggers.clear()
        call()
        folder = bench.folder

        def again(bench: Any) -> CachingProxyResource:
            return CachingProxyResource(
                "http://127.0.0.1:8000",
                cache_directory=f"{folder}/cache",
                directives="add_header X-Cache $upstream_cache_status;",
                reactor=bench.reactor,
            )

        self.assertEqual(WebBench(self, again).get(b"/").get(b"x-cache"), b"HIT")

    def test_close_cuts_what_is_under_way(self) -> None:
        """Neither the client nor the origin waits for a resource that is gone."""
        bench = self.cache()
        client = bench.client()
        client.send(message(b"GET", b"/"))
        bench.resource.close()
        bench.reactor.settle()
        self.assertTrue(client.transport.aborted)
        self.assertFalse(bench.resource._active)
        self.origin.last.send(response(200, b"late", FRESH))
        self.assertEqual(client.received, b"")

    def test_requests_after_close(self) -> None:
        """503, and nothing is opened again."""
        bench = self.cache()
        bench.resource.close()
        bench.resource.close()
        bench.resource.start()
        self.assertEqual(bench.get(b"/").status, 503)
        self.assertEqual(bench.web_reactor.triggers, [])

    def test_temporary_folder(self) -> None:
        """Without a folder the cache lives as long as the resource."""
        bench = self.cache(cache_directory=None)
        path = bench.resource._config.zones["resource"].path
        self.origin.reply(response(200, b"hello", FRESH))
        bench.get(b"/")
        self.assertEqual(bench.get(b"/").get(b"x-cache"), b"HIT")
        self.assertTrue(os.path.isdir(path))
        bench.resource.close()
        self.assertFalse(os.path.exists(path))


def answer(seen: Seen) -> bytes:
    """What the application behind the example answers."""
    if seen.target == "/prefix":
        return reply((seen.get("X-Forwarded-Prefix") or "").encode())
    return reply(b"text " * 1000, Content_Type="text/plain", Cache_Control="max-age=60")


@pytest.mark.e2e
@pytest.mark.parametrize("how", ["python", "twistd"])
def test_the_example(tmp_path: Path, how: str) -> None:
    """``examples/embedding.py`` as its first lines say, before a real origin."""
    port = free_port()
    path = str(TOP / "examples" / "embedding.py")
    command = {
        "python": [sys.executable, path],
        "twistd": [*TWISTD, "-n", "--pidfile=", "-y", path],
    }[how]
    with origin(answer) as behind:
        settings = environment(
            PORT=str(port),
            UPSTREAM=f"http://127.0.0.1:{behind.port}",
            CACHE=str(tmp_path / "cache"),
        )
        daemon = Daemon(command, tmp_path / "log", tmp_path, settings)
        try:
            daemon.wait_ready(lambda: accepts(port), "the example")
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
                assert "/app/" in client.get("/").text
                first, second = client.get("/app/page"), client.get("/app/page")
                assert [one.headers["X-Cache"] for one in (first, second)] == ["MISS", "HIT"]
                assert second.text == "text " * 1000
                assert second.headers["Content-Encoding"] == "gzip"
                assert behind.count("/page") == 1
                assert client.get("/app/prefix").text == "/app"
                part = client.get("/app/page", headers={"Range": "bytes=0-3"})
                assert part.status_code in (200, 206)
                posted = client.post("/app/form", data={"a": "1"})
                assert posted.status_code == 200
                assert behind.requests[-1].body == b"a=1"
        finally:
            status = daemon.stop()
    assert status in (0, -15), daemon.output
    assert "Traceback" not in daemon.output
    assert any((tmp_path / "cache").rglob("*"))
