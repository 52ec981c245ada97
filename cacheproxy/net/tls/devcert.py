"""A certificate for development: self-signed, ECDSA P-256, thirty days.

Imports cryptography only.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = ["DEFAULT_NAMES", "VALID_DAYS", "self_signed"]

DEFAULT_NAMES = ("localhost", "127.0.0.1", "::1")

VALID_DAYS = 30


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _write(path: Path, content: bytes, mode: int) -> None:
    """Write beside *path*, then rename: a reader never sees half a file."""
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    os.replace(temporary, path)


def self_signed(
    directory: str | os.PathLike[str],
    names: Sequence[str] = DEFAULT_NAMES,
    now: datetime.datetime | None = None,
) -> tuple[str, str]:
    """Write ``cert.pem`` and ``key.pem`` (mode 0600) into *directory*, made if missing.

    *names* are host names and addresses, the first also the subject. Valid from
    an hour before *now* (default: the present) for ``VALID_DAYS``. Returns the two paths.
    """
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    now = now or datetime.datetime.now(datetime.timezone.utc)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    issuer = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # A clock that is a little behind must not refuse it.
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=VALID_DAYS))
        .add_extension(x509.SubjectAlternativeName([_general_name(n) for n in names]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
        # Clients that check strictly (Python from 3.13 on) ask for both.
        .add_extension(identifier, False)
        .add_extension(issuer, False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    _write(folder / "key.pem", pem, 0o600)
    _write(folder / "cert.pem", certificate.public_bytes(Encoding.PEM), 0o644)
    return str(folder / "cert.pem"), str(folder / "key.pem")
