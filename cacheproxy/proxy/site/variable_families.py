"""The ``$variables`` whose names end in that of a field, a cookie or an argument.

As in nginx ``_`` stands for ``-`` in the name of a field, and names of cookies and
arguments are compared without case.

Source: nginx ``ngx_http_variables.c`` (``http_``, ``sent_http_``, ``cookie_``, ``arg_``),
``ngx_http_upstream.c`` (``upstream_http_``, ``upstream_trailer_``, ``upstream_cookie_``).
"""

from __future__ import annotations

import re
from collections.abc import Callable

from cacheproxy.http.fields import Fields
from cacheproxy.proxy.site.context import RequestContext
from cacheproxy.template import Getter

__all__ = ["of_family"]


def of_family(name: str) -> Getter | None:
    """The getter of variable *name* (lower case); None where it belongs to no family."""
    for prefix, make in _FAMILIES:
        if name.startswith(prefix) and len(name) > len(prefix):
            return make(name[len(prefix) :])
    return None


def _http(rest: str) -> Getter:
    name = rest.replace("_", "-").encode()
    if name in (b"cookie", b"x-forwarded-for"):
        separator = b"; " if name == b"cookie" else b", "
        return lambda x: separator.join(x.head.fields.get_all(name))
    if "_" not in rest:
        return lambda x: x.head.fields.get(name) or b""
    # With underscores_in_headers a field may have them itself.
    other = rest.encode()
    return lambda x: x.head.fields.get(name) or x.head.fields.get(other) or b""


def _sent_http(rest: str) -> Getter:
    name = rest.replace("_", "-").encode()

    def get(x: RequestContext) -> bytes:
        for field, value in x.response.pairs:
            if field.lower() == name:
                return value
        return b""

    return get


def _upstream_http(rest: str) -> Getter:
    return _received(rest, lambda x: x.record.upstream_fields)


def _upstream_trailer(rest: str) -> Getter:
    return _received(rest, lambda x: x.record.upstream_trailers)


def _received(rest: str, fields_of: Callable[[RequestContext], Fields | None]) -> Getter:
    name = rest.replace("_", "-").encode()

    def get(x: RequestContext) -> bytes:
        fields = fields_of(x)
        return b"" if fields is None else fields.get(name) or b""

    return get


def _upstream_cookie(rest: str) -> Getter:
    start = rest.encode() + b"="

    def get(x: RequestContext) -> bytes:
        fields = x.record.upstream_fields
        for value in [] if fields is None else fields.get_all(b"set-cookie"):
            pair = value.partition(b";")[0].strip()
            if pair.startswith(start):
                return pair[len(start) :]
        return b""

    return get


def _arg(rest: str) -> Getter:
    pattern = re.compile(rb"(?:^|&)" + re.escape(rest.encode()) + rb"=([^&]*)", re.I)

    def get(x: RequestContext) -> bytes:
        match = pattern.search(x.route.args)
        return match.group(1) if match else b""

    return get


def _cookie(rest: str) -> Getter:
    pattern = re.compile(rb"(?:^|[;,])\s*" + re.escape(rest.encode()) + rb"\s*=\s*([^;]*)", re.I)

    def get(x: RequestContext) -> bytes:
        for value in x.head.fields.get_all(b"cookie"):
            match = pattern.search(value)
            if match:
                return match.group(1)
        return b""

    return get


_FAMILIES: tuple[tuple[str, Callable[[str], Getter]], ...] = (
    ("upstream_http_", _upstream_http),
    ("upstream_trailer_", _upstream_trailer),
    ("upstream_cookie_", _upstream_cookie),
    ("sent_http_", _sent_http),
    ("http_", _http),
    ("arg_", _arg),
    ("cookie_", _cookie),
)

