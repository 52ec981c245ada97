"""Rows of blocks and of the top of the file."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.config.model import Match
from tests.config.builders import faults, full, http, server


class LocationTests(SynchronousTestCase):
    """``location``."""

    def test_kinds(self) -> None:
        """Every modifier, with and without a blank after it."""
        for text, match, pattern in (
            ("/a", Match.PREFIX, b"/a"),
            ("= /a", Match.EXACT, b"/a"),
            ("=/a", Match.EXACT, b"/a"),
            ("^~ /a", Match.PREFIX_FINAL, b"/a"),
            ("~ a", Match.REGEX, b"a"),
            ("~* a", Match.REGEX_NOCASE, b"a"),
            ("~*a", Match.REGEX_NOCASE, b"a"),
            ("@a", Match.NAMED, b"@a"),
        ):
            place = server(f"location {text} {{ }}").root.locations[0]
            self.assertEqual((place.match, place.pattern), (match, pattern), text)

    def test_regex_is_compiled(self) -> None:
        """Case counts for ``~`` and not for ``~*``."""
        with_case, without = server("location ~ A { } location ~* B { }").root.locations
        assert with_case.regex is not None and without.regex is not None
        self.assertIsNone(with_case.regex.search(b"a"))
        self.assertIsNotNone(without.regex.search(b"b"))

    def test_nested_in_order(self) -> None:
        """Nested locations are in their location, in the order of the file, with their lines."""
        config = http("server {\nlocation /a {\nlocation /a/c { }\nlocation /a/b { }\n}\n}")
        outer = config.servers[0].root.locations[0]
        self.assertEqual([inner.pattern for inner in outer.locations], [b"/a/c", b"/a/b"])
        self.assertEqual([inner.line for inner in outer.locations], [4, 5])


class ServerNameTests(SynchronousTestCase):
    """``server_name``."""

    def test_forms(self) -> None:
        """Lower case, in order, expressions compiled by name."""
        made = server(r"server_name A.b *.C .d e.* ~^(?<x>.)\.f$ ''; server_name a.B g;")
        self.assertEqual(made.names, ("a.b", "*.c", ".d", "e.*", r"~^(?<x>.)\.f$", "", "g"))
        self.assertEqual(list(made.regexes), [r"~^(?<x>.)\.f$"])

    def test_none(self) -> None:
        """A server without a name has the empty one."""
        self.assertEqual(server("").names, ("",))

    def test_refused(self) -> None:
        """Asterisks in the middle, variables."""
        for name in ("a.*.b", "*a", "a*", "*", ".", "*.", "a/b", "$host", "~"):
            self.assertTrue(faults(f"server {{ server_name {name}; }}"), name)


class MainTests(SynchronousTestCase):
    """The top of the file."""

    def test_values(self) -> None:
        """Each is in the configuration."""
        config = full(
            "user u g; pid run.pid; worker_processes 1; worker_shutdown_timeout 5s;"
            "error_log e.log info; daemon off; http { }"
        )
        self.assertEqual(config.user, ("u", "g"))
        self.assertEqual(config.pid, "/etc/proxy/run.pid")
        self.assertEqual(config.worker_shutdown_timeout, 5.0)
        assert config.error_log is not None
        self.assertEqual(config.error_log.level, "info")
        self.assertEqual(full("user u; http { }").user, ("u", "u"))
        self.assertEqual(full("worker_processes auto; http { }").warnings, ())

    def test_several_workers_are_a_warning(self) -> None:
        """One process is run, and a configuration that asks for more is told."""
        config = full("worker_processes 4; http { }")
        self.assertEqual(config.warnings, ("one worker process is run in test.conf:1",))
