"""The fields of answers from files and from stored responses."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.policy.options import CoreOptions
from cacheproxy.proxy.answer.fields import media_type
from tests.proxy.harness import BenchCase, response

CORE = CoreOptions(types={"html": b"text/html", "gz": b"application/gzip"}, default_type=b"a/b")


class MediaTypeTests(SynchronousTestCase):
    """``types`` and ``default_type``, by the URI's extension."""

    def test_known_extension_in_any_case_gives_its_type(self) -> None:
        """As nginx, which lowers the extension of the URI."""
        self.assertEqual(media_type(CORE, b"/a/b.html"), b"text/html")
        self.assertEqual(media_type(CORE, b"/a/b.HtMl"), b"text/html")

    def test_only_the_last_extension_of_the_last_segment_counts(self) -> None:
        """A dot in a folder's name is none of an extension."""
        self.assertEqual(media_type(CORE, b"/a.html.gz"), b"application/gzip")
        self.assertEqual(media_type(CORE, b"/a.html/b"), b"a/b")

    def test_unknown_or_missing_extension_gives_the_default(self) -> None:
        """``default_type``."""
        for uri in (b"/", b"/a", b"/a.", b"/a.\xff", b""):
            self.assertEqual(media_type(CORE, uri), b"a/b")


class FilePairsTests(BenchCase):
    """The head of a static file."""

    def test_etag_is_made_of_time_and_size_unless_off(self) -> None:
        """``etag``: nginx's form, the time and the size in hexadecimal digits."""
        for option, etag in (("", b'"3e8-5"'), ("etag off;", None)):
            bench = self.serve(f"root $folder; {option}")
            path = bench.write("a.txt", b"hello")
            os.utime(path, (1000, 1000))
            answer = bench.get(b"/a.txt")
            self.assertEqual(answer.get(b"etag"), etag)
            self.assertEqual(answer.get(b"last-modified"), b"Thu, 01 Jan 1970 00:16:40 GMT")
            self.assertEqual(answer.get(b"accept-ranges"), b"bytes")


class HitPairsTests(BenchCase):
    """The head of a hit."""

    def test_hit_says_its_age(self) -> None:
        """RFC 9111 §5.1: seconds since it was made or validated at the origin."""
        bench = self.cache()
        self.origin.reply(response(200, b"x", b"Cache-Control: max-age=60"))
        bench.get(b"/")
        bench.advance(7)
        self.assertEqual(bench.get(b"/").get(b"age"), b"7")

    def test_hit_carries_cache_status_where_configured(self) -> None:
        """RFC 9211, by ``proxy_cache_status on``."""
        bench = self.cache("proxy_cache_status on;")
        self.origin.reply(response(200, b"x", b"Cache-Control: max-age=60"))
        bench.get(b"/")
        value = bench.get(b"/").get(b"cache-status")
        assert value is not None
        self.assertIn(b"hit", value)
        self.assertNotIn(b"fwd=", value)

    def test_hit_of_compressible_content_varies_with_gzip_vary(self) -> None:
        """``gzip_vary``: also the plain form says that there are others."""
        bench = self.cache("gzip on; gzip_types *; gzip_min_length 1; gzip_vary on;")
        fields = (b"Cache-Control: max-age=60", b"Content-Type: text/plain")
        self.origin.reply(response(200, b"x" * 100, *fields))
        bench.get(b"/")
        self.assertEqual(bench.get(b"/").get(b"vary"), b"Accept-Encoding")
