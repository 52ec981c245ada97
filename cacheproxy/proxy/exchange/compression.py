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

__all__ = ["compressed_head", "head_of_200", "head_of_206", "would_gzip"]

#: Fields of a whole that a part of it does not have.
_NOT_OF_PARTS = frozenset({b"accept-ranges", b"content-range"})


def would_gzip(request: TemplateContext, status: int, fields: Fields, length: int | None) -> bool:
    """Whether a response with *fields* would be compressed for the client of *request*."""
    options = request.location.gzip
    assert options is not None
    if not may_encode(status, fields, length, options):
        return False
    return wants_encoding(request.head, fields, options, request.world.scheduler.wall())


def head_of_200(request: TemplateContext, pairs: Pairs, length: int | None) -> Pairs:
    """The fields that a 200 with *pairs* would be sent with.

    What a 304 says of its representation is what the 200 would have said (RFC 9110
    §15.4.5): the weak entity-tag of the compressed form, and Vary. nginx sends the tag of
    the plain form, and no Vary.
    """
    if request.location.gzip is None:
        return pairs
    return compressed_head(request, 200, pairs, length)[0]


def head_of_206(request: TemplateContext, pairs: Pairs, length: int | None) -> Pairs:
    """*pairs* of a whole of *length* bytes as a 206 has them, without its Content-Range.

    A Content-Range of the whole means nothing (RFC 9110 §14.4) and would contradict the
    part's own. Where the whole would be compressed for other clients, the part says so by
    Vary (§15.3.7, ``gzip_vary``).
    """
    kept = [pair for pair in pairs if pair[0].lower() not in _NOT_OF_PARTS]
    options = request.location.gzip
    if options is not None and options.vary:
        fields = Fields(kept)
        if may_encode(200, fields, length, options):
            return vary_accept_encoding(fields).pairs
    return kept


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
