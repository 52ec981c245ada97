"""Whom trusted proxies speak for, beside nginx: ``set_real_ip_from`` and its like."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.differential.sides import Side, ask, build, compare, pair
from tests.support.origins import Origin, Seen, reply
from tests.support.processes import NGINX, wait_until

pytestmark = [
    pytest.mark.differential,
    pytest.mark.skipif(NGINX is None, reason="nginx is not on the PATH"),
]

HTTP = """
log_format l '$remote_addr $remote_port $realip_remote_addr $request_uri';
geo $net { default none; 192.0.2.0/24 doc; 10.0.0.0/8 ten; 127.0.0.0/8 local; }
server {
    listen 127.0.0.1:@PORT@;
    access_log @DIR@/clients.log l;
    set_real_ip_from 127.0.0.0/8;
    set_real_ip_from 10.0.0.0/8;
    real_ip_header X-Forwarded-For;
    location /shown/ { return 200 "$remote_addr $remote_port $realip_remote_addr $net"; }
    location /asked/ {
        proxy_pass http://127.0.0.1:@ORIGIN@;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Port $remote_port;
    }
    location /closed/ { allow 192.0.2.1; allow ::ffff:192.0.2.9; deny all;
        proxy_pass http://127.0.0.1:@ORIGIN@; }
    location /own/ { real_ip_header X-Own; proxy_pass http://127.0.0.1:@ORIGIN@;
        proxy_set_header X-Found "$remote_addr $realip_remote_addr $net"; }
    location /again/ { error_page 404 /own/page; real_ip_header X-Own; try_files /none =404; }
}
server {
    listen 127.0.0.1:@PORT@;
    server_name recursive;
    set_real_ip_from 127.0.0.1; set_real_ip_from 10.0.0.0/8; set_real_ip_from 2001:db8::/32;
    real_ip_header X-Forwarded-For;
    real_ip_recursive on;
    location / { return 200 "$remote_addr $remote_port $net"; }
}
server {
    listen 127.0.0.1:@PORT@;
    server_name untrusted;
    set_real_ip_from 192.0.2.1; set_real_ip_from unix:;
    return 200 "$remote_addr $net";
}
server {
    listen 127.0.0.1:@PORT@;
    server_name late;
    location / { set_real_ip_from 127.0.0.1; set $early "$realip_remote_addr";
        allow 192.0.2.1; deny all; proxy_pass http://127.0.0.1:@ORIGIN@;
        proxy_set_header X-Found "$remote_addr $early"; }
    location /returned { set_real_ip_from 127.0.0.1; return 200 "$remote_addr"; }
}
"""

VALUES = [
    "192.0.2.1", "192.0.2.9", "10.0.0.2", "192.0.2.1, 10.0.0.2", "6.6.6.6, 192.0.2.1,10.0.0.3",
    "192.0.2.1 , ", "192.0.2.1,,", ",192.0.2.1", ", 192.0.2.1", "192.0.2.1:8080", "192.0.2.1:0",
    "192.0.2.1:70000", "[2001:db8::1]:443", "[2001:db8::1]", "2001:DB8:0:0::1", "2001:db8::1:80",
    "::ffff:192.0.2.9", "192.0.2.1, ?, 10.0.0.2", "nothing", "unix:", "", ",", "fe80::1%eth0",
    "192.0.2.1, 10.0.0.2, 10.0.0.3", "192.0.2.1, 2001:db8::7, 10.0.0.3", "1.2.3", "256.1.1.1",
]  # fmt: skip
#: After these the connection's own address holds.
NO_ADDRESS = {
    ",192.0.2.1", "192.0.2.1:0", "192.0.2.1:70000", "[2001:db8::1]", "nothing", "unix:", "", ",",
    "fe80::1%eth0", "1.2.3", "256.1.1.1",
}  # fmt: skip
PATHS = ["/shown/x", "/asked/x", "/closed/x", "/own/x", "/again/x"]


def answer(made: Origin, seen: Seen) -> bytes:
    """The origin shows the fields that speak of the client."""
    names = ("x-forwarded-for", "x-port", "x-found")
    fields = sorted(f"{name.lower()}={value}" for name, value in seen.fields
                    if name.lower() in names)
    return reply("\n".join(fields).encode("latin-1"))


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Side, Side]]:
    """nginx and the proxy, in this order."""
    with pair(tmp_path_factory.mktemp("realip"), HTTP, answer) as both:
        yield both


def hold(sides: tuple[Side, Side], target: str, fields: dict[str, str]) -> None:
    """Both answer the same."""
    data, method = build(target, fields=fields)
    theirs, ours = (ask(side.port, data, method) for side in sides)
    compare(sides, (theirs, ours))


@pytest.mark.parametrize("value", VALUES)
def test_every_kind_of_value(sides: tuple[Side, Side], value: str) -> None:
    """By every way that the address is used in, in every server."""
    for path in PATHS:
        # A port that is not told is that of the connection, which differs.
        if value not in NO_ADDRESS or path not in ("/shown/x", "/asked/x"):
            hold(sides, path, {"X-Forwarded-For": value})
        hold(sides, path, {"X-Forwarded-For": "10.9.9.9", "X-Own": value})
    for path in ("/own/x", "/again/x"):
        hold(sides, path, {"X-Own": value})
    hold(sides, "/x", {"Host": "untrusted", "X-Forwarded-For": value, "X-Real-IP": value})
    hold(sides, "/x", {"Host": "late", "X-Real-IP": value})
    hold(sides, "/returned", {"Host": "late", "X-Real-IP": value})
    if value not in NO_ADDRESS:
        hold(sides, "/x", {"Host": "recursive", "X-Forwarded-For": value})
        hold(sides, "/x", {"Host": "recursive", "X-Forwarded-For": "192.0.2.7\r\n"
                           f"X-Forwarded-For: {value}"})
        hold(sides, "/x", {"Host": "recursive", "X-Forwarded-For": f"{value}\r\n"
                           "X-Forwarded-For: 10.0.0.9"})


def test_logs_show_the_address_that_was_found(sides: tuple[Side, Side]) -> None:
    """The access log by its variables, the error log by itself."""
    for side in sides:
        data, method = build("/closed/log", fields={"X-Forwarded-For": "203.0.113.7:99"})
        answered = ask(side.port, data, method)
        assert answered is not None
        assert answered.status == 403
        log, line = side.folder / "clients.log", "203.0.113.7 99 127.0.0.1 /closed/log\n"
        # nginx writes it once the answer is sent.
        wait_until(lambda log=log, line=line: line in log.read_text(), line)  # type: ignore[misc]
        texts = [path.read_text(errors="replace") for path in side.folder.rglob("*.log")]
        assert any("forbidden by rule, client: 203.0.113.7," in text for text in texts)
