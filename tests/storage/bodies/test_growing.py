"""A body that is read while it is written: whoever follows gets it byte by byte, or an error."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

import os
import shutil

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.errors import FillAborted, StorageError
from cacheproxy.proxy.interfaces import BodyReader
from cacheproxy.storage.bodies import cache_writer as writers
from cacheproxy.storage.bodies import growing
from cacheproxy.storage.bodies.cache_writer import BATCH, WAITING_LIMIT, CacheWriter
from cacheproxy.storage.bodies.growing import CHUNK, MIN_CHUNK, READ_AHEAD, SMALL_PIECE, Pieces
from tests.storage.bodies.test_cache_writer import WriterCase, no_space
from tests.storage.support import RecordingSink


def pattern(length: int, start: int = 0) -> bytes:
    """Bytes that tell where they are from."""
    return bytes((at * 7 + at // 251) % 256 for at in range(start, start + length))


#: More than a batch, and not a multiple of one.
BODY = pattern(5 * BATCH // 2)


class PiecesTests(SynchronousTestCase):
    """What is in memory of a body."""

    @given(
        st.lists(st.tuples(st.sampled_from(["append", "seal", "drop"]), st.integers(0, 9000))),
        st.randoms(use_true_random=False),
    )
    def test_any_order(self, steps: list[tuple[str, int]], chance: object) -> None:
        """Bytes come back as they went in, whatever was dropped before them."""
        pieces, body, seals = Pieces(), b"", [0]
        for name, number in steps:
            if name == "append":
                body += pattern(number, len(body))
                pieces.append(pattern(number, pieces.stop))
            elif name == "seal":
                self.assertEqual(b"".join(pieces.since(seals[-1])), body[seals[-1] :])
                seals.append(len(body))
            else:
                position = max(seals[number % len(seals)], pieces.start)
                pieces.drop(position)
                self.assertEqual(pieces.start, position)
            seals = [seal for seal in seals if seal >= pieces.start] or [pieces.start]
            position = pieces.start
            while position < pieces.stop:
                data = pieces.take(position, 1000)
                self.assertTrue(0 < len(data) <= 1000)
                self.assertEqual(data, body[position : position + len(data)])
                position += len(data)

    def test_single_bytes(self) -> None:
        """They are joined, but not into what a thread is writing."""
        pieces = Pieces()
        for _ in range(SMALL_PIECE):
            pieces.append(b"x")
        self.assertEqual(len(pieces.since(0)), 1)
        pieces.append(b"y")
        self.assertEqual(pieces.since(SMALL_PIECE), [b"y"])


class FollowCase(WriterCase):
    """A writer and its followers."""

    def follow(
        self, writer: CacheWriter, start: int = 0, stop: int | None = None
    ) -> tuple[RecordingSink, BodyReader]:
        """One more, who reads."""
        sink, reader = self.join(writer, start, stop)
        reader.resume()
        return sink, reader

    def join(
        self, writer: CacheWriter, start: int = 0, stop: int | None = None
    ) -> tuple[RecordingSink, BodyReader]:
        """One more, who does not read yet."""
        sink = RecordingSink()
        reader = writer.follow(sink, start, stop)
        assert reader is not None
        self.assertEqual(sink.data, [])
        return sink, reader

    def descriptors(self) -> int:
        """Open descriptors of bodies, under whatever name, of this zone."""
        found = 0
        for name in os.listdir("/proc/self/fd"):
            try:
                path = os.readlink(os.path.join("/proc/self/fd", name)).removesuffix(" (deleted)")
            except OSError:
                continue  # that of the listing itself
            body = len(os.path.basename(path)) == 32 or os.path.dirname(path).endswith("/temp")
            found += path.startswith(self.path) and body
        return found


class GrowingTests(FollowCase):
    """While the body comes, and after."""

    def test_a_trickle_is_delivered_at_once(self) -> None:
        """Each line as it is written, without a disk thread."""
        writer = self.writer()
        sink, _ = self.follow(writer)
        for line in (b"one\n", b"two\n", b"three\n"):
            writer.write(line)
            self.assertEqual(sink.data[-1], line)
        late, _ = self.follow(writer)
        self.assertEqual(late.body, b"one\ntwo\nthree\n")
        self.assertEqual((len(self.pool.queue), len(self.thread.queue)), (0, 0))
        self.assertFalse(sink.ended)
        writer.finish()
        self.assertTrue(sink.ended and late.ended)
        self.run_all()
        self.assertEqual(self.stored(), b"one\ntwo\nthree\n")

    def test_while_a_batch_is_in_flight(self) -> None:
        """What a thread is writing is still in memory."""
        writer = self.writer()
        writer.write(BODY)
        self.assertEqual(len(self.pool.queue), 1)
        sink, _ = self.follow(writer)
        self.assertEqual(sink.body, BODY)
        self.assertEqual(len(self.pool.queue), 1)

    def test_late_ones_read_the_file_first(self) -> None:
        """Then memory, in order; a range starts and ends anywhere."""
        writer = self.writer()
        writer.write(BODY)
        self.pool.run()
        self.assertEqual(writer.held, 0)
        writer.write(b"tail")
        sink, _ = self.follow(writer)
        part, _ = self.follow(writer, 100, len(BODY) + 2)
        self.run_all()
        self.assertEqual(sink.body, BODY + b"tail")
        self.assertEqual(part.body, BODY[100:] + b"ta")
        self.assertEqual((sink.ended, part.ended), (False, True))

    def test_a_range_that_has_not_come(self) -> None:
        """Nothing before it is delivered, and its end does not wait for the body's."""
        writer = self.writer()
        writer.write(b"0123")
        sink, _ = self.follow(writer, 6, 8)
        writer.write(b"45")
        self.assertEqual(sink.data, [])
        writer.write(b"6789")
        self.assertEqual((sink.body, sink.ended), (b"67", True))

    def test_a_range_beyond_the_end(self) -> None:
        """A body shorter than it was said to be does not look whole."""
        writer = self.writer()
        sink, _ = self.follow(writer, 2, 9)
        writer.write(b"0123")
        writer.finish()
        self.assertIsInstance(sink.error, FillAborted)

    def test_pausing(self) -> None:
        """A paused one gets nothing; it goes on where it stood, from the file."""
        writer = self.writer()
        sink, reader = self.follow(writer)
        writer.write(b"a")
        reader.pause()
        writer.write(BODY)
        writer.write(BODY)
        self.pool.run()
        self.assertEqual(sink.body, b"a")
        reader.resume()
        self.pool.run()
        self.assertEqual(sink.body, b"a" + BODY + BODY)

    def test_closing(self) -> None:
        """Nothing comes after it, also from a read that is under way."""
        writer = self.writer()
        writer.write(BODY)
        self.pool.run()
        sink, reader = self.follow(writer)
        self.assertEqual(len(self.pool.queue), 1)
        reader.close()
        reader.close()
        self.run_all()
        writer.finish()
        self.run_all()
        self.assertEqual((sink.data, sink.ended), ([], False))
        self.assertEqual(self.descriptors(), 0)

    def test_after_finish(self) -> None:
        """The file has moved, and may even be gone: it is read to the end, then closed."""
        for before in (True, False):
            writer = self.writer()
            sink, reader = self.join(writer)
            writer.write(BODY)
            if before:
                self.run_all()
            writer.finish()
            self.run_all()
            self.assertEqual(self.owner.told[-1], "stored")
            self.assertEqual(writer.held, 0)
            os.unlink(self.disk.path(writer.digest))
            reader.resume()
            self.run_all()
            self.assertEqual((sink.body, sink.ended), (BODY, True))
            self.assertEqual(self.descriptors(), 0)
            self.assertIsNone(writer.follow(RecordingSink(), 0, None))

    def test_between_finish_and_commit(self) -> None:
        """The file is read although the writing thread is about to move it."""
        writer = self.writer()
        writer.write(BODY)
        self.pool.run()
        sink, reader = self.join(writer)
        writer.finish()
        reader.resume()
        self.pool.run()
        self.assertEqual((sink.body, sink.ended), (BODY, True))
        self.run_all()
        self.assertEqual(self.descriptors(), 0)

    def test_small_body_of_a_slow_follower_leaves_memory(self) -> None:
        """What was never in a temporary file before the end is read from the entry's."""
        writer = self.writer(keep=100)
        sink, reader = self.join(writer)
        writer.write(b"small")
        writer.finish()
        self.assertEqual(writer.held, 5)
        self.run_all()
        self.assertEqual(writer.held, 0)
        reader.resume()
        self.run_all()
        self.assertEqual((sink.body, sink.ended), (b"small", True))
        self.assertEqual(self.descriptors(), 0)

    def test_nobody_follows(self) -> None:
        """Then no descriptor is opened, and no byte kept, for anybody."""
        writer = self.writer()
        writer.write(BODY)
        writer.write(BODY)
        self.run_all()
        writer.finish()
        self.assertEqual(writer.held, 0)
        self.run_all()
        self.assertEqual(self.descriptors(), 0)

    def test_a_slow_one_beside_a_fast_one(self) -> None:
        """Memory is bounded by what waits for the disk; the fast one is never behind."""
        writer = self.writer()
        fast, _ = self.follow(writer)
        slow, reader = self.join(writer)
        written = 0
        for _ in range(40):
            writer.write(BODY[:100_000])
            written += 100_000
            self.assertEqual(len(fast.body), written)
            self.assertEqual(writer.held, writer.waiting)
            if writer.congested:
                self.pool.run()
            self.assertLessEqual(writer.held, WAITING_LIMIT + BATCH)
        writer.finish()
        self.assertTrue(fast.ended)
        reader.resume()
        self.run_all()
        self.assertEqual(slow.body, BODY[:100_000] * 40)
        self.assertTrue(slow.ended)

    def test_many(self) -> None:
        """However many are slow, what is read for them is bounded all together."""
        writer = self.writer()
        writer.write(BODY)
        self.pool.run()
        count = 2000
        sinks = [RecordingSink() for _ in range(count)]
        followers = [(sink, writer.follow(sink, 0, None)) for sink in sinks]
        held = [reader for _, reader in followers if reader is not None]
        for reader in held:
            reader.resume()
            reader.pause()
        self.pool.run()
        total = sum(len(sink.body) for sink, _ in followers)
        self.assertEqual(total, count * MIN_CHUNK)
        for reader in held[50:]:
            reader.close()
        for reader in held[:50]:
            reader.resume()
            reader.pause()
        self.pool.run()
        more = sum(len(sink.body) for sink, _ in followers[:50]) - 50 * MIN_CHUNK
        self.assertEqual(more, 50 * CHUNK)
        self.assertLessEqual(more, READ_AHEAD)

    def test_a_fault_in_one(self) -> None:
        """The others get the body, and it is stored."""
        writer = self.writer()

        class Broken(RecordingSink):
            def on_body(self, data: bytes) -> None:
                raise RuntimeError("broken sink")

        sink = Broken()
        reader = writer.follow(sink, 0, None)
        assert reader is not None
        reader.resume()
        other, _ = self.follow(writer)
        writer.write(b"body")
        self.assertEqual(other.body, b"body")
        self.assertIsNotNone(sink.error)
        self.assertIn("broken sink", "".join(self.lines))
        writer.finish()
        self.run_all()
        self.assertEqual(self.stored(), b"body")


