"""Cache keys: ``proxy_cache_key`` digests, Vary selection (RFC 9111 §4.1), ``levels=`` paths.

nginx: ``ngx_http_file_cache_create_key``, ``ngx_http_file_cache_variants_hash``.

Imports: ``cookies``, ``http``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from hashlib import md5

from cacheproxy.http.fields import Fields
from cacheproxy.http.syntax import is_token, parse_qvalues
from cacheproxy.policy.cookies import cookie_value

__all__ = [
    "CONTENT_CODINGS",
    "MAX_NAMES",
    "FieldsAsSent",
    "Vary",
    "digest",
    "levels_path",
    "matches",
    "normal_accept_encoding",
    "request_key",
    "selecting",
    "variant_digest",
    "vary_names",
]

#: Selecting fields of a request: (lower-case name, normalised value or None when absent).
Vary = tuple[tuple[bytes, "bytes | None"], ...]

#: The codings that tell variants apart; any other that a client lists is not one
#: that origins use, and would only split the cache.
CONTENT_CODINGS = (b"br", b"gzip", b"zstd", b"deflate", b"dcb", b"dcz")

_ALIASES = {b"x-gzip": b"gzip"}

#: Lists whose members are compared without case. Their order is kept: origins
#: take it for the order of preference where weights are equal.
_CASELESS = frozenset({b"accept", b"accept-charset"})

#: Fields that are no lists, though their values may hold commas.
_SINGLE = frozenset(
    {b"authorization", b"cookie", b"from", b"if-modified-since", b"origin", b"referer"}
    | {b"user-agent"}
)

#: Names that Vary may list where the response is to be stored.
MAX_NAMES = 64

#: How many different field values are remembered, per kind; then all are forgotten.
_MEMO_SIZE = 512

#: Values longer than this are parsed each time.
_MEMO_VALUE_SIZE = 512
_ENCODINGS: dict[bytes, bytes] = {}
_NAMES: dict[bytes, tuple[bytes, ...] | None] = {}


class FieldsAsSent(Fields):
    """A request's *fields* as the origin is sent them: ``proxy_set_header`` makes some.

    *made* gives the value of each of those, by lower-case name (None: it is not sent).
    A field that Vary names is the one that was sent, not the client's.
    """

    __slots__ = ("made",)

    def __init__(
        self, fields: Fields, made: Mapping[bytes, Callable[[], bytes | None]]
    ) -> None:
        super().__init__(())
        self.pairs = fields.pairs
        self.traits = fields.traits
        self.made = made


def request_key(key: bytes, method: bytes, convert_head: bool = True) -> bytes:
    """The key under which a request's response is stored, given the operator's *key*.

    nginx leaves the method to ``proxy_cache_key``, so that a stored POST answers
    a GET, and with ``proxy_cache_convert_head off`` a bodiless HEAD does. Here
    every method but GET (and a converted HEAD) has a key space of its own.
    """
    if method == b"GET" or (convert_head and method == b"HEAD"):
        return key
    return method + b" " + key


def digest(key: bytes) -> bytes:
    """The MD5 of a cache key, 16 bytes."""
    return md5(key, usedforsecurity=False).digest()


def variant_digest(key: bytes, vary: Vary) -> bytes:
    """The digest of one variant of *key*; equal to ``digest(key)`` without selecting fields.

    Every part carries its length, so that no two different selections run together.
    """
    if not vary:
        return md5(key, usedforsecurity=False).digest()
    parts = [b"%d:%s" % (len(key), key)]
    for name, value in vary:
        parts.append(b"%d:%s" % (len(name), name))
        parts.append(b"-" if value is None else b"%d:%s" % (len(value), value))
    return md5(b"".join(parts), usedforsecurity=False).digest()


def vary_names(fields: Fields) -> tuple[bytes, ...] | None:
    """The lower-case names that a response's Vary lists, sorted; None for ``*`` anywhere.

    None too for a member that cannot be a field name: no request has a field of that name,
    so that the response would seem to be for all. And for more than `MAX_NAMES`, each of
    which every request would be compared by.
    Source: RFC 9110 §12.5.5, RFC 9111 §4.1.
    """
    value = fields.combined(b"vary")
    if value is None:
        return ()
    if value in _NAMES:
        return _NAMES[value]
    listed = {name.strip(b" \t").lower() for name in value.split(b",")}
    listed.discard(b"")
    names: tuple[bytes, ...] | None = None
    # ``*`` is a token by its letters.
    if len(listed) <= MAX_NAMES and b"*" not in listed and all(map(is_token, listed)):
        names = tuple(sorted(listed))
    if len(value) <= _MEMO_VALUE_SIZE:
        if len(_NAMES) >= _MEMO_SIZE:
            _NAMES.clear()
        _NAMES[value] = names
    return names


def selecting(names: Iterable[bytes], fields: Fields) -> Vary:
    """The selecting fields of a request, for the sorted lower-case *names*."""
    return tuple([(name, _normal(name, fields)) for name in names])


def matches(vary: Vary, fields: Fields) -> bool:
    """Whether a request's *fields* select the variant stored under *vary* (RFC 9111 §4.1)."""
    return all(_normal(name, fields) == value for name, value in vary)


