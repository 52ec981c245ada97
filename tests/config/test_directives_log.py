"""Rows of the logs."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.config.directives_log import escape_default, escape_json
from cacheproxy.config.model import ErrorLog
from tests.config.builders import Request, faults, http, location


class FormatTests(SynchronousTestCase):
    """``log_format``."""

    def line(self, text: str, **variables: bytes) -> bytes:
        """A line in the format *text*."""
        place = location("access_log /l f;", f"log_format f {text};")
        line: bytes = place.core.access_log[0].format.template.render(Request(**variables))
        return line

    def test_escapes_of_values(self) -> None:
        """Each variable is escaped by itself, the text around it is not."""
        self.assertEqual(self.line("'\"$uri\" $args'", uri=b'/"\n\xff'), b'"/\\x22\\x0A\\xFF" -')
        self.assertEqual(self.line('escape=json \'{"u":"$uri"}\'', uri=b'/"\n'), b'{"u":"/\\"\\n"}')
        self.assertEqual(self.line("escape=none '[$uri$args]'", uri=b'"'), b'["]')

    def test_strings_are_joined(self) -> None:
        """A format may stretch over lines."""
        self.assertEqual(self.line("'a ' 'b ' $uri", uri=b"/"), b"a b /")

    def test_combined(self) -> None:
        """The predefined format, used where none is named."""
        log = location("access_log /l;").core.access_log[0]
        line = log.format.template.render(Request(remote_addr=b"::1", request=b"GET / HTTP/1.1"))
        self.assertEqual(line, b'::1 - - [-] "GET / HTTP/1.1" - - "-" "-"')

    def test_each_byte_is_escaped_unless_it_is_plain(self) -> None:
        """Quotes, backslashes and what is not printable ASCII, wherever they stand."""
        for byte in range(256):
            plain = 32 <= byte < 127 and byte not in b'"\\'
            expected = bytes([byte]) if plain else b"\\x%02X" % byte
            self.assertEqual(escape_default(b"a " + bytes([byte])), b"a " + expected)

    @settings(max_examples=100, deadline=None)
    @given(st.binary(max_size=30))
    def test_escaped_values_stay_in_place(self, data: bytes) -> None:
        """No value can end its quotes, its line, or its JSON string."""
        escaped = escape_default(data)
        self.assertFalse(set(escaped) & (set(range(32)) | set(range(127, 256)) | {ord('"')}))
        text = data.decode("utf-8", "replace")
        self.assertEqual(json.loads(b'"' + escape_json(data) + b'"'), text)


class AccessLogTests(SynchronousTestCase):
    """``access_log`` and ``error_log``."""

    def test_parameters(self) -> None:
        """Buffer, flush, gzip, condition."""
        plain, packed = location(
            "access_log logs/a combined buffer=4k flush=5s if=$arg_x; access_log /b combined gzip;"
        ).core.access_log
        self.assertEqual(plain.path.constant, b"/etc/proxy/logs/a")
        self.assertEqual((plain.buffer, plain.flush), (4096, 5.0))
        self.assertIsNotNone(plain.condition)
        self.assertEqual((packed.buffer, packed.gzip), (65536, 1))

    def test_off(self) -> None:
        """``off`` undoes what is inherited."""
        self.assertEqual(location("access_log off;", "access_log /a;").core.access_log, ())
        self.assertEqual(len(location("", "access_log /a;").core.access_log), 1)

    def test_error_log(self) -> None:
        """The nearest one holds; the level has a default."""
        self.assertEqual(
            location("error_log e warn;", "error_log stderr;").error_log,
            ErrorLog("/etc/proxy/e", "warn"),
        )
        self.assertEqual(location("", "error_log stderr;").error_log, ErrorLog("stderr", "error"))
        self.assertIsNone(location("").error_log)

    def test_syslog(self) -> None:
        """``syslog:`` is no path."""
        target = "syslog:server=127.0.0.1:5140,tag=t"
        found = location(f"error_log {target} warn; access_log {target} combined;")
        self.assertEqual(found.error_log, ErrorLog(target, "warn"))
        self.assertEqual(found.core.access_log[0].path.constant, target.encode())

    def test_refused(self) -> None:
        """Parameters that are none, and one mistake as one error."""
        for text in (
            "access_log syslog:server=a combined buffer=4k;",
            "access_log syslog:server=a,color=red;",
            "access_log /a combined x=1;",
            "access_log /a combined gzip=10;",
            "access_log /a combined buffer=x;",
            "access_log /a$host combined buffer=4k;",
            "access_log off x;",
            "error_log syslog:x;",
            "error_log memory:1m;",
            "log_format combined x;",
            "log_format f $nope; access_log /a f;",
        ):
            self.assertEqual(len(faults(text)), 1, text)

    def test_log_of_main_level(self) -> None:
        """An ``error_log`` outside ``http`` is the process's."""
        config = http("server { }")
        self.assertIsNone(config.error_log)