class AbortTests(FollowCase):
    """A body that comes to nothing never looks whole."""

    def test_abort(self) -> None:
        """All are told at once: who waits, who is paused, who is reading."""
        writer = self.writer()
        writer.write(BODY)
        self.pool.run()
        reading, _ = self.follow(writer)
        paused, _ = self.join(writer)
        waiting, _ = self.follow(writer, len(BODY))
        told: list[object] = []
        writer.on_abort(lambda: told.append(waiting.error))
        writer.abort()
        self.run_all()
        for sink in (reading, paused, waiting):
            self.assertIsInstance(sink.error, FillAborted)
            self.assertFalse(sink.ended)
        self.assertEqual(told, [None])
        self.assertEqual((self.descriptors(), writer.held, writer.given_up), (0, 0, False))
        self.assertIsNone(writer.follow(RecordingSink(), 0, None))
        self.assertEqual(self.temporaries(), [])

    def test_too_large(self) -> None:
        """``max_size``: the writer gives up, and says that it was its own doing."""
        writer = self.writer(limit=10)
        sink, _ = self.follow(writer)
        writer.write(b"0123456789")
        writer.write(b"x")
        self.assertEqual(sink.body, b"0123456789")
        self.assertIsInstance(sink.error, FillAborted)
        self.assertTrue(writer.given_up)

    def test_disk_that_fails(self) -> None:
        """The same where memory may not keep the body."""
        writer = self.writer(keep=BATCH)
        sink, _ = self.follow(writer)
        self.disk.write = no_space
        writer.write(BODY[:BATCH])
        self.pool.run()
        self.assertIsNone(sink.error)
        self.assertEqual(sink.body, BODY[:BATCH])
        writer.write(b"x")
        self.assertIsInstance(sink.error, FillAborted)
        self.assertTrue(writer.given_up)

    def test_disk_that_is_down(self) -> None:
        """What memory keeps is followed from there, from the start and to the end."""
        self.disk_queue.failed(StorageError("cable pulled"))
        writer = self.writer(keep=3 * BATCH)
        sink, _ = self.follow(writer)
        paused, reader = self.join(writer)
        writer.write(BODY)
        late, _ = self.follow(writer)
        writer.finish()
        reader.resume()
        self.assertEqual([s.body for s in (sink, late, paused)], [BODY] * 3)
        self.assertTrue(sink.ended and late.ended and paused.ended)
        self.assertEqual((len(self.pool.queue), writer.held), (0, 0))

    def test_disk_that_fails_at_the_end(self) -> None:
        """Bytes that memory has, or the file that was begun, still reach who follows."""
        for batches in (1, 0):
            self.disk_queue.down = False
            self.disk.write = os.write
            writer = self.writer()
            writer.write(BODY[: BATCH * batches])
            self.run_all()
            writer.write(b"rest")
            sink, reader = self.join(writer)
            writer.finish()
            self.disk.write = no_space
            self.run_all()
            self.assertEqual(self.owner.told[-1], "not stored")
            reader.resume()
            self.run_all()
            self.assertEqual(sink.body, BODY[: BATCH * batches] + b"rest")
            self.assertTrue(sink.ended)
            self.assertEqual((self.descriptors(), writer.held), (0, 0))

    def test_batch_that_fails_after_finish(self) -> None:
        """The batch in flight is still in memory, and what came before is in the file."""
        writer = self.writer()
        writer.write(BODY[:BATCH])
        self.pool.run()
        writer.write(BODY[:BATCH])
        sink, reader = self.join(writer)
        self.disk.write = no_space
        writer.finish()
        self.run_all()
        reader.resume()
        self.run_all()
        self.assertEqual((sink.body, sink.ended), (BODY[:BATCH] * 2, True))
        self.assertEqual(self.descriptors(), 0)


