"""Heads of origins that end their lines with a bare LF, beside nginx: the same answers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.differential.sides import Side, ask, build, compare, pair
from tests.support.origins import Origin, Seen
from tests.support.processes import NGINX

pytestmark = [
    pytest.mark.differential,
    pytest.mark.skipif(NGINX is None, reason="nginx is not on the PATH"),
]

HTTP = """
access_log off;
server {
    listen 127.0.0.1:@PORT@;
    proxy_http_version 1.1;
    location / { proxy_pass http://127.0.0.1:@ORIGIN@; }
}
"""

#: target → what the origin sends.
HEADS: dict[str, bytes] = {
    "/lf": b"HTTP/1.1 200 OK\nContent-Type: text/plain\nContent-Length: 5\n\nhello",
    "/mixed": b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\nContent-Length: 5\r\n\nhello",
    "/lf-then-crlf": b"HTTP/1.1 200 OK\nContent-Length: 5\nA: b\n\r\nhello",
    "/body-like-a-head": b"HTTP/1.1 404 Gone\nX-A: b\nContent-Length: 9\n\n\r\n\r\nhello",
    "/chunked": (
        b"HTTP/1.1 200 OK\nContent-Type: text/plain\nTransfer-Encoding: chunked\n\n"
        b"5\r\nhello\r\n0\r\n\r\n"
    ),
    "/no-content": b"HTTP/1.1 204 No Content\nX-A: b\n\n",
}


def answer(made: Origin, seen: Seen) -> bytes:
    """What the target names."""
    return HEADS[seen.target]


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Side, Side]]:
    """nginx and the proxy, in this order."""
    with pair(tmp_path_factory.mktemp("heads"), HTTP, answer) as both:
        yield both


@pytest.mark.parametrize("target", HEADS)
def test_bare_line_ends(sides: tuple[Side, Side], target: str) -> None:
    """Status, fields and body."""
    data, method = build(target, fields={"Connection": "close"})
    theirs, ours = (ask(side.port, data, method) for side in sides)
    assert ours is not None
    assert ours.status == int(HEADS[target].split()[1])
    compare(sides, (theirs, ours))
