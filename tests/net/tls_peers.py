"""For the TLS tests: certificates, and the standard library's TLS as the other end."""

from __future__ import annotations

import datetime
import os
import ssl
from collections.abc import Callable
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID
from twisted.internet.protocol import Protocol
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

NOW = datetime.datetime.now(datetime.timezone.utc)


class Authority:
    """A certificate authority that writes what it signs into *folder*."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
        self.certificate = self._build(self.name, self.key.public_key(), None)
        self.path = self._write("ca.pem", self.certificate.public_bytes(Encoding.PEM))

    def _write(self, name: str, content: bytes) -> str:
        path = os.path.join(self.folder, name)
        with open(path, "wb") as file:
            file.write(content)
        return path

    def _build(self, name: x509.Name, key: Any, names: list[Any] | None) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self.name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - datetime.timedelta(days=1))
            .not_valid_after(NOW + datetime.timedelta(days=10))
            .add_extension(x509.BasicConstraints(ca=names is None, path_length=None), True)
        )
        if names is not None:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), False)
        return builder.sign(self.key, hashes.SHA256())

    def issue(
        self, name: str, kind: str = "ec", password: bytes = b"", address: str = ""
    ) -> tuple[str, str]:
        """The paths of a certificate for *name* (or *address*) and its key."""
        import ipaddress

        key: Any = ec.generate_private_key(ec.SECP256R1())
        if kind == "rsa":
            key = rsa.generate_private_key(65537, 2048)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        alternative: Any = x509.DNSName(name)
        if address:
            alternative = x509.IPAddress(ipaddress.ip_address(address))
        certificate = self._build(subject, key.public_key(), [alternative])
        encryption: Any = BestAvailableEncryption(password) if password else NoEncryption()
        stem = f"{name.replace('*', '_')}.{kind}"
        return (
            self._write(stem + ".crt", certificate.public_bytes(Encoding.PEM)),
            self._write(
                stem + ".key", key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
            ),
        )

    def revoke(self, path: str) -> str:
        """The path of a revocation list that names the certificate at *path*."""
        with open(path, "rb") as file:
            serial = x509.load_pem_x509_certificate(file.read()).serial_number
        revoked = (
            x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(NOW).build()
        )
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.name)
            .last_update(NOW - datetime.timedelta(hours=1))
            .next_update(NOW + datetime.timedelta(days=1))
            .add_revoked_certificate(revoked)
        )
        crl = builder.sign(self.key, hashes.SHA256())
        return self._write("crl.pem", crl.public_bytes(Encoding.PEM))


def client_context() -> ssl.SSLContext:
    """The standard library's client, which checks nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def server_context(pair: tuple[str, str]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)
    return context


class Recorder(Protocol):
    """A protocol above TLS that records what it is told."""

    def __init__(self) -> None:
        self.received = b""
        self.lost: Failure | None = None
        self.handshakes = 0
        self.on_data: Callable[[bytes], object] = lambda data: None

    def dataReceived(self, data: bytes) -> None:
        assert self.lost is None
        self.received += data
        self.on_data(data)

    def on_handshake_done(self) -> None:
        self.handshakes += 1

    def connectionLost(self, reason: Failure = None) -> None:  # type: ignore[assignment]
        assert self.lost is None
        self.lost = reason


class Wire(StringTransport):
    """The transport below: counts writes and can be half-closed."""

    write_closed = False
    writes = 0

    def write(self, data: bytes) -> None:
        self.writes += 1
        super().write(data)

    def loseWriteConnection(self) -> None:
        self.write_closed = True


class Peer:
    """The standard library's TLS at the other end of a ``Wire``."""

    def __init__(self, protocol: Any, wire: Wire, context: ssl.SSLContext, **options: Any) -> None:
        self.protocol = protocol
        self.wire = wire
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, **options)
        self.received = b""
        self.finished = False
        self.done = False

    def turn(self) -> bool:
        """Move everything once; whether anything moved."""
        if not self.done:
            try:
                self.tls.do_handshake()
                self.done = True
            except ssl.SSLWantReadError:
                pass
        if self.done and not self.finished:
            try:
                while data := self.tls.read(65536):
                    self.received += data
                self.finished = True
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLZeroReturnError:
                self.finished = True
        there = self.outgoing.read()
        if there:
            self.protocol.dataReceived(there)
        back = self.wire.value()
        self.wire.clear()
        if back:
            self.incoming.write(back)
        return bool(there or back)

    def run(self) -> Peer:
        while self.turn():
            pass
        return self

    def send(self, data: bytes) -> Peer:
        self.tls.write(data)
        return self.run()
