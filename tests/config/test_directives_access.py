"""``allow``, ``deny``, ``limit_except``: what comes of them. Their words: ``cases``."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.config.model import Location
from cacheproxy.policy.access import AccessRule
from cacheproxy.policy.networks import parse_network
from tests.config.builders import http, location, server


def rules(where: Location) -> list[str]:
    """The list of a location, told shortly."""
    return [_told(rule) for rule in where.core.access]


def _told(rule: AccessRule) -> str:
    if rule.everyone:
        what = "all"
    else:
        what = "unix:" if rule.unix else str(rule.network)
    return ("-" if rule.deny else "+") + what


class AccessTests(SynchronousTestCase):
    """The list of rules."""

    def test_order(self) -> None:
        """Both directives fill one list."""
        found = location("allow 10.0.0.0/8; deny unix:; allow ::1; deny all;")
        four, six = parse_network("10.0.0.0/8")[0], parse_network("::1")[0]
        self.assertEqual(rules(found), [f"+{four}", "-unix:", f"+{six}", "-all"])

    def test_inheritance(self) -> None:
        """A level with a rule of its own has none of those around it."""
        made = server("deny all; location /a { allow all; } location /b { }", "allow unix:;")
        self.assertEqual(rules(made.root), ["-all"])
        self.assertEqual([rules(inner) for inner in made.root.locations], [["+all"], ["-all"]])

    def test_loose_bits_are_a_warning(self) -> None:
        """As in nginx."""
        made = http("server { listen 127.0.0.1:80; deny 10.0.0.1/8; }")
        self.assertEqual(
            [warning.partition(" in ")[0] for warning in made.warnings],
            ["low address bits of 10.0.0.1/8 are meaningless"],
        )


class LimitExceptTests(SynchronousTestCase):
    """What holds for the other methods."""

    def test_get_implies_head(self) -> None:
        """But not the other way round."""
        for words, methods in {"get": {b"GET", b"HEAD"}, "HEAD": {b"HEAD"}}.items():
            limit = location(f"limit_except {words} {{ }}").limit_except
            assert limit is not None
            self.assertEqual(limit.methods, methods)

    def test_inherits_the_location(self) -> None:
        """All but what a nested location would not have either; proxy_pass it has."""
        made = location(
            "proxy_pass http://a:1/x/; deny all; return 204; internal; proxy_read_timeout 3s;"
            "limit_except GET { access_log off; }"
        )
        assert made.limit_except is not None
        inner = made.limit_except.location
        self.assertEqual(inner.proxy.proxy_pass, made.proxy.proxy_pass)
        self.assertEqual(inner.core.access, made.core.access)
        self.assertEqual((inner.core.return_, inner.core.internal), (None, False))
        self.assertEqual(inner.proxy.read_timeout, 3.0)
        self.assertEqual((inner.pattern, inner.match), (made.pattern, made.match))

    def test_own_values(self) -> None:
        """They replace the location's, and leave it alone; no URI leads to the block."""
        made = location(
            "proxy_pass http://a:1; limit_except GET { deny all; proxy_pass http://b:2; }"
        )
        assert made.limit_except is not None
        inner = made.limit_except.location
        assert inner.proxy.proxy_pass is not None and made.proxy.proxy_pass is not None
        self.assertEqual(inner.proxy.proxy_pass.authority, b"b:2")
        self.assertEqual(made.proxy.proxy_pass.authority, b"a:1")
        self.assertEqual((rules(inner), rules(made)), (["-all"], []))
        self.assertEqual(made.locations, ())

    def test_nested_locations_have_none(self) -> None:
        """As in nginx: each location says so itself."""
        made = location("limit_except GET { deny all; } location /a { }")
        self.assertIsNone(made.locations[0].limit_except)


def test_realm_without_a_password_file_is_warned_of_once() -> None:
    """As in nginx it then asks for no password, in every location that inherits it."""
    text = "location / { } location /a { auth_basic_user_file f; } location /b { auth_basic off; }"
    made = http(f"server {{ listen 127.0.0.1:80; auth_basic r; {text} }}")
    assert [line.partition(" in ")[0] for line in made.warnings] == [
        '"auth_basic" without "auth_basic_user_file" asks for no password'
    ]
