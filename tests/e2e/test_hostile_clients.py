"""Clients that err, lie, dawdle or leave: each gets its answer, and the proxy goes on."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.client import Connection, get, request
from tests.support.origins import Origin, Peer, Seen, origin, reply
from tests.support.ports import free_port
from tests.support.processes import Proxy, proxy, wait_until

pytestmark = pytest.mark.e2e

MEGABYTE = 1 << 20


@dataclass
class Front:
    """The proxy, its port and the origin behind it."""

    port: int
    app: Origin
    running: Proxy


def echo(seen: Seen) -> bytes:
    """The request's target and body, or a summary where it is asked for."""
    if seen.target == "/digest":
        return reply(hashlib.sha256(seen.body).hexdigest().encode())
    return reply(f"{seen.method} {seen.target} ".encode() + seen.body)


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A proxy with short limits that passes everything on."""
    folder = tmp_path_factory.mktemp("clients")
    (folder / "shared").mkdir()
    (folder / "shared/public").write_text("public")
    (folder / "secret").write_text("secret")
    port = free_port()
    with origin(echo) as app:
        conf = (
            f"http {{ client_header_timeout 1s; client_body_timeout 1s; keepalive_timeout 2s;"
            f" client_max_body_size 64m; large_client_header_buffers 4 8k;"
            f" upstream app {{ server 127.0.0.1:{app.port}; keepalive 4; }}"
            f" server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://app;"
            f" proxy_http_version 1.1; proxy_set_header Connection ''; }}"
            f" location /small/ {{ client_max_body_size 10; proxy_pass http://app; }}"
            f" location ~ ^/capture/(.*)$ {{ proxy_pass http://127.0.0.1:{app.port}/$1; }}"
            f" location ~ ^/moved/(.*)$ {{ return 302 /there/$1; }}"
            f" location ~ ^/marked/(.*)$ {{ add_header X-Mark $1; return 200 marked; }}"
            f" location /svc {{ proxy_pass http://app/inner/; }}"
            f" location ~ ^/part/x(.*)$ {{ proxy_pass http://127.0.0.1:{app.port}/inner/$1; }}"
            f" location /files {{ alias {folder}/shared/; }}"
            f" location ~ ^/named/x(.*)$ {{ alias {folder}/shared/$1; }}"
            f" location /tried/ {{ try_files /absent /svc$arg_to; }}"
            f" location = /local {{ return 200 local; }} }} }}\n"
        )
        with proxy(folder, conf, ports=(port,)) as running:
            yield Front(port, app, running)


HOST = b"Host: localhost\r\n"
#: name → (bytes, status). The connection is closed after each of them.
MALFORMED: dict[str, tuple[bytes, int]] = {
    "no version": (b"GET /\r\n\r\n", 400),
    "garbage": (b"\x00\x01\x02\x03\r\n\r\n", 400),
    "a TLS hello": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 64 + b"\r\n\r\n", 400),
    "method with a colon": (b"GE:T / HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "two spaces in the line": (b"GET /a b HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "version 2.0 in text": (b"GET / HTTP/2.0\r\n" + HOST + b"\r\n", 505),
    "version 3.1": (b"GET / HTTP/3.1\r\n" + HOST + b"\r\n", 505),
    "not HTTP": (b"GET / FTP/1.1\r\n" + HOST + b"\r\n", 400),
    "no Host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two Hosts": (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    "bad Host": (b"GET / HTTP/1.1\r\nHost: a/../b\r\n\r\n", 400),
    "space before the colon": (b"GET / HTTP/1.1\r\n" + HOST + b"A : b\r\n\r\n", 400),
    "folded field": (b"GET / HTTP/1.1\r\n" + HOST + b"A: b\r\n c\r\n\r\n", 400),
    "NUL in a value": (b"GET / HTTP/1.1\r\n" + HOST + b"A: b\x00c\r\n\r\n", 400),
    "CR in a value": (b"GET / HTTP/1.1\r\n" + HOST + b"A: b\rc\r\n\r\n", 400),
    "field without colon": (b"GET / HTTP/1.1\r\n" + HOST + b"nocolon\r\n\r\n", 400),
    "CL and TE": (
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"0\r\n\r\n",
        400,
    ),
    "two lengths": (
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        400,
    ),
    "negative length": (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n\r\n", 400),
    "signed length": (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: +1\r\n\r\na", 400),
    "hex length": (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 0x1\r\n\r\na", 400),
    "endless length": (
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: " + b"9" * 40 + b"\r\n\r\n",
        400,
    ),
    "unknown coding": (
        b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        501,
    ),
    "chunked not last": (
        b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        400,
    ),
    "disguised chunked": (
        b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        501,
    ),
    "chunked in 1.0": (
        b"POST / HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "line too long": (b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
    "field too long": (b"GET / HTTP/1.1\r\n" + HOST + b"A: " + b"a" * 40_000 + b"\r\n\r\n", 431),
    "too many fields": (
        b"GET / HTTP/1.1\r\n" + HOST + b"".join(b"A%d: b\r\n" % n for n in range(5000)) + b"\r\n",
        431,
    ),
    "body too large": (
        b"POST /small/ HTTP/1.1\r\n" + HOST + b"Content-Length: 11\r\n\r\nhello world",
        413,
    ),
    "chunked body too large": (
        b"POST /small/ HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
        b"b\r\nhello world\r\n0\r\n\r\n",
        413,
    ),
    "bad chunk size": (
        b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nab\r\n0\r\n\r\n",
        400,
    ),
    "endless chunk size": (
        b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 40 + b"\r\n",
        400,
    ),
    "chunk longer than it says": (
        b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n",
        400,
    ),
    "bare LF in chunked": (
        b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n2\nab\n0\n\n",
        400,
    ),
    "CONNECT": (b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n", 405),
    "TRACE": (b"TRACE / HTTP/1.1\r\n" + HOST + b"\r\n", 405),
    "unsound escape": (b"GET /%zz HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "NUL by escape": (b"GET /a%00b HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "above the root": (b"GET /../../etc/passwd HTTP/1.1\r\n" + HOST + b"\r\n", 400),
}
#: nginx answers these with 400 "Request Header Or Cookie Too Large"; RFC 6585 has 431.
EITHER = {431: {400, 431}, 501: {400, 501}, 505: {400, 505}, 405: {400, 405, 501}}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_request_is_answered_and_closed(front: Front, name: str) -> None:
    """RFC 9112 §2.2, §3, §5, §6, §7: the right status, no more than one answer, the end."""
    data, status = MALFORMED[name]
    before = len(front.app.requests)
    with Connection(front.port) as connection:
        # What follows the faulty message must not be taken for a request.
        connection.send(data + request("/smuggled"))
        response = connection.response()
        assert response.status in EITHER.get(status, {status})
        if response.status not in (413, 405):
            assert response.get("Connection") == "close"
            assert connection.closed()
    targets = [seen.target for seen in front.app.requests[before:]]
    assert [target for target in targets if target != "/smuggled" or status not in (413, 405)] == []
    assert get(front.port, "/local").body == b"local"


@pytest.mark.parametrize("place", ["capture", "moved", "marked"])
def test_decoded_line_ends_split_nothing(front: Front, place: str) -> None:
    """A capture holds decoded bytes; CR, LF and spaces in it never make a field or a request."""
    before = len(front.app.requests)
    target = f"/{place}/a%20b%0d%0aX-Evil:%20yes%0d%0a%0d%0aGET%20/smuggled%20HTTP/1.1%0d%0a"
    with Connection(front.port) as connection:
        response = connection.ask(target)
        assert response.get("X-Evil") is None
    for seen in front.app.requests[before:]:
        assert seen.get("X-Evil") is None
        assert seen.version in ("HTTP/1.0", "HTTP/1.1")
        assert " " not in seen.target
        assert seen.target != "/smuggled"


@pytest.mark.parametrize("size", [1, 2, 7])
def test_any_split_is_the_same_request(front: Front, size: int) -> None:
    """A request that arrives in small pieces is the same request."""
    data = request("/split", "POST", Content_Length="5") + b"hello"
    with Connection(front.port) as connection:
        for start in range(0, len(data), size):
            connection.send(data[start : start + size])
        assert connection.response().body == b"POST /split hello"


def test_pipelined_requests_are_answered_in_order(front: Front) -> None:
    """RFC 9112 §9.3.2: many requests in one write, the answers in their order."""
    targets = [f"/{number}" if number % 3 else "/local" for number in range(60)]
    with Connection(front.port) as connection:
        connection.send(b"".join(request(target) for target in targets))
        answers = [connection.response().body for _ in targets]
    expected = [b"local" if t == "/local" else f"GET {t} ".encode() for t in targets]
    assert answers == expected


def test_pipelined_body_belongs_to_its_request(front: Front) -> None:
    """The bytes of a body are never read as the next request."""
    inner = request("/inner")
    with Connection(front.port) as connection:
        connection.send(
            request("/outer", "POST", Content_Length=str(len(inner))) + inner + request("/after")
        )
        assert connection.response().body == b"POST /outer " + inner
        assert connection.response().body == b"GET /after "
    assert front.app.count("/inner") == 0


@pytest.mark.parametrize("chunked", [False, True])
def test_expect_100_continue(front: Front, chunked: bool) -> None:
    """RFC 9110 §10.1.1: the client waits for 100 and then sends a large body."""
    body = os.urandom(5 * MEGABYTE)
    framing = {"Transfer_Encoding": "chunked"} if chunked else {"Content_Length": str(len(body))}
    data = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if chunked else body
    with Connection(front.port) as connection:
        connection.send(request("/digest", "POST", Expect="100-continue", **framing))
        assert connection.head().status == 100
        connection.send(data)
        response = connection.response()
    assert response.body == hashlib.sha256(body).hexdigest().encode()


def test_expect_is_not_invited_where_it_is_refused(front: Front) -> None:
    """A body over the limit gets 413 instead of 100."""
    with Connection(front.port) as connection:
        connection.send(
            request("/small/", "POST", Expect="100-continue", Content_Length=str(MEGABYTE))
        )
        assert connection.head().status == 413


def test_http_1_0_client(front: Front) -> None:
    """An HTTP/1.0 client gets no chunked coding and the end of the connection."""
    with Connection(front.port) as connection:
        connection.send(b"GET /old HTTP/1.0\r\nHost: localhost\r\n\r\n")
        response = connection.response()
        assert response.body == b"GET /old "
        assert response.get("Transfer-Encoding") is None
        assert connection.closed()


def test_http_1_0_keep_alive(front: Front) -> None:
    """An HTTP/1.0 client that asks for it keeps its connection."""
    with Connection(front.port) as connection:
        for _ in range(2):
            connection.send(b"GET /local HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")
            response = connection.response()
            assert (response.body, response.get("Connection")) == (b"local", "keep-alive")


def test_connection_close_is_honoured(front: Front) -> None:
    """RFC 9112 §9.6: the answer to ``Connection: close`` is the last."""
    with Connection(front.port) as connection:
        response = connection.ask("/x", Connection="close")
        assert response.get("Connection") == "close"
        assert connection.closed()


@pytest.mark.parametrize(
    "data",
    [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: loc", request("/x", "POST", Content_Length="9")],
    ids=["nothing", "part of the line", "part of the head", "no body"],
)
def test_slow_clients_are_let_go(front: Front, data: bytes) -> None:
    """``client_header_timeout``, ``client_body_timeout``: 408 or the end, never a wait for ever."""
    with Connection(front.port) as connection:
        connection.send(data)
        answer = connection.rest()
    assert answer == b"" or answer.startswith(b"HTTP/1.1 408 ")


def test_idle_connections_are_closed(front: Front) -> None:
    """``keepalive_timeout``: an idle connection ends by itself."""
    with Connection(front.port) as connection:
        assert connection.ask("/local").body == b"local"
        assert connection.closed()


def test_keepalive_requests_bounds_a_connection(tmp_path: Path) -> None:
    """``keepalive_requests 3``: the third answer is the last and says so."""
    port = free_port()
    conf = (
        f"http {{ keepalive_requests 3; server {{ listen 127.0.0.1:{port};"
        f" location / {{ return 200 a; }} }} }}\n"
    )
    with proxy(tmp_path, conf, ports=(port,)), Connection(port) as connection:
        fields = [connection.ask("/").get("Connection") for _ in range(3)]
        assert fields == ["keep-alive", "keep-alive", "close"]
        assert connection.closed()


def test_large_answer_to_a_slow_reader_stays_bounded(tmp_path: Path) -> None:
    """Back-pressure: 64 MB for a client that does not read do not become 64 MB of memory."""
    port, size = free_port(), 64 * MEGABYTE
    block = os.urandom(MEGABYTE)
    sent = threading.Event()

    def script(peer: Peer, made: Origin) -> None:
        peer.read()
        peer.send(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode())
        for _ in range(size // MEGABYTE):
            peer.send(block)
        sent.set()
        made.ended.wait(30)

    for name, option in (("spill", "proxy_buffering on"), ("direct", "proxy_buffering off")):
        sent.clear()
        with origin(script=script) as app:
            conf = (
                f"http {{ server {{ listen 127.0.0.1:{port}; {option};"
                f" location / {{ proxy_pass http://127.0.0.1:{app.port}; }} }} }}\n"
            )
            with (
                proxy(tmp_path / name, conf, ports=(port,)) as running,
                Connection(port, receive_buffer=65536) as connection,
            ):
                before = running.rss()
                connection.send(request("/"))
                connection.head()
                if name == "spill":
                    # The origin is freed at its own speed, the rest waits in a file.
                    assert sent.wait(30)
                else:
                    connection.exactly(4 * MEGABYTE)
                    assert not sent.is_set()
                assert running.rss() - before < 24 * MEGABYTE
                rest = size if name == "spill" else size - 4 * MEGABYTE
                digest = hashlib.sha256()
                for _ in range(rest // MEGABYTE):
                    digest.update(connection.exactly(MEGABYTE))
                expected = hashlib.sha256(block * (rest // MEGABYTE))
                assert digest.digest() == expected.digest()
                assert running.rss() - before < 24 * MEGABYTE


def test_large_upload_to_a_slow_origin_stays_bounded(tmp_path: Path) -> None:
    """Unbuffered upload: an origin that does not read stops the client, not the proxy."""
    port, size = free_port(), 48 * MEGABYTE
    go = threading.Event()
    got: list[int] = []

    def script(peer: Peer, made: Origin) -> None:
        seen = peer.read_head()
        go.wait(30)
        peer.read_body(seen)
        got.append(len(seen.body))
        peer.send(reply(b"thanks"))

    with origin(script=script) as app:
        conf = (
            f"http {{ client_max_body_size 0; server {{ listen 127.0.0.1:{port};"
            f" proxy_request_buffering off; proxy_http_version 1.1;"
            f" location / {{ proxy_pass http://127.0.0.1:{app.port}; }} }} }}\n"
        )
        with proxy(tmp_path, conf, ports=(port,)) as running, Connection(port) as connection:
            before = running.rss()
            connection.send(request("/", "POST", Content_Length=str(size)))
            connection.socket.settimeout(1.0)
            data, sent = b"x" * size, 0
            with pytest.raises(TimeoutError):
                while sent < size:
                    sent += connection.socket.send(data[sent : sent + MEGABYTE])
            assert running.rss() - before < 24 * MEGABYTE
            go.set()
            connection.socket.settimeout(30)
            connection.send(data[sent:])
            assert connection.response().body == b"thanks"
    assert got == [size]


def test_many_clients_at_once(tmp_path: Path) -> None:
    """200 clients with a megabyte each: all whole, memory and descriptors bounded."""
    port = free_port()
    body = os.urandom(MEGABYTE)
    with origin(lambda seen: reply(body, Cache_Control="max-age=60")) as app:
        conf = (
            f"http {{ proxy_cache_path {tmp_path}/zone keys_zone=z:1m; server {{"
            f" listen 127.0.0.1:{port}; location / {{ proxy_cache z;"
            f" proxy_pass http://127.0.0.1:{app.port}; }} }} }}\n"
        )
        with proxy(tmp_path, conf, ports=(port,)) as running:
            get(port, "/page")
            descriptors, before = running.descriptors(), running.rss()
            clients = [Connection(port) for _ in range(200)]
            try:
                for client in clients:
                    client.send(request("/page"))
                assert all(client.response().body == body for client in clients)
                assert running.rss() - before < 200 * MEGABYTE
            finally:
                for client in clients:
                    client.close()
            wait_until(lambda: running.descriptors() <= descriptors + 8, "descriptors are freed")
            assert app.count("/page") == 1


def test_a_client_that_leaves_frees_the_origin(tmp_path: Path) -> None:
    """``proxy_ignore_client_abort off``: the origin's work ends with its reader."""
    port = free_port()
    left = threading.Event()

    def script(peer: Peer, made: Origin) -> None:
        peer.read()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nfirst")
        if peer.receive() == b"":
            left.set()

    with origin(script=script) as app:
        conf = (
            f"http {{ server {{ listen 127.0.0.1:{port}; proxy_buffering off;"
            f" location / {{ proxy_pass http://127.0.0.1:{app.port}; }} }} }}\n"
        )
        with proxy(tmp_path, conf, ports=(port,)):
            with Connection(port) as connection:
                connection.send(request("/"))
                connection.head()
                assert connection.exactly(5) == b"first"
            assert left.wait(20)