#: (what, number): 0 to 3 name a follower, other numbers are sizes.
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.sampled_from([1, 7, 16, 40])),
        st.tuples(st.just("write"), st.sampled_from([1, 7, 16, 40])),
        st.tuples(st.sampled_from(["pool", "thread", "pool"]), st.just(0)),
        st.tuples(st.sampled_from(["follow", "join"]), st.integers(0, 99)),
        st.tuples(st.sampled_from(["pause", "resume", "resume", "close"]), st.integers(0, 3)),
        st.tuples(st.just("pool"), st.just(0)),
        st.tuples(st.sampled_from(["fail", "pool", "pool"]), st.just(0)),
    ),
    min_size=12,
    max_size=60,
)


class ModelTests(FollowCase):
    """Any order of everything, against slices of what was written."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(writers, "BATCH", 16)
        self.patch(writers, "WAITING_LIMIT", 64)
        self.patch(growing, "CHUNK", 11)
        self.patch(growing, "MIN_CHUNK", 3)
        self.patch(growing, "READ_AHEAD", 20)
        self.patch(growing, "SMALL_PIECE", 8)

    @settings(max_examples=400, deadline=None)
    @given(STEPS, st.sampled_from([-1, 0, 30, 500]), st.sampled_from([None, 200]), st.booleans())
    def test_agrees(
        self, steps: list[tuple[str, int]], keep: int, limit: int | None, whole: bool
    ) -> None:
        """Each gets a prefix of its span, then all of it and the end, or an error."""
        self.disk.write, self.disk_queue.down = os.write, False
        writer = self.writer(keep=keep, limit=limit)
        body = b""
        followers: list[tuple[RecordingSink, BodyReader, int, int | None]] = []
        closed: set[int] = set()

        def check() -> None:
            for sink, _, start, stop in followers:
                span = body[start:stop]
                self.assertEqual(sink.body, span[: len(sink.body)])
                if sink.ended and stop is not None:
                    self.assertEqual(len(sink.body), stop - start)
                self.assertFalse(sink.ended and sink.error is not None)

        for name, number in steps:
            if name == "write":
                data = pattern(number, len(body))
                body += data
                writer.write(data)
            elif name == "pool":
                self.pool.step()
            elif name == "thread":
                self.thread.step()
            elif name == "fail":
                self.disk.write = no_space
            elif name in ("follow", "join"):
                sink = RecordingSink()
                start = 0 if number < 50 else number - 50
                stop = None if number % 2 else start + number
                reader = writer.follow(sink, start, stop)
                if reader is not None:
                    followers.append((sink, reader, start, stop))
                    if name == "follow":
                        reader.resume()
            elif number < len(followers):
                getattr(followers[number][1], name)()
                if name == "close":
                    closed.add(number)
            check()
            if keep < 0:
                self.assertLessEqual(writer.held, writer.waiting)
        if whole:
            writer.finish()
        else:
            writer.abort()
        check()
        for _, reader, _, _ in followers:
            reader.resume()
        self.run_all()
        check_held = writer.held
        for number, (sink, _, start, stop) in enumerate(followers):
            if number in closed:
                continue
            self.assertTrue(sink.ended or sink.error is not None)
            if whole and not writer.given_up and (stop is None or stop <= len(body)):
                self.assertEqual((sink.body, sink.error), (body[start:stop], None))
            elif stop is None:
                self.assertFalse(sink.ended)
        self.assertEqual((check_held, self.descriptors()), (0, 0))
        shutil.rmtree(os.path.join(self.path, "temp"), ignore_errors=True)
        os.makedirs(os.path.join(self.path, "temp"))
