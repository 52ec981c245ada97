"""What Twisted itself offers: ``twisted.web.proxy.ReverseProxyResource`` before the origin.

``python -m benchmarks.baseline PORT ORIGIN_PORT``
"""

from __future__ import annotations

import sys

from twisted.internet import endpoints, reactor
from twisted.web import proxy, server

__all__: list[str] = []

if __name__ == "__main__":
    port, origin_port = (int(argument) for argument in sys.argv[1:])
    site = server.Site(proxy.ReverseProxyResource("127.0.0.1", origin_port, b""))
    endpoints.TCP4ServerEndpoint(reactor, port, interface="127.0.0.1").listen(site)
    reactor.run()
