"""What a location adds to every response: ``charset``, ``expires``, ``add_header``.

Source: nginx ``ngx_http_charset_filter_module``, ``ngx_http_headers_filter_module``.
"""

from __future__ import annotations

from cacheproxy.http.fields import Pairs
from cacheproxy.policy.expires import apply_added_fields, apply_expires
from cacheproxy.policy.options import CoreOptions
from cacheproxy.proxy.site.local_time import utc_offset

__all__ = ["FieldAdder", "compile_field_adder"]

#: Redirects that nginx gives no charset (old browsers took it for that of the next page).
_WITHOUT_CHARSET = frozenset({301, 302})


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
        self.variables = frozenset(names)

    def render(self, context: object, status: int, pairs: Pairs, now: float) -> Pairs:
        """The fields to send instead of *pairs*; *now* is wall seconds."""
        core = self._core
        if core.charset is not None and status not in _WITHOUT_CHARSET:
            pairs = [self._with_charset(name, value) for name, value in pairs]
        if core.expires is not None:
            offset = utc_offset(int(now)) if core.expires.kind == "daily" else 0.0
            pairs = apply_expires(pairs, status, core.expires, context, now, offset)
        return apply_added_fields(pairs, status, core.add_header, context)

    def _with_charset(self, name: bytes, value: bytes) -> tuple[bytes, bytes]:
        if name.lower() != b"content-type" or b"charset=" in value.lower():
            return name, value
        types = self._core.charset_types
        if types is not None and value.partition(b";")[0].strip().lower() not in types:
            return name, value
        return name, value + b"; charset=" + (self._core.charset or b"")


def compile_field_adder(core: CoreOptions) -> FieldAdder | None:
    """The adder of *core*; None where it adds nothing."""
    if not core.add_header and core.expires is None and core.charset is None:
        return None
    return FieldAdder(core)
