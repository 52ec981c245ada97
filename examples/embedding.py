"""A Twisted application with a caching proxy in it.

Its own pages and the proxy share one site: ``/`` is made here, ``/app/`` is relayed to
another HTTP server and cached. Two ways to run it::

    python embedding.py
    twistd -ny embedding.py

Settings come from the environment: ``PORT`` (8080), ``UPSTREAM`` (http://127.0.0.1:8000)
and ``CACHE`` (a folder; without it the cache ends with the process).
"""

from __future__ import annotations

import os

from twisted.application import internet, service
from twisted.internet import endpoints, reactor
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from cacheproxy.resource import CachingProxyResource

PAGE = """<!doctype html>
<title>Front</title>
<p>The other application: <a href="/app/">/app/</a></p>
"""


class Front(Resource):
    """The application's own page."""

    def render_GET(self, request: Request) -> bytes:
        """Point to the proxied part."""
        request.setHeader("Content-Type", "text/html; charset=utf-8")
        return PAGE.encode()


def make_site() -> Site:
    """The site: ``/`` is ours, what is below ``/app`` the other application's."""
    root = Resource()
    root.putChild(b"", Front())
    root.putChild(
        b"app",
        CachingProxyResource(
            os.environ.get("UPSTREAM", "http://127.0.0.1:8000"),
            cache_directory=os.environ.get("CACHE"),
            strip_prefix=True,
            directives="""
                proxy_cache_valid 404 10s;
                add_header X-Cache $upstream_cache_status always;
            """,
        ),
    )
    return Site(root)


endpoint = endpoints.TCP4ServerEndpoint(
    reactor, int(os.environ.get("PORT", "8080")), interface="127.0.0.1"
)

if __name__ == "__main__":
    import sys

    from twisted.logger import globalLogBeginner, textFileLogObserver

    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stderr)])
    endpoint.listen(make_site())
    reactor.run()
else:
    application = service.Application("embedding")
    internet.StreamServerEndpointService(endpoint, make_site()).setServiceParent(application)
