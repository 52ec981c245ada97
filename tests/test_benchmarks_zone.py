"""``benchmarks/zone``: it runs in miniature, and says what it has measured."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
from pathlib import Path

import pytest
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from benchmarks.zone.__main__ import main
from benchmarks.zone.filling import BODY, INACTIVE, digest_of, fill, whole_entries
from benchmarks.zone.lookups import percentiles
from benchmarks.zone.objects import Transfer
from benchmarks.zone.origin import random_sizes
from benchmarks.zone.report import Report
from benchmarks.zone.serving import Bounds, Serving, occupied, usage
from benchmarks.zone.storm import Storm
from cacheproxy.config.model import CacheZone
from cacheproxy.storage.disk.disk import BROKEN, Disk, Found

PAIR = {"p50": 12.3, "p99": 45.6}


def report() -> Report:
    """One with every part."""
    made = Report(1_000_000, 40_000, ["A fact."])
    made.lookups = {
        "open": 0.008,
        "filter": 9.3,
        "memory": [50 << 20, 58 << 20],
        **dict.fromkeys(("index", "find", "lookup", "hop", "first"), PAIR),
    }
    made.serving = Serving(0.61, 70 << 20, 90_000.0, 85_000.0, 12_345, 3.2, 250.0, 900.0)
    made.bounds = Bounds(1000 << 20, 5000, 1003 << 20, 995 << 20, 999 << 20, 1001 << 20)
    for name, rate in (("nginx", 9000.0), ("cacheproxy", 4000.0), ("cacheproxy", 5000.0)):
        made.storms.append(Storm(name, rate, 0.02, 2e-4, 0.99, 0))
    for case in ("cold", "hit", "range", "slow"):
        transfer = Transfer("nginx", case, 5 << 30, 10.0, 0.001, 4.0, 7 << 20, 9 << 20, 200, "HIT")
        made.transfers.append(transfer)
    return made


class ReportTests(SynchronousTestCase):
    """Text and page of one run."""

    def test_every_part_is_shown(self) -> None:
        """With its figures, in both forms; the facts at the end."""
        for text in (report().text(), report().rst()):
            for part in (
                "1,000,000 entries",
                "8 ms",
                "12 µs, 46 µs",
                "12,345 entries in 3.2 s",
                "1003.00 MB (+0.30%)",
                "4,500",
                "An object of 5.0 GB",
                "512 MB/s",
                "0.80 s/GB",
            ):
                self.assertIn(part, text)
            self.assertTrue(text.rstrip().endswith("A fact."))

    def test_what_was_not_measured_is_not_shown(self) -> None:
        """``--parts`` leaves no empty table."""
        self.assertEqual(Report(1, 1).tables(), [])
        self.assertEqual(json.loads(json.dumps(report().json()))["entries"], 1_000_000)


class FillingTests(SynchronousTestCase):
    """The zone that is measured."""

    def test_zone_is_what_stores_would_have_left(self) -> None:
        """Entries with a file are found whole, those without are told as broken; no orphans."""
        folder = Path(self.mktemp()).absolute()
        fill(folder, 300, 100)
        entries, size = usage(folder)
        self.assertEqual(entries, 300)
        self.assertGreater(size, 300 * 4096)
        whole = list(whole_entries(300, 100))
        self.assertEqual((whole[:50], len(whole)), (list(range(50)), 100))
        zone = CacheZone(
            name="zone", path=str(folder), levels=(1, 2), use_temp_path=False, inactive=INACTIVE
        )
        disk = Disk(zone, self.fail, 1 << 20)
        disk.open()
        self.addCleanup(disk.close)
        self.assertFalse(disk.sweep_step())
        for number in range(300):
            found = disk.find(digest_of(number), 0.0)
            if number in whole:
                assert isinstance(found, Found), number
                self.assertEqual(found.body, BODY)
            else:
                self.assertIs(found, BROKEN)
        self.assertGreaterEqual(occupied(folder), len(whole) * 4096)

    def test_sizes_and_percentiles(self) -> None:
        """Random sizes are the same in each run; percentiles come in microseconds."""
        self.assertEqual(random_sizes(), random_sizes())
        self.assertTrue(all(1024 <= size <= 1 << 20 for size in random_sizes()))
        self.assertEqual(percentiles([1e-6] * 98 + [5e-6, 9e-6]), {"p50": 1.0, "p99": 9.0})


@pytest.mark.e2e
class RunTests(SynchronousTestCase):
    """The command."""

    def test_runs_in_miniature(self) -> None:
        """Real processes, a small zone and a small object; nothing is left, no docs are written."""
        if None in (shutil.which("nginx"), shutil.which("wrk")):
            raise SkipTest("nginx and wrk are needed")
        folder = self.mktemp()
        os.mkdir(folder)
        words = "--parts lookups,serving,object --entries 400 --bodies 300 --object-size 2"
        words += f" --seconds 1 --folder {os.path.abspath(folder)} --docs {folder}/docs"
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()):
            self.assertEqual(main(words.split()), 0)
        for title in ("A zone of 400 entries", "Serving from it", "An object of 0.0 GB"):
            self.assertIn(title, printed.getvalue())
        self.assertEqual(os.listdir(folder), [])
