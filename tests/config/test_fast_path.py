"""How directives concern the fast path: each says so, and silence means no."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

from types import MappingProxyType

from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.config import fast_path
from cacheproxy.config.build import loads
from cacheproxy.config.directives import ROWS
from cacheproxy.config.fast_path import FAST_PATH, Hot, hot_obstacles, rule_of
from cacheproxy.config.model import Location
from cacheproxy.config.table import Context
from cacheproxy.proxy.site.variables import resolve

#: The directives that have an effect and may be in force in a location.
CONCERNED = {
    row.twin_of or row.name
    for row in ROWS
    if not (row.without_effect or row.refused) and row.contexts is not Context.UPSTREAM
}


def location(text: str, server: str = "", http: str = "") -> Location:
    """The location ``/`` with *text*, below what stands in its server and around that."""
    whole = (
        "events {} http { proxy_cache_path c keys_zone=z:1m; map $http_a $mapped { default 1h; }"
        f" {http} server {{ listen 80; {server} location / {{ {text} }} }} }}"
    )
    return loads(whole, "test.conf", "/srv", resolve).servers[0].root.locations[0]


def obstacles(text: str, server: str = "", http: str = "") -> tuple[str, ...]:
    """What keeps such a location from the fast path."""
    found = location(text, server, http)
    return hot_obstacles(found, location("").core)


class TableTests(SynchronousTestCase):
    """The table of directives beside that of the fast path."""

    def test_every_directive_states_how_it_concerns_the_fast_path(self) -> None:
        """A new one: read ``config/fast_path.py`` and give it its place there."""
        self.assertEqual(CONCERNED - FAST_PATH.keys(), set())

    def test_every_rule_is_that_of_a_directive_with_an_effect(self) -> None:
        """Nothing is said of directives that are gone."""
        self.assertEqual(FAST_PATH.keys() - CONCERNED, set())

    def test_no_directive_has_two_rules(self) -> None:
        """The later one would win in silence."""
        names = [name for _, group in fast_path._GROUPS for name in group.split()]
        self.assertEqual(len(names), len(set(names)))

    def test_directive_that_says_nothing_is_not_hot(self) -> None:
        """Fails closed; what has no effect has none here either."""
        self.assertIs(rule_of("limit_req", False), Hot.NO)
        self.assertIs(rule_of("sendfile", True), Hot.UNAFFECTED)


class ObstacleTests(SynchronousTestCase):
    """``hot_obstacles``."""

    def test_plain_locations_have_none(self) -> None:
        """Files, and a cached origin."""
        self.assertEqual(obstacles(""), ())
        self.assertEqual(obstacles("proxy_pass http://127.0.0.1; proxy_cache z;"), ())

    def test_silent_directive_is_an_obstacle_wherever_it_stands(self) -> None:
        """In the location itself, and inherited from its server or from ``http``."""
        rules = MappingProxyType({name: FAST_PATH[name] for name in FAST_PATH if name != "etag"})
        self.patch(fast_path, "FAST_PATH", rules)
        self.assertEqual(obstacles("etag on;"), ("etag",))
        self.assertEqual(obstacles("", "etag on;"), ("etag",))
        self.assertEqual(obstacles("", "", "etag on;"), ("etag",))
        self.assertEqual(obstacles(""), ())

    def test_directive_that_is_not_inherited_stops_nothing_inside(self) -> None:
        """A ``return`` or ``try_files`` around does not hold in a location."""
        self.assertEqual(obstacles("", "try_files $uri /x;"), ())
        self.assertEqual(obstacles("try_files $uri /x;"), ("try_files",))
        self.assertEqual(obstacles("internal;"), ("internal",))
        self.assertEqual(obstacles("return 204;"), ("return",))

    def test_setting_decides_where_only_some_are_obstacles(self) -> None:
        """Values of the request beyond its route; switches."""
        cached = "proxy_pass http://127.0.0.1; proxy_cache z;"
        for text, name in (
            ("add_header X $http_a;", "add_header"),
            ("add_header X $mapped;", "add_header"),
            ("expires $mapped;", "expires"),
            ("root /srv/$http_a;", "root"),
            ("alias /srv/$http_a/;", "alias"),
            ("gzip on; gzip_disable x;", "gzip_disable"),
            ("keepalive_timeout 0;", "keepalive_timeout"),
            ("send_timeout 5s;", "send_timeout"),
            (cached + "proxy_cache_key $uri$http_a;", "proxy_cache_key"),
            (cached + "proxy_cache_bypass $http_a;", "proxy_cache_bypass"),
            (cached + "proxy_cache_purge $http_a;", "proxy_cache_purge"),
            (cached + "slice 1k; proxy_cache_key $uri$slice_range;", "slice"),
            ("proxy_pass http://127.0.0.1; proxy_cache $http_a;", "proxy_cache"),
            ("proxy_pass http://$http_a; proxy_cache z;", "proxy_pass"),
            ("proxy_pass http://127.0.0.1; proxy_store on;", "proxy_store"),
        ):
            self.assertIn(name, obstacles(text), text)
        for text in (
            "add_header X $uri$upstream_cache_status;",
            "expires 1h;",
            "root /srv/$host;",
            "gzip_disable x;",
            "keepalive_timeout 5s;",
            "proxy_cache_bypass $http_a;",
            cached + "proxy_cache_key $uri$arg_a;",
            cached + "proxy_cache_purge $request_method;",
            cached + "slice 0;",
        ):
            self.assertEqual(obstacles(text), (), text)
