"""A wait by itself; ``front.test_phases`` has it in an exchange."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

from collections.abc import Iterator

from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.proxy.exchange.phase_wait import PhaseWait
from cacheproxy.proxy.site.phases import Phase


class PhaseWaitTests(SynchronousTestCase):
    """Resumed once, or ended."""

    def setUp(self) -> None:
        self.went_on = 0
        self.wait = PhaseWait(self.go_on)

    def go_on(self, wait: PhaseWait, rest: Iterator[Phase]) -> None:
        """What is left of the phases."""
        self.went_on += 1

    def test_second_resume_does_nothing(self) -> None:
        """A timer and an answer may both come."""
        self.assertTrue(self.wait.hold(iter(())))
        self.wait.resume()
        self.wait.resume()
        self.assertEqual(self.went_on, 1)

    def test_resume_before_the_phase_returns_leaves_the_rest_to_the_caller(self) -> None:
        """The loop that runs the phases goes on by itself."""
        self.wait.resume()
        self.assertFalse(self.wait.hold(iter(())))
        self.assertEqual(self.went_on, 0)

    def test_resume_after_the_client_left_does_nothing(self) -> None:
        """There is nobody to answer."""
        self.wait.hold(iter(()))
        self.wait.on_downstream_lost()
        self.wait.resume()
        self.assertEqual(self.went_on, 0)
