"""The development certificate: what it is for, how long, and who can read its key."""

import os
import stat
import tempfile

from cryptography import x509
from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.config.model import SslOptions
from cacheproxy.net.tls.contexts import make_server_context
from cacheproxy.net.tls.devcert import VALID_DAYS, self_signed


class SelfSignedTests(SynchronousTestCase):
    def test_certificate_serves_the_names(self) -> None:
        """Names and addresses are alternative names; the pair loads into a context."""
        folder = os.path.join(tempfile.mkdtemp(), "new")
        pair = self_signed(folder)
        with open(pair[0], "rb") as file:
            certificate = x509.load_pem_x509_certificate(file.read())
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        self.assertEqual(names.get_values_for_type(x509.DNSName), ["localhost"])
        self.assertEqual(
            [str(a) for a in names.get_values_for_type(x509.IPAddress)], ["127.0.0.1", "::1"]
        )
        days = certificate.not_valid_after_utc - certificate.not_valid_before_utc
        self.assertEqual(days.days, VALID_DAYS)
        make_server_context(SslOptions(certificates=(pair,)))

    def test_key_is_private(self) -> None:
        """Mode 0600, also where an older file was readable."""
        folder = tempfile.mkdtemp()
        path = os.path.join(folder, "key.pem")
        with open(path, "w") as file:
            file.write("old")
        os.chmod(path, 0o644)
        _, key = self_signed(folder)
        self.assertEqual(stat.S_IMODE(os.stat(key).st_mode), 0o600)
