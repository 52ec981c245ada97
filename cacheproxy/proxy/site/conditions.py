"""Conditions of directives: strings of which one that is neither empty nor ``0`` holds.

Source: nginx ``ngx_http_test_predicates`` (``proxy_cache_bypass``, ``proxy_no_cache``),
``proxy_cache_purge``.
Imports: ``template``, ``proxy.site.context``.
"""

from __future__ import annotations

from cacheproxy.proxy.site.context import TemplateContext
from cacheproxy.template import Template

__all__ = ["holds"]


def holds(conditions: tuple[Template, ...], request: TemplateContext) -> bool:
    """Whether any of the conditions is neither empty nor ``0``."""
    return any(condition.render(request) not in (b"", b"0") for condition in conditions)
