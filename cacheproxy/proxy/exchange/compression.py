"""Whether a response goes to its client compressed, and what its head then says.

Source: nginx ``ngx_http_gzip_module`` (``gzip*`` directives); RFC 9110 §8.4, §12.5.3.
Imports: ``http``, ``policy``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cacheproxy.http.coding import Gzip
from cacheproxy.http.fields import Fields, Pairs
from cacheproxy.policy.encoding import (
    encoded_fields,
    may_encode,
    vary_accept_encoding,
    wants_encoding,
)

if TYPE_CHECKING:
    from cacheproxy.proxy.exchange.exchange import Exchange

__all__ = ["begin_gzip", "would_gzip"]


def would_gzip(exchange: Exchange, status: int, fields: Fields, length: int | None) -> bool:
    """Whether a response with *fields* would be compressed for the client of *exchange*."""
    options = exchange.location.gzip
    assert options is not None
    if not may_encode(status, fields, length, options):
        return False
    return wants_encoding(exchange.head, fields, options, exchange.world.scheduler.wall())


def begin_gzip(exchange: Exchange, status: int, pairs: Pairs, length: int | None) -> int | None:
    """Begin to compress, if that is to be, and change *pairs* so; returns the new length."""
    options = exchange.location.gzip
    assert options is not None
    fields = Fields(pairs)
    if not may_encode(status, fields, length, options):
        return length
    if not wants_encoding(exchange.head, fields, options, exchange.world.scheduler.wall()):
        if options.vary:
            pairs[:] = vary_accept_encoding(fields).pairs
        return length
    if exchange.has_body:
        exchange.gzip = Gzip(options.comp_level)
    pairs[:] = encoded_fields(fields, b"gzip", options.vary).pairs
    return None
