"""Writes gathered until the end of a turn of the reactor."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.net.http1.outbox import DIRECT, Outbox, Turn


class CountingTransport(StringTransport):
    """Notes how often it was written to."""

    def __init__(self) -> None:
        super().__init__()
        self.writes = 0

    def write(self, data: bytes) -> None:
        self.writes += 1
        super().write(data)

    def writeSequence(self, data: list[bytes]) -> None:
        self.writes += 1
        self.io.write(b"".join(data))


class OutboxTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.turn = Turn(self.clock)
        self.transport = CountingTransport()
        self.outbox = Outbox(self.turn, self.transport)

    def test_small_pieces_leave_together(self) -> None:
        """One write at the end of the turn, in the order given."""
        self.outbox.write(b"head ")
        self.outbox.write(b"body")
        self.assertEqual(self.transport.writes, 0)
        self.clock.advance(0)
        self.assertEqual((self.transport.value(), self.transport.writes), (b"head body", 1))

    def test_every_outbox_gets_its_turn(self) -> None:
        """One call of the reactor serves all connections that wrote."""
        other = CountingTransport()
        self.outbox.write(b"a")
        Outbox(self.turn, other).write(b"b")
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(0)
        self.assertEqual((self.transport.value(), other.value()), (b"a", b"b"))

    def test_a_faulty_transport_harms_no_other(self) -> None:
        """What one transport raises is logged; the others are written to."""

        class Broken(CountingTransport):
            def write(self, data: bytes) -> None:
                raise ValueError("broken")

        Outbox(self.turn, Broken()).write(b"a")
        self.outbox.write(b"b")
        self.clock.advance(0)
        self.assertEqual(self.transport.value(), b"b")
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_large_pieces_go_at_once_behind_what_waits(self) -> None:
        """Back-pressure must be felt, and the order kept."""
        self.outbox.write(b"head")
        self.outbox.write(b"x" * DIRECT)
        self.assertEqual(self.transport.value(), b"head" + b"x" * DIRECT)
        self.clock.advance(0)
        self.assertEqual(self.transport.writes, 1)

    def test_now_means_now(self) -> None:
        """``write_now`` overtakes nothing."""
        self.outbox.write(b"a")
        self.outbox.write_now(b"b")
        self.assertEqual((self.transport.value(), self.transport.writes), (b"ab", 1))

    def test_nothing_after_the_end(self) -> None:
        """What waits when the connection closes is forgotten, later writes too."""
        self.outbox.write(b"a")
        self.outbox.close()
        self.outbox.write(b"b")
        self.clock.advance(0)
        self.outbox.write_now(b"c")
        self.assertEqual(self.transport.value(), b"")

    def test_the_reactors_own_way_is_preferred(self) -> None:
        """``callSoon`` where the reactor has it."""
        called: list[object] = []
        self.clock.callSoon = called.append  # type: ignore[attr-defined]  # ours has it
        outbox = Outbox(Turn(self.clock), self.transport)
        outbox.write(b"a")
        self.assertEqual(len(called), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    @settings(max_examples=60, deadline=None)
    @given(
        st.lists(st.tuples(st.sampled_from("wnft"), st.sampled_from([b"", b"ab", b"c" * DIRECT])))
    )
    def test_order_is_kept(self, steps: list[tuple[str, bytes]]) -> None:
        """Whatever is called when, the bytes come out in the order they went in."""
        clock, transport = Clock(), CountingTransport()
        outbox = Outbox(Turn(clock), transport)
        expected = b""
        for step, data in steps:
            if step == "w":
                outbox.write(data)
            elif step == "n":
                outbox.write_now(data)
            elif step == "f":
                outbox.flush()
            else:
                clock.advance(0)
            if step in "wn":
                expected += data
        clock.advance(0)
        self.assertEqual(transport.value(), expected)
