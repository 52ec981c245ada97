"""The warning about ``proxy_cache_purge`` that nothing guards."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.config.purge_guard import MESSAGE
from tests.config.builders import http

BY_METHOD = "map $request_method $m { PURGE 1; default 0; }"


class GuardTests(SynchronousTestCase):
    """Where it is said, and where not."""

    def warns(self, inside: str, outside: str = BY_METHOD, server: str = "") -> int:
        """How many such warnings a location with *inside* brings."""
        made = http(
            f"{outside}\nserver {{ listen 127.0.0.1:80; {server}\n"
            f"location / {{ proxy_pass http://a:1; {inside} }} }}"
        )
        self.assertEqual([x for x in made.warnings if not x.startswith(MESSAGE)], [])
        return len(made.warnings)

    def test_method_alone(self) -> None:
        """Anybody can send any method."""
        self.assertEqual(self.warns("proxy_cache_purge $m;"), 1)
        self.assertEqual(self.warns("proxy_cache_purge 1;"), 1)
        self.assertEqual(self.warns("proxy_cache_purge $arg_a ${M};"), 1)
        self.assertEqual(self.warns("proxy_cache_purge $request_method;"), 1)
        outside = f"{BY_METHOD} map $m $n {{ 1 yes; }} map x $o {{ default $n; }}"
        self.assertEqual(self.warns("proxy_cache_purge $n;", outside), 1)
        self.assertEqual(self.warns("proxy_cache_purge $o;", outside), 1)

    def test_where_it_stands(self) -> None:
        """Once, at the directive, for however many locations inherit it."""
        made = http(
            f"{BY_METHOD}\nproxy_cache_purge $m;\nserver {{ listen 127.0.0.1:80;"
            "location /a { proxy_pass http://a:1; } location /b { proxy_pass http://a:1; } }"
        )
        self.assertEqual(made.warnings, (f"{MESSAGE} in test.conf:3",))

    def test_rules(self) -> None:
        """A deny that holds for the method PURGE."""
        purge = "proxy_cache_purge $m;"
        self.assertEqual(self.warns(f"{purge} allow 10.0.0.0/8; deny all;"), 0)
        self.assertEqual(self.warns(purge, server="deny all;"), 0)
        self.assertEqual(self.warns(f"{purge} limit_except GET {{ deny all; }}"), 0)
        self.assertEqual(self.warns(f"{purge} allow all;"), 1)
        self.assertEqual(self.warns(f"{purge} deny all; limit_except GET {{ allow all; }}"), 1)
        self.assertEqual(self.warns(f"{purge} internal;"), 0)

    def test_conditions_that_may_say_who(self) -> None:
        """An address, a field, an argument, a path: nobody can tell whether it is a secret."""
        geo = "geo $g { default 0; 10.0.0.0/8 1; }"
        for condition, outside in (
            ("$g", geo),
            ("$m", f"{geo} map $request_method $m {{ PURGE $g; default 0; }}"),
            ("$http_x_any", ""),
            ("$arg_secret", ""),
            ("$m", "map $http_x_any$request_method $m { sPURGE 1; default 0; }"),
            ("$m", "map $uri $m { /secret 1; }"),
            ("$n", "map $uri $m { /secret 1; } map $m $n { 1 1; }"),
            ("$m$remote_addr", BY_METHOD),
            ("0 ''", ""),
            ("$m", "map $request_method $m { default 0; PURGE ''; }"),
            ("$m", "map $request_method $m { default $n; } map $request_method $n { default $m; }"),
            ("$m", "map $n $m { default 1; } map $m $n { default 1; }"),
        ):
            self.assertEqual(self.warns(f"proxy_cache_purge {condition};", outside), 0, condition)

    def test_files(self) -> None:
        """Where nothing is proxied nothing is purged."""
        made = http("server { listen 127.0.0.1:80; proxy_cache_purge 1; location / { } }")
        self.assertEqual(made.warnings, ())
