"""The cache's directives beside nginx: what is stale, locked, validated, ignored, and for how long.

Everything that has to grow stale is asked for once, by the fixture, and grows so together. What
test_nginx.py has of the cache needs no time: misses and hits, keys, methods, uses, bypass, ranges.

``min_free``, ``manager_*`` and ``loader_*`` of ``proxy_cache_path`` work in the background and at
a start, on a store of another layout: that both take the same parameters is all that can be
compared; what ours do is in tests/storage.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from functools import partial

import pytest

from tests.differential.sides import Side, ask, build, compare, pair
from tests.support.client import Connection, Response
from tests.support.origins import Origin, Seen, reply
from tests.support.processes import NGINX, wait_until

pytestmark = [
    pytest.mark.differential,
    pytest.mark.skipif(NGINX is None, reason="nginx is not on the PATH"),
]

STATUSES = (500, 502, 503, 504, 403, 404, 429)
#: The conditions of ``proxy_cache_use_stale`` that a failing origin brings about.
CONDITIONS = ("error", "timeout", "invalid_header", *(f"http_{status}" for status in STATUSES))

CONF = (
    """
access_log off;
proxy_http_version 1.0;
proxy_cache_path @DIR@/zone keys_zone=zone:1m levels=1:2 inactive=1h max_size=100m min_free=1
    manager_files=10 manager_sleep=100 manager_threshold=100 loader_files=10 loader_sleep=100
    loader_threshold=100 use_temp_path=off;
