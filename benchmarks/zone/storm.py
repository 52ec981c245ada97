"""Misses that are stored: no URL is asked for twice. nginx beside, with the same configuration."""

from __future__ import annotations

import os
import re
import subprocess
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load import CONNECTIONS, Measured, parse
from benchmarks.servers import LOAD_CORE, Server, pin, start_nginx, start_proxy
from benchmarks.zone.objects import cpu_of
from benchmarks.zone.origin import origin, unique_urls
from tests.support.ports import free_port

__all__ = ["Storm", "storm"]

_HTTP = """
access_log off;
keepalive_requests 100000000;
proxy_cache_path {folder}/cache levels=1:2 keys_zone=zone:200m max_size=50g inactive=60m
                 use_temp_path=off;
proxy_http_version 1.1;
proxy_set_header Connection "";
upstream origin {{ server 127.0.0.1:{origin}; keepalive 64; keepalive_requests 100000000; }}
server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
        proxy_pass http://origin;
        proxy_cache zone;
        proxy_cache_valid 200 1h;
    }}
}}
"""


@dataclass(frozen=True)
class Storm:
    """One run: requests a second, 99th percentile in seconds, processor seconds a request, and
    which part of the answers was stored when the load ended."""

    server: str
    rate: float
    p99: float
    cpu: float
    stored: float
    errors: int


def storm(folder: Path, seconds: int, rounds: int) -> list[Storm]:
    """*rounds* runs of each server, taken in turns.

    What was stored stays until all is over: a file system that has just removed many files is
    slow to make new ones.
    """
    found: list[Storm] = []
    with ExitStack() as stack:
        behind = stack.enter_context(origin(folder))
        script = unique_urls(folder, 0)
        servers: list[Server] = []
        for name, start in (("nginx", start_nginx), ("cacheproxy", start_proxy)):
            port = free_port()
            http = _HTTP.format(folder=folder / name, origin=behind.port, port=port)
            process = start(folder / name, http)
            stack.callback(process.stop)
            servers.append(Server(name, port, port, process))
            servers[-1].wait_ready()
        for server in servers:
            _run(server, folder, script, "warm", 1)
        for number in range(rounds):
            for server in servers if number % 2 == 0 else servers[::-1]:
                found.append(_run(server, folder, script, str(number), seconds))
    return found


def _run(server: Server, folder: Path, script: Path, run: str, seconds: int) -> Storm:
    cache = folder / server.name / "cache"
    before, spent = _files(cache), cpu_of(server.worker)
    command = [*pin(LOAD_CORE), "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency"]
    command += ["-s", str(script), "-H", f"X-Run: {run}", f"http://127.0.0.1:{server.port}"]
    result = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=seconds + 60,
        check=True,
    )
    stored = _files(cache) - before
    # What waits to be written belongs to this run, not to the next one's.
    time.sleep(1.0)
    measured: Measured = parse(result.stdout)
    requests = int(re.findall(r"(\d+) requests in", result.stdout)[0])
    spent = cpu_of(server.worker) - spent
    return Storm(
        server.name,
        measured.rate,
        measured.p99,
        spent / max(requests, 1),
        min(stored / max(requests, 1), 1.0),
        measured.errors,
    )


def _files(cache: Path) -> int:
    """Bodies in *cache*."""
    found = (name for _, _, names in os.walk(cache) for name in names)
    return sum(len(name) == 32 and "-" not in name for name in found)
