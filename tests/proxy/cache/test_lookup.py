"""The cache's part of an exchange: RFC 9111, nginx's ``proxy_cache_*``, end to end in memory."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

from tests.proxy.harness import (
    BenchCase,
    OriginConnection,
    Request,
    Response,
    http_date,
    message,
    response,
)

FRESH = b"Cache-Control: max-age=60"
LARGE = bytes(range(256)) * 4096


def counting(*fields: bytes) -> bytes | object:
    """Answers with how many requests there have been."""

    def answer(connection: OriginConnection, request: Request) -> None:
        body = b"%d" % len(connection.origin.requests)
        connection.send(response(200, body, *fields))

    return answer


class CachingCase(BenchCase):
    """Tests that ask and look at ``X-Cache``."""

    def answers(self, *fields: bytes) -> None:
        """The origin answers with a running number and *fields*."""
        self.origin.default = counting(*fields)  # type: ignore[assignment]  # a callable

    def ask(self, target: bytes = b"/", *fields: bytes, method: bytes = b"GET") -> Response:
        """A request on a connection of its own."""
        return self.bench.client().request(method, target, *fields)

    def seen(self, target: bytes = b"/", *fields: bytes) -> tuple[bytes | None, bytes]:
        """(X-Cache, body) of a GET."""
        answer = self.ask(target, *fields)
        return answer.get(b"x-cache"), answer.body


class StatusTests(CachingCase):
    """Every value of ``$upstream_cache_status``."""

    def test_miss_then_hit(self) -> None:
        """A stored response is reused while it is fresh, with its Age (RFC 9111 §4, §5.1)."""
        self.cache()
        self.answers(FRESH)
        self.assertEqual(self.seen(), (b"MISS", b"1"))
        self.bench.advance(7)
        answer = self.ask()
        self.assertEqual((answer.get(b"x-cache"), answer.body), (b"HIT", b"1"))
        self.assertEqual(answer.get(b"age"), b"7")
        self.assertEqual(answer.get(b"date"), http_date(0))

    def test_expired(self) -> None:
        """A stale response is replaced (§4.2)."""
        self.cache()
        self.answers(FRESH)
        self.seen()
        self.bench.advance(61)
        self.assertEqual(self.seen(), (b"EXPIRED", b"2"))
        self.assertEqual(self.seen(), (b"HIT", b"2"))

    def test_revalidated(self) -> None:
        """304 freshens what is stored (§4.3.4)."""
        self.cache("proxy_cache_revalidate on;")
        self.origin.reply(response(200, b"body", FRESH, b'ETag: "e"', b"X-Old: 1"))
        self.seen()
        self.bench.advance(61)
        self.origin.reply(response(304, b"", FRESH, b'ETag: "e"', b"X-New: 2"))
        answer = self.ask()
        self.assertEqual((answer.get(b"x-cache"), answer.body), (b"REVALIDATED", b"body"))
        self.assertEqual(answer.get(b"x-new"), b"2")
        self.assertEqual(self.origin.requests[1].get(b"if-none-match"), b'"e"')
        answer = self.ask()
        self.assertEqual((answer.get(b"x-cache"), answer.body), (b"HIT", b"body"))
        self.assertEqual(answer.get(b"x-new"), b"2")

    def test_revalidation_replaced(self) -> None:
        """A full response to the validation replaces (§4.3.3)."""
        self.cache("proxy_cache_revalidate on;")
        self.origin.reply(response(200, b"old", FRESH, b'ETag: "e"'))
        self.seen()
        self.bench.advance(61)
        self.origin.reply(response(200, b"new", FRESH, b'ETag: "f"'))
        self.assertEqual(self.seen(), (b"EXPIRED", b"new"))
        self.assertEqual(self.seen(), (b"HIT", b"new"))

    def test_revalidated_large(self) -> None:
        """A body on disk serves after its validation."""
        self.cache("proxy_cache_revalidate on;", zone="memory=4k")
        self.origin.reply(response(200, LARGE, FRESH, b'ETag: "e"'))
        self.seen()
        self.bench.advance(61)
        self.origin.reply(response(304, b"", FRESH, b'ETag: "e"'))
        self.assertEqual(self.seen(), (b"REVALIDATED", LARGE))
        self.assertEqual(self.seen(), (b"HIT", LARGE))

    def test_revalidation_forbids_storing(self) -> None:
        """304 with no-store: good for this answer, then gone."""
        self.cache("proxy_cache_revalidate on;")
        self.origin.reply(response(200, b"body", FRESH, b'ETag: "e"'))
        self.seen()
        self.bench.advance(61)
        self.origin.reply(response(304, b"", b"Cache-Control: no-store", b'ETag: "e"'))
        self.assertEqual(self.seen(), (b"REVALIDATED", b"body"))
        self.origin.reply(response(200, b"new", FRESH))
        self.assertEqual(self.seen(), (b"MISS", b"new"))

    def test_bypass(self) -> None:
        """``proxy_cache_bypass`` asks the origin; the answer is stored."""
        self.cache("proxy_cache_bypass $arg_b;", "proxy_cache_key $uri;")
        self.answers(FRESH)
        self.assertEqual(self.seen(), (b"MISS", b"1"))
        self.assertEqual(self.seen(b"/?b=0"), (b"HIT", b"1"))
        self.assertEqual(self.seen(b"/?b=1"), (b"BYPASS", b"2"))
        self.assertEqual(self.seen(), (b"HIT", b"2"))

    def test_no_cache(self) -> None:
        """``proxy_no_cache`` does not store; what is stored still serves."""
        self.cache("proxy_no_cache $arg_n;", "proxy_cache_key $uri;")
        self.answers(FRESH)
        self.assertEqual(self.seen(b"/?n=1"), (b"MISS", b"1"))
        self.assertEqual(self.seen(), (b"MISS", b"2"))
        self.assertEqual(self.seen(b"/?n=1"), (b"HIT", b"2"))

    def test_stale_on_error(self) -> None:
        """``proxy_cache_use_stale``: failures and statuses."""
        self.cache(
            "proxy_cache_use_stale error timeout invalid_header http_503;proxy_read_timeout 5s;"
        )
        self.origin.reply(response(200, b"old", FRESH))
        self.seen()
        self.bench.advance(61)
        for answer in (
            lambda connection, request: connection.reset(),
            response(503, b"down"),
            b"garbage\r\n\r\n",
        ):
            self.origin.reply(answer)
            self.assertEqual(self.seen(), (b"STALE", b"old"))
        client = self.bench.client()
        client.send(message(b"GET", b"/"))
        self.bench.advance(6)
        self.assertEqual(client.response().body, b"old")
        self.origin.reply(response(500, b"broken"))
        self.assertEqual(self.ask().status, 500)

    def test_stale_if_error(self) -> None:
        """The response's own ``stale-if-error`` allows it for its time (RFC 5861 §4)."""
        self.cache("proxy_cache_use_stale off;")
        self.origin.reply(response(200, b"old", b"Cache-Control: max-age=60, stale-if-error=100"))
        self.seen()
        self.origin.mode = "refuse"
        self.origin.last.close()
        self.bench.advance(100)
        self.assertEqual(self.seen(), (b"STALE", b"old"))
        self.bench.advance(100)
        self.assertEqual(self.ask().status, 502)

    def test_must_revalidate(self) -> None:
        """Never stale where the response forbids it (RFC 9111 §5.2.2.2)."""
        self.cache("proxy_cache_use_stale error updating;")
        self.origin.reply(response(200, b"old", b"Cache-Control: max-age=60, must-revalidate"))
        self.seen()
        self.bench.advance(61)
        self.origin.reply(lambda connection, request: connection.reset())
        self.assertEqual(self.ask().status, 502)

    def test_updating(self) -> None:
        """``use_stale updating``: one request refreshes, others get what is stored."""
        self.cache("proxy_cache_use_stale updating;")
        self.origin.reply(response(200, b"old", FRESH))
        self.seen()
        self.bench.advance(61)
        first = self.bench.client()
        first.send(message(b"GET", b"/"))
        self.assertEqual(first.unread, b"")
        for _ in range(3):
            self.assertEqual(self.seen(), (b"UPDATING", b"old"))
        self.origin.last.send(response(200, b"new", FRESH))
        self.assertEqual(first.response().body, b"new")
        self.assertEqual(len(self.origin.requests), 2)
        self.assertEqual(self.seen(), (b"HIT", b"new"))

    def test_only_if_cached(self) -> None:
        """504 where nothing is stored (RFC 9111 §5.2.1.7)."""
        self.cache()
        self.answers(FRESH)
        only = b"Cache-Control: only-if-cached"
        self.assertEqual(self.ask(b"/", only).status, 504)
        self.assertEqual(self.origin.requests, [])
        self.seen()
        self.assertEqual(self.seen(b"/", only), (b"HIT", b"1"))

    def test_request_no_cache(self) -> None:
        """The client may ask for validation (§5.2.1.4)."""
        self.cache()
        self.answers(FRESH)
        self.seen()
        self.assertEqual(self.seen(b"/", b"Cache-Control: no-cache"), (b"EXPIRED", b"2"))
        self.assertEqual(self.seen(), (b"HIT", b"2"))