server {
    listen 127.0.0.1:@PORT@;
    server_name localhost;
    default_type text/plain;
    proxy_cache zone;
    # Its default is on here, and off in nginx.
    proxy_cache_revalidate off;
    proxy_read_timeout 20s;
    add_header X-Cache $upstream_cache_status always;

    location / { proxy_pass http://127.0.0.1:@ORIGIN@; }
    location /off/ {
        proxy_cache_use_stale off;
        proxy_read_timeout 600ms;
        proxy_pass http://127.0.0.1:@ORIGIN@;
    }
    location /updating/ {
        proxy_cache_use_stale updating;
        proxy_pass http://127.0.0.1:@ORIGIN@;
    }
    location /background/ {
        proxy_cache_use_stale updating;
        proxy_cache_background_update on;
        proxy_pass http://127.0.0.1:@ORIGIN@;
    }
    location /background-header/ {
        proxy_cache_background_update on;
        proxy_pass http://127.0.0.1:@ORIGIN@;
    }
    location /validate/ {
        proxy_cache_revalidate on;
        proxy_set_header X-Told "$upstream_cache_etag $upstream_cache_last_modified";
        add_header X-Cache $upstream_cache_status always;
        add_header X-Tag $upstream_cache_etag always;
        add_header X-Modified $upstream_cache_last_modified always;
        proxy_pass http://127.0.0.1:@ORIGIN@;
    }
    location /validate-not/ { proxy_cache_revalidate off; proxy_pass http://127.0.0.1:@ORIGIN@; }
    location /validate-own/ {
        proxy_cache_revalidate on;
        proxy_set_header If-None-Match "";
        proxy_set_header If-Modified-Since $upstream_cache_last_modified;
        proxy_pass http://127.0.0.1:@ORIGIN@;
    }

    location /lock/ {
        proxy_cache_lock on;
        proxy_cache_valid 1m;
        location /lock/timeout/ {
            proxy_cache_lock_timeout 100ms;
            proxy_pass http://127.0.0.1:@ORIGIN@;
        }
        location /lock/age/ {
            proxy_cache_lock_age 100ms;
            proxy_pass http://127.0.0.1:@ORIGIN@;
        }
        location /lock/off/ { proxy_cache_lock off; proxy_pass http://127.0.0.1:@ORIGIN@; }
        proxy_pass http://127.0.0.1:@ORIGIN@;
    }

    location /head/ { proxy_cache_valid 1m; proxy_pass http://127.0.0.1:@ORIGIN@; }
    location /head-not/ {
        proxy_cache_valid 1m;
        proxy_cache_convert_head off;
        proxy_cache_key $uri$request_method;
        proxy_pass http://127.0.0.1:@ORIGIN@;
    }
    location /valid/ { proxy_cache_valid 1m; proxy_pass http://127.0.0.1:@ORIGIN@; }
    location /valid-any/ { proxy_cache_valid any 1m; proxy_pass http://127.0.0.1:@ORIGIN@; }
    location /valid-some/ {
        proxy_cache_valid 200 0;
        proxy_cache_valid 404 1m;
        proxy_cache_valid any 1m;
        proxy_cache_valid 500 0;
        proxy_pass http://127.0.0.1:@ORIGIN@;
    }
    location /zone/ {
        proxy_cache $arg_zone;
        proxy_cache_key $uri;
        proxy_cache_valid 1m;
        proxy_pass http://127.0.0.1:@ORIGIN@;
    }
    location /elsewhere { return 200 elsewhere; }
"""
    + "".join(
        f"    location /stale-{condition}/ {{ proxy_cache_use_stale {condition};"
        " proxy_read_timeout 600ms; proxy_pass http://127.0.0.1:@ORIGIN@; }\n"
        for condition in CONDITIONS
    )
    + "".join(
        f"    location /ignore-{name.lower()}/ {{ proxy_ignore_headers {name};"
        " proxy_cache_valid 1m; proxy_pass http://127.0.0.1:@ORIGIN@; }\n"
        for name in (
            "X-Accel-Redirect", "X-Accel-Expires", "X-Accel-Limit-Rate", "X-Accel-Buffering",
            "X-Accel-Charset", "Expires", "Cache-Control", "Set-Cookie", "Vary",
        )
    )
    + "}\n"
)  # fmt: skip

MODIFIED = "Tue, 14 Nov 2023 22:13:20 GMT"
FUTURE, PAST = "Thu, 01 Jan 2037 00:00:01 GMT", "Thu, 01 Jan 1970 00:00:01 GMT"
#: Held answers wait for this; each test that uses it sets it.
GATE = threading.Event()

#: What the origin sends, by the last segment of the target's path.
FIELDS: dict[str, dict[str, str]] = {
    "plain": {},
    "private": {"Cache-Control": "private"},
    "no-store": {"Cache-Control": "no-store"},
    "past": {"Expires": PAST},
    "future": {"Expires": FUTURE},
    "malformed": {"Expires": "soon"},
    "cookie": {"Set-Cookie": "a=b"},
    "vary-all": {"Vary": "*"},
    "vary": {"Vary": "Accept-Language"},
    "redirect": {"X-Accel-Redirect": "/elsewhere"},
    "unsafe": {"X-Accel-Redirect": "/../elsewhere"},
    "unsafe-encoded": {"X-Accel-Redirect": "/a/%2e%2e/elsewhere"},
    "encoded": {"X-Accel-Redirect": "/%65lsewhere?a=b"},
    "unbuffered": {"X-Accel-Buffering": "no"},
    "limited": {"X-Accel-Limit-Rate": "100000"},
    "charset": {"X-Accel-Charset": "utf-8"},
    "accel-60": {"X-Accel-Expires": "60"},
    "accel-0": {"X-Accel-Expires": "0", "Cache-Control": "max-age=60"},
    "accel-over-private": {"X-Accel-Expires": "60", "Cache-Control": "private"},
    "accel-over-past": {"X-Accel-Expires": "60", "Expires": PAST},
    "accel-at-future": {"X-Accel-Expires": "@2114380801"},
    "accel-at-past": {"X-Accel-Expires": "@1"},
    "accel-nonsense": {"X-Accel-Expires": "soon"},
    "accel-off": {"X-Accel-Expires": "off"},
    "if-error": {"Cache-Control": "max-age=1, stale-if-error=60"},
    "while-revalidate": {"Cache-Control": "max-age=1, stale-while-revalidate=60"},
}


def fresh(made: Origin, seen: Seen, **fields: str) -> bytes:
    """An answer that shows which one it is, and how it was asked for."""
    conditions = [seen.get("If-None-Match"), seen.get("If-Modified-Since"), seen.get("X-Told")]
    text = f"{seen.method} {seen.target} {made.count(seen.target)} {conditions}\n"
    data = reply(text.encode(), Accept_Ranges="bytes", **fields)
    return data.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if seen.method == "HEAD" else data


def answer(made: Origin, seen: Seen) -> bytes | None:
    """The first answer for what is to grow stale, or that which its name asks for."""
    path = seen.target.partition("?")[0]
    last = path.rpartition("/")[2]
    fields = {name.replace("-", "_"): value for name, value in FIELDS.get(last, {}).items()}
    if path.startswith("/lock/"):
        if made.count(seen.target) == 1:
            GATE.wait(20)
        return fresh(made, seen)
    if last.isdigit():
        return reply(f"{last} {made.count(seen.target)}\n".encode(), f"{last} Status")
    if last in FIELDS and last not in ("if-error", "while-revalidate"):
        return fresh(made, seen, **fields)
    if made.count(seen.target) == 1:
        first = {"Cache_Control": "max-age=1", "ETag": '"1"', "Last_Modified": MODIFIED, **fields}
        return fresh(made, seen, **first)
    return later(made, seen, last)


def later(made: Origin, seen: Seen, last: str) -> bytes | None:
    """The second answer for what has grown stale."""
    if last in ("error", "if-error"):
        return None
    if last == "timeout":
        made.ended.wait(2)
        return None
    if last == "invalid_header":
        return b"HTTP/1.1 200 OK\r\nA\0B: c\r\n\r\n"
    if last.startswith("http_"):
        return reply(b"failed\n", f"{last[5:]} Failed")
    if last == "gated":
        GATE.wait(20)
    if last == "unchanged" and (seen.get("If-None-Match") or seen.get("If-Modified-Since")):
        # What a 304 says to clients we keep (RFC 9111 §3.2) and nginx does not.
        return reply(status="304 Not Modified", framed=False, X_Accel_Expires="60")
    if last == "uncacheable":
        return fresh(made, seen, Cache_Control="no-store")
    return fresh(made, seen, Cache_Control="max-age=60", ETag='"2"')


#: What is asked for twice, and is stale the second time.
STALE = [
    *(f"/stale-{condition}/{condition}" for condition in CONDITIONS),
    *(f"/off/{condition}" for condition in CONDITIONS),
    *(f"/stale-http_500/{condition}" for condition in CONDITIONS[:3]),
    "/stale-error/http_500", "/stale-error/invalid_header", "/stale-timeout/error",
    "/stale-http_503/http_500",
    "/off/if-error", "/off/changed", "/off/uncacheable",
    "/validate/unchanged", "/validate/changed", "/validate/uncacheable",
    "/validate-not/unchanged", "/validate-own/unchanged",
]  # fmt: skip
UPDATED = ["/updating/gated", "/background/changed", "/background-header/while-revalidate"]


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Side, Side]]:
    """nginx and the proxy, in this order, with what is stale."""
    with pair(tmp_path_factory.mktemp("cache"), CONF, answer) as both:
        for target in STALE + UPDATED:
            assert [x.get("X-Cache") for x in both_answer(both, target)] == ["MISS", "MISS"]
        filled = time.time()
        # nginx counts whole seconds, and the last of them as fresh.
        wait_until(lambda: time.time() > filled + 2.1, "what is stored to grow stale")
        yield both


def both_answer(
    sides: tuple[Side, Side], target: str, method: str = "GET", fields: dict[str, str] | None = None
) -> tuple[Response, Response]:
    """Ask both; their answers, which agree."""
    data, method = build(target, method, fields)
    theirs, ours = (ask(side.port, data, method) for side in sides)
    compare(sides, (theirs, ours))
    assert theirs is not None and ours is not None
    return theirs, ours


def statuses(answers: tuple[Response, Response]) -> set[str | None]:
    """Both values of $upstream_cache_status."""
    return {found.get("X-Cache") for found in answers}


#: Where the second request finds another state, on purpose: docs/caching.rst says why.
DIFFERENT_AFTER = {
    # What the origin has taken back is dropped, not kept for a time of trouble.
    "/off/http_404": ("EXPIRED", "MISS"),
    "/off/uncacheable": ("EXPIRED", "MISS"),
    "/validate/uncacheable": ("EXPIRED", "MISS"),
    # What is stale as it comes and has no validator is not stored.
    "/accel/accel-at-past": ("EXPIRED", "MISS"),
    "/valid/accel-at-past": ("EXPIRED", "MISS"),
    # What finds fault with one request is not kept for others, unless it is named.
    "/valid-any/400": ("HIT", "MISS"),
    # nginx stores what it buffers.
    "/valid/unbuffered": ("MISS", "HIT"),
}


def again(sides: tuple[Side, Side], target: str) -> None:
    """Ask both once more: the same answer, or the difference that is stated."""
    wanted = DIFFERENT_AFTER.get(target)
    if wanted is None:
        both_answer(sides, target)
        return
    found = [ask(side.port, build(target)[0], "GET") for side in sides]
    assert tuple(one and one.get("X-Cache") for one in found) == wanted


@pytest.mark.parametrize("target", STALE)
def test_stale(sides: tuple[Side, Side], target: str) -> None:
    """The same answer to a request that finds a stale response, and to the next one."""
    found = both_answer(sides, target)
    where, _, what = target[1:].partition("/")
    if where == f"stale-{what}":
        assert statuses(found) == {"STALE"}
    if what == "unchanged":
        wanted = {"validate-not": "EXPIRED"}.get(where, "REVALIDATED")
        assert statuses(found) == {wanted}
    again(sides, target)


def test_updating(sides: tuple[Side, Side]) -> None:
    """While one request refreshes, another is answered with what is stale."""
    target = "/updating/gated"
    GATE.clear()
    connections = [Connection(side.port) for side in sides]
    for side, connection in zip(sides, connections, strict=True):
        connection.send(build(target)[0])
        wait_until(partial(_reached, side, target, 2), "the refresh")
    assert statuses(both_answer(sides, target)) == {"UPDATING"}
    GATE.set()
    answers = [connection.response("GET") for connection in connections]
    compare(sides, (answers[0], answers[1]))
    assert answers[0].get("X-Cache") == "EXPIRED"
    assert statuses(both_answer(sides, target)) == {"HIT"}
    for connection in connections:
        connection.close()


@pytest.mark.parametrize("target", UPDATED[1:])
def test_background_update(sides: tuple[Side, Side], target: str) -> None:
    """Nobody waits for the refresh, whether the directive or the response allows it."""
    assert statuses(both_answer(sides, target)) == {"STALE"}
    data, _ = build(target)

    def refreshed(side: Side) -> bool:
        found = ask(side.port, data, "GET")
        return found is not None and found.get("X-Cache") == "HIT"

    for side in sides:
        wait_until(partial(refreshed, side), "the refresh")
        assert side.app.count(target) == 2
    both_answer(sides, target)


def _reached(side: Side, target: str, count: int) -> bool:
    return side.app.count(target) >= count


def locked(
    sides: tuple[Side, Side], target: str, reaching: int
) -> tuple[list[Response], list[Response]]:
    """Two requests at once, *reaching* of which reach the origin before the first is answered."""
    GATE.clear()
    result: list[list[Response]] = []
    for side in sides:
        data, _ = build(target)
        with Connection(side.port) as first, Connection(side.port) as second:
            first.send(data)
            wait_until(partial(_reached, side, target, 1), "the first request")
            second.send(data)
            if reaching == 2:
                wait_until(partial(_reached, side, target, 2), "the second request")
                other = second.response("GET")
                GATE.set()
            else:
                # Read by either before what comes after it.
                ask(side.port, build("/valid/plain")[0], "GET")
                GATE.set()
                other = second.response("GET")
            result.append([first.response("GET"), other])
        GATE.clear()
        assert side.app.count(target) == reaching
    return result[0], result[1]


@pytest.mark.parametrize(
    ("target", "reaching"),
    [("/lock/on", 1), ("/lock/off/a", 2), ("/lock/timeout/a", 2), ("/lock/age/a", 2)],
)
def test_lock(sides: tuple[Side, Side], target: str, reaching: int) -> None:
    """How many of two simultaneous requests reach the origin, and what both are answered."""
    theirs, ours = locked(sides, target, reaching)
    for pair_of_answers in zip(theirs, ours, strict=True):
        compare(sides, pair_of_answers)
    GATE.set()
    both_answer(sides, target)


Step = tuple[str] | tuple[str, str] | tuple[str, str, dict[str, str]]
#: name → requests, in order.
SEQUENCES: dict[str, list[Step]] = {
    **{f"X-Accel-Expires: {name}": [(f"/accel/{name}",)] * 2 for name in FIELDS if "accel" in name},
    **{f"valid: {name}": [(f"/valid/{name}",)] * 2 for name in FIELDS},
    **{f"valid {status}": [(f"/valid/{status}",)] * 2 for status in (200, 301, 302, 404, 500)},
    **{
        f"valid any {status}": [(f"/valid-any/{status}",)] * 2
        for status in (200, 201, 203, 301, 302, 303, 307, 308, 400, 403, 404, 410, 500, 502, 503)
    },
    **{f"valid some {status}": [(f"/valid-some/{status}",)] * 2 for status in (200, 404, 500, 301)},
    **{
        f"ignore {name}: {last}": [(f"/ignore-{name}/{last}",)] * 2
        for name, last in (
            ("x-accel-expires", "accel-0"), ("x-accel-expires", "accel-60"),
            ("x-accel-redirect", "redirect"), ("x-accel-limit-rate", "limited"),
            ("x-accel-buffering", "unbuffered"), ("x-accel-charset", "charset"),
            ("expires", "past"), ("expires", "malformed"), ("cache-control", "private"),
            ("cache-control", "no-store"), ("cache-control", "past"), ("vary", "vary-all"),
            ("set-cookie", "plain"),
        )
    },
    "ignore vary": [
        ("/ignore-vary/vary", "GET", {"Accept-Language": "en"}),
        ("/ignore-vary/vary", "GET", {"Accept-Language": "de"}),
    ],
    "convert HEAD": [("/head/plain", "HEAD"), ("/head/plain",), ("/head/plain", "HEAD")],
    "do not convert HEAD": [
        ("/head-not/plain", "HEAD"), ("/head-not/plain", "HEAD"), ("/head-not/plain",),
        ("/head-not/plain",),
    ],
    "zone by name": [("/zone/plain?zone=zone",)] * 2,
    "no zone": [("/zone/b/plain?zone=",)] * 2,
    "unknown zone": [("/zone/c/plain?zone=other",)],
}  # fmt: skip


@pytest.mark.parametrize("name", SEQUENCES)
def test_sequence(sides: tuple[Side, Side], name: str) -> None:
    """The same requests in the same order."""
    for number, step in enumerate(SEQUENCES[name]):
        if number and len(step) == 1:
            again(sides, step[0])
        else:
            both_answer(sides, *step)
