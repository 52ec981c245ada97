"""What is compared: one row per path through the proxy, with the ratio it should reach."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["ROWS", "Row"]

GZIP = {"Accept-Encoding": "gzip"}


@dataclass(frozen=True)
class Row:
    """*path* is asked of the proxy; *against* names whom it is compared with.

    *other_path* is what the other is asked, where that differs.
    """

    key: str
    title: str
    path: str
    target: float
    against: str = "nginx"
    other_path: str = ""
    tls: bool = False
    fields: dict[str, str] = field(default_factory=dict)


ROWS = (
    Row("hit-1k", "cached hit, 1 KB", "/hit/1k.html", 1.0),
    Row("hit-10k", "cached hit, 10 KB", "/hit/10k.html", 1.0),
    Row("hit-100k", "cached hit, 100 KB", "/hit/100k.html", 1.2),
    Row("hit-100k-copied", "cached hit, 100 KB, sendfile off", "/copied/100k.html", 1.2),
    Row("gzip-10k", "gzip on a cached hit, 10 KB", "/gzip/10k.html", 5, fields=GZIP),
    Row("gzip-100k", "gzip on a cached hit, 100 KB", "/gzip/100k.html", 50, fields=GZIP),
    Row("miss-1k", "miss, 1 KB", "/miss/1k.html", 0.6),
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
