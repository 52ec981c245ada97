"""``proxy_store`` beside nginx: the same files, with the same content, mode and time."""

from __future__ import annotations

import stat
import threading
import time
from collections.abc import Iterator
from functools import partial

import pytest

from tests.differential.sides import Side, ask, build, compare, pair
from tests.support.client import Connection
from tests.support.origins import Origin, Seen, reply
from tests.support.processes import NGINX, wait_until

pytestmark = [
    pytest.mark.differential,
    pytest.mark.skipif(NGINX is None, reason="nginx is not on the PATH"),
]

CONF = """
access_log off;
default_type text/plain;
proxy_http_version 1.0;
server {
    listen 127.0.0.1:@PORT@;
    server_name localhost;

    location / { root @DIR@/data; error_page 404 = /fetch$uri; log_not_found off; }
    location /fetch/ {
        internal;
        proxy_pass http://127.0.0.1:@ORIGIN@/;
        proxy_store on;
        proxy_store_access user:rw group:rw all:r;
        alias @DIR@/data/;
    }
    location /fence/ {
        root @DIR@;
        proxy_store on;
        proxy_pass http://127.0.0.1:@ORIGIN@;
    }
    location /direct/ {
        root @DIR@/root;
        proxy_store on;
        proxy_pass http://127.0.0.1:@ORIGIN@;
    }
    location /named/ {
        root @DIR@/named;
        try_files $uri @fetch;
    }
    location @fetch {
        root @DIR@/named;
        proxy_store on;
        proxy_store_access all:r;
        proxy_pass http://127.0.0.1:@ORIGIN@;
    }
    location /text/ {
        proxy_store @DIR@/text/$arg_name.txt;
        proxy_store_access group:r;
        proxy_pass http://127.0.0.1:@ORIGIN@;
    }
    location /off/ {
        root @DIR@/off;
        proxy_store on;
        location /off/inner/ { proxy_store off; proxy_pass http://127.0.0.1:@ORIGIN@; }
    }
    location /unbuffered/ {
        root @DIR@/unbuffered;
        proxy_buffering off;
        proxy_store on;
        proxy_pass http://127.0.0.1:@ORIGIN@;
    }
    location /intercepted/ {
        root @DIR@/intercepted;
        proxy_intercept_errors on;
        error_page 404 = /direct/instead;
        proxy_store on;
        proxy_pass http://127.0.0.1:@ORIGIN@;
    }
}
"""

MODIFIED = "Tue, 14 Nov 2023 22:13:20 GMT"
LARGE = bytes(range(256)) * 4096 * 3
#: Set when the client of ``slow`` has left.
GONE = threading.Event()


def answer(made: Origin, seen: Seen) -> bytes | None:
    """What the last segment of the path asks for."""
    last = seen.target.partition("?")[0].rpartition("/")[2]
    body = f"{seen.method} {last} {made.count(seen.target)}\n".encode()
    if seen.method == "HEAD":
        body = b""
    if last == "204":
        return reply(status="204 No Content", framed=False)
    if last.isdigit():
        return reply(body, f"{last} Status")
    if last == "undated":
        return reply(body)
    if last == "badly-dated":
        return reply(body, Last_Modified="yesterday")
    if last == "large":
        return reply(LARGE, Last_Modified=MODIFIED)
    if last == "slow":
        GONE.wait(20)
        return reply(LARGE)
    if last == "empty":
        return reply(b"", Last_Modified=MODIFIED)
    if last == "cut":
        return reply(body * 2, Content_Length=str(len(body) * 3), framed=False)
    if last == "unframed":
        return reply(body, framed=False, Connection="close")
    if last == "private":
        return reply(body, Cache_Control="private, no-store", Set_Cookie="a=b")
    if last == "accel":
        return reply(body, X_Accel_Redirect="/direct/elsewhere")
    if last == "unbuffered-wish":
        return reply(body, X_Accel_Buffering="no")
    if last == "part" and seen.get("Range"):
        return reply(b"T", "206 Partial Content", Content_Range="bytes 2-2/9")
    if last == "missing":
        return reply(body, "404 Not Found")
    # What is served from the file must not hang on the second in which it was made.
    return reply(body, Last_Modified=MODIFIED)


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Side, Side]]:
    """nginx and the proxy, in this order."""
    with pair(tmp_path_factory.mktemp("store"), CONF, answer) as both:
        yield both


def tree(side: Side) -> dict[str, tuple[bytes | None, int, float]]:
    """Content, mode and (old) time of everything below the folders that are stored in."""
    found: dict[str, tuple[bytes | None, int, float]] = {}
    for name in ("data", "root", "named", "text", "off", "unbuffered", "intercepted"):
        top = side.folder / name
        for path in [top, *top.rglob("*")] if top.exists() else []:
            status = path.stat()
            mode = stat.S_IMODE(status.st_mode)
            old = status.st_mtime if time.time() - status.st_mtime > 86400 else 0.0
            content = path.read_bytes() if path.is_file() else None
            found[str(path.relative_to(side.folder))] = (content, mode, old if content else 0.0)
    return found


