"""``proxy_store``: what passes by becomes files, whole or not at all."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

import os

from tests.proxy.harness import BenchCase, message, response

STORE = "root $folder/data; proxy_store on;"


class StoreTests(BenchCase):
    """One location that stores."""

    def stored(self) -> list[str]:
        """What is stored, by its path below the root."""
        root = os.path.join(self.bench.folder, "data")
        return [os.path.relpath(path, root) for path in self.bench.files("data")]

    def content(self, name: str) -> bytes:
        """A stored file's content."""
        with open(os.path.join(self.bench.folder, "data", name), "rb") as file:
            return file.read()

    def test_fetched_once(self) -> None:
        """The classical mirror: a file that is missing is fetched, kept, and served next time."""
        bench = self.serve(
            "root $folder/data; error_page 404 = /fetch$uri;",
            """location /fetch/ { internal; alias $folder/data/; proxy_store on;
                proxy_store_access user:rw group:rw all:r;
                proxy_pass http://127.0.0.1:8000/; }""",
        )
        modified = b"Last-Modified: Tue, 14 Nov 2023 22:13:20 GMT"
        self.origin.default = response(200, b"page", modified)
        for target in (b"/a/b%20c%2541.txt", b"/%ff"):
            for _ in range(2):
                found = bench.get(target)
                self.assertEqual((found.status, found.body), (200, b"page"))
                self.assertEqual(found.get(b"last-modified"), modified[15:])
        lines = [request.line for request in self.origin.requests]
        self.assertEqual(lines[0], b"GET /a/b%20c%2541.txt HTTP/1.1")
        self.assertEqual(len(lines), 2)
        self.assertEqual(self.content("a/b c%41.txt"), b"page")
        self.assertEqual(bench.get(b"/fetch/a").status, 404)

    def test_large(self) -> None:
        """A body in many pieces."""
        bench = self.proxy(STORE)
        body = os.urandom(3_000_000)
        self.origin.default = response(200, body)
        self.assertEqual(bench.get(b"/large").body, body)
        bench.reactor.settle()
        self.assertEqual(self.content("large"), body)

    def test_not_stored(self) -> None:
        """Other statuses and methods, requests with content, and what another place answers."""
        bench = self.proxy(
            f"{STORE} proxy_intercept_errors on;",
            "location /else { return 200 else; }",
        )
        for status in (201, 203, 204, 206, 301, 304, 404, 500):
            self.origin.reply(response(status, b""))
            bench.get(b"/%d" % status)
        for method in (b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS"):
            self.origin.reply(response(200, b""))
            bench.client().request(method, b"/" + method)
        self.origin.reply(response(200, b"fat"))
        self.assertEqual(bench.client().request(b"GET", b"/fat", body=b"a").body, b"fat")
        self.origin.reply(response(200, b"a", b"X-Accel-Redirect: /else"))
        self.assertEqual(bench.get(b"/accel").body, b"else")
        self.origin.reply(response(200, b"a"))
        self.assertEqual(bench.get(b"/folder/").body, b"a")
        bench.reactor.settle()
        self.assertEqual(self.stored(), [])
        self.assertIn("it names a folder", bench.log("error.log")[-1])

    def test_cut_short(self) -> None:
        """Half a response leaves nothing."""
        bench = self.proxy(STORE)
        client = bench.client()
        client.send(message(b"GET", b"/cut"))
        origin = self.origin.last
        origin.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + bytes(500_000))
        origin.close()
        bench.reactor.settle()
        self.assertTrue(client.transport.closed)
        self.assertEqual(self.stored(), [])

    def test_client_leaves(self) -> None:
        """Before the head or after it: the response is read to its end and stored."""
        for early in (True, False):
            bench = self.proxy(STORE)
            client = bench.client()
            client.send(message(b"GET", b"/a"))
            if early:
                client.vanish()
            origin = self.origin.last
            origin.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234")
            if not early:
                client.vanish()
            origin.send(b"56789")
            bench.reactor.settle()
            self.assertEqual(self.content("a"), b"0123456789")

    def test_client_leaves_what_is_not_stored(self) -> None:
        """Nothing is read for nobody."""
        bench = self.proxy(STORE)
        client = bench.client()
        client.send(message(b"GET", b"/a"))
        client.vanish()
        origin = self.origin.last
        origin.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 10\r\n\r\n01234")
        self.assertTrue(origin.closed)

    def test_path_from_text(self) -> None:
        """A text with variables; one that leaves its folder is not written (unlike nginx)."""
        bench = self.proxy("proxy_store $folder/data/$arg_name;")
        self.origin.default = response(200, b"x")
        for name in (b"one", b"../outside", b"a/../../outside", b"..", b"two..three"):
            self.assertEqual(bench.get(b"/?name=" + name).body, b"x")
        bench.reactor.settle()
        self.assertEqual(self.stored(), ["one", "two..three"])
        self.assertEqual(bench.files("outside"), [])
        self.assertIn("its path is not plain", bench.log("error.log")[-1])

    def test_alias_without_slash(self) -> None:
        """``/i../x`` does not leave the alias's folder, neither to write nor to read."""
        bench = self.serve(
            "return 200 root;",
            """location /i { alias $folder/data/; proxy_store on;
                proxy_pass http://127.0.0.1:8000; }
               location /f { alias $folder/data/; }""",
        )
        bench.write("outside", b"secret")
        self.origin.default = response(200, b"x")
        self.assertEqual(bench.get(b"/i../outside").body, b"x")
        bench.reactor.settle()
        self.assertEqual(bench.get(b"/f../outside").status, 404)
        with open(os.path.join(bench.folder, "outside"), "rb") as file:
            self.assertEqual(file.read(), b"secret")

    def test_no_place(self) -> None:
        """What cannot be written is logged; the client has its answer."""
        bench = self.proxy(STORE)
        bench.write("data/file", b"")
        self.origin.default = response(200, b"x")
        self.assertEqual(bench.get(b"/file/below").body, b"x")
        bench.reactor.settle()
        line = bench.log("error.log")[-1]
        self.assertIn("[crit]", line)
        self.assertIn("response is not stored in", line)
        self.assertIn("/file/below", line)

    def test_slow_disk(self) -> None:
        """The origin waits while more than the limit waits for the disk."""
        bench = self.proxy(STORE)
        bench.disk.hold()
        client = bench.client()
        client.send(message(b"GET", b"/a"))
        origin = self.origin.last
        origin.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4000000\r\n\r\n" + bytes(2_000_000))
        self.assertTrue(origin.transport.paused)
        bench.disk.release()
        bench.reactor.settle()
        self.assertFalse(origin.transport.paused)
        origin.send(bytes(2_000_000))
        bench.reactor.settle()
        self.assertEqual(len(self.content("a")), 4_000_000)
