"""WebSocket through the proxy, at the level of bytes (RFC 6455)."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.client import Connection, Response, request
from tests.support.origins import Origin, Peer, origin, reply
from tests.support.ports import free_port
from tests.support.processes import proxy, wait_until

pytestmark = pytest.mark.e2e

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def accept_of(key: str) -> str:
    """The accept value that answers a key (RFC 6455 §4.2.2)."""
    return base64.b64encode(hashlib.sha1(key.encode() + GUID).digest()).decode()


def frame(payload: bytes, opcode: int = 2) -> bytes:
    """A masked client frame; the mask is zero, so the payload stays readable."""
    size = len(payload)
    if size < 126:
        head = bytes([0x80 | opcode, 0x80 | size])
    elif size < 65536:
        head = bytes([0x80 | opcode, 0x80 | 126]) + size.to_bytes(2, "big")
    else:
        head = bytes([0x80 | opcode, 0x80 | 127]) + size.to_bytes(8, "big")
    return head + b"\0\0\0\0" + payload


def echo(peer: Peer, made: Origin) -> None:
    """Accept the handshake on ``/ws/``, speak first, then send back every byte."""
    seen = peer.read()
    made.requests.append(seen)
    key = seen.get("Sec-WebSocket-Key")
    if seen.target != "/ws/" or key is None or (seen.get("Upgrade") or "").lower() != "websocket":
        peer.send(reply(b"no", "403 Forbidden"))
        return
    peer.send(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept_of(key).encode() + b"\r\n\r\nfirst"
    )
    while data := peer.receive():
        peer.send(data)


def answer_at_the_end(peer: Peer, made: Origin) -> None:
    """Accept the handshake, read until the client has finished, and answer only then."""
    seen = peer.read()
    key = seen.get("Sec-WebSocket-Key") or ""
    peer.send(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept_of(key).encode() + b"\r\n\r\n"
    )
    received = 0
    while data := peer.receive():
        received += len(data)
    peer.send(b"%d bytes;" % received + b"x" * 1_000_000)


@dataclass
class Front:
    """The proxy's port and the origin."""

    port: int
    app: Origin


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A configuration as nginx's manual has it for WebSocket."""
    port = free_port()
    with origin(script=echo) as app:
        conf = (
            f"http {{ server {{ listen 127.0.0.1:{port}; location / {{"
            f" proxy_pass http://127.0.0.1:{app.port}; proxy_http_version 1.1;"
            f" proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;"
            f" proxy_read_timeout 2s; }} }} }}\n"
        )
        with proxy(tmp_path_factory.mktemp("websocket"), conf, ports=(port,)):
            yield Front(port, app)


def shake(connection: Connection, target: str = "/ws/", early: bytes = b"") -> tuple[Response, str]:
    """Send a handshake, *early* bytes right behind it; the answer's head and the key."""
    key = base64.b64encode(os.urandom(16)).decode()
    fields = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec_WebSocket_Key": key,
        "Sec_WebSocket_Version": "13",
    }
    connection.send(request(target, **fields) + early)
    return connection.head(), key


def test_handshake_and_echo(front: Front) -> None:
    """101 with the right accept value, then bytes in both directions, large ones too."""
    with Connection(front.port) as connection:
        head, key = shake(connection)
        assert head.status == 101
        assert head.get("Sec-WebSocket-Accept") == accept_of(key)
        assert (head.get("Upgrade") or "").lower() == "websocket"
        assert (head.get("Connection") or "").lower() == "upgrade"
        assert connection.exactly(5) == b"first"
        for payload in (b"", b"hello", os.urandom(1000), os.urandom(200_000)):
            data = frame(payload)
            connection.send(data)
            assert connection.exactly(len(data)) == data


def test_either_end_may_close(front: Front) -> None:
    """The client's end of the stream reaches the origin, whose end reaches the client."""
    with Connection(front.port) as connection:
        shake(connection)
        assert connection.exactly(5) == b"first"
        connection.socket.shutdown(1)
        assert connection.closed()


def test_rest_arrives_after_the_client_has_finished(tmp_path: Path) -> None:
    """Half-close: the end of what the client sends is not the end of what it gets."""
    port = free_port()
    with origin(script=answer_at_the_end) as app:
        arguments = ["--upstream", f"http://127.0.0.1:{app.port}", "--listen", str(port)]
        with proxy(tmp_path, arguments=arguments, ports=(port,)), Connection(port) as connection:
            assert shake(connection)[0].status == 101
            connection.send(b"a" * 200_000)
            connection.socket.shutdown(1)
            assert connection.exactly(13 + 1_000_000) == b"200000 bytes;" + b"x" * 1_000_000
            assert connection.closed()


def test_refusal_is_an_ordinary_answer(front: Front) -> None:
    """Any answer but 101 is relayed, and no byte of the client is taken for a frame before it."""
    before = len(front.app.requests)
    with Connection(front.port) as connection:
        head, _ = shake(connection, "/other", early=frame(b"too early"))
        assert head.status == 403
    assert len(front.app.requests) == before + 1


def test_idle_tunnel_is_closed(front: Front) -> None:
    """``proxy_read_timeout`` bounds silence in a tunnel as nginx's does."""
    with Connection(front.port) as connection:
        shake(connection)
        assert connection.exactly(5) == b"first"
        assert connection.closed()


def test_many_tunnels(front: Front) -> None:
    """Tunnels do not disturb each other, and all are freed."""
    connections = [Connection(front.port) for _ in range(20)]
    try:
        for connection in connections:
            assert shake(connection)[0].status == 101
            assert connection.exactly(5) == b"first"
        for number, connection in enumerate(connections):
            connection.send(frame(b"%d" % number))
        for number, connection in enumerate(connections):
            data = frame(b"%d" % number)
            assert connection.exactly(len(data)) == data
    finally:
        for connection in connections:
            connection.close()


def test_quick_start_passes_websocket(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The one-line front needs no word about WebSocket."""
    port = free_port()
    with origin(script=echo) as app:
        arguments = ["--upstream", f"http://127.0.0.1:{app.port}", "--listen", str(port)]
        folder = tmp_path_factory.mktemp("quick")
        with proxy(folder, arguments=arguments, ports=(port,)), Connection(port) as connection:
            head, key = shake(connection)
            assert head.status == 101
            assert head.get("Sec-WebSocket-Accept") == accept_of(key)
            assert connection.exactly(5) == b"first"
            connection.send(frame(b"hello"))
            assert connection.exactly(11) == frame(b"hello")
        wait_until(lambda: len(app.requests) == 1, "the origin was asked once")
