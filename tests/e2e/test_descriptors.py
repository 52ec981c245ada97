"""More clients than file descriptors: the log says so once, and accepting goes on later."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.client import Connection
from tests.support.ports import free_port
from tests.support.processes import Daemon, accepts, environment, wait_until

LIMIT = 100


@pytest.mark.parametrize("reactor", ["uvloop", "epoll"])
def test_clients_beyond_the_descriptor_limit_wait_and_the_log_says_why(
    tmp_path: Path, reactor: str
) -> None:
    """One line names the limit; those who wait are served once others have gone."""
    port = free_port()
    (tmp_path / "site.conf").write_text(
        f"error_log {tmp_path}/error.log; events {{}}\n"
        f"http {{ server {{ listen 127.0.0.1:{port}; return 200 x; }} }}\n"
    )
    start = (
        f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({LIMIT}, {LIMIT}));"
        "from twisted.scripts.twistd import run; run()"
    )
    command = [sys.executable, "-c", start, f"--reactor={reactor}", "-n", "--pidfile="]
    command += ["cacheproxy", "--config", str(tmp_path / "site.conf")]
    running = Daemon(command, tmp_path / "proxy.log", tmp_path, environment())
    try:
        running.wait_ready(lambda: accepts(port), "the proxy's port")
        log = tmp_path / "error.log"
        with ExitStack() as stack:
            clients = [stack.enter_context(Connection(port)) for _ in range(LIMIT + 50)]
            wait_until(lambda: "accept() is paused" in log.read_text(), "the line")
            assert clients[0].ask("/").status == 200
            waiting = clients[-20:]
            for client in clients[:-20]:
                client.close()
            if reactor != "uvloop":
                # Twisted's ports accept up to a hundred at once, and drop the last of them.
                waiting = [stack.enter_context(Connection(port))]
            for client in waiting:
                assert client.ask("/").status == 200
        lines = [line for line in log.read_text().splitlines() if "accept" in line]
        assert len(lines) == 1
        assert f"of {LIMIT} file descriptors (RLIMIT_NOFILE)" in lines[0]
        assert "Traceback" not in running.output
    finally:
        running.stop()
