"""``policy.expires``: ``expires`` and ``add_header``."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.http.fields import Pairs
from cacheproxy.policy.expires import (
    SAFE_STATUSES,
    apply_added_fields,
    apply_expires,
    parse_expires,
)
from cacheproxy.policy.options import AddHeader, Expires
from cacheproxy.template import Template, constant_template
from tests.policy.builders import NOW, date


def applied(
    expires: Expires | None, *pairs: tuple[bytes, bytes], status: int = 200, offset: float = 0.0
) -> Pairs:
    """The lines after ``expires`` was applied."""
    return apply_expires(list(pairs), status, expires, None, NOW + 0.7, offset)


class ExpiresTests(SynchronousTestCase):
    """nginx ``ngx_http_set_expires``."""

    def assert_values(self, found: Pairs, expires: bytes, control: bytes) -> None:
        """Exactly these two lines."""
        self.assertEqual(found, [(b"Expires", expires), (b"Cache-Control", control)])

    def test_kinds(self) -> None:
        """epoch, max, a time from now, zero, a negative one."""
        self.assert_values(applied(Expires("epoch")), b"Thu, 01 Jan 1970 00:00:01 GMT", b"no-cache")
        self.assert_values(
            applied(Expires("max")), b"Thu, 31 Dec 2037 23:55:55 GMT", b"max-age=315360000"
        )
        self.assert_values(applied(Expires(seconds=60)), date(60), b"max-age=60")
        self.assert_values(applied(Expires(seconds=0)), date(), b"max-age=0")
        self.assert_values(applied(Expires(seconds=-60)), date(-60), b"no-cache")

    def test_modified(self) -> None:
        """From Last-Modified where there is one, else from now."""
        rule = Expires("modified", 60)
        modified = (b"Last-Modified", date(-20))
        found = applied(rule, modified)
        self.assertEqual(found[0], modified)
        self.assert_values(found[1:], date(40), b"max-age=40")
        found = applied(rule, (b"Last-Modified", date(-100)))
        self.assert_values(found[1:], date(-40), b"no-cache")
        self.assert_values(applied(rule), date(60), b"max-age=60")

    def test_daily(self) -> None:
        """The next such time of day, in local time."""
        # NOW is 08:00:00 UTC.
        self.assert_values(applied(Expires("daily", 9 * 3600)), date(3600), b"max-age=3600")
        self.assert_values(applied(Expires("daily", 8 * 3600)), date(86400), b"max-age=86400")
        self.assert_values(
            applied(Expires("daily", 9 * 3600), offset=1800.0), date(1800), b"max-age=1800"
        )

    def test_replaces_what_the_origin_said(self) -> None:
        """All lines of both names go."""
        lines = ((b"expires", b"x"), (b"Cache-Control", b"private"), (b"cache-control", b"public"))
        self.assert_values(applied(Expires(seconds=1), *lines), date(1), b"max-age=1")

    def test_only_for_some_statuses(self) -> None:
        """Others keep what they have."""
        for status in (200, 304, 404, 500):
            found = applied(Expires(seconds=1), (b"A", b"b"), status=status)
            self.assertEqual(len(found) > 1, status in SAFE_STATUSES)
        self.assertEqual(applied(None, (b"A", b"b")), [(b"A", b"b")])

    def test_variable(self) -> None:
        """The value is parsed per request; ``off`` and nonsense do nothing."""

        def rule(value: bytes) -> Expires:
            return Expires(template=Template("$x", lambda _: value, None, frozenset({"x"})))

        self.assert_values(applied(rule(b"1h")), date(3600), b"max-age=3600")
        for value in (b"off", b"", b"junk", b"\xff"):
            self.assertEqual(applied(rule(value)), [])

    def test_parse(self) -> None:
        """nginx's times: units in sequence, signs, times of day."""
        for text, kind, seconds in (
            ("30d", "delta", 2592000),
            ("1h30m", "delta", 5400),
            ("90", "delta", 90),
            ("-1", "delta", -1),
            ("+1w", "delta", 604800),
            ("@15h30m", "daily", 55800),
        ):
            self.assertEqual(parse_expires(text), Expires(kind, seconds), text)
        for text in ("off", "", "x", "1q", "@25h", "--1", "9" * 30, "1.5h", "99999999d"):
            self.assertIsNone(parse_expires(text), text)

    @given(st.text(max_size=20))
    def test_parse_never_raises(self, text: str) -> None:
        """Any text is a rule or nothing."""
        parse_expires(text)


class AddHeaderTests(SynchronousTestCase):
    """``add_header``."""

    def added(self, status: int, *headers: AddHeader) -> Pairs:
        """The lines of a response that has an ETag and a header of its own."""
        have = [(b"ETag", b'"a"'), (b"X", b"1")]
        return apply_added_fields(have, status, headers, None)

    def header(self, name: bytes, value: bytes, always: bool = False) -> AddHeader:
        """One ``add_header``."""
        return AddHeader(name, constant_template(value), always)

    def test_adds(self) -> None:
        """Beside what there is; nothing for an empty value."""
        found = self.added(200, self.header(b"X", b"2"), self.header(b"Y", b""))
        self.assertEqual(found, [(b"ETag", b'"a"'), (b"X", b"1"), (b"X", b"2")])

    def test_always(self) -> None:
        """Errors get only the lines marked so."""
        found = self.added(500, self.header(b"A", b"1"), self.header(b"B", b"2", True))
        self.assertEqual(found[2:], [(b"B", b"2")])

    def test_validators_are_replaced(self) -> None:
        """ETag and Last-Modified are set; an empty value removes them."""
        self.assertEqual(self.added(200, self.header(b"etag", b'"b"'))[1], (b"etag", b'"b"'))
        self.assertEqual(self.added(200, self.header(b"ETag", b"")), [(b"X", b"1")])

    def test_line_breaks_are_replaced(self) -> None:
        """A variable cannot make another line."""
        value: Any = self.added(200, self.header(b"A", b"1\r\nB: 2"))[-1][1]
        self.assertEqual(value, b"1  B: 2")
