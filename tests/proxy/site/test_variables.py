"""The built-in variables, as nginx gives them."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

from cacheproxy.config.variables import Declared
from cacheproxy.proxy.site import variables
from cacheproxy.proxy.site.variables import resolve
from cacheproxy.storage import static_files as files
from tests.proxy.harness import Bench, BenchCase, response


class ValueTests(BenchCase):
    """One request, many variables."""

    def value(self, text: str, target: bytes = b"/", *fields: bytes) -> bytes:
        """What *text* gives for a request."""
        bench = self.serve(f"return 200 '{text}';")
        body = bench.get(target, *fields).body
        bench.close()
        return body

    def test_request(self) -> None:
        """The request line and its parts."""
        for text, wanted in (
            ("$request", b"GET /a%20b/../c?d=e&F=g HTTP/1.1"),
            ("$request_uri", b"/a%20b/../c?d=e&F=g"),
            ("$uri|$document_uri", b"/c|/c"),
            ("$args|$query_string|$is_args", b"d=e&F=g|d=e&F=g|?"),
            ("$arg_d|$arg_f|$arg_none", b"e|g|"),
            ("$request_method $scheme $https $server_protocol", b"GET http  HTTP/1.1"),
            ("$host|$http_host|$server_name", b"a.example|A.example:80|test.example"),
            ("$status|$body_bytes_sent", b"200|0"),
        ):
            self.assertEqual(
                self.value(text, b"/a%20b/../c?d=e&F=g", b"Host: A.example:80"), wanted, text
            )

    def test_port_of_the_request(self) -> None:
        """The one that the client named, if it named one."""
        for target, host, wanted in (
            (b"/", b"a.example:8443", b":8443"),
            (b"/", b"a.example", b""),
            (b"http://b.example:81/", b"a.example:82", b":81"),
            (b"http://b.example/", b"a.example:82", b""),
        ):
            value = self.value("$is_request_port$request_port", target, b"Host: " + host)
            self.assertEqual(value, wanted, (target, host))

    def test_remote_user(self) -> None:
        """Of Basic credentials; nonsense is none, and so is what has no colon (nginx)."""
        for given_, wanted in (
            (b"Basic YWxpY2U6c2VjcmV0", b"alice"),
            (b"basic YWxpY2U6c2VjcmV0", b"alice"),
            (b"Basic !!!!", b""),
            (b"Basic YWxp", b""),  # no colon
            (b"Bearer x", b""),
            (b"Basic ", b""),
        ):
            self.assertEqual(self.value("$remote_user", b"/", b"Authorization: " + given_), wanted)

    def test_connection(self) -> None:
        """Addresses in text and in bytes."""
        self.assertEqual(self.value("$remote_addr $remote_port"), b"192.0.2.1 40000")
        self.assertEqual(self.value("$server_addr $server_port"), b"127.0.0.1 80")
        self.assertEqual(self.value("$binary_remote_addr"), bytes([192, 0, 2, 1]))
        self.assertEqual(self.value("$ssl_protocol$ssl_cipher$ssl_server_name"), b"")
        self.assertEqual(self.value("$ssl_session_reused$ssl_session_id"), b"")

    def test_time_and_process(self) -> None:
        """From the clock and the world."""
        self.assertEqual(self.value("$msec"), b"1700000000.000")
        self.assertRegex(self.value("$time_iso8601").decode(), r"^2023-11-1[45]T")
        self.assertRegex(self.value("$time_local").decode(), r"^1[45]/Nov/2023:")
        self.assertEqual(self.value("$request_time"), b"0.000")
        self.assertRegex(self.value("$pid $hostname $nginx_version").decode(), r"^\d+ \S+ \S+$")
        self.assertEqual(self.value("$pipe"), b".")

    def test_request_id(self) -> None:
        """Sixteen bytes in hex, the same throughout a request, another for the next."""
        first, second = self.value("$request_id"), self.value("$request_id")
        self.assertRegex(first.decode(), "^[0-9a-f]{32}$")
        self.assertNotEqual(first, second)
        one, _, two = self.value("$request_id/$request_id").partition(b"/")
        self.assertEqual(one, two)

    def test_root(self) -> None:
        """Where a file would be."""
        bench = self.serve("root $folder/www; return 200 '$document_root $request_filename';")
        path = f"{bench.folder}/www"
        self.assertEqual(bench.get(b"/a/b").body, f"{path} {path}/a/b".encode())
        bench = self.serve("", "location /x/ { alias $folder/y/; return 200 '$request_filename'; }")
        self.assertEqual(bench.get(b"/x/z").body, f"{bench.folder}/y/z".encode())

    def test_upstream(self) -> None:
        """What the origin sent, and where it was."""
        bench = self.proxy(
            "add_header A '$upstream_http_x_y|$upstream_cookie_s|$upstream_addr|$proxy_host"
            "|$proxy_port|$sent_http_content_type' always;"
        )
        self.origin.default = response(
            200,
            b"",
            b"X-Y: z",
            b"Set-Cookie: a=b",
            b"Set-Cookie: s=t; Path=/",
            b"Content-Type: u/v",
        )
        self.assertIn(b"z|t|127.0.0.1:8000|127.0.0.1:8000|8000", bench.get(b"/").get(b"a") or b"")

    def test_of_a_body(self) -> None:
        """Length, type and content of a request's body."""
        bench = self.proxy("proxy_set_header X '$content_length|$content_type|$request_body';")
        self.origin.default = response(200)
        bench.client().request(b"POST", b"/", b"Content-Type: a/b", body=b"body")
        self.assertEqual(self.origin.requests[0].get(b"x"), b"4|a/b|body")

    def test_bytes_sent(self) -> None:
        """Exactly what went over the wire for this response."""
        bench = self.serve(
            "return 200 hello;",
            "access_log access.log l;",
            "log_format l '$bytes_sent $body_bytes_sent $request_completion';",
        )
        client = bench.client()
        one = client.get(b"/")
        two = client.get(b"/")
        self.assertEqual(bench.log(), [f"{len(one.raw)} 5 OK", f"{len(two.raw)} 5 OK"])


