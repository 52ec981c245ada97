"""``examples/purge.conf`` as it is: a real proxy, those who may purge, and those who may not."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.client import Connection, Response
from tests.support.origins import Origin, Seen, origin, reply
from tests.support.ports import free_port
from tests.support.processes import TOP, fill, proxy

pytestmark = pytest.mark.e2e


@dataclass
class Front:
    """The proxy's port and the application behind it."""

    port: int
    app: Origin

    def ask(self, method: str, target: str, *fields: str, source: str = "127.0.0.1") -> Response:
        """One request from *source*."""
        made = Connection.__new__(Connection)
        made._buffer = b""
        made.socket = socket.create_connection(("127.0.0.1", self.port), 20, (source, 0))
        lines = [f"{method} {target} HTTP/1.1", "Host: example.com", *fields]
        with made as connection:
            connection.send(("\r\n".join(lines) + "\r\n\r\n").encode())
            return connection.response(method)

    def body(self, target: str, *fields: str) -> bytes:
        """What a GET from outside gets."""
        return self.ask("GET", target, *fields, source="127.0.0.5").body


@pytest.fixture
def front(tmp_path: Path) -> Iterator[Front]:
    """An application that counts, and tags what it answers with the target's letters."""
    made: list[Origin] = []

    def answer(seen: Seen) -> bytes:
        tags = " ".join(seen.target.strip("/"))
        body = f"{seen.method} {made[0].count(seen.target)}".encode()
        return reply(body, Surrogate_Key=tags, Vary="Accept-Language")

    port = free_port()
    with origin(answer) as app:
        made.append(app)
        conf = fill(
            (TOP / "examples" / "purge.conf").read_text(),
            {
                "/run/cacheproxy": tmp_path,
                "/var/log/cacheproxy": tmp_path,
                "/var/cache/cacheproxy/site": tmp_path / "cache",
                "server 127.0.0.1:8000": f"server 127.0.0.1:{app.port}",
                "listen 80;": f"listen 127.0.0.1:{port};",
            },
        )
        with proxy(tmp_path, conf, ports=(port,)):
            yield Front(port, app)


def test_a_day_in_the_life(front: Front) -> None:
    """By URI, by tag, softly, by prefix; what was answered is true at once."""
    for target in ("/ab", "/bc", "/d/e"):
        assert front.body(target) == front.body(target) == b"GET 1"
    assert front.body("/ab", "Accept-Language: de") == b"GET 2"
    answer = front.ask("PURGE", "/ab")
    assert (answer.status, answer.get("Cache-Purged"), answer.body) == (204, "2", b"")
    assert front.body("/ab") == b"GET 3"
    assert front.ask("PURGE", "/none").status == 404

    assert front.ask("PURGE", "/", "Surrogate-Key: x b").get("Cache-Purged") == "2"
    assert (front.body("/ab"), front.body("/bc"), front.body("/d/e")) == (
        b"GET 4",
        b"GET 2",
        b"GET 1",
    )
    assert front.ask("PURGE", "/bc", "Cache-Purge: soft").status == 204
    assert front.body("/bc") == b"GET 2"  # for the last time

    assert front.ask("PURGE", "/d/*").get("Cache-Purged") == "1"
    assert front.body("/d/e") == b"GET 2"
    assert front.ask("PURGE", "/", "Cache-Purge: all").status == 204
    assert front.body("/ab") == b"GET 5"
    assert "PURGE" not in {seen.method for seen in front.app.requests}


def test_outsiders(front: Front) -> None:
    """403, whatever they send; nothing has gone and nothing came to the application."""
    assert front.body("/ab") == b"GET 1"
    for fields in ((), ("X-Forwarded-For: 127.0.0.1",), ("Cache-Purge: all",)):
        for target in ("/ab", "/*"):
            for method in ("PURGE", "BREW"):
                assert front.ask(method, target, *fields, source="127.0.0.5").status == 403
    assert front.body("/ab") == b"GET 1"
    assert len(front.app.requests) == 1
