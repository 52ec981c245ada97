"""Addresses: ``listen``, upstream servers, ``proxy_pass``."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.config.addresses import (
    parse_listen,
    parse_proxy_pass,
    parse_upstream_server,
    parse_uwsgi_pass,
    split_host,
)
from cacheproxy.config.model import Listen, UpstreamServer
from cacheproxy.errors import ConfigError
from cacheproxy.policy.options import ProxyPass


class ListenTests(SynchronousTestCase):
    """``parse_listen``."""

    def test_forms(self) -> None:
        """An address, a port or both; a name, IPv6, a UNIX socket."""
        for text, expected in {
            "8080": ("0.0.0.0", 8080),
            "*:8080": ("0.0.0.0", 8080),
            "127.0.0.1": ("127.0.0.1", 80),
            "localhost:81": ("localhost", 81),
            "[::1]:82": ("::1", 82),
            "[::]": ("::", 80),
            "127.0.0.1:0": ("127.0.0.1", 0),
            "unix:/run/a.sock": "/run/a.sock",
        }.items():
            (listen,) = parse_listen((text,))
            self.assertEqual(listen.address, expected, text)

    def test_parameters(self) -> None:
        """Everything that the record has."""
        (listen,) = parse_listen(
            ("80", "ssl", "default_server", "reuseport", "backlog=9", "rcvbuf=8k", "sndbuf=4k")
        )
        self.assertEqual(
            listen,
            Listen(
                ssl=True,
                default_server=True,
                reuseport=True,
                backlog=9,
                rcvbuf=8192,
                sndbuf=4096,
            ),
        )

    def test_range(self) -> None:
        """A range of ports is one listen each."""
        ports = [listen.port for listen in parse_listen(("[::1]:8000-8002", "ssl"))]
        self.assertEqual(ports, [8000, 8001, 8002])

    def test_refused(self) -> None:
        """What nginx refuses, and what is not supported."""
        for args in (
            ("65536",),
            ("a:b",),
            (":80",),
            ("[::1:80",),
            ("[zz]:80",),
            ("999.1.1.1:80",),
            ("unix:",),
            ("9-1",),
            ("80", "backlog=x"),
            ("80", "backlog=0"),
            ("80", "ipv6only=yes"),
            ("80", "so_keepalive=maybe"),
            ("80", "proxy_protocol"),
            ("80", "quic"),
            ("80", "setfib=1"),
            ("80", "rcvbuf"),
        ):
            self.assertRaises(ConfigError, parse_listen, args)


class UpstreamServerTests(SynchronousTestCase):
    """``parse_upstream_server``."""

    def test_forms(self) -> None:
        """Port 80 by default, and every parameter."""
        self.assertEqual(parse_upstream_server(("app",)).name, "app:80")
        self.assertEqual(parse_upstream_server(("[::1]:81",)).name, "[::1]:81")
        self.assertEqual(parse_upstream_server(("unix:/a",)).name, "unix:/a")
        self.assertEqual(
            parse_upstream_server(
                ("a:1", "weight=2", "max_conns=3", "max_fails=0", "fail_timeout=1m", "backup")
            ),
            UpstreamServer("a", 1, "", 2, 3, 0, 60.0, True, label="a:1"),
        )

    def test_refused(self) -> None:
        """Unknown parameters and addresses that are none."""
        for args in (
            ("a", "weight=0"),
            ("a", "weight"),
            ("a", "slow_start=1s"),
            ("a", "fail_timeout=1ms"),
            ("a:0",),
            ("*",),
            ("http://a",),
            ("unix:",),
        ):
            self.assertRaises(ConfigError, parse_upstream_server, args)


class ProxyPassTests(SynchronousTestCase):
    """``parse_proxy_pass``."""

    def parsed(self, url: str) -> ProxyPass:
        """The directive's value."""
        return parse_proxy_pass(url)[0]

    def test_uri_part(self) -> None:
        """A slash is a URI part, its absence is none; a query alone gets a slash."""
        self.assertIsNone(self.parsed("http://a").uri)
        self.assertEqual(self.parsed("http://a/").uri, b"/")
        self.assertEqual(self.parsed("http://a/b?c/d").uri, b"/b?c/d")
        self.assertEqual(self.parsed("http://a?b").uri, b"/?b")
        self.assertEqual(self.parsed("http://unix:/s.sock:/x").uri, b"/x")
        self.assertIsNone(self.parsed("http://unix:/s.sock").uri)
        self.assertIsNone(self.parsed("http://unix:/s.sock:").uri)

    def test_authority(self) -> None:
        """``$proxy_host``: without the port that the scheme implies; localhost for UNIX."""
        for url, authority in {
            "http://a:80/": b"a",
            "http://a:81": b"a:81",
            "https://a:443": b"a",
            "https://a:80": b"a:80",
            "http://[::1]:80/": b"[::1]",
            "http://unix:/s.sock:/": b"localhost",
        }.items():
            self.assertEqual(self.parsed(url).authority, authority, url)

    def test_address(self) -> None:
        """The address that is connected to."""
        self.assertEqual(parse_proxy_pass("https://a")[1], UpstreamServer("a", 443))
        self.assertEqual(parse_proxy_pass("HTTP://a:1/b")[1], UpstreamServer("a", 1))
        self.assertEqual(parse_proxy_pass("http://unix:/s:/b")[1].path, "/s")

    def test_refused(self) -> None:
        """URLs that nginx refuses."""
        for url in (
            "a",
            "ftp://a",
            "http:/a",
            "http://",
            "http:///x",
            "http://a:0",
            "http://a:x",
            "http://a b",
            "http://u@a",
            "http://*",
            "http://unix:",
            "http://[::1",
        ):
            self.assertRaises(ConfigError, parse_proxy_pass, url)

    def test_split_host_tells_whether_there_was_a_port(self) -> None:
        """A port that is given counts even where it is the default one."""
        self.assertEqual(split_host("a:80", 80), ("a", 80, True))
        self.assertEqual(split_host("a", 80), ("a", 80, False))


class SocketPathTests(SynchronousTestCase):
    """Paths of UNIX sockets, wherever they may stand."""

    def test_as_long_as_the_system_takes(self) -> None:
        """107 bytes, whatever they are; a longer one would never connect (nginx refuses it)."""
        for path in ("/" + "x" * 106, "/" + "\u00fc" * 53):
            longer = path + "x"
            self.assertEqual(parse_listen((f"unix:{path}",))[0].path, path)
            self.assertEqual(parse_upstream_server((f"unix:{path}",)).path, path)
            self.assertEqual(parse_proxy_pass(f"http://unix:{path}:/")[1].path, path)
            self.assertEqual(parse_uwsgi_pass(f"unix:{path}")[1].path, path)
            for refused in (
                lambda longer=longer: parse_listen((f"unix:{longer}",)),
                lambda longer=longer: parse_upstream_server((f"unix:{longer}",)),
                lambda longer=longer: parse_proxy_pass(f"http://unix:{longer}:/"),
                lambda longer=longer: parse_uwsgi_pass(f"unix:{longer}"),
            ):
                with self.assertRaisesRegex(ConfigError, "too long path in the unix domain"):
                    refused()
