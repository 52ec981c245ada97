"""Who comes in, beside nginx: ``allow``, ``deny``, ``limit_except``, ``geo``.

The lists are made up at random, always the same ones; the rest is in ``access.conf``.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.client import Connection
from tests.support.origins import Origin, Seen, origin, reply
from tests.support.ports import free_port
from tests.support.processes import NGINX, nginx, proxy

pytestmark = [
    pytest.mark.differential,
    pytest.mark.skipif(NGINX is None, reason="nginx is not on the PATH"),
]

RULES = [
    "all", "all", "unix:", "127.0.0.1", "127.0.0.5", "127.0.0.0/8", "127.0.0.4/30", "0.0.0.0/0",
    "10.0.0.0/8", "::1", "::1/128", "::/0", "::/1", "8000::/1", "::ffff:127.0.0.0/104",
    "2001:db8::/32",
]  # fmt: skip
NETWORKS = [
    "default", "127.0.0.1", "127.0.0.0/8", "127.0.0.4/30", "0.0.0.0/1", "192.0.2.0/24",
    "192.0.2.7", "::1", "::/0", "::/1", "2001:db8::/32", "2001:db8:1::/48", "255.255.255.255",
]  # fmt: skip
ADDRESSES = [
    "127.0.0.1", "127.0.0.6", "192.0.2.7", "192.0.2.8", "198.51.100.1", "255.255.255.255", "::1",
    "2001:db8::1", "2001:db8:1::1", "ff02::1", "::ffff:192.0.2.7", "nothing", "", "1.2.3", "unix:",
]  # fmt: skip
LISTS = 40
PEERS = ("four", "other", "six", "mapped", "unix")

HTTP = Path(__file__).with_name("access.conf").read_text()

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PURGE")
#: What is asked with every method; the body of an answer must agree too.
TARGETS = [
    "/twice", "/twice-set", "/twice-free", "/twice-recursive", "/twice-lost",
    "/returned", "/inner/f.txt", "/inner/own/f.txt", "/inner/same/f.txt", "/paged/f.txt",
    "/paged-inside/f.txt", "/paged-named/f.txt", "/paged-closed/f.txt", "/tried/f.txt",
    "/slash", "/slash/", "/internal/f.txt", "/satisfied/f.txt", "/limit/get/x", "/limit/head/x",
    "/limit/post/x", "/limit/outer/x", "/limit/inherits/x", "/limit/pass/x", "/limit/return/",
    "/limit/return-allowed/f.txt", "/limit/files/f.txt", "/limit/tried/f.txt",
    "/limit/nested/inner/x", "/limit/regex/x", "/limit/paged/f.txt", "/limit/get", "/purging",
]  # fmt: skip
FORWARDED = [
    "192.0.2.7", "198.51.100.1", "198.51.100.1, 192.0.2.7", "192.0.2.7, 198.51.100.1",
    "198.51.100.1, 192.0.2.7,192.0.2.8 , ", "nothing, 192.0.2.7", "192.0.2.7:8080",
    "[2001:db8::1]:1", "2001:db8::1, 192.0.2.1", "[2001:db8::1], 192.0.2.1", "", ",",
    "::ffff:192.0.2.9, 192.0.2.1",
]  # fmt: skip


def made_locations() -> str:
    """Locations with lists made up at random."""
    chance = random.Random(1)
    lines = []
    for number in range(LISTS):
        rules = chance.sample(RULES, chance.randrange(1, 6))
        text = " ".join(f"{chance.choice(('allow', 'deny'))} {rule};" for rule in rules)
        lines.append(f"location /rules/{number}/ {{ {text} }}")
        lines.append(f'location = /geo/{number} {{ return 200 "$net{number} $given{number}\\n"; }}')
    lines.append('location = /geo/range { return 200 "$ranged\\n"; }')
    lines.append('location = /geo/forwarded { return 200 "$forwarded $forwarded_far\\n"; }')
    return "\n".join(lines)


def made_geos() -> str:
    """``geo`` blocks made up at random."""
    chance = random.Random(2)
    blocks = []
    for number in range(LISTS):
        networks = chance.sample(NETWORKS, chance.randrange(0, 8))
        lines = [f"{network} v{at};" for at, network in enumerate(networks)]
        if networks and chance.random() < 0.3 and networks[0] != "default":
            lines.append(f"delete {networks[0]};")
        if chance.random() < 0.3:
            lines.append("192.0.2.7 again;")
        text = " ".join(lines)
        blocks.append(f"geo $net{number} {{ {text} }}")
        blocks.append(f"geo $arg_a $given{number} {{ {text} }}")
    return "\n".join(blocks)


def answer(seen: Seen) -> bytes:
    """The origin tells what it was asked."""
    data = reply(f"{seen.method} {seen.target}\n".encode())
    return data[: data.index(b"\r\n\r\n") + 4] if seen.method == "HEAD" else data


@dataclass
class Side:
    """One of the two, and where it listens."""

    folder: Path
    four: int
    six: int
    both: int

    def connection(self, peer: str) -> Connection:
        """A connection from one of the ``PEERS``."""
        made = Connection.__new__(Connection)
        made._buffer = b""
        if peer == "unix":
            made.socket = socket.socket(socket.AF_UNIX)
            address: object = str(self.folder / "socket")
        elif peer == "six":
            made.socket = socket.socket(socket.AF_INET6)
            address = ("::1", self.six)
        else:
            made.socket = socket.socket()
            made.socket.bind(("127.0.0.5" if peer == "other" else "127.0.0.1", 0))
            address = ("127.0.0.1", self.both if peer == "mapped" else self.four)
        made.socket.settimeout(20)
        made.socket.connect(address)  # type: ignore[arg-type]
        return made


def start(folder: Path, files: Path, app: Origin) -> tuple[Side, str]:
    """The side's ports and its configuration."""
    folder.mkdir(exist_ok=True)
    side = Side(folder, free_port(), free_port(), free_port())
    text = HTTP.replace("@LOCATIONS@", made_locations()) + made_geos()
    for name, value in (
        ("@FOUR@", side.four),
        ("@SIX@", side.six),
        ("@BOTH@", side.both),
        ("@ORIGIN@", app.port),
        ("@DIR@", folder),
        ("@FILES@", files),
    ):
        text = text.replace(name, str(value))
    return side, text


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Side, Side]]:
    """nginx and the proxy, in this order."""
    files = tmp_path_factory.mktemp("files")
    names = [f"rules/{number}" for number in range(LISTS)]
    names += ["inner", "inner/own", "inner/same", "satisfied", "limit/files", "limit/paged"]
    names += ["limit/return-allowed", "limit/tried"]
    for name in names:
        (files / name).mkdir(parents=True)
        (files / name / "f.txt").write_text("in\n")
    (files / "denied.txt").write_text("denied\n")
    with origin(answer) as app:
        one, one_conf = start(tmp_path_factory.mktemp("nginx"), files, app)
        two, two_conf = start(tmp_path_factory.mktemp("proxy"), files, app)
        conf = f"events {{}}\nhttp {{\n{two_conf}\n}}\n"
        with (
            nginx(one.folder, one_conf, ports=(one.four, one.both)),
            proxy(two.folder, conf, ports=(two.four, two.both)),
        ):
            yield one, two


