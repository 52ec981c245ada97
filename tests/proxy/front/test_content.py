"""``try_files`` and the choice of content."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

from tests.proxy.harness import Bench, BenchCase, response


class TryFilesTests(BenchCase):
    """nginx's ``try_files``."""

    def site(self, directive: str, server: str = "") -> Bench:
        """A folder with one file and one sub folder."""
        bench = self.serve(f"root $folder/www; try_files {directive};", server)
        bench.write("www/file.txt", b"file")
        bench.write("www/sub/index.html", b"index of sub")
        bench.write("www/fallback.html", b"fallback")
        return bench

    def test_file_then_fallback(self) -> None:
        """The first that exists; the last is another place."""
        bench = self.site("$uri /fallback.html")
        self.assertEqual(bench.get(b"/file.txt").body, b"file")
        self.assertEqual(bench.get(b"/none").body, b"fallback")

    def test_folder(self) -> None:
        """A trailing slash asks for a folder."""
        bench = self.site("$uri $uri/ =404")
        self.assertEqual(bench.get(b"/sub/").body, b"index of sub")
        self.assertEqual(bench.get(b"/none").status, 404)

    def test_folder_without_slash_is_redirected_to(self) -> None:
        """301, so that relative links hold; with the arguments, and no charset of its type."""
        bench = self.site("$uri $uri/ =404", "charset utf-8;")
        bench.write("www/bare/file", b"")
        for target, location in (
            (b"/sub", b"http://test.example/sub/"),
            (b"/sub?a=b", b"http://test.example/sub/?a=b"),
            (b"/sub?", b"http://test.example/sub/"),
            (b"/bare", b"http://test.example/bare/"),
        ):
            answer = bench.get(target)
            self.assertEqual((answer.status, answer.get(b"location")), (301, location))
            self.assertEqual(answer.get(b"content-type"), b"text/html")
        self.assertEqual(bench.get(b"/bare/").status, 403)
        bench = self.site("$uri $uri/ =404", "absolute_redirect off;")
        self.assertEqual(bench.get(b"/sub").get(b"location"), b"/sub/")

    def test_below_an_alias(self) -> None:
        """A rendered name stands without the prefix, a literal one as it is written."""
        bench = self.site(
            "$uri =404",
            "location /a/ { alias $folder/www/; try_files $uri $uri/ fallback.html =404; }"
            " location ~ ^/r/ { alias $folder/www; try_files /sub/index.html =404; }",
        )
        self.assertEqual(bench.get(b"/a/file.txt").body, b"file")
        self.assertEqual(bench.get(b"/a/none").body, b"fallback")
        self.assertEqual(bench.get(b"/a/sub").get(b"location"), b"http://test.example/a/sub/")
        self.assertEqual(bench.get(b"/a/sub/").body, b"index of sub")
        self.assertEqual(bench.get(b"/r/x").body, b"index of sub")

    def test_status(self) -> None:
        """``=code``."""
        self.assertEqual(self.site("$uri =410").get(b"/none").status, 410)

    def test_named(self) -> None:
        """A named location, with the URI as it was: the usual front of an application."""
        bench = self.site("$uri @app", "location @app { proxy_pass http://127.0.0.1:8000; }")
        self.bench.origin().default = response(200, b"app")
        self.assertEqual(bench.get(b"/file.txt").body, b"file")
        self.assertEqual(bench.get(b"/x%20y?z").body, b"app")
        self.assertEqual(self.origin.requests[0].target, b"/x%20y?z")

    def test_named_with_a_body(self) -> None:
        """A POST reaches the application whole."""
        bench = self.site("$uri @app", "location @app { proxy_pass http://127.0.0.1:8000; }")
        self.bench.origin().default = lambda c, r: c.send(response(200, r.body))
        self.assertEqual(bench.client().request(b"POST", b"/x", body=b"abc").body, b"abc")

    def test_arguments_of_the_fallback(self) -> None:
        """They replace the request's."""
        bench = self.site("$uri /app?from=$uri", "location /app { return 200 '$args'; }")
        self.assertEqual(bench.get(b"/x?y").body, b"from=/x")

    def test_never_outside(self) -> None:
        """A name made from arguments cannot lead out of the folder."""
        bench = self.site("/$arg_f =404")
        bench.write("secret", b"secret")
        self.assertEqual(bench.get(b"/?f=file.txt").body, b"file")
        for name in (b"../secret", b"%2e%2e/secret", b"..%2fsecret", b"/../../secret"):
            self.assertEqual(bench.get(b"/?f=" + name).status, 404)

    def test_circle(self) -> None:
        """A fallback that leads back ends with 500."""
        self.assertEqual(self.site("/none /again").get(b"/").status, 500)


class ChoiceTests(BenchCase):
    """What serves a location."""

    def test_cache_from_a_variable(self) -> None:
        """A zone by its name; ``off`` is no cache."""
        bench = Bench(
            self,
            "proxy_cache_path cache keys_zone=z:1m; map $arg_c $zone { 1 z; default off; }"
            " server { listen 127.0.0.1:80; location / { proxy_pass http://127.0.0.1:8000;"
            " proxy_cache $zone; proxy_cache_key $uri; } }",
        )
        origin = bench.origin()
        origin.default = response(200, b"x", b"Cache-Control: max-age=60")
        for _ in range(2):
            bench.get(b"/")
        self.assertEqual(len(origin.requests), 2)
        for _ in range(3):
            bench.get(b"/?c=1")
        self.assertEqual(len(origin.requests), 3)
