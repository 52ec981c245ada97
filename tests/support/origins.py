"""Origins in a thread: one that records and answers, one that sends any bytes at all."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

__all__ = ["Origin", "Peer", "Seen", "origin", "reply"]


@dataclass
class Seen:
    """One request as the origin received it."""

    method: str
    target: str
    version: str
    fields: list[tuple[str, str]]
    body: bytes = b""
    connection: int = 0

    def all(self, name: str) -> list[str]:
        """The values of every field called *name*."""
        return [value for other, value in self.fields if other.lower() == name.lower()]

    def get(self, name: str) -> str | None:
        """The first value of *name*."""
        return next(iter(self.all(name)), None)


class Gone(Exception):
    """The proxy closed the connection."""


class Peer:
    """The origin's end of one connection."""

    def __init__(self, connection: socket.socket, number: int) -> None:
        self.socket = connection
        self.number = number
        self._buffer = b""

    def send(self, data: bytes) -> None:
        """Send *data*; raises ``OSError`` where the proxy has gone."""
        self.socket.sendall(data)

    def receive(self) -> bytes:
        """Some bytes, empty at the end."""
        if self._buffer:
            data, self._buffer = self._buffer, b""
            return data
        try:
            return self.socket.recv(65536)
        except OSError:
            return b""

    def _more(self) -> None:
        try:
            data = self.socket.recv(65536)
        except OSError:
            data = b""
        if not data:
            raise Gone
        self._buffer += data

    def _line(self) -> bytes:
        while b"\r\n" not in self._buffer:
            self._more()
        line, self._buffer = self._buffer.split(b"\r\n", 1)
        return line

    def _exactly(self, size: int) -> bytes:
        data = bytearray(self._buffer[:size])
        self._buffer = self._buffer[size:]
        while len(data) < size:
            self._more()
            missing = size - len(data)
            data += self._buffer[:missing]
            self._buffer = self._buffer[missing:]
        return bytes(data)

    def read_head(self) -> Seen:
        """Read a request's head; raises ``Gone`` at the end of the connection."""
        method, _, rest = self._line().decode("latin-1").partition(" ")
        target, _, version = rest.rpartition(" ")
        seen = Seen(method, target, version, [], connection=self.number)
        while line := self._line():
            name, _, value = line.decode("latin-1").partition(":")
            seen.fields.append((name, value.strip()))
        return seen

    def read_body(self, seen: Seen) -> None:
        """Read the body that the head announces."""
        if seen.get("Transfer-Encoding") == "chunked":
            while size := int(self._line().split(b";")[0], 16):
                seen.body += self._exactly(size)
                self._exactly(2)
            while self._line():
                pass
        else:
            seen.body = self._exactly(int(seen.get("Content-Length") or 0))

    def read(self) -> Seen:
        """Read one whole request."""
        seen = self.read_head()
        self.read_body(seen)
        return seen


#: Answers one request: the bytes to send, or None to close the connection at once.
Answer = Callable[[Seen], "bytes | None"]


@dataclass
class Origin:
    """A listening origin: *requests* in the order of arrival, *connections* accepted so far."""

    port: int
    requests: list[Seen] = field(default_factory=list)
    connections: int = 0
    #: Set when the test ends; scripts that wait for something wait on this too.
    ended: threading.Event = field(default_factory=threading.Event)

    def count(self, target: str) -> int:
        """How many requests for *target* arrived."""
        return sum(seen.target == target for seen in self.requests)


def reply(
    body: bytes = b"", status: str = "200 OK", *, framed: bool = True, **fields: str
) -> bytes:
    """The bytes of a response; ``_`` in a field's name stands for ``-``."""
    lines = [f"HTTP/1.1 {status}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    if framed:
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body


def _serve(peer: Peer, made: Origin, answer: Answer) -> None:
    while True:
        seen = peer.read()
        made.requests.append(seen)
        data = answer(seen)
        if data is None:
            return
        peer.send(data)
        closing = b"connection: close" in data.split(b"\r\n\r\n", 1)[0].lower()
        if closing or seen.version == "HTTP/1.0" or seen.get("Connection") == "close":
            return


@contextmanager
def origin(
    answer: Answer | None = None, *, script: Callable[[Peer, Origin], None] | None = None
) -> Iterator[Origin]:
    """An origin on a free port: *answer* per request, or *script* per connection."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    made = Origin(listener.getsockname()[1])
    open_sockets: set[socket.socket] = set()
    threads: list[threading.Thread] = []

    def connected(connection: socket.socket, number: int) -> None:
        peer = Peer(connection, number)
        try:
            if script is not None:
                script(peer, made)
            else:
                assert answer is not None
                _serve(peer, made, answer)
        except (Gone, OSError):
            pass
        finally:
            open_sockets.discard(connection)
            connection.close()

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            if made.ended.is_set():
                connection.close()
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            made.connections += 1
            open_sockets.add(connection)
            thread = threading.Thread(
                target=connected, args=(connection, made.connections), daemon=True
            )
            threads.append(thread)
            thread.start()

    acceptor = threading.Thread(target=accept, daemon=True)
    acceptor.start()
    try:
        yield made
    finally:
        made.ended.set()
        # A blocked accept() is woken by a connection, not by closing the socket.
        try:
            socket.create_connection(("127.0.0.1", made.port), 1).close()
        except OSError:
            pass
        acceptor.join(5)
        listener.close()
        for connection in list(open_sockets):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        for thread in threads:
            thread.join(5)
