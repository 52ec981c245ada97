"""Conditions of directives."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.proxy.site.conditions import holds
from cacheproxy.template import constant_template


class ConditionTests(SynchronousTestCase):
    """``holds``."""

    def holds(self, *values: bytes) -> bool:
        """Whether conditions with these values hold."""
        context: Any = None
        return holds(tuple(constant_template(value) for value in values), context)

    def test_empty_and_zero_do_not_hold(self) -> None:
        """As in nginx, to the byte: ``00`` and a blank do hold."""
        self.assertFalse(self.holds())
        self.assertFalse(self.holds(b"", b"0"))
        for value in (b"1", b"00", b" ", b"off", b"false"):
            self.assertTrue(self.holds(value), value)

    def test_one_that_holds_is_enough(self) -> None:
        """In any place."""
        self.assertTrue(self.holds(b"0", b"1"))
        self.assertTrue(self.holds(b"1", b""))
