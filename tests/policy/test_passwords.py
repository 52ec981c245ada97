"""``policy.passwords``: what clients give, and what password files hold."""

from __future__ import annotations

import base64

from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.http.fields import Fields
from cacheproxy.policy.passwords import credentials, is_password, password_of

#: Of "secret", made by ``openssl passwd -apr1``, ``htpasswd -s``, slappasswd and ``htpasswd -B``.
STORED = {
    "apr1": b"$apr1$salt1234$G61s9lpZAELkzUFCbj/53/",
    "sha": b"{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
    "ssha": b"{SSHA}" + base64.b64encode(
        bytes.fromhex("8152bc582f58c854f580cb101d3182813dec4afe") + b"salt"
    ),
    "plain": b"{PLAIN}secret",
    "bcrypt": b"$2y$04$3a7Mdru6TPPSFNIbIqiNgeNCrBz9cupPIBUP6BxCPHLnRXytOXz/u",
}


def no_crypt(password: bytes, stored: bytes) -> bytes:
    """A system without ``crypt``."""
    return b""


def given(text: str) -> object:
    """What Authorization: *text* holds."""
    return credentials(Fields([(b"Authorization", text.encode("latin-1"))]))


def coded(text: str) -> str:
    """Base64."""
    return base64.b64encode(text.encode()).decode()


class CredentialsTests(SynchronousTestCase):
    """``credentials``."""

    def test_user_and_password(self) -> None:
        """The first colon parts them; the scheme's case and spaces do not count, nor padding."""
        self.assertEqual(given("Basic " + coded("me:a:b")), (b"me", b"a:b"))
        self.assertEqual(given("bAsIc   " + coded("me:").rstrip("=")), (b"me", b""))

    def test_anything_else_is_nobody(self) -> None:
        """Another scheme, no colon, no user, no base64."""
        for text in ("", "Basic", "Basic ", "Bearer " + coded("a:b"), "Basic " + coded("me"),
                     "Basic " + coded(":secret"), "Basic !!", "Basic a"):
            self.assertIsNone(given(text), text)
        self.assertIsNone(credentials(Fields([])))


class PasswordTests(SynchronousTestCase):
    """``password_of`` and ``is_password``."""

    def test_every_format(self) -> None:
        """The right password fits, others do not."""
        for name, stored in STORED.items():
            self.assertTrue(is_password(b"secret", stored, no_crypt), name)
            for wrong in (b"", b"Secret", b"secret ", b"secret\0", stored):
                self.assertFalse(is_password(wrong, stored, no_crypt), (name, wrong))

    def test_what_is_not_known_goes_to_crypt(self) -> None:
        """And fits nothing where that cannot tell."""
        crypts = {(b"secret", b"$6$x$y"): b"$6$x$y", (b"other", b"$6$x$y"): b"$6$x$z"}
        for password, expected in ((b"secret", True), (b"other", False)):
            found = is_password(password, b"$6$x$y", lambda *asked: crypts[asked])
            self.assertEqual(found, expected)
        for stored in (b"", b"secret", b"*0", b"{SSHA}?", b"$2y$", b"$2y$05$short", b"$apr1$"):
            for password in (b"", b"secret", b"*0"):
                self.assertFalse(is_password(password, stored, no_crypt), stored)

    def test_lines(self) -> None:
        """The first with the name counts; comments are left out, and what follows a colon."""
        lines = b"#me:no\n\nother:x\r\nme:one:comment\nme:two\nlast:end".splitlines(keepends=True)
        self.assertEqual(password_of(b"me", lines), b"one")
        self.assertEqual(password_of(b"other", lines), b"x")
        self.assertEqual(password_of(b"last", lines), b"end")
        for user in (b"#me", b"m", b"mee", b""):
            self.assertIsNone(password_of(user, lines))
