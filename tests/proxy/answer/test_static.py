"""Static files: ``root``, ``alias``, ``index``, types, conditions, ranges."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

import os

from cacheproxy.storage import static_files
from tests.proxy.harness import Bench, BenchCase, Response, http_date, message

TEXT = b"0123456789" * 10


class StaticCase(BenchCase):
    """Tests over a folder of files."""

    def folder(self, options: str = "", server: str = "") -> Bench:
        """A bench that serves the folder ``www``."""
        bench = self.serve(
            f"root $folder/www; types {{ text/plain txt; text/html html; }} {options}", server
        )
        bench.write("www/a.txt", TEXT)
        bench.write("www/index.html", b"the index")
        bench.write("www/sub/b.TXT", b"upper")
        bench.write("www/noext", b"none")
        bench.write("secret", b"secret")
        os.utime(os.path.join(bench.folder, "www/a.txt"), (1_600_000_000, 1_600_000_000))
        return bench

    def get(self, target: bytes, *fields: bytes) -> Response:
        """GET."""
        return self.bench.get(target, *fields)


class StaticTests(StaticCase):
    """What is answered."""

    def test_file(self) -> None:
        """A file with nginx's fields."""
        self.folder()
        answer = self.get(b"/a.txt")
        self.assertEqual((answer.status, answer.body), (200, TEXT))
        self.assertEqual(answer.get(b"content-type"), b"text/plain")
        self.assertEqual(answer.get(b"last-modified"), b"Sun, 13 Sep 2020 12:26:40 GMT")
        self.assertEqual(answer.get(b"etag"), b'"5f5e1000-64"')
        self.assertEqual(answer.get(b"accept-ranges"), b"bytes")
        self.assertEqual(self.get(b"/sub/b.TXT").get(b"content-type"), b"text/plain")
        self.assertEqual(self.get(b"/noext").get(b"content-type"), b"text/plain")

    def test_repeatedly_on_one_connection(self) -> None:
        """The fast path answers the same, and sees a change at once."""
        bench = self.folder("etag off;")
        client = bench.client()
        answers = {client.get(b"/a.txt").raw for _ in range(4)}
        self.assertEqual(len(answers), 1)
        bench.write("www/a.txt", b"changed")
        self.assertEqual(client.get(b"/a.txt").body, b"changed")
        os.unlink(os.path.join(bench.folder, "www/a.txt"))
        self.assertEqual(client.get(b"/a.txt").status, 404)

    def test_fast_path_equals_general_path(self) -> None:
        """Byte by byte, with various options."""
        self.patch(static_files, "SETTLED", -1.0)  # else files this young are not kept
        for options in (
            "",
            "expires 1h;",
            "gzip on; gzip_types *; gzip_vary on;",
            "add_header A $uri; charset utf-8;",
            "server_tokens off;",
        ):
            told = []
            for hot in (True, False):
                bench = self.folder(options, "access_log access.log;")
                client = bench.client(hot=hot)
                for _ in range(3):
                    client.get(b"/a.txt")
                    client.get(b"/a.txt", b"Accept-Encoding: gzip")
                    client.get(b"/")
                told.append((client.received.replace(http_date(0), b""), bench.log()))
                bench.close()
            first, second = told
            drop = [line.split(b"Last-Modified")[0] for line in (first[0], second[0])]
            self.assertEqual(drop[0], drop[1])
            self.assertEqual(first[1], second[1])

    def test_index(self) -> None:
        """A folder's index; several names; none is 403."""
        bench = self.folder()
        self.assertEqual(self.get(b"/").body, b"the index")
        self.assertEqual(self.get(b"/sub/").status, 403)
        self.assertEqual(self.get(b"/none/").status, 404)
        self.assertIn("is forbidden", "\n".join(bench.log("error.log")))
        self.folder("index none.html index.html;")
        self.assertEqual(self.get(b"/").body, b"the index")
        self.folder("index none.html /a.txt;")
        self.assertEqual(self.get(b"/sub/").body, TEXT)

    def test_folder_without_slash(self) -> None:
        """301, keeping the query."""
        self.folder()
        answer = self.get(b"/sub?a=b")
        self.assertEqual(answer.status, 301)
        self.assertEqual(answer.get(b"location"), b"http://test.example/sub/?a=b")

    def test_not_found(self) -> None:
        """404 with a line in the error log, unless ``log_not_found off``."""
        bench = self.folder()
        self.assertEqual(self.get(b"/none").status, 404)
        self.assertIn("no such file", bench.log("error.log")[-1])
        bench = self.folder("log_not_found off;")
        self.assertEqual(self.get(b"/none").status, 404)
        self.assertEqual(bench.log("error.log"), [])

    def test_outside(self) -> None:
        """No target leads out of the folder."""
        self.folder()
        for target in (
            b"/../secret",
            b"/sub/../../secret",
            b"/%2e%2e/secret",
            b"/..%2fsecret",
            b"/a.txt%00",
            b"/.../../../secret",
        ):
            answer = self.get(target)
            self.assertIn(answer.status, (400, 404), target)
            self.assertNotIn(b"secret", answer.body)

    def test_not_a_regular_file(self) -> None:
        """A FIFO is no file, and does not block."""
        bench = self.folder()
        os.mkfifo(os.path.join(bench.folder, "www/fifo"))
        self.assertEqual(self.get(b"/fifo").status, 404)

    def test_methods(self) -> None:
        """GET and HEAD; 405 else. POST finds out first whether there is something (nginx)."""
        bench = self.folder()
        client = bench.client()
        answer = client.request(b"HEAD", b"/a.txt")
        self.assertEqual((answer.get(b"content-length"), client.unread), (b"100", b""))
        self.assertEqual(client.request(b"POST", b"/a.txt", body=b"x").status, 405)
        for target, status in ((b"/none", 404), (b"/sub", 301), (b"/sub/none/", 404)):
            self.assertEqual(client.request(b"POST", target, body=b"x").status, status)
        for target in (b"/a.txt", b"/none", b"/sub"):
            self.assertEqual(client.request(b"DELETE", target).status, 405)

    def test_alias(self) -> None:
        """``alias`` replaces the location's prefix; in a regex it is the whole path."""
        bench = self.folder(
            "",
            """location /files/ { alias $folder/www/sub/; }
            location ~ ^/x/(.*)$ { alias $folder/www/$1; }""",
        )
        self.assertEqual(bench.get(b"/files/b.TXT").body, b"upper")
        self.assertEqual(bench.get(b"/x/a.txt").body, TEXT)
        self.assertEqual(bench.get(b"/files/none").status, 404)

    def test_large_file_to_a_slow_client(self) -> None:
        """It is read no faster than the client reads, and closed with it."""
        bench = self.folder()
        bench.write("www/large", bytes(range(256)) * 20_000)
        client = bench.client()
        client.transport.hold()
        client.send(message(b"GET", b"/large"))
        self.assertLess(len(client.transport.held), 1_000_000)
        client.release()
        self.assertEqual(client.response().body, bytes(range(256)) * 20_000)
        before = len(os.listdir("/proc/self/fd"))
        client.transport.hold()
        client.send(message(b"GET", b"/large"))
        self.assertGreater(len(os.listdir("/proc/self/fd")), before)
        client.vanish()
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)


