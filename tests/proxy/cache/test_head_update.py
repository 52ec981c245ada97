"""HEAD that reaches the origin, and what is stored for GET (RFC 9111 §4.3.5)."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

from tests.proxy.cache.test_lookup import FRESH, CachingCase
from tests.proxy.harness import response

LENGTH = b"Content-Length: 3"
TAG = b'ETag: "a"'


class HeadUpdateTests(CachingCase):
    """``proxy_cache_convert_head off``, and a stored GET that is 50 of 60 seconds old."""

    def stored(self, *fields: bytes, key: str = "", extra: str = "") -> None:
        """A GET has been stored; 50 seconds pass."""
        self.cache(f"proxy_cache_convert_head off; {key} {extra}")
        self.origin.reply(response(200, b"old", *(fields or (FRESH, TAG, b"X-Of: get"))))
        self.assertEqual(self.seen(), (b"MISS", b"old"))
        self.bench.advance(50)

    def head(self, status: int, *lines: bytes, asked: tuple[bytes, ...] = ()) -> None:
        """The origin answers a HEAD with *lines*."""
        self.origin.reply(b"\r\n".join([b"HTTP/1.1 %d Whatever" % status, *lines]) + b"\r\n\r\n")
        self.assertEqual(self.ask(b"/", *asked, method=b"HEAD").status, status)
        self.assertEqual(self.origin.requests[-1].method, b"HEAD")
        self.origin.default = response(200, b"new", FRESH)

    def test_confirmed(self) -> None:
        """The same validators and length: the stored GET is fresh anew, with the new fields."""
        self.stored()
        self.head(200, FRESH, TAG, LENGTH, b"X-Of: head")
        self.bench.advance(50)
        answer = self.ask()
        self.assertEqual((answer.get(b"x-cache"), answer.body), (b"HIT", b"old"))
        self.assertEqual((answer.get(b"x-of"), answer.get(b"age")), (b"head", b"50"))

    def test_fields_that_it_has_not_are_kept(self) -> None:
        """As with a 304 (§3.2)."""
        self.stored()
        self.head(200, TAG)
        self.bench.advance(50)
        answer = self.ask()
        self.assertEqual((answer.get(b"x-cache"), answer.get(b"x-of")), (b"HIT", b"get"))

    def test_contradicted(self) -> None:
        """Another entity-tag or another length: stale at once."""
        for lines in ((b'ETag: "b"', LENGTH), (TAG, b"Content-Length: 4"), (b'ETag: W/"a"',)):
            self.stored()
            self.head(200, FRESH, *lines)
            self.assertEqual(self.seen(), (b"EXPIRED", b"new"), lines)
            self.bench.close()

    def test_gone(self) -> None:
        """404 and 410 are of the resource, whatever the method."""
        for status in (404, 410):
            self.stored()
            self.head(status, FRESH)
            self.assertEqual(self.seen()[0], b"EXPIRED", status)
            self.bench.close()

    def test_says_nothing(self) -> None:
        """An error, or an answer without validator and length, changes nothing."""
        for status, lines in ((500, (TAG,)), (200, (FRESH,))):
            self.stored()
            self.head(status, *lines)
            self.assertEqual(self.seen(), (b"HIT", b"old"), status)
            self.bench.advance(11)
            self.assertEqual(self.seen()[0], b"EXPIRED", status)
            self.bench.close()

    def test_forbidden_from_now_on(self) -> None:
        """What may not be shared any more is asked for anew."""
        self.stored()
        self.head(200, b"Cache-Control: private", TAG)
        self.assertEqual(self.seen(), (b"EXPIRED", b"new"))

    def test_method_in_the_key(self) -> None:
        """The stored GET is found under its own key."""
        self.stored(key="proxy_cache_key $request_method$uri;")
        self.head(200, b'ETag: "b"')
        self.assertEqual(self.seen(), (b"EXPIRED", b"new"))

    def test_variant(self) -> None:
        """The variant that this HEAD selects, and no other."""
        self.cache("proxy_cache_convert_head off;")
        for value in (b"1", b"2"):
            self.origin.reply(response(200, value, FRESH, b"Vary: X-A", b'ETag: "%s"' % value))
            self.ask(b"/", b"X-A: " + value)
        self.head(200, b'ETag: "3"', b"Vary: X-A", asked=(b"X-A: 2",))
        self.assertEqual(self.seen(b"/", b"X-A: 1"), (b"HIT", b"1"))
        self.assertEqual(self.seen(b"/", b"X-A: 2"), (b"EXPIRED", b"new"))

    def test_fields_outside_the_key(self) -> None:
        """A HEAD with a field that could steer the application has nothing to say of the rest."""
        self.stored()
        self.head(200, TAG, b"X-Of: evil", asked=(b"X-Forwarded-Host: evil.example",))
        answer = self.ask()
        self.assertEqual((answer.get(b"x-cache"), answer.get(b"x-of")), (b"HIT", b"get"))
        self.head(404, asked=(b"X-Forwarded-Host: evil.example",))
        self.assertEqual(self.seen(), (b"HIT", b"old"))

    def test_nothing_stored(self) -> None:
        """There is nothing to update."""
        self.cache("proxy_cache_convert_head off;")
        self.head(200, FRESH, TAG)
        self.assertEqual(self.seen(), (b"MISS", b"new"))

    def test_length(self) -> None:
        """A stored answer to HEAD declares what the origin declared, or nothing."""
        for field, length in ((b"Content-Length: 7", b"7"), (b"X-A: b", None)):
            self.cache("proxy_cache_convert_head off;")
            self.origin.reply(b"HTTP/1.1 200 OK\r\n" + FRESH + b"\r\n" + field + b"\r\n\r\n")
            for status in (b"MISS", b"HIT", b"HIT"):
                answer = self.ask(method=b"HEAD")
                self.assertEqual(answer.get(b"x-cache"), status)
                self.assertEqual(answer.get(b"content-length"), length)
