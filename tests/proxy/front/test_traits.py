"""What the fast path reads off a request's fields."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.http.fields import Fields
from cacheproxy.http.messages import RequestHead
from cacheproxy.policy.options import CacheOptions, ProxyOptions
from cacheproxy.proxy.front.traits import is_simple, traits_of
from cacheproxy.proxy.site.selection_rules import SelectionRules

RULES = SelectionRules(ProxyOptions(), CacheOptions(cookies=(b"lang",)))


def head(*pairs: tuple[bytes, bytes], method: bytes = b"GET", version: int = 11) -> RequestHead:
    """A request with *pairs*."""
    return RequestHead(method, b"/", version, Fields(list(pairs)))


class SimpleTests(SynchronousTestCase):
    """``is_simple``."""

    def test_plain_get_is_simple(self) -> None:
        """Also with fields that select among ready answers."""
        self.assertTrue(is_simple(head()))
        self.assertTrue(is_simple(head((b"Accept-Encoding", b"gzip"), (b"Cookie", b"a=1"))))
        self.assertTrue(is_simple(head((b"Connection", b"Keep-Alive"))))

    def test_other_methods_and_versions_are_not_simple(self) -> None:
        """HEAD, POST and HTTP/1.0 go the general way."""
        self.assertFalse(is_simple(head(method=b"HEAD")))
        self.assertFalse(is_simple(head(method=b"POST")))
        self.assertFalse(is_simple(head(version=10)))

    def test_conditions_ranges_and_overrides_are_not_simple(self) -> None:
        """What can change the answer otherwise than by selecting it."""
        for name, value in (
            (b"If-None-Match", b'"e"'),
            (b"Range", b"bytes=0-1"),
            (b"Cache-Control", b"no-cache"),
            (b"Authorization", b"Basic eA=="),
            (b"X-HTTP-Method-Override", b"DELETE"),
            (b"X_HTTP_Method", b"DELETE"),
            (b"Via", b"1.1 x"),
            (b"Connection", b"close"),
            (b"User-Agent", b"Mozilla/4.0 (compatible; MSIE 5.5)"),
        ):
            self.assertFalse(is_simple(head((name, value))), name)


class SelectorTests(SynchronousTestCase):
    """``selector_for``."""

    def selector(self, *pairs: tuple[bytes, bytes], rules: SelectionRules | None = RULES) -> bytes:
        """The selector of a request with *pairs*."""
        fields = Fields(list(pairs))
        return traits_of(fields).selector_for(rules, fields)

    def test_bare_request_is_selected_by_its_coding(self) -> None:
        """The normalised Accept-Encoding, so that browsers share answers."""
        one = self.selector((b"Accept-Encoding", b"gzip, br"))
        self.assertEqual(one, self.selector((b"Accept-Encoding", b"br,gzip"), rules=None))
        self.assertNotEqual(one, self.selector())

    def test_cookies_select_only_where_they_are_named(self) -> None:
        """``proxy_cache_cookies``."""
        self.assertEqual(self.selector((b"Cookie", b"other=1")), self.selector())
        one = self.selector((b"Cookie", b"lang=de; other=1"))
        self.assertEqual(one, self.selector((b"Cookie", b"other=2; lang=de")))
        self.assertNotEqual(one, self.selector((b"Cookie", b"lang=en")))
        self.assertNotEqual(one, self.selector())

    def test_steering_field_selects(self) -> None:
        """A client's X-Forwarded-Host has answers of its own."""
        one = self.selector((b"X-Forwarded-Host", b"evil"))
        self.assertNotIn(one, (self.selector(), self.selector((b"X-Forwarded-Host", b"good"))))

    def test_selector_is_made_anew_for_other_rules(self) -> None:
        """One request may be looked at by the rules of several locations."""
        fields = Fields([(b"Cookie", b"lang=de")])
        traits = traits_of(fields)
        self.assertIs(traits, traits_of(fields))
        named = traits.selector_for(RULES, fields)
        self.assertNotEqual(traits.selector_for(None, fields), named)
        self.assertEqual(traits.selector_for(RULES, fields), named)
