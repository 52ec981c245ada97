"""A client that sends exactly the bytes it is given and reads responses strictly.

Ordinary client libraries repair what they send and forgive what they read; these tests
are about the bytes.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

__all__ = ["Connection", "Response", "Truncated", "get", "request"]

TIMEOUT = 20.0


class Truncated(Exception):
    """The connection ended inside a message."""


@dataclass
class Response:
    """One response as it came; *fields* keep their order and case."""

    version: str
    status: int
    reason: str
    fields: list[tuple[str, str]]
    body: bytes = b""
    trailers: list[tuple[str, str]] = field(default_factory=list)
    interim: list[Response] = field(default_factory=list)

    def all(self, name: str) -> list[str]:
        """The values of every field called *name*."""
        return [value for other, value in self.fields if other.lower() == name.lower()]

    def get(self, name: str) -> str | None:
        """The value of the one field called *name*, None where there is none."""
        values = self.all(name)
        assert len(values) <= 1, f"{name} comes {len(values)} times"
        return values[0] if values else None


class Connection:
    """A connection to a loopback port or UNIX socket; with *context* TLS to *server_name*."""

    def __init__(
        self,
        port: int | Path,
        *,
        context: ssl.SSLContext | None = None,
        server_name: str | None = None,
        timeout: float = TIMEOUT,
        receive_buffer: int | None = None,
    ) -> None:
        unix = isinstance(port, Path)
        plain = socket.socket(socket.AF_UNIX if unix else socket.AF_INET)
        if receive_buffer is not None:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        plain.settimeout(timeout)
        plain.connect(str(port) if unix else ("127.0.0.1", port))
        if not unix:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = context.wrap_socket(plain, server_hostname=server_name) if context else plain
        self._buffer = b""

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send *data*; a peer that has answered and closed already is not an error."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def receive(self) -> bytes:
        """Some more bytes; empty at the end, orderly or not."""
        try:
            return self.socket.recv(65536)
        except (ConnectionResetError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
            return b""

    def _more(self) -> None:
        data = self.receive()
        if not data:
            raise Truncated(self._buffer)
        self._buffer += data

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._buffer:
            self._more()
        taken, self._buffer = self._buffer.split(mark, 1)
        return taken

    def exactly(self, size: int) -> bytes:
        """The next *size* bytes."""
        parts = [self._buffer[:size]]
        self._buffer = self._buffer[size:]
        missing = size - len(parts[0])
        while missing:
            data = self.receive()
            if not data:
                raise Truncated(b"".join(parts))
            parts.append(data[:missing])
            self._buffer += data[missing:]
            missing -= len(parts[-1])
        return b"".join(parts)

    def rest(self) -> bytes:
        """Everything until the peer closes."""
        parts = [self._buffer]
        self._buffer = b""
        while data := self.receive():
            parts.append(data)
        return b"".join(parts)

    def closed(self) -> bool:
        """Whether the peer closes now, with nothing more said."""
        return self.rest() == b""

    def head(self) -> Response:
        """Read one response head."""
        lines = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        version, status, *reason = lines[0].split(" ", 2)
        fields = []
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            assert colon and name and not name[-1].isspace(), f"bad field line {line!r}"
            fields.append((name, value.strip()))
        return Response(version, int(status), reason[0] if reason else "", fields)

    def _chunks(self, response: Response) -> Iterator[bytes]:
        while True:
            size = int(self._until(b"\r\n").split(b";")[0], 16)
            if size == 0:
                while line := self._until(b"\r\n"):
                    name, _, value = line.decode("latin-1").partition(":")
                    response.trailers.append((name, value.strip()))
                return
            yield self.exactly(size)
            assert self.exactly(2) == b"\r\n"

    def response(self, method: str = "GET") -> Response:
        """Read one whole response to *method*, interim ones kept beside it (RFC 9112 §6.3)."""
        interim = []
        response = self.head()
        while 100 <= response.status < 200 and response.status != 101:
            interim.append(response)
            response = self.head()
        response.interim = interim
        if method == "HEAD" or response.status in (101, 204, 304):
            return response
        if response.get("Transfer-Encoding") == "chunked":
            assert response.get("Content-Length") is None
            response.body = b"".join(self._chunks(response))
        elif (length := response.get("Content-Length")) is not None:
            response.body = self.exactly(int(length))
        else:
            response.body = self.rest()
        return response

    def ask(
        self, target: str, method: str = "GET", host: str = "localhost", **more: str
    ) -> Response:
        """Send a request and read its response; ``_`` in a keyword stands for ``-``."""
        self.send(request(target, method, host, **more))
        return self.response(method)


def request(target: str, method: str = "GET", host: str = "localhost", **more: str) -> bytes:
    """The bytes of a request without a body."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in more.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def get(
    port: int, target: str, method: str = "GET", host: str = "localhost", **more: str
) -> Response:
    """One request on a connection of its own."""
    with Connection(port) as connection:
        return connection.ask(target, method, host, **more)