def test_reset_in_the_middle_is_survived(front: Front) -> None:
    """A client that resets the connection, before or within its request, hurts nobody."""
    for data in (b"", b"GET /", request("/x", "POST", Content_Length="100") + b"abc"):
        connection = Connection(front.port)
        connection.send(data)
        linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        connection.close()
    assert get(front.port, "/local").body == b"local"


def test_nothing_was_logged_as_a_fault(front: Front) -> None:
    """After all of the above the log shows no exception (runs last in this file)."""
    assert "Traceback" not in front.running.output
    assert "Unhandled" not in front.running.output


@pytest.mark.parametrize(
    "target",
    [
        "/svc../x",
        "/svc%2e%2e/x",
        "/svc.%2e/x",
        "/svc..%2fx",
        "//svc../x",
        "/a/../svc../x",
        "/svc../../svc../x",
        "/svc..;/x",
        "/svc/..;/x",
        "/svc..%5cx",
        "/part/x../x",
        "/part/x%2e%2e/x",
        "/part/x%252e%252e/x",
        "/part/x..;a=b/x",
        "/tried/?to=../x",
        "/tried/?to=../../../x",
        "/files../secret",
        "/files%2e%2e/secret",
        "/named/x../secret",
        "/named/x%2e%2e%2fsecret",
    ],
)
def test_no_path_climbs_above_what_replaces_the_prefix(front: Front, target: str) -> None:
    """The origin's other paths, and files beside a folder, cannot be reached through it."""
    asked = len(front.app.requests)
    response = get(front.port, target)
    assert response.status == 404
    assert len(front.app.requests) == asked
    assert b"secret" not in response.body