def ask(
    connection: Connection,
    target: str,
    method: str = "GET",
    forwarded: str | None = None,
    host: str = "localhost",
) -> tuple[int, bytes]:
    """Status and body; built-in pages, which name the server, without their body."""
    extra = "" if forwarded is None else f"X-Forwarded-For: {forwarded}\r\n"
    length = "Content-Length: 0\r\n" if method in ("POST", "PUT") else ""
    head = f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n{extra}{length}\r\n"
    connection.send(head.encode())
    response = connection.response(method)
    return response.status, b"" if b"<hr>" in response.body else response.body


@pytest.mark.parametrize("peer", PEERS)
def test_lists_of_rules(sides: tuple[Side, Side], peer: str) -> None:
    """Whoever nginx lets in comes in, and nobody else."""
    with sides[0].connection(peer) as theirs, sides[1].connection(peer) as ours:
        seen = set()
        for number in range(LISTS):
            target = f"/rules/{number}/f.txt"
            expected = ask(theirs, target)
            assert ask(ours, target) == expected, f"{target} {peer}\n{made_locations()}"
            # A second time, from what the fast path remembers.
            assert ask(ours, target) == expected
            seen.add(expected[0])
    assert seen == {200, 403}


@pytest.mark.parametrize("peer", ["four", "other", "unix"])
@pytest.mark.parametrize("target", TARGETS)
def test_where_it_is_checked(sides: tuple[Side, Side], target: str, peer: str) -> None:
    """The phases, inheritance, error pages and ``limit_except``, by method."""
    for method in METHODS:
        answers = []
        for side in sides:
            with side.connection(peer) as connection:
                answers.append(ask(connection, target, method))
        assert answers[1] == answers[0], f"{method} {target}"


@pytest.mark.parametrize("host", ["returning", "returning-page", "returning-named"])
def test_return_of_a_server(sides: tuple[Side, Side], host: str) -> None:
    """It comes before locations, their rules and their slashes."""
    for target in ("/a", "/x", "/slash", "/slash/b"):
        for method in ("GET", "HEAD", "POST", "PURGE"):
            answers = []
            for side in sides:
                with side.connection("four") as connection:
                    answers.append(ask(connection, target, method, host=host))
            assert answers[1] == answers[0], f"{method} {target}"


@pytest.mark.parametrize("peer", PEERS)
def test_geo(sides: tuple[Side, Side], peer: str) -> None:
    """By the peer's address, or one given."""
    targets = [
        f"/geo/{name}?a={address}"
        for name in (*range(LISTS), "range")
        for address in (ADDRESSES if peer == "four" else ADDRESSES[:1])
    ]
    with sides[0].connection(peer) as theirs, sides[1].connection(peer) as ours:
        for target in targets:
            assert ask(ours, target) == ask(theirs, target), f"{target}\n{made_geos()}"


@pytest.mark.parametrize("peer", PEERS)
def test_geo_behind_proxies(sides: tuple[Side, Side], peer: str) -> None:
    """Trusted proxies tell the address."""
    with sides[0].connection(peer) as theirs, sides[1].connection(peer) as ours:
        for value in FORWARDED:
            target = "/geo/forwarded"
            assert ask(ours, target, forwarded=value) == ask(theirs, target, forwarded=value), value


def test_error_log(sides: tuple[Side, Side]) -> None:
    """Both say why, in nginx's words."""
    for side, name in zip(sides, ("error.log", "twistd.log"), strict=True):
        with side.connection("four") as connection:
            assert ask(connection, "/satisfied/f.txt")[0] == 403
        logs = [path for path in side.folder.rglob("*.log") if path.is_file()]
        text = "\n".join(path.read_text(errors="replace") for path in logs)
        assert "access forbidden by rule, client: 127.0.0.1" in text, (name, text[-2000:])
