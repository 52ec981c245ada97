"""The results as text, as reStructuredText and as a chart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from xml.sax.saxutils import escape

__all__ = ["Memory", "Report", "Result"]


@dataclass(frozen=True)
class Result:
    """One row's medians; *low* and *high* are the least and greatest ratio of a round.

    Times are in seconds; ``other_cpu`` and ``our_cpu`` are processor time per request (user and
    system, of the server process alone), which other load on the machine hardly moves.
    """

    key: str
    title: str
    against: str
    target: float
    other_rate: float
    our_rate: float
    ratio: float
    low: float
    high: float
    other_p99: float
    our_p99: float
    other_cpu: float
    our_cpu: float
    errors: int

    @property
    def met(self) -> bool:
        """Whether the target is reached with every answer a good one."""
        return self.ratio >= self.target and not self.errors


@dataclass(frozen=True)
class Memory:
    """Bytes: of an idle worker, and what one more idle keep-alive connection costs."""

    nginx_idle: int
    our_idle: int
    nginx_connection: float
    our_connection: float
    connections: int


@dataclass(frozen=True)
class Report:
    """A whole run; *facts* are lines on machine, versions and noise."""

    results: Sequence[Result]
    memory: Memory | None
    facts: Sequence[str]

    def json(self) -> dict[str, object]:
        """Everything as plain values."""
        return {
            "facts": list(self.facts),
            "rows": [{**asdict(result), "met": result.met} for result in self.results],
            "memory": asdict(self.memory) if self.memory else None,
        }

    def text(self) -> str:
        """A table for a terminal."""
        lines = [
            f"{'':46} {'other/s':>9} {'ours/s':>9} {'ratio':>7} {'rounds':>13}"
            f" {'target':>7} {'p99 other':>10} {'p99 ours':>10} {'CPU other':>10} {'CPU ours':>10}"
        ]
        for r in self.results:
            lines.append(
                f"{r.title:46} {r.other_rate:9.0f} {r.our_rate:9.0f} {r.ratio:7.2f}"
                f" {r.low:6.2f}-{r.high:<6.2f} {r.target:7g}"
                f" {r.other_p99 * 1e3:8.2f}ms {r.our_p99 * 1e3:8.2f}ms"
                f" {r.other_cpu * 1e6:8.1f}us {r.our_cpu * 1e6:8.1f}us"
                f"{'' if r.met else '  below'}{f'  {r.errors} errors!' if r.errors else ''}"
            )
        lines += ["", *self._memory_lines(), *self.facts]
        return "\n".join(lines)

    def _memory_lines(self) -> list[str]:
        if self.memory is None:
            return []
        m = self.memory
        return [
            f"Idle worker: nginx {m.nginx_idle / 2**20:.1f} MB, ours {m.our_idle / 2**20:.1f} MB"
            " (target: at most 60 MB).",
            f"Each of {m.connections} idle keep-alive connections: nginx"
            f" {m.nginx_connection / 1024:.1f} KB, ours {m.our_connection / 1024:.1f} KB"
            " (target: at most 5 KB).",
        ]

    def rst(self) -> str:
        """A page for the documentation."""
        head = "path|other, req/s|ours, req/s|ratio|rounds|target|p99 other|p99 ours"
        head += "|CPU other|CPU ours"
        rows = [tuple(head.split("|"))]
        for r in self.results:
            rows.append(
                (
                    r.title,
                    f"{r.other_rate:,.0f}",
                    f"{r.our_rate:,.0f}",
                    f"**{r.ratio:.2f}**" if r.met else f"{r.ratio:.2f} (below)",
                    f"{r.low:.2f}–{r.high:.2f}",
                    f"{r.target:g}",
                    f"{r.other_p99 * 1e3:.2f} ms",
                    f"{r.our_p99 * 1e3:.2f} ms",
                    f"{r.other_cpu * 1e6:.1f} µs",
                    f"{r.our_cpu * 1e6:.1f} µs",
                )
            )
        table = [".. list-table::", "   :header-rows: 1", ""]
        for row in rows:
            table += [f"   {'*' if not n else ' '} - {cell}" for n, cell in enumerate(row)]
        lines = [
            "Benchmarks",
            "==========",
            "",
            "Written by ``make bench``. nginx and the proxy run the same configuration, each on",
            "one core; ``wrk -t1 -c32`` and the origin (an nginx) run on the other. The rounds",
            "alternate, the ratio is the median of the rounds' ratios, so that what else the",
            "machine does hits both alike. Figures of different machines, or of a busy one, do not",
            "compare; ratios do, roughly. CPU is the processor time per request (user and system)",
            "of the server process; other load on the machine hardly moves it.",
            "",
            "``wrk`` repeats one request, so that its field section is parsed once and remembered.",
            "In the rows *each request different* and *stored miss* each has a query and a cookie",
            "of its own.",
            "",
            "With ``sendfile on`` (not its default) nginx is spared the kernel's copy on a hit of",
            "100 KB, where most of the time goes; hence two rows.",
            "",
            ".. image:: benchmarks.svg",
            "   :alt: the ratio to nginx in each row, on a logarithmic scale",
            "",
            *table,
            "",
            *self._memory_lines(),
            "",
            *(f"* {fact}" for fact in self.facts),
            "",
        ]
        return "\n".join(lines)

    def svg(self) -> str:
        """The ratios as bars from 1 on a logarithmic scale, the targets as ticks."""
        rows = list(self.results)
        left, width, step, top = 330, 420, 26, 44
        height = top + step * len(rows) + 40
        values = [v for r in rows for v in (r.ratio, r.target)] or [1.0]
        low = min(-1, math.floor(math.log10(max(min(values), 1e-3))))
        high = max(1, math.ceil(math.log10(max(values))))

        def x(value: float) -> float:
            place = (math.log10(max(value, 1e-3)) - low) / (high - low)
            return round(left + width * min(max(place, 0.0), 1.0), 1)

        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + width + 90} {height}"'
            ' font-family="sans-serif" font-size="13">',
            '<rect width="100%" height="100%" fill="#fff"/>',
            f'<text x="{left}" y="18" font-weight="bold">Requests per second relative to the'
            " other server (1 = equal)</text>",
        ]
        bottom = top + step * len(rows)
        for power in range(low, high + 1):
            at = x(10.0**power)
            parts.append(
                f'<line x1="{at}" y1="{top - 8}" x2="{at}" y2="{bottom}" stroke="#ccc"/>'
                f'<text x="{at}" y="{bottom + 18}" text-anchor="middle" fill="#555">'
                f"{10.0**power:g}</text>"
            )
        for number, r in enumerate(rows):
            y = top + step * number
            start, end = sorted((x(1.0), x(r.ratio)))
            tick = x(r.target)
            parts.append(
                f'<text x="{left - 10}" y="{y + 12}" text-anchor="end">{escape(r.title)}</text>'
                f'<rect x="{start}" y="{y}" width="{max(round(end - start, 1), 1)}" height="16"'
                f' fill="{"#2a7f5f" if r.met else "#c76b29"}"/>'
                f'<line x1="{tick}" y1="{y - 3}" x2="{tick}" y2="{y + 19}" stroke="#000"'
                ' stroke-width="2"/>'
                f'<text x="{end + 6}" y="{y + 12}">{r.ratio:.2f}</text>'
            )
        one = x(1.0)
        parts.append(f'<line x1="{one}" y1="{top - 8}" x2="{one}" y2="{bottom}" stroke="#333"/>')
        parts.append(
            f'<text x="{left}" y="{bottom + 34}" fill="#555">The black tick is the target.</text>'
        )
        return "\n".join([*parts, "</svg>", ""])
