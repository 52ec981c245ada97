"""Answers that are kept ready: what they hold, and their HTTP/1 encoding."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

from typing import Any

from cacheproxy.http.syntax import format_http_date
from cacheproxy.proxy.front.ready import JOIN_LIMIT, ReadyAnswer
from cacheproxy.storage import static_files
from tests.proxy.harness import EPOCH, BenchCase, response

FRESH = b"Cache-Control: max-age=60"


class ReadyCase(BenchCase):
    """Cases with an answer that is ready for ``/``."""

    def ready(self, target: bytes = b"/") -> ReadyAnswer:
        """What is ready for *target*, once it has been sent."""
        client = self.bench.client()
        for _ in range(3):
            client.get(target)
        site = next(iter(self.bench.factories.values())).site
        found: Any = site.routes[(b"test.example", target)].ready
        self.assertEqual(len(found), 1)
        answer: ReadyAnswer = next(iter(found.values()))
        return answer


class ReadyHitTests(ReadyCase):
    """``ReadyHit``."""

    def test_holds_status_fields_and_body_apart_from_its_http1_bytes(self) -> None:
        """What another version of HTTP needs carries nothing of a connection."""
        self.cache("keepalive_timeout 75s 20s;")
        self.origin.reply(response(410, b"gone", FRESH, b"X-A: 1"))
        ready = self.ready()
        self.assertEqual((ready.status, ready.body), (410, b"gone"))
        names = {name.lower() for name, _ in ready.pairs}
        self.assertLessEqual({b"x-a", b"age", b"server"}, names)
        self.assertTrue({b"connection", b"keep-alive"}.isdisjoint(names))
        self.assertTrue(ready.http1.startswith(b"HTTP/1.1 410 "))
        self.assertTrue(ready.http1.endswith(b"\r\n\r\ngone"))
        self.assertIn(b"\r\nConnection: keep-alive\r\n", ready.http1)
        self.assertIn(b"\r\nKeep-Alive: timeout=20\r\n", ready.http1)
        self.assertEqual(ready.http1.count(b"Content-Length: 4\r\n"), 1)

    def test_long_body_is_not_joined_with_the_head(self) -> None:
        """It is shared with the entry in memory, not copied every second."""
        self.cache()
        body = b"x" * (JOIN_LIMIT + 1)
        self.origin.reply(response(200, body, FRESH))
        ready = self.ready()
        self.assertTrue(ready.http1.endswith(b"\r\n\r\n"))
        self.assertEqual(ready.http1_body, body)
        self.assertIs(ready.http1_body, ready.body)

    def test_rendering_for_another_second_changes_age_only(self) -> None:
        """RFC 9111 §5.1."""
        self.cache("proxy_cache_status off;")
        self.origin.reply(response(200, b"x", FRESH))
        ready = self.ready()
        ready.render(EPOCH + 1)
        first = ready.http1
        ready.render(EPOCH + 3)
        self.assertEqual(first.replace(b"\r\nAge: 1\r\n", b"\r\nAge: 3\r\n"), ready.http1)
        self.assertEqual(ready.second, EPOCH + 3)

    def test_stops_to_be_current_with_its_lifetime(self) -> None:
        """And with its entry in memory."""
        self.cache()
        self.origin.reply(response(200, b"x", FRESH))
        ready = self.ready()
        self.assertTrue(ready.is_current(EPOCH + 59))
        self.assertFalse(ready.is_current(EPOCH + 61))
        self.bench.runtime.zones["z"].memory.clear()
        self.assertFalse(ready.is_current(EPOCH + 59))

    def test_204_declares_no_length(self) -> None:
        """RFC 9110 §8.6."""
        self.cache()
        self.origin.reply(response(204, b"", FRESH))
        self.assertNotIn(b"content-length", self.ready().http1.lower())


class ReadyFileTests(ReadyCase):
    """``ReadyFile``."""

    def test_stops_to_be_current_when_the_file_changes(self) -> None:
        """Every use looks at the disk (through the file cache)."""
        self.patch(static_files, "SETTLED", -1.0)
        bench = self.serve("root $folder;")
        bench.write("a.txt", b"one")
        ready = self.ready(b"/a.txt")
        self.assertTrue(ready.is_current(EPOCH))
        bench.write("a.txt", b"another")
        bench.advance(61)
        self.assertFalse(ready.is_current(EPOCH + 61))

    def test_date_is_that_of_the_rendering(self) -> None:
        """It is made here, unlike that of a stored response."""
        self.patch(static_files, "SETTLED", -1.0)
        bench = self.serve("root $folder;")
        bench.write("a.txt", b"one")
        ready = self.ready(b"/a.txt")
        ready.render(EPOCH + 5)
        self.assertIn(b"Date: " + format_http_date(EPOCH + 5), ready.http1)
        self.assertEqual(ready.upstream_fields, None)
        self.assertEqual(ready.cache_status, b"")
