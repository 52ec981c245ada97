"""``$http_*``, ``$cookie_*``, ``$arg_*`` and their like, as responses and logs show them."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.proxy.site.variable_families import of_family
from tests.proxy.harness import BenchCase, response


class FamilyTests(BenchCase):
    """Names that end in another name."""

    def value(self, text: str, *fields: bytes) -> bytes:
        """What *text* gives for a request."""
        bench = self.serve(f"return 200 '{text}';")
        body = bench.get(b"/", *fields).body
        bench.close()
        return body

    def test_unknown(self) -> None:
        """A family without a name is none."""
        for name in ("", "nonsense", "http_", "sent_http_", "upstream_trailer_"):
            self.assertIsNone(of_family(name), name)

    def test_fields(self) -> None:
        """``$http_*``, ``$cookie_*``, lists."""
        fields = (b"X-One: 1", b"Cookie: a=b; c=d", b"Cookie: e=f", b"X-Forwarded-For: 10.0.0.1")
        for text, wanted in (
            ("$http_x_one|$http_none", b"1|"),
            ("$cookie_a$cookie_c$cookie_e$cookie_x", b"bdf"),
            ("$http_cookie", b"a=b; c=d; e=f"),
            ("$proxy_add_x_forwarded_for", b"10.0.0.1, 192.0.2.1"),
        ):
            self.assertEqual(self.value(text, *fields), wanted, text)
        self.assertEqual(self.value("$proxy_add_x_forwarded_for"), b"192.0.2.1")

    def test_of_the_response(self) -> None:
        """``$upstream_http_*``, ``$upstream_cookie_*`` as received, ``$sent_http_*`` as sent."""
        text = "$upstream_http_x_a|$upstream_cookie_c|$sent_http_x_a|$sent_http_server"
        bench = self.proxy("access_log $folder/a.log t;", http=f'log_format t "{text}";')
        cookies = b"Set-Cookie: b=2; Path=/", b"Set-Cookie: c=3"
        self.origin.default = response(200, b"", b"X-A: 1", *cookies)
        server = bench.get(b"/").get(b"server")
        assert server is not None
        self.assertEqual(bench.log("a.log"), [f"1|3|1|{server.decode()}"])

    def test_trailers(self) -> None:
        """``$upstream_trailer_*`` in the log, once the response has ended."""
        bench = self.proxy(
            "access_log $folder/trailers.log t;",
            http='log_format t "$upstream_trailer_x_sum|$upstream_trailer_none";',
        )
        self.origin.default = (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
            b"1\r\na\r\n0\r\nX-Sum: 42\r\n\r\n"
        )
        bench.get(b"/")
        self.assertEqual(bench.log("trailers.log"), ["42|-"])

    @given(st.binary(max_size=30))
    def test_arguments_of_any_bytes(self, raw: bytes) -> None:
        """No query breaks the look-up of an argument."""
        bench = self.serve("return 200 '$arg_a';")
        query = bytes(c for c in raw if 0x21 <= c < 0x7F and c != 0x23)
        answer = bench.get(b"/?b=" + query + b"&a=found")
        self.assertIn(answer.status, (200, 400))
        if b"a=" not in query.lower() and answer.status == 200:
            self.assertEqual(answer.body, b"found")
        bench.close()
