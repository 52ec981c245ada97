"""The configuration before one application."""

from __future__ import annotations

from cacheproxy.config.build import loads
from cacheproxy.front_configuration import front_configuration
from cacheproxy.proxy.site.variables import resolve


def test_the_plain_text_is_a_sound_configuration() -> None:
    """With its defaults: an address is the server's own."""
    text = front_configuration("http://127.0.0.1:8000", zone="z", directory="/tmp/z")
    config = loads(text, "test", "/", resolve)
    (server,) = config.servers
    (location,) = server.root.locations
    assert config.warnings == ()
    assert config.zones["z"].path == "/tmp/z"
    assert location.cache.cache == "z"
    assert location.proxy.proxy_pass is not None


def test_every_value_is_used() -> None:
    """Sizes, times, the address, gzip, and directives for the location."""
    text = front_configuration(
        "http://127.0.0.1:8000",
        zone="z",
        directory="/tmp/z",
        max_size="2g",
        inactive="2h",
        memory="3m",
        max_body="4m",
        gzip=False,
        listen="127.0.0.1:81",
        directives="proxy_cache_min_uses 7;",
    )
    config = loads(text, "test", "/", resolve)
    (server,) = config.servers
    (location,) = server.root.locations
    zone = config.zones["z"]
    assert (zone.max_size, zone.inactive, zone.memory) == (2 << 30, 7200, 3 << 20)
    assert server.listens[0].port == 81
    assert (location.core.client_max_body_size, location.gzip.gzip) == (4 << 20, False)
    assert location.cache.min_uses == 7
