"""The origin of the benchmark: an nginx with files of a known size under any number of names."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.servers import LOAD_CORE, Server, page, start_nginx
from tests.support.ports import free_port

__all__ = ["SIZES", "origin", "random_sizes", "unique_urls"]

#: How many different random sizes there are.
SIZES = 64


def random_sizes() -> list[int]:
    """Octets, from 1 KB to 1 MB, as many in each doubling; the same in each run."""
    chosen = random.Random(2)
    return [int(1024 * 2 ** chosen.uniform(0, 10)) for _ in range(SIZES)]


@contextmanager
def origin(folder: Path) -> Iterator[Server]:
    """``/NAME/anything`` is the file NAME: 1k, or size-0 … with ``random_sizes``."""
    files = folder / "files"
    files.mkdir(parents=True)
    (files / "1k").write_bytes(page(1024))
    for number, size in enumerate(random_sizes()):
        (files / f"size-{number}").write_bytes(page(size))
    port = free_port()
    http = (
        "types {} default_type text/html; access_log off; keepalive_requests 100000000;"
        " open_file_cache max=1000; sendfile on; etag off;"
        f" server {{ listen 127.0.0.1:{port} backlog=4096; root {files};"
        " location / { rewrite ^/([^/]+)/ /$1 break; } }"
    )
    process = start_nginx(folder / "origin", http, LOAD_CORE)
    try:
        server = Server("nginx", port, port, process)
        server.wait_ready()
        yield server
    finally:
        process.stop()


def unique_urls(folder: Path, names: int) -> Path:
    """A script for wrk whose requests never name a URL twice; ``-H 'X-Run: …'`` tells runs apart.

    With *names* above 0 the files are ``size-0`` … in turn, else ``1k``.
    """
    name = f'"size-" .. (n * 37 % {names})' if names else '"1k"'
    script = folder / f"unique-{names}.lua"
    script.write_text(
        "local n = 0\n"
        "request = function()\n"
        "   n = n + 1\n"
        f'   local file = {name}\n'
        '   return wrk.format("GET", "/" .. file .. "/" .. wrk.headers["X-Run"] .. "/" .. n)\n'
        "end\n"
    )
    return script
