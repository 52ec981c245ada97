"""Unsafe requests and what is stored (RFC 9111 §4.4), end to end in memory."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

from tests.proxy.cache.test_lookup import FRESH, CachingCase
from tests.proxy.harness import message, response


class InvalidationTests(CachingCase):
    """RFC 9111 §4.4."""

    def stored(self, *targets: bytes) -> None:
        """A bench where *targets* are stored."""
        self.cache()
        self.answers(FRESH)
        for target in targets:
            self.seen(target)
            self.assertEqual(self.seen(target)[0], b"HIT")

    def test_post_invalidates(self) -> None:
        """A success does, also of a response that is ready to send."""
        self.stored(b"/a", b"/b")
        client = self.bench.client()
        client.get(b"/a")
        client.get(b"/a")
        self.origin.reply(response(201, b"made"))
        self.assertEqual(client.request(b"POST", b"/a", body=b"x").status, 201)
        self.assertEqual(client.get(b"/a").get(b"x-cache"), b"MISS")
        self.assertEqual(client.get(b"/b").get(b"x-cache"), b"HIT")

    def test_failure_does_not(self) -> None:
        """An error changes nothing."""
        self.stored(b"/a")
        self.origin.reply(response(500, b"no"))
        self.bench.client().request(b"DELETE", b"/a")
        self.assertEqual(self.seen(b"/a")[0], b"HIT")

    def test_safe_methods_do_not(self) -> None:
        """OPTIONS changes nothing (RFC 9110 §9.2.1)."""
        self.stored(b"/a")
        self.bench.client().request(b"OPTIONS", b"/a")
        self.assertEqual(self.seen(b"/a")[0], b"HIT")

    def test_location(self) -> None:
        """Location and Content-Location of the same origin, no other."""
        self.stored(b"/a", b"/b", b"/c?d=e", b"/f")
        self.origin.reply(
            response(
                200,
                b"ok",
                b"Location: /b",
                b"Content-Location: http://test.example/c?d=e",
            )
        )
        self.bench.client().request(b"PUT", b"/a", body=b"x")
        states = [self.seen(target)[0] for target in (b"/a", b"/b", b"/c?d=e", b"/f")]
        self.assertEqual(states, [b"MISS", b"MISS", b"MISS", b"HIT"])

    def test_location_of_another_host(self) -> None:
        """Another host's is left alone."""
        self.stored(b"/a", b"/b")
        self.origin.reply(response(200, b"ok", b"Location: http://other.example/b"))
        self.bench.client().request(b"PUT", b"/a", body=b"x")
        self.assertEqual(self.seen(b"/b")[0], b"HIT")


class PreconditionTests(CachingCase):
    """RFC 9110 §13.1.1: what keeps two writers from overwriting each other."""

    def test_unsafe_requests_keep_their_preconditions(self) -> None:
        """If-Match of a PUT is for the origin, also where GETs are answered from a cache."""
        bench = self.cache()
        self.answers(FRESH)
        bench.client().send(message(b"PUT", b"/a", b'If-Match: "1"', body=b"new"))
        bench.reactor.settle()
        self.assertEqual(self.origin.requests[0].get(b"if-match"), b'"1"')

    def test_those_of_a_get_are_answered_here(self) -> None:
        """The origin is asked for the whole, so that it can be stored."""
        bench = self.cache()
        self.answers(FRESH)
        bench.client().send(message(b"GET", b"/a", b'If-None-Match: "1"', b"Range: bytes=0-0"))
        bench.reactor.settle()
        self.assertIsNone(self.origin.requests[0].get(b"if-none-match"))
        self.assertIsNone(self.origin.requests[0].get(b"range"))


class PostTests(CachingCase):
    """A response to POST that a GET would get (RFC 9110 §9.3.3)."""

    def post(self, *fields: bytes) -> bytes | None:
        """The status of a GET after a POST that was answered with *fields*."""
        self.cache()
        self.origin.reply(response(200, b"made", *fields))
        self.ask(b"/x", method=b"POST")
        self.answers(FRESH)
        status, body = self.seen(b"/x")
        self.assertEqual(body, b"made" if status == b"HIT" else b"2")
        self.bench.close()
        return status

    def test_stored(self) -> None:
        """With its own Content-Location and an explicit lifetime."""
        self.assertEqual(self.post(b"Content-Location: /x", FRESH), b"HIT")

    def test_not_stored(self) -> None:
        """Without either, for another place, with a cookie."""
        for fields in (
            (FRESH,),
            (b"Content-Location: /x",),
            (b"Content-Location: /x", b"Cache-Control: no-cache", b'ETag: "a"'),
            (b"Content-Location: /y", FRESH),
            (b"Content-Location: /x", FRESH, b"Set-Cookie: a=b"),
            (b"Content-Location: /x", FRESH, b"Cache-Control: private"),
        ):
            self.assertEqual(self.post(*fields), b"MISS", fields)
