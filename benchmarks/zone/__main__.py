"""Measures big zones and big objects: ``python -m benchmarks.zone [--parts …] [--entries N] …``.

Everything happens in a temporary folder (``--folder``: where; some 12 GB for a full run) and
on the loopback; every process is ended, and the folder removed, at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.run import DOCS, facts
from benchmarks.servers import SERVER_CORE, pin
from benchmarks.zone.filling import fill
from benchmarks.zone.objects import measure
from benchmarks.zone.report import Report
from benchmarks.zone.serving import bounds, serving
from benchmarks.zone.storm import storm

__all__ = ["main"]

PARTS = ("lookups", "serving", "bounds", "storm", "object")
#: Look-ups measured.
COUNT = 5000


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(prog="benchmarks.zone", description=__doc__)
    parser.add_argument("--parts", default=",".join(PARTS), help=f"of: {', '.join(PARTS)}")
    parser.add_argument("--entries", type=int, default=1_000_000, help="of the zone")
    parser.add_argument("--bodies", type=int, default=40_000, help="entries that have a file")
    parser.add_argument("--object-size", type=int, default=5 * 1024, help="MB (default 5120)")
    parser.add_argument("--max-size", type=int, default=512, help="MB, of the stream of stores")
    parser.add_argument("--seconds", type=int, default=5, help="of each run under load")
    parser.add_argument("--rounds", type=int, default=3, help="of misses that are stored")
    parser.add_argument("--folder", type=Path, help="where to make the temporary folder")
    parser.add_argument("--docs", type=Path, default=DOCS, help="where a full run is saved")
    options = parser.parse_args(words)
    options.parts = options.parts.split(",")
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    options.bodies = min(options.bodies, options.entries)
    return options


def _lookups(zone: Path, options: argparse.Namespace) -> dict[str, object]:
    """In a process of its own, whose memory is nobody else's."""
    numbers = [str(number) for number in (options.entries, options.bodies, COUNT)]
    command = [*pin(SERVER_CORE), sys.executable, "-m", "benchmarks.zone.lookups", str(zone)]
    result = subprocess.run(
        [*command, *numbers], capture_output=True, text=True, check=False, timeout=900
    )
    if result.returncode:
        raise RuntimeError(result.stderr)
    found: dict[str, object] = json.loads(result.stdout)
    return found


def run(folder: Path, options: argparse.Namespace, report: Report) -> None:
    """Measure what is asked for into *report*."""
    for part in ("lookups", "serving", "bounds", "storm"):
        if part in options.parts:
            (folder / part).mkdir()
    if "lookups" in options.parts or "serving" in options.parts:
        seconds = fill(folder / "zone", options.entries, options.bodies)
        _say(f"zone filled in {seconds:.0f} s")
    if "lookups" in options.parts:
        report.lookups = _lookups(folder / "zone", options)
        _say("look-ups done")
    if "serving" in options.parts:
        report.serving = serving(
            folder / "serving", folder / "zone", options.entries, options.bodies, options.seconds
        )
        _say("serving done")
    if "bounds" in options.parts:
        report.bounds = bounds(folder / "bounds", options.max_size << 20, 3 * options.seconds)
        _say("max_size done")
    if "storm" in options.parts:
        report.storms = storm(folder / "storm", options.seconds, options.rounds)
        _say("misses done")
    if "object" in options.parts:
        for name in ("nginx", "cacheproxy"):
            place = folder / f"object-{name}"
            report.transfers += measure(place, name, options.object_size << 20)
            shutil.rmtree(place)
        _say("object done")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(words: Sequence[str] | None = None) -> int:
    """Measure, print, and save where every part was measured; the exit status."""
    options = arguments(words)
    missing = [tool for tool in ("nginx", "wrk") if shutil.which(tool) is None]
    if missing:
        print(f"needed and not found: {', '.join(missing)} (Debian: apt install nginx wrk)")
        return 1
    report = Report(options.entries, options.bodies)
    report.facts = facts(options.rounds, options.seconds, os.getloadavg()[0])[1:]
    with tempfile.TemporaryDirectory(prefix="bench", dir=options.folder) as name:
        run(Path(name), options, report)
        print(report.text(), flush=True)
        if set(options.parts) == set(PARTS):
            save(report, options.docs)
        _say("removing what was made")
    return 0


def save(report: Report, docs: Path) -> None:
    """Write the page, and the figures as they are."""
    docs.mkdir(exist_ok=True)
    (docs / "big-zones.json").write_text(json.dumps(report.json(), indent=1) + "\n")
    (docs / "big-zones.rst").write_text(report.rst())


if __name__ == "__main__":
    sys.exit(main())
