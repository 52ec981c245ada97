"""The processes that are measured, and the origin behind them.

The servers are pinned to the first core, origin and load to the second, so that each
server has one core whatever it would take otherwise.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.certificates import make_certificate
from tests.support.ports import free_port
from tests.support.processes import NGINX, TOP, TWISTD, Daemon, accepts, fill

__all__ = [
    "LOAD_CORE",
    "SERVER_CORE",
    "SIZES",
    "Server",
    "Servers",
    "pin",
    "pin_self",
    "servers",
    "start_nginx",
    "start_proxy",
]

#: Name → bytes of the origin's pages.
SIZES = {"1k": 1 << 10, "10k": 10 << 10, "100k": 100 << 10}
SERVER_CORE, LOAD_CORE = 0, 1


def pin(core: int) -> list[str]:
    """The words before a command that keep it on *core*; none where that cannot be."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if shutil.which("taskset") is None or len(cores) < 2:
        return []
    return ["taskset", "-c", str(cores[core])]


@contextmanager
def pin_self(core: int) -> Iterator[None]:
    """Keep this process on *core* meanwhile, where ``pin`` could."""
    if not pin(core):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {sorted(before)[core]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@dataclass
class Server:
    """A server under load; *worker* is the process whose memory counts."""

    name: str
    port: int
    tls_port: int
    process: Daemon

    @property
    def worker(self) -> int:
        """nginx's only worker, or the process itself."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        found = children.read_text().split() if self.name == "nginx" else []
        return int(found[0]) if found else self.process.pid

    def wait_ready(self) -> None:
        """Return when its ports accept."""
        self.process.wait_ready(lambda: accepts(self.port) and accepts(self.tls_port), self.name)

    def cpu(self) -> float:
        """Seconds of processor time that the worker has used, user and system."""
        stat = Path(f"/proc/{self.worker}/stat").read_text()
        fields = stat.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss(self) -> int:
        """Bytes of resident memory of the worker."""
        for line in Path(f"/proc/{self.worker}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError("no VmRSS")


@dataclass
class Servers:
    """All that a comparison needs."""

    nginx: Server
    proxy: Server
    twisted: Server


def page(size: int) -> bytes:
    """*size* bytes of HTML that compresses about as well as real pages do."""
    parts = ["<!doctype html><title>page</title><ul>\n"]
    length, number = len(parts[0]), 0
    while length < size:
        number += 1
        # A multiplicative hash: different text in each line, the same in each run.
        mixed = (number * 2654435761) & 0xFFFFFFFF
        line = f'<li class="item-{number}"><a href="/item/{mixed:x}">Item {mixed % 9973}</a></li>\n'
        parts.append(line)
        length += len(line)
    return "".join(parts).encode()[:size]


def start_nginx(folder: Path, http: str, core: int = SERVER_CORE) -> Daemon:
    """nginx with *http* as the content of its http block, on *core*."""
    folder.mkdir(exist_ok=True)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "\n".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    user = "user root;" if os.getuid() == 0 else ""
    conf = folder / "nginx.conf"
    conf.write_text(
        f"daemon off;\nworker_processes 1;\nworker_rlimit_nofile 16384;\n{user}\n"
        f"pid {folder}/nginx.pid;\nerror_log {folder}/error.log;\n"
        f"events {{ worker_connections 8192; }}\nhttp {{\n{temporary}\n{http}\n}}\n"
    )
    command = [*pin(core), str(NGINX), "-p", str(folder), "-c", str(conf)]
    return Daemon([*command, "-e", f"{folder}/error.log"], folder / "log", folder)


def start_proxy(folder: Path, http: str) -> Daemon:
    """The proxy with the same."""
    folder.mkdir(exist_ok=True)
    conf = folder / "site.conf"
    conf.write_text(
        f"worker_processes 1;\npid {folder}/proxy.pid;\nerror_log {folder}/error.log;\n"
        f"events {{ worker_connections 8192; }}\nhttp {{\n{http}\n}}\n"
    )
    command = [*pin(SERVER_CORE), *TWISTD, "-n", "--pidfile=", "cacheproxy", "--config", str(conf)]
    return Daemon(command, folder / "log", folder)


def _twisted(folder: Path, port: int, origin_port: int) -> Daemon:
    folder.mkdir(exist_ok=True)
    command = [*pin(SERVER_CORE), sys.executable, "-m", "benchmarks.baseline"]
    return Daemon([*command, str(port), str(origin_port)], folder / "log", TOP)


@contextmanager
def servers(folder: Path) -> Iterator[Servers]:
    """Start everything; every process is ended by its own id afterwards."""
    files = folder / "files"
    files.mkdir()
    for name, size in SIZES.items():
        (files / f"{name}.html").write_bytes(page(size))
    certificate = make_certificate(folder, "localhost")
    template = (Path(__file__).parent / "http.conf").read_text()
    origin_port = free_port()
    origin_http = (
        "types { text/html html; } access_log off; keepalive_requests 100000000;"
        " open_file_cache max=100; sendfile on; etag off;"
        f" server {{ listen 127.0.0.1:{origin_port} backlog=4096; root {files};"
        # A file answers POST as well.
        " error_page 405 =200 $uri; }"
    )

    def http(name: str, port: int, tls_port: int) -> str:
        return fill(
            template,
            {
                "@DIR@": folder / name,
                "@FILES@": files,
                "@ORIGIN@": origin_port,
                "@PORT@": port,
                "@TLS_PORT@": tls_port,
                "@CERTIFICATE@": certificate.certificate,
                "@KEY@": certificate.key,
            },
        )

    with ExitStack() as stack:

        def started(daemon: Daemon, name: str, ports: Sequence[int]) -> Server:
            stack.callback(daemon.stop)
            daemon.wait_ready(lambda: all(accepts(port) for port in ports), name)
            return Server(name, ports[0], ports[-1], daemon)

        started(start_nginx(folder / "origin", origin_http, LOAD_CORE), "nginx", [origin_port])
        ports = [free_port(), free_port()]
        process = start_nginx(folder / "nginx", http("nginx", *ports), SERVER_CORE)
        nginx = started(process, "nginx", ports)
        ports = [free_port(), free_port()]
        process = start_proxy(folder / "proxy", http("proxy", *ports))
        proxy = started(process, "cacheproxy", ports)
        port = free_port()
        twisted = started(_twisted(folder / "twisted", port, origin_port), "twisted.web", [port])
        yield Servers(nginx, proxy, twisted)
