"""Inheritance, computed defaults, checks across directives."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.config.model import Location
from tests.config.builders import PREFIX, Request, faults, http, location, server


class InheritanceTests(SynchronousTestCase):
    """``ngx_conf_merge_*``."""

    def chain(self, outer: str, middle: str, inner: str) -> Location:
        """A location with *inner* in a server with *middle* in ``http`` with *outer*."""
        return (
            http(f"{outer} server {{ {middle} location / {{ {inner} }} }}")
            .servers[0]
            .root.locations[0]
        )

    def test_single_values(self) -> None:
        """The nearest level that says something holds."""
        values = [
            self.chain(outer, middle, inner).core.send_timeout
            for outer, middle, inner in (
                ("", "", ""),
                ("send_timeout 1;", "", ""),
                ("send_timeout 1;", "send_timeout 2;", ""),
                ("send_timeout 1;", "send_timeout 2;", "send_timeout 3;"),
            )
        ]
        self.assertEqual(values, [60, 1, 2, 3])

    def test_lists_are_all_or_nothing(self) -> None:
        """One ``add_header`` of a level drops all those around it."""
        outer = "add_header A a; add_header B b;"
        both = self.chain(outer, "", "").core.add_header
        self.assertEqual([one.name for one in both], [b"A", b"B"])
        one = self.chain(outer, "", "add_header C c;").core.add_header
        self.assertEqual([each.name for each in one], [b"C"])

    def test_directives_after_the_block_count(self) -> None:
        """Inheritance is by nesting, not by order."""
        config = http("server { location / { } } send_timeout 9;")
        self.assertEqual(config.servers[0].root.locations[0].core.send_timeout, 9)

    def test_nested_locations_inherit_from_their_location(self) -> None:
        """Levels are as deep as locations nest."""
        outer = location("etag off; location /a { location /a/b { } }")
        self.assertFalse(outer.locations[0].locations[0].core.etag)

    def test_off_is_inherited_too(self) -> None:
        """What a level switches off stays off inside."""
        inner = self.chain("expires 1d;", "expires off;", "")
        self.assertIsNone(inner.core.expires)

    def test_handlers_are_not_inherited(self) -> None:
        """``return``, ``try_files`` and ``internal`` hold where they stand."""
        made = server("return 200; try_files $uri =404; location / { }")
        self.assertIsNotNone(made.root.core.return_)
        self.assertIsNotNone(made.root.core.try_files)
        inner = made.root.locations[0].core
        self.assertIsNone(inner.return_)
        self.assertIsNone(inner.try_files)
        outer = location("internal; location /a { }")
        self.assertTrue(outer.core.internal)
        self.assertFalse(outer.locations[0].core.internal)


class AliasTests(SynchronousTestCase):
    """``root`` and ``alias`` are one setting."""

    def test_inner_root_replaces_alias(self) -> None:
        """Whichever is nearer holds."""
        outer = location("alias /x/; location /a/ { root /y; }")
        inner = outer.locations[0].core
        assert inner.root is not None
        self.assertIsNone(inner.alias)
        self.assertEqual(inner.root.constant, b"/y")

    def test_inherited_alias(self) -> None:
        """An inner location maps to the same files as the outer one would."""
        outer = location("alias /x/; location /a/ { } location ~ b { }")
        prefix, regex = (inner.core for inner in outer.locations)
        assert prefix.alias is not None and regex.alias is not None
        self.assertEqual((prefix.alias.constant, prefix.alias_length), (b"/x/a/", 3))
        self.assertEqual((regex.alias.constant, regex.alias_length), (b"/x/", 1))

    def test_alias_in_a_regex_location(self) -> None:
        """There it is the whole path."""
        core = server("location ~ ^/u/(.*)$ { alias /x/$1; }").root.locations[0].core
        assert core.alias is not None
        self.assertIsNone(core.alias_length)
        request = Request()
        request.captures["1"] = b"f"
        self.assertEqual(core.alias.render(request), b"/x/f")


class BufferTests(SynchronousTestCase):
    """The sizes that hang together."""

    def test_defaults_follow(self) -> None:
        """Twice the larger buffer."""
        proxy = location("proxy_buffer_size 16k; proxy_buffers 8 4k; proxy_busy_buffers_size 24k;")
        self.assertEqual(proxy.proxy.temp_file_write_size, 32768)
        self.assertEqual(location("proxy_buffers 4 32k;").proxy.busy_buffers_size, 65536)

    def test_conflicts(self) -> None:
        """nginx's checks, reported once however many locations inherit the sizes."""
        inside = "server { location / { } location /b { } }"
        for text in (
            "proxy_busy_buffers_size 4k;",
            "proxy_buffer_size 64k;",
            "proxy_temp_file_write_size 4k;",
            "proxy_max_temp_file_size 4k;",
        ):
            self.assertEqual(len(faults(text + inside)), 1, text)


class LocationCheckTests(SynchronousTestCase):
    """What may not stand twice."""

    def test_duplicates(self) -> None:
        """One exact and one prefix location a name; expressions may repeat."""
        server("location /a { } location = /a { } location ~ a { } location ~ a { }")
        for text in ("location /a { } location ^~ /a { }", "location = /a { } location = /a { }"):
            self.assertEqual(faults(f"server {{ {text} }}"), ['duplicate location "/a"'])
        nested = "server { location /a { location /a/b { } location /a/b { } } }"
        self.assertEqual(faults(nested), ['duplicate location "/a/b"'])

    def test_prefix_of_the_configuration(self) -> None:
        """It is kept for those who make paths later."""
        self.assertEqual(http("server { }").prefix, PREFIX)

    def test_variables_that_are_used(self) -> None:
        """The configuration knows what it reads."""
        config = http("server { add_header A $Host$request_id2; }".replace("$request_id2", ""))
        self.assertIn("host", config.variables)
