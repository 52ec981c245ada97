"""Compression on the way to the client. nginx ``gzip*``."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

import gzip

from tests.proxy.harness import BenchCase, message, response


class GzipTests(BenchCase):
    """Compression on the way out."""

    def test_length_unknown(self) -> None:
        """A compressed response has no declared length, and a weak ETag."""
        bench = self.proxy("gzip on; gzip_types text/plain; gzip_min_length 10; gzip_proxied any;")
        body = b"words and words " * 200
        self.origin.default = response(200, body, b"Content-Type: text/plain", b'ETag: "e"')
        client = bench.client()
        answer = client.get(b"/", b"Accept-Encoding: gzip")
        self.assertIsNone(answer.get(b"content-length"))
        self.assertEqual(answer.get(b"etag"), b'W/"e"')
        self.assertEqual(gzip.decompress(answer.body), body)
        self.assertEqual(client.request(b"HEAD", b"/", b"Accept-Encoding: gzip").status, 200)
        self.assertEqual(client.unread, b"")
        self.assertEqual(client.get(b"/").body, body)

    def test_truncated(self) -> None:
        """A compressed response cut short has no end."""
        bench = self.proxy("gzip on; gzip_types text/plain; gzip_proxied any;")
        client = bench.client()
        client.send(message(b"GET", b"/", b"Accept-Encoding: gzip"))
        self.origin.last.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 9000\r\n\r\nabc"
        )
        self.origin.last.close()
        self.assertTrue(client.transport.lost)
        self.assertFalse(client.received.endswith(b"0\r\n\r\n"))

    def test_vary_for_those_who_do_not_want_it(self) -> None:
        """``gzip_vary``: caches behind learn that there is another form."""
        bench = self.proxy("gzip on; gzip_vary on; gzip_types text/plain; gzip_proxied any;")
        self.origin.default = response(200, b"words " * 200, b"Content-Type: text/plain")
        for line in ((), (b"Accept-Encoding: gzip",), (b"Accept-Encoding: gzip;q=0",)):
            self.assertEqual(bench.client().get(b"/", *line).get(b"vary"), b"Accept-Encoding")