class ResolveTests(BenchCase):
    """``resolve`` itself."""

    def test_unknown(self) -> None:
        """No such variable; a family without a name is none."""
        for name in ("", "nonsense", "http_", "arg_", "cookie_", "upstream_http_"):
            self.assertIsNone(resolve(name), name)

    def test_every_variable_renders(self) -> None:
        """None raises before or after a response, on a plain or a refused request."""
        names = sorted(variables._VARIABLES)
        text = "".join(f"${{{name}}}|" for name in names)
        bench = Bench(
            self,
            f"log_format l '{text}'; access_log access.log l;"
            "server { listen 127.0.0.1:80; add_header X '" + text + "' always; return 200 x;"
            " location /p { proxy_pass http://127.0.0.1:8000; } location /n { return 404; } }",
        )
        bench.origin().mode = "refuse"
        for target in (b"/", b"/p", b"/n", b"*", b"http://x/"):
            self.assertGreater(bench.get(target).status, 0)
        client = bench.client()
        client.send(b"garbage\r\n\r\n")
        self.assertEqual(len(bench.log()), 6)

    def test_known_to_the_configuration(self) -> None:
        """They are the built-in ones of a configuration."""
        self.assertTrue(Declared(resolve).built_in("remote_addr"))


class ValidatorTests(BenchCase):
    """``$upstream_cache_last_modified`` and ``$upstream_cache_etag``."""

    FIELDS = (b'ETag: "tag"', b"Last-Modified: Tue, 14 Nov 2023 22:13:20 GMT")

    def seen(self, bench: Bench) -> tuple[bytes | None, ...]:
        """How the next request is answered, and what of the stored validators is added."""
        found = bench.get(b"/")
        names = (b"x-cache", b"x-modified", b"x-tag")
        return tuple(found.get(name) for name in names)

    def test_while_the_origin_is_asked(self) -> None:
        """Set where a stored response is validated, and at no other time, as in nginx."""
        bench = self.cache(
            "proxy_cache_valid 10s; add_header X-Modified $upstream_cache_last_modified;"
            "add_header X-Tag $upstream_cache_etag;"
            'proxy_set_header X-Told "$upstream_cache_etag $upstream_cache_last_modified";'
        )
        self.origin.default = response(200, b"new", *self.FIELDS)
        self.assertEqual(self.seen(bench), (b"MISS", None, None))
        for _ in range(3):  # by the general path, then by the fast one
            self.assertEqual(self.seen(bench), (b"HIT", None, None))
        bench.advance(11)
        modified = b"Tue, 14 Nov 2023 22:13:20 GMT"
        self.assertEqual(self.seen(bench), (b"EXPIRED", modified, b'"tag"'))
        self.assertEqual(self.origin.requests[-1].get(b"x-told"), b'"tag" ' + modified)
        self.assertEqual(self.origin.requests[0].get(b"x-told"), b"")
        bench.advance(11)
        self.origin.reply(response(304, b""))
        self.assertEqual(self.seen(bench), (b"REVALIDATED", None, None))

    def test_without_revalidation(self) -> None:
        """``proxy_cache_revalidate off``: nothing is asked, so nothing is told."""
        bench = self.cache(
            "proxy_cache_valid 10s; proxy_cache_revalidate off;"
            "add_header X-Tag $upstream_cache_etag;"
        )
        self.origin.default = response(200, b"new", *self.FIELDS)
        self.seen(bench)
        bench.advance(11)
        self.assertEqual(self.seen(bench), (b"EXPIRED", None, None))
        self.assertIsNone(self.origin.requests[-1].get(b"if-none-match"))

    def test_own_conditions(self) -> None:
        """``proxy_set_header`` of a precondition takes the place of ours."""
        bench = self.cache(
            "proxy_cache_valid 10s;"
            "proxy_set_header If-Modified-Since $upstream_cache_last_modified;"
            'proxy_set_header If-None-Match "";'
        )
        self.origin.default = response(200, b"body", *self.FIELDS)
        self.seen(bench)
        bench.advance(11)
        self.origin.reply(response(304, b""))
        self.assertEqual(self.seen(bench)[0], b"REVALIDATED")
        asked = self.origin.requests[-1]
        self.assertIsNone(asked.get(b"if-none-match"))
        self.assertEqual(
            [value for name, value in asked.pairs if name.lower() == b"if-modified-since"],
            [b"Tue, 14 Nov 2023 22:13:20 GMT"],
        )

    def test_no_status_of_a_file(self) -> None:
        """A file has no cache status, also where it is sent the fast way."""
        bench = self.serve("root $folder/www; add_header X-Cache =$upstream_cache_status;")
        bench.write("www/a", b"file")
        self.patch(files, "SETTLED", -1)
        client = bench.client()
        for _ in range(3):
            self.assertEqual(client.get(b"/a").get(b"x-cache"), b"=")
