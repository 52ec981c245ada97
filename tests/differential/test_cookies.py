"""``proxy_cookie_domain``, ``proxy_cookie_path``, ``proxy_cookie_flags`` beside nginx."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.differential.sides import Side, ask, build, compare, pair
from tests.support.origins import Origin, Seen, reply
from tests.support.processes import NGINX

pytestmark = [
    pytest.mark.differential,
    pytest.mark.skipif(NGINX is None, reason="nginx is not on the PATH"),
]

LOCATIONS = {
    "domain": "proxy_cookie_domain localhost example.org; proxy_cookie_domain .two.test $host;",
    "regex": r"proxy_cookie_domain ~\.(?P<zone>[a-z]+)\.test$ $zone.example;",
    "path": "proxy_cookie_path /two/ /; proxy_cookie_path /one /uno;",
    "pathre": "proxy_cookie_path ~*^/user/([^/]+) /u/$1; proxy_cookie_path ~^/(.*)$ /all/$1;",
    "secure": "proxy_cookie_flags one secure httponly samesite=strict;",
    "clear": "proxy_cookie_flags one nosecure nohttponly nosamesite;",
    "other": "proxy_cookie_flags ~^(O|t) samesite=lax; proxy_cookie_flags one secure;",
    "all": "proxy_cookie_path / /p/; proxy_cookie_domain a.test b.test;"
    " proxy_cookie_flags ~ secure samesite=none;",
    "off": "proxy_cookie_path off; proxy_cookie_flags off;",
}
COOKIES = [
    "one=1",
    "one=1; Domain=localhost; Path=/two/x",
    "one=1;domain=LOCALHOST;path=/one",
    "ONE=1; Domain=.localhost",
    "two=a=b; Domain=.two.test; Path=/",
    "two=; domain=x.mine.test; PATH=/USER/me/x",
    "one=1; Secure; HttpOnly; SameSite=None; Path=/two/",
    "one=1; secure; httponly; samesite=Strict; Max-Age=5",
    "three; Path=/two",
    "one=1; Path; Domain=",
    "one=\"a; b\" ; path = /two/ ; x",
    "=1; path=/two/",
    ";path=/two/",
    "one=1;;path=/two/;",
    "a=1; Domain=a.test; Path=/q; Secure; SameSite",
]


def answer(made: Origin, seen: Seen) -> bytes:
    """The cookie that the target names by its number, twice."""
    cookie = COOKIES[int(seen.target.rpartition("/")[2])]
    head = f"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nSet-Cookie: {cookie}\r\nX: {cookie}\r\n\r\nok"
    return head.encode() if seen.method == "GET" else reply(b"")


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Side, Side]]:
    """Both, with one location for each set of directives."""
    blocks = "\n".join(
        f"location /{name}/ {{ proxy_pass http://127.0.0.1:@ORIGIN@; {text} }}"
        for name, text in LOCATIONS.items()
    )
    http = f"server {{ listen 127.0.0.1:@PORT@; proxy_cookie_path / /outer/; {blocks} }}"
    with pair(tmp_path_factory.mktemp("cookies"), http, answer) as both:
        yield both


@pytest.mark.parametrize("name", LOCATIONS)
def test_cookies_are_rewritten_alike(sides: tuple[Side, Side], name: str) -> None:
    """Every cookie, well-formed or not."""
    for number in range(len(COOKIES)):
        data, method = build(f"/{name}/{number}")
        compare(sides, (ask(sides[0].port, data, method), ask(sides[1].port, data, method)))
