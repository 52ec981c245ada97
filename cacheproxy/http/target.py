"""Request targets and hosts: what a request asks for, in the forms that it may take.

RFC 9112 §3.2 (request-target forms); RFC 3986 §3.2.2 and nginx
``ngx_http_validate_host`` (hosts); ``ngx_http_parse_complex_uri`` (paths);
``ngx_escape_uri`` (the way back).

Imports: ``errors``.
"""

from __future__ import annotations

import re
from functools import lru_cache

from cacheproxy.errors import ProtocolError

__all__ = [
    "Target",
    "escape_uri",
    "normalize_path",
    "parse_internal",
    "parse_target",
    "resolve_dots",
    "split_host",
    "split_url",
]

#: Hosts seen lately are kept split; one proxy serves few.
_HOSTS_KEPT = 512

_ABSOLUTE = re.compile(rb"(?i:(https?))://([^/?]*)(.*)", re.DOTALL)
_BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})|%00")
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")

_CONTROL = bytes((*range(0x21), 0x7F, *range(0x80, 0x100)))
# NGX_ESCAPE_URI and NGX_ESCAPE_ARGS as of nginx 1.22.
_URI_ESCAPED = re.compile(b"[%b]" % re.escape(_CONTROL + b'"#%<>?\\^`{|}'))

# RFC 3986 §3.2.2: IP-literal, or reg-name of unreserved, sub-delims and
# pct-encoded. Stricter than nginx, which takes nearly every printable byte and
# anything for a port: what follows would be relayed as Host and be part of cache keys.
_HOST = re.compile(
    rb"(\[[0-9A-Fa-f:.]+(?:%25[A-Za-z0-9._~-]+)?\]|\[v[0-9A-Fa-f]+\.[A-Za-z0-9._~!$&'()*+,;=:-]+\]"
    rb"|(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+)(?::([0-9]{0,5}))?"
)


class Target:
    """A request-target taken apart; every part is as received.

    ``path`` is raw and starts with ``/`` (or is ``*``, or empty for CONNECT);
    ``args`` is what follows the first ``?``, ``has_args`` tells ``/a?`` from
    ``/a``; ``authority`` and ``scheme`` (lower case) are None in origin form.
    """

    __slots__ = ("args", "authority", "has_args", "path", "scheme")

    def __init__(
        self,
        path: bytes,
        args: bytes = b"",
        has_args: bool = False,
        authority: bytes | None = None,
        scheme: bytes | None = None,
    ) -> None:
        self.path = path
        self.args = args
        self.has_args = has_args
        self.authority = authority
        self.scheme = scheme


def parse_target(target: bytes, method: bytes = b"GET") -> Target:
    """Take *target* apart; raises :class:`ProtocolError` (400) for none of the forms.

    A fragment, which no client should send (RFC 9112 §3.2), is cut off as nginx does. Unlike
    nginx, which passes the target on as it came where ``proxy_pass`` has no URI, the origin
    does not get it either: what locations and access rules were chosen by is what is asked
    for. Stricter than nginx: the absolute form is taken with ``http`` and ``https`` only.
    """
    if b"#" in target:
        target = target[: target.index(b"#")]
    if target[:1] == b"/" and method != b"CONNECT":
        path, mark, args = target.partition(b"?")
        return Target(path, args, bool(mark))
    if method == b"CONNECT":
        host, port = split_host(target)
        if port is None or not host:
            raise ProtocolError("invalid authority-form request-target")
        return Target(b"", authority=target)
    if target == b"*" and method == b"OPTIONS":
        return Target(target)
    match = _ABSOLUTE.fullmatch(target)
    if match is None:
        raise ProtocolError("invalid request-target")
    scheme, authority, rest = match.groups()
    split_host(authority)
    path, mark, args = rest.partition(b"?")
    return Target(path or b"/", args, bool(mark), authority, scheme.lower())


