"""Clients that read along while one response is fetched, with real threads and a real disk."""

from __future__ import annotations

import hashlib
import queue
from pathlib import Path

import pytest

from tests.support.client import Connection, get, request
from tests.support.origins import Origin, Peer, origin
from tests.support.ports import free_port
from tests.support.processes import proxy

pytestmark = pytest.mark.e2e

#: Sent a piece at a time; more than the writer gathers in memory, not a multiple of it.
PIECE = bytes(at * 31 % 253 for at in range(150_001))
PIECES = 12


@pytest.mark.parametrize("memory", ["memory=0", "memory=64m"])
def test_many_read_along(tmp_path: Path, memory: str) -> None:
    """Early and late, all have what has come so far, and the whole in the end: one request."""
    turns: queue.Queue[int] = queue.Queue()

    def script(peer: Peer, made: Origin) -> None:
        made.requests.append(peer.read())
        head = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: %d\r\n\r\n"
        peer.send(head % (len(PIECE) * PIECES))
        for _ in range(PIECES):
            turns.get(timeout=20)
            peer.send(PIECE)

    with origin(script=script) as made:
        port = free_port()
        conf = (
            f"http {{ proxy_cache_path {tmp_path}/zone levels=1:2 keys_zone=z:1m {memory};"
            f" server {{ listen 127.0.0.1:{port}; add_header X-Cache $upstream_cache_status;"
            f" location / {{ proxy_cache z; proxy_pass http://127.0.0.1:{made.port}; }} }} }}\n"
        )
        with proxy(tmp_path, conf, ports=(port,)):
            clients: list[tuple[Connection, hashlib._Hash]] = []
            for turn in range(PIECES):
                for _ in range(8 if turn < PIECES - 1 else 0):
                    client = Connection(port)
                    client.send(request("/big", Connection="close"))
                    clients.append((client, hashlib.md5(usedforsecurity=False)))
                turns.put(turn)
                if turn == PIECES // 2:
                    # Nothing more comes until who is here has all that has come.
                    for client, seen in clients:
                        assert client.head().status == 200
                        seen.update(client.exactly(len(PIECE) * (turn + 1)))
            whole = hashlib.md5(PIECE * PIECES, usedforsecurity=False).digest()
            for number, (client, seen) in enumerate(clients):
                done = turn_of(number, PIECES // 2)
                if not done:
                    client.head()
                seen.update(client.exactly(len(PIECE) * (PIECES - done)))
                assert seen.digest() == whole
                assert client.receive() == b""
                client.close()
            assert made.count("/big") == 1
            again = get(port, "/big")
            assert (again.get("X-Cache"), again.body) == ("HIT", PIECE * PIECES)


def turn_of(number: int, middle: int) -> int:
    """How many pieces client *number* had read when the middle was reached."""
    return middle + 1 if number < 8 * (middle + 1) else 0
