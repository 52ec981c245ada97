"""The configuration that both run, the files it serves, and the origin behind it.

``@PORT@``, ``@CACHE_PORT@``, ``@ORIGIN@``, ``@FILES@`` and ``@DIR@`` are filled in for each.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from tests.support.origins import Origin, Seen, reply

__all__ = ["HTTP", "answer", "make_files"]

HTTP = Path(__file__).with_name("http.conf").read_text()

#: Old, so that no comparison falls into the second in which a file changed.
MODIFIED = 1_700_000_000


def make_files(folder: Path) -> None:
    """The tree under ``root`` and the one under ``alias``."""
    files = {
        "www/index.html": "<p>index</p>\n",
        "www/page.html": "<p>page</p>\n" + "line of text\n" * 400,
        "www/style.css": "p { margin: 0 }\n" * 100,
        "www/small.css": "p{}\n",
        "www/data.json": json.dumps(list(range(500))),
        "www/empty.txt": "",
        "www/noext": "no extension\n",
        "www/a b.txt": "space\n",
        "www/ü.txt": "umlaut\n",
        "www/dir/index.html": "<p>dir</p>\n",
        "www/dir/b.html": "<p>b</p>\n",
        "www/bare/file.txt": "no index beside me\n",
        "www/errors/404.html": "<p>own 404</p>\n",
        "www/errors/fine.html": "<p>fine</p>\n",
        "www/tried/file.txt": "tried\n",
        "www/tried/sub/index.html": "<p>sub</p>\n",
        "other/a.txt": "0123456789" * 10,
        "other/sub/c.txt": "c\n",
    }
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        os.utime(path, (MODIFIED, MODIFIED))


def _echo(seen: Seen, count: int) -> bytes:
    # We send Via (RFC 9110 §7.6.3) and nginx does not; the echoes must have one length.
    fields = sorted(
        [name.lower(), value] for name, value in seen.fields if name.lower() != "via"
    )
    shown = {
        "request": f"{seen.method} {seen.target} {seen.version}",
        "fields": fields,
        "body": seen.body.decode("latin-1"),
        "count": count,
    }
    return json.dumps(shown, indent=1).encode()


#: What the origin sends with a body, by the last segment of the target's path.
FIELDS: dict[str, dict[str, str]] = {
    "css": {"Content-Type": "text/css"},
    "html": {"Content-Type": "text/html; charset=utf-8"},
    "json": {"Content-Type": "application/json"},
    "coded": {"Content-Type": "text/html", "Content-Encoding": "br"},
    "etag": {
        "Content-Type": "text/html",
        "ETag": '"tag"',
        "Last-Modified": "Tue, 14 Nov 2023 22:13:20 GMT",
        # Without it nginx serves no ranges of what it keeps; we do.
        "Accept-Ranges": "bytes",
    },
    "weak": {"Content-Type": "text/html", "ETag": 'W/"tag"'},
    "dated": {"Last-Modified": "Tue, 14 Nov 2023 22:13:20 GMT"},
    "secret": {"X-Secret": "a", "X-Open": "b", "X-Accel-Charset": "utf-8"},
    "cookie": {"Set-Cookie": "a=b; Path=/"},
    "private": {"Cache-Control": "private"},
    "no-store": {"Cache-Control": "no-store"},
    "no-cache": {"Cache-Control": "no-cache", "Content-Type": "text/html"},
    "max-age": {"Cache-Control": "max-age=60"},
    "max-age-0": {"Cache-Control": "max-age=0"},
    "s-maxage": {"Cache-Control": "s-maxage=60, max-age=0"},
    "past": {"Expires": "Thu, 01 Jan 1970 00:00:01 GMT"},
    "future": {"Expires": "Thu, 01 Jan 2037 00:00:01 GMT"},
    "vary": {"Vary": "Accept-Language"},
    "vary-all": {"Vary": "*"},
    "accel-off": {"X-Accel-Expires": "0"},
    "accel-on": {"X-Accel-Expires": "60", "Cache-Control": "no-store"},
}
STATUSES = {
    "200": "200 OK",
    "204": "204 No Content",
    "301": "301 Moved Permanently",
    "302": "302 Found",
    "403": "403 Forbidden",
    "404": "404 Not Found",
    "418": "418 I'm a teapot",
    "500": "500 Internal Server Error",
    "503": "503 Service Unavailable",
}


def answer(made: Origin, seen: Seen) -> bytes:
    """The origin's answer: an echo of the request with the fields and status that it names."""
    last = seen.target.partition("?")[0].rpartition("/")[2]
    fields = dict(FIELDS.get(last, {}))
    if last.startswith("to-"):
        locations = {
            "to-base": f"http://127.0.0.1:{made.port}/r/x",
            "to-other": f"http://127.0.0.1:{made.port}/unrelated",
            "to-path": "/r/x",
            "to-elsewhere": "http://elsewhere.test/a/b",
            "to-moved": "http://shop.moved.test/a?b",
        }
        return reply(b"moved", "302 Found", Location=locations[last])
    status = STATUSES.get(last, "200 OK")
    if last == "301":
        fields["Location"] = "http://elsewhere.test/"
    # The count is of this target alone, so that it tells a cached answer from a new one.
    body = b"" if last == "204" else _echo(seen, made.count(seen.target))
    if last in ("css", "html", "json", "coded", "etag", "weak"):
        body += b" " * 500
    if last == "part" and seen.get("range"):
        status = "206 Partial Content"
        body, fields["Content-Range"] = b"56789", "bytes 5-9/1000"
    head = {name.replace("-", "_"): value for name, value in fields.items()}
    data = reply(body, status, framed=last != "204", **head)
    if seen.method == "HEAD":
        return data[: data.index(b"\r\n\r\n") + 4]
    return data
