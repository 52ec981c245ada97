"""Certificates whose path holds the name that the client asks for."""

import os
import ssl
import tempfile

from OpenSSL import SSL
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.config.model import SslOptions
from cacheproxy.net.tls import named
from cacheproxy.net.tls.accept import TlsServerProtocol
from cacheproxy.net.tls.contexts import ContextStore, ServerContexts
from cacheproxy.net.tls.named import NamedContexts, NoCertificate, is_named
from tests.net.tls_peers import Authority, Peer, Recorder, Wire, client_context

FOLDER = tempfile.mkdtemp()
AUTHORITY = Authority(FOLDER)
NAMES = ("a.example", "b.example")
PAIRS = {name: AUTHORITY.issue(name) for name in NAMES}
OPTIONS = SslOptions(
    certificates=(
        (
            os.path.join(FOLDER, "$ssl_server_name.ec.crt"),
            os.path.join(FOLDER, "${ssl_server_name}.ec.key"),
        ),
    )
)


class NamedTests(SynchronousTestCase):
    """``NamedContexts``."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.made: list[SslOptions] = []
        self.contexts = NamedContexts(OPTIONS, self.make, self.clock.seconds)
        self.lines: list[str] = []

        def note(event: dict[str, object]) -> None:
            if event.get("log_namespace") == "cacheproxy.net.tls.named":
                self.lines.append(str(event["log_format"]).format(**event))

        globalLogPublisher.addObserver(note)
        self.addCleanup(globalLogPublisher.removeObserver, note)

    def make(self, options: SslOptions) -> SSL.Context:
        """A context, and a note that it was made."""
        self.made.append(options)
        return ContextStore().get(options)

    def handshake(self, name: str | None) -> Peer:
        """A client that asks for *name*."""
        chosen = ServerContexts(None, choose=self.contexts.get)
        protocol = TlsServerProtocol(Recorder(), chosen, Clock())
        wire = Wire()
        protocol.makeConnection(wire)
        client = client_context()
        client.load_verify_locations(AUTHORITY.path)
        client.verify_mode = ssl.CERT_REQUIRED
        return Peer(protocol, wire, client, server_hostname=name).run()

    def test_each_name_gets_its_certificate(self) -> None:
        """Whatever its case; a context is made once."""
        for name in ("a.example", "b.example", "A.Example", "a.example"):
            certificate = self.handshake(name).tls.getpeercert()
            assert certificate is not None
            self.assertEqual(certificate["subjectAltName"], (("DNS", name.lower()),))
        self.assertEqual(
            [options.certificates for options in self.made], [(PAIRS[name],) for name in NAMES]
        )

    def test_unknown_name_and_no_name_are_refused_by_an_alert(self) -> None:
        """The log says why, once a minute."""
        for name in ("c.example", "d.example", None):
            error = self.assertRaises(ssl.SSLError, self.handshake, name)
            self.assertIn("UNRECOGNIZED_NAME", error.reason)
        (line,) = self.lines
        self.assertIn("c.example.ec.crt", line)
        self.assertIn("No such file", line)
        self.clock.advance(61)
        self.assertRaises(ssl.SSLError, self.handshake, "e.example")
        self.assertEqual(len(self.lines), 2)

    def test_hostile_names_reach_no_path(self) -> None:
        """Nothing but a host name does; such names cost no look at the disk and no line."""
        self.patch(os, "stat", self.fail)
        names = ("..", ".", "../a.example", "a/../../b", "/etc/passwd", "a..b", ".a", "-a", "a\0b")
        for name in (*names, "$x", "${ssl_server_name}", "a b", "a%2fb", "é.example", "a" * 254):
            self.assertRaises(NoCertificate, self.contexts.get, name)
        self.assertRaises(NoCertificate, self.contexts.get, "")
        self.assertEqual((self.made, self.lines), ([], []))

    def test_replaced_certificate_is_used_at_once(self) -> None:
        """Without a reload, as in nginx."""
        AUTHORITY.issue("renewed.example")
        first = self.contexts.get("renewed.example")
        self.assertIs(self.contexts.get("renewed.example."), first)
        AUTHORITY.issue("renewed.example")
        os.utime(os.path.join(FOLDER, "renewed.example.ec.crt"), (1, 1))
        self.assertIsNot(self.contexts.get("renewed.example"), first)

    def test_contexts_are_bounded(self) -> None:
        """The least recently used goes first."""
        self.patch(named, "MAX_CONTEXTS", 2)
        AUTHORITY.issue("third.example")
        for name in ("a.example", "b.example", "a.example", "third.example", "a.example"):
            self.contexts.get(name)
        self.assertEqual(len(self.made), 3)
        self.contexts.get("b.example")
        self.assertEqual(len(self.made), 4)

    def test_broken_file_is_refused(self) -> None:
        """With OpenSSL's words."""
        for suffix in ("crt", "key"):
            with open(os.path.join(FOLDER, f"broken.example.ec.{suffix}"), "w") as file:
                file.write("nothing")
        error = self.assertRaises(NoCertificate, self.contexts.get, "broken.example")
        self.assertIn("broken.example.ec.", str(error))

    def test_is_named(self) -> None:
        """Only where a path holds the variable."""
        self.assertTrue(is_named(OPTIONS))
        self.assertFalse(is_named(SslOptions(certificates=(PAIRS["a.example"],))))
