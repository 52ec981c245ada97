"""A response is shared while it comes: bodies, ranges, preconditions, gzip, and broken ends."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

import gzip
import zlib

from hypothesis import given, settings
from hypothesis import strategies as st

from cacheproxy.policy.purge import Everything
from cacheproxy.proxy.cache.following import ENCODE_WAIT_LIMIT, RANGE_LEAD
from cacheproxy.storage.bodies import cache_writer as writer
from cacheproxy.storage.bodies import growing
from tests.proxy.harness import (
    BUFFER_SIZE,
    BenchCase,
    Client,
    OriginConnection,
    message,
    parse_response,
    response,
)

FRESH = b"Cache-Control: max-age=60"
BODY = bytes(at * 7 % 256 for at in range(5000)) * 60


def head(length: int | None, *fields: bytes) -> bytes:
    """The head of a response whose body is sent later; *length* None: until the end."""
    lines = [b"HTTP/1.1 200 OK", FRESH, *fields]
    if length is None:
        lines.append(b"Transfer-Encoding: chunked")
    else:
        lines.append(b"Content-Length: %d" % length)
    return b"\r\n".join(lines) + b"\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


class FollowingCase(BenchCase):
    """A leader's response under way, and others."""

    def lead(self, options: str = "", **settings: str) -> tuple[Client, OriginConnection]:
        """A request that has gone to the origin, whose answer the test sends."""
        self.cache(options, **settings)
        client = self.ask()
        return client, self.origin.last

    def ask(self, *fields: bytes, method: bytes = b"GET") -> Client:
        """A request that may have to wait."""
        client = self.bench.client()
        client.send(message(method, b"/", *fields))
        return client

    @property
    def asked(self) -> int:
        """How often the origin was asked."""
        return len(self.origin.requests)

    def body_so_far(self, client: Client) -> bytes:
        """What has come after the head."""
        return client.unread.partition(b"\r\n\r\n")[2]


