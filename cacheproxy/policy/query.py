"""The query as it is part of the cache key: ``proxy_cache_ignore_args``, ``proxy_cache_sort_args``.

Both are directives of ours. The result is the key's query, and it is what the origin is
sent: an argument that is not keyed could otherwise be reflected into an answer that
others get.

Arguments are split at ``&`` alone. An origin that takes ``;`` for a separator too reads no
more than it was sent, and that is what the key holds.

Imports nothing of the project.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["QueryRules"]

_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")


class QueryRules:
    """Arguments to leave out, and whether to sort the others.

    A name that ends in ``*`` stands for all that start so. Names are compared after one
    percent-decoding, as the origin will: ``utm%5Fid`` is ``utm_id``. Nothing that is
    dropped is sent, so that a name which an origin decodes twice is merely kept.
    """

    __slots__ = ("_names", "_prefixes", "_sort")

    def __init__(self, ignored: Iterable[bytes], sort: bool) -> None:
        listed = list(ignored)
        self._names = frozenset(name for name in listed if not name.endswith(b"*"))
        self._prefixes = tuple(name[:-1] for name in listed if name.endswith(b"*"))
        self._sort = sort

    def __repr__(self) -> str:
        return f"QueryRules({sorted(self._names)!r}, {sorted(self._prefixes)!r}, {self._sort})"

    def apply(self, args: bytes) -> bytes:
        """*args* (what follows the ``?``) as they count; applied again it changes nothing.

        Empty arguments say nothing and are left out.
        """
        kept = []
        for argument in args.split(b"&"):
            name = _decoded(argument.partition(b"=")[0])
            if argument and name not in self._names and not name.startswith(self._prefixes):
                kept.append((name, argument))
        if self._sort:
            kept.sort(key=_place)
        return b"&".join([argument for _, argument in kept])


def _decoded(name: bytes) -> bytes:
    if b"+" in name:
        name = name.replace(b"+", b" ")
    if b"%" in name:
        name = _ESCAPE.sub(lambda match: bytes((int(match.group(1), 16),)), name)
    return name


def _place(pair: tuple[bytes, bytes]) -> bytes:
    """What an argument is sorted by: names that an origin may take for the same stay in order.

    So it is with ``a[]`` and ``a[b]``, parts of one value; with ``a.b`` and ``a_b`` in PHP;
    and where case means nothing.
    """
    name = pair[0].partition(b"[")[0].lower()
    return name.replace(b".", b"_").replace(b" ", b"_")
