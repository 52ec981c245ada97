"""What was measured, as text and as reStructuredText."""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.zone.objects import CASES, Transfer
from benchmarks.zone.serving import Bounds, Serving
from benchmarks.zone.storm import Storm

__all__ = ["Report", "Table"]

_MB = 1 << 20
_GB = 1 << 30


@dataclass(frozen=True)
class Table:
    """A title, what is to be known of it, a head and rows of text."""

    title: str
    about: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    def text(self) -> list[str]:
        """Columns for a terminal."""
        lines = [self.head, *self.rows]
        widths = [max(len(line[at]) for line in lines) for at in range(len(self.head))]
        return [
            self.title,
            *(
                "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
                for line in lines
            ),
            "",
        ]

    def rst(self) -> list[str]:
        """A section."""
        lines = [self.title, "-" * len(self.title), "", *textwrap.wrap(self.about, 95), ""]
        lines += [".. list-table::", "   :header-rows: 1", ""]
        for row in (self.head, *self.rows):
            cells = [f"   {' ' if number else '*'} - {cell}" for number, cell in enumerate(row)]
            lines += [cell.rstrip() for cell in cells]
        return [*lines, ""]


@dataclass
class Report:
    """Everything of one run; what was not asked for is None or empty. *facts* are sentences."""

    entries: int
    bodies: int
    facts: list[str] = field(default_factory=list)
    lookups: dict[str, Any] | None = None
    serving: Serving | None = None
    bounds: Bounds | None = None
    storms: list[Storm] = field(default_factory=list)
    transfers: list[Transfer] = field(default_factory=list)

    def json(self) -> dict[str, object]:
        """Everything as plain values."""
        return asdict(self)

    def tables(self) -> list[Table]:
        """One for each part that was measured."""
        found = []
        if self.lookups is not None:
            found.append(self._zone(self.lookups))
        if self.serving is not None:
            found.append(_serving(self.serving))
        if self.bounds is not None:
            found.append(_bounds(self.bounds))
        if self.storms:
            found.append(_storms(self.storms))
        if self.transfers:
            found.append(_transfers(self.transfers))
        return found

    def _zone(self, found: dict[str, Any]) -> Table:
        before, after = found["memory"]
        rows = [
            ("opening, until the first entry is found", f"{found['open'] * 1e3:.0f} ms", "2 s"),
            ("look-up, the row alone", _both(found["index"]), "50 µs"),
            ("look-up, row, head and body", _both(found["find"]), "50 µs"),
            ("the same through a disk thread", _both(found["lookup"]), "–"),
            ("of that: to a thread and back", _both(found["hop"]), "–"),
            ("through a thread, index on disk only", _both(found["first"]), "–"),
            ("until absence is known without the disk", f"{found['filter']:.1f} s", "–"),
            ("memory that the zone adds", f"{(after - before) / _MB:.1f} MB", "–"),
        ]
        return Table(
            f"A zone of {self.entries:,} entries",
            f"Look-ups are drawn from the {self.bodies:,} entries that have a body file (1 KB);"
            " the others are rows alone, with the heads and sizes that they would have. Median"
            " and 99th percentile; the goal is for the median. A request is answered through a"
            " disk thread, because the index may have to be read from the disk: a thread is woken"
            " and wakes the reactor.",
            ("", "measured", "goal"),
            rows,
        )

    def text(self) -> str:
        """For a terminal."""
        lines = [line for table in self.tables() for line in table.text()]
        return "\n".join([*lines, *self.facts])

    def rst(self) -> str:
        """A page for the documentation."""
        lines = [
            "Big zones and big objects",
            "=========================",
            "",
            "Written by ``make bench-zone``. The proxy, and nginx beside it, have one core; load,",
            "clients and the origin (an nginx) have the other. Figures of different machines, or",
            "of a busy one, do not compare.",
            "",
        ]
        for table in self.tables():
            lines += table.rst()
        facts = [
            textwrap.fill(fact, 95, initial_indent="* ", subsequent_indent="  ")
            for fact in self.facts
        ]
        return "\n".join([*lines, *facts, ""])