class StreamingTests(FollowingCase):
    """The body as it grows."""

    def test_who_waits_gets_the_body_as_it_comes(self) -> None:
        """Not only when it is whole; with Age, as a HIT, said to be collapsed."""
        leader, origin = self.lead()
        waiter = self.ask()
        origin.send(head(6, b"Age: 5") + b"ab")
        for client in (leader, waiter):
            self.assertEqual(self.body_so_far(client), b"ab")
        origin.send(b"cd")
        late = self.ask()
        self.bench.advance(3)
        later = self.ask()
        self.assertEqual([self.body_so_far(c) for c in (waiter, late, later)], [b"abcd"] * 3)
        origin.send(b"ef")
        answers = [client.response() for client in (leader, waiter, late, later)]
        self.assertEqual([answer.body for answer in answers], [b"abcdef"] * 4)
        self.assertEqual([answer.get(b"x-cache") for answer in answers], [b"MISS"] + [b"HIT"] * 3)
        self.assertEqual([answer.get(b"age") for answer in answers[1:]], [b"5", b"5", b"8"])
        self.assertEqual(
            answers[3].get(b"cache-status"), b"cacheproxy; fwd=uri-miss; collapsed"
        )
        self.assertEqual(self.asked, 1)
        self.assertEqual(self.bench.get(b"/").get(b"x-cache"), b"HIT")

    def test_unknown_length(self) -> None:
        """Chunked here, chunked there; HTTP/1.0 gets the end of the connection."""
        leader, origin = self.lead()
        waiter = self.ask()
        old = self.bench.client()
        old.send(b"GET / HTTP/1.0\r\nHost: test.example\r\n\r\n")
        origin.send(head(None) + chunk(b"one\n"))
        self.assertIn(b"one\n", waiter.unread)
        origin.send(chunk(b"two\n") + b"0\r\n\r\n")
        answer = waiter.response()
        self.assertEqual(answer.get(b"transfer-encoding"), b"chunked")
        self.assertEqual([answer.body, old.response().body], [b"one\ntwo\n"] * 2)
        self.assertEqual(leader.response().body, b"one\ntwo\n")
        self.assertEqual(self.asked, 1)

    def test_five_hundred(self) -> None:
        """One request to the origin, however many wait and however late they come."""
        self.cache()
        clients = [self.ask() for _ in range(300)]
        origin = self.origin.last
        origin.send(head(len(BODY)) + BODY[:1000])
        clients += [self.ask() for _ in range(100)]
        origin.send(BODY[1000:290_000])
        clients += [self.ask() for _ in range(100)]
        origin.send(BODY[290_000:])
        self.bench.reactor.settle()
        for client in clients:
            self.assertEqual(client.response().body, BODY)
        self.assertEqual(self.asked, 1)

    def test_slow_beside_fast(self) -> None:
        """A client that does not read holds up neither the origin nor the others."""
        self.lead(zone="memory=0")
        origin = self.origin.last
        slow, fast = self.ask(), self.ask()
        slow.transport.hold()
        body = BODY * 12
        origin.send(head(len(body)))
        for at in range(0, len(body), 60_000):
            origin.send(body[at : at + 60_000])
            self.assertTrue(self.body_so_far(fast).endswith(body[at : at + 60_000]))
        self.assertFalse(origin.transport.paused)
        self.assertEqual(fast.response().body, body)
        self.assertLess(len(slow.transport.held), BUFFER_SIZE + 2 * growing.CHUNK)
        slow.release()
        self.assertEqual(slow.response().body, body)
        self.assertEqual(self.asked, 1)

    def test_slow_leader(self) -> None:
        """What is stored, and others follow, does not come at the pace of the leader's client."""
        for options in ("proxy_buffering off;", "proxy_max_temp_file_size 0; proxy_buffers 4 8k;"):
            leader, origin = self.lead(options)
            leader.transport.hold()
            follower = self.ask()
            body = BODY * 3
            origin.send(head(len(body)))
            for at in range(0, len(body), 60_000):
                origin.send(body[at : at + 60_000])
            self.assertEqual(follower.response().body, body)
            leader.release()
            self.assertEqual(leader.response().body, body)
            self.bench.close()

    def test_held_disk(self) -> None:
        """What waits for the disk is sent from memory; the origin waits, not the followers."""
        self.lead(zone="memory=0")
        origin = self.origin.last
        follower = self.ask()
        self.bench.disk.hold()
        body = BODY * 8
        origin.send(head(len(body)))
        sent = 0
        while not origin.transport.paused:
            origin.send(body[sent : sent + 60_000])
            sent += 60_000
        self.assertLess(sent, writer.WAITING_LIMIT + writer.BATCH)
        self.assertEqual(len(self.body_so_far(follower)), sent)
        self.bench.disk.release()
        self.bench.reactor.settle()
        origin.send(body[sent:])
        self.assertEqual(follower.response().body, body)

    def test_keep_alive(self) -> None:
        """The follower's connection carries its next request."""
        _, origin = self.lead()
        client = self.ask()
        client.send(message(b"GET", b"/"))
        origin.send(head(4) + b"abcd")
        self.assertEqual([client.response().body for _ in range(2)], [b"abcd"] * 2)

    def test_leader_gone(self) -> None:
        """Its client's leaving ends nothing for those who follow, and it is stored."""
        leader, origin = self.lead()
        follower = self.ask()
        origin.send(head(6) + b"ab")
        leader.vanish()
        origin.send(b"cd")
        self.assertEqual(self.body_so_far(follower), b"abcd")
        origin.send(b"ef")
        self.assertEqual(follower.response().body, b"abcdef")
        self.assertEqual(self.bench.get(b"/").get(b"x-cache"), b"HIT")

    def test_all_gone(self) -> None:
        """The fill goes on, for who comes next."""
        leader, origin = self.lead()
        follower = self.ask()
        origin.send(head(4) + b"ab")
        follower.vanish()
        leader.vanish()
        late = self.ask()
        self.assertEqual(self.body_so_far(late), b"ab")
        origin.send(b"cd")
        self.assertEqual(late.response().body, b"abcd")

    @settings(max_examples=60, deadline=None)
    @given(
        st.lists(st.integers(1, 90_000), min_size=1, max_size=8),
        st.lists(
            st.tuples(
                st.sampled_from(["ask", "ask", "hold", "release", "some", "vanish"]),
                st.integers(0, 5),
            ),
            max_size=16,
        ),
        st.booleans(),
        st.booleans(),
    )
    def test_any_interleaving(
        self, sizes: list[int], steps: list[tuple[str, int]], known: bool, memory: bool
    ) -> None:
        """Whoever stays has every byte, however they were split and whoever paused when."""
        body = b"".join(bytes([number + 1]) * size for number, size in enumerate(sizes))
        leader, origin = self.lead(zone="" if memory else "memory=0")
        clients = [leader]
        gone: set[Client] = set()
        origin.send(head(len(body) if known else None))
        position = 0
        for number, size in enumerate(sizes):
            for name, which in steps[number * 2 : number * 2 + 2]:
                client = clients[which % len(clients)]
                if name == "ask":
                    clients.append(self.ask())
                elif name == "hold":
                    client.transport.hold()
                elif name == "vanish":
                    gone.add(client)
                    client.vanish()
                elif client not in gone:
                    client.release(10_000 if name == "some" else None)
            data = body[position : position + size]
            position += size
            origin.send(data if known else chunk(data))
        if not known:
            origin.send(b"0\r\n\r\n")
        for client in clients:
            if client not in gone:
                client.release()
        for client in clients:
            if client not in gone:
                self.assertEqual(client.response().body, body)
        self.assertEqual(self.asked, 1)
        self.bench.close()


