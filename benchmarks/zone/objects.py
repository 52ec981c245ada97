"""One large object: streamed, stored and read again, with the memory that it takes.

nginx and the proxy run the same configuration, one after the other, before an nginx that
sends a sparse file. The client is a socket that throws away what it reads.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.servers import LOAD_CORE, Server, pin_self, start_nginx, start_proxy
from tests.support.ports import free_port

__all__ = ["CASES", "Transfer", "download", "measure"]

#: Octets asked for by the range far inside.
RANGE = 1 << 20
#: The slow client takes this part of what the fast one took.
SLOW_SHARE = 2
CASES = (
    ("cold", "miss, stored, fast client"),
    ("hit", "hit from disk, fast client"),
    ("range", "range of 1 MB far inside, hit"),
    ("slow", "miss, stored, slow client"),
)

_HTTP = """
access_log off;
client_max_body_size 0;
proxy_cache_path {folder}/cache levels=1:2 keys_zone=big:10m max_size={max_size} inactive=60m
                 use_temp_path=off;
proxy_http_version 1.1;
proxy_set_header Connection "";
server {{
    listen 127.0.0.1:{port};
    location / {{
        proxy_pass http://127.0.0.1:{origin};
        proxy_cache big;
        proxy_cache_valid 200 1h;
        proxy_cache_key $request_uri;
        proxy_read_timeout 300s;
        send_timeout 300s;
        add_header X-Cache $upstream_cache_status;
    }}
}}
"""


@dataclass(frozen=True)
class Transfer:
    """One download: octets of the body, seconds, those of the processor (*cpu*) among them.

    *before* and *peak* are the worker's resident memory.
    """

    server: str
    case: str
    octets: int
    seconds: float
    first_octet: float
    cpu: float
    before: int
    peak: int
    status: int
    cache: str

    @property
    def rate(self) -> float:
        """Octets a second."""
        return self.octets / self.seconds


def reset_peak(pid: int) -> None:
    """Let ``VmHWM`` start from what is resident now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def memory_of(pid: int, name: str) -> int:
    """``VmRSS`` or ``VmHWM`` of a process, in octets."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"no {name}")


def cpu_of(pid: int) -> float:
    """Seconds of processor time that a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def download(
    port: int, path: str, span: tuple[int, int] | None = None, rate: float = 0.0
) -> tuple[int, bytes, int, float, float]:
    """(status, head, octets of the body, seconds until its first one, and until its last).

    *span* is the first and the last octet asked for; *rate* the octets a second that the
    client takes at most, 0 for all it gets.
    """
    line = f"Range: bytes={span[0]}-{span[1]}\r\n" if span else ""
    buffer = bytearray(1 << 20)
    with socket.create_connection(("127.0.0.1", port), 300) as connection:
        started = time.perf_counter()
        connection.sendall(
            f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{line}Connection: close\r\n\r\n".encode()
        )
        head = b""
        while b"\r\n\r\n" not in head:
            data = connection.recv(65536)
            if not data:
                raise RuntimeError("closed before the end of the head")
            head += data
        first = time.perf_counter() - started
        head, _, rest = head.partition(b"\r\n\r\n")
        octets = len(rest)
        piece = min(len(buffer), int(rate / 20)) if rate else len(buffer)
        # MSG_TRUNC: the kernel throws away what is read instead of copying it.
        while count := connection.recv_into(buffer, piece, socket.MSG_TRUNC):
            octets += count
            if rate:
                ahead = octets / rate - (time.perf_counter() - started)
                if ahead > 0:
                    time.sleep(ahead)
        return int(head.split()[1]), head, octets, first, time.perf_counter() - started


@contextmanager
def running(folder: Path, name: str, size: int) -> Iterator[Server]:
    """*name* before an origin that has one object of *size* octets under any name."""
    folder.mkdir(parents=True, exist_ok=True)
    files = folder / "files"
    files.mkdir(exist_ok=True)
    with (files / "object").open("wb") as file:
        file.truncate(size)
    origin, port = free_port(), free_port()
    origin_http = (
        f"access_log off; sendfile on; server {{ listen 127.0.0.1:{origin}; root {files};"
        " location / { rewrite ^ /object break; } }"
    )
    http = _HTTP.format(folder=folder / name, max_size=4 * size, port=port, origin=origin)
    (folder / name).mkdir(exist_ok=True)
    with ExitStack() as stack:
        started = start_nginx(folder / "origin", origin_http, LOAD_CORE)
        stack.callback(started.stop)
        server = start_nginx(folder / name, http) if name == "nginx" else start_proxy(
            folder / name, http
        )
        stack.callback(server.stop)
        Server("nginx", origin, origin, started).wait_ready()
        ready = Server(name, port, port, server)
        ready.wait_ready()
        yield ready


def measure(folder: Path, name: str, size: int) -> list[Transfer]:
    """Every case of *name* with an object of *size* octets."""
    found: list[Transfer] = []
    with running(folder, name, size) as server, pin_self(LOAD_CORE):
        download(server.port, "/small", (0, 0))

        def one(case: str, path: str, span: tuple[int, int] | None = None, rate: float = 0) -> None:
            pid = server.worker
            before, spent = memory_of(pid, "VmRSS"), cpu_of(pid)
            reset_peak(pid)
            status, head, octets, first, seconds = download(server.port, path, span, rate)
            spent = cpu_of(pid) - spent
            expected = size if span is None else span[1] - span[0] + 1
            if octets != expected:
                raise RuntimeError(f"{name}, {case}: {octets} of {expected} octets came")
            cache = next(
                (x.split(b":")[1].strip().decode() for x in head.split(b"\r\n")
                 if x.lower().startswith(b"x-cache:")), "",
            )
            peak = memory_of(pid, "VmHWM")
            found.append(
                Transfer(name, case, octets, seconds, first, spent, before, peak, status, cache)
            )

        one("cold", "/object")
        wait_for_store(server.port, size)
        one("hit", "/object")
        start = min(size * 9 // 10, size - RANGE)
        one("range", "/object", (start, start + RANGE - 1))
        one("slow", "/slow", rate=found[0].rate / SLOW_SHARE)
    return found


def wait_for_store(port: int, size: int) -> None:
    """Return when the object is a hit: a store is finished after the answer's last octet."""
    deadline = time.monotonic() + 60
    while b"HIT" not in download(port, "/object", (0, 0))[1]:
        if time.monotonic() > deadline:
            raise RuntimeError("the object was not stored")
        time.sleep(0.05)
    os.sync()
