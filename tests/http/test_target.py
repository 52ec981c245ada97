"""Request targets, hosts and nginx's treatment of paths (outcomes of nginx 1.22)."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.errors import ProtocolError
from cacheproxy.http.target import (
    escape_uri,
    normalize_path,
    parse_internal,
    parse_target,
    split_host,
    split_url,
)

_FORMS: list[tuple[bytes, bytes, bytes, bool, bytes | None, bytes | None]] = [
    (b"/a", b"/a", b"", False, None, None),
    (b"/a?", b"/a", b"", True, None, None),
    (b"/a?b?c", b"/a", b"b?c", True, None, None),
    (b"/a?b#c", b"/a", b"b", True, None, None),
    (b"/a#b?c", b"/a", b"", False, None, None),
    (b"HTTP://A.b:80/x?y", b"/x", b"y", True, b"A.b:80", b"http"),
    (b"https://a", b"/", b"", False, b"a", b"https"),
    (b"http://a?x", b"/", b"x", True, b"a", b"http"),
]

#: path, with merge_slashes on, with it off; None is 400.
_PATHS: list[tuple[bytes, bytes | None, bytes | None]] = [
    (b"/a/./b", b"/a/b", b"/a/b"),
    (b"/a/../b", b"/b", b"/b"),
    (b"/../b", None, None),
    (b"/..", None, None),
    (b"/a/..", b"/", b"/"),
    (b"/a/.", b"/a/", b"/a/"),
    (b"//a///b", b"/a/b", b"//a///b"),
    (b"/a//../b", b"/b", b"/a/b"),
    (b"/a//b/../../c", b"/c", b"/a/c"),
    (b"/%2e%2e/b", None, None),
    (b"/a/%2E./b", b"/b", b"/b"),
    (b"/a%2f..%2fb", b"/b", b"/b"),
    (b"/%2f", b"/", b"//"),
    (b"/a%00b", None, None),
    (b"/a%zz", None, None),
    (b"/a%2", None, None),
    (b"/a%2541", b"/a%41", b"/a%41"),
    (b"/a%3fb%23c+d%2b", b"/a?b#c+d+", b"/a?b#c+d+"),
    (b"/.../..a/.b", b"/.../..a/.b", b"/.../..a/.b"),
    (b"/a//", b"/a/", b"/a//"),
    (b"//", b"/", b"//"),
    (b"/a%c3%a9\xff", b"/a\xc3\xa9\xff", b"/a\xc3\xa9\xff"),
    (b"*", None, None),
    (b"", None, None),
]


class TargetTests(SynchronousTestCase):
    def test_forms(self) -> None:
        """RFC 9112 §3.2."""
        for text, *parts in _FORMS:
            target = parse_target(text)
            seen = [target.path, target.args, target.has_args, target.authority, target.scheme]
            self.assertEqual(seen, parts, text)
        self.assertEqual(parse_target(b"*", b"OPTIONS").path, b"*")
        self.assertEqual(parse_target(b"a:443", b"CONNECT").authority, b"a:443")

    def test_no_form(self) -> None:
        """What is none of the forms is refused with 400."""
        for method, text in (
            (b"GET", b"*"),
            (b"GET", b"a:443"),
            (b"CONNECT", b"/"),
            (b"CONNECT", b"a"),
            (b"GET", b"http:///x"),
            (b"GET", b"http://u@a/"),
            (b"GET", b""),
        ):
            error = self.assertRaises(ProtocolError, parse_target, text, method)
            self.assertEqual(error.status, 400)


class PathTests(SynchronousTestCase):
    def test_as_nginx(self) -> None:
        """ngx_http_parse_complex_uri."""
        for path, merged, kept in _PATHS:
            for merge, expected in ((True, merged), (False, kept)):
                if expected is None:
                    self.assertRaises(ProtocolError, normalize_path, path, merge)
                else:
                    self.assertEqual(normalize_path(path, merge), expected, (path, merge))

    @settings(max_examples=150, deadline=None)
    @given(
        st.lists(st.sampled_from([b"/", b".", b"..", b"a", b"%2e", b"%2f", b"%25"])), st.booleans()
    )
    def test_no_dot_segments_left(self, atoms: list[bytes], merge: bool) -> None:
        """Nothing that is normalised can climb, and with merging it is a fixed point."""
        try:
            path = normalize_path(b"/" + b"".join(atoms), merge)
        except ProtocolError:
            return
        self.assertTrue(path.startswith(b"/"))
        self.assertFalse({b".", b".."} & set(path.split(b"/")))
        self.assertFalse(merge and b"//" in path)
        self.assertEqual(normalize_path(escape_uri(path), merge), path)

    def test_internal(self) -> None:
        """The place that X-Accel-Redirect names, decoded; or what nginx calls unsafe."""
        for uri, parsed in (
            (b"/a", (b"/a", None)),
            (b"/a?", (b"/a", b"")),
            (b"/%61%3f%zz?b%20c?d", (b"/a?%zz", b"b%20c?d")),
            (b"//a/./b..c", (b"//a/./b..c", None)),
        ):
            self.assertEqual(parse_internal(uri), parsed, uri)
        for uri in (b"", b"a", b"?a", b"/..", b"/../a", b"/a/%2E./b", b"/%00", b"/a/..?b"):
            with self.assertRaises(ProtocolError) as caught:
                parse_internal(uri)
            self.assertEqual(caught.exception.status, 404)

    def test_url(self) -> None:
        """Scheme, authority and URI of a ``proxy_pass``."""
        for url, parts in (
            (b"http://a:1/b?c", (b"http", b"a:1", b"/b?c")),
            (b"HTTPS://a?b", (b"https", b"a", b"?b")),
            (b"http://a", (b"http", b"a", b"")),
            (b"http://unix:/s:/b", (b"http", b"unix:/s", b"/b")),
            (b"http://unix:/s", (b"http", b"unix:/s", b"")),
        ):
            self.assertEqual(split_url(url), parts, url)
        for url in (b"a/b", b"ftp://a/", b""):
            self.assertRaises(ProtocolError, split_url, url)

    def test_escaping(self) -> None:
        """ngx_escape_uri with NGX_ESCAPE_URI."""
        self.assertEqual(
            escape_uri(b'/a b?c#%"<>\\^`{|}~\x7f\xff&+;=\n'),
            b"/a%20b%3Fc%23%25%22%3C%3E%5C%5E%60%7B%7C%7D~%7F%FF&+;=%0A",
        )


class HostTests(SynchronousTestCase):
    def test_split(self) -> None:
        """ngx_http_validate_host."""
        for text, host, port in (
            (b"A.B", b"a.b", None),
            (b"a.", b"a", None),
            (b"a.:80", b"a", 80),
            (b"a:", b"a", None),
            (b"[::1]:8080", b"[::1]", 8080),
            (b"a_b", b"a_b", None),
            (b"1.2.3.4:65535", b"1.2.3.4", 65535),
        ):
            self.assertEqual(split_host(text), (host, port))

    def test_refused(self) -> None:
        """No host by RFC 3986 §3.2.2."""
        for text in (
            *(b"", b".", b"a..b", b"a..", b"a/b", b"a b", b"a@b", b"a?b", b"a#b", b"a\\b", b":80"),
            *(b"[::1", b"[::1]x", b"[zz]", b"a:xx", b"a:65536", b"a:80:90", b"a\xff", b"a\0"),
            *(b"a%4", b"a<b>", b"a" * 2000),
        ):
            self.assertRaises(ProtocolError, split_host, text)
