"""Contexts from options: what they negotiate, and what a faulty file says."""

import dataclasses
import os
import ssl
import subprocess
import tempfile

from OpenSSL import SSL
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.config.model import SslOptions
from cacheproxy.errors import ConfigError
from cacheproxy.net.tls.accept import TlsServerProtocol
from cacheproxy.net.tls.contexts import (
    ContextStore,
    ServerContexts,
    make_client_context,
    make_server_context,
)
from cacheproxy.policy.options import ProxySsl
from tests.net.tls_peers import Authority, Peer, Recorder, Wire, client_context

FOLDER = tempfile.mkdtemp()
AUTHORITY = Authority(FOLDER)
EC = AUTHORITY.issue("a.example")
RSA = AUTHORITY.issue("b.example", "rsa")
OPTIONS = SslOptions(certificates=(EC,))


def connect(context: SSL.Context, client: ssl.SSLContext | None = None, **options: object) -> Peer:
    """A handshake of the standard library's client with a server in *context*."""
    protocol = TlsServerProtocol(Recorder(), ServerContexts(context), Clock())
    wire = Wire()
    protocol.makeConnection(wire)
    return Peer(protocol, wire, client or client_context(), **options).run()


class ServerContextTests(SynchronousTestCase):
    def fault(self, **changes: object) -> str:
        error = self.assertRaises(
            ConfigError, make_server_context, dataclasses.replace(OPTIONS, **changes)
        )
        return str(error)

    def test_faulty_files_are_named(self) -> None:
        """``--test`` can tell which file is wrong, and why."""
        missing = os.path.join(FOLDER, "none.pem")
        broken = os.path.join(FOLDER, "broken.pem")
        with open(broken, "w") as file:
            file.write("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        self.assertIn("No such file", self.fault(certificates=((missing, EC[1]),)))
        self.assertIn(missing, self.fault(certificates=((missing, EC[1]),)))
        self.assertIn(missing, self.fault(certificates=((EC[0], missing),)))
        self.assertIn(broken, self.fault(certificates=((broken, EC[1]),)))
        self.assertIn(broken, self.fault(certificates=((EC[0], broken),)))
        self.assertIn(missing, self.fault(dhparam=missing))
        self.assertIn(broken, self.fault(dhparam=broken))
        self.assertIn(missing, self.fault(password_files=(missing,)))
        self.assertIn("data:", self.fault(certificates=(("data:x", EC[1]),)))
        self.assertIn("no", self.fault(certificates=()))

    def test_key_of_another_certificate_is_refused(self) -> None:
        """The message names both files."""
        other = AUTHORITY.issue("other.example")
        for certificate, key in ((EC[0], other[1]), (EC[0], RSA[1])):
            message = self.fault(certificates=((certificate, key),))
            self.assertIn(certificate, message)
            self.assertIn(key, message)

    def test_encrypted_keys_need_a_password(self) -> None:
        """``ssl_password_file``: every line is tried."""
        pair = AUTHORITY.issue("locked.example", password=b"secret")
        self.assertIn(pair[1], self.fault(certificates=(pair,)))
        path = os.path.join(FOLDER, "passwords")
        with open(path, "w") as file:
            file.write("wrong\nsecret\n")
        options = SslOptions(certificates=(pair, RSA), password_files=(path,))
        make_server_context(options)

    def test_unknown_words_are_refused(self) -> None:
        """Nothing that OpenSSL does not know is ignored."""
        self.assertIn("NOPE", self.fault(ciphers="NOPE"))
        self.assertIn("nope", self.fault(ecdh_curve="nope"))
        self.assertIn("SSLv3", self.fault(protocols=frozenset({"SSLv3"})))
        self.assertIn("what", self.fault(session_cache="what"))
        self.assertIn("ticket", self.fault(session_ticket_keys=("x",)))
        self.assertIn("Nope", self.fault(conf_command=(("Nope", "x"),)))
        self.assertIn("X", self.fault(conf_command=(("Options", "X"),)))
        self.assertIn("X", self.fault(conf_command=(("Ciphersuites", "X"),)))
        self.assertIn("X", self.fault(conf_command=(("MinProtocol", "X"),)))
        self.assertIn("X", self.fault(conf_command=(("SignatureAlgorithms", "X"),)))

    def test_protocols_bound_the_version(self) -> None:
        """``ssl_protocols``: a client below is refused, the best common one is taken."""
        client = client_context()
        self.assertEqual(connect(make_server_context(OPTIONS)).tls.version(), "TLSv1.3")
        client.maximum_version = ssl.TLSVersion.TLSv1_2
        self.assertEqual(connect(make_server_context(OPTIONS), client).tls.version(), "TLSv1.2")
        only = dataclasses.replace(OPTIONS, protocols=frozenset({"TLSv1.3"}))
        self.assertRaises(ssl.SSLError, connect, make_server_context(only), client)

    def test_server_preference_decides(self) -> None:
        """``ssl_prefer_server_ciphers on``: the order is the server's."""
        client = client_context()
        client.maximum_version = ssl.TLSVersion.TLSv1_2
        first, second = "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384"
        client.set_ciphers(f"{second}:{first}")
        options = dataclasses.replace(OPTIONS, ciphers=f"{first}:{second}")
        self.assertEqual(connect(make_server_context(options), client).tls.cipher()[0], second)
        options = dataclasses.replace(options, prefer_server_ciphers=True)
        self.assertEqual(connect(make_server_context(options), client).tls.cipher()[0], first)

    def test_conf_commands_take_effect(self) -> None:
        """``ssl_conf_command Ciphersuites`` rules TLSv1.3."""
        commands = (
            ("Ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"),
            ("Groups", "P-256"),
            ("MinProtocol", "TLSv1.3"),
            ("Options", "ServerPreference,PrioritizeChaCha"),
            ("SignatureAlgorithms", "ECDSA+SHA256"),
        )
        context = make_server_context(dataclasses.replace(OPTIONS, conf_command=commands))
        self.assertEqual(connect(context).tls.cipher()[0], "TLS_CHACHA20_POLY1305_SHA256")

    def test_certificates_of_two_kinds(self) -> None:
        """RSA and ECDSA on one server: each client gets what it can check."""
        context = make_server_context(SslOptions(certificates=(EC, RSA)))
        for cipher, name in (("ECDHE-ECDSA", b"a.example"), ("ECDHE-RSA", b"b.example")):
            client = client_context()
            client.maximum_version = ssl.TLSVersion.TLSv1_2
            client.set_ciphers(f"{cipher}-AES128-GCM-SHA256")
            certificate = connect(context, client).tls.getpeercert(True)
            assert certificate is not None
            self.assertIn(name, certificate)

    def test_dhparam_is_used(self) -> None:
        """``ssl_dhparam`` makes DHE suites possible."""
        path = os.path.join(FOLDER, "dh.pem")
        command = ["openssl", "genpkey", "-genparam", "-algorithm", "DH", "-out", path]
        subprocess.run([*command, "-pkeyopt", "group:ffdhe2048"], check=True)
        client = client_context()
        client.maximum_version = ssl.TLSVersion.TLSv1_2
        client.set_ciphers("DHE-RSA-AES128-GCM-SHA256")
        options = SslOptions(certificates=(RSA,))
        self.assertRaises(ssl.SSLError, connect, make_server_context(options), client)
        context = make_server_context(dataclasses.replace(options, dhparam=path))
        self.assertEqual(connect(context, client).tls.cipher()[0], "DHE-RSA-AES128-GCM-SHA256")

    def test_alpn_is_negotiated(self) -> None:
        """RFC 7301 §3.2: http/1.1 is chosen; with nothing in common the handshake ends."""
        client = client_context()
        client.set_alpn_protocols(["h2", "http/1.1"])
        context = make_server_context(OPTIONS)
        self.assertEqual(connect(context, client).tls.selected_alpn_protocol(), "http/1.1")
        h2 = make_server_context(OPTIONS, (b"h2", b"http/1.1"))
        self.assertEqual(connect(h2, client).tls.selected_alpn_protocol(), "h2")

    def test_no_common_alpn_protocol_is_said_by_its_alert(self) -> None:
        """RFC 7301 §3.2; a client that offers nothing is served (nginx does the same)."""
        context = make_server_context(OPTIONS)
        client = client_context()
        client.set_alpn_protocols(["spdy/9"])
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            client.maximum_version = version
            error = self.assertRaises(ssl.SSLError, connect, context, client)
            self.assertIn("alert no application protocol", str(error).lower())
        self.assertIsNone(connect(context).tls.selected_alpn_protocol())


class ResumptionTests(SynchronousTestCase):
    def resumed(
        self, first: SSL.Context, second: SSL.Context, version: ssl.TLSVersion
    ) -> bool | None:
        client = client_context()
        client.maximum_version = version
        session = connect(first, client).tls.session
        return connect(second, client, session=session).tls.session_reused

    def test_tickets_and_caches_resume(self) -> None:
        """``ssl_session_tickets`` and ``ssl_session_cache``, in both versions of TLS."""
        for tickets, cache, expected in (
            (True, "none", True),
            (False, "shared:SSL", True),
            (False, "builtin", True),
            (False, "none", False),
            (False, "off", False),
        ):
            for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
                context = make_server_context(
                    dataclasses.replace(OPTIONS, session_tickets=tickets, session_cache=cache)
                )
                self.assertEqual(
                    self.resumed(context, context, version), expected, (tickets, cache, version)
                )

    def test_sessions_do_not_cross_servers(self) -> None:
        """A session of one server is no ticket to another (NGINX CVE-2025-23419's class)."""
        other = dataclasses.replace(OPTIONS, certificates=(RSA,))
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            first, second = make_server_context(OPTIONS), make_server_context(other)
            self.assertFalse(self.resumed(first, second, version))

    def test_servers_with_equal_options_share(self) -> None:
        """One context, one cache, one set of ticket keys."""
        store = ContextStore()
        equal = SslOptions(certificates=(EC,))
        self.assertIs(store.get(OPTIONS), store.get(equal))
        self.assertIsNot(store.get(OPTIONS), store.get(dataclasses.replace(OPTIONS, ciphers="ALL")))

    def test_renewed_certificate_is_used_after_a_reload(self) -> None:
        """The same paths with another content are another context; the same content is not."""
        pair = AUTHORITY.issue("renewed.example")
        options = SslOptions(certificates=(pair,))
        first = ContextStore()
        context = first.get(options)
        second = ContextStore(first)
        self.assertIs(second.get(options), context)
        AUTHORITY.issue("renewed.example")
        third = ContextStore(second)
        self.assertIsNot(third.get(options), context)
        third.forget_before()
        self.assertIs(third.get(options), third.get(options))

    def test_named_certificates_are_checked_as_far_as_they_can_be(self) -> None:
        """``--test`` cannot know the names, but the rest of the options."""
        path = os.path.join(FOLDER, "$ssl_server_name.crt")
        options = SslOptions(certificates=((path, path),))
        store = ContextStore()
        self.assertIs(store.named(options), store.named(options))
        bad = dataclasses.replace(options, ciphers="NOPE")
        self.assertRaises(ConfigError, store.named, bad)


class ServerContextsTests(SynchronousTestCase):
    def test_choice_by_name(self) -> None:
        """Exact before patterns before the default; case and a final dot do not matter."""
        default, exact, pattern = (SSL.Context(SSL.TLS_METHOD) for _ in range(3))
        contexts = ServerContexts(
            default, {"a.example": exact}, lambda name: pattern if name.endswith(".org") else None
        )
        self.assertIs(contexts(None), default)
        self.assertIs(contexts(""), default)
        self.assertIs(contexts("A.Example."), exact)
        self.assertIs(contexts("x.org"), pattern)
        self.assertIs(contexts("y.net"), default)


class ClientContextTests(SynchronousTestCase):
    def test_faults_are_config_errors(self) -> None:
        """What ``--test`` has to find."""
        for options in (
            ProxySsl(verify=True),
            ProxySsl(trusted_certificate="/no/such"),
            ProxySsl(trusted_certificate=EC[1]),
            ProxySsl(certificate=EC[0]),
            ProxySsl(certificate=EC[0], certificate_key=RSA[1]),
            ProxySsl(ciphers="NOPE"),
            ProxySsl(trusted_certificate=AUTHORITY.path, crl="/no/such"),
            ProxySsl(trusted_certificate=AUTHORITY.path, crl=EC[0]),
        ):
            self.assertRaises(ConfigError, make_client_context, options)
