"""Rows of the cache."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.config.model import CacheZone
from cacheproxy.template import Template
from tests.config.builders import faults, http, location

ZONE = "proxy_cache_path /c keys_zone=z:1m;"


class ZoneTests(SynchronousTestCase):
    """``proxy_cache_path``."""

    def test_every_parameter(self) -> None:
        """Each lands in the record, ``memory`` (ours) too."""
        config = http(
            "proxy_cache_path c levels=1:2:2 keys_zone=z:10m inactive=1h max_size=2g"
            " min_free=5m use_temp_path=off memory=8m loader_files=5 loader_threshold=1s"
            " loader_sleep=2ms manager_files=6 manager_threshold=300ms manager_sleep=1m"
            " purger=on purger_files=7 purger_sleep=1s purger_threshold=2s;"
        )
        self.assertEqual(
            config.zones["z"],
            CacheZone(
                "z",
                "/etc/proxy/c",
                (1, 2, 2),
                10 << 20,
                3600.0,
                2 << 30,
                5 << 20,
                8 << 20,
                False,
                loader_files=5,
                loader_threshold=1.0,
                loader_sleep=0.002,
                manager_files=6,
                manager_threshold=0.3,
                manager_sleep=60.0,
            ),
        )

    def test_refused(self) -> None:
        """What is missing, unknown, or out of range."""
        for text in (
            "levels=1",
            "keys_zone=z",
            "keys_zone=z:1k",
            "keys_zone=:1m",
            "keys_zone=z:1m levels=1:3",
            "keys_zone=z:1m levels=1:1:1:1",
            "keys_zone=z:1m inactive=x",
            "keys_zone=z:1m purger=maybe",
            "keys_zone=z:1m use_temp_path=maybe",
        ):
            self.assertEqual(len(faults(f"proxy_cache_path /c {text};")), 1, text)
        self.assertTrue(faults(f"{ZONE} proxy_cache_path /c keys_zone=y:1m;"))

    def test_size_that_cannot_be_kept_to_is_warned_of(self) -> None:
        """With its place, as nginx warns; the zone is used all the same."""
        config = http("proxy_cache_path /c keys_zone=z:1m max_size=200k;")
        (warning,) = config.warnings
        self.assertIn('"max_size" of cache zone "z" is too small', warning)
        self.assertRegex(warning, r" in .*:\d+$")
        self.assertEqual(config.zones["z"].max_size, 200 << 10)
        self.assertEqual(http("proxy_cache_path /c keys_zone=z:1m max_size=288k;").warnings, ())

    def test_memory_larger_than_the_zone_is_warned_of(self) -> None:
        """Only where it was written: the default follows max_size."""
        config = http("proxy_cache_path /c keys_zone=z:1m max_size=1m memory=2m;")
        (warning,) = config.warnings
        self.assertIn('"memory" of cache zone "z" is larger than "max_size"', warning)
        self.assertEqual(http("proxy_cache_path /c keys_zone=z:1m max_size=1m;").warnings, ())


class CacheTests(SynchronousTestCase):
    """``proxy_cache*`` of a location."""

    def test_zone_off_and_variable(self) -> None:
        """A name, nothing, or a text rendered per request."""
        self.assertEqual(location("proxy_cache z;", ZONE).cache.cache, "z")
        self.assertIsNone(location("proxy_cache off;", f"{ZONE} proxy_cache z;").cache.cache)
        self.assertIsInstance(location("proxy_cache $host;").cache.cache, Template)

    def test_zone_may_be_declared_below(self) -> None:
        """The order of directives does not matter."""
        config = http(f"server {{ proxy_cache z; }} {ZONE}")
        self.assertEqual(config.servers[0].root.cache.cache, "z")

    def test_default_key(self) -> None:
        """Only where there is a cache is there a key; the client's Host is part of it."""
        key = location("proxy_cache z;", ZONE).cache.key
        assert key is not None
        self.assertEqual(key.text, "$scheme$proxy_host$http_host$request_uri")
        self.assertIsNone(location("").cache.key)

    def test_valid(self) -> None:
        """Codes share a time; none means 200, 301, 302; the first entry for a status holds."""
        valid = location("proxy_cache_valid 200 404 1m; proxy_cache_valid 404 1h;").cache.valid
        self.assertEqual(dict(valid), {200: 60, 404: 60})
        bare = location("proxy_cache_valid 10m;").cache.valid
        self.assertEqual(dict(bare), {200: 600, 301: 600, 302: 600})
        after_any = location("proxy_cache_valid any 1m; proxy_cache_valid 200 1h;").cache.valid
        self.assertEqual(dict(after_any), {None: 60})

    def test_methods(self) -> None:
        """GET and HEAD always belong to them."""
        self.assertEqual(
            location("proxy_cache_methods POST;").cache.methods, {b"GET", b"HEAD", b"POST"}
        )

    def test_predicates_inherit_as_a_list(self) -> None:
        """All or nothing, over several directives."""
        outside = "proxy_no_cache $arg_a; proxy_no_cache $arg_b $arg_c;"
        texts = [one.text for one in location("", outside).cache.no_cache]
        self.assertEqual(texts, ["$arg_a", "$arg_b", "$arg_c"])
        texts = [one.text for one in location("proxy_no_cache $arg_d;", outside).cache.no_cache]
        self.assertEqual(texts, ["$arg_d"])

    def test_stale(self) -> None:
        """``off`` is none of the conditions."""
        outside = "proxy_cache_use_stale error updating;"
        self.assertEqual(location("", outside).cache.use_stale, {"error", "updating"})
        off = location("proxy_cache_use_stale off;", outside)
        self.assertEqual(off.cache.use_stale, frozenset())

    def test_switches(self) -> None:
        """The plain ones."""
        cache = location(
            "proxy_cache_min_uses 3; proxy_cache_background_update on; proxy_cache_lock on;"
            "proxy_cache_revalidate on; proxy_cache_lock_age 1s; proxy_cache_lock_timeout 2s;"
            "proxy_cache_convert_head off; proxy_cache_bypass $arg_x;"
        ).cache
        self.assertEqual(cache.min_uses, 3)
        self.assertTrue(cache.background_update and cache.lock and cache.revalidate)
        self.assertEqual((cache.lock_age, cache.lock_timeout), (1.0, 2.0))
        self.assertFalse(cache.convert_head)
        self.assertEqual(len(cache.bypass), 1)

    def test_what_counts(self) -> None:
        """Ours: names, a star at the end, ``off`` alone against the enclosing level."""
        outside = "proxy_cache_cookies sessionid wp_*; proxy_cache_ignore_args utm_* a[];"
        cache = location("", outside).cache
        self.assertEqual(cache.cookies, (b"sessionid", b"wp_*"))
        self.assertEqual(cache.ignore_args, (b"utm_*", b"a[]"))
        self.assertFalse(cache.sort_args)
        self.assertTrue(cache.deception_armor)
        off = "proxy_cache_cookies off; proxy_cache_ignore_args off; proxy_cache_sort_args on;"
        cache = location(off + "proxy_cache_deception_armor off;", outside).cache
        self.assertIsNone(cache.cookies)
        self.assertEqual(cache.ignore_args, ())
        self.assertTrue(cache.sort_args)
        self.assertFalse(cache.deception_armor)

    def test_names_that_cannot_be(self) -> None:
        """What no cookie or argument is called, or was meant for something else."""
        for name in ("a off", "off a", "a=b", "a*b", "$x", "''", "'a b'"):
            for directive in ("proxy_cache_cookies", "proxy_cache_ignore_args"):
                self.assertEqual(len(faults(f"{directive} {name};")), 1, name)
        self.assertEqual(len(faults("proxy_cache_cookies 'a;';")), 1)
        self.assertEqual(len(faults("proxy_cache_ignore_args a&b;")), 1)
