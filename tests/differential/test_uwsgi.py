"""``uwsgi_pass`` beside nginx: what the application sees and what the client gets.

The installed nginx may be older than the one that is followed: it joins no repeated
fields (1.23) and sends Host as it came (1.29). What the proxy leaves out on purpose is
in ``LEFT_OUT``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.differential.sides import ask, build, builtin
from tests.support.client import Response
from tests.support.ports import free_port
from tests.support.processes import NGINX, nginx, proxy
from tests.support.uwsgi import Packet, UwsgiOrigin, uwsgi_origin

pytestmark = [
    pytest.mark.differential,
    pytest.mark.skipif(NGINX is None, reason="nginx is not on the PATH"),
]

#: Fields of the connection, which end here (RFC 9110 §7.6.1), and what is answered here.
LEFT_OUT = {
    "HTTP_CONNECTION",
    "HTTP_EXPECT",
    "HTTP_KEEP_ALIVE",
    "HTTP_PROXY",
    "HTTP_TE",
    "HTTP_TRANSFER_ENCODING",
    "HTTP_UPGRADE",
}

PARAMS = """
uwsgi_param QUERY_STRING $query_string;
uwsgi_param REQUEST_METHOD $request_method;
uwsgi_param CONTENT_TYPE $content_type;
uwsgi_param CONTENT_LENGTH $content_length;
uwsgi_param REQUEST_URI $request_uri;
uwsgi_param PATH_INFO $document_uri;
uwsgi_param DOCUMENT_ROOT $document_root;
uwsgi_param SERVER_PROTOCOL $server_protocol;
uwsgi_param REQUEST_SCHEME $scheme;
uwsgi_param HTTPS $https if_not_empty;
uwsgi_param REMOTE_ADDR $remote_addr;
uwsgi_param SERVER_NAME $server_name;
uwsgi_param HTTP_HOST $http_host;
"""

CONF = """
access_log off;
uwsgi_cache_path @DIR@/cache keys_zone=z:1m;
root /srv/none;
server {
    listen 127.0.0.1:@PORT@;
    server_name localhost;
    client_max_body_size 1m;
    underscores_in_headers on;
    @PARAMS@

    location / { uwsgi_pass 127.0.0.1:@ORIGIN@; }
    location /scheme/ { uwsgi_pass uwsgi://127.0.0.1:@ORIGIN@; }
    location /group/ { uwsgi_pass up; uwsgi_intercept_errors on; error_page 404 = @own; }
    location @own { return 200 "own page"; }
    location /variable/ { uwsgi_pass $host_of_app; }
    location /own/ {
        uwsgi_pass 127.0.0.1:@ORIGIN@;
        @PARAMS@
        uwsgi_param HTTP_X_REAL_IP $remote_addr;
        uwsgi_param HTTP_X_GONE "";
        uwsgi_param EMPTY $arg_nothing;
        uwsgi_param LEFT_OUT $arg_nothing if_not_empty;
        uwsgi_param ARGUMENT "<$arg_a>" if_not_empty;
        uwsgi_modifier1 5;
        uwsgi_modifier2 9;
    }
    location /silent/ { uwsgi_pass 127.0.0.1:@ORIGIN@; uwsgi_pass_request_headers off; }
    location /unbuffered/ {
        uwsgi_pass 127.0.0.1:@ORIGIN@;
        uwsgi_request_buffering off;
        uwsgi_buffering off;
    }
    location /hidden/ {
        uwsgi_pass 127.0.0.1:@ORIGIN@;
        uwsgi_hide_header X-App;
        uwsgi_hide_header Server;
        uwsgi_pass_header X-Accel-Expires;
    }
    location /limited/ {
        uwsgi_pass 127.0.0.1:@ORIGIN@;
        limit_except GET { deny all; }
    }
    location /stray/ { return 200 stray; uwsgi_read_timeout 5s; }
    location /accel/ { internal; return 200 "internal $uri"; }
    location /slash/ { uwsgi_pass 127.0.0.1:@ORIGIN@; }
    location /ignored/ {
        uwsgi_pass 127.0.0.1:@ORIGIN@;
        uwsgi_ignore_headers X-Accel-Redirect;
    }
    location /big/ {
        uwsgi_pass 127.0.0.1:@ORIGIN@;
        uwsgi_param BIG $arg_a$arg_a$arg_a$arg_a$arg_a$arg_a$arg_a$arg_a$arg_a$arg_a;
    }
    location /cached/ {
        uwsgi_pass 127.0.0.1:@ORIGIN@;
        uwsgi_cache z;
        uwsgi_cache_key $http_host$request_uri;
        uwsgi_cache_valid 200 404 1h;
        uwsgi_cache_bypass $arg_bypass;
        uwsgi_no_cache $arg_private;
        add_header X-Cache $upstream_cache_status always;
    }
    location /closed/ { uwsgi_pass 127.0.0.1:1; }
    location /next/ { uwsgi_pass two; uwsgi_next_upstream error http_503; }
}
map $host $host_of_app { default 127.0.0.1:@ORIGIN@; }
upstream up { server 127.0.0.1:@ORIGIN@; }
upstream two { server 127.0.0.1:1; server 127.0.0.1:@ORIGIN@ backup; }
"""

#: What the application answers, by the last segment of the path.
ANSWERS: dict[str, bytes] = {
    "status": b"Status: 404 Nowhere\r\nContent-Type: text/x\r\n\r\nno",
    "status-short": b"Status: 403\r\nContent-Type: text/x\r\n\r\nno",
    "status-both": b"HTTP/1.1 201 Made\r\nStatus: 500 No\r\n\r\nmade",
    "status-none": b"Content-Type: text/x\r\n\r\nfine",
    "status-odd": b"Status: none\r\n\r\nodd",
    "line-http10": b"HTTP/1.0 202 Taken\r\nX-A: b\r\n\r\ntaken",
    "line-bare": b"HTTP/1.1 200\r\nX-A: b\r\n\r\nbare",
    "line-odd": b"HTTP/1.1 abc\r\nX-A: b\r\n\r\nodd",
    "lf": b"HTTP/1.1 200 OK\nContent-Type: text/x\nX-A: b\n\nlf",
    "location": b"Location: /else/where?a=b\r\n\r\n",
    "location-absolute": b"Location: http://other.test/x\r\nContent-Length: 0\r\n\r\n",
    "location-status": b"Status: 301 Moved\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n",
    "empty": b"",
    "cut-head": b"HTTP/1.1 200 OK\r\nX-A",
    "garbage": b"\x01\x02\x03\r\n\r\n",
    "no-colon": b"HTTP/1.1 200 OK\r\nnonsense\r\n\r\n",
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n12345",
    "length-more": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n12345678",
    "length-odd": b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n12345",
    "204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "304": b'HTTP/1.1 304 Not Modified\r\nETag: "v"\r\n\r\n',
    "500": b"HTTP/1.1 500 Oh\r\nContent-Length: 4\r\n\r\noops",
    "503": b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy",
    "fields": (
        b"HTTP/1.1 200 OK\r\nServer: app\r\nDate: Tue, 14 Nov 2023 22:13:20 GMT\r\n"
        b"X-App: 1\r\nX-Accel-Expires: 5\r\nX_Under: 2\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\n"
        b"Content-Length: 2\r\n\r\nok"
    ),
    "redirect": b"X-Accel-Redirect: /accel/x\r\nContent-Length: 6\r\n\r\nunseen",
    "hop": (
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nKeep-Alive: timeout=5\r\n"
        b"Content-Length: 2\r\n\r\nok"
    ),
}


#: What nginx lets pass and is a faulty answer here: lines that are no fields (RFC 9112 §5),
#: and a length that is none (newer nginx refuses it too).
REFUSED = {"length-odd", "line-odd", "no-colon"}


def answer(packet: Packet) -> bytes:
    """What ``ANSWERS`` has for the path, else a short text."""
    last = packet.environ.get("REQUEST_URI", "").partition("?")[0].rpartition("/")[2]
    return ANSWERS.get(last, b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nhello")


@dataclass
class Sides:
    """The ports of nginx and of the proxy, and the application behind both."""

    theirs: int
    ours: int
    app: UwsgiOrigin

    def ask(self, port: int, data: bytes, method: str) -> tuple[Response | None, list[Packet]]:
        """The response, and what the application was asked for it."""
        before = len(self.app.packets)
        return ask(port, data, method), self.app.packets[before:]


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sides]:
    """Both before one application."""
    folder = tmp_path_factory.mktemp("uwsgi")
    ports = free_port(), free_port()
    with uwsgi_origin(answer) as app:
        texts = [
            CONF.replace("@PARAMS@", PARAMS)
            .replace("@PORT@", str(port))
            .replace("@ORIGIN@", str(app.port))
            .replace("@DIR@", str(folder / name))
            for port, name in zip(ports, ("nginx", "proxy"), strict=True)
        ]
        with (
            nginx(folder / "nginx", texts[0], ports=ports[:1]),
            proxy(folder / "proxy", f"events {{}}\nhttp {{\n{texts[1]}\n}}\n", ports=ports[1:]),
        ):
            yield Sides(*ports, app)


def shown(packets: list[Packet]) -> list[object]:
    """What the application saw, without what is left out on purpose."""
    found: list[object] = []
    for packet in packets:
        environ = {
            name: "" if name == "HTTP_CONTENT_LENGTH" else value
            for name, value in packet.environ.items()
            if name not in LEFT_OUT
        }
        modifiers = packet.modifier1, packet.modifier2
        found.append((modifiers, environ, packet.rest.decode("latin-1")))
    return found


def compare(sides: Sides, data: bytes, method: str, *, framing: bool = True) -> None:
    """Ask both, and hold what each was told and each told equal."""
    theirs, seen = sides.ask(sides.theirs, data, method)
    ours, ours_seen = sides.ask(sides.ours, data, method)
    assert json.dumps(shown(ours_seen)) == json.dumps(shown(seen))
    if theirs is None or ours is None:
        assert theirs is ours, f"nginx {theirs}, we {ours}"
        return
    assert ours.status == theirs.status, f"nginx {theirs}, we {ours}"
    skipped = {"date", "via", "connection", "cache-status", "age"}
    if builtin(theirs):
        skipped |= {"server", "content-length"}
    if not framing:
        skipped |= {"content-length", "transfer-encoding"}
    fields = [
        sorted(
            (name.lower(), value.replace(f":{port}/", ":PORT/"))
            for name, value in response.fields
            if name.lower() not in skipped
            and not (name.lower() == "server" and value.startswith(("nginx", "cacheproxy")))
        )
        for port, response in ((sides.theirs, theirs), (sides.ours, ours))
    ]
    assert fields[1] == fields[0]
    if not builtin(theirs):
        assert ours.body == theirs.body


LOCATIONS = ("/", "/scheme/", "/group/", "/variable/", "/own/", "/silent/", "/unbuffered/",
             "/hidden/")  # fmt: skip

REQUESTS: dict[str, tuple[str, str, dict[str, str], str]] = {
    "get": ("GET", "x", {}, ""),
    "query": ("GET", "x?a=b%20c&d", {}, ""),
    "escaped": ("GET", "a%20b%2fc/%C3%BC?q=%00", {}, ""),
    "dots": ("GET", "a/./b/../c//d", {}, ""),
    "head": ("HEAD", "length", {}, ""),
    "options": ("OPTIONS", "x", {}, ""),
    "fields": ("GET", "x", {"X-Any": "one", "x-lower-Case": "two", "Accept": "*/*"}, ""),
    "underscore": ("GET", "x", {"X_Any": "one"}, ""),
    "cookie": ("GET", "x", {"Cookie": "a=b; c=d"}, ""),
    "real-ip": ("GET", "x?a=1", {"X-Real-IP": "6.6.6.6", "X-Gone": "a"}, ""),
    "real-ip-underscore": ("GET", "x", {"X_Real_IP": "6.6.6.6", "X_GONE": "a"}, ""),
    "auth": ("GET", "x", {"Authorization": "Basic YTpi"}, ""),
    "range": ("GET", "x", {"Range": "bytes=0-1", "If-None-Match": '"a"'}, ""),
    "post": ("POST", "x", {"Content-Type": "text/plain"}, "hello"),
    "post-empty": ("POST", "x", {"Content-Length": "0"}, ""),
    "put-large": ("PUT", "x", {}, "0123456789" * 9000),
    "proxy": ("GET", "x", {"Proxy": "http://evil/"}, ""),
    "upgrade": ("GET", "x", {"Upgrade": "websocket", "Connection": "Upgrade"}, ""),
    "http10": ("GET", "x", {}, ""),
}


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("location", LOCATIONS)
def test_what_the_application_sees(sides: Sides, location: str, name: str) -> None:
    """Every request through every location."""
    method, rest, fields, body = REQUESTS[name]
    version = "1.0" if name == "http10" else "1.1"
    if location == "/silent/" and fields.get("Content-Length"):
        fields = {}
    compare(sides, *build(location + rest, method, fields, body, version))


@pytest.mark.parametrize("location", ["/", "/group/", "/unbuffered/", "/hidden/", "/ignored/"])
@pytest.mark.parametrize("last", ANSWERS)
def test_what_the_client_gets(sides: Sides, location: str, last: str) -> None:
    """Every response through locations that treat them differently."""
    data, method = build(f"{location}{last}")
    if last in REFUSED:
        refused = ask(sides.ours, data, method)
        assert refused is not None
        assert refused.status == 502
    else:
        compare(sides, data, method)


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/limited/x"),
        ("POST", "/limited/x"),
        ("GET", "/stray/x"),
        ("GET", "/accel/x"),
        ("GET", "/slash"),
        ("GET", "/closed/x"),
        ("GET", "/next/x"),
        ("GET", "/next/503"),
    ],
)
def test_what_is_decided_before_and_after(sides: Sides, method: str, target: str) -> None:
    """Other rules of a location, and servers that are not there."""
    compare(sides, *build(target, method))


def test_chunked_body(sides: Sides) -> None:
    """Its length is known once it has been collected."""
    body = b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    head = b"POST /x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    compare(sides, head + body, "POST")


@pytest.mark.parametrize("size", [6000, 7000])
def test_request_too_big_for_a_packet(sides: Sides, size: int) -> None:
    """64 KB of variables: what is just below passes, else both answer 500 and ask nobody."""
    compare(sides, *build("/big/x?a=" + "x" * size))
    assert ask(sides.ours, *build("/big/x?a=" + "x" * size)) is not None


@pytest.mark.parametrize(
    "target",
    ["x", "status", "fields", "500", "length?bypass=1", "length?private=1", "empty"],
)
def test_cache(sides: Sides, target: str) -> None:
    """Three times the same: the client's answers and the application's requests agree."""
    for _ in range(3):
        # The length of what is kept is known here; nginx goes on sending it in chunks.
        compare(sides, *build(f"/cached/{target}"), framing=False)
