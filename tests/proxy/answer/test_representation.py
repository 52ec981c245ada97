"""Answers from complete representations: parts of a body, read as the client takes it.

Conditions and ranges of files and hits are in ``test_static`` and ``test_caching``.
"""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

import gzip
import os
from collections.abc import Callable, Iterator

from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.http.fields import Fields
from cacheproxy.proxy.answer.representation import Representation
from tests.proxy.harness import Bench, BenchCase, Response, message, response

BODY = bytes(range(256)) * 2000


class RangeTests(BenchCase):
    """RFC 9110 §14."""

    @given(
        st.lists(
            st.tuples(st.integers(0, 600_000), st.integers(0, 300_000)), min_size=1, max_size=4
        ),
        st.lists(st.integers(1, 400_000), max_size=8),
        st.booleans(),
    )
    def test_any_ranges_of_a_slow_reader(
        self, ranges: list[tuple[int, int]], reads: list[int], small: bool
    ) -> None:
        """Each part holds exactly its bytes, from memory or disk, however slowly it is read."""
        body = BODY[:5000] if small else BODY
        bench = self.serve("root $folder/www;")
        bench.write("www/f", body)
        client = bench.client()
        client.transport.hold()
        wanted = b",".join(b"%d-%d" % (start, start + size) for start, size in ranges)
        client.send(message(b"GET", b"/f", b"Range: bytes=" + wanted))
        for size in reads:
            client.release(size)
        client.release()
        answer = client.response()
        parts = [body[start : start + size + 1] for start, size in ranges if start < len(body)]
        if not parts:
            self.assertEqual(answer.status, 416)
        elif len(ranges) == 1:
            self.assertEqual((answer.status, answer.body), (206, parts[0]))
        elif answer.status == 206:
            for part in parts:
                self.assertIn(part, answer.body)
        else:
            self.assertEqual((answer.status, answer.body), (200, body))
        bench.close()

    def test_file_that_shrinks(self) -> None:
        """A file cut while it is sent breaks the response off; the client can tell."""
        bench = self.serve("root $folder/www;")
        path = bench.write("www/f", BODY * 4)
        client = bench.client()
        client.transport.hold()
        client.send(message(b"GET", b"/f"))
        os.truncate(path, 1000)
        client.release()
        self.assertTrue(client.transport.lost)
        self.assertLess(len(client.received), len(BODY) * 4)


TEXT = b"compressible " * 500
ACCEPTS = b"Accept-Encoding: gzip"
OPTIONS = "gzip on; gzip_types text/plain; gzip_min_length 10; gzip_vary on;"


class CodingTests(BenchCase):
    """One rule for ranges, conditions and ``gzip``, wherever the whole comes from.

    RFC 9110 §14.2, §15.3.7, §15.4.5.
    """

    def wholes(self) -> Iterator[tuple[str, Callable[..., Response]]]:
        """What answers, and how to ask it for the same text."""
        bench = self.serve(f"root $folder/www; types {{ text/plain txt; }} {OPTIONS}")
        path = bench.write("www/x.txt", TEXT)
        os.utime(path, (1_600_000_000, 1_600_000_000))
        yield "file", lambda *fields: bench.get(b"/x.txt", *fields)
        for place, zone in (("memory", "memory=8m"), ("disk", "memory=0")):
            fields = (
                b"Cache-Control: max-age=600", b"Content-Type: text/plain", b'ETag: "e"',
                b"Accept-Ranges: bytes", b"Last-Modified: Sun, 13 Sep 2020 12:26:40 GMT",
            )  # fmt: skip
            for force in ("", "proxy_force_ranges on;"):
                hits = self.cache(OPTIONS + force, zone=zone)
                self.origin.default = response(200, TEXT, *fields)

                def miss(*asked: bytes, bench: Bench = hits) -> Response:
                    self.serial += 1
                    answer = bench.get(b"/x.txt?%d" % self.serial, *asked)
                    self.assertIn(answer.get(b"x-cache"), (b"MISS", None))
                    return answer

                yield f"miss {place} {force}", miss
                hits.get(b"/x.txt")
                hits.get(b"/x.txt", ACCEPTS)
                hits.get(b"/x.txt", ACCEPTS)

                def hit(*asked: bytes, bench: Bench = hits) -> Response:
                    before = len(self.origin.requests)
                    answer = bench.get(b"/x.txt", *asked)
                    self.assertEqual(len(self.origin.requests), before)
                    return answer

                yield f"hit {place} {force}", hit

    serial = 0

    def test_what_is_compressed_is_not_ranged(self) -> None:
        """200 with all of the gzip form, which offers no ranges."""
        for name, ask in self.wholes():
            for range_ in (b"bytes=0-9", b"bytes=-5", b"bytes=0-1,5-6", b"bytes=999999-"):
                answer = ask(ACCEPTS, b"Range: " + range_)
                self.assertEqual((answer.status, answer.get(b"content-range")), (200, None), name)
                self.assertEqual(answer.get(b"content-encoding"), b"gzip", name)
                self.assertIsNone(answer.get(b"accept-ranges"), name)
                self.assertEqual(answer.get(b"vary"), b"Accept-Encoding", name)
                self.assertEqual(gzip.decompress(answer.body), TEXT, name)

    def test_part_of_the_plain_form_has_the_vary_of_the_whole(self) -> None:
        """206 with bytes of the plain form, and Vary as the 200 has it (§15.3.7)."""
        for name, ask in self.wholes():
            for fields in ((), (b"Accept-Encoding: br",), (b"Accept-Encoding: gzip;q=0",)):
                answer = ask(b"Range: bytes=0-9", *fields)
                self.assertEqual((answer.status, answer.body), (206, TEXT[:10]), name)
                self.assertEqual(answer.get(b"vary"), b"Accept-Encoding", name)
                self.assertIsNone(answer.get(b"content-encoding"), name)
                self.assertEqual(
                    answer.get(b"content-range"), b"bytes 0-9/%d" % len(TEXT), name
                )

    def test_not_modified_has_the_fields_of_its_200(self) -> None:
        """304: tag and Vary of the form that the client gets, nothing of its content."""
        for name, ask in self.wholes():
            for fields in ((), (ACCEPTS,)):
                tag = ask(*fields).get(b"etag")
                assert tag is not None, name
                self.assertEqual(tag.startswith(b"W/"), bool(fields), name)
                for asked in (
                    b"If-None-Match: " + tag,
                    b"If-Modified-Since: Sun, 13 Sep 2020 12:26:40 GMT",
                ):
                    answer = ask(asked, *fields)
                    self.assertEqual((answer.status, answer.get(b"etag")), (304, tag), name)
                    self.assertEqual(answer.get(b"vary"), b"Accept-Encoding", name)
                    names = {field.lower() for field, _ in answer.pairs}
                    self.assertFalse([n for n in names if n.startswith(b"content-")], name)


class PartsTests(BenchCase):
    """The small pieces."""

    def test_record(self) -> None:
        """A representation holds what it was given."""
        it = Representation(200, b"OK", [], Fields([]), 0, self)  # type: ignore[arg-type]
        self.assertEqual((it.status, it.length, it.body), (200, 0, None))
