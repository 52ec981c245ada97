"""What ``twistd`` lists: names and strings only, so that listing plugins stays cheap."""

from twisted.application.service import ServiceMaker

cacheproxy = ServiceMaker(
    "cacheproxy",
    "cacheproxy.tap",
    "A caching, TLS-terminating HTTP reverse proxy configured in nginx's syntax.",
    "cacheproxy",
)