class RepresentationTests(StaticCase):
    """Preconditions and ranges of a file (RFC 9110 §13, §14)."""

    def test_conditions(self) -> None:
        """304 and 412."""
        self.folder()
        date = b"Sun, 13 Sep 2020 12:26:40 GMT"
        for field, status in (
            (b'If-None-Match: "5f5e1000-64"', 304),
            (b'If-None-Match: W/"5f5e1000-64"', 304),
            (b'If-None-Match: "x"', 200),
            (b"If-Modified-Since: " + date, 304),
            (b"If-Modified-Since: Sun, 13 Sep 2020 12:26:39 GMT", 200),
            (b"If-Unmodified-Since: Sun, 13 Sep 2020 12:26:39 GMT", 412),
            (b'If-Match: "x"', 412),
            (b'If-Match: "5f5e1000-64"', 200),
        ):
            answer = self.get(b"/a.txt", field)
            self.assertEqual(answer.status, status, field)
            if status == 304:
                self.assertIsNone(answer.get(b"content-type"))
                self.assertIsNotNone(answer.get(b"etag"))

    def test_ranges(self) -> None:
        """206 and 416, small and large files."""
        bench = self.folder()
        large = os.urandom(1_000_000)
        bench.write("www/large", large)
        for value, body in ((b"0-4", TEXT[:5]), (b"95-", TEXT[95:]), (b"-3", TEXT[-3:])):
            answer = self.get(b"/a.txt", b"Range: bytes=" + value)
            self.assertEqual((answer.status, answer.body), (206, body))
            self.assertEqual(answer.get(b"content-length"), b"%d" % len(body))
        self.assertEqual(
            self.get(b"/large", b"Range: bytes=300000-700000").body, large[300000:700001]
        )
        answer = self.get(b"/large", b"Range: bytes=0-99999,-100000")
        self.assertIn(large[:100000], answer.body)
        self.assertIn(large[-100000:], answer.body)
        answer = self.get(b"/a.txt", b"Range: bytes=100-")
        self.assertEqual((answer.status, answer.get(b"content-range")), (416, b"bytes */100"))

    def test_max_ranges(self) -> None:
        """``max_ranges 0`` sends the whole."""
        self.folder("max_ranges 0;")
        self.assertEqual(self.get(b"/a.txt", b"Range: bytes=0-1").status, 200)

    def test_gzip(self) -> None:
        """A compressed file is not cut into ranges."""
        self.folder("gzip on; gzip_types text/plain; gzip_min_length 1;")
        answer = self.get(b"/a.txt", b"Accept-Encoding: gzip", b"Range: bytes=0-1")
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.get(b"content-encoding"), b"gzip")
        etag = answer.get(b"etag")
        self.assertTrue(etag is None or etag.startswith(b"W/"), etag)
