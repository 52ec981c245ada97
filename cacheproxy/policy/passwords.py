"""HTTP Basic authentication: what a client gave, and whether it is the password of a file's line.

The formats are those of Apache's and nginx's password files: apr1, {SHA}, {SSHA}, {PLAIN},
bcrypt; every other one is for the system's ``crypt``. All comparisons take constant time.

Source: nginx ``ngx_http_auth_basic_user``, ``ngx_crypt``; RFC 7617.
Imports: ``http.fields``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

import bcrypt

from cacheproxy.http.fields import Fields

__all__ = [
    "Credentials",
    "Crypt",
    "PasswordCheck",
    "PasswordVerdict",
    "Passwords",
    "credentials",
    "is_password",
    "password_of",
]

#: ``crypt(password, stored)``: what *stored* must then equal; empty where it cannot tell.
Crypt = Callable[[bytes, bytes], bytes]

#: bcrypt reads no more of a password.
_BCRYPT_BYTES = 72

_ITOA64 = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
#: How apr1 puts the bytes of its digest together.
_APR1_ORDER = ((0, 6, 12), (1, 7, 13), (2, 8, 14), (3, 9, 15), (4, 10, 5))


class Credentials(NamedTuple):
    """A user and a password, as the client gave them."""

    user: bytes
    password: bytes


class PasswordVerdict(NamedTuple):
    """What a password check has come to: *status* to answer with, 0 where it is good.

    *level* and *message* are for the error log.
    """

    status: int
    level: str
    message: str


class PasswordCheck(Protocol):
    """A password that is being looked up."""

    def cancel(self) -> None:
        """Nobody waits for it any more."""


class Passwords(Protocol):
    """The password files of ``auth_basic_user_file``, by their paths."""

    def knows(self, path: bytes, given: Credentials) -> bool:
        """Whether *given* are known to be good, without any work."""

    def check(
        self, path: bytes, given: Credentials, told: Callable[[PasswordVerdict], None]
    ) -> PasswordCheck:
        """Look them up; *told* hears of it later, unless that is cancelled."""


def credentials(fields: Fields) -> Credentials | None:
    """What ``Authorization: Basic`` holds; None where there is no user and password."""
    value = fields.get(b"authorization")
    if value is None or value[:6].lower() != b"basic ":
        return None
    text = value[6:].lstrip(b" ").partition(b"=")[0]
    try:
        decoded = base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        return None
    user, colon, password = decoded.partition(b":")
    return Credentials(user, password) if user and colon else None


def password_of(user: bytes, lines: Iterable[bytes]) -> bytes | None:
    """What a password file says of *user*; the first line with that name counts."""
    for line in lines:
        if line[:1] in (b"#", b"\r"):
            continue
        name, colon, rest = line.rstrip(b"\n").partition(b":")
        if colon and name == user:
            return rest.partition(b"\r")[0].partition(b":")[0]
    return None


def is_password(password: bytes, stored: bytes, crypt: Crypt) -> bool:
    """Whether *password* is the one that *stored* was made of."""
    if stored.startswith(b"{PLAIN}"):
        return hmac.compare_digest(stored[7:], password)
    if stored.startswith(b"{SHA}"):
        made = b"{SHA}" + base64.b64encode(hashlib.sha1(password).digest())
        return hmac.compare_digest(stored, made)
    if stored.startswith(b"{SSHA}"):
        return _is_salted(password, stored[6:])
    if b"\0" in password:
        return False  # The rest would not count.
    if stored.startswith(b"$apr1$"):
        return hmac.compare_digest(stored, _apr1(password, stored[6:].partition(b"$")[0][:8]))
    if stored.startswith((b"$2a$", b"$2b$", b"$2y$")):
        try:
            return bcrypt.checkpw(password[:_BCRYPT_BYTES], stored)
        except ValueError:
            return False
    made = crypt(password, stored)
    return bool(made) and hmac.compare_digest(stored, made)


def _is_salted(password: bytes, text: bytes) -> bool:
    try:
        decoded = base64.b64decode(text, validate=True)
    except binascii.Error:
        return False
    made = hashlib.sha1(password + decoded[20:]).digest()
    return hmac.compare_digest(decoded[:20], made)


def _apr1(password: bytes, salt: bytes) -> bytes:
    """Apache's variant of the MD5 crypt of FreeBSD."""
    inner = hashlib.md5(password + salt + password).digest()
    text = password + b"$apr1$" + salt
    text += (inner * (len(password) // 16 + 1))[: len(password)]
    rest = len(password)
    while rest:
        text += b"\0" if rest & 1 else password[:1]
        rest >>= 1
    digest = hashlib.md5(text).digest()
    for turn in range(1000):
        text = password if turn & 1 else digest
        text += salt if turn % 3 else b""
        text += password if turn % 7 else b""
        text += digest if turn & 1 else password
        digest = hashlib.md5(text).digest()
    made = b"".join(
        _to64(digest[a] << 16 | digest[b] << 8 | digest[c], 4) for a, b, c in _APR1_ORDER
    )
    return b"$apr1$" + salt + b"$" + made + _to64(digest[11], 2)


def _to64(value: int, count: int) -> bytes:
    return bytes(_ITOA64[value >> 6 * at & 0x3F] for at in range(count))
