"""The fields of an answer from a file or from a stored response.

What is sent through an exchange and what the fast path keeps ready start from the
same lists, so that both give a client the same head.

Source: nginx ``ngx_http_static_module``, ``types``, ``default_type``; RFC 9110 §8,
RFC 9111 §5.1, RFC 9211.
Imports: ``http``, ``policy``, ``proxy.site``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from cacheproxy.http.syntax import format_http_date
from cacheproxy.policy import cache_status
from cacheproxy.policy.encoding import may_encode, vary_accept_encoding
from cacheproxy.policy.ranges import offering_ranges
from cacheproxy.proxy.site.server_line import server_line

if TYPE_CHECKING:
    from cacheproxy.policy.options import CoreOptions
    from cacheproxy.policy.stored import StoredResponse
    from cacheproxy.proxy.interfaces import OpenFile
    from cacheproxy.proxy.site.site import CompiledLocation

__all__ = ["file_pairs", "hit_pairs", "media_type"]

#: Different file extensions whose lower-case form is remembered.
EXTENSIONS_REMEMBERED = 256

Pairs = list[tuple[bytes, bytes]]

def media_type(core: CoreOptions, uri: bytes) -> bytes:
    """The type in ``types`` for the extension of *uri*, else ``default_type``."""
    name = uri[uri.rfind(b"/") + 1 :]
    dot = name.rfind(b".")
    if dot < 0:
        return core.default_type
    return core.types.get(_extension(name[dot + 1 :]), core.default_type)


@lru_cache(maxsize=EXTENSIONS_REMEMBERED)
def _extension(raw: bytes) -> str:
    return raw.lower().decode("latin-1")


def file_pairs(location: CompiledLocation, file: OpenFile, uri: bytes) -> Pairs:
    """The fields that describe *file* when it is sent for *uri*."""
    core = location.core
    pairs: Pairs = [
        (b"Content-Type", media_type(core, uri)),
        (b"Last-Modified", format_http_date(file.mtime)),
    ]
    if core.etag:
        pairs.append((b"ETag", b'"%x-%x"' % (int(file.mtime), file.size)))
    pairs.append((b"Accept-Ranges", b"bytes"))
    return pairs


def hit_pairs(
    location: CompiledLocation,
    stored: StoredResponse,
    age: float,
    cache_status_value: bytes | None = None,
    coded: bool = False,
) -> Pairs:
    """The fields of a stored response as it is sent, before ``add_header`` and framing.

    These are Server, the stored fields, Age (*age* is in seconds) and, with
    ``proxy_cache_status``, Cache-Status: *cache_status_value*, or that of a plain hit.
    *coded*: it is the gzip form made here, of which no ranges are sent.
    """
    pairs = [server_line(location.core)]
    rewriter = location.stored_rewriter
    fields = stored.fields
    gzip = location.gzip
    if (
        gzip is not None
        and gzip.vary
        and may_encode(stored.status, fields, stored.body_length, gzip)
    ):
        fields = vary_accept_encoding(fields)
    pairs += fields.pairs if rewriter is None else rewriter.lines(fields)
    if location.proxy.force_ranges and not coded:
        pairs = offering_ranges(
            stored.status, stored.body_length, pairs, location.core.max_ranges
        )
    pairs.append((b"Age", b"%d" % age))
    if location.cache is not None and location.cache.status:
        value = cache_status_value or cache_status.hit_value(stored.lifetime, age)
        pairs.append((cache_status.NAME, value))
    return pairs