def _both(found: dict[str, float]) -> str:
    return f"{found['p50']:.0f} µs, {found['p99']:.0f} µs"


def _serving(found: Serving) -> Table:
    rows = [
        ("start of the process to a hit from disk", f"{found.start:.2f} s"),
        ("resident memory, idle, zone loaded", f"{found.memory / _MB:.1f} MB"),
        ("hits in memory, idle", f"{found.idle_rate:,.0f}/s"),
        ("hits in memory while culling", f"{found.culling_rate:,.0f}/s"),
        (
            "culled meanwhile",
            f"{found.culled:,} entries in {found.culling_seconds:.1f} s",
        ),
        ("purge by key", f"{found.purge_p50:.0f} µs, {found.purge_p99:.0f} µs"),
    ]
    return Table(
        "Serving from it",
        "The proxy on that zone, whose ``max_size`` it has just reached: one large response then"
        " pushes out the entries unused for longest. Purges are requests over a connection that"
        " is open; median and 99th percentile.",
        ("", "measured"),
        rows,
    )


def _bounds(found: Bounds) -> Table:
    def part(octets: int) -> str:
        return f"{octets / _MB:.2f} MB ({octets / found.max_size - 1:+.2%})"

    rows = [
        ("max_size", f"{found.max_size / _MB:.2f} MB"),
        ("most, as accounted", part(found.most)),
        ("least after it was full", part(found.least)),
        ("as accounted when all was over", part(found.last)),
        ("what the folder then occupied", part(found.occupied)),
    ]
    return Table(
        "Keeping to max_size",
        f"A stream of {found.stores:,} stores of 1 KB to 1 MB into a zone of its own. What the"
        " index accounts is whole blocks of the file system, heads and rows; what the folder"
        " occupies is what the file system says, SQLite's log aside.",
        ("", "measured"),
        rows,
    )


def _storms(found: Sequence[Storm]) -> Table:
    rows = []
    for name in dict.fromkeys(one.server for one in found):
        runs = [one for one in found if one.server == name]
        rows.append(
            (
                name,
                f"{statistics.median(run.rate for run in runs):,.0f}",
                f"{statistics.median(run.cpu for run in runs) * 1e6:.0f} µs",
                f"{statistics.median(run.p99 for run in runs) * 1e3:.1f} ms",
                f"{statistics.median(run.stored for run in runs):.0%}",
                f"{sum(run.errors for run in runs)}",
            )
        )
    return Table(
        "Misses that are stored",
        "No URL is asked for twice; 1 KB each, 32 connections. The share stored is that of the"
        " moment at which the load ends: what is missing waits to be written, or was not stored"
        " because too much waited. Most of what both take is the making of files, which some file"
        " systems do many times slower for minutes after many were removed.",
        ("", "requests/s", "processor a request", "p99", "stored", "errors"),
        rows,
    )


def _transfers(found: Sequence[Transfer]) -> Table:
    titles = dict(CASES)
    rows = []
    for one in found:
        rows.append(
            (
                titles[one.case],
                one.server,
                f"{one.rate / _MB:,.0f} MB/s" if one.case != "range" else "–",
                f"{one.cpu / one.octets * _GB:.2f} s/GB" if one.case != "range" else "–",
                f"{one.first_octet * 1e3:.1f} ms",
                f"{one.before / _MB:.0f} MB",
                f"{one.peak / _MB:.0f} MB",
            )
        )
    size = max(one.octets for one in found)
    return Table(
        f"An object of {size / _GB:.1f} GB",
        "Memory is the worker's, resident before and at its peak during the download. The slow"
        " client takes half of what the fast one took.",
        ("", "server", "rate", "processor", "head after", "before", "peak"),
        rows,
    )