def test_paths_below_what_replaces_the_prefix(front: Front) -> None:
    """Dots that are part of a name, or lead nowhere outside, are no fault."""
    for target, found in (
        ("/svc/a/../b", b"GET /inner//b "),
        ("/svc/..x/...", b"GET /inner//..x/... "),
        ("/svc%252e%252e/x", b"GET /inner/%252e%252e/x "),
        ("/part/xa..b/c", b"GET /inner/a..b/c "),
        ("/files/public", b"public"),
        ("/named/xpublic", b"public"),
    ):
        response = get(front.port, target)
        assert (response.status, response.body) == (200, found), target


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(("body", "status"), [(b"ZZ\r\n", 400), (b"20\r\n" + b"x" * 32, 413)])
@pytest.mark.parametrize("pause", [0.0, 0.1])
def test_refused_body_while_the_cache_asks_the_origin(
    tmp_path: Path, method: str, body: bytes, status: int, pause: float
) -> None:
    """The client has its error at once; what the origin sends is stored, and nothing is logged."""
    answer = threading.Event()

    def slow(seen: Seen) -> bytes:
        answer.wait(10)
        return reply(b"page", Cache_Control="max-age=60")

    port = free_port()
    with origin(slow) as app:
        conf = (
            f"error_log stderr; http {{ client_max_body_size 16; proxy_cache_path {tmp_path}/z"
            f" keys_zone=z:1m; server {{ listen 127.0.0.1:{port}; location / {{"
            f" proxy_pass http://127.0.0.1:{app.port}; proxy_cache z; }} }} }}\n"
        )
        with proxy(tmp_path, conf, ports=(port,)) as running:
            head = f"{method} /slow HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            with Connection(port) as client, Connection(port) as other:
                client.send(head.encode() + (b"" if pause else body))
                if pause:
                    wait_until(lambda: app.requests, "the request reaches the origin")
                    client.send(body)
                assert client.receive().startswith(b"HTTP/1.1 %d " % status)
                other.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
                answer.set()
                assert other.response().body == b"page"
            found = get(port, "/slow", host="a")
            assert "hit" in (found.get("Cache-Status") or "")
            assert len(app.requests) == 1
            output = running.output
    assert "Traceback" not in output and "[error]" not in output and "Fatal" not in output
