"""Rows of TLS on the listening side."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.config.model import SslOptions
from tests.config.builders import faults, http

PAIR = "ssl_certificate a.pem; ssl_certificate_key a.key;"


class SslTests(SynchronousTestCase):
    """``ssl_*``."""

    def options(self, text: str) -> SslOptions | None:
        """The options of one server."""
        return http(f"server {{ listen 443 ssl; {PAIR} {text} }}").servers[0].ssl

    def test_defaults(self) -> None:
        """TLS 1.2 and 1.3, as newer nginx has it."""
        self.assertEqual(
            self.options(""), SslOptions(certificates=(("/etc/proxy/a.pem", "/etc/proxy/a.key"),))
        )

    def test_several_certificates(self) -> None:
        """Pairs in the order of the file."""
        ssl = self.options("ssl_certificate /b.pem; ssl_certificate_key /b.key;")
        assert ssl is not None
        self.assertEqual(ssl.certificates[1], ("/b.pem", "/b.key"))

    def test_server_name_is_the_one_variable_of_a_certificate(self) -> None:
        """It alone is known before the handshake; nginx takes any."""
        ssl = self.options("ssl_certificate $ssl_server_name.pem; ssl_certificate_key k;")
        assert ssl is not None
        self.assertEqual(ssl.certificates[1][0], "/etc/proxy/$ssl_server_name.pem")
        for bad in ("$host.pem", "/a/$ssl_server_names", "a$"):
            found = faults(f"server {{ listen 443 ssl; {PAIR.replace('a.pem', bad)} }}")
            self.assertIn('only the variable "$ssl_server_name"', " ".join(found), bad)

    def test_inherited(self) -> None:
        """A server has what ``http`` says, certificates included."""
        config = http(f"{PAIR} ssl_session_timeout 1h; server {{ listen 443 ssl; }}")
        ssl = config.servers[0].ssl
        assert ssl is not None
        self.assertEqual((len(ssl.certificates), ssl.session_timeout), (1, 3600))

    def test_values(self) -> None:
        """The plain ones."""
        ssl = self.options(
            "ssl_protocols TLSv1.3; ssl_ciphers X; ssl_prefer_server_ciphers on;"
            "ssl_session_cache builtin:1000 shared:S:1m; ssl_session_tickets off;"
            "ssl_session_ticket_key t.key; ssl_buffer_size 4k; ssl_dhparam dh.pem;"
            "ssl_ecdh_curve X25519; ssl_password_file p; ssl_conf_command Options X;"
        )
        assert ssl is not None
        self.assertEqual(ssl.protocols, {"TLSv1.3"})
        self.assertEqual((ssl.session_cache, ssl.session_cache_size), ("shared", 1 << 20))
        self.assertEqual(ssl.session_ticket_keys, ("/etc/proxy/t.key",))
        self.assertEqual(ssl.conf_command, (("Options", "X"),))
        self.assertFalse(ssl.session_tickets)
        self.assertTrue(ssl.prefer_server_ciphers)
        self.assertEqual((ssl.buffer_size, ssl.dhparam), (4096, "/etc/proxy/dh.pem"))

    def test_http2_is_a_warning(self) -> None:
        """Clients that offer both are served HTTP/1.1."""
        config = http("http2 on; server { listen 80 http2; }")
        self.assertEqual(len(config.warnings), 2)
        self.assertEqual(http("http2 off; server { }").warnings, ())

    def test_refused(self) -> None:
        """What is missing, and what would have to be implemented."""
        for text in (
            "server { listen 443 ssl; }",
            "server { listen 443 ssl; ssl_certificate a.pem; }",
            "ssl_stapling on;",
            "ssl_verify_client on;",
            "ssl_early_data on;",
            "ssl_certificate $host.pem;",
            "ssl_session_cache shared:S:x;",
            "ssl_session_cache shared:S:4k;",
        ):
            self.assertTrue(faults(text), text)