class JudgingTests(FollowingCase):
    """The head is judged like that of a stored response."""

    def test_head_at_once(self) -> None:
        """HEAD does not wait for a body."""
        _, origin = self.lead()
        waiter = self.ask(method=b"HEAD")
        origin.send(head(4, b'ETag: "e"'))
        for client in (waiter, self.ask(method=b"HEAD")):
            answer = client.response(b"HEAD")
            self.assertEqual((answer.status, answer.get(b"content-length")), (200, b"4"))
        self.assertEqual(self.asked, 1)

    def test_preconditions(self) -> None:
        """304 and 412 at once, too."""
        _, origin = self.lead()
        waiter = self.ask(b'If-None-Match: "e"')
        origin.send(head(4, b'ETag: "e"'))
        self.assertEqual(waiter.response().status, 304)
        self.assertEqual(self.ask(b'If-Match: "x"').response().status, 412)
        other = self.ask(b'If-None-Match: "x"')
        origin.send(b"body")
        self.assertEqual(other.response().body, b"body")
        self.assertEqual(self.asked, 1)

    def test_empty_body(self) -> None:
        """An announced empty body is whole with its head."""
        _, origin = self.lead()
        waiter = self.ask()
        origin.send(head(0))
        self.assertEqual(waiter.response().body, b"")


