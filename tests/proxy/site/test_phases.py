"""What a phase may come to; ``front.test_phases`` has the phases themselves."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

from cacheproxy.proxy.site.phases import Progress
from tests.proxy.harness import BenchCase, response


class ProgressTests(BenchCase):
    """The loop over the phases goes by these alone."""

    def test_last_phase_answers(self) -> None:
        """What no phase before has answered, the content phase does."""
        bench = self.proxy("allow all;")
        self.origin.default = response(200, b"x")
        self.assertEqual(bench.get(b"/").body, b"x")

    def test_verdicts(self) -> None:
        """Go on, answered, wait."""
        self.assertEqual({one.name for one in Progress}, {"GO_ON", "ANSWERED", "WAIT"})
