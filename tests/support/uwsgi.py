"""The server's side of the uwsgi protocol, and a real uWSGI where it is installed."""

from __future__ import annotations

import json
import shutil
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.processes import Daemon, accepts, environment

__all__ = ["UWSGI", "Packet", "UwsgiOrigin", "decode_packet", "echo", "uwsgi", "uwsgi_origin"]

#: The server's program, beside this interpreter or on the PATH; None where it is missing.
UWSGI = shutil.which("uwsgi", path=str(Path(sys.executable).parent)) or shutil.which("uwsgi")


@dataclass
class Packet:
    """One request as an application server reads it; *rest* is what follows the packet."""

    modifier1: int
    modifier2: int
    variables: list[tuple[bytes, bytes]]
    rest: bytes = b""

    @property
    def environ(self) -> dict[str, str]:
        """The variables by name, as text; a repeated one has its last value."""
        return {name.decode("latin-1"): value.decode("latin-1") for name, value in self.variables}


def decode_packet(data: bytes) -> Packet | None:
    """The packet at the start of *data*; None while it is not whole."""
    size = int.from_bytes(data[1:3], "little")
    if len(data) < 4 + size:
        return None
    block, position = data[4 : 4 + size], 0
    parts: list[bytes] = []
    while position < size:
        length = int.from_bytes(block[position : position + 2], "little")
        position += 2 + length
        assert position <= size, "a variable reaches beyond its packet"
        parts.append(block[position - length : position])
    assert len(parts) % 2 == 0, "a name without a value"
    variables = list(zip(parts[::2], parts[1::2], strict=True))
    return Packet(data[0], data[3], variables, data[4 + size :])


def echo(packet: Packet) -> bytes:
    """A response that shows what the application saw."""
    body = json.dumps({"environ": packet.environ, "body": packet.rest.decode("latin-1")}).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + body


@dataclass
class UwsgiOrigin:
    """A listening server: its *port*, and every request in the order of arrival."""

    port: int
    packets: list[Packet] = field(default_factory=list)


@contextmanager
def uwsgi_origin(answer: Callable[[Packet], bytes] = echo) -> Iterator[UwsgiOrigin]:
    """A uwsgi server in a thread: one request a connection, then it closes."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    made = UwsgiOrigin(listener.getsockname()[1])
    ended = threading.Event()

    def serve() -> None:
        while True:
            connection, _ = listener.accept()
            with connection:
                if ended.is_set():
                    return
                connection.settimeout(10)
                packet = _read(connection)
                if packet is not None:
                    made.packets.append(packet)
                    connection.sendall(answer(packet))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        ended.set()
        socket.create_connection(("127.0.0.1", made.port), 1).close()
        thread.join(15)
        listener.close()


def _length(packet: Packet) -> int:
    return int(packet.environ.get("CONTENT_LENGTH") or 0)


def _read(connection: socket.socket) -> Packet | None:
    """One request with its body, whose length CONTENT_LENGTH says."""
    data = b""
    while True:
        packet = decode_packet(data)
        if packet is not None and len(packet.rest) >= _length(packet):
            return packet
        piece = connection.recv(65536)
        if not piece:
            return packet
        data += piece


@contextmanager
def uwsgi(
    folder: Path,
    module: str,
    code: Path,
    *,
    bind: int | Path,
    env: Mapping[str, str] | None = None,
    arguments: Sequence[str] = (),
) -> Iterator[int | Path]:
    """Run uWSGI with the application *module* from the folder *code*."""
    assert UWSGI
    folder.mkdir(parents=True, exist_ok=True)
    target = f"127.0.0.1:{bind}" if isinstance(bind, int) else str(bind)
    running = Daemon(
        [UWSGI, "--socket", target, "--module", module, "--chdir", str(code), "--master",
         "--processes", "1", "--threads", "8", "--die-on-term", "--need-app",
         "--home", sys.prefix, *arguments],
        folder / "uwsgi.log",
        code,
        environment(**{"PYTHONDONTWRITEBYTECODE": "1", **(env or {})}),
    )  # fmt: skip
    try:
        running.wait_ready(lambda: accepts(bind), "uWSGI")
        yield bind
    finally:
        running.stop()