class VaryTests(CachingCase):
    """RFC 9111 §4.1."""

    def vary(self, names: bytes = b"Accept-Language") -> None:
        """An origin that answers by Accept-Language."""
        self.cache()

        def answer(connection: OriginConnection, request: Request) -> None:
            body = request.get(b"accept-language") or b"none"
            connection.send(response(200, body, FRESH, b"Vary: " + names))

        self.origin.default = answer

    def test_variants(self) -> None:
        """Each variant is stored, none is given to another's request."""
        self.vary()
        for language in (b"de", b"en", b"fr"):
            self.assertEqual(self.seen(b"/", b"Accept-Language: " + language), (b"MISS", language))
        self.assertEqual(self.seen(), (b"MISS", b"none"))
        for language in (b"de", b"en", b"fr"):
            self.assertEqual(self.seen(b"/", b"Accept-Language: " + language), (b"HIT", language))
        self.assertEqual(self.seen(), (b"HIT", b"none"))

    def test_variants_with_the_same_client(self) -> None:
        """The fast path keeps them apart too."""
        self.vary()
        client = self.bench.client()
        for _ in range(3):
            for language in (b"de", b"en"):
                answer = client.get(b"/", b"Accept-Language: " + language)
                self.assertEqual(answer.body, language)
        self.assertEqual(len(self.origin.requests), 2)

    def test_encoding_is_normalised(self) -> None:
        """``Vary: Accept-Encoding``: browsers that ask alike share a variant."""
        self.cache()
        self.answers(FRESH, b"Vary: Accept-Encoding")
        self.seen(b"/", b"Accept-Encoding: gzip, br")
        client = self.bench.client()
        self.assertEqual(client.get(b"/", b"Accept-Encoding: identity").get(b"x-cache"), b"MISS")

    def test_purge_takes_every_variant(self) -> None:
        """An unsafe request invalidates all that is stored for its target (§4.4)."""
        self.vary()
        for language in (b"de", b"en"):
            self.seen(b"/", b"Accept-Language: " + language)
        self.bench.client().request(b"POST", b"/", body=b"")
        for language in (b"de", b"en"):
            self.assertEqual(self.seen(b"/", b"Accept-Language: " + language)[0], b"MISS")


