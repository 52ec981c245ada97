"""Which cookies select a cached response: ``proxy_cache_cookies``, a directive of ours.

An origin that says ``Vary: Cookie`` means the cookie of its session, and a browser sends
those of every counter and banner along. Only the cookies named here reach the origin,
and only they tell variants apart; what is left out of the one is left out of the other,
so that nothing which is not compared can have a say in the answer.

A Cookie field is split at semicolons and nowhere else (RFC 6265 §5.4, RFC 6265bis §5.7):
not at commas, and not with regard to quotes, which origins read in different ways. What
is kept is compared byte by byte with what the origin was sent, so that no reading of
it can make two different requests share an answer.

Imports: ``http.fields``.
"""

from __future__ import annotations

from collections.abc import Iterable

from cacheproxy.http.fields import Fields

__all__ = ["CookieFilter", "cookie_value"]


def cookie_value(fields: Fields) -> bytes | None:
    """All Cookie lines of a request as one (RFC 9113 §8.2.3 has them split); None without any."""
    lines = fields.get_all(b"cookie")
    if not lines:
        return None
    return lines[0].strip(b" \t") if len(lines) == 1 else b"; ".join(lines).strip(b" \t")


class CookieFilter:
    """The cookies that count; a name that ends in ``*`` stands for all that start so.

    Names are compared as they are: with their case, and not decoded.
    """

    __slots__ = ("_names", "_prefixes")

    def __init__(self, names: Iterable[bytes]) -> None:
        listed = list(names)
        self._names = frozenset(name for name in listed if not name.endswith(b"*"))
        self._prefixes = tuple(name[:-1] for name in listed if name.endswith(b"*"))

    def __repr__(self) -> str:
        return f"CookieFilter({sorted(self._names)!r}, {sorted(self._prefixes)!r})"

    def selects(self, name: bytes) -> bool:
        """Whether the cookie called *name* selects a response."""
        return name in self._names or name.startswith(self._prefixes)

    def value(self, fields: Fields) -> bytes | None:
        """The selecting cookies, in one form for any order; None if there are none.

        Cookies are sorted by name. Those of one name, which belong to different paths,
        keep their order: the first is the one that most origins take. A member without
        ``=`` has itself for a name.
        """
        kept = []
        for line in fields.get_all(b"cookie"):
            for member in line.split(b";"):
                member = member.strip(b" \t")
                name = member.partition(b"=")[0].rstrip(b" \t")
                if self.selects(name):
                    kept.append((name, member))
        kept.sort(key=_name)
        return b"; ".join([member for _, member in kept if member]) or None

    def apply(self, fields: Fields) -> Fields:
        """*fields* with the Cookie lines in that form; the same object where they are already."""
        lines = fields.get_all(b"cookie")
        if not lines:
            return fields
        value = self.value(fields)
        if value is not None and lines == [value]:
            return fields
        pairs = fields.without({b"cookie"}).pairs
        return Fields(pairs if value is None else [*pairs, (b"Cookie", value)])


def _name(pair: tuple[bytes, bytes]) -> bytes:
    return pair[0]
