"""Accepting while file descriptors are short."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

import os
import resource

from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.net.descriptors import DescriptorGuard, descriptor_limit, lowest_free


class _Listener:
    """Counts how often it was paused and resumed."""

    def __init__(self) -> None:
        self.accepting = True
        self.changes = 0

    def pause_accepting(self) -> None:
        self.accepting = False
        self.changes += 1

    def resume_accepting(self) -> None:
        self.accepting = True
        self.changes += 1


class GuardTests(SynchronousTestCase):
    """``DescriptorGuard`` with a limit of 1000."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.free: int | None = 10
        self.looks = 0
        self.guard = DescriptorGuard(self.clock, self.look, lambda: 1000)
        self.listeners = [_Listener(), _Listener()]
        for listener in self.listeners:
            self.guard.add(listener)
        self.lines: list[str] = []

        def note(event: dict[str, object]) -> None:
            if event.get("log_namespace") == "cacheproxy.net.descriptors":
                self.lines.append(str(event["log_format"]).format(**event))

        globalLogPublisher.addObserver(note)
        self.addCleanup(globalLogPublisher.removeObserver, note)

    def look(self) -> int | None:
        """The lowest free descriptor."""
        self.looks += 1
        return self.free

    def accepting(self) -> list[bool]:
        """Which listeners accept."""
        return [listener.accepting for listener in self.listeners]

    def test_far_from_the_limit_it_is_looked_rarely(self) -> None:
        """A look per connection would be four system calls each."""
        for _ in range(700):
            self.guard.accepted()
        self.assertLess(self.looks, 10)
        self.assertEqual(self.accepting(), [True, True])

    def test_near_the_limit_every_listener_pauses_with_one_line(self) -> None:
        """The line says what happened, which limit, and what to do."""
        self.free = 968
        self.guard.accepted()
        self.assertEqual(self.accepting(), [False, False])
        (line,) = self.lines
        for part in ("accept() is paused", "968 of 1000", "RLIMIT_NOFILE", "LimitNOFILE="):
            self.assertIn(part, line)

    def test_accepting_goes_on_once_descriptors_are_free(self) -> None:
        """It is looked twice a second until then."""
        self.free = None
        self.guard.accepted()
        self.assertIn("1000 of 1000", self.lines[0])
        self.clock.pump([0.5] * 10)
        self.assertEqual(self.accepting(), [False, False])
        self.free = 967
        self.clock.advance(0.5)
        self.assertEqual(self.accepting(), [True, True])
        self.assertFalse(self.guard.paused)

    def test_the_line_comes_once_a_minute(self) -> None:
        """However often accepting pauses."""
        self.free = 999
        for _ in range(20):
            self.guard.accepted()
            self.clock.advance(2)
        self.assertEqual(len(self.lines), 1)
        self.clock.pump([1] * 30)
        self.assertEqual(len(self.lines), 2)

    def test_listeners_that_come_and_go_while_paused(self) -> None:
        """A new one is paused, too; after the last nothing is waited for."""
        self.free = 999
        self.guard.accepted()
        late = _Listener()
        self.guard.add(late)
        self.assertFalse(late.accepting)
        for listener in (*self.listeners, late):
            self.guard.remove(listener)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_small_limit_keeps_an_eighth(self) -> None:
        """Of 64 descriptors not half are kept back."""
        guard = DescriptorGuard(self.clock, lambda: 55, lambda: 64)
        guard.accepted()
        self.assertFalse(guard.paused)

    def test_no_limit_is_never_reached(self) -> None:
        """Where the system sets none."""
        self.assertEqual(descriptor_limit(), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        self.patch(resource, "getrlimit", lambda which: unlimited)
        guard = DescriptorGuard(self.clock, lambda: 100_000)
        guard.accepted()
        self.assertFalse(guard.paused)

    def test_lowest_free_is_the_number_of_the_next(self) -> None:
        """And costs none."""
        number = lowest_free()
        descriptor = os.open(os.devnull, os.O_RDONLY)
        self.addCleanup(os.close, descriptor)
        self.assertEqual(number, descriptor)
