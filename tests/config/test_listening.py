"""What servers say together of one address."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.config.listening import address_text
from cacheproxy.config.model import Listen
from tests.config.builders import faults, http


class ListeningTests(SynchronousTestCase):
    """``ngx_http_add_addresses``."""

    def test_no_listen(self) -> None:
        """``*:80``."""
        (listen,) = http("server { }").servers[0].listens
        self.assertEqual((listen.address, listen.default_server), (("0.0.0.0", 80), True))

    def test_default_server(self) -> None:
        """The one that says so, else the first, address by address."""
        config = http(
            "server { listen 80; listen 81; } server { listen 80 default_server; listen 81; }"
        )
        first, second = config.servers
        self.assertEqual([one.default_server for one in first.listens], [False, True])
        self.assertEqual([one.default_server for one in second.listens], [True, False])

    def test_options_are_shared(self) -> None:
        """Socket options and ``ssl`` given once hold for every server of the address."""
        config = http(
            "ssl_certificate a; ssl_certificate_key a;"
            "server { listen 80; } server { listen 80 ssl backlog=7; }"
        )
        for server in config.servers:
            self.assertEqual((server.listens[0].ssl, server.listens[0].backlog), (True, 7))

    def test_names_belong_to_the_first(self) -> None:
        """A second server with a name is a warning, on another address it is not."""
        config = http(
            "server { listen 80; server_name a; } server { listen 80; server_name a; }"
            "server { listen 81; server_name a; }"
        )
        (warning,) = config.warnings
        self.assertIn('conflicting server name "a" on 0.0.0.0:80, ignored', warning)

    def test_certificate_of_the_default_server(self) -> None:
        """It is needed; other servers of the address may do without."""
        pair = "ssl_certificate a; ssl_certificate_key a;"
        message = 'no "ssl_certificate" is defined for the "listen ... ssl" directive'
        http(f"server {{ listen 80 ssl; {pair} }} server {{ listen 80 ssl; server_name b; }}")
        self.assertEqual(
            faults(
                f"server {{ listen 80 ssl; }} server {{ listen 80 ssl; {pair} server_name b; }}"
            ),
            [message],
        )

    def test_port_zero_is_many_ports(self) -> None:
        """Each ``listen`` on port 0 is a socket of its own."""
        config = http("server { listen 127.0.0.1:0; } server { listen 127.0.0.1:0; }")
        self.assertTrue(all(server.listens[0].default_server for server in config.servers))
        self.assertEqual(config.warnings, ())

    def test_conflicts(self) -> None:
        """Two defaults, options twice, one address twice in a server."""
        for text in (
            "server { listen 80 default_server; } server { listen 80 default_server; }",
            "server { listen 80 backlog=1; } server { listen 80 backlog=2; }",
            "server { listen 80; listen *:80; }",
        ):
            self.assertEqual(len(faults(text)), 1, text)

    def test_text_of_an_address(self) -> None:
        """As nginx writes it."""
        self.assertEqual(address_text(Listen("::1", 80)), "[::1]:80")
        self.assertEqual(address_text(Listen(path="/a")), "unix:/a")
