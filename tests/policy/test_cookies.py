"""``policy.cookies``: which cookies count, whatever form they come in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.http.fields import Fields
from cacheproxy.policy.cookies import CookieFilter, cookie_value

SESSION = CookieFilter([b"sessionid", b"lang", b"wp_*"])


def cookies(*lines: bytes) -> Fields:
    """A request's fields with these Cookie lines, among others."""
    return Fields([(b"Host", b"a"), *[(b"Cookie", line) for line in lines], (b"X", b"1")])


class FilterTests(SynchronousTestCase):
    """RFC 6265 §5.4 and what clients make of it."""

    def test_values(self) -> None:
        """What is kept of a line; None where no cookie counts."""
        cases = {
            b"sessionid=1": b"sessionid=1",
            b"_ga=GA1.2; sessionid=1; _gid=2": b"sessionid=1",
            b"_ga=1; csrftoken=x": None,
            b"": None,
            b";;  ; =; = ": None,
            b"sessionid=1; lang=de": b"lang=de; sessionid=1",
            b"lang=de;sessionid=1": b"lang=de; sessionid=1",
            b"  lang=de \t;  sessionid=1;": b"lang=de; sessionid=1",
            # Of one name all are kept, in their order.
            b"sessionid=2; sessionid=1; a=b": b"sessionid=2; sessionid=1",
            # The rest of a prefix may be empty.
            b"wp_x=1; wp_=2; wp=3": b"wp_=2; wp_x=1",
            # Case and encoding are the name's own.
            b"SESSIONID=1; %73essionid=2; sessionid[0]=3": None,
            # Attributes of RFC 2109 are no cookies.
            b'$Version="1"; sessionid="1"; $Path="/"': b'sessionid="1"',
            # Semicolons end a cookie in quotes as well, commas do not without.
            b'_ga="x; sessionid=2; y"': b"sessionid=2",
            b'lang="de; sessionid=1"': b'lang="de; sessionid=1"',
            b"_ga=1, sessionid=2": None,
            b"lang=1, sessionid=2": b"lang=1, sessionid=2",
            b"sessionid": b"sessionid",
            b"sessionid = 1": b"sessionid = 1",
            b"=sessionid": None,
        }
        for line, kept in cases.items():
            self.assertEqual(SESSION.value(cookies(line)), kept, line)

    def test_several_lines(self) -> None:
        """They are one field, cut at semicolons (RFC 9113 §8.2.3)."""
        fields = cookies(b"sessionid=1", b"_ga=2", b"lang=de; sessionid=2")
        self.assertEqual(SESSION.value(fields), b"lang=de; sessionid=1; sessionid=2")
        self.assertEqual(cookie_value(fields), b"sessionid=1; _ga=2; lang=de; sessionid=2")
        self.assertIsNone(cookie_value(cookies()))

    def test_every_cookie(self) -> None:
        """A bare star brings all into one order."""
        self.assertEqual(CookieFilter([b"*"]).value(cookies(b"b=2; a=1; ;c")), b"a=1; b=2; c")

    def test_apply(self) -> None:
        """One line is left, or none; nothing is made anew where nothing changes."""
        self.assertEqual(
            SESSION.apply(cookies(b"_ga=1; sessionid=1", b"lang=de")).get_all(b"cookie"),
            [b"lang=de; sessionid=1"],
        )
        self.assertNotIn(b"cookie", SESSION.apply(cookies(b"_ga=1")))
        for fields in (cookies(), cookies(b"lang=de; sessionid=1")):
            self.assertIs(SESSION.apply(fields), fields)

    @given(st.lists(st.binary(max_size=30), max_size=4))
    def test_no_cookie_but_the_named(self, lines: list[bytes]) -> None:
        """Whatever the bytes, every member of the result has a name that counts."""
        fields = SESSION.apply(cookies(*lines))
        value = cookie_value(fields)
        for member in [] if value is None else value.split(b";"):
            self.assertTrue(SESSION.selects(member.partition(b"=")[0].strip(b" \t")), value)
        self.assertEqual(SESSION.value(fields), value)
        self.assertIs(SESSION.apply(fields), fields)