class ConditionalTests(CachingCase):
    """Preconditions and ranges of hits (RFC 9110 §13, §14)."""

    def test_hits(self) -> None:
        """304, 412, 206, 416, and several ranges at once."""
        self.cache()
        self.origin.default = response(200, b"0123456789", FRESH, b'ETag: "e"')
        self.seen()
        for field, status, body in (
            (b'If-None-Match: "e"', 304, b""),
            (b'If-None-Match: "f"', 200, b"0123456789"),
            (b'If-Match: "f"', 412, None),
            (b"Range: bytes=1-3", 206, b"123"),
            (b"Range: bytes=50-", 416, None),
            (b"Range: lines=1-3", 200, b"0123456789"),
        ):
            answer = self.ask(b"/", field)
            self.assertEqual(answer.status, status, field)
            if body is not None:
                self.assertEqual(answer.body, body)
        answer = self.ask(b"/", b"Range: bytes=0-1,5-6")
        self.assertEqual(answer.status, 206)
        self.assertTrue((answer.get(b"content-type") or b"").startswith(b"multipart/byteranges"))
        self.assertIn(b"\r\n\r\n01\r\n", answer.body)
        self.assertIn(b"\r\n\r\n56\r\n", answer.body)
        self.assertEqual(len(self.origin.requests), 1)

    def test_disk(self) -> None:
        """Ranges of a body on disk."""
        self.cache(zone="memory=4k")
        self.origin.default = response(200, LARGE, FRESH)
        self.seen()
        answer = self.ask(b"/", b"Range: bytes=70000-200000")
        self.assertEqual(answer.body, LARGE[70000:200001])
        answer = self.ask(b"/", b"Range: bytes=0-9,500000-500009")
        self.assertIn(LARGE[500000:500010], answer.body)

    def test_slow_reader_of_a_large_hit(self) -> None:
        """The disk is read no faster than the client reads."""
        self.cache(zone="memory=4k")
        self.origin.default = response(200, LARGE * 4, FRESH)
        self.seen()
        client = self.bench.client()
        client.transport.hold()
        client.send(message(b"GET", b"/"))
        self.assertLess(len(client.transport.held), 1_000_000)
        client.release()
        self.assertEqual(client.response().body, LARGE * 4)


