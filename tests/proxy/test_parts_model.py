"""Parts of a resource that changes, asked for in any order (RFC 9111 §3.3, §3.4).

Whatever is stored, combined or completed: every answer is made of one version of the
resource alone, the one that its entity-tag names, and that version is not too old.
"""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

import re
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.proxy.harness import BenchCase, OriginConnection, Request, message, response

LIFETIME = 20

_POSITION = st.integers(0, 24)
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("range"), _POSITION, _POSITION),
        st.tuples(st.just("range"), _POSITION, _POSITION),
        st.tuples(st.just("from"), _POSITION),
        st.tuples(st.just("end"), st.integers(1, 9)),
        st.tuples(st.just("whole")),
        st.tuples(st.just("two"), _POSITION, _POSITION),
        st.tuples(st.just("wait"), st.sampled_from([1, 6, 21])),
        st.tuples(st.just("change"), st.integers(18, 26)),
        st.tuples(st.just("honest"), st.booleans()),
        st.tuples(st.just("validator"), st.sampled_from(["strong", "strong", "weak", "none"])),
        st.tuples(st.just("purge")),
        st.tuples(st.just("restart")),
    ),
    min_size=4,
    max_size=25,
)


class PartsModelTests(BenchCase):
    """A resource of some twenty bytes; each version has bytes of its own."""

    def start(self, memory: bool) -> None:
        """The first version."""
        self.cache("proxy_cache_max_range_offset 1;", zone="" if memory else "memory=0")
        self.origin.default = self.answer  # type: ignore[assignment]  # a callable
        #: Of each version: its bytes, and when another took its place.
        self.versions: list[bytes] = []
        self.ended: list[float] = []
        #: Whether the origin obeys If-Range, as it must.
        self.honest = True
        self.validator = "strong"
        self.do_change(20)

    def do_change(self, length: int) -> None:
        """Another version; letters tell versions and places apart."""
        if self.versions:
            self.ended.append(self.bench.reactor.seconds())
        number = len(self.versions)
        self.versions.append(bytes(33 + (number * 29 + place) % 90 for place in range(length)))

    def tag(self) -> bytes | None:
        """The entity-tag now."""
        tag = b'"%d"' % (len(self.versions) - 1)
        return {"strong": tag, "weak": b"W/" + tag, "none": None}[self.validator]

    def answer(self, connection: OriginConnection, request: Request) -> None:
        """200, 304, 206 or 416, as an origin does; or with If-Range not understood."""
        body, tag = self.versions[-1], self.tag()
        lines = [b"Cache-Control: max-age=%d" % LIFETIME, b"X-Version: %d" % (
            len(self.versions) - 1)]  # fmt: skip
        if tag is not None:
            lines.append(b"ETag: " + tag)
        if tag is not None and request.get(b"if-none-match") == tag:
            connection.send(response(304, b"", *lines))
            return
        value, condition = request.get(b"range"), request.get(b"if-range")
        match = None if value is None else re.fullmatch(rb"bytes=(\d*)-(\d*)", value)
        if match is None or (self.honest and condition is not None and condition != tag):
            connection.send(response(200, body, *lines))
            return
        first, last = match.groups()
        start = int(first) if first else max(0, len(body) - int(last))
        stop = min(int(last) + 1, len(body)) if first and last else len(body)
        if start >= len(body) or stop <= start:
            connection.send(response(416, b"", b"Content-Range: bytes */%d" % len(body)))
            return
        lines.append(b"Content-Range: bytes %d-%d/%d" % (start, stop - 1, len(body)))
        connection.send(response(206, body[start:stop], *lines))

    def do_wait(self, seconds: int) -> None:
        """Time passes."""
        self.bench.advance(seconds)

    def do_honest(self, honest: bool) -> None:
        """The origin obeys If-Range or not."""
        self.honest = honest

    def do_validator(self, kind: str) -> None:
        """What entity-tags there are; the resource changes with them."""
        self.validator = kind
        self.do_change(len(self.versions[-1]))

    def do_purge(self) -> None:
        """An unsafe request."""
        kept, self.origin.default = self.origin.default, response(200, b"done")
        self.bench.client().request(b"DELETE", b"/")
        self.origin.default = kept

    def do_restart(self) -> None:
        """The process ends; another one goes on with what is on disk."""
        self.bench.restart()

    def do_range(self, one: int, other: int) -> None:
        self.ask(b"bytes=%d-%d" % (min(one, other), max(one, other)))

    def do_from(self, first: int) -> None:
        self.ask(b"bytes=%d-" % first)

    def do_end(self, count: int) -> None:
        self.ask(b"bytes=-%d" % count)

    def do_whole(self) -> None:
        self.ask(None)

    def do_two(self, one: int, other: int) -> None:
        """Two clients at once."""
        clients = [self.bench.client() for _ in range(2)]
        for client, place in zip(clients, (one, other), strict=True):
            client.send(message(b"GET", b"/", b"Range: bytes=%d-%d" % (place, place + 5)))
        for client in clients:
            self.check(client.response())

    def ask(self, value: bytes | None) -> None:
        """One request."""
        fields = () if value is None else (b"Range: " + value,)
        self.check(self.bench.get(b"/", *fields))

    def check(self, answer: Any) -> None:
        """One version's own bytes, and a version that is not too old."""
        if answer.status == 416:
            return
        number = int(answer.get(b"x-version"))
        body = self.versions[number]
        if answer.get(b"etag") is not None:
            self.assertIn(b'"%d"' % number, answer.get(b"etag"))
        if answer.status == 200:
            self.assertEqual(answer.body, body)
        else:
            self.assertEqual(answer.status, 206)
            (described,) = answer.get_all(b"content-range")
            first, last, total = map(int, re.findall(rb"\d+", described))
            self.assertEqual(total, len(body))
            self.assertEqual(answer.body, body[first : last + 1])
        if number < len(self.ended):
            now = self.bench.reactor.seconds()
            self.assertLess(now, self.ended[number] + LIFETIME)

    @settings(max_examples=60, deadline=None)
    @given(OPERATIONS, st.booleans())
    def test_one_version_at_a_time(self, operations: list[tuple[Any, ...]], memory: bool) -> None:
        """However parts come together, nothing of two versions is mixed."""
        self.start(memory)
        try:
            for name, *arguments in operations:
                self.bench.reactor.advance(1 / 1024)
                getattr(self, f"do_{name}")(*arguments)
        finally:
            self.bench.close()
