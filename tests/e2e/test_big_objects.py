"""A body that is larger than memory should ever hold: streamed, stored, read again, bounded."""

from __future__ import annotations

import os
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.zone.objects import download, memory_of, reset_peak
from tests.support.ports import free_port
from tests.support.processes import Proxy, proxy, wait_until

pytestmark = pytest.mark.e2e

MB = 1 << 20
SIZE = 256 * MB
#: How much the process may grow, whatever passes through it: batches on their way to the disk,
#: buffers of both sockets, chunks read ahead.
GROWTH = 32 * MB
#: ``proxy_max_temp_file_size`` here.
TEMPORARY = 8 * MB
#: What may be on its way besides the temporary file: buffers of the kernel and of the proxy.
ON_ITS_WAY = 24 * MB


class BigOrigin:
    """Sends *size* bytes to whoever asks, as fast as they are taken, and counts them."""

    def __init__(self) -> None:
        self.sent = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  # closed by close()
        self._file.truncate(SIZE)
        for number in range(SIZE // MB):
            # Each megabyte starts with its number; the rest is a hole.
            os.pwrite(self._file.fileno(), number.to_bytes(4, "big"), number * MB)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while True:
            connection, _ = self._listening.accept()
            with connection:
                head = b""
                while b"\r\n\r\n" not in head and (data := connection.recv(65536)):
                    head += data
                if not head:
                    return
                try:
                    self._answer(connection)
                except OSError:
                    continue

    def _answer(self, connection: socket.socket) -> None:
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nCache-Control: max-age=600\r\n"
            b"Connection: close\r\n\r\n" % SIZE
        )
        self.sent = 0
        while self.sent < SIZE:
            self.sent += os.sendfile(connection.fileno(), self._file.fileno(), self.sent, MB)

    def close(self) -> None:
        """End the thread: a connection that asks nothing."""
        socket.create_connection(("127.0.0.1", self.port)).close()
        self._thread.join()
        self._listening.close()
        self._file.close()


@contextmanager
def standing(folder: Path, more: str = "") -> Iterator[tuple[BigOrigin, int, Proxy]]:
    """The proxy with a zone, before a ``BigOrigin``."""
    origin, port = BigOrigin(), free_port()
    conf = (
        f"http {{ proxy_cache_path {folder}/zone levels=1:2 keys_zone=z:1m max_size=1g"
        f" use_temp_path=off; server {{ listen 127.0.0.1:{port};"
        f" location / {{ proxy_cache z; proxy_http_version 1.1; {more}"
        " add_header X-Cache $upstream_cache_status;"
        f" proxy_pass http://127.0.0.1:{origin.port}; }} }} }}\n"
    )
    try:
        with proxy(folder, conf, ports=(port,)) as running:
            yield origin, port, running
    finally:
        origin.close()


def stored(port: int, path: str) -> bool:
    """Whether *path* is a hit by now."""
    return b"X-Cache: HIT" in download(port, path, (0, 0))[1]


def numbers(port: int, span: tuple[int, int]) -> tuple[bytes, bytes]:
    """(head, body) of a range."""
    with socket.create_connection(("127.0.0.1", port), 30) as connection:
        connection.sendall(
            b"GET /big HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            b"Range: bytes=%d-%d\r\n\r\n" % span
        )
        data = b""
        while piece := connection.recv(MB):
            data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    return head, body


def test_memory_is_bounded_for_a_fast_client(tmp_path: Path) -> None:
    """Miss and store, hit from disk, range far inside: the process grows by no body."""
    with standing(tmp_path) as (_, port, running):
        before = memory_of(running.pid, "VmRSS")
        reset_peak(running.pid)
        status, head, received, _, _ = download(port, "/big")
        assert (status, received) == (200, SIZE)
        assert b"X-Cache: MISS" in head
        wait_until(lambda: stored(port, "/big"), "the object is stored")
        status, head, received, _, _ = download(port, "/big")
        assert (status, received) == (200, SIZE)
        assert b"X-Cache: HIT" in head
        start = SIZE - 3 * MB
        head, body = numbers(port, (start, start + MB + 3))
        assert head.startswith(b"HTTP/1.1 206") and b"X-Cache: HIT" in head
        assert len(body) == MB + 4
        assert body[:4] == (start // MB).to_bytes(4, "big")
        assert body[-4:] == (start // MB + 1).to_bytes(4, "big")
        assert memory_of(running.pid, "VmHWM") - before < GROWTH


def test_memory_and_temporary_file_are_bounded_for_a_slow_client(tmp_path: Path) -> None:
    """Of what is not stored, who stops reading holds the origin up once the file is full."""
    more = f"proxy_no_cache 1; proxy_buffering on; proxy_max_temp_file_size {TEMPORARY // MB}m;"
    with standing(tmp_path, more) as (origin, port, running):
        before = memory_of(running.pid, "VmRSS")
        reset_peak(running.pid)
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, MB)
            client.settimeout(30)
            client.connect(("127.0.0.1", port))
            client.sendall(b"GET /slow HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert client.recv(65536).startswith(b"HTTP/1.1 200")
            seen = [-1]

            def held() -> bool:
                seen.append(origin.sent)
                return origin.sent > TEMPORARY and seen[-1] == seen[-2]

            wait_until(held, "the origin is held up", step=0.25)
            assert origin.sent < TEMPORARY + ON_ITS_WAY
            received = 0
            while piece := client.recv_into(bytearray(MB), MB, socket.MSG_TRUNC):
                received += piece
        # The head and what came with it were read before.
        assert SIZE - 65536 <= received <= SIZE
        assert memory_of(running.pid, "VmHWM") - before < GROWTH


def test_slow_client_holds_up_neither_store_nor_memory(tmp_path: Path) -> None:
    """What is stored comes at the disk's pace; the client reads it from there."""
    with standing(tmp_path) as (_, port, running):
        before = memory_of(running.pid, "VmRSS")
        reset_peak(running.pid)
        with socket.create_connection(("127.0.0.1", port), 30) as client:
            client.sendall(b"GET /big HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert client.recv(65536).startswith(b"HTTP/1.1 200")
            wait_until(lambda: stored(port, "/big"), "the object is stored")
            received = 0
            while piece := client.recv_into(bytearray(MB), MB, socket.MSG_TRUNC):
                received += piece
        assert SIZE - 65536 <= received <= SIZE
        assert memory_of(running.pid, "VmHWM") - before < GROWTH
