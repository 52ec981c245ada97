"""What is compared: one row per path through the proxy, with the ratio it should reach."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["ROWS", "Row"]

GZIP = {"Accept-Encoding": "gzip"}

#: What a desktop browser sends with a navigation.
BROWSER = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Language": "en-GB,en;q=0.7,de;q=0.3",
    "Accept-Encoding": "gzip, deflate, br, zstd",
    "Referer": "http://localhost/",
    "Upgrade-Insecure-Requests": "1",
    "Sec-Fetch-Dest": "document",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Site": "same-origin",
    "Sec-Fetch-User": "?1",
    "Priority": "u=0, i",
    "Cookie": "csrftoken=4RbXd0t2Qm7; sessionid=x8k2m4q6s8u0w2y4a6c8e0g2i4k6m8o0",
}


@dataclass(frozen=True)
class Row:
    """*path* is asked of the proxy; *against* names whom it is compared with.

    *other_path* is what the other is asked, where that differs. *script* makes requests that
    are not one repeated (``requests.lua``); ``@RUN@`` in it differs from run to run.
    """

    key: str
    title: str
    path: str
    target: float
    against: str = "nginx"
    other_path: str = ""
    tls: bool = False
    fields: dict[str, str] = field(default_factory=dict)
    script: tuple[str, ...] = ()


ROWS = (
    Row("hit-1k", "cached hit, 1 KB", "/hit/1k.html", 1.0),
    Row("hit-10k", "cached hit, 10 KB", "/hit/10k.html", 1.0),
    Row("hit-100k", "cached hit, 100 KB", "/hit/100k.html", 1.2),
    Row("hit-100k-copied", "cached hit, 100 KB, sendfile off", "/copied/100k.html", 1.2),
    Row("gzip-10k", "gzip on a cached hit, 10 KB", "/gzip/10k.html", 5, fields=GZIP),
    Row("gzip-100k", "gzip on a cached hit, 100 KB", "/gzip/100k.html", 50, fields=GZIP),
    Row("miss-1k", "miss, 1 KB", "/miss/1k.html", 0.6),
    Row("miss-10k-browser", "miss, 10 KB, browser fields", "/miss/10k.html", 0.6, fields=BROWSER),
    Row(
        "miss-distinct",
        "miss, 1 KB, each request different",
        "/miss/1k.html",
        0.6,
        script=("distinct", "@RUN@"),
    ),
    Row("post-1k", "POST, 1 KB", "/miss/1k.html", 0.6, script=("post", "1024")),
    Row(
        "stored-miss-1k",
        "stored miss, 1 KB",
        "/stored/1k.html",
        0.6,
        script=("distinct", "@RUN@"),
    ),
    Row("miss-100k", "miss, 100 KB", "/miss/100k.html", 1.2),
    Row("tls-1k", "TLS cached hit, 1 KB", "/hit/1k.html", 0.7, tls=True),
    Row("static-10k", "static file, 10 KB", "/static/10k.html", 0.7),
    Row(
        "twisted-hit",
        "cached hit, 1 KB, against ReverseProxyResource",
        "/hit/1k.html",
        20,
        "twisted.web",
        "/1k.html",
    ),
    Row(
        "twisted-miss",
        "miss, 1 KB, against ReverseProxyResource",
        "/miss/1k.html",
        7,
        "twisted.web",
        "/1k.html",
    ),
)
