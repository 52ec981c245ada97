"""``policy.cookie_rewriting``: what has to hold beyond what is compared with nginx."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.policy.cookie_rewriting import CookieRewriter, compile_cookies
from tests.config.builders import Request, location


def rewriter(text: str) -> CookieRewriter:
    """That of a location with *text*."""
    made = compile_cookies(location(text).proxy)
    assert made is not None
    return made


class RewritingTests(SynchronousTestCase):
    """``CookieRewriter``."""

    def test_nothing_to_rewrite(self) -> None:
        """Where no directive says so, or ``off`` does."""
        self.assertIsNone(compile_cookies(location("").proxy))
        off = "proxy_cookie_path off; proxy_cookie_domain off; proxy_cookie_flags off;"
        self.assertIsNone(compile_cookies(location(off).proxy))

    @given(st.binary(max_size=40))
    def test_cookie_that_no_rule_matches_stays_as_it_came(self, value: bytes) -> None:
        """To the byte, however malformed."""
        made = rewriter("proxy_cookie_path /never/ /; proxy_cookie_flags never secure;")
        if b"never" not in value.lower():
            self.assertEqual(made.rewrite(Request(), value), value)

    def test_value_from_the_client_adds_no_attribute(self) -> None:
        """A variable cannot end the attribute, nor the line."""
        made = rewriter("proxy_cookie_path / $http_x;")
        context = Request(http_x=b"/; Secure\r\nSet-Cookie: a=b")
        found = made.rewrite(context, b"s=1; Path=/")
        self.assertEqual(found.count(b";"), 1)
        self.assertNotIn(b"\n", found)

    def test_other_fields_are_left_alone(self) -> None:
        """Only Set-Cookie, in any case."""
        made = rewriter("proxy_cookie_path / /a/;")
        pairs = [(b"X", b"a; path=/"), (b"set-cookie", b"a=b; path=/x")]
        self.assertEqual(
            made.render(Request(), pairs),
            [(b"X", b"a; path=/"), (b"set-cookie", b"a=b; path=/a/x")],
        )
