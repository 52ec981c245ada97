"""One run of ``wrk`` and what it reports."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["SCRIPT", "Measured", "parse", "wrk"]

CONNECTIONS = 32
#: Makes requests that differ from one another, or that have content.
SCRIPT = Path(__file__).with_name("requests.lua")
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


@dataclass(frozen=True)
class Measured:
    """Requests per second, how many there were, the 99th percentile in seconds, failed ones."""

    rate: float
    requests: int
    p99: float
    errors: int


def parse(text: str) -> Measured:
    """Read wrk's report; ``ValueError`` where it is none."""
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s|m)\b", text)
    requests = re.search(r"(\d+) requests in", text)
    if rate is None or p99 is None or requests is None:
        raise ValueError(f"no report of wrk:\n{text}")
    errors = sum(int(n) for n in re.findall(r"Non-2xx or 3xx responses: (\d+)", text))
    for line in re.findall(r"Socket errors: (.*)", text):
        errors += sum(int(n) for n in re.findall(r"\d+", line))
    return Measured(float(rate[1]), int(requests[1]), float(p99[1]) * _UNITS[p99[2]], errors)


def wrk(
    pin: Sequence[str],
    url: str,
    seconds: int,
    fields: Mapping[str, str] | None = None,
    script: Sequence[str] = (),
) -> Measured:
    """Load *url* for *seconds* with one thread and ``CONNECTIONS`` connections.

    *script* is given to ``SCRIPT``: how requests are made; empty for one request repeated.
    """
    command = [*pin, "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency"]
    for name, value in (fields or {}).items():
        command += ["-H", f"{name}: {value}"]
    if script:
        command += ["-s", str(SCRIPT)]
    command += [url, *(["--", *script] if script else [])]
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=seconds + 60, check=False
    )
    if result.returncode:
        raise RuntimeError(f"wrk failed: {result.stderr or result.stdout}")
    return parse(result.stdout)
