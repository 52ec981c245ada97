"""Tokens, lists, quoted strings, weights, dates, entity tags, delta-seconds."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.http.syntax import (
    MAX_DELTA_SECONDS,
    format_http_date,
    is_token,
    list_tokens,
    parse_delta_seconds,
    parse_http_date,
    parse_parameters,
    parse_qvalues,
    split_list,
    unquote,
)


class ListTests(SynchronousTestCase):
    def test_tokens(self) -> None:
        """RFC 9110 §5.6.2."""
        for value, verdict in ((b"gzip", True), (b"", False), (b"a b", False), (b"a\xff", False)):
            self.assertEqual(is_token(value), verdict)
        self.assertEqual(list_tokens(b" Close ,,\tX"), [b"close", b"x"])

    def test_quoted_commas_do_not_separate(self) -> None:
        """RFC 9110 §5.6.1."""
        self.assertEqual(split_list(b'a, b="1,2" ,, c'), [b"a", b'b="1,2"', b"c"])
        self.assertEqual(split_list(b'a="\\",", b'), [b'a="\\","', b"b"])
        self.assertEqual(split_list(b'a="1, b'), [b'a="1, b'])

    @settings(max_examples=50, deadline=None)
    @given(st.binary(max_size=30))
    def test_unquoting(self, value: bytes) -> None:
        """A quoted-string gives what was quoted, where it can be (RFC 9110 §5.6.4)."""
        quoted = b'"%b"' % value.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
        plain = all((byte >= 32 and byte != 127) or byte == 9 for byte in value)
        self.assertEqual(unquote(quoted), value if plain else None)

    def test_parameters(self) -> None:
        """RFC 9110 §5.6.6."""
        self.assertEqual(
            parse_parameters(b'text/html ; Charset="a;b" ; q=1;'),
            (b"text/html", {b"charset": b"a;b", b"q": b"1"}),
        )
        for broken in (b"a;b", b'a;b="c', b"a;b=c d", b"a;=c"):
            self.assertIsNone(parse_parameters(broken), broken)

    def test_weights(self) -> None:
        """RFC 9110 §12.4.2; a malformed weight drops its member."""
        self.assertEqual(
            parse_qvalues(b"GZip;q=0.5, br ; Q=1.000, x;q=2, y;q=0.1234, *;q=0, z"),
            [(b"gzip", 0.5), (b"br", 1.0), (b"*", 0.0), (b"z", 1.0)],
        )


class DateTests(SynchronousTestCase):
    def test_three_forms(self) -> None:
        """RFC 9110 §5.6.7."""
        for form in (
            b"Sun, 06 Nov 1994 08:49:37 GMT",
            b"Sunday, 06-Nov-94 08:49:37 GMT",
            b"Sun Nov  6 08:49:37 1994",
        ):
            self.assertEqual(parse_http_date(form), 784111777, form)

    def test_refused(self) -> None:
        """Anything else is no date."""
        for text in (
            b"",
            b"0",
            b"Sun, 06 Nov 1994 08:49:37",
            b"Sun, 06 Nov 1994 08:49:37 UTC",
            b"Sun, 06 nov 1994 08:49:37 GMT",
            b"Sun, 6 Nov 1994 08:49:37 GMT",
            b"Sun, 31 Feb 1994 08:49:37 GMT",
            b"Sun, 06 Nov 1994 24:49:37 GMT",
            b"Sun, 06 Nov 0000 08:49:37 GMT",
            b"Sun, 06 Nov 1994 08:49:37 GMT ",
            b"Sun, 06 Nov 1994 08:49:37 GMT" * 9,
        ):
            self.assertIsNone(parse_http_date(text), text)

    @settings(max_examples=50, deadline=None)
    @given(st.integers(-62135596800, 253402300799))
    def test_comes_back(self, seconds: int) -> None:
        """parse∘format is identity."""
        self.assertEqual(parse_http_date(format_http_date(seconds)), seconds)


class NumberAndTagTests(SynchronousTestCase):
    def test_delta_seconds(self) -> None:
        """RFC 9111 §1.2.2."""
        for text, value in (
            (b"0", 0),
            (b"0060", 60),
            (b"9" * 500, MAX_DELTA_SECONDS),
            (b"0" * 500 + b"7", 7),
            (b"", None),
            (b"-1", None),
            (b"1.5", None),
            (b" 1", None),
        ):
            self.assertEqual(parse_delta_seconds(text), value, text)
