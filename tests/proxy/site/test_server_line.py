"""The name that the proxy gives itself."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

from dataclasses import replace

from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.policy.options import CoreOptions
from cacheproxy.proxy.site.server_line import SERVER, SERVER_WITH_VERSION, server_line

CORE = CoreOptions()


class ServerLineTests(SynchronousTestCase):
    """``server_tokens``."""

    def test_version_is_hidden_with_server_tokens_off(self) -> None:
        """The name alone stays."""
        on, off = replace(CORE, server_tokens=True), replace(CORE, server_tokens=False)
        self.assertEqual(server_line(on), (b"Server", SERVER_WITH_VERSION))
        self.assertEqual(server_line(off), (b"Server", SERVER))
