"""Whether a path that is put in the place of a location's prefix leaves the folder it is put in.

``proxy_pass`` with a URI, ``alias`` and text with captures join a part that the operator
wrote and a part that the client chose. ``$uri`` holds no ``..`` segment, but the join can
make one: ``location /svc { proxy_pass http://o/inner/; }`` turns ``/svc../x`` into
``/inner/../x``. What is captured or read from an argument can hold any.

Unlike nginx, which sends such a path on and opens such a file, they are answered 404.
A path is read here as the most lenient origin reads it: it is decoded once more, ``\\``
separates segments, what follows ``;`` in a segment is left out (``..;`` is ``..`` to
servlet containers), and empty segments do not count.

Imports nothing of the project.
"""

from __future__ import annotations

import re

__all__ = ["climbs", "literal_start", "literal_uri", "rendered_climbs"]

_ENCODED = re.compile(rb"%([0-9A-Fa-f]{2})")


def climbs(base: bytes, rest: bytes) -> bool:
    """Whether ``base + rest`` is outside the folder that *base* names.

    That folder is *base* up to its last slash, or all of it where *rest* brings the slash.
    A *base* with a query takes *rest* into the query, which names no folder.
    """
    if rest[:1] != b"/":
        rest = base[base.rfind(b"/") + 1 :] + rest
    if (b".." not in rest and b"%" not in rest) or b"?" in base:
        return False
    decoded = _ENCODED.sub(lambda match: bytes((int(match.group(1), 16),)), rest)
    depth = 0
    for segment in decoded.replace(b"\\", b"/").split(b"/"):
        name = segment.partition(b";")[0]
        if name == b"..":
            depth -= 1
            if depth < 0:
                return True
        elif name and name != b".":
            depth += 1
    return False


def rendered_climbs(literal: bytes, uri: bytes) -> bool:
    """Whether *uri*, rendered from text with variables, leaves the folder of *literal*.

    *literal* is what the text says before its first variable. A variable for the authority
    may bring a path of its own, so *literal* is looked for.
    """
    path = uri.partition(b"?")[0]
    start = path.find(literal) + len(literal) if literal in path else 0
    return climbs(path[:start], path[start:])


def literal_start(text: str) -> bytes:
    """What *text* says before its first variable."""
    return text.partition("$")[0].encode("utf-8", "surrogateescape")


def literal_uri(url: str) -> bytes:
    """The URI part of a ``proxy_pass`` with variables, as far as no variable is in it.

    ``/`` where the URI begins with a variable, or in one.
    """
    rest = url.partition("://")[2]
    if rest.startswith("unix:"):
        rest = rest[5:].partition(":")[2]
    slash = rest.find("/")
    return literal_start(rest[slash:]) if slash >= 0 else b"/"
