"""What a location adds to responses: ``charset``, ``expires``, ``add_header``, ``add_trailer``.

Source: nginx ``ngx_http_charset_filter_module``, ``ngx_http_headers_filter_module``.
"""

from __future__ import annotations

import re

from cacheproxy.http.fields import Fields, Pairs
from cacheproxy.policy.expires import SAFE_STATUSES, apply_added_fields, apply_expires
from cacheproxy.policy.options import AddHeader, CoreOptions
from cacheproxy.proxy.site.local_time import utc_offset

__all__ = ["FieldAdder", "TrailerAdder", "compile_field_adder"]

#: Redirects that nginx gives no charset (old browsers took it for that of the next page).
_WITHOUT_CHARSET = frozenset({301, 302})

#: What a variable could end a field line with.
_CONTROL = re.compile(rb"[\x00\r\n]")


class FieldAdder:
    """Applies the directives of one location; ``variables`` are those that it reads."""

    __slots__ = ("_core", "variables")

    def __init__(self, core: CoreOptions) -> None:
        self._core = core
        names: set[str] = set()
        for header in core.add_header:
            names |= header.value.variables
        if core.expires is not None and core.expires.template is not None:
            names |= core.expires.template.variables
        if core.charset is not None:
            names |= core.charset.variables
        self.variables = frozenset(names)

    def render(self, context: object, status: int, pairs: Pairs, now: float) -> Pairs:
        """The fields to send instead of *pairs*; *now* is wall seconds."""
        core = self._core
        if core.charset is not None and status not in _WITHOUT_CHARSET:
            charset = _CONTROL.sub(b" ", core.charset.render(context))
            if charset:
                pairs = [self._with_charset(name, value, charset) for name, value in pairs]
        expires = core.expires
        if expires is not None:
            by_clock = expires.kind == "daily" or expires.template is not None
            offset = utc_offset(int(now)) if by_clock else 0.0
            pairs = apply_expires(pairs, status, expires, context, now, offset)
        return apply_added_fields(pairs, status, core.add_header, context)

    def _with_charset(self, name: bytes, value: bytes, charset: bytes) -> tuple[bytes, bytes]:
        if name.lower() != b"content-type" or b"charset=" in value.lower():
            return name, value
        types = self._core.charset_types
        if types is not None and value.partition(b";")[0].strip().lower() not in types:
            return name, value
        return name, value + b"; charset=" + charset


class TrailerAdder:
    """``add_trailer`` of one location: fields that follow the body, in its last chunk.

    As in nginx no Trailer field announces them, and clients that send no ``TE: trailers``
    get them too.
    """

    __slots__ = ("_trailers",)

    def __init__(self, trailers: tuple[AddHeader, ...]) -> None:
        self._trailers = trailers

    def has_any(self, status: int) -> bool:
        """Whether a response with *status* is to end with any."""
        return status in SAFE_STATUSES or any(trailer.always for trailer in self._trailers)

    def render(self, context: object, status: int, received: Fields | None) -> Fields | None:
        """The trailers to send: those *received* from the upstream, then those added here."""
        pairs = [] if received is None else received.pairs
        pairs = apply_added_fields(pairs, status, self._trailers, context)
        return Fields(pairs) if pairs else None


def compile_field_adder(core: CoreOptions) -> FieldAdder | None:
    """The adder of *core*; None where it adds nothing."""
    if not core.add_header and core.expires is None and core.charset is None:
        return None
    return FieldAdder(core)
