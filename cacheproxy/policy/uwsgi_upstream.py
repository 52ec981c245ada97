"""uwsgi toward an application server: ``uwsgi_pass``.

One packet of variables, then the body as it is, on a connection that carries one request.

Source: nginx ``ngx_http_uwsgi_module``.
Imports: ``errors``, ``http``, ``gateway_variables``, ``options``, ``upstream_protocol``.
"""

from __future__ import annotations

from typing import Any

from cacheproxy.errors import Stage, UpstreamError
from cacheproxy.http.gateway_response import GatewayResponseParser
from cacheproxy.http.uwsgi import PacketTooLarge, encode_packet
from cacheproxy.policy.gateway_variables import GatewayVariables
from cacheproxy.policy.options import ProxyOptions
from cacheproxy.policy.upstream_protocol import Outgoing

__all__ = ["UwsgiUpstream"]


class UwsgiUpstream:
    """One location's ``UpstreamProtocol`` for uwsgi."""

    __slots__ = ("_modifiers", "_variables")

    reader = GatewayResponseParser
    #: The packet declares the body's length, so that all of it must be known.
    frames_unknown_length = False

    def __init__(self, proxy: ProxyOptions, cacheable: bool) -> None:
        self._modifiers = proxy.modifier1, proxy.modifier2
        self._variables = GatewayVariables(proxy, cacheable)

    def split_address(self, rendered: bytes) -> tuple[bytes, bytes, bytes]:
        scheme, separator, address = rendered.partition(b"://")
        scheme = scheme.lower()
        if not separator or scheme not in (b"uwsgi", b"suwsgi"):
            return b"uwsgi", rendered, b""
        return scheme, address, b""

    def encode_head(self, context: Any, request: Outgoing) -> bytes:
        try:
            return encode_packet(self._variables.render(context, request), *self._modifiers)
        except PacketTooLarge as problem:
            raise UpstreamError(str(problem), Stage.CONNECT) from problem

    def encode_piece(self, request: Outgoing, data: bytes, complete: bool) -> bytes:
        return data

    def asks_upgrade(self, head: bytes) -> bool:
        return False
