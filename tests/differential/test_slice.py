"""``slice`` and ``proxy_force_ranges``: nginx's answers, and nginx's questions to the origin.

Both get the same requests in the same order; what each asks its origin for is compared too,
as the ranges of the requests that arrive there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.differential.sides import Side, ask, build, compare, pair
from tests.support.client import Response
from tests.support.origins import Origin, Seen, reply
from tests.support.processes import NGINX

pytestmark = [
    pytest.mark.differential,
    pytest.mark.skipif(NGINX is None, reason="nginx is not on the PATH"),
]

HTTP = """
proxy_cache_path @DIR@/zone levels=1:2 keys_zone=zone:1m use_temp_path=off;
access_log off;
proxy_http_version 1.1;
proxy_set_header Connection "";
default_type text/plain;
add_header X-Cache $upstream_cache_status;

server {
    listen 127.0.0.1:@PORT@;
    server_name localhost;

    location /sliced/ {
        slice 1k;
        proxy_cache zone;
        proxy_cache_key $uri$is_args$args$slice_range;
        proxy_set_header Range $slice_range;
        proxy_cache_valid 200 206 1h;
        proxy_cache_valid 404 1m;
        add_header X-Range $slice_range;
        add_header X-Sent $upstream_http_content_range;
        add_header X-Status $upstream_status;
        proxy_pass http://127.0.0.1:@ORIGIN@;
        location /sliced/one/ { max_ranges 1; proxy_pass http://127.0.0.1:@ORIGIN@; }
        location /sliced/off/ { slice 0; proxy_pass http://127.0.0.1:@ORIGIN@; }
        location /sliced/offset/ {
            proxy_cache_max_range_offset 2000; proxy_pass http://127.0.0.1:@ORIGIN@;
        }
        location /sliced/gzip/ {
            gzip on; gzip_types *; gzip_min_length 10; proxy_pass http://127.0.0.1:@ORIGIN@;
        }
        location /sliced/hidden/ {
            proxy_hide_header ETag; proxy_pass http://127.0.0.1:@ORIGIN@;
        }
        location /sliced/page/ {
            proxy_intercept_errors on; error_page 404 /page; proxy_pass http://127.0.0.1:@ORIGIN@;
        }
    }
    location = /page { return 200 "page\\n"; }
    location /uncached/ {
        slice 1k; proxy_set_header Range $slice_range; proxy_pass http://127.0.0.1:@ORIGIN@;
    }
    location /unread/ { slice 1k; proxy_pass http://127.0.0.1:@ORIGIN@; }

    location /plain/ { proxy_set_header Range ""; proxy_pass http://127.0.0.1:@ORIGIN@; }
    location /forced/ {
        proxy_force_ranges on; proxy_set_header Range ""; proxy_pass http://127.0.0.1:@ORIGIN@;
        location /forced/passed/ {
            proxy_set_header Range $http_range; proxy_pass http://127.0.0.1:@ORIGIN@;
        }
        location /forced/two/ { max_ranges 2; proxy_pass http://127.0.0.1:@ORIGIN@; }
        location /forced/none/ { max_ranges 0; proxy_pass http://127.0.0.1:@ORIGIN@; }
        location /forced/gzip/ {
            gzip on; gzip_types *; gzip_min_length 10; proxy_pass http://127.0.0.1:@ORIGIN@;
        }
    }
    location /kept/ {
        proxy_cache zone; proxy_cache_valid 200 1h; proxy_cache_key $uri;
        proxy_force_ranges off; proxy_pass http://127.0.0.1:@ORIGIN@;
        location /kept/forced/ { proxy_force_ranges on; proxy_pass http://127.0.0.1:@ORIGIN@; }
        location /kept/two/ {
            proxy_force_ranges on; max_ranges 2; proxy_pass http://127.0.0.1:@ORIGIN@;
        }
        location /kept/offset/ {
            proxy_cache_max_range_offset 2000; proxy_pass http://127.0.0.1:@ORIGIN@;
        }
        location /kept/offset-key/ {
            proxy_cache_max_range_offset 2000; proxy_cache_key $uri$http_range;
            proxy_set_header Range $http_range; proxy_cache_valid 206 1h;
            proxy_pass http://127.0.0.1:@ORIGIN@;
        }
    }
}
"""

BODY = b"".join(b"%07d\n" % number for number in range(600))
MODIFIED = "Tue, 14 Nov 2023 22:13:20 GMT"


def answer(made: Origin, seen: Seen) -> bytes:
    """A thing with ranges, with what is peculiar to it in its name."""
    name = seen.target.partition("?")[0].rpartition("/")[2]
    words = name.split("-")
    if "404" in words:
        return reply(b"none", "404 Not Found", Content_Type="text/plain")
    if "302" in words:
        return reply(b"", "302 Found", Location=f"http://127.0.0.1:{made.port}/else")
    body = BODY[: int(words[0])] if words[0].isdigit() else BODY
    fields = {"Content-Type": "text/plain", "Last-Modified": MODIFIED}
    if "untagged" not in words:
        fields["ETag"] = '"tag"'
    if "offers" in words:
        fields["Accept-Ranges"] = "bytes"
    if "refuses" in words:
        fields["Accept-Ranges"] = "none"
    match = re.fullmatch(r"bytes=(\d+)-(\d*)", seen.get("Range") or "")
    status, start, stop = "200 OK", 0, len(body)
    if match is not None and "whole" not in words:
        start = int(match.group(1))
        stop = min(int(match.group(2) or len(body)) + 1, len(body))
        if start >= len(body):
            return reply(b"", "416 Range", Content_Range=f"bytes */{len(body)}")
        status, fields["Content-Range"] = "206 Partial Content", misled(words, start, stop, body)
        if start and "changed" in words:
            fields["ETag"] = '"other"'
        if start and "error" in words:
            return reply(b"oops", "500 Oops")
        if start and "ends" in words:
            return reply(body, "200 OK", ETag='"tag"')
    head = {name.replace("-", "_"): value for name, value in fields.items()}
    data = reply(body[start:stop], status, **head)
    if "chunked" in words:
        data = reply(
            b"%x\r\n%s\r\n0\r\n\r\n" % (stop - start, body[start:stop]),
            status, framed=False, Transfer_Encoding="chunked", **head,
        )
    return data[: data.index(b"\r\n\r\n") + 4] if seen.method == "HEAD" else data


def misled(words: list[str], start: int, stop: int, body: bytes) -> str:
    """Content-Range, right or wrong."""
    if start and "shifted" in words:
        return f"bytes {start + 1}-{stop - 1}/{len(body)}"
    total = "*" if start and "unknown" in words else str(len(body))
    return f"bytes {start}-{stop - 1}/{total}"


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Side, Side]]:
    """nginx and the proxy, in this order, each before an origin of its own."""
    with pair(tmp_path_factory.mktemp("slice"), HTTP, answer) as both:
        yield both


def single(response: Response | None) -> Response | None:
    """A multipart answer with a boundary, and so a length, that is the same for both."""
    kind = None if response is None else response.get("Content-Type")
    if response is None or kind is None or not kind.startswith("multipart/byteranges"):
        return response
    boundary = kind.partition("boundary=")[2]
    assert len(response.body) == int(response.get("Content-Length") or 0)
    response.body = response.body.replace(boundary.encode(), b"BOUNDARY")
    response.fields = [
        (name, value.replace(boundary, "BOUNDARY"))
        for name, value in response.fields
        if name != "Content-Length"
    ]
    return response


def bytes_of(value: str, **more: str) -> dict[str, str]:
    return {"Range": f"bytes={value}", **{k.replace("_", "-"): v for k, v in more.items()}}


RANGES = [
    "0-", "0-0", "10-19", "1000-1100", "1024-2047", "3000-3999", "4790-", "4800-", "9999-",
    "-1", "-800", "-9999", "-0", "5-3", "3000-2000", "x", "1-x", "", "0-1,5-6", "3000-3001,5-6",
    "0-0,9999-",
]  # fmt: skip
UNSATISFIABLE = {"4800-", "9999-", "-0", "5-3", "3000-2000", "x", "1-x"}

Step = tuple[object, ...]
#: name → requests, in order.
SEQUENCES: dict[str, list[Step]] = {
    "whole": [("/sliced/a",), ("/sliced/a",), ("/sliced/a", "GET", bytes_of("2000-2099"))],
    "shorter than a slice": [("/sliced/100",), ("/sliced/100",)],
    "as long as a slice": [("/sliced/1024",), ("/sliced/1024",)],
    "two slices": [("/sliced/2048",), ("/sliced/2048",)],
    "HEAD": [("/sliced/head", "HEAD"), ("/sliced/head", "HEAD"), ("/sliced/head",)],
    "GET then HEAD": [("/sliced/get",), ("/sliced/get", "HEAD")],
    "untagged": [("/sliced/untagged",)] * 2,
    "hidden tag": [("/sliced/hidden/changed",)] * 2,
    "no ranges": [("/sliced/whole",)] * 2,
    "no ranges, but offered": [
        ("/sliced/whole-offers",),
        ("/sliced/whole-offers", "GET", bytes_of("10-19")),
        ("/sliced/whole-offers", "GET", bytes_of("2000-2999")),
        ("/sliced/whole-offers", "GET", bytes_of("2000-2999")),
    ],
    "404": [("/sliced/404",)] * 2,
    "302": [("/sliced/302",)] * 2,
    "an error page": [("/sliced/page/404",)],
    "changed midway": [("/sliced/changed",)],
    "an error midway": [("/sliced/error",)],
    "ranges end midway": [("/sliced/ends",)],
    "a shifted slice": [("/sliced/shifted",)],
    "an unknown length midway": [("/sliced/unknown",)],
    "chunked slices": [("/sliced/chunked",)] * 2,
    "preconditions": [
        ("/sliced/pre", "GET", {"If-None-Match": '"tag"'}),
        ("/sliced/pre", "GET", {"If-None-Match": '"tag"'}),
        ("/sliced/pre", "GET", {"If-None-Match": '"other"'}),
        ("/sliced/pre", "GET", {"If-Modified-Since": MODIFIED}),
        ("/sliced/pre", "GET", {"If-Match": '"other"'}),
        ("/sliced/pre", "GET", {"If-Match": '"tag"', **bytes_of("3000-3001")}),
    ],
    "if-range": [
        ("/sliced/if", "GET", bytes_of("3000-3999", If_Range='"tag"')),
        ("/sliced/if", "GET", bytes_of("3000-3999", If_Range='"other"')),
        ("/sliced/if", "GET", bytes_of("3000-3999", If_Range=MODIFIED)),
    ],
    "one range": [("/sliced/one/a", "GET", bytes_of("3000-3999"))],
    "slice 0": [("/sliced/off/a-offers",), ("/sliced/off/a-offers", "GET", bytes_of("10-19"))],
    "compressed": [("/sliced/gzip/a", "GET", {"Accept-Encoding": "gzip"})] * 2,
    "beyond the offset": [("/sliced/offset/a", "GET", bytes_of("3000-3999"))] * 2
    + [("/sliced/offset/a", "GET", bytes_of("100-199"))] * 2,
    "uncached": [("/uncached/a",), ("/uncached/a", "HEAD"), ("/uncached/a", "GET", bytes_of("9-"))],
    "uncached condition": [("/uncached/a", "GET", {"If-None-Match": '"tag"'})],
    "uncached if-range": [("/uncached/a", "GET", bytes_of("3000-3999", If_Range='"tag"'))],
    "uncached, no ranges": [("/uncached/whole", "GET", bytes_of("9-"))],
    "not read": [("/unread/a",), ("/unread/a", "GET", bytes_of("2000-2099"))],
    "not forced": [
        ("/plain/offers", "GET", bytes_of("10-19")), ("/plain/a", "GET", bytes_of("10-19")),
    ],
    "forced": [
        (f"/forced/{name}", "GET", fields)
        for name in ("a", "offers", "refuses", "chunked", "404", "untagged")
        for fields in (
            {}, bytes_of("10-19"), bytes_of("9999-"), bytes_of("1-2,5-6"),
            bytes_of("10-19", If_Range='"tag"'), bytes_of("10-19", If_Range='"other"'),
            bytes_of("10-19", If_None_Match='"tag"'), {"Range": "lines=1-2"},
        )
    ],
    "forced, and the origin knows ranges": [
        ("/forced/passed/a", "GET", bytes_of("10-19")),
        ("/forced/passed/a", "GET", bytes_of("9999-")),
    ],
    "forced with max_ranges": [
        ("/forced/two/a", "GET", bytes_of("1-2,5-6")), ("/forced/none/a", "GET", bytes_of("1-2")),
        ("/forced/none/a",),
    ],
    "forced and compressed": [
        ("/forced/gzip/a", "GET", bytes_of("1-2", Accept_Encoding="gzip")),
        ("/forced/gzip/a", "GET", bytes_of("1-2")),
    ],
    "kept": [
        (f"/kept/{name}", "GET", fields)
        # Of "refuses" nginx says that it has ranges; we leave the origin's word as it is.
        for name in ("a", "offers")
        for fields in (bytes_of("10-19"), bytes_of("10-19"), {}, bytes_of("1-2,5-6"))
    ],
    "kept and forced": [
        (f"/kept/forced/{name}", "GET", fields)
        for name in ("a", "offers", "refuses", "404")
        for fields in (
            bytes_of("1-2,5-6"), bytes_of("10-19"), {}, bytes_of("9999-"),
            bytes_of("10-19", If_Range='"other"'),
        )
    ],
    "kept with max_ranges": [
        ("/kept/two/a",), ("/kept/two/a", "GET", bytes_of("1-2,5-6,8-9")),
    ],
    "kept before the offset": [
        ("/kept/offset/offers", "GET", bytes_of("1999-2010")),
        ("/kept/offset/offers", "GET", bytes_of("3000-3010")),
    ],
    "kept beyond the offset": [("/kept/offset/b-offers", "GET", bytes_of("2000-2010"))],
    "kept by range beyond the offset": [
        ("/kept/offset-key/a", "GET", bytes_of("2000-2010")),
        ("/kept/offset-key/a", "GET", bytes_of("2000-2010")),
        ("/kept/offset-key/a", "GET", bytes_of("1999-2010")),
        ("/kept/offset-key/a", "GET", bytes_of("1999-2010")),
    ],
}  # fmt: skip
SEQUENCES |= {
    # Once alone where the answer is 416: we keep the slice that told so, nginx does not.
    f"range {value}": [(f"/sliced/range-{number}", "GET", bytes_of(value))]
    * (1 if value in UNSATISFIABLE else 2)
    for number, value in enumerate(RANGES)
}


@pytest.mark.parametrize("name", SEQUENCES)
def test_sequence(sides: tuple[Side, Side], name: str) -> None:
    """The same answers, and the same questions to the origin."""
    for step in SEQUENCES[name]:
        data, method = build(*step)  # type: ignore[arg-type]
        before = [len(side.app.requests) for side in sides]
        theirs, ours = (single(ask(side.port, data, method)) for side in sides)
        compare(sides, (theirs, ours))
        asked = [
            [seen.get("Range") for seen in side.app.requests[count:]]
            for side, count in zip(sides, before, strict=True)
        ]
        assert asked[1] == asked[0], "the origin is asked for something else"
