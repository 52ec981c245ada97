"""What a location of uwsgi has without being told."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.config.builders import location


class DefaultTests(SynchronousTestCase):
    """``uwsgi_options``."""

    def test_no_redirects_are_rewritten(self) -> None:
        """``proxy_redirect`` is HTTP's."""
        self.assertEqual(location("uwsgi_pass a:1; proxy_redirect a b;").proxy.redirect, ())

    def test_server_and_date_pass_unless_hidden(self) -> None:
        """nginx ``ngx_http_uwsgi_hide_headers``."""
        proxy = location("uwsgi_pass a:1; uwsgi_hide_header Server; uwsgi_pass_header X-Pad;").proxy
        self.assertEqual(proxy.pass_header, {b"date", b"x-pad"})

    def test_parameters_of_fields_are_known_as_fields(self) -> None:
        """So that the cache sees what the application hears."""
        params = "uwsgi_param HTTP_X_A $http_x_any; uwsgi_param B $uri;"
        proxy = location(f"uwsgi_pass a:1; {params}").proxy
        names = [name for name, _ in proxy.set_header]
        self.assertEqual(names, [b"X-A", b"HOST"])
        self.assertLessEqual({"http_x_any", "uri", "host"}, proxy.reads)