class RangeTests(FollowingCase):
    """Parts of what is still coming."""

    WHOLE = BODY * 10
    TAG = b'ETag: "e"'

    def begun(self, come: int = 1000, **settings: str) -> OriginConnection:
        """A fill of ``WHOLE`` of which so much has come."""
        _, origin = self.lead(**settings)
        origin.send(head(len(self.WHOLE), self.TAG) + self.WHOLE[:come])
        return origin

    def test_as_its_bytes_come(self) -> None:
        """206 from what is there, and from what comes; its end does not wait for the end."""
        origin = self.begun()
        there = self.ask(b"Range: bytes=10-19").response()
        self.assertEqual((there.status, there.body), (206, self.WHOLE[10:20]))
        whole = b"bytes 10-19/%d" % len(self.WHOLE)
        self.assertEqual(there.get(b"content-range"), whole)
        self.assertEqual(there.get(b"x-cache"), b"HIT")
        client = self.ask(b"Range: bytes=900-1099")
        self.assertEqual(self.body_so_far(client), self.WHOLE[900:1000])
        origin.send(self.WHOLE[1000:5000])
        self.assertEqual(client.response().body, self.WHOLE[900:1100])
        self.assertEqual(self.asked, 1)

    def test_far_ahead(self) -> None:
        """The origin is asked for the range alone; the fill goes on."""
        origin = self.begun()
        near, far = 1000 + RANGE_LEAD - 1, 1000 + RANGE_LEAD
        waiting = self.ask(b"Range: bytes=%d-%d" % (near, near + 9))
        self.assertEqual((self.asked, waiting.unread), (1, b""))
        asking = self.ask(b"Range: bytes=%d-%d" % (far, far + 9))
        self.assertEqual(self.asked, 2)
        self.assertEqual(
            self.origin.requests[1].get(b"range"), b"bytes=%d-%d" % (far, far + 9)
        )
        part = self.WHOLE[far : far + 10]
        described = b"Content-Range: bytes %d-%d/%d" % (far, far + 9, len(self.WHOLE))
        self.origin.last.send(response(206, part, FRESH, self.TAG, described))
        answer = asking.response()
        self.assertEqual((answer.status, answer.body), (206, part))
        self.assertEqual(answer.get(b"x-cache"), b"MISS")
        origin.send(self.WHOLE[1000:])
        self.assertEqual(waiting.response().body, self.WHOLE[near : near + 10])
        self.assertEqual(self.bench.get(b"/").body, self.WHOLE)

    def test_waiter_far_ahead(self) -> None:
        """The same for one that waited for the head."""
        _, origin = self.lead()
        client = self.ask(b"Range: bytes=%d-" % (2 * RANGE_LEAD))
        self.assertEqual(self.asked, 1)
        origin.send(head(len(self.WHOLE)) + b"x")
        self.assertEqual(self.asked, 2)
        client.vanish()

    def test_unsatisfiable_and_if_range(self) -> None:
        """416, or the whole where If-Range does not hold."""
        origin = self.begun()
        answer = self.ask(b"Range: bytes=%d-" % len(self.WHOLE))
        self.origin.default = None
        client = self.ask(b"Range: bytes=0-3", b'If-Range: "other"')
        origin.send(self.WHOLE[1000:])
        self.assertEqual(client.response().body, self.WHOLE)
        self.assertEqual(answer.response().status, 416)

    def test_several_wait_for_the_end(self) -> None:
        """Several ranges are put together from what is stored."""
        origin = self.begun()
        client = self.ask(b"Range: bytes=0-1,5-6")
        self.assertEqual((client.unread, self.asked), (b"", 1))
        origin.send(self.WHOLE[1000:])
        answer = client.response()
        self.assertEqual(answer.status, 206)
        self.assertIn(b"multipart/byteranges", answer.get(b"content-type") or b"")
        self.assertEqual(self.asked, 1)

    def test_several_that_wait_too_long(self) -> None:
        """``proxy_cache_lock_timeout``: the origin is asked."""
        self.begun(options="proxy_cache_lock_timeout 3s;")
        self.ask(b"Range: bytes=0-1,5-6")
        self.bench.advance(4)
        self.assertEqual(self.asked, 2)

    def test_unknown_length(self) -> None:
        """A range near gets the whole as it comes; one that is far is asked for."""
        _, origin = self.lead()
        origin.send(head(None) + chunk(b"abcd"))
        near = self.ask(b"Range: bytes=1-2")
        far = self.ask(b"Range: bytes=%d-" % (2 * RANGE_LEAD))
        self.assertEqual(self.asked, 2)
        origin.send(b"0\r\n\r\n")
        self.assertEqual((near.response().status, far.unread), (200, b""))


