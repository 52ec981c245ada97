"""Origins that are dead, slow, cut short or talk nonsense: the client can always tell."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.client import Connection, Truncated, get, request
from tests.support.origins import Origin, Peer, Seen, origin, reply
from tests.support.ports import free_port
from tests.support.processes import Proxy, proxy, wait_until

pytestmark = pytest.mark.e2e

OPTIONS = (
    "proxy_cache z; proxy_cache_valid any 1m; add_header X-Cache $upstream_cache_status always;"
    " proxy_http_version 1.1; proxy_set_header Connection '';"
    " proxy_read_timeout 500ms; proxy_connect_timeout 1s;"
)


@contextmanager
def before(folder: Path, upstream: int, more: str = "") -> Iterator[tuple[int, Proxy]]:
    """The proxy with a cache that would keep anything, before the origin at a port."""
    port = free_port()
    conf = (
        f"http {{ proxy_cache_path {folder}/zone levels=1:2 keys_zone=z:1m;"
        f" upstream app {{ server 127.0.0.1:{upstream}; keepalive 4; }}"
        f" server {{ listen 127.0.0.1:{port};"
        f" location / {{ {OPTIONS} {more} proxy_pass http://app; }} }} }}\n"
    )
    with proxy(folder, conf, ports=(port,)) as running:
        yield port, running


#: Targets are names here: what an origin sends for each before it closes, whole.
MALFORMED: dict[str, bytes] = {
    "nothing": b"",
    "garbage": b"\x00\xff\x00\xff garbage\r\n\r\n",
    "not-http": b"SSH-2.0-OpenSSH_9.2\r\n",
    "http-0.9": b"<html>hello</html>",
    "no-status": b"HTTP/1.1\r\n\r\n",
    "bad-status": b"HTTP/1.1 2x0 OK\r\nContent-Length: 0\r\n\r\n",
    "status-999999": b"HTTP/1.1 999999 OK\r\nContent-Length: 0\r\n\r\n",
    "cut-in-status": b"HTTP/1.1 20",
    "cut-in-head": b"HTTP/1.1 200 OK\r\nContent-Ty",
    "nul-in-head": b"HTTP/1.1 200 OK\r\nA: b\x00c\r\nContent-Length: 0\r\n\r\n",
    "two-lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "bad-length": b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nab",
    "length-and-chunked": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"2\r\nab\r\n0\r\n\r\n"
    ),
    "huge-head": b"HTTP/1.1 200 OK\r\nA: " + b"a" * 100_000 + b"\r\nContent-Length: 0\r\n\r\n",
    "unasked-101": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
}

#: What an origin sends and then closes: the head is sound, the body is not.
TRUNCATED: dict[str, bytes] = {
    "short-length": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello",
    "short-chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nhello",
    "no-last-chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "bad-chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n",
}


def closing(table: dict[str, bytes]) -> Callable[[Peer, Origin], None]:
    """A script that sends the entry named by the target and closes."""

    def script(peer: Peer, made: Origin) -> None:
        seen = peer.read()
        made.requests.append(seen)
        peer.send(table[seen.target[1:]])

    return script


@pytest.fixture(scope="module")
def malformed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Origin, Proxy]]:
    """One proxy before an origin that sends the entries of the table."""
    with (
        origin(script=closing(MALFORMED)) as app,
        before(tmp_path_factory.mktemp("malformed"), app.port) as (port, running),
    ):
        yield port, app, running


@pytest.fixture(scope="module")
def truncated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Origin]]:
    """One proxy before an origin that cuts its answers short."""
    with (
        origin(script=closing(TRUNCATED)) as app,
        before(tmp_path_factory.mktemp("truncated"), app.port) as (port, _),
    ):
        yield port, app


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_response_is_502(malformed: tuple[int, Origin, Proxy], name: str) -> None:
    """RFC 9110 §15.6.3: an answer that is none becomes 502, and is not kept."""
    port, app, _ = malformed
    for _ in range(2):
        response = get(port, f"/{name}")
        assert response.status == 502
        assert response.get("X-Cache") == "MISS"
    assert app.count(f"/{name}") >= 2


@pytest.mark.parametrize("name", TRUNCATED)
def test_truncation_is_visible_and_never_kept(truncated: tuple[int, Origin], name: str) -> None:
    """RFC 9111 §3.3, RFC 9112 §8: cut short for the origin, cut short for the client."""
    port, app = truncated
    for _ in range(2):
        with Connection(port) as connection:
            connection.send(request(f"/{name}"))
            try:
                response = connection.response()
            except Truncated:
                continue
            # Buffered whole before a byte went out: then it may be 502, but never a 200.
            assert response.status == 502
    assert app.count(f"/{name}") == 2


def test_nobody_listens(tmp_path: Path) -> None:
    """A refused connection is 502 at once, with an error page that names no internals."""
    with before(tmp_path, free_port()) as (port, _):
        response = get(port, "/")
    assert response.status == 502
    assert b"Traceback" not in response.body
    assert response.get("Content-Type") == "text/html"


def test_slow_origin_is_504(tmp_path: Path) -> None:
    """``proxy_read_timeout``: an origin that says nothing is 504, and its connection is closed."""
    gone = threading.Event()

    def script(peer: Peer, made: Origin) -> None:
        peer.read()
        if peer.receive() == b"":
            gone.set()

    with origin(script=script) as app, before(tmp_path, app.port) as (port, _):
        assert get(port, "/").status == 504
        assert gone.wait(20)


def test_origin_that_stalls_in_the_body(tmp_path: Path) -> None:
    """A stall after the head cannot be a status any more; the client sees the cut."""

    def script(peer: Peer, made: Origin) -> None:
        peer.read()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello")
        made.ended.wait(30)

    with (
        origin(script=script) as app,
        before(tmp_path, app.port, "proxy_buffering off;") as (port, _),
        Connection(port) as connection,
    ):
        connection.send(request("/"))
        with pytest.raises(Truncated):
            connection.response()


def test_interim_responses_pass_or_are_dropped_but_never_kept(tmp_path: Path) -> None:
    """RFC 9110 §15.2: what follows the 1xx is the answer."""

    def script(peer: Peer, made: Origin) -> None:
        while True:
            made.requests.append(peer.read())
            peer.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n")
            peer.send(reply(b"answer"))

    with origin(script=script) as app, before(tmp_path, app.port) as (port, _):
        assert get(port, "/").body == b"answer"
        second = get(port, "/")
        assert (second.body, second.interim) == (b"answer", [])
        assert second.get("X-Cache") == "HIT"
    assert len(app.requests) == 1


def test_body_until_close(tmp_path: Path) -> None:
    """RFC 9112 §6.3 item 8: an answer without length ends with the connection, and may be kept."""

    def script(peer: Peer, made: Origin) -> None:
        made.requests.append(peer.read())
        peer.send(b"HTTP/1.0 200 OK\r\n\r\nuntil the end")

    with origin(script=script) as app, before(tmp_path, app.port) as (port, _):
        assert get(port, "/").body == b"until the end"
        assert get(port, "/").body == b"until the end"


def test_connections_are_kept_and_reused(tmp_path: Path) -> None:
    """``keepalive``: many requests, one connection."""
    with (
        origin(lambda seen: reply(seen.target.encode())) as app,
        before(tmp_path, app.port) as (port, _),
        Connection(port) as connection,
    ):
        for number in range(20):
            assert connection.ask(f"/{number}").body == f"/{number}".encode()
        assert app.connections == 1


def stale(peer: Peer, made: Origin) -> None:
    """Answer the first request of a connection; the second finds it closed without a word."""
    made.requests.append(peer.read())
    peer.send(reply(b"answer", Cache_Control="no-store"))
    made.requests.append(peer.read())


def test_a_stale_connection_is_replaced(tmp_path: Path) -> None:
    """RFC 9112 §9.3.1: GET is sent again on a fresh connection, unseen by the client."""
    with (
        origin(script=stale) as app,
        before(tmp_path, app.port) as (port, _),
        Connection(port) as connection,
    ):
        for number in range(3):
            assert connection.ask(f"/{number}").body == b"answer"
    assert [seen.target for seen in app.requests] == ["/0", "/1", "/1", "/2", "/2"]


def test_a_post_is_not_sent_twice(tmp_path: Path) -> None:
    """RFC 9110 §9.2.2: once sent, a request that is not idempotent is not repeated."""
    with (
        origin(script=stale) as app,
        before(tmp_path, app.port) as (port, _),
        Connection(port) as connection,
    ):
        assert connection.ask("/first").body == b"answer"
        connection.send(request("/post", "POST", Content_Length="4") + b"once")
        assert connection.response().status == 502
    assert app.count("/post") == 1


def test_excess_bytes_spoil_a_connection(tmp_path: Path) -> None:
    """Bytes after an answer are never taken for the answer to the next request."""

    def script(peer: Peer, made: Origin) -> None:
        made.requests.append(peer.read())
        peer.send(reply(b"good", Cache_Control="no-store") + reply(b"evil"))
        made.requests.append(peer.read())
        peer.send(reply(b"again", Cache_Control="no-store"))

    with (
        origin(script=script) as app,
        before(tmp_path, app.port) as (port, _),
        Connection(port) as connection,
    ):
        assert [connection.ask(f"/{n}").body for n in range(3)] == [b"good"] * 3
    assert app.connections == 3


def test_hop_by_hop_fields_stop_here(tmp_path: Path) -> None:
    """RFC 9110 §7.6.1: fields of one connection, named or known, cross in neither direction."""

    def answer(seen: Seen) -> bytes:
        return reply(b"", Connection="X-Private", X_Private="a", Keep_Alive="timeout=5", X_Open="b")

    with origin(answer) as app, before(tmp_path, app.port) as (port, _):
        response = get(
            port, "/", Connection="keep-alive, X-Secret", X_Secret="a", TE="trailers", X_Open="b"
        )
    (seen,) = app.requests
    for name in ("X-Secret", "TE", "Keep-Alive", "Upgrade"):
        assert seen.get(name) is None
    assert seen.get("X-Open") == response.get("X-Open") == "b"
    assert response.get("X-Private") is None


def test_expiry_and_renewal(tmp_path: Path) -> None:
    """``proxy_cache_valid``: fresh is HIT, afterwards EXPIRED with a new copy."""
    with (
        origin(lambda seen: reply(b"x", Cache_Control="max-age=1")) as app,
        before(tmp_path, app.port) as (port, _),
    ):
        assert get(port, "/").get("X-Cache") == "MISS"
        statuses: list[str | None] = []

        def expired() -> bool:
            statuses.append(get(port, "/").get("X-Cache"))
            return statuses[-1] == "EXPIRED"

        wait_until(expired, "expiry", step=0.1)
        assert get(port, "/").get("X-Cache") == "HIT"
        assert set(statuses) == {"HIT", "EXPIRED"}
        assert len(app.requests) == 2


def test_a_full_or_lost_folder_does_not_stop_service(tmp_path: Path) -> None:
    """A zone whose folder vanishes: requests are still answered."""
    with (
        origin(lambda seen: reply(b"x" * 100_000, Cache_Control="max-age=60")) as app,
        before(tmp_path, app.port) as (port, running),
    ):
        assert get(port, "/first").status == 200
        shutil.rmtree(tmp_path / "zone", ignore_errors=True)
        for number in range(5):
            assert len(get(port, f"/{number}").body) == 100_000
        assert running.process.poll() is None


def test_nothing_was_logged_as_a_fault(malformed: tuple[int, Origin, Proxy]) -> None:
    """Malformed answers are the origin's fault, not an exception of ours."""
    _, _, running = malformed
    assert "Traceback" not in running.output
    assert "Unhandled" not in running.output
