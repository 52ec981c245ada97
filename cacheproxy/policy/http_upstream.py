"""HTTP/1.1 (or 1.0) toward an upstream: ``proxy_pass http://`` and ``https://``.

Source: nginx ``proxy_http_version``, ``proxy_set_header``; RFC 9110 §7.6, RFC 9112 §6.
Imports: ``http``, ``forwarding``, ``options``, ``upstream_protocol``, ``template``.
"""

from __future__ import annotations

from typing import Any

from cacheproxy.http.encode import (
    LAST_CHUNK,
    encode_chunk,
    encode_field_lines,
    join_request_head,
)
from cacheproxy.http.fields import Pairs
from cacheproxy.http.response_parser import ResponseParser
from cacheproxy.http.target import split_url
from cacheproxy.http.upgrade import is_websocket_handshake
from cacheproxy.policy.forwarding import RequestRewriter, compile_request_fields
from cacheproxy.policy.options import ProxyOptions
from cacheproxy.policy.upstream_protocol import Outgoing
from cacheproxy.template import Getter

__all__ = ["HttpUpstream"]

#: Fields that ask whether what is stored still holds.
VALIDATION = frozenset({b"if-modified-since", b"if-none-match"})

_UPGRADE = (b"connection", b"upgrade")


class HttpUpstream:
    """One location's ``UpstreamProtocol`` for HTTP."""

    __slots__ = ("_cached", "_plain", "_said", "_version", "_websocket", "frames_unknown_length")

    reader = ResponseParser

    def __init__(self, proxy: ProxyOptions, cacheable: bool, proxy_host: Getter) -> None:
        """*cacheable* and *proxy_host* as for `compile_request_fields`."""
        self._plain: RequestRewriter = compile_request_fields(proxy, False, proxy_host)
        self._cached = compile_request_fields(proxy, True, proxy_host) if cacheable else self._plain
        #: As in nginx proxy_set_header has the last word, also on what is asked.
        self._said = {name.lower() for name, _ in proxy.set_header} & VALIDATION
        self._version = 10 if proxy.http_version == "1.0" else 11
        self._websocket = proxy.websocket
        self.frames_unknown_length = self._version == 11

    def split_address(self, rendered: bytes) -> tuple[bytes, bytes, bytes]:
        return split_url(rendered)

    def encode_head(self, context: Any, request: Outgoing) -> bytes:
        rewriter = self._cached if request.answers_conditions else self._plain
        own: Pairs = []
        if request.conditional or request.length is not None:
            own = self._own_fields(context.method, request)
        head = request.client_head
        if self._websocket and is_websocket_handshake(context.head):
            pairs = [p for p in rewriter.render(context, head) if p[0].lower() not in _UPGRADE]
            pairs += [*own, (b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")]
            lines = encode_field_lines(pairs)
        else:
            lines = rewriter.encode(context, head)
            if own:
                lines += encode_field_lines(own)
        return join_request_head(request.method, request.target, lines, self._version)

    def _own_fields(self, client_method: bytes, request: Outgoing) -> Pairs:
        """The fields that are neither the client's nor ``proxy_set_header``'s."""
        own, length = request.conditional, request.length
        if own and self._said:
            own = [pair for pair in own if pair[0].lower() not in self._said]
        if length is not None:
            if request.chunked:
                own = [(b"Transfer-Encoding", b"chunked"), *own]
            elif length or client_method not in (b"GET", b"HEAD"):
                own = [(b"Content-Length", b"%d" % length), *own]
        return own

    def encode_piece(self, request: Outgoing, data: bytes, complete: bool) -> bytes:
        if request.chunked:
            return (encode_chunk(data) if data else b"") + (LAST_CHUNK if complete else b"")
        return data

    def asks_upgrade(self, head: bytes) -> bool:
        return b"\r\nupgrade:" in head.lower()
