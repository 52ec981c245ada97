"""``policy.deception``: which URLs and media types are suspect."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.http.fields import Fields
from cacheproxy.http.messages import RequestHead
from cacheproxy.policy.deception import MEDIA_TYPES, deceives, declared_shareable
from tests.policy.builders import NOW, date, response

HTML = (b"Content-Type", b"text/html; charset=utf-8")


def asked(target: bytes, *pairs: tuple[bytes, bytes]) -> RequestHead:
    """A GET of *target*."""
    return RequestHead(b"GET", target, 11, Fields(pairs))


class PathTests(SynchronousTestCase):
    """Paths that proxy and origin may read in two ways."""

    def test_ambiguous(self) -> None:
        """Delimiters, controls and dot segments, in each disguise."""
        for path in (
            b"/account%2Fx.css",
            b"/account%2fx.css",
            b"/account%5Cx.css",
            b"/account\\x.css",
            b"/account%3Fx.css",
            b"/account%23x.css",
            b"/account#x.css",
            b"/account%3Bx.css",
            b"/account;x.css",
            b"/account;jsessionid=1/x",
            b"/account%0Ax.css",
            b"/account%00x.css",
            b"/account%09",
            b"/account%7Fx.css",
            b"/account%252Fx.css",
            b"/account%2Ecss",
            b"/static/../account",
            b"/static/%2E%2e/account",
            b"/static/.",
            b"/static/..",
            b"/a/./b",
            b"//account",
            b"/a//b",
            b"http://site.example/a//b",
        ):
            self.assertEqual(deceives(asked(path), response()), "path", path)

    def test_plain(self) -> None:
        """What merely is unusual is not."""
        for path in (
            b"/",
            b"/a.b/c",
            b"/..a/b.",
            b"/.well-known/x",
            b"/%E4%BD%A0",
            b"/a%20b%2B%40%26",
            b"/100%25",
            b"/a:b@c,d!e$f'(g)*",
            b"/a?b=%2F;//../%00",
            b"http://site.example/a/b",
            b"http://site.example",
        ):
            self.assertEqual(deceives(asked(path), response(HTML)), "", path)


class TypeTests(SynchronousTestCase):
    """A static file's name and what comes under it."""

    def test_pages_are_no_files(self) -> None:
        """No extension of the table takes a page or data of a program."""
        for extension in MEDIA_TYPES:
            for kind in (b"text/html", b"TEXT/HTML;x", b"application/xhtml+xml", b"x", b""):
                found = deceives(asked(b"/account/x." + extension), response((HTML[0], kind)))
                self.assertEqual(found, "type", (extension, kind))
            if extension not in (b"map", b"webmanifest"):
                pairs = ((HTML[0], b"application/json"),)
                self.assertEqual(deceives(asked(b"/x." + extension), response(*pairs)), "type")

    def test_disguised_extension(self) -> None:
        """Case, escapes and a query hide nothing."""
        for path in (b"/account/x.CSS", b"/account/x.c%73s", b"/.css", b"/x.css?a=/", b"/a.b.js"):
            self.assertEqual(deceives(asked(path), response(HTML)), "type", path)

    def test_files(self) -> None:
        """What each is sent as."""
        for path, kind in (
            (b"/a.css", b"text/css"),
            (b"/a.js", b"application/javascript; charset=utf-8"),
            (b"/a.mjs", b"Text/JavaScript"),
            (b"/a.png", b"image/webp"),
            (b"/a.ico", b"image/vnd.microsoft.icon"),
            (b"/a.svg", b"image/svg+xml"),
            (b"/a.woff2", b"application/octet-stream"),
            (b"/a.woff", b"application/font-woff"),
            (b"/a.m3u8", b"application/vnd.apple.mpegurl"),
            (b"/a.docx", b"application/vnd.oasis.opendocument.text"),
            (b"/a.tgz", b"application/x-gzip"),
            (b"/a.txt", b"text/plain"),
            (b"/a.html", b"text/html"),
            (b"/a.json", b"application/json"),
            (b"/a", b"text/html"),
            (b"/a.css/", b"text/html"),
        ):
            self.assertEqual(deceives(asked(path), response((HTML[0], kind))), "", path)
        self.assertEqual(deceives(asked(b"/a.css"), response()), "")

    def test_errors(self) -> None:
        """The page that says a file is missing is nobody's, unless somebody is logged in."""
        for status in (302, 404, 500):
            found = response(HTML, status=status)
            self.assertEqual(deceives(asked(b"/a.css"), found), "")
            self.assertEqual(deceives(asked(b"/a.css", (b"Cookie", b"s=1")), found), "type")


class DeclaredTests(SynchronousTestCase):
    """What an origin says for itself."""

    def test_declared(self) -> None:
        """``public``, a lifetime, Expires, a targeted field; not what is ended or denied."""
        for pairs, expected in (
            ([], False),
            ([(b"Cache-Control", b"public")], True),
            ([(b"Cache-Control", b"max-age=1")], True),
            ([(b"Cache-Control", b"s-maxage=1")], True),
            ([(b"Cache-Control", b"max-age=0")], False),
            ([(b"Cache-Control", b"private, max-age=9")], False),
            ([(b"Cache-Control", b"public, no-store")], False),
            ([(b"Cache-Control", b"no-cache, max-age=9")], False),
            ([(b"Expires", date(9)), (b"Date", date())], True),
            ([(b"Expires", b"0")], False),
            ([(b"CDN-Cache-Control", b"max-age=9"), (b"Cache-Control", b"private")], True),
            ([(b"CDN-Cache-Control", b"no-store"), (b"Cache-Control", b"max-age=9")], False),
        ):
            self.assertIs(declared_shareable(response(*pairs), NOW), expected, pairs)