class CacheStatusTests(CachingCase):
    """Cache-Status (RFC 9211)."""

    def did(self, *fields: bytes, target: bytes = b"/", method: bytes = b"GET") -> bytes | None:
        """What the field of an answer says, the name of the cache left out."""
        answer = self.ask(target, *fields, method=method)
        value = answer.get(b"cache-status")
        if value is None:
            return None
        name, _, rest = value.partition(b"; ")
        self.assertEqual(name, b"cacheproxy")
        return rest

    def test_life_of_a_response(self) -> None:
        """Stored, used, validated, replaced."""
        self.cache()
        self.answers(FRESH, b'ETag: "e"')
        self.assertEqual(self.did(), b"fwd=uri-miss; stored")
        self.bench.advance(7)
        for _ in range(2):
            self.assertEqual(self.did(), b"hit; ttl=53")
        self.assertEqual(self.did(b"Cache-Control: no-cache"), b"fwd=request; stored")
        self.bench.advance(61)
        self.origin.reply(response(304, b"", FRESH, b'ETag: "e"'))
        self.assertEqual(self.did(), b"fwd=stale; fwd-status=304; stored")
        self.bench.advance(61)
        self.assertEqual(self.did(), b"fwd=stale; stored")

    def test_not_stored(self) -> None:
        """A miss, another method, a bypass."""
        self.cache("proxy_cache_bypass $http_x_bypass;")
        self.answers(b"Cache-Control: no-store")
        self.assertEqual(self.did(), b"fwd=uri-miss")
        self.assertEqual(self.did(b"X-Bypass: 1"), b"fwd=bypass")
        self.assertEqual(self.did(method=b"DELETE"), b"fwd=method")

    def test_variant(self) -> None:
        """The URL is stored, not this variant."""
        self.cache()
        self.answers(FRESH, b"Vary: X-A")
        self.did(b"X-A: 1")
        self.assertEqual(self.did(b"X-A: 2"), b"fwd=vary-miss; stored")
        self.assertEqual(self.did(b"X-A: 2"), b"hit; ttl=60")

    def test_stale(self) -> None:
        """A negative ttl; or the origin was asked and could not be reached."""
        self.cache()
        self.answers(b"Cache-Control: max-age=60, stale-while-revalidate=10")
        self.did()
        self.bench.advance(65)
        self.assertEqual(self.did(), b"hit; ttl=-5")
        self.bench.advance(600)
        self.origin.mode = "refuse"
        self.assertEqual(self.did(), b"fwd=stale; detail=error")

    def test_after_other_caches(self) -> None:
        """Their words stand before ours (§2)."""
        self.cache()
        theirs = b"Cache-Status: inner; hit"
        self.answers(FRESH, theirs)
        answer = self.ask()
        self.assertEqual(
            answer.get(b"cache-status"), b"inner; hit, cacheproxy; fwd=uri-miss; stored"
        )
        self.assertEqual(
            self.ask().get_all(b"cache-status"), [b"inner; hit", b"cacheproxy; hit; ttl=60"]
        )

    def test_off(self) -> None:
        """``proxy_cache_status off``."""
        self.cache("proxy_cache_status off;")
        self.answers(FRESH)
        for _ in range(3):
            self.assertIsNone(self.did())
