"""Whether a response goes to its client compressed, and what its head then says.

Source: nginx ``ngx_http_gzip_module`` (``gzip*`` directives); RFC 9110 §8.4, §12.5.3.
Imports: ``http``, ``policy``.
"""

from __future__ import annotations

from cacheproxy.http.fields import Fields, Pairs
from cacheproxy.policy.encoding import (
    encoded_fields,
    may_encode,
    vary_accept_encoding,
    wants_encoding,
)
from cacheproxy.proxy.site.context import TemplateContext

__all__ = ["compressed_head", "would_gzip"]


def would_gzip(request: TemplateContext, status: int, fields: Fields, length: int | None) -> bool:
    """Whether a response with *fields* would be compressed for the client of *request*."""
    options = request.location.gzip
    assert options is not None
    if not may_encode(status, fields, length, options):
        return False
    return wants_encoding(request.head, fields, options, request.world.scheduler.wall())


def compressed_head(
    request: TemplateContext, status: int, pairs: Pairs, length: int | None
) -> tuple[Pairs, int | None, bool]:
    """The fields and the length to send, and whether the body is to be compressed."""
    options = request.location.gzip
    assert options is not None
    fields = Fields(pairs)
    if not may_encode(status, fields, length, options):
        return pairs, length, False
    if not wants_encoding(request.head, fields, options, request.world.scheduler.wall()):
        return (vary_accept_encoding(fields).pairs if options.vary else pairs), length, False
    return encoded_fields(fields, b"gzip", options.vary).pairs, None, True
