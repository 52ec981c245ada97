"""gzip as a filter on a body that passes through piece by piece.

RFC 9110 §8.4.1.3, RFC 1952; nginx ``ngx_http_gzip_filter_module``.

zlib-ng does the work. Measured on HTML (time in µs, size in bytes):

=====================  ===========  ===========
coder and level        10 KB        39 KB
=====================  ===========  ===========
zlib 1 / 6 / 9         29, 69, 99   67, 255, 534
  size                 2423 – 2032  5858 – 4234
zlib-ng 2 / 6 / 9      24, 46, 67   48, 135, 229
  size                 2341 – 2034  5609 – 4241
isal 1 / 3             16, 33       31, 99
  size                 2392, 2265   5740, 5336
=====================  ===========  ===========

isal is the fastest but ends where nginx's level 3 or so begins; zlib-ng covers all
of nginx's levels in half of zlib's time at zlib's sizes. Its own level 1 packs a
fifth worse than zlib's, so levels are mapped by the size that they give.

Imports nothing of the project.
"""

from __future__ import annotations

from zlib_ng import zlib_ng

__all__ = ["Gzip"]

#: ``gzip_comp_level`` (1–9) to zlib-ng's level of about the same ratio.
_LEVELS = {1: 2, 2: 3, 3: 4, 4: 4, 5: 5, 6: 6, 7: 7, 8: 8, 9: 9}
#: A 32 KiB window in a gzip wrapper; the header holds no time, so output is repeatable.
_WINDOW_BITS = 31


class Gzip:
    """Compresses one body.

    ``feed`` gives what is ready, often nothing; ``flush`` gives all of what was
    fed so that the client can decode it now; ``finish`` ends the stream.
    ``level`` is ``gzip_comp_level``; ValueError outside 1–9.
    """

    __slots__ = ("_deflate",)

    def __init__(self, level: int = 1) -> None:
        if level not in _LEVELS:
            raise ValueError("gzip level must be from 1 to 9")
        self._deflate = zlib_ng.compressobj(_LEVELS[level], zlib_ng.DEFLATED, _WINDOW_BITS)

    def feed(self, data: bytes) -> bytes:
        """Take a piece of the body; the compressed bytes that are ready."""
        return self._deflate.compress(data)

    def flush(self) -> bytes:
        """Compressed bytes up to and including all that was fed (a sync flush)."""
        return self._deflate.flush(zlib_ng.Z_SYNC_FLUSH)

    def finish(self) -> bytes:
        """The rest of the stream; the filter is of no use afterwards."""
        return self._deflate.flush(zlib_ng.Z_FINISH)
