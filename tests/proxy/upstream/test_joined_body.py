"""A response put together of a stored part and the rest, piece by piece (RFC 9111 §3.4)."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

import os

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.proxy.cache.test_lookup import FRESH, CachingCase
from tests.proxy.harness import Client, message, response

BODY = bytes(range(256)) * 12_000
SIZE = len(BODY)
TAG = b'ETag: "a"'


class JoinedBodyTests(CachingCase):
    """A whole of three million bytes; the memory tier keeps nothing of it."""

    def part(self, first: int, stop: int, chunked: bool = False) -> bytes:
        """The origin's 206."""
        described = b"Content-Range: bytes %d-%d/%d" % (first, stop - 1, SIZE)
        return response(206, BODY[first:stop], FRESH, TAG, described, chunked=chunked)

    def stored(self, first: int, stop: int, options: str = "", zone: str = "memory=4k") -> None:
        """Bytes [first, stop) are stored."""
        self.cache(
            f"proxy_cache_max_range_offset 0; proxy_buffers 4 8k; send_timeout 1d; {options}",
            zone=zone,
        )
        self.origin.reply(self.part(first, stop))
        answer = self.ask(b"/", b"Range: bytes=%d-%d" % (first, stop - 1))
        self.assertEqual((answer.status, len(answer.body)), (206, stop - first))

    def client(self, *fields: bytes, hold: bool = False) -> Client:
        """A client that has asked; it does not read if it is to hold."""
        client = self.bench.client()
        if hold:
            client.transport.hold()
        client.send(message(b"GET", b"/", *fields))
        return client

    def assert_stored(self, first: int = 0, stop: int = SIZE) -> None:
        """Bytes [first, stop) are in the cache."""
        count = len(self.origin.requests)
        answer = self.ask(b"/", b"Range: bytes=%d-%d" % (first, stop - 1))
        self.assertEqual((answer.get(b"x-cache"), answer.body), (b"HIT", BODY[first:stop]))
        self.assertEqual(len(self.origin.requests), count)

    def assert_cut(self, client: Client) -> None:
        """The client can tell that it has not got everything."""
        self.assertTrue(client.transport.lost)
        self.assertLess(len(client.received.partition(b"\r\n\r\n")[2]), SIZE)

    def test_part_before(self) -> None:
        """The stored bytes go first, from disk; the rest follows."""
        self.stored(0, 1_000_000)
        self.origin.reply(self.part(1_000_000, SIZE))
        self.assertEqual(self.ask().body, BODY)
        self.assert_stored()

    def test_part_after(self) -> None:
        """The stored bytes go last; the origin is free before."""
        self.stored(2_000_000, SIZE)
        client = self.client()
        self.bench.disk.hold()
        self.origin.last.send(self.part(0, 2_000_000))
        self.bench.disk.release()
        self.bench.reactor.settle()
        self.assertEqual(client.response().body, BODY)
        self.assert_stored()

    def test_both_in_memory(self) -> None:
        """A part that memory has is there at once."""
        for first, stop in ((0, 500_000), (2_500_000, SIZE)):
            self.stored(first, stop, zone="memory=64m")
            rest = (stop, SIZE) if first == 0 else (0, first)
            self.origin.reply(self.part(*rest))
            self.assertEqual(self.ask().body, BODY)
            self.assert_stored()
            self.bench.close()

    def test_range_across(self) -> None:
        """Of the combination the client gets what it asked for, and all of it is stored."""
        self.stored(1_000_000, 1_500_000)
        self.origin.reply(self.part(1_500_000, 1_600_000))
        answer = self.ask(b"/", b"Range: bytes=1400000-1599999")
        self.assertEqual(answer.body, BODY[1_400_000:1_600_000])
        self.assert_stored(1_000_000, 1_600_000)
        self.origin.reply(self.part(900_000, 1_000_000))
        answer = self.ask(b"/", b"Range: bytes=900000-1000009")
        self.assertEqual(answer.body, BODY[900_000:1_000_010])
        self.assert_stored(900_000, 1_600_000)

    def test_origin_is_held_up_meanwhile(self) -> None:
        """No more than what it had sent is kept while the part is read."""
        self.stored(0, 1_000_000)
        client = self.client()
        self.bench.disk.hold()
        origin = self.origin.last
        whole = self.part(1_000_000, SIZE)
        origin.send(whole[:100_000])
        self.assertTrue(origin.transport.paused)
        self.bench.disk.release()
        self.bench.reactor.settle()
        self.assertFalse(origin.transport.paused)
        origin.send(whole[100_000:])
        self.assertEqual(client.response().body, BODY)

    def test_slow_client_holds_up_the_part(self) -> None:
        """With ``proxy_buffering off`` the part is read no faster than the client reads."""
        self.stored(0, 2_900_000, "proxy_buffering off;")
        self.origin.reply(self.part(2_900_000, SIZE))
        client = self.client(hold=True)
        self.assertLess(len(client.transport.held), 1_000_000)
        client.release()
        self.assertEqual(client.response().body, BODY)

    def test_client_gone(self) -> None:
        """The fill goes on without the client, before, among and after the origin's bytes."""
        for first, stop in ((0, 1_000_000), (2_000_000, SIZE)):
            for sent in (100, 500_000):
                self.stored(first, stop)
                client = self.client()
                self.bench.disk.hold()
                rest = self.part(stop, SIZE) if first == 0 else self.part(0, first)
                self.origin.last.send(rest[:sent])
                client.vanish()
                self.bench.disk.release()
                self.origin.last.send(rest[sent:])
                self.bench.reactor.settle()
                self.assert_stored()
                self.bench.close()

    def test_client_gone_and_nothing_to_store(self) -> None:
        """Nobody wants it: the origin is let go."""
        self.stored(0, 1_000_000)
        client = self.client()
        rest = self.part(1_000_000, SIZE).replace(FRESH, b"Cache-Control: private")
        self.origin.last.send(rest[:500_000])
        client.vanish()
        self.assertTrue(self.origin.last.closed)

    def test_origin_breaks_off(self) -> None:
        """Nothing of it looks whole, and the part is still there."""
        for first, stop in ((0, 1_000_000), (2_000_000, SIZE)):
            self.stored(first, stop)
            client = self.client()
            rest = self.part(stop, SIZE) if first == 0 else self.part(0, first)
            self.origin.last.send(rest[:-1])
            self.origin.last.close()
            self.bench.reactor.settle()
            self.assert_cut(client)
            self.assert_stored(first, stop)
            self.bench.close()

    def test_count_is_wrong(self) -> None:
        """A chunked rest that is shorter or longer than its Content-Range says."""
        for count in (1_999_999, 2_000_001):
            for first, stop in ((0, 1_072_000), (2_000_000, SIZE)):
                self.stored(first, stop)
                if first == 0:
                    start, end = stop, SIZE
                else:
                    start, end = 0, first
                described = b"Content-Range: bytes %d-%d/%d" % (start, end - 1, SIZE)
                self.origin.reply(
                    response(206, b"x" * count, FRESH, TAG, described, chunked=True)
                )
                client = self.client()
                self.assert_cut(client)
                self.assert_stored(first, stop)
                self.bench.close()

    def test_chunked(self) -> None:
        """One of the right length is as good as any."""
        self.stored(0, 1_000_000)
        self.origin.reply(self.part(1_000_000, SIZE, chunked=True))
        self.assertEqual(self.ask().body, BODY)
        self.assert_stored()

    def test_part_cannot_be_read(self) -> None:
        """A disk that fails while the part is read."""
        self.stored(2_000_000, SIZE)
        client = self.client()
        for path in self.bench.files("cache"):
            if os.path.getsize(path) > 1_000_000:
                os.truncate(path, 1_000_000)
        self.origin.last.send(self.part(0, 2_000_000))
        self.bench.reactor.settle()
        self.assert_cut(client)

    @settings(max_examples=30, deadline=None)
    @given(
        st.booleans(),
        st.booleans(),
        st.lists(st.tuples(st.sampled_from("shrxdD"), st.integers(1, 900_000)), max_size=15),
    )
    def test_any_order(self, before: bool, buffering: bool, steps: list[tuple[str, int]]) -> None:
        """However origin, disk and client take turns, the client gets the whole."""
        first, stop = (0, 1_000_000) if before else (2_000_000, SIZE)
        self.stored(first, stop, "" if buffering else "proxy_buffering off;")
        client = self.client()
        data = self.part(stop, SIZE) if before else self.part(0, first)
        for kind, size in steps:
            if kind == "s" and data:
                self.origin.last.send(data[:size])
                data = data[size:]
            elif kind == "h":
                client.transport.hold()
            elif kind == "r":
                client.release()
            elif kind == "x":
                client.release(size)
            elif kind == "d":
                self.bench.disk.hold()
            else:
                self.bench.disk.release()
                self.bench.reactor.settle()
        if data:
            self.origin.last.send(data)
        self.bench.disk.release()
        client.release()
        self.assertEqual(client.response().body, BODY)
        self.assert_stored()
        self.bench.close()