def normal_accept_encoding(value: bytes | None) -> bytes:
    """Accept-Encoding reduced to the codings that matter, in canonical order and form.

    Codings of equal weight are sorted; different weights keep their order of
    preference. ``identity;q=0`` survives, since it forbids the plain form.
    Absent and "identity only" are the same: an origin sends identity for both.
    """
    if value is None:
        return b""
    known = _ENCODINGS.get(value)
    if known is None:
        known = _reduce(value)
        if len(value) <= _MEMO_VALUE_SIZE:
            if len(_ENCODINGS) >= _MEMO_SIZE:
                _ENCODINGS.clear()
            _ENCODINGS[value] = known
    return known


def _reduce(value: bytes) -> bytes:
    weights: dict[bytes, float] = {}
    for coding, weight in parse_qvalues(value):
        coding = coding.lower()
        coding = _ALIASES.get(coding, coding)
        weights[coding] = min(weight, weights.get(coding, weight))
    star = weights.pop(b"*", None)
    if star is not None:
        for coding in CONTENT_CODINGS:
            weights.setdefault(coding, star)
        if star == 0:
            weights.setdefault(b"identity", 0.0)
    accepted = [
        (-weight, coding)
        for coding, weight in weights.items()
        if weight > 0 and coding in CONTENT_CODINGS
    ]
    accepted.sort()
    ranks: list[bytes] = []
    previous = None
    for weight, coding in accepted:
        separator = b"" if previous is None else (b"," if weight == previous else b">")
        ranks.append(separator + coding)
        previous = weight
    if weights.get(b"identity") == 0:
        ranks.append(b"!identity")
    return b"".join(ranks)


def _normal(name: bytes, fields: Fields) -> bytes | None:
    if isinstance(fields, FieldsAsSent) and name in fields.made:
        return fields.made[name]()
    if name == b"accept-encoding":
        return normal_accept_encoding(fields.combined(name))
    if name == b"cookie":
        return cookie_value(fields)
    value = fields.combined(name)
    if value is None:
        return None
    if name == b"accept-language":
        return _normal_language(value)
    if name in _CASELESS:
        value = value.lower()
    if b"," in value and b'"' not in value and name not in _SINGLE:
        members = [b" ".join(member.split()) for member in value.split(b",")]
        return b",".join([member for member in members if member])
    return value.strip(b" \t")


def _normal_language(value: bytes) -> bytes:
    """Accept-Language without case, and in one order: only weights tell preference.

    Source: RFC 9110 §12.5.4. A member that cannot be read leaves all as it is.
    """
    weights = parse_qvalues(value)
    if len(weights) != len([member for member in value.split(b",") if member.strip(b" \t")]):
        return value.lower().strip(b" \t")
    members = sorted({(-weight, tag) for tag, weight in weights})
    return b",".join(
        [tag if weight == -1 else b"%s;q=%g" % (tag, -weight) for weight, tag in members]
    )


def levels_path(hexdigest: str, levels: tuple[int, ...]) -> str:
    """The path of an entry's file below the zone's folder, as nginx lays it out.

    *hexdigest* is 32 lower-case digits; ``levels=1:2`` takes the last digit,
    then the two before it, as folders. Source: nginx ``ngx_create_hashed_filename``.
    """
    folders = []
    end = len(hexdigest)
    for width in levels:
        folders.append(hexdigest[end - width : end])
        end -= width
    return "/".join([*folders, hexdigest])
