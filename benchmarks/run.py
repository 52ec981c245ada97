"""Runs the comparison: ``python -m benchmarks.run [--rows …] [--seconds N] [--rounds N]``.

Each round loads one server, then the other, in alternating order; what is reported is the
median over the rounds. Nothing leaves the loopback; every process is ended at the end.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from benchmarks.load import CONNECTIONS, Measured, wrk
from benchmarks.report import Memory, Report, Result
from benchmarks.rows import ROWS, Row
from benchmarks.servers import LOAD_CORE, Server, Servers, pin, servers

__all__ = ["main"]

DOCS = Path(__file__).resolve().parent.parent / "docs"
#: Seconds; wrk counts whole ones.
WARM_UP = 1
IDLE_CONNECTIONS = 2000


_runs = itertools.count(1)


def load(server: Server, path: str, row: Row, seconds: int) -> tuple[Measured, float]:
    """One run against one server, and its processor time per request in seconds."""
    scheme, port = ("https", server.tls_port) if row.tls else ("http", server.port)
    script = [word.replace("@RUN@", f"{next(_runs)}x") for word in row.script]
    before = server.cpu()
    url = f"{scheme}://127.0.0.1:{port}{path}"
    measured = wrk(pin(LOAD_CORE), url, seconds, row.fields, script)
    return measured, (server.cpu() - before) / max(measured.requests, 1)


def measure(row: Row, running: Servers, seconds: int, rounds: int) -> Result:
    """All rounds of one row."""
    other = running.nginx if row.against == "nginx" else running.twisted
    pairs = [(other, row.other_path or row.path), (running.proxy, row.path)]
    for server, path in pairs:
        load(server, path, row, WARM_UP)
    measured: dict[str, list[Measured]] = {server.name: [] for server, _ in pairs}
    cpu: dict[str, list[float]] = {server.name: [] for server, _ in pairs}
    for number in range(rounds):
        for server, path in pairs if number % 2 == 0 else reversed(pairs):
            run, per_request = load(server, path, row, seconds)
            measured[server.name].append(run)
            cpu[server.name].append(per_request)
    theirs, ours = measured[other.name], measured[running.proxy.name]
    ratios = [our.rate / their.rate for our, their in zip(ours, theirs, strict=True)]
    return Result(
        row.key,
        row.title,
        row.against,
        row.target,
        statistics.median(m.rate for m in theirs),
        statistics.median(m.rate for m in ours),
        statistics.median(ratios),
        min(ratios),
        max(ratios),
        statistics.median(m.p99 for m in theirs),
        statistics.median(m.p99 for m in ours),
        statistics.median(cpu[other.name]),
        statistics.median(cpu[running.proxy.name]),
        sum(m.errors for m in [*theirs, *ours]),
    )


def connection_cost(server: Server, count: int) -> float:
    """Bytes of resident memory that each of *count* idle keep-alive connections adds."""
    request = b"GET /hit/1k.html HTTP/1.1\r\nHost: localhost\r\n\r\n"
    opened: list[socket.socket] = []

    def more(number: int) -> None:
        for _ in range(number):
            connection = socket.create_connection(("127.0.0.1", server.port), 30)
            opened.append(connection)
            connection.sendall(request)
            received = 0
            while received < 1024:
                data = connection.recv(65536)
                if not data:
                    raise RuntimeError(f"{server.name} closed a connection")
                received += len(data)

    try:
        # The first ones fill pools and caches that later ones share.
        more(count // 4)
        before = server.rss()
        more(count)
        return (server.rss() - before) / count
    finally:
        for connection in opened:
            connection.close()


def memory(running: Servers) -> Memory:
    """What idle workers and idle connections take, of both."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(IDLE_CONNECTIONS, (hard - 200) * 4 // 5 if hard > 0 else IDLE_CONNECTIONS)
    idle = [running.nginx.rss(), running.proxy.rss()]
    return Memory(
        idle[0],
        idle[1],
        connection_cost(running.nginx, count),
        connection_cost(running.proxy, count),
        count,
    )


def facts(rounds: int, seconds: int, load_before: float) -> list[str]:
    """What one must know to read the figures."""
    nginx = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=False).stderr
    found = [
        f"{rounds} rounds of {seconds} seconds each, {CONNECTIONS} connections.",
        f"{nginx.strip().replace('nginx version: ', '')}; "
        f"{platform.python_implementation()} {platform.python_version()}, "
        f"Twisted {version('twisted')}, uvloop {version('uvloop')}, "
        f"httptools {version('httptools')}; {platform.system()} {platform.machine()}, "
        f"{os.cpu_count()} cores.",
    ]
    if not pin(LOAD_CORE):
        found.append("Not pinned (one core, or no taskset): the figures mean little.")
    noise = f"Load average before the first row: {load_before:.2f}."
    if load_before > 0.5:
        noise += " The machine was busy with other things: read the ratios with care."
    found.append(noise)
    return found


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(prog="benchmarks.run", description=__doc__)
    keys = [row.key for row in ROWS]
    parser.add_argument(
        "--rows", default="", help=f"comma-separated, of: {', '.join([*keys, 'memory'])}"
    )
    parser.add_argument("--seconds", type=int, default=5, help="of each run (default 5)")
    parser.add_argument("--rounds", type=int, default=5, help="of each row (default 5)")
    parser.add_argument("--docs", type=Path, default=DOCS, help="where a full run is saved")
    options = parser.parse_args(words)
    options.keys = options.rows.split(",") if options.rows else [*keys, "memory"]
    unknown = set(options.keys) - {*keys, "memory"}
    if unknown:
        parser.error(f"no such row: {', '.join(sorted(unknown))}")
    return options


def main(words: Sequence[str] | None = None) -> int:
    """Measure, print, and save where every row was measured; the exit status."""
    options = arguments(words)
    missing = [tool for tool in ("nginx", "wrk") if shutil.which(tool) is None]
    if missing:
        print(f"needed and not found: {', '.join(missing)} (Debian: apt install nginx wrk)")
        return 1
    # The limit is inherited by every process started below.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    load_before = os.getloadavg()[0]
    results, held = [], None
    with tempfile.TemporaryDirectory(prefix="bench") as name, servers(Path(name)) as running:
        if "memory" in options.keys:
            # First, while the workers are as they started.
            held = memory(running)
        for row in ROWS:
            if row.key in options.keys:
                results.append(measure(row, running, options.seconds, options.rounds))
                print(f"{row.title}: {results[-1].ratio:.2f}", file=sys.stderr, flush=True)
    report = Report(results, held, facts(options.rounds, options.seconds, load_before))
    print(report.text())
    if {row.key for row in ROWS} | {"memory"} == set(options.keys):
        options.docs.mkdir(exist_ok=True)
        (options.docs / "benchmarks.json").write_text(json.dumps(report.json(), indent=1) + "\n")
        (options.docs / "benchmarks.rst").write_text(report.rst())
        (options.docs / "benchmarks.svg").write_text(report.svg())
    return 0


if __name__ == "__main__":
    sys.exit(main())
