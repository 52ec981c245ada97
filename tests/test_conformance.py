"""The parts of ``benchmarks/conformance`` that need no suite: counting, and the document."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.conformance.decisions import reason
from benchmarks.conformance.report import document, failures, summary
from benchmarks.conformance.score import Outcome, outcomes
from benchmarks.conformance.suite import CacheTest, Group, Results

GROUPS = [
    Group(
        "one",
        "One",
        (
            CacheTest("base", "stores", "required", ()),
            CacheTest("more", "reuses", "optimal", ("base",)),
            CacheTest("odd", "does what", "check", ()),
        ),
    ),
    Group(
        "two",
        "Two",
        (
            CacheTest("after", "goes on", "required", ("more",)),
            CacheTest("headers-store-Set-Cookie", "stores a cookie", "required", ()),
        ),
    ),
]


def found(**results: bool | list[str]) -> dict[str, Outcome]:
    """The outcomes; a test not named passes."""
    everything: Results = {
        test.id: results.get(test.id, True) for group in GROUPS for test in group.tests
    }
    return outcomes(GROUPS, everything)


class ScoreTests(SynchronousTestCase):
    """Counting as the suite's site does."""

    def test_pass(self) -> None:
        """Everything passes."""
        self.assertEqual(set(found().values()), {Outcome.PASS})
        self.assertEqual(summary(GROUPS, found()), "3/3 required, 1/1 optimal, 1/1 check")

    def test_dependency(self) -> None:
        """What depends on a failure, at any distance, does not count."""
        result = found(base=["Assertion", "no"])
        self.assertIs(result["base"], Outcome.FAIL)
        self.assertIs(result["more"], Outcome.DEPENDENCY)
        self.assertIs(result["after"], Outcome.DEPENDENCY)
        self.assertEqual(summary(GROUPS, result), "1/3 required, 0/1 optimal, 1/1 check")

    def test_setup_and_absence(self) -> None:
        """Neither is a pass."""
        self.assertIs(found(odd=["Setup", "retry"])["odd"], Outcome.SETUP)
        self.assertIs(outcomes(GROUPS, {})["odd"], Outcome.UNTESTED)
        self.assertIs(outcomes(GROUPS, {"after": True})["after"], Outcome.DEPENDENCY)


class DecisionTests(SynchronousTestCase):
    """Why a test is not passed."""

    def test_reason(self) -> None:
        """By id, by its beginning, or open."""
        self.assertIn("cookie", reason("other-set-cookie"))
        self.assertIn("RFC 9213", reason("surrogate-max-age"))
        self.assertIn("smallest", reason("freshness-max-age-two-stale-fresh-sepline"))
        self.assertIn("HEAD", reason("head-200-update"))
        self.assertEqual(reason("freshness-none"), "open")


class ReportTests(SynchronousTestCase):
    """What is printed and written."""

    def test_failures(self) -> None:
        """Each with its kind and message."""
        results: Results = {"odd": ["Assertion", "not so"], "base": True}
        text = failures(GROUPS, found(odd=["Assertion", "not so"]), results)
        self.assertEqual(text, "One:\n  check    odd: fail. not so")

    def test_document(self) -> None:
        """Scores, groups, and the reason of each failure."""
        failed = ["Assertion", "no"]
        ours = found(**{"headers-store-Set-Cookie": failed, "base": failed})
        text = document("1.0", GROUPS, ours, {"other": found()})
        self.assertIn("\ncacheproxy  0/3", text)
        self.assertIn("\nother       3/3", text)
        self.assertIn("By decision: a cookie is for one user.", text)
        self.assertIn("``base`` (required)\n   stores\n\n   open", text)
        self.assertTrue(all(len(line) <= 100 for line in text.splitlines()))
        self.assertNotIn("``odd``", text)

    def test_checks_in_the_document(self) -> None:
        """Those answered with no stand under their reason, together."""
        text = document("1.0", GROUPS, found(odd=["Assertion", "no"]), {})
        self.assertIn("Checks answered with no, and why\n----", text)
        self.assertIn("* ``odd``: open", text)