class GzipTests(FollowingCase):
    """``gzip on``: once for all where the end is near, else as it comes."""

    GZIP = "gzip on; gzip_types *; gzip_min_length 1;"
    ACCEPTS = b"Accept-Encoding: gzip"
    TYPE = b"Content-Type: text/plain"

    def unpacked(self, chunks: bytes) -> bytes:
        """What can be read of a gzip body that has come in part, in chunks."""
        data = b""
        while chunks:
            size, _, rest = chunks.partition(b"\r\n")
            data += rest[: int(size, 16)]
            chunks = rest[int(size, 16) + 2 :]
        return zlib.decompressobj(wbits=31).decompress(data)

    def test_small(self) -> None:
        """The end is waited for; who takes no gzip follows."""
        self.cache(self.GZIP)
        self.ask()
        origin = self.origin.last
        origin.send(head(len(BODY), self.TYPE) + BODY[:1000])
        client, plain = self.ask(self.ACCEPTS), self.ask()
        self.assertEqual((client.unread, self.body_so_far(plain)), (b"", BODY[:1000]))
        origin.send(BODY[1000:])
        answer = client.response()
        self.assertEqual(answer.get(b"content-encoding"), b"gzip")
        self.assertIsNotNone(answer.get(b"content-length"))
        self.assertEqual(gzip.decompress(answer.body), BODY)
        self.assertEqual(plain.response().body, BODY)
        self.assertEqual(self.asked, 1)

    def test_small_but_slow(self) -> None:
        """``proxy_cache_lock_timeout``: what there is is compressed and sent."""
        self.cache(self.GZIP + "proxy_cache_lock_timeout 3s;")
        self.ask()
        origin = self.origin.last
        origin.send(head(len(BODY), self.TYPE) + BODY[:1000])
        client = self.ask(self.ACCEPTS)
        self.bench.advance(4)
        self.assertIn(b"gzip", client.unread)
        origin.send(BODY[1000:])
        self.assertEqual(gzip.decompress(client.response().body), BODY)
        self.assertEqual(self.asked, 1)

    def test_large_or_unknown(self) -> None:
        """It is compressed as it comes; each piece at once where nothing is buffered."""
        for length in (ENCODE_WAIT_LIMIT + 1, None):
            self.cache(self.GZIP + "proxy_buffering off;")
            self.ask()
            origin = self.origin.last
            whole = b"line\n" * (ENCODE_WAIT_LIMIT // 5 + 1)
            whole = whole[: ENCODE_WAIT_LIMIT + 1]
            origin.send(head(length, self.TYPE))
            client = self.ask(self.ACCEPTS)
            origin.send(whole[:5] if length else chunk(whole[:5]))
            self.assertIn(b"Content-Encoding: gzip", client.unread)
            self.assertEqual(self.unpacked(self.body_so_far(client)), whole[:5])
            rest = whole[5:]
            origin.send(rest if length else chunk(rest) + b"0\r\n\r\n")
            self.assertEqual(gzip.decompress(client.response().body), whole)
            self.assertEqual(self.asked, 1)
            self.bench.close()


class BrokenTests(FollowingCase):
    """What comes to nothing looks whole to nobody."""

    def assert_cut(self, client: Client) -> None:
        """The connection has ended, and the client can tell that its response has not."""
        self.assertTrue(client.transport.closed)
        self.assertIn(b"HTTP/1.1 20", client.unread)
        self.assertIsNone(parse_response(client.unread, b"GET", True))

    def test_before_the_first_byte(self) -> None:
        """Nothing was sent: one asks again, and the others wait for that one."""
        leader, origin = self.lead()
        followers = [self.ask() for _ in range(3)]
        origin.send(head(5))
        late = self.ask()
        self.assertEqual([c.unread for c in (*followers, late)], [b""] * 4)
        origin.reset()
        self.assertTrue(leader.transport.lost)
        self.assertEqual(self.asked, 2)
        self.origin.last.send(head(5) + b"whole")
        self.assertEqual([c.response().body for c in (*followers, late)], [b"whole"] * 4)
        self.assertEqual(self.asked, 2)

    def test_midway(self) -> None:
        """Their connections are cut, with or without a length; nothing is stored."""
        for length in (6, None):
            leader, origin = self.lead()
            follower = self.ask()
            range_ = self.ask(b"Range: bytes=1-4")
            origin.send(head(length) + (b"abc" if length else chunk(b"abc")))
            origin.reset()
            for client in (leader, follower, range_):
                self.assert_cut(client)
            self.origin.reply(response(200, b"whole", FRESH))
            self.assertEqual(self.bench.get(b"/").body, b"whole")
            self.bench.close()

    def test_a_paused_one(self) -> None:
        """A client that does not read is cut off, too."""
        _, origin = self.lead()
        slow = self.ask()
        slow.transport.hold()
        origin.send(head(len(BODY) + 9) + BODY)
        origin.reset()
        slow.release()
        self.assert_cut(slow)

    def test_announced_too_large(self) -> None:
        """``max_size``: nobody follows what will not be stored, now and for a while."""
        self.cache(zone="memory=0 max_size=20k")
        clients = [self.ask() for _ in range(3)]
        self.origin.last.send(head(len(BODY)))
        self.assertEqual(self.asked, 3)
        for connection in self.origin.connections[1:]:
            connection.send(response(200, BODY, FRESH))
        self.assertEqual([c.response().body for c in clients[1:]], [BODY] * 2)
        self.ask()
        self.ask()
        self.assertEqual(self.asked, 5)

    def test_too_large_after_all(self) -> None:
        """The leader's response goes on; who followed can tell; who comes next asks."""
        self.cache(zone="memory=0 max_size=20k")
        leader, follower = self.ask(), self.ask()
        origin = self.origin.last
        origin.send(head(None) + chunk(BODY[:9000]))
        self.assertFalse(follower.transport.closed)
        origin.send(chunk(BODY[9000:]))
        self.assert_cut(follower)
        self.ask()
        self.ask()
        self.assertEqual(self.asked, 3)
        origin.send(b"0\r\n\r\n")
        self.assertEqual(leader.response().body, BODY)

    def test_purge(self) -> None:
        """Who follows what is purged is cut off; the next one gets what is new."""
        leader, origin = self.lead()
        follower, waiting = self.ask(), self.ask(b"Range: bytes=4-5")
        origin.send(head(6) + b"abc")
        self.origin.reply(response(200, b"done"))
        self.assertEqual(self.bench.client().request(b"POST", b"/", body=b"").body, b"done")
        self.assert_cut(follower)
        self.assertEqual((waiting.unread, self.asked), (b"", 3))
        new = self.ask()
        origin.send(b"def")
        self.assertEqual(leader.response().body, b"abcdef")
        self.assertEqual((new.unread, self.asked), (b"", 3))
        for connection in self.origin.connections[1:]:
            connection.send(head(6) + b"ABCDEF")
        self.assertEqual(waiting.response().body, b"EF")
        self.assertEqual(new.response().body, b"ABCDEF")
        self.assertEqual(self.bench.get(b"/").body, b"ABCDEF")

    def test_purge_of_a_followed_entry_on_disk(self) -> None:
        """Who looks again does so behind the purge: what it took does not answer."""
        self.cache("proxy_cache_use_stale error;", zone="memory=0")
        self.origin.reply(response(200, b"older", FRESH))
        self.bench.get(b"/")
        self.bench.advance(61)
        leader, follower = self.ask(), self.ask()
        self.origin.last.send(head(6))
        (zone,) = self.bench.runtime.zones.values()
        zone.purge(Everything(), lambda count: None)
        self.bench.reactor.settle()
        self.assertEqual(self.asked, 3)
        for connection in self.origin.connections[1:]:
            connection.reset()
        self.assertEqual(follower.response().status, 502)
        leader.vanish()

    def test_disk_down(self) -> None:
        """What memory keeps is shared from there."""
        self.cache()
        (zone,) = self.bench.runtime.zones.values()
        zone.disk_queue.down = True
        leader, follower = self.ask(), self.ask()
        self.origin.last.send(head(6) + b"abc")
        late = self.ask()
        self.assertEqual(self.body_so_far(late), b"abc")
        self.origin.last.send(b"def")
        for client in (leader, follower, late):
            self.assertEqual(client.response().body, b"abcdef")
        self.assertEqual(self.asked, 1)
