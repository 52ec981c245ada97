"""``policy.unkeyed``: fields that could steer the answer tell requests apart."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.policy.options import CacheOptions, ProxyOptions
from cacheproxy.policy.unkeyed import (
    METHOD_FIELDS,
    STEERING_FIELDS,
    UNKEYED_FIELDS,
    UnkeyedFields,
    spellings,
)
from cacheproxy.template import Template, constant_template
from tests.policy.builders import fields

HOST = (b"X-Forwarded-Host", b"evil")


def rules(key: frozenset[str] = frozenset(), **proxy: Any) -> UnkeyedFields:
    """The rules of a location; *key* are the variables of its key."""
    template = Template("", lambda _: b"", None, key)
    return UnkeyedFields(ProxyOptions(**proxy), CacheOptions(cache="z", key=template))


class UnkeyedTests(SynchronousTestCase):
    """What reaches the origin unkeyed, and what becomes of it."""

    def test_every_field(self) -> None:
        """Each has a suffix of its own, and each value; a request with none has none."""
        found = {
            rules().suffix(fields((name, value)))
            for name in STEERING_FIELDS
            for value in (b"", b"a", b"b")
        }
        self.assertEqual(len(found), 3 * len(STEERING_FIELDS))
        self.assertEqual(rules().suffix(fields((b"X-Forwarded-For", b"1"), (b"Host", b"a"))), b"")

    def test_suffix_is_of_the_whole(self) -> None:
        """Order among names means nothing; repeated lines and their order do."""
        other = (b"X-Host", b"b")
        same = {rules().suffix(fields(HOST, other)), rules().suffix(fields(other, HOST))}
        self.assertEqual(len(same), 1)
        second = (b"x-forwarded-host", b"other")
        self.assertNotEqual(
            rules().suffix(fields(HOST, second)), rules().suffix(fields(second, HOST))
        )
        self.assertNotEqual(rules().suffix(fields(HOST, second)), rules().suffix(fields(HOST)))
        # One value that looks like two lines is not them.
        self.assertNotEqual(
            rules().suffix(fields((b"Forwarded", b"a"), (b"X-Host", b"b"))),
            rules().suffix(fields((b"Forwarded", b"a x-host:b"))),
        )

    def test_spelling(self) -> None:
        """The Host where the origin sees more of it than the key; the path where it is ``$uri``."""
        told = {"reads": frozenset({"http_host"})}
        for key, proxy, host, path in (
            ({"host", "request_uri"}, told, True, False),
            ({"host", "uri"}, told, True, True),
            ({"host", "1"}, {}, False, True),
            ({"http_host", "request_uri"}, told, False, False),
            ({"host", "request_uri"}, {}, False, False),
        ):
            found = rules(frozenset(key), **proxy)
            self.assertEqual(found.watches, host or path)
            self.assertEqual(bool(found.spelling(b"a:81", b"a", b"/x")), host)
            self.assertEqual(bool(found.spelling(b"a", b"a", b"/x%2fy")), path)
            self.assertEqual(found.spelling(b"a", b"a", b"/x%20y"), [])
            lines = found.spelling(b"a:81", b"a", b"//")
            self.assertEqual(bool(found.suffix(fields(), lines)), host or path)

    def test_what_does_not_reach_the_origin(self) -> None:
        """Overwritten, removed or not passed at all: it cannot steer."""
        for value in (b"", b"site.example"):
            one = rules(set_header=((b"X-Forwarded-Host", constant_template(value)),))
            self.assertEqual(one.suffix(fields(HOST)), b"")
            # The same to CGI, but another field to us.
            self.assertTrue(one.suffix(fields((b"X_Forwarded_Host", b"evil"))))
        self.assertEqual(rules(pass_request_headers=False).suffix(fields(HOST)), b"")

    def test_what_reaches_it_another_way(self) -> None:
        """``proxy_set_header X $http_x_forwarded_host``, through a map or not."""
        header = ((b"X-Forwarded-Host", constant_template(b"stands for a template")),)
        for passes in (True, False):
            one = rules(
                set_header=header,
                pass_request_headers=passes,
                reads=frozenset({"http_x_forwarded_host", "http_cookie", "host"}),
            )
            self.assertTrue(one.suffix(fields(HOST)))

    def test_method(self) -> None:
        """A field that makes a GET something else is none of the cache's business …"""
        for name in METHOD_FIELDS:
            head = fields((name, b"DELETE"))
            self.assertEqual(rules().obstacle(head), b"method-override")
            gone = rules(set_header=((name, constant_template(b"")),))
            self.assertEqual(gone.obstacle(head), b"")
            # … unless the operator has it in the key.
            variable = "http_" + name.decode().replace("-", "_")
            keyed = rules(frozenset({variable}))
            self.assertEqual(keyed.obstacle(head), b"")
            self.assertTrue(keyed.suffix(head))

    def test_connection(self) -> None:
        """What Connection takes away cannot be what an answer is selected by."""
        for value, present, expected in (
            (b"keep-alive", b"Cookie", b""),
            (b"close", b"Cookie", b""),
            (b"Upgrade, HTTP2-Settings", b"HTTP2-Settings", b""),
            (b"TE", b"TE", b""),
            (b"cookie", b"Cookie", b"connection"),
            (b"keep-alive,\tX-Forwarded-Proto", b"X-Forwarded-Proto", b"connection"),
            (b"x-forwarded-proto", b"Cookie", b""),
        ):
            head = fields((b"Connection", value), (present, b"1"))
            self.assertEqual(rules().obstacle(head), expected, value)

    def test_forms(self) -> None:
        """Every mixture of hyphens and underscores."""
        self.assertEqual(spellings([b"a-b-c"]), {b"a-b-c", b"a_b-c", b"a-b_c", b"a_b_c"})
        self.assertIn(b"x_forwarded-host", UNKEYED_FIELDS)
