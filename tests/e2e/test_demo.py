"""``make run``'s demonstration, started as a user starts it."""

from __future__ import annotations

import json
import re
import signal
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.client import Connection, get
from tests.support.ports import free_port
from tests.support.processes import TOP, Daemon, accepts, environment, wait_until

pytestmark = pytest.mark.e2e

RUN = TOP / "examples" / "demo" / "run.py"


def test_demo_serves_and_stops(tmp_path: Path) -> None:
    """HTTPS with a cache, the redirect, a static file; Ctrl-C ends every process."""
    http, https = free_port(), free_port()
    running = Daemon(
        [sys.executable, str(RUN), "--http-port", str(http), "--https-port", str(https),
         "--run-dir", str(tmp_path / "run")],
        tmp_path / "demo.log",
        tmp_path,
    )  # fmt: skip
    try:
        running.wait_ready(lambda: "Ctrl-C" in running.output, "the demonstration")
        assert f"https://localhost:{https}/" in running.output
        context = ssl.create_default_context(cafile=str(tmp_path / "run" / "localhost.pem"))
        with Connection(https, context=context, server_name="localhost") as connection:
            first, second = (connection.ask("/", host=f"localhost:{https}") for _ in range(2))
            css = connection.ask("/static/site.css")
            missing = connection.ask("/nowhere")
            seen = connection.ask("/headers")
        assert (first.get("X-Proxy-Cache"), second.get("X-Proxy-Cache")) == ("MISS", "HIT")
        assert re.search(rb"made this page 1 times", second.body)
        assert css.get("Content-Type") == "text/css"
        assert missing.status == 404
        assert ["X-Forwarded-Proto", "https"] in json.loads(seen.body)["fields"]
        redirect = get(http, "/json?a=b")
        assert redirect.status == 301
        assert redirect.get("Location") == f"https://localhost:{https}/json?a=b"
    finally:
        status = running.stop(signal.SIGINT)
    assert status == 0, running.output
    wait_until(lambda: not accepts(https) and not accepts(http), "both ports are closed")


def test_demo_names_a_taken_port(tmp_path: Path) -> None:
    """A port in use is said plainly, with what to type instead."""
    with socket.create_server(("0.0.0.0", 0)) as taken:
        port = taken.getsockname()[1]
        result = subprocess.run(
            [sys.executable, str(RUN), "--https-port", str(port), "--http-port", str(free_port()),
             "--run-dir", str(tmp_path)],
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )  # fmt: skip
    assert result.returncode == 1
    assert f"port {port} cannot be used" in result.stderr
    assert "make run HTTPS_PORT=" in result.stderr
