"""Which server gets a request, beside nginx: ``hash``, ``hash … consistent``, ``ip_hash``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.differential.sides import Side, ask, build, pair
from tests.support.origins import Seen, origin, reply
from tests.support.processes import NGINX

pytestmark = [
    pytest.mark.differential,
    pytest.mark.skipif(NGINX is None, reason="nginx is not on the PATH"),
]

WEIGHTS = (1, 2, 1, 3)
#: Upstream → what it has before its servers.
METHODS = {
    "round": "",
    "keys": "hash $arg_key;",
    "ring": "hash $arg_key consistent;",
    "addresses": "ip_hash;",
    "least": "least_conn;",
}


def http(ports: list[int]) -> str:
    """One upstream and one location for each method; the last server of each is down."""
    lines = ["server { listen 127.0.0.1:@PORT@;"]
    groups = []
    for name, method in METHODS.items():
        servers = " ".join(
            f"server 127.0.0.1:{port} weight={weight} max_fails=0;"
            for port, weight in zip(ports, WEIGHTS, strict=True)
        )
        dead = "server 127.0.0.1:9 weight=2 down;"
        groups.append(f"upstream {name} {{ {method} {servers} {dead} }}")
        lines.append(f"location /{name} {{ proxy_pass http://{name}; }}")
    return "\n".join([*groups, *lines, "}"])


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Side, Side]]:
    """Both, in front of the same four servers, each of which answers with its number."""

    def number(index: int) -> bytes:
        return reply(str(index).encode())

    with ExitStack() as stack:
        made = [
            stack.enter_context(origin(lambda seen, index=index: number(index)))
            for index in range(len(WEIGHTS))
        ]
        text = http([one.port for one in made])
        folder = tmp_path_factory.mktemp("balancing")
        yield stack.enter_context(pair(folder, text, lambda made, seen: unasked(seen)))


def unasked(seen: Seen) -> bytes:
    """The origin that ``pair`` makes plays no part."""
    raise AssertionError(seen.target)


@pytest.mark.parametrize("name", METHODS)
def test_each_key_goes_to_the_same_server(sides: tuple[Side, Side], name: str) -> None:
    """Two hundred keys, one after the other, through both."""
    found: list[list[bytes]] = []
    for side in sides:
        answers = []
        for key in range(200):
            response = ask(side.port, *build(f"/{name}?key=/page/{key * 7919}"))
            assert response is not None
            assert response.status == 200
            answers.append(response.body)
        found.append(answers)
    assert found[0] == found[1]
    if name != "addresses":
        assert len(set(found[0])) == len(WEIGHTS)
