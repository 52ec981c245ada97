"""Short ways to a configuration for the tests of ``config``."""

from __future__ import annotations

import textwrap
from typing import Any

from cacheproxy.config.build import loads
from cacheproxy.config.model import Config, Location, Server
from cacheproxy.errors import ConfigErrors
from cacheproxy.template import Getter

#: Built-in variables that the tests' configurations use.
KNOWN = frozenset(
    {
        "args",
        "body_bytes_sent",
        "document_root",
        "content_length",
        "content_type",
        "document_uri",
        "https",
        "query_string",
        "remote_port",
        "server_protocol",
        "slice_range",
        "host",
        "http_x_any",
        "is_args",
        "is_request_port",
        "proxy_add_x_forwarded_for",
        "proxy_host",
        "proxy_port",
        "remote_addr",
        "remote_user",
        "request",
        "request_method",
        "request_port",
        "request_time",
        "request_uri",
        "scheme",
        "server_name",
        "server_port",
        "status",
        "time_iso8601",
        "time_local",
        "upstream_addr",
        "upstream_cache_status",
        "uri",
    }
)
FAMILIES = ("http_", "sent_http_", "upstream_http_", "arg_", "cookie_")
PREFIX = "/etc/proxy"


class Request:
    """Stands for an exchange: built-in variables by name, captures, what maps answered."""

    def __init__(self, **variables: bytes) -> None:
        self.variables = variables
        self.captures: dict[str, bytes] = {}
        self.map_values: dict[str, bytes] = {}
        self.set_values: dict[str, bytes] = {}
        self.reads: list[str] = []


def resolve(name: str) -> Getter | None:
    """A built-in variable: reads it off a :class:`Request`."""
    if name not in KNOWN and not name.startswith(FAMILIES):
        return None

    def get(context: Any) -> bytes:
        context.reads.append(name)
        value: bytes = context.variables.get(name, b"")
        return value

    return get


def full(text: str) -> Config:
    """The configuration that *text* is the whole of."""
    return loads(textwrap.dedent(text), "test.conf", PREFIX, resolve)


def http(text: str) -> Config:
    """The configuration with *text* in ``http``; its first line is line 2."""
    return full(f"events {{}} http {{\n{textwrap.dedent(text)}\n}}")


def server(text: str, outside: str = "") -> Server:
    """The only server of a configuration."""
    return http(f"{outside}\nserver {{ listen 127.0.0.1:80; {text} }}").servers[0]


def location(text: str, outside: str = "") -> Location:
    """The first location of a configuration with one server; *outside* stands in ``http``."""
    return server(f"location / {{ {text} }}", outside).root.locations[0]


def faults(text: str) -> list[str]:
    """The messages of a faulty ``http`` block, in order."""
    try:
        http(text)
    except ConfigErrors as errors:
        return [error.message for error in errors.errors]
    raise AssertionError("accepted")
