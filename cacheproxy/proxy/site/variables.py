"""The ``$variables`` that the proxy itself provides, by name.

``resolve`` is called once per name at load and gives a function of the exchange;
at run time there is no look-up by name. Names are nginx's and so are the values,
down to ``-`` and separators of ``$upstream_*`` (``, `` between attempts). Names that
hold the name of a field, cookie or argument are in ``variable_families``.

Source: nginx "Alphabetical index of variables".
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from ipaddress import ip_address

from cacheproxy import __version__
from cacheproxy.errors import ProtocolError
from cacheproxy.http.syntax import format_http_date, parse_http_date
from cacheproxy.http.target import parse_target, split_host
from cacheproxy.policy.passwords import credentials
from cacheproxy.proxy.site.context import AttemptFacts, RequestContext
from cacheproxy.proxy.site.file_path import path_of
from cacheproxy.proxy.site.local_time import time_iso8601, time_local
from cacheproxy.proxy.site.site import proxy_host
from cacheproxy.proxy.site.variable_families import of_family
from cacheproxy.template import Getter

__all__ = ["resolve"]

Get = Callable[[RequestContext], bytes]

_VARIABLES: dict[str, Get] = {}


def resolve(name: str) -> Getter | None:
    """The getter of variable *name* (lower case, without ``$``); None where there is none."""
    getter: Getter | None = _VARIABLES.get(name)
    if getter is not None:
        return getter
    return of_family(name)


def _variable(name: str) -> Callable[[Get], Get]:
    def register(getter: Get) -> Get:
        _VARIABLES[name] = getter
        return getter

    return register


# -- the request ---------------------------------------------------------------


@_variable("request_method")
def _request_method(x: RequestContext) -> bytes:
    return x.method


@_variable("request_uri")
def _request_uri(x: RequestContext) -> bytes:
    target = x.head.target
    if target.startswith(b"/"):
        return target
    route = x.route
    return route.target.path + (b"?" + route.target.args if route.target.has_args else b"")


@_variable("uri")
@_variable("document_uri")
def _uri(x: RequestContext) -> bytes:
    return x.route.uri


@_variable("args")
@_variable("query_string")
def _args(x: RequestContext) -> bytes:
    return x.route.args


@_variable("is_args")
def _is_args(x: RequestContext) -> bytes:
    return b"?" if x.route.args else b""


@_variable("host")
def _host(x: RequestContext) -> bytes:
    return x.route.host


@_variable("request_port")
def _request_port(x: RequestContext) -> bytes:
    """The port that the client's authority names; empty where it names none."""
    target = x.head.target
    try:
        authority = None if target.startswith(b"/") else parse_target(target).authority
        _, port = split_host(authority or x.head.fields.get(b"host") or b"")
    except ProtocolError:
        return b""
    return b"%d" % port if port else b""


@_variable("is_request_port")
def _is_request_port(x: RequestContext) -> bytes:
    return b":" if _request_port(x) else b""


@_variable("server_name")
def _server_name(x: RequestContext) -> bytes:
    return x.server.name


@_variable("scheme")
def _scheme(x: RequestContext) -> bytes:
    return x.site.scheme


@_variable("https")
def _https(x: RequestContext) -> bytes:
    return b"on" if x.site.scheme == b"https" else b""


@_variable("server_protocol")
def _server_protocol(x: RequestContext) -> bytes:
    return b"HTTP/1.0" if x.head.version == 10 else b"HTTP/1.1"


@_variable("request")
def _request(x: RequestContext) -> bytes:
    head = x.head
    if not head.method:
        return b""
    return head.method + b" " + head.target + b" " + _server_protocol(x)


@_variable("request_length")
def _request_length(x: RequestContext) -> bytes:
    head = x.head
    length = len(head.method) + len(head.target) + 14
    length += sum(len(name) + len(value) + 4 for name, value in head.fields.pairs)
    if x.body is not None:
        length += x.body.received
    return b"%d" % length


@_variable("request_body")
def _request_body(x: RequestContext) -> bytes:
    body = None if x.body is None else x.body.in_memory()
    return body or b""


@_variable("request_id")
def _request_id(x: RequestContext) -> bytes:
    return x.record.identify(x.world.random_bytes)