Step = tuple[object, ...]
#: name → requests, in order; afterwards both have stored the same.
SEQUENCES: dict[str, list[Step]] = {
    "fetched, then served": [("/a/page",), ("/a/page",), ("/a/page", "HEAD")],
    "with a query": [("/a/query?x=1",), ("/a/query?x=2",)],
    "undated": [("/direct/undated",)],
    "badly dated": [("/direct/badly-dated",)],
    "large": [("/a/large",), ("/a/large",)],
    "empty": [("/a/empty",), ("/a/empty",)],
    "deep": [("/a/b/c/d/e",), ("/a/b/c/d/e",)],
    "escaped": [("/a/%20x%25%2Fy",), ("/a/%20x%25%2Fy",)],
    "dots": [("/a/../b/./dots",), ("/b/dots",)],
    "default mode": [("/direct/a",), ("/direct/a",)],
    "stored again": [("/direct/b",), ("/direct/b",)],
    "to a named location": [("/named/a",), ("/named/a",)],
    "to text": [("/text/a?name=one",), ("/text/b?name=sub/two",)],
    "off": [("/off/inner/a",)],
    "until the end": [("/direct/unframed",)],
    "cut short": [("/direct/cut",)],
    "private": [("/direct/private",)],
    "HEAD": [("/direct/head", "HEAD")],
    "a range": [("/direct/part", "GET", {"Range": "bytes=2-2"})],
    "204": [("/direct/204",)],
    "206": [("/direct/206",)],
    "301": [("/direct/301",)],
    "404": [("/direct/404",)],
    "404 fetched": [("/a/missing",)],
    "500": [("/direct/500",)],
    "a folder's name": [("/direct/folder/",)],
    "where a file is a folder": [("/direct/file",), ("/direct/file/below",)],
    "where a folder is": [("/direct/over/file",), ("/direct/over",)],
    "elsewhere": [("/direct/accel",)],
    "intercepted": [("/intercepted/missing",)],
    "not buffered by wish": [("/direct/unbuffered-wish",)],
    "not buffered": [("/unbuffered/a",)],
    "a post": [("/direct/posted", "POST", {}, "a")],
    "a get with a body": [("/direct/with-body", "GET", {}, "a")],
    "a name too long": [("/direct/" + "a" * 300,)],
}  # fmt: skip


#: Files that nginx has after a sequence and we have not (``nginx``), or the other way round.
DIFFERENT = {
    # RFC 9110 §9.3.2: the answer to HEAD says nothing of the content; nginx makes a file of it.
    "HEAD": {"nginx": {"root/direct/head"}},
    # RFC 9110 §9.3.3: the file is what GET gets from then on.
    "a post": {"nginx": {"root/direct/posted"}},
    "a get with a body": {"nginx": {"root/direct/with-body"}},
    # nginx stores what it buffers.
    "not buffered by wish": {"proxy": {"root/direct/unbuffered-wish"}},
    "not buffered": {
        "proxy": {"unbuffered", "unbuffered/unbuffered", "unbuffered/unbuffered/a"}
    },
}  # fmt: skip


@pytest.fixture
def known(sides: tuple[Side, Side]) -> tuple[set[str], ...]:
    """What each had before the test."""
    return tuple(set(tree(side)) for side in sides)


@pytest.mark.parametrize("name", SEQUENCES)
def test_sequence(sides: tuple[Side, Side], known: tuple[set[str], ...], name: str) -> None:
    """The answers are the same, and the files that they leave."""
    for step in SEQUENCES[name]:
        data, method = build(*step)  # type: ignore[arg-type]
        theirs, ours = (ask(side.port, data, method) for side in sides)
        compare(sides, (theirs, ours))
        settle(sides)
    different = DIFFERENT.get(name, {})
    made = []
    for side, before, own in zip(sides, known, ("nginx", "proxy"), strict=True):
        found = {path: what for path, what in tree(side).items() if path not in before}
        for path in different.get(own, set()):
            assert found.pop(path, None) is not None, f"{own} does not store {path}"
        made.append(found)
    assert made[1] == made[0]


#: Every path that only one of the two has.
ONE_SIDED = {path for sets in DIFFERENT.values() for paths in sets.values() for path in paths}


def agree(sides: tuple[Side, Side]) -> bool:
    """Whether both have the same files, but for those that are to differ."""
    theirs, ours = (tree(side) for side in sides)
    return all(
        theirs.get(path) == ours.get(path) for path in {*theirs, *ours} if path not in ONE_SIDED
    )


def settle(sides: tuple[Side, Side]) -> None:
    """Wait until what is being stored is: what was asked for later is there, and all agrees."""
    for side in sides:
        number = len(side.app.requests)
        data, method = build(f"/fence/n{number}")
        ask(side.port, data, method)
        wait_until((side.folder / f"fence/n{number}").exists, "a file to be stored")
    wait_until(partial(agree, sides), "the same files on both sides", 5)


def test_a_client_that_leaves(sides: tuple[Side, Side]) -> None:
    """What is being stored is read to its end although the client has gone."""
    for side in sides:
        data, _ = build("/direct/slow")
        with Connection(side.port) as connection:
            connection.send(data)
            wait_until(partial(side.app.count, "/direct/slow"), "the request")
    GONE.set()
    for side in sides:
        path = side.folder / "root/direct/slow"
        wait_until(path.exists, "the file")
        assert path.read_bytes() == LARGE
