"""What the results of a run amount to, counted as the suite's own site counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from benchmarks.conformance.suite import CacheTest, Group, Results

__all__ = ["Outcome", "Score", "outcomes", "score"]


class Outcome(Enum):
    """How a test came out."""

    PASS = "pass"
    FAIL = "fail"
    #: The test could not be set up: something other than what it is about went wrong.
    SETUP = "setup failed"
    #: Another test, on which it depends, has not passed.
    DEPENDENCY = "depends on a failed test"
    UNTESTED = "untested"


@dataclass(frozen=True)
class Score:
    """Passed and all tests of each kind."""

    passed: Mapping[str, int]
    total: Mapping[str, int]

    def of(self, kind: str) -> str:
        """``passed/total`` of one kind."""
        return f"{self.passed.get(kind, 0)}/{self.total.get(kind, 0)}"


def outcomes(groups: Iterable[Group], results: Results) -> dict[str, Outcome]:
    """The outcome of each test by its id; a test counts only if those it depends on pass."""
    tests = {test.id: test for group in groups for test in group.tests}
    found: dict[str, Outcome] = {}

    def judge(test: CacheTest) -> Outcome:
        known = found.get(test.id)
        if known is None:
            known = found[test.id] = _outcome(test, results, judge_id)
        return known

    def judge_id(name: str) -> Outcome:
        test = tests.get(name)
        return Outcome.UNTESTED if test is None else judge(test)

    for test in tests.values():
        judge(test)
    return found


def _outcome(test: CacheTest, results: Results, judge_id: object) -> Outcome:
    assert callable(judge_id)
    result = results.get(test.id)
    if result is None:
        return Outcome.UNTESTED
    if any(judge_id(name) is not Outcome.PASS for name in test.depends_on):
        return Outcome.DEPENDENCY
    if result is True:
        return Outcome.PASS
    if isinstance(result, list) and result[:1] == ["Setup"]:
        return Outcome.SETUP
    return Outcome.FAIL


def score(tests: Iterable[CacheTest], found: Mapping[str, Outcome]) -> Score:
    """Count *tests* by kind."""
    tests = list(tests)
    return Score(
        Counter(test.kind for test in tests if found[test.id] is Outcome.PASS),
        Counter(test.kind for test in tests),
    )
