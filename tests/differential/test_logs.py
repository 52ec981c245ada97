"""Access logs beside nginx: each kind of ``escape`` with bytes that have to be escaped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.differential.sides import Side, ask, build, pair
from tests.support.origins import Origin, Seen, reply
from tests.support.processes import NGINX, wait_until

pytestmark = [
    pytest.mark.differential,
    pytest.mark.skipif(NGINX is None, reason="nginx is not on the PATH"),
]

FORMAT = (
    "'uri=$uri args=$args a=$arg_a ref=\"$http_referer\" agent=$http_user_agent' "
    "' c=$cookie_c up=$upstream_http_x sent=$sent_http_x none=$http_absent rt=$request_method'"
)
HTTP = f"""
    log_format none escape=none {FORMAT};
    log_format json escape=json {FORMAT};
    log_format default escape=default {FORMAT};
    log_format usual {FORMAT};
    server {{
        listen 127.0.0.1:@PORT@;
        access_log @DIR@/none.log none;
        access_log @DIR@/json.log json;
        access_log @DIR@/default.log default;
        access_log @DIR@/usual.log usual;
        access_log @DIR@/buffered.log none buffer=1k flush=1ms;
        location / {{ proxy_pass http://127.0.0.1:@ORIGIN@; }}
        location /returned {{ return 200 x; }}
    }}
"""
NAMES = ("none", "json", "default", "usual", "buffered")

REQUESTS: dict[str, tuple[object, ...]] = {
    "plain": ("/a?a=b",),
    "quotes and backslashes": ("/%22%5Cx?a=%22", "GET", {"Referer": 'a"b\\c', "User-Agent": "'$x"}),
    "controls": ("/a%0Ab%0Dc%09d%01?a=%0A", "GET", {"User-Agent": "a\tb"}),
    "bytes above 127": ("/%C3%BC%FF?a=\xff", "GET", {"User-Agent": "\xc3\xbc \xff"}),
    "nothing": ("/returned",),
    "cookies": ("/a", "GET", {"Cookie": 'c="q"'}),
}  # fmt: skip


def answer(_: Origin, seen: Seen) -> bytes:
    """With a field that has to be escaped."""
    return reply(b"x", X='o"\\p')


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Side, Side]]:
    """nginx and the proxy, in this order."""
    with pair(tmp_path_factory.mktemp("sides"), HTTP, answer) as both:
        yield both


def lines(side: Side, name: str) -> bytes:
    """What one of the logs holds."""
    path: Path = side.folder / f"{name}.log"
    data = path.read_bytes() if path.exists() else b""
    # nginx writes JSON that is no UTF-8; we replace the bytes that are none.
    return data.decode("utf-8", "replace").encode() if name == "json" else data


@pytest.mark.parametrize("name", REQUESTS)
def test_lines(sides: tuple[Side, Side], name: str) -> None:
    """The same bytes in every log, written raw where nothing is to be escaped."""
    data, method = build(*REQUESTS[name])  # type: ignore[arg-type]
    for side in sides:
        assert ask(side.port, data, method) is not None
    for log in NAMES:
        wait_until(lambda: lines(sides[1], log) == lines(sides[0], log), log, 3)  # noqa: B023
        assert lines(sides[1], log) == lines(sides[0], log), log
