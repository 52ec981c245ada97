"""The pages that the proxy answers with itself."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.proxy.answer.pages import error_page
from cacheproxy.proxy.site.server_line import SERVER, SERVER_WITH_VERSION


class PageTests(SynchronousTestCase):
    """``error_page``."""

    def test_shape(self) -> None:
        """Title, heading, server."""
        page = error_page(404)
        self.assertIn(b"<title>404 Not Found</title>", page)
        self.assertIn(b"<h1>404 Not Found</h1>", page)
        self.assertIn(SERVER_WITH_VERSION, page)

    def test_server_tokens(self) -> None:
        """``server_tokens off`` hides the version."""
        page = error_page(502, False)
        self.assertIn(b"<center>" + SERVER + b"</center>", page)
        self.assertNotIn(SERVER_WITH_VERSION, page)

    def test_every_status_has_a_page(self) -> None:
        """Also those that have no name."""
        for status in range(300, 600):
            self.assertIn(b"<h1>%d" % (400 if status == 497 else status), error_page(status))

    def test_497(self) -> None:
        """Plain HTTP on a TLS port is a 400 with an explanation, as in nginx."""
        page = error_page(497)
        self.assertIn(b"<h1>400 Bad Request</h1>", page)
        self.assertIn(b"plain HTTP request was sent to HTTPS port", page)
