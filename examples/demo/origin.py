"""A small origin with something of everything: HTML, JSON, a slow page, an image, an echo.

Run by itself: ``python origin.py PORT``. Needs nothing but Twisted.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable

from twisted.internet import endpoints, reactor, task
from twisted.web import resource, server

__all__ = ["site"]

INDEX = """<!doctype html>
<html lang="en"><head><title>cacheproxy</title>
<link rel="stylesheet" href="/static/site.css"></head><body>
<h1><img src="/image.svg" alt="" height="32"> It works</h1>
<p>The origin has made this page {count} times. Reload: the number stays, because the
proxy answers from its cache (see the <code>X-Proxy-Cache</code> field).</p>
<ul>
<li><a href="/json">/json</a>: a minute in the cache</li>
<li><a href="/slow">/slow</a>: takes the origin two seconds, the second time none</li>
<li><a href="/fresh">/fresh</a>: forbids storing, is made anew each time</li>
<li><a href="/headers">/headers</a>: the request as the origin sees it</li>
<li><a href="/static/site.css">/static/site.css</a>: a file the proxy serves itself</li>
<li><a href="/nowhere">/nowhere</a>: a 404, kept ten seconds</li>
</ul></body></html>
"""
IMAGE = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 10 10">'
    '<circle cx="5" cy="5" r="4" fill="#396"/></svg>'
)


class Page(resource.Resource):
    """A page made by a function of the request; *delay* in seconds before it is sent."""

    isLeaf = True

    def __init__(
        self, make: Callable[[server.Request], str], content_type: str, delay: float = 0.0
    ) -> None:
        super().__init__()
        self._make = make
        self._type = content_type
        self._delay = delay

    def render_GET(self, request: server.Request) -> bytes | int:
        """Answer at once, or after the delay."""
        request.setHeader("Content-Type", self._type)
        body = self._make(request).encode()
        if not self._delay:
            return body

        def finish() -> None:
            request.write(body)
            request.finish()

        pending = task.deferLater(reactor, self._delay, finish)
        request.notifyFinish().addErrback(lambda _failure: pending.cancel())
        pending.addErrback(lambda _failure: None)
        return server.NOT_DONE_YET


def _headers(request: server.Request) -> str:
    request.setHeader("Cache-Control", "no-store")
    fields = [
        [name.decode("latin-1"), value.decode("latin-1")]
        for name, values in request.requestHeaders.getAllRawHeaders()
        for value in values
    ]
    return json.dumps({"target": request.uri.decode("latin-1"), "fields": fields}, indent=1)


def _fresh(request: server.Request, count: int) -> str:
    request.setHeader("Cache-Control", "no-store")
    return f"made {count} times\n"


def site() -> server.Site:
    """The whole origin."""
    counts = {name: itertools.count(1) for name in ("index", "json", "slow", "fresh")}
    html, plain = "text/html; charset=utf-8", "text/plain; charset=utf-8"
    root = resource.Resource()
    root.putChild(b"", Page(lambda _: INDEX.format(count=next(counts["index"])), html))
    root.putChild(
        b"json", Page(lambda _: json.dumps({"made": next(counts["json"])}), "application/json")
    )
    root.putChild(b"slow", Page(lambda _: f"made {next(counts['slow'])} times\n", plain, 2.0))
    root.putChild(b"fresh", Page(lambda request: _fresh(request, next(counts["fresh"])), plain))
    root.putChild(b"headers", Page(_headers, "application/json"))
    root.putChild(b"image.svg", Page(lambda _: IMAGE, "image/svg+xml"))
    return server.Site(root)


if __name__ == "__main__":
    port = int(sys.argv[1])
    endpoints.TCP4ServerEndpoint(reactor, port, interface="127.0.0.1").listen(site())
    reactor.run()
