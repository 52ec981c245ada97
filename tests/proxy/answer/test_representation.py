"""Answers from complete representations: parts of a body, read as the client takes it.

Conditions and ranges of files and hits are in ``test_static`` and ``test_caching``.
"""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.http.fields import Fields
from cacheproxy.proxy.answer.representation import Representation, without_content
from tests.proxy.harness import BenchCase, message

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
        """Each part holds exactly its octets, from memory or disk, however slowly it is read."""
        body = BODY[:5000] if small else BODY
        bench = self.serve("root $folder/www;")
        bench.write("www/f", body)
        client = bench.client()
        client.transport.hold()
        wanted = b",".join(b"%d-%d" % (start, start + size) for start, size in ranges)
        client.send(message(b"GET", b"/f", b"Range: bytes=" + wanted))
        for octets in reads:
            client.release(octets)
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


class PartsTests(BenchCase):
    """The small pieces."""

    def test_without_content(self) -> None:
        """A 304 describes no content (§15.4.5)."""
        pairs = [(b"ETag", b'"e"'), (b"Content-Type", b"a/b"), (b"Content-Length", b"1")]
        self.assertEqual(without_content(pairs), [(b"ETag", b'"e"')])

    def test_record(self) -> None:
        """A representation holds what it was given."""
        it = Representation(200, b"OK", [], Fields([]), 0, self)  # type: ignore[arg-type]
        self.assertEqual((it.status, it.length, it.body), (200, 0, None))
