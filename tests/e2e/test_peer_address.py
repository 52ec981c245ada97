"""Who a client is, by its address, on every reactor: also one that is gone at once."""

from __future__ import annotations

import signal
import socket
import ssl
import struct
from pathlib import Path

import pytest

from tests.support.certificates import make_certificate
from tests.support.client import Connection
from tests.support.ports import free_port
from tests.support.processes import accepts, proxy, wait_until

HASTY = 10


def reset(port: int, data: bytes, host: str = "127.0.0.1") -> None:
    """Connect, send and be gone with a reset, before anyone has accepted."""
    with socket.create_connection((host, port), 10) as client:
        client.send(data)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.parametrize("reactor", ["uvloop", "asyncio", "epoll"])
def test_tcp_client_that_resets_at_once_is_no_unix_client(tmp_path: Path, reactor: str) -> None:
    """``allow unix:`` lets in who came through the UNIX socket, and nobody else."""
    plain, tls, six = free_port(), free_port(), free_port()
    path = tmp_path / "socket"
    made = make_certificate(tmp_path, "localhost")
    conf = (
        f"http {{ log_format peer '$remote_addr $status'; access_log {tmp_path}/peers peer;"
        f" ssl_certificate {made.certificate}; ssl_certificate_key {made.key};"
        f" server {{ listen 127.0.0.1:{plain}; listen 127.0.0.1:{tls} ssl;"
        f" listen [::1]:{six}; listen unix:{path};"
        f" root {tmp_path}; location / {{ allow unix:; deny all; }} }} }}\n"
    )
    hello = ssl.MemoryBIO()
    try:
        ssl.create_default_context().wrap_bio(
            ssl.MemoryBIO(), hello, server_hostname="localhost"
        ).do_handshake()
    except ssl.SSLWantReadError:
        pass
    request = b"GET /site.conf HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with proxy(tmp_path, conf, ports=(plain, tls), reactor=reactor) as running:
        running.send_signal(signal.SIGSTOP)
        first_hello = hello.read()
        for _ in range(HASTY):
            reset(plain, request)
            reset(six, request, "::1")
            reset(tls, first_hello)
            reset(tls, request)
        running.send_signal(signal.SIGCONT)
        wait_until(lambda: accepts(plain), "accepting")
        with Connection(plain) as connection:
            assert connection.ask("/site.conf").status == 403
        with Connection(path) as connection:
            assert connection.ask("/site.conf").status == 200
        running.stop()
    lines = (tmp_path / "peers").read_text().splitlines()
    assert lines.count("unix: 200") == 1
    assert {line for line in lines if line.startswith("unix:")} == {"unix: 200"}
    assert not [line for line in lines if line.endswith(" 200") and not line.startswith("unix:")]
    assert "127.0.0.1 403" in lines
    assert "Traceback" not in running.output
