"""Which server and location nginx chooses, against ours, on configurations made by chance."""

from __future__ import annotations

import http.client
import random
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from cacheproxy.config.build import loads
from cacheproxy.config.model import Location, Server
from cacheproxy.policy.routing import LocationTree, ServerChooser
from cacheproxy.proxy.site.variables import resolve
from tests.support.ports import free_port
from tests.support.processes import NGINX, nginx

pytestmark = [
    pytest.mark.differential,
    pytest.mark.skipif(NGINX is None, reason="nginx is not on the PATH"),
]

#: Fixed, so that a difference can be looked at again.
SEED = 9111
SERVERS = 25
URIS = 40
REGEXES = ("a", "b$", "^/a", "/b/", "aa", "^/(.)(a|b)", "(?<x>b)")
NAMES = ("a.b", "*.b", "*.a.b", ".c", "w.*", "w.a.*", "~^r(.)", "~x$", '""')
HOSTS = ("a.b", "c.b", "c.a.b", "x.c.b", "c", "q.c", "w.a", "w.a.z", "w.z", "rz", "zx", "rx", "n")


def tail(chance: random.Random, most: int = 4) -> str:
    """A path below some prefix, without empty segments."""
    text = "".join(chance.choice("ab/") for _ in range(chance.randint(0, most)))
    return text.replace("//", "/a")


def locations(chance: random.Random, prefix: str, depth: int, regex: bool = False) -> str:
    """Some locations, nested, each answering with a number of its own or proxied to nowhere."""
    written: dict[tuple[bool, str], str] = {}
    for _ in range(chance.randint(0, 5)):
        kind = "~" if regex else chance.choice(("", "", "^~", "=", "~"))
        pattern = (
            chance.choice(REGEXES) if kind == "~" else (prefix or "/") + tail(chance)
        ).replace("//", "/a")
        own = chance.randrange(1 << 30)
        proxied = kind != "~" and chance.random() < 0.3
        answer = (
            f"proxy_pass http://unix:/nonexistent/{own};" if proxied else f'return 200 "{own}:$1";'
        )
        inner = locations(chance, pattern, depth - 1, kind == "~") if depth and kind != "=" else ""
        key = (kind == "=", pattern if kind != "~" else str(own))
        written.setdefault(key, f"location {kind} {pattern} {{ {answer} {inner} }}")
    return "\n".join(written.values())


def configuration(chance: random.Random, port: int) -> str:
    """The content of ``http``: servers with locations, then servers told apart by name."""
    servers = [
        f"server {{ listen 127.0.0.1:{port}; server_name s{n}; {locations(chance, '', 2)} }}"
        for n in range(SERVERS)
    ]
    servers += [
        f'server {{ listen 127.0.0.1:{port}; server_name {name}; return 200 "n{n}:$1"; }}'
        for n, name in enumerate(NAMES)
    ]
    return "access_log off; root /nonexistent;\n" + "\n".join(servers)


def rendered(place: Location, captures: dict[str, bytes]) -> bytes | None:
    """The text that a location's ``return`` answers with."""
    answer = place.core.return_
    if answer is None or answer.text is None:
        return None
    return answer.text.render(SimpleNamespace(captures=captures, map_values={}, set_values={}))


def check_uri(tree: LocationTree[Location], uri: str, response: http.client.HTTPResponse) -> bool:
    """Whether *response* is what our tree leads to."""
    body = response.read()
    found = tree.find(uri.encode())
    if found.redirect is not None:
        target = response.getheader("Location") or ""
        return response.status == 301 and target.endswith(found.redirect.decode())
    if found.location is None:
        return response.status in (403, 404)
    if found.location.proxy.proxy_pass is not None:
        return response.status == 502
    return body == rendered(found.location, dict(found.captures))


def differences(servers: Sequence[Server], port: int, chance: random.Random) -> list[str]:
    """Every request that nginx answers otherwise."""
    chooser = ServerChooser(servers, servers[0])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    wrong = []
    for number in range(SERVERS):
        host = f"s{number}"
        tree = LocationTree(chooser.choose(host.encode())[0].root.locations)
        for _ in range(URIS):
            uri = "/" + tail(chance, 5).lstrip("/")
            connection.request("GET", uri, headers={"Host": host})
            if not check_uri(tree, uri, connection.getresponse()):
                wrong.append(f"{host} {uri}")
    for host in HOSTS:
        connection.request("GET", "/", headers={"Host": host})
        body = connection.getresponse().read()
        server, captures = chooser.choose(host.encode())
        expected = rendered(server.root, dict(captures))
        if body != expected and (expected is not None or body.startswith(b"n")):
            wrong.append(host)
    connection.close()
    return wrong


def test_nginx_chooses_the_same(tmp_path: Path) -> None:
    """The same server, location, captures and redirect for every request."""
    chance = random.Random(SEED)
    port = free_port()
    text = configuration(chance, port)
    servers = loads(f"http {{ {text} }}", "made", str(tmp_path), resolve).servers
    with nginx(tmp_path / "nginx", text, ports=[port]):
        assert differences(servers, port, chance) == []
