"""Answers from what is stored: the gzip form is made once, then sent as it is."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

import gzip

from tests.proxy.cache.test_lookup import FRESH, CachingCase
from tests.proxy.harness import message, response


class GzipTests(CachingCase):
    """A stored response's gzip form is made once and kept."""

    def test_made_once(self) -> None:
        """Hits get it; clients that do not accept it get the plain one."""
        body = b"compressible " * 500
        self.cache("gzip on; gzip_types text/plain; gzip_min_length 10; gzip_vary on;")
        self.origin.reply(response(200, body, FRESH, b"Content-Type: text/plain"))
        accept = b"Accept-Encoding: gzip"
        self.seen()
        first = self.ask(b"/", accept)
        second = self.ask(b"/", accept)
        for answer in (first, second):
            self.assertEqual(answer.get(b"content-encoding"), b"gzip")
            self.assertEqual(gzip.decompress(answer.body), body)
            self.assertEqual(answer.get(b"vary"), b"Accept-Encoding")
        self.assertEqual(first.body, second.body)
        plain = self.ask()
        self.assertIsNone(plain.get(b"content-encoding"))
        self.assertEqual(plain.body, body)
        self.assertEqual(len(self.origin.requests), 1)

    def test_strong_entity_tag_matches_on_a_miss_and_on_a_hit(self) -> None:
        """``If-Match`` is judged before compression has made the tag weak, as in nginx."""
        self.cache("gzip on; gzip_types text/plain; gzip_min_length 10;")
        self.origin.reply(
            response(200, b"x" * 5000, FRESH, b"Content-Type: text/plain", b'ETag: "e"')
        )
        for state in (b"MISS", b"HIT", b"HIT"):
            answer = self.ask(b"/", b"Accept-Encoding: gzip", b'If-Match: "e"')
            self.assertEqual((answer.status, answer.get(b"x-cache")), (200, state))
            self.assertEqual(answer.get(b"etag"), b'W/"e"')
        answer = self.ask(b"/", b"Accept-Encoding: gzip", b'If-Match: "other"')
        self.assertEqual(answer.status, 412)

    def test_client_gone_while_it_is_made(self) -> None:
        """Nothing breaks."""
        self.cache("gzip on; gzip_types text/plain; gzip_min_length 10;")
        self.origin.reply(response(200, b"x" * 5000, FRESH, b"Content-Type: text/plain"))
        self.seen()
        self.bench.disk.hold()
        client = self.bench.client()
        client.send(message(b"GET", b"/", b"Accept-Encoding: gzip"))
        client.vanish()
        self.bench.disk.release()
        self.bench.reactor.settle()
        self.assertEqual(self.seen(), (b"HIT", b"x" * 5000))