def normalize_path(path: bytes, merge_slashes: bool) -> bytes:
    """nginx's ``$uri`` for a raw *path*: decoded, without ``.`` and ``..`` segments.

    Decoding comes first, once, so an encoded dot or slash counts as one. Raises
    :class:`ProtocolError` (400) for a broken escape, ``%00`` and a path that
    climbs above the root. Source: nginx ``ngx_http_parse_complex_uri``.
    """
    if path[:1] != b"/" or b"\0" in path:
        raise ProtocolError("invalid path")
    if b"%" in path:
        if _BROKEN_ESCAPE.search(path):
            raise ProtocolError("invalid percent-encoding")
        path = _ESCAPE.sub(lambda match: bytes((int(match.group(1), 16),)), path)
    if b"/." not in path and (not merge_slashes or b"//" not in path):
        return path
    segments = path[1:].split(b"/")
    kept: list[bytes] = []
    for segment in segments:
        if segment == b"..":
            if not kept:
                raise ProtocolError("path above the root")
            kept.pop()
        elif segment != b"." and (segment or not merge_slashes):
            kept.append(segment)
    # A path that ends in a slash or a dot segment names a directory. Where slashes
    # are kept, the empty last segment is already there.
    last = segments[-1]
    if last in (b".", b"..") or (merge_slashes and not last):
        kept.append(b"")
    return b"/" + b"/".join(kept)


def resolve_dots(uri: bytes) -> bytes:
    """The decoded *uri* without ``.`` and ``..`` segments.

    Raises :class:`ProtocolError` for what is no path, holds NUL or climbs above the root.
    """
    if b"/." not in uri and uri[:1] == b"/" and b"\0" not in uri:
        return uri
    return normalize_path(escape_uri(uri), False)


def parse_internal(uri: bytes) -> tuple[bytes, bytes | None]:
    """(decoded path, arguments or None) of the place that ``X-Accel-Redirect`` names.

    Raises :class:`ProtocolError` (404) for what nginx calls unsafe: a ``..`` segment,
    encoded or not, and NUL; and for a path without a leading slash. A broken escape
    stays as it is. Source: nginx ``ngx_http_parse_unsafe_uri``.
    """
    path, mark, args = uri.partition(b"?")
    path = _ESCAPE.sub(lambda match: bytes((int(match.group(1), 16),)), path)
    if path[:1] != b"/" or b"\0" in path or b".." in path.split(b"/"):
        raise ProtocolError(f'unsafe URI "{uri.decode("latin-1")}" was detected', 404)
    return path, args if mark else None


def split_url(url: bytes) -> tuple[bytes, bytes, bytes]:
    """Scheme, authority and URI of a rendered ``proxy_pass``; raises ProtocolError."""
    scheme, separator, rest = url.partition(b"://")
    scheme = scheme.lower()
    if not separator or scheme not in (b"http", b"https"):
        raise ProtocolError(f'invalid URL prefix in "{url.decode("latin-1")}"', 500)
    if rest.startswith(b"unix:"):
        path, colon, uri = rest[5:].partition(b":")
        return scheme, b"unix:" + path, uri if colon else b""
    for index, byte in enumerate(rest):
        if byte in b"/?":
            return scheme, rest[:index], rest[index:]
    return scheme, rest, b""


def escape_uri(path: bytes) -> bytes:
    """*path* as nginx writes it into a request line when ``proxy_pass`` has a URI.

    nginx does this only where the request's own path held an escape (or the URI
    was changed internally); else the bytes go on as they came.
    Source: ``ngx_escape_uri`` with ``NGX_ESCAPE_URI``.
    """
    return _URI_ESCAPED.sub(_escaped, path)


def _escaped(match: re.Match[bytes]) -> bytes:
    return b"%%%02X" % match.group()[0]


@lru_cache(maxsize=_HOSTS_KEPT)
def split_host(host_header: bytes) -> tuple[bytes, int | None]:
    """``(host, port)`` of a Host value or an authority; the port is None if absent.

    The host is lower-cased, one trailing dot is removed, IPv6 keeps its brackets.
    Raises :class:`ProtocolError` (400) for what is no host.
    Source: nginx ``ngx_http_validate_host``, RFC 9110 §7.2.
    """
    match = _HOST.fullmatch(host_header) if len(host_header) <= 1024 else None
    if match is None:
        raise ProtocolError("invalid host")
    host = match.group(1).lower()
    port = int(match.group(2)) if match.group(2) else None
    if b".." in host or (port is not None and port > 65535):
        raise ProtocolError("invalid host")
    if host[-1:] == b".":
        host = host[:-1]
    if not host:
        raise ProtocolError("invalid host")
    return host, port
