"""Which parts of a request select a cached response: by the key, by Vary, at the origin.

The three must agree. What does not select a stored response must not reach the origin,
and what reaches the origin and can steer its answer must select:
cookies (``proxy_cache_cookies``), the query (``proxy_cache_ignore_args``,
``proxy_cache_sort_args``) and the fields of ``policy.unkeyed``. Logs, redirects and the
operator's own conditions go on reading what the client sent.

Imports: ``http``, ``policy``, ``proxy.site.context``, ``proxy.site.selection_rules``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from cacheproxy.http.messages import RequestHead
from cacheproxy.policy.key import FieldsAsSent
from cacheproxy.proxy.site.context import TemplateContext
from cacheproxy.proxy.site.selection_rules import RELEVANT_FIELDS, with_fields
from cacheproxy.template import Template

__all__ = [
    "as_selected",
    "forwarded",
    "selected_request",
    "selects_with_all",
]

C = TypeVar("C", bound=TemplateContext)

def selected_request(request: TemplateContext) -> tuple[RequestHead, bytes, bytes]:
    """The request as the cache sees it, what its key ends in, and its obstacle.

    Vary selects by what the origin is sent: ``proxy_set_header`` has the last word.
    The last two are empty for nearly every request; see ``UnkeyedFields``.
    """
    head, suffix, obstacle = _passed_on(request)
    rules = request.location.selection
    if rules is not None and rules.made_fields:
        made = {name: _as_made(request, template) for name, template in rules.made_fields.items()}
        head = with_fields(head, FieldsAsSent(head.fields, made))
    return head, suffix, obstacle


def _as_made(request: TemplateContext, template: Template) -> Callable[[], bytes | None]:
    return lambda: template.render(as_selected(request)) or None


def forwarded(request: TemplateContext) -> RequestHead:
    """The request with those of the client's fields that go on to the origin."""
    rules = request.location.selection
    return request.head if rules is None else rules.head(request.head)


def _passed_on(request: TemplateContext) -> tuple[RequestHead, bytes, bytes]:
    """As for `selected_request`, with the client's fields that go on to the origin."""
    head = request.head
    rules = request.location.selection
    if rules is None:
        return head, b"", b""
    fields, unkeyed = head.fields, rules.unkeyed
    spelling: list[bytes] = []
    if unkeyed.watches:
        said = fields.get(b"host") or b""
        spelling = unkeyed.spelling(said, _expected_host(request), request.route.raw_path)
    if not spelling and RELEVANT_FIELDS.isdisjoint(fields.names()):
        return head, b"", b""
    return rules.head(head), unkeyed.suffix(fields, spelling), unkeyed.obstacle(fields)


def _expected_host(request: TemplateContext) -> bytes:
    """What Host is in requests that were not sent to another port than this one."""
    site, host = request.site, request.route.host
    port = site.listen.port
    if site.listen.path or port == (443 if site.scheme == b"https" else 80):
        return host
    return b"%b:%d" % (host, port)


def selects_with_all(request: TemplateContext) -> bool:
    """Whether every part of the request selects, so that it may go on as it came."""
    head, suffix, obstacle = _passed_on(request)
    return (
        head is request.head and not suffix and not obstacle and request.route.selecting is None
    )


def as_selected(context: C) -> C:
    """*context* with only the part of its query that selects: for keys and the origin."""
    rules = context.location.selection
    if rules is None or rules.query is None:
        return context
    head, route = context.head, context.route
    path, mark, args = head.target.partition(b"?")
    if mark:
        args = rules.query.apply(args)
        target = path + b"?" + args if args else path
        head = RequestHead(
            head.method, target, head.version, head.fields, head.body_length, head.keep_alive
        )
    return context.replaced(head, route.selecting or route)
