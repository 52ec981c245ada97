"""Requests whose answers must be nginx's: status, fields and body.

Not compared, because we differ on purpose: the fields of ``OURS``; the wording of built-in
error pages; the framing of a compressed body (we keep it and know its length); and the
cases in ``DIFFERENT`` and ``STRICTER``, where the answer is the RFC's.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.differential.conf import HTTP, answer, make_files
from tests.differential.sides import Side, ask, build, compare, pair
from tests.support.client import Connection
from tests.support.processes import NGINX

pytestmark = [
    pytest.mark.differential,
    pytest.mark.skipif(NGINX is None, reason="nginx is not on the PATH"),
]

@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Side, Side]]:
    """nginx and the proxy, in this order, each before an origin of its own."""
    files = tmp_path_factory.mktemp("files")
    make_files(files)
    with pair(tmp_path_factory.mktemp("sides"), HTTP, answer, {"@FILES@": files}) as both:
        yield both


GZIP = {"Accept-Encoding": "gzip"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}

#: name → the arguments of ``build``.
REQUESTS: dict[str, tuple[object, ...]] = {
    # Locations
    "exact": ("/exact",),
    "exact with query": ("/exact?a=b",),
    "exact is not a prefix": ("/exact/",),
    "prefix": ("/prefix/a/b",),
    "longest prefix": ("/prefix/longer/a",),
    "regex over prefix": ("/prefix/a.php",),
    "final prefix over regex": ("/final/a.php",),
    "regex": ("/a.php",),
    "regex is case-sensitive": ("/a.PHP",),
    "regex without case": ("/a/b.jpg",),
    "captures": ("/capture/42/word",),
    "captures do not match": ("/capture/word/42",),
    "nested outer": ("/nested/a",),
    "nested inner": ("/nested/inner/a",),
    "nested regex": ("/nested/a.txt",),
    "decoded for matching": ("/%70refix/%61",),
    "encoded slash": ("/prefix/a%2Fb",),
    "encoded percent": ("/prefix/a%2541",),
    "dots": ("/prefix/a/../longer/./b",),
    "slashes merged": ("//prefix///longer//a",),
    "slashes kept": ("//a///b", "GET", {"Host": "second.test"}),
    "dots above the root": ("/../a",),
    "encoded dots": ("/prefix/%2e%2e/exact",),
    "fragment": ("/exact#part",),
    "non-ascii": ("/prefix/\xff",),
    "absolute form": ("http://localhost/exact",),
    "absolute form decides the host": ("http://second.test/a", "GET", {"Host": "localhost"}),
    "asterisk": ("*", "OPTIONS"),
    # Names
    "name exact": ("/name", "GET", {"Host": "www.test"}),
    "name in capitals": ("/name", "GET", {"Host": "WWW.TEST"}),
    "name with port": ("/name", "GET", {"Host": "www.test:81"}),
    "name with a dot at the end": ("/name", "GET", {"Host": "www.test."}),
    "name by wildcard": ("/name", "GET", {"Host": "a.b.wild.test"}),
    "name by regex": ("/name", "GET", {"Host": "shop.regex.test"}),
    "name unknown": ("/name", "GET", {"Host": "unknown.test"}),
    "underscore dropped": ("/vars", "GET", {"X_Test": "a"}),
    # Variables
    "variables": ("/vars/%61?a=1&b=2&a=3", "GET", {"X-Test": "yes", "Cookie": "c=d; e=f"}),
    "variables of a post": ("/vars?x", "POST", FORM, "a=b"),
    "variables without query": ("/vars",),
    "variables with an empty query": ("/vars?",),
    "escaped argument": ("/vars?a=%20%zz&b=a+b",),
    # Passing on
    "pass as is": ("/plain/a%20b?c=%2f",),
    "pass normalised or not": ("/plain/a/../b//c",),
    "pass with uri": ("/uri/a%20b/c?d=e",),
    "pass with uri, escapes": ("/uri/a%2Fb%3Fc%25d",),
    "pass with uri, dots": ("/uri/x/../y",),
    "pass with uri without slash": ("/uri-bare/a",),
    "pass with uri without slash, longer": ("/uri-barefoot",),
    "pass with root uri": ("/uri-root/a?b",),
    "pass to an exact uri": ("/uri-exact?x=y",),
    "pass from a regex": ("/regex-pass/%41?b",),
    "pass with variables": ("/var-pass/a/b?d",),
    "pass to a group": ("/group/a",),
    "pass a form": ("/plain/", "POST", FORM, "a=b&c=d"),
    "pass a chunked body": (
        "/plain/", "POST", {"Transfer-Encoding": "chunked"}, "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
    ),
    "pass PUT": ("/plain/", "PUT", {}, "content"),
    "pass DELETE": ("/plain/", "DELETE"),
    "pass OPTIONS": ("/plain/", "OPTIONS"),
    "pass an unknown method": ("/plain/", "BREW"),
    "pass HEAD": ("/plain/a", "HEAD"),
    "fields at the origin": (
        "/fields/", "GET",
        {"X-Forwarded-For": "192.0.2.1", "Accept-Encoding": "br", "X-Empty": "full",
         "User-Agent": "test", "Cookie": "a=b", "X_Under": "dropped", "X.Dot": "dropped"},
    ),
    "hop-by-hop at the origin": (
        "/plain/", "GET", {"Connection": "keep-alive", "Keep-Alive": "timeout=5"},
    ),
    "no fields": ("/no-fields/", "GET", {"X-Test": "a", "Cookie": "c"}),
    "no body": ("/no-body/", "POST", {}, "content"),
    "another method": ("/method/", "POST", {}, "content"),
    "hidden field": ("/hide/secret",),
    "shown fields": ("/plain/secret",),
    "cookie passes": ("/plain/cookie",),
    "redirect by default": ("/redirect/to-base",),
    "redirect elsewhere by default": ("/redirect/to-other",),
    "redirect by path": ("/redirect/to-path",),
    "redirect off": ("/redirect-off/to-base",),
    "redirect replaced": ("/redirect-own/to-elsewhere",),
    "redirect replaced by regex": ("/redirect-own/to-moved",),
    "fields added": ("/added/a",),
    "fields added to an error": ("/added/404",),
    "204 of the origin": ("/plain/204",),
    "301 of the origin": ("/plain/301",),
    "body too large": ("/plain/", "POST", {}, "x" * 101),
    # Error pages
    "error page of the origin": ("/intercept/404",),
    "error page with a status": ("/intercept/500",),
    "error page's own status": ("/intercept/503",),
    "error page named": ("/intercept/418",),
    "error page elsewhere": ("/intercept/403",),
    "no error page": ("/intercept/200",),
    "error not intercepted": ("/not-intercepted/404",),
    "error page of a file": ("/missing/x",),
    "error page of a file with a status": ("/missing-200/x",),
    "internal": ("/errors/404.html",),
    # return
    "return 204": ("/r/204",),
    "return 301": ("/r/301?a=b",),
    "return 302": ("/r/302",),
    "return 303": ("/r/303",),
    "return 307": ("/r/307", "POST", {}, "a"),
    "return 308": ("/r/308",),
    "return 301 to another host": ("/r/301", "GET", {"Host": "www.test"}),
    "return 400": ("/r/400",),
    "return 403": ("/r/403",),
    "return 410": ("/r/410",),
    "return 500": ("/r/500",),
    "return 503": ("/r/503",),
    "return 444": ("/r/444",),
    "return a url": ("/r/url?a",),
    "return typed": ("/r/typed",),
    "return to HEAD": ("/exact", "HEAD"),
    # expires
    "expires in an hour": ("/expires/hour/x",),
    "expires in an hour, 404": ("/expires/hour/404",),
    "expires in the past": ("/expires/past/x",),
    "expires epoch": ("/expires/epoch/x",),
    "expires max": ("/expires/max/x",),
    "expires replaces": ("/expires/hour/max-age",),
    "expires after modification": ("/expires/file/a.txt",),
    # Files
    "index": ("/",),
    "file": ("/page.html",),
    "file HEAD": ("/page.html", "HEAD"),
    "file POST": ("/page.html", "POST", {}, "a"),
    "file DELETE": ("/page.html", "DELETE"),
    "file type json": ("/data.json",),
    "file without extension": ("/noext",),
    "file empty": ("/empty.txt",),
    "file with a space": ("/a%20b.txt",),
    "file with an umlaut": ("/%C3%BC.txt",),
    "file missing": ("/absent.html",),
    "file below a file": ("/page.html/x",),
    "folder with index": ("/dir/",),
    "folder without slash": ("/dir",),
    "folder without slash, query": ("/dir?a=b",),
    "folder without index": ("/bare/",),
    "folder POST": ("/dir/", "POST", {}, "a"),
    "file with a slash": ("/page.html/",),
    "file with NUL": ("/page.html%00",),
    "alias": ("/alias/a.txt",),
    "alias in a folder": ("/alias/sub/c.txt",),
    "alias escape": ("/alias../www/index.html",),
    "alias folder without slash": ("/alias/sub",),
    "alias by regex": ("/alias-regex/sub/c.txt",),
    "alias of a file": ("/alias-file",),
    "index by name": ("/index-other/",),
    "no etag": ("/no-etag/a.txt",),
    "tried file": ("/tried/file.txt",),
    "tried folder": ("/tried/sub/",),
    "tried last": ("/tried/absent",),
    "tried 404": ("/tried-404/absent",),
    "tried named": ("/tried-named/absent",),
    # Ranges and conditions
    "range": ("/alias/a.txt", "GET", {"Range": "bytes=10-19"}),
    "range to the end": ("/alias/a.txt", "GET", {"Range": "bytes=90-"}),
    "range from the end": ("/alias/a.txt", "GET", {"Range": "bytes=-5"}),
    "range past the end": ("/alias/a.txt", "GET", {"Range": "bytes=95-200"}),
    "range unsatisfiable": ("/alias/a.txt", "GET", {"Range": "bytes=100-"}),
    "range of nothing": ("/alias/a.txt", "GET", {"Range": "bytes=-0"}),
    "range malformed": ("/alias/a.txt", "GET", {"Range": "bytes=b-a"}),
    "range reversed": ("/alias/a.txt", "GET", {"Range": "bytes=9-5"}),
    "range in another unit": ("/alias/a.txt", "GET", {"Range": "lines=1-2"}),
    "range HEAD": ("/alias/a.txt", "HEAD", {"Range": "bytes=0-9"}),
    "range if date": (
        "/alias/a.txt", "GET",
        {"Range": "bytes=0-9", "If-Range": "Tue, 14 Nov 2023 22:13:20 GMT"},
    ),
    "range if other date": (
        "/alias/a.txt", "GET",
        {"Range": "bytes=0-9", "If-Range": "Tue, 14 Nov 2023 22:13:21 GMT"},
    ),
    "range if tag": ("/alias/a.txt", "GET", {"Range": "bytes=0-9", "If-Range": '"6553f100-64"'}),
    "range if other tag": ("/alias/a.txt", "GET", {"Range": "bytes=0-9", "If-Range": '"x"'}),
    "not modified since": (
        "/alias/a.txt", "GET", {"If-Modified-Since": "Tue, 14 Nov 2023 22:13:20 GMT"},
    ),
    "modified since": (
        "/alias/a.txt", "GET", {"If-Modified-Since": "Tue, 14 Nov 2023 22:13:19 GMT"},
    ),
    "modified before a later time": (
        "/alias/a.txt", "GET", {"If-Modified-Since": "Tue, 14 Nov 2023 22:13:21 GMT"},
    ),
    "unmodified since": (
        "/alias/a.txt", "GET", {"If-Unmodified-Since": "Tue, 14 Nov 2023 22:13:20 GMT"},
    ),
    "unmodified since before": (
        "/alias/a.txt", "GET", {"If-Unmodified-Since": "Tue, 14 Nov 2023 22:13:19 GMT"},
    ),
    "none match": ("/alias/a.txt", "GET", {"If-None-Match": '"6553f100-64"'}),
    "none match weak": ("/alias/a.txt", "GET", {"If-None-Match": 'W/"6553f100-64"'}),
    "none match any": ("/alias/a.txt", "GET", {"If-None-Match": "*"}),
    "none match list": ("/alias/a.txt", "GET", {"If-None-Match": '"x", "6553f100-64"'}),
    "none match other": ("/alias/a.txt", "GET", {"If-None-Match": '"x"'}),
    "match": ("/alias/a.txt", "GET", {"If-Match": '"6553f100-64"'}),
    "match other": ("/alias/a.txt", "GET", {"If-Match": '"x"'}),
    "match any": ("/alias/a.txt", "GET", {"If-Match": "*"}),
    # gzip
    "gzip": ("/gzip/css", "GET", GZIP),
    "gzip not asked": ("/gzip/css",),
    "gzip refused": ("/gzip/css", "GET", {"Accept-Encoding": "gzip;q=0"}),
    "gzip among others": ("/gzip/css", "GET", {"Accept-Encoding": "br, gzip;q=0.5, *;q=0"}),
    "gzip of another type": ("/gzip/dated", "GET", GZIP),
    "gzip of a coded answer": ("/gzip/coded", "GET", GZIP),
    "gzip HEAD": ("/gzip/css", "HEAD", GZIP),
    "gzip weakens the tag": ("/gzip/etag", "GET", GZIP),
    "gzip keeps a weak tag": ("/gzip/weak", "GET", GZIP),
    "gzip of a file": ("/gzip/file/style.css", "GET", GZIP),
    "gzip of a short file": ("/gzip/file/small.css", "GET", GZIP),
    "gzip of a file's range": ("/gzip/file/style.css", "GET", {**GZIP, "Range": "bytes=0-9"}),
    "gzip for HTTP/1.0": ("/gzip/css", "GET", GZIP, "", "1.0"),
    "gzip not for proxies": ("/gzip-not-proxied/html", "GET", {**GZIP, "Via": "1.1 a"}),
    "gzip for no proxy": ("/gzip-not-proxied/html", "GET", GZIP),
    "gzip allowed for HTTP/1.0": ("/gzip-10/html", "GET", GZIP, "", "1.0"),
    "gzip proxied no-cache": ("/gzip-10/no-cache", "GET", {**GZIP, "Via": "1.1 a"}),
    "gzip proxied otherwise": ("/gzip-10/html", "GET", {**GZIP, "Via": "1.1 a"}),
    "gzip disabled": ("/gzip-disabled/page.html", "GET", {**GZIP, "User-Agent": "Bad/1"}),
    "gzip not disabled": ("/gzip-disabled/page.html", "GET", {**GZIP, "User-Agent": "Good/1"}),
    # Connections
    "close": ("/exact", "GET", {"Connection": "close"}),
    "close of a pass": ("/plain/a", "GET", {"Connection": "close"}),
    "HTTP/1.0": ("/exact", "GET", {}, "", "1.0"),
    "HTTP/1.0 keep-alive": ("/exact", "GET", {"Connection": "keep-alive"}, "", "1.0"),
    "HTTP/1.0 pass": ("/plain/a", "GET", {}, "", "1.0"),
    "expect": ("/plain/", "POST", {"Expect": "100-continue"}, "abc"),
    "expect something else": ("/plain/", "POST", {"Expect": "the-unexpected"}, "abc"),
}  # fmt: skip


#: Where we follow the RFC and nginx does not: name → our status.
DIFFERENT = {
    "range HEAD": 200,  # RFC 9110 §14.2: Range means something for GET alone; nginx 206
    "modified before a later time": 304,  # RFC 9110 §13.1.3; nginx compares exactly
    "expect something else": 417,  # RFC 9110 §10.1.1; nginx ignores it
}


@pytest.mark.parametrize("name", REQUESTS)
def test_request(sides: tuple[Side, Side], name: str) -> None:
    """One request, one answer."""
    arguments = list(REQUESTS[name])
    data, method = build(*arguments)  # type: ignore[arg-type]
    theirs, ours = (ask(side.port, data, method) for side in sides)
    if name in DIFFERENT:
        assert ours is not None
        assert ours.status == DIFFERENT[name]
    else:
        compare(sides, (theirs, ours))


HOST = b"Host: localhost\r\n"
#: name → bytes; only the status is compared, and that the connection ends.
MALFORMED: dict[str, bytes] = {
    "garbage": b"\x00\x01\x02\r\n\r\n",
    "bad method": b"ge:t / HTTP/1.1\r\n" + HOST + b"\r\n",
    "bad version": b"GET / HTTP/1.x\r\n" + HOST + b"\r\n",
    "version 3.0": b"GET / HTTP/3.0\r\n" + HOST + b"\r\n",
    "space in the target": b"GET /a b HTTP/1.1\r\n" + HOST + b"\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\n" + HOST + HOST + b"\r\n",
    "bad host": b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "bad escape": b"GET /%zz HTTP/1.1\r\n" + HOST + b"\r\n",
    "cut escape": b"GET /% HTTP/1.1\r\n" + HOST + b"\r\n",
    "NUL": b"GET /%00 HTTP/1.1\r\n" + HOST + b"\r\n",
    "above the root": b"GET /../.. HTTP/1.1\r\n" + HOST + b"\r\n",
    "relative target": b"GET exact HTTP/1.1\r\n" + HOST + b"\r\n",
    "two lengths": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\n" * 2 + b"\r\na",
    "bad length": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: a\r\n\r\n",
    "length and coding": (
        b"POST / HTTP/1.1\r\n" + HOST
        + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "unknown coding": b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip\r\n\r\n",
    "bad chunk": (
        b"POST /plain/ HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\nx\r\n\r\n"
    ),
    "line too long": b"GET /" + b"a" * 33_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    "fields too large": b"GET / HTTP/1.1\r\n" + HOST + b"A: " + b"b" * 33_000 + b"\r\n\r\n",
    "CONNECT": b"CONNECT localhost:80 HTTP/1.1\r\n" + HOST + b"\r\n",
    "TRACE": b"TRACE / HTTP/1.1\r\n" + HOST + b"\r\n",
}  # fmt: skip
#: Where our status is the RFC's and nginx's is another: name → ours.
STRICTER = {
    "fields too large": 431,  # RFC 6585 §5; nginx 400
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_request(sides: tuple[Side, Side], name: str) -> None:
    """The same refusal, or the one that is listed."""
    theirs, ours = (ask(side.port, MALFORMED[name], "GET") for side in sides)
    assert theirs is not None and ours is not None
    assert ours.status in {theirs.status, STRICTER.get(name, theirs.status)}
    assert ours.status >= 400


Step = tuple[object, ...]
#: name → requests to the server with the cache, in order.
SEQUENCES: dict[str, list[Step]] = {
    "underscore": [("/underscore", "GET", {"A_B": "c"})],
    "miss, hit": [("/a",), ("/a",), ("/a?b",), ("/a?b",)],
    "404": [("/b/404",), ("/b/404",)],
    "301": [("/c/301",), ("/c/301",)],
    "500 is not kept": [("/d/500",), ("/d/500",)],
    "500 kept where it is named": [("/no-valid/500",), ("/no-valid/500",), ("/no-valid/x",)] * 2,
    "HEAD fills": [("/e", "HEAD"), ("/e",), ("/e", "HEAD")],
    "GET then HEAD": [("/f",), ("/f", "HEAD")],
    "POST passes by": [("/g", "POST", {}, "a"), ("/g", "POST", {}, "a"), ("/g",)],
    "POST kept where it is named": [("/methods/a", "POST", {}, "a")] * 2,
    "own key": [("/key/a?b",), ("/key/a?c",)],
    "uses": [("/uses/a",)] * 5,
    "bypass": [("/bypass/a",), ("/bypass/a?fresh=1",), ("/bypass/a",), ("/bypass/a?fresh=0",)],
    "bypass by field": [
        ("/bypass/b",), ("/bypass/b", "GET", {"X-Fresh": "1"}), ("/bypass/b",),
    ],
    "no_cache": [("/no-cache/a?private=1",), ("/no-cache/a",), ("/no-cache/a",)],
    "off": [("/off/a",)] * 2,
    "cookie is not kept": [("/h/cookie",)] * 2,
    "private is not kept": [("/h/private",)] * 2,
    "no-store is not kept": [("/h/no-store",)] * 2,
    "no-cache is not kept": [("/h/no-cache",)] * 2,
    "max-age=0 is not kept": [("/h/max-age-0",)] * 2,
    "max-age": [("/h/max-age",)] * 2,
    "s-maxage": [("/h/s-maxage",)] * 2,
    "expired is not kept": [("/h/past",)] * 2,
    "expires": [("/h/future",)] * 2,
    "accel off": [("/h/accel-off",)] * 2,
    "accel on": [("/h/accel-on",)] * 2,
    "ignored cookie": [("/ignore/cookie",)] * 2,
    "ignored no-store": [("/ignore/no-store",)] * 2,
    "vary": [
        ("/h/vary", "GET", {"Accept-Language": "en"}),
        ("/h/vary", "GET", {"Accept-Language": "en"}),
        ("/h/vary", "GET", {"Accept-Language": "de"}),
        ("/h/vary", "GET", {"Accept-Language": "de"}),
    ],
    "vary on all": [("/h/vary-all",)] * 2,
    "conditions": [
        ("/h/etag",),
        ("/h/etag", "GET", {"If-None-Match": '"tag"'}),
        ("/h/etag", "GET", {"If-None-Match": '"other"'}),
        ("/h/etag", "GET", {"If-Modified-Since": "Tue, 14 Nov 2023 22:13:20 GMT"}),
        ("/h/etag", "GET", {"If-Match": '"other"'}),
    ],
    "a condition on a miss": [
        ("/i/etag", "GET", {"If-None-Match": '"tag"'}),
        ("/i/etag",),
    ],
    "ranges": [
        ("/j/etag",),
        ("/j/etag", "GET", {"Range": "bytes=0-9"}),
        ("/j/etag", "GET", {"Range": "bytes=-3"}),
        ("/j/etag", "GET", {"Range": "bytes=100000-"}),
        ("/j/etag", "GET", {"Range": "bytes=0-4", "If-Range": '"tag"'}),
        ("/j/etag", "GET", {"Range": "bytes=0-4", "If-Range": '"other"'}),
    ],
    "ranges in the key": [
        ("/range-key/part", "GET", {"Range": "bytes=5-9"}),
        ("/range-key/part", "GET", {"Range": "bytes=5-9"}),
        ("/range-key/part", "GET", {"Range": "bytes=5-8"}),
        ("/range-key/part",),
    ],
    "a range beyond the offset": [("/range-offset/part", "GET", {"Range": "bytes=20-24"})],
    "a range before the offset": [
        ("/range-offset/etag", "GET", {"Range": "bytes=2-8"}), ("/range-offset/etag",),
    ],
    "a range on a miss": [("/k/etag", "GET", {"Range": "bytes=0-9"}), ("/k/etag",)],
    "gzip of a kept answer": [
        ("/gzip/css", "GET", GZIP), ("/gzip/css", "GET", GZIP), ("/gzip/css",),
        ("/gzip/css", "HEAD", GZIP),
    ],
    "gzip after identity": [("/gzip/html",), ("/gzip/html", "GET", GZIP)],
    "HTTP/1.0 of a kept answer": [("/l",), ("/l", "GET", {}, "", "1.0")],
}  # fmt: skip


@pytest.mark.parametrize("name", SEQUENCES)
def test_cache_sequence(sides: tuple[Side, Side], name: str) -> None:
    """The same requests in the same order find the cache in the same state."""
    for step in SEQUENCES[name]:
        data, method = build(*step)  # type: ignore[arg-type]
        theirs, ours = (ask(side.cache_port, data, method) for side in sides)
        if name == "ignored cookie" and theirs is not None:
            # One visitor's cookie is never kept for the next, whatever is ignored.
            theirs.fields = [field for field in theirs.fields if field[0] != "Set-Cookie"]
            if ours is not None:
                ours.fields = [field for field in ours.fields if field[0] != "Set-Cookie"]
        compare(sides, (theirs, ours))


def test_fragment_of_a_target(sides: tuple[Side, Side]) -> None:
    """It is no part of path or arguments; unlike nginx we do not pass it on either."""
    for target in ("/exact#a", "/exact?q#a", "/uri/a?b=c#d", "/vars#?a=1", "/capture/4/w#x", "/#"):
        data, method = build(target)
        theirs, ours = (ask(side.port, data, method) for side in sides)
        compare(sides, (theirs, ours))
    for target, asked in (("/plain/f#b", "/plain/f"), ("/plain/f?b=c#d?e", "/plain/f?b=c")):
        data, method = build(target)
        for side, sent in zip(sides, (target, asked), strict=True):
            assert ask(side.port, data, method) is not None
            assert side.app.requests[-1].target == sent


def test_a_byte_at_a_time(sides: tuple[Side, Side]) -> None:
    """A request in single bytes is answered as a whole one."""
    data, method = build("/vars?a=1", "GET", {"X-Test": "slow"})
    answers = []
    for side in sides:
        with Connection(side.port) as connection:
            for byte in data:
                connection.send(bytes([byte]))
            answers.append(connection.response(method))
    compare(sides, (answers[0], answers[1]))


def test_one_connection_many_requests(sides: tuple[Side, Side]) -> None:
    """Answers on a kept connection are those of fresh ones, in order."""
    with Connection(sides[0].port) as theirs, Connection(sides[1].port) as ours:
        for target in ("/exact", "/page.html", "/plain/a", "/r/204", "/absent", "/gzip/css"):
            data, method = build(target, "GET", GZIP)
            theirs.send(data)
            ours.send(data)
            compare(sides, (theirs.response(method), ours.response(method)))