@_variable("request_completion")
def _request_completion(x: RequestContext) -> bytes:
    return b"OK" if x.response.ended else b""


@_variable("content_length")
def _content_length(x: RequestContext) -> bytes:
    return x.head.fields.get(b"content-length") or b""


@_variable("content_type")
def _content_type(x: RequestContext) -> bytes:
    return x.head.fields.get(b"content-type") or b""


@_variable("remote_user")
def _remote_user(x: RequestContext) -> bytes:
    given = credentials(x.head.fields)
    return b"" if given is None else given.user


@_variable("request_filename")
def _request_filename(x: RequestContext) -> bytes:
    return path_of(x, x.route.uri) or b""


@_variable("document_root")
def _document_root(x: RequestContext) -> bytes:
    core = x.location.core
    template = core.root if core.alias is None else core.alias
    return b"" if template is None else template.render(x)


# -- the connection ------------------------------------------------------------


@_variable("remote_addr")
def _remote_addr(x: RequestContext) -> bytes:
    return x.remote_host.encode()


@_variable("remote_port")
def _remote_port(x: RequestContext) -> bytes:
    port = x.remote_port
    return b"%d" % port if port else b""


@_variable("realip_remote_addr")
def _realip_remote_addr(x: RequestContext) -> bytes:
    return x.downstream.peer_host.encode()


@_variable("realip_remote_port")
def _realip_remote_port(x: RequestContext) -> bytes:
    port = x.downstream.peer_port
    return b"%d" % port if port else b""


@_variable("binary_remote_addr")
def _binary_remote_addr(x: RequestContext) -> bytes:
    return _binary(x.remote_host)


@lru_cache(maxsize=1024)
def _binary(host: str) -> bytes:
    try:
        return ip_address(host.partition("%")[0]).packed
    except ValueError:
        return host.encode()


@_variable("server_addr")
def _server_addr(x: RequestContext) -> bytes:
    return x.downstream.local_host.encode()


@_variable("server_port")
def _server_port(x: RequestContext) -> bytes:
    return b"%d" % x.downstream.local_port


@_variable("connection")
def _connection(x: RequestContext) -> bytes:
    return b"%d" % x.downstream.number


@_variable("connection_requests")
def _connection_requests(x: RequestContext) -> bytes:
    return b"%d" % x.downstream.requests


@_variable("pipe")
def _pipe(x: RequestContext) -> bytes:
    return b"."


@_variable("proxy_add_x_forwarded_for")
def _proxy_add_x_forwarded_for(x: RequestContext) -> bytes:
    given = x.head.fields.combined(b"x-forwarded-for")
    address = x.remote_host.encode()
    return given + b", " + address if given else address


@_variable("ssl_protocol")
def _ssl_protocol(x: RequestContext) -> bytes:
    tls = x.downstream.tls
    return b"" if tls is None else tls.protocol.encode()


@_variable("ssl_cipher")
def _ssl_cipher(x: RequestContext) -> bytes:
    tls = x.downstream.tls
    return b"" if tls is None else tls.cipher.encode()


@_variable("ssl_server_name")
def _ssl_server_name(x: RequestContext) -> bytes:
    tls = x.downstream.tls
    return b"" if tls is None else tls.server_name.encode()


@_variable("ssl_session_reused")
def _ssl_session_reused(x: RequestContext) -> bytes:
    tls = x.downstream.tls
    if tls is None:
        return b""
    return b"r" if tls.session_reused else b"."


@_variable("ssl_session_id")
def _ssl_session_id(x: RequestContext) -> bytes:
    tls = x.downstream.tls
    return b"" if tls is None else tls.session_id.encode()


# -- the response --------------------------------------------------------------


@_variable("status")
def _status(x: RequestContext) -> bytes:
    return b"%03d" % x.response.status


@_variable("body_bytes_sent")
def _body_bytes_sent(x: RequestContext) -> bytes:
    return b"%d" % x.response.body_bytes_sent


@_variable("bytes_sent")
def _bytes_sent(x: RequestContext) -> bytes:
    return b"%d" % (x.downstream.bytes_sent - x.record.bytes_before)


