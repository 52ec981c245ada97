"""The exception tree: what its members say and carry."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cacheproxy import errors
from cacheproxy.errors import (
    CacheproxyError,
    ConfigError,
    ConfigErrors,
    ProtocolError,
    Stage,
    UpstreamError,
)


class ErrorTests(SynchronousTestCase):
    """Each class."""

    def test_tree(self) -> None:
        """Everything raised on purpose has one base."""
        for name in errors.__all__:
            cls = getattr(errors, name)
            if cls is not Stage:
                self.assertTrue(issubclass(cls, CacheproxyError), name)

    def test_config_error(self) -> None:
        """nginx's form, with and without a place."""
        self.assertEqual(str(ConfigError("unknown", "a.conf", 3)), "unknown in a.conf:3")
        self.assertEqual(str(ConfigError("unknown")), "unknown")
        both = ConfigErrors([ConfigError("one", "a", 1), ConfigError("two", "a", 2)])
        self.assertEqual(str(both), "one in a:1\ntwo in a:2")

    def test_protocol_error(self) -> None:
        """400 unless said otherwise."""
        self.assertEqual(ProtocolError("x").status, 400)
        self.assertEqual(ProtocolError("x", 431).status, 431)

    def test_upstream_error(self) -> None:
        """504 for a time-out, 502 for anything else (RFC 9110 §15.6.3, §15.6.5)."""
        self.assertEqual(UpstreamError("x", Stage.HEAD, timeout=True).status, 504)
        error = UpstreamError("x", Stage.CONNECT)
        self.assertEqual(error.status, 502)
        self.assertFalse(error.request_sent or error.reused or error.malformed)
