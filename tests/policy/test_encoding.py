"""``policy.encoding``: nginx's gzip rules and the head of an encoded representation."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.policy.encoding import (
    accepts_gzip,
    encoded_fields,
    may_encode,
    vary_accept_encoding,
    wants_encoding,
    weak_etag,
)
from cacheproxy.policy.options import GzipOptions
from tests.policy.builders import NOW, date, fields, request

HTML = (b"Content-Type", b"text/html; charset=utf-8")
GZIP = (b"Accept-Encoding", b"gzip")


class ResponseTests(SynchronousTestCase):
    """``gzip``, ``gzip_types``, ``gzip_min_length``."""

    def may(
        self,
        *pairs: tuple[bytes, bytes],
        status: int = 200,
        length: int | None = 1000,
        **options: Any,
    ) -> bool:
        """Whether a response may be compressed."""
        return may_encode(status, fields(*pairs), length, GzipOptions(gzip=True, **options))

    def test_conditions(self) -> None:
        """Each condition of nginx by itself."""
        self.assertTrue(self.may(HTML))
        self.assertTrue(self.may(HTML, length=None))
        self.assertTrue(self.may(HTML, length=20))
        self.assertFalse(self.may(HTML, length=19))
        self.assertFalse(self.may(HTML, (b"Content-Encoding", b"br")))
        self.assertFalse(self.may(HTML, (b"Cache-Control", b"no-transform")))
        self.assertFalse(may_encode(200, fields(HTML), 1000, GzipOptions()))
        for status, allowed in ((403, True), (404, True), (206, False), (500, False), (301, False)):
            self.assertIs(self.may(HTML, status=status), allowed, status)

    def test_types(self) -> None:
        """The media type alone counts, in any case; ``*`` is every type."""
        self.assertTrue(self.may((b"Content-Type", b"TEXT/HTML")))
        self.assertFalse(self.may((b"Content-Type", b"text/css")))
        self.assertFalse(self.may())
        self.assertTrue(self.may((b"Content-Type", b"image/x"), types=None))


class RequestTests(SynchronousTestCase):
    """``ngx_http_gzip_ok``."""

    def wants(
        self,
        *pairs: tuple[bytes, bytes],
        have: tuple[tuple[bytes, bytes], ...] = (),
        method: bytes = b"GET",
        version: int = 11,
        **options: Any,
    ) -> bool:
        """Whether a request gets the compressed form."""
        asked = request(*pairs, method=method, version=version)
        return wants_encoding(asked, fields(*have), GzipOptions(gzip=True, **options), NOW)

    def test_accept_encoding(self) -> None:
        """gzip by name with a weight above zero."""
        for value in (b"gzip", b"gzip, deflate, br", b"br;q=1, GZIP;q=0.1", b"gzip ; q=0.001"):
            self.assertTrue(self.wants((b"Accept-Encoding", value)), value)
        for value in (b"", b"br", b"*", b"gzip;q=0", b"gzip;q=0.000", b"xgzip", b"gzipx"):
            self.assertFalse(self.wants((b"Accept-Encoding", value)), value)
        self.assertFalse(self.wants())
        self.assertFalse(accepts_gzip(None))

    def test_method_and_version(self) -> None:
        """HEAD is like GET; not below gzip_http_version; HTTP/2 is above 1.1."""
        self.assertTrue(self.wants(GZIP, method=b"HEAD"))
        self.assertFalse(self.wants(GZIP, version=10))
        self.assertTrue(self.wants(GZIP, version=10, http_version=10))
        self.assertTrue(self.wants(GZIP, version=20))

    def test_user_agent(self) -> None:
        """``gzip_disable``, with its special name ``msie6``."""
        agent = (b"User-Agent", b"Robot/1.0")
        self.assertFalse(self.wants(GZIP, agent, disable=(re.compile(rb"Robot"),)))
        self.assertTrue(self.wants(GZIP, agent, disable=(re.compile(rb"Mozilla"),)))
        self.assertTrue(self.wants(GZIP, disable=(re.compile(rb"."),)))
        old = (b"User-Agent", b"Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1)")
        new = (b"User-Agent", b"Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1; SV1)")
        self.assertFalse(self.wants(GZIP, old, disable_msie6=True))
        self.assertTrue(self.wants(GZIP, new, disable_msie6=True))

    def test_proxied(self) -> None:
        """``gzip_proxied`` counts for requests with Via only, in nginx's order."""
        via = (b"Via", b"1.1 x")
        control = b"Cache-Control"

        def proxied(word: str, *have: tuple[bytes, bytes], auth: bool = False) -> bool:
            extra = ((b"Authorization", b"x"),) if auth else ()
            return self.wants(GZIP, via, *extra, have=have, proxied=frozenset({word}))

        self.assertFalse(proxied("off"))
        self.assertTrue(proxied("any", (control, b"max-age=1")))
        self.assertTrue(proxied("auth", (control, b"max-age=1"), auth=True))
        self.assertFalse(proxied("auth", (control, b"max-age=1")))
        self.assertTrue(proxied("expired", (b"Expires", date(-1)), (b"Date", date())))
        self.assertFalse(proxied("expired", (b"Expires", date(1)), (b"Date", date())))
        self.assertTrue(proxied("no-cache", (control, b"no-cache")))
        self.assertTrue(proxied("no-store", (control, b"no-store")))
        self.assertTrue(proxied("private", (control, b"private")))
        self.assertFalse(proxied("private", (control, b"no-store")))
        self.assertFalse(proxied("no_last_modified", (b"Last-Modified", date())))
        self.assertTrue(proxied("no_last_modified"))
        self.assertFalse(proxied("no_etag", (b"ETag", b'"a"')))


class HeadTests(SynchronousTestCase):
    """RFC 9110 §8.4, §8.8.3: the encoded form is another representation."""

    def test_encoded_fields(self) -> None:
        """Length and ranges go, the validator turns weak, Vary is added on demand."""
        plain = fields(
            HTML, (b"Content-Length", b"9"), (b"ETag", b'"a"'), (b"Accept-Ranges", b"bytes")
        )
        self.assertEqual(
            encoded_fields(plain, b"gzip", True).pairs,
            [
                HTML,
                (b"ETag", b'W/"a"'),
                (b"Content-Encoding", b"gzip"),
                (b"Vary", b"Accept-Encoding"),
            ],
        )
        self.assertNotIn(b"vary", encoded_fields(plain, b"gzip", False))
        self.assertNotIn(b"etag", encoded_fields(fields((b"ETag", b"bare")), b"gzip", False))

    def test_vary_is_not_repeated(self) -> None:
        """Where it says so, or ``*``, nothing is added."""
        for value in (b"accept-encoding", b"Cookie, Accept-Encoding", b"*"):
            have = fields((b"Vary", value))
            self.assertIs(vary_accept_encoding(have), have)
        self.assertEqual(len(vary_accept_encoding(fields((b"Vary", b"Cookie")))), 2)

    @given(st.binary(max_size=20))
    def test_weak_etag_is_stable(self, etag: bytes) -> None:
        """Weakening twice is weakening once."""
        weak = weak_etag(etag)
        if weak is not None:
            self.assertEqual(weak_etag(weak), weak)
        accepts_gzip(etag)
