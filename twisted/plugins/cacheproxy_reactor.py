"""``twistd --reactor=uvloop``: names only, so that listing plugins stays cheap."""

from twisted.application.reactors import Reactor

__all__ = ["uvloop"]

uvloop = Reactor(
    "uvloop",
    "cacheproxy.net.reactor.reactor",
    "uvloop (libuv), streams on its own transports",
)
