"""A time limit that is moved often: it fires once, never early, and leaves no timer behind."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.net.deadline import Deadline

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.integers(0, 20)),
        st.tuples(st.just("clear"), st.just(0)),
        st.tuples(st.just("stop"), st.just(0)),
        st.tuples(st.just("advance"), st.integers(1, 9)),
    ),
    max_size=40,
)


class DeadlineTests(SynchronousTestCase):
    """``Deadline`` on a ``Clock``."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.fired: list[float] = []
        self.deadline = Deadline(self.clock, lambda: self.fired.append(self.clock.seconds()))

    def advance(self, seconds: int) -> None:
        """Second by second, as a reactor does."""
        for _ in range(seconds):
            self.clock.advance(1)

    def test_fires_once(self) -> None:
        """At its time, and not again."""
        self.deadline.set(3)
        self.advance(10)
        self.assertEqual(self.fired, [3])

    def test_moved_later(self) -> None:
        """The timer beneath runs out earlier, unheard."""
        self.deadline.set(3)
        self.advance(2)
        self.deadline.set(5)
        self.advance(10)
        self.assertEqual(self.fired, [7])

    def test_moved_earlier(self) -> None:
        """A shorter limit counts at once."""
        self.deadline.set(60)
        self.deadline.set(2)
        self.advance(5)
        self.assertEqual(self.fired, [2])

    def test_moving_costs_no_timer(self) -> None:
        """However often it is moved later, one timer stands beneath it."""
        for _ in range(50):
            self.deadline.set(60)
            self.clock.advance(1)
            self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_cleared(self) -> None:
        """It does not fire, and can be set again."""
        self.deadline.set(3)
        self.deadline.clear()
        self.advance(5)
        self.assertEqual(self.fired, [])
        self.deadline.set(1)
        self.advance(2)
        self.assertEqual(self.fired, [6])

    def test_stopped(self) -> None:
        """No timer is left."""
        self.deadline.set(3)
        self.deadline.stop()
        self.deadline.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_set_again_when_it_fires(self) -> None:
        """What it calls may set it."""
        clock = self.clock
        count: list[float] = []

        def again() -> None:
            count.append(clock.seconds())
            if len(count) < 3:
                deadline.set(2)

        deadline = Deadline(clock, again)
        deadline.set(2)
        self.advance(10)
        self.assertEqual(count, [2, 4, 6])

    @given(STEPS)
    def test_against_a_plain_timer(self, steps: list[tuple[str, int]]) -> None:
        """Any run of calls fires when a plain, moved timer would."""
        clock = Clock()
        fired: list[float] = []
        expected: list[float] = []
        deadline = Deadline(clock, lambda: fired.append(clock.seconds()))
        due: float | None = None
        for kind, number in steps:
            if kind == "set":
                deadline.set(number)
                due = clock.seconds() + number
            elif kind == "advance":
                for _ in range(number):
                    clock.advance(1)
                    if due is not None and due <= clock.seconds():
                        expected.append(clock.seconds())
                        due = None
            else:
                getattr(deadline, kind)()
                due = None
        self.assertEqual(fired, expected)
        deadline.stop()
        self.assertEqual(clock.getDelayedCalls(), [])
