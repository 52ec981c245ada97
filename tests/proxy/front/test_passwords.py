"""``auth_basic`` as a phase: it waits for the check, and what becomes of the request then."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

import base64

from tests.proxy.harness import Bench, BenchCase, message, response

GOOD = b"Authorization: Basic " + base64.b64encode(b"me:secret")
BAD = b"Authorization: Basic " + base64.b64encode(b"me:wrong")


class PasswordTests(BenchCase):
    """Before a cached origin."""

    def serve_asking(self, options: str = "") -> Bench:
        """A bench whose location asks for the password of "me"."""
        bench = self.cache(f'auth_basic "r"; auth_basic_user_file users; {options}')
        bench.write("users", b"me:{PLAIN}secret\n")
        self.origin.default = response(200, b"for me", b"Cache-Control: public, max-age=60")
        return bench

    def test_cached_page_is_for_those_with_a_password(self) -> None:
        """Also once it is in memory, and over one connection."""
        bench = self.serve_asking()
        for fields, status in (((), 401), ((BAD,), 401), ((GOOD,), 200), ((), 401), ((BAD,), 401),
                               ((GOOD,), 200), ((), 401)):
            found = bench.get(b"/", *fields)
            self.assertEqual(found.status, status, fields)
            self.assertEqual(found.body == b"for me", status == 200)

    def test_client_that_leaves_ends_the_check(self) -> None:
        """The origin is asked for nothing."""
        bench = self.serve_asking()
        bench.disk.hold()
        client = bench.client()
        client.send(message(b"GET", b"/", GOOD))
        client.vanish()
        bench.disk.release()
        bench.reactor.settle()
        self.assertEqual(self.origin.requests, [])

    def test_nothing_is_answered_before_the_check(self) -> None:
        """It goes on when the file was read; the second time no thread is asked."""
        bench = self.serve_asking()
        bench.disk.hold()
        client = bench.client()
        client.send(message(b"GET", b"/", GOOD))
        self.assertEqual((client.received, self.origin.requests), (b"", []))
        bench.disk.release()
        bench.reactor.settle()
        self.assertEqual(client.response().status, 200)

    def test_refused_request_invalidates_nothing(self) -> None:
        """An unsafe method without a password leaves what is stored."""
        bench = self.serve_asking()
        bench.get(b"/", GOOD)
        self.assertEqual(bench.client().request(b"POST", b"/", BAD).status, 401)
        self.assertEqual(bench.get(b"/", GOOD).get(b"x-cache"), b"HIT")

    def test_realm_holds_no_line_end(self) -> None:
        """Whatever a client has put into a variable."""
        bench = self.serve(
            'auth_basic "a$uri"; auth_basic_user_file users; proxy_pass http://127.0.0.1:8000;'
        )
        found = bench.get(b"/%0d%0aSet-Cookie:x")
        self.assertEqual(found.get(b"www-authenticate"), b'Basic realm="a/Set-Cookie:x"')
