"""Directives of gateways that are not served."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.config.directives_gateways import ROWS
from tests.config.builders import faults, location


class GatewayTests(SynchronousTestCase):
    """FastCGI, SCGI, gRPC, memcached."""

    def test_passes_are_refused_by_name(self) -> None:
        """With what to write instead."""
        for gateway in ("fastcgi", "scgi", "grpc", "memcached"):
            (message,) = faults(f"server {{ location / {{ {gateway}_pass a:1; }} }}")
            self.assertTrue(message.startswith(f'"{gateway}_pass" is not supported: '), message)
            self.assertIn("proxy_pass", message)

    def test_what_they_leave_behind_is_accepted(self) -> None:
        """Beside another handler these lines do nothing in nginx either."""
        plain = "proxy_pass http://a;"
        stray = (
            "include fastcgi_params; include scgi_params; include fastcgi.conf;"
            "fastcgi_read_timeout 1s; fastcgi_param A b if_not_empty; grpc_set_header A b;"
            "fastcgi_buffers 16 16k; fastcgi_split_path_info ^(.+)(/.*)$; memcached_gzip_flag 2;"
        )
        self.assertEqual(location(plain + stray).proxy, location(plain).proxy)
        location(plain, "fastcgi_cache_path /z keys_zone=z:1m; scgi_temp_path /x 1 2;")

    def test_places_are_held(self) -> None:
        """A zone belongs to ``http``."""
        self.assertEqual(
            faults("server { fastcgi_cache_path /z keys_zone=z:1m; }"),
            ['"fastcgi_cache_path" directive is not allowed here'],
        )

    def test_each_is_accepted_or_refused(self) -> None:
        """None is parsed and then forgotten."""
        self.assertGreater(len(ROWS), 120)
        for row in ROWS:
            self.assertEqual(row.refused, row.name.endswith("_pass"))
            self.assertNotEqual(row.refused, row.without_effect)