@_variable("gzip_ratio")
def _gzip_ratio(x: RequestContext) -> bytes:
    response = x.response
    return b"%.2f" % (response.gzip_in / response.gzip_out) if response.gzip_out else b""


# -- time ----------------------------------------------------------------------


@_variable("request_time")
def _request_time(x: RequestContext) -> bytes:
    return b"%.3f" % max(0.0, x.world.scheduler.monotonic() - x.record.started)


@_variable("msec")
def _msec(x: RequestContext) -> bytes:
    return b"%.3f" % x.world.scheduler.wall()


@_variable("time_local")
def _time_local(x: RequestContext) -> bytes:
    return time_local(int(x.world.scheduler.wall()))


@_variable("time_iso8601")
def _time_iso8601(x: RequestContext) -> bytes:
    return time_iso8601(int(x.world.scheduler.wall()))


# -- the upstream --------------------------------------------------------------

_VARIABLES["proxy_host"] = proxy_host


@_variable("proxy_port")
def _proxy_port(x: RequestContext) -> bytes:
    host = proxy_host(x)
    target = x.location.proxy.proxy_pass
    _, colon, port = host.rpartition(b":")
    if colon and port.isdigit():
        return port
    return b"443" if target is not None and target.scheme == b"https" else b"80"


@_variable("upstream_cache_status")
def _upstream_cache_status(x: RequestContext) -> bytes:
    return x.record.cache_status


@_variable("slice_range")
def _slice_range(x: RequestContext) -> bytes:
    return x.slice_range


@_variable("upstream_cache_last_modified")
def _upstream_cache_last_modified(x: RequestContext) -> bytes:
    value = _validator(x, b"last-modified")
    seconds = None if value is None else parse_http_date(value)
    return b"" if seconds is None else format_http_date(seconds)


@_variable("upstream_cache_etag")
def _upstream_cache_etag(x: RequestContext) -> bytes:
    return _validator(x, b"etag") or b""


def _validator(x: RequestContext, name: bytes) -> bytes | None:
    """nginx has them while it asks whether what is stored, and no longer fresh, still holds."""
    options = x.location.cache
    if x.record.cache_status != b"EXPIRED" or options is None or not options.revalidate:
        return None
    stored = x.record.validated
    return None if stored is None else stored.fields.get(name)


@_variable("upstream_addr")
def _upstream_addr(x: RequestContext) -> bytes:
    return b", ".join([record.address.encode() for record in x.record.attempts])


@_variable("upstream_status")
def _upstream_status(x: RequestContext) -> bytes:
    return _each(x, lambda record: b"%d" % record.status if record.status else b"-")


@_variable("upstream_connect_time")
def _upstream_connect_time(x: RequestContext) -> bytes:
    return _each(x, lambda record: _seconds(record.connect_time))


@_variable("upstream_header_time")
def _upstream_header_time(x: RequestContext) -> bytes:
    return _each(x, lambda record: _seconds(record.header_time))


@_variable("upstream_response_time")
def _upstream_response_time(x: RequestContext) -> bytes:
    return _each(x, lambda record: _seconds(record.response_time))


@_variable("upstream_bytes_received")
def _upstream_bytes_received(x: RequestContext) -> bytes:
    return _each(x, lambda record: b"%d" % record.bytes_received)


@_variable("upstream_bytes_sent")
def _upstream_bytes_sent(x: RequestContext) -> bytes:
    return _each(x, lambda record: b"%d" % record.bytes_sent)


@_variable("upstream_response_length")
def _upstream_response_length(x: RequestContext) -> bytes:
    return _each(x, lambda record: b"%d" % record.body_received)


def _each(x: RequestContext, value: Callable[[AttemptFacts], bytes]) -> bytes:
    return b", ".join([value(record) for record in x.record.attempts])


def _seconds(value: float | None) -> bytes:
    return b"-" if value is None else b"%.3f" % max(0.0, value)


# -- the process ---------------------------------------------------------------


@_variable("hostname")
def _hostname(x: RequestContext) -> bytes:
    return x.world.hostname


@_variable("pid")
def _pid(x: RequestContext) -> bytes:
    return b"%d" % x.world.pid


@_variable("nginx_version")
def _nginx_version(x: RequestContext) -> bytes:
    return __version__.encode()
