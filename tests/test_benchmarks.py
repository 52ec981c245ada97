"""The parts of ``benchmarks/`` that measure nothing: reading wrk, writing the report."""

from __future__ import annotations

import json
from xml.etree import ElementTree

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.load import parse
from benchmarks.report import Memory, Report, Result
from benchmarks.rows import ROWS
from benchmarks.servers import SIZES, page

WRK = """Running 5s test @ http://127.0.0.1:8080/
  1 threads and 32 connections
  Latency Distribution
     50%  300.00us
     75%  350.00us
     90%    1.00ms
     99%    1.50ms
  400000 requests in 5.00s, 500.00MB read
{more}Requests/sec:  80000.50
Transfer/sec:    100.00MB
"""


def result(ratio: float, target: float, errors: int = 0) -> Result:
    """A row of the report."""
    other, ours = 100.0, 100.0 * ratio
    return Result(
        "k", "a & b", "nginx", target, other, ours, ratio, 0.9, 1.1, 0.1, 0.2, 1e-5, 2e-5, errors
    )


class LoadTests(SynchronousTestCase):
    """What wrk prints."""

    def test_report_is_read(self) -> None:
        """Rate, latency in any unit."""
        measured = parse(WRK.format(more=""))
        self.assertEqual((measured.rate, measured.requests), (80000.5, 400000))
        self.assertEqual(measured.errors, 0)
        self.assertAlmostEqual(measured.p99, 0.0015)

    def test_errors_are_counted(self) -> None:
        """Fast refusals must not pass for speed."""
        more = (
            "  Socket errors: connect 1, read 2, write 0, timeout 4\n"
            "  Non-2xx or 3xx responses: 10\n"
        )
        self.assertEqual(parse(WRK.format(more=more)).errors, 17)

    def test_anything_else_is_refused(self) -> None:
        """No report, no figure."""
        self.assertRaises(ValueError, parse, "unable to connect")


class ReportTests(SynchronousTestCase):
    """Text, page and chart of one run."""

    def report(self) -> Report:
        """One row met, one not, one with errors."""
        rows = [result(1.5, 1.0), result(0.5, 0.6), result(2.0, 1.0, errors=3)]
        return Report(rows, Memory(1 << 20, 2 << 20, 512.0, 1024.0, 10), ["a fact"])

    def test_met_needs_speed_and_no_errors(self) -> None:
        """A row with failed requests is not met however fast."""
        self.assertEqual([row.met for row in self.report().results], [True, False, False])

    def test_text_shows_what_is_below(self) -> None:
        """The terminal table names misses and errors."""
        lines = self.report().text().splitlines()
        self.assertNotIn("below", lines[1])
        self.assertIn("below", lines[2])
        self.assertIn("3 errors!", lines[3])
        self.assertIn(" 10.0us     20.0us", lines[1])

    def test_page_and_json(self) -> None:
        """Both hold every row."""
        self.assertEqual(self.report().rst().count("   * - a & b"), 3)
        self.assertEqual(len(json.loads(json.dumps(self.report().json()))["rows"]), 3)

    def test_chart_is_well_formed(self) -> None:
        """The SVG parses, with one bar a row, and for no rows at all."""
        space = "{http://www.w3.org/2000/svg}"
        root = ElementTree.fromstring(self.report().svg())
        self.assertEqual(len(root.findall(f"{space}rect")), 1 + 3)
        ElementTree.fromstring(Report([], None, []).svg())


class RowTests(SynchronousTestCase):
    """The rows themselves."""

    def test_keys_are_distinct(self) -> None:
        """``--rows`` must be able to name each."""
        self.assertEqual(len({row.key for row in ROWS}), len(ROWS))

    def test_pages_have_their_size(self) -> None:
        """A page of 10 KB has 10 KB, the same in each run."""
        for size in SIZES.values():
            self.assertEqual(len(page(size)), size)
            self.assertEqual(page(size), page(size))
