"""What of a request counts in a cached location: for the key, for Vary, for the origin.

The three must agree. What the cache does not tell answers apart by must not reach the
origin, and what reaches the origin and can steer the answer must tell answers apart:
cookies (``proxy_cache_cookies``), the query (``proxy_cache_ignore_args``,
``proxy_cache_sort_args``) and the fields of ``policy.unkeyed``. Logs, redirects and the
operator's own conditions go on reading what the client sent.

Imports: ``http``, ``policy``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeVar

from cacheproxy.http.fields import Fields
from cacheproxy.http.messages import RequestHead
from cacheproxy.http.target import Target
from cacheproxy.policy.cookies import CookieFilter, cookie_value
from cacheproxy.policy.key import ToldFields
from cacheproxy.policy.options import CacheOptions, ProxyOptions
from cacheproxy.policy.query import QueryRules
from cacheproxy.policy.unkeyed import UNKEYED_FIELDS, UnkeyedFields
from cacheproxy.template import Template

if TYPE_CHECKING:
    from cacheproxy.proxy.site.context import TemplateContext

__all__ = [
    "COUNTED_FIELDS",
    "TELLING_FIELDS",
    "CountRules",
    "as_selected",
    "count",
    "counts_whole",
    "forwarded",
    "without_query",
]

C = TypeVar("C", bound="TemplateContext")

#: A request with none of these is what it is, whatever the location's rules are.
COUNTED_FIELDS = UNKEYED_FIELDS | {b"cookie"}

#: Nor does the cache have anything to tell it apart by, if it has none of these.
TELLING_FIELDS = COUNTED_FIELDS | {b"connection"}

#: Variables whose value is, or is made from, the query.
_QUERY_VARIABLES = frozenset({"args", "is_args", "query_string", "request_uri"})


class CountRules:
    """The rules of one location, made ready at load."""

    __slots__ = ("cookies", "query", "told", "unkeyed")

    def __init__(self, proxy: ProxyOptions, cache: CacheOptions) -> None:
        self.unkeyed = UnkeyedFields(proxy, cache)
        self.cookies = None if cache.cookies is None else CookieFilter(cache.cookies)
        #: The fields that are made for the origin of what may differ between clients.
        self.told = {
            name.lower(): template
            for name, template in proxy.set_header
            if template.constant is None
        }
        self.query: QueryRules | None = None
        if cache.ignore_args or cache.sort_args:
            self.query = QueryRules(cache.ignore_args, cache.sort_args)

    def head(self, head: RequestHead) -> RequestHead:
        """The request with the cookies that count; the same object where all do."""
        if self.cookies is None or b"cookie" not in head.fields:
            return head
        return _with_fields(head, self.cookies.apply(head.fields))

    def cookie(self, fields: Fields) -> bytes | None:
        """The value of Cookie that counts."""
        return cookie_value(fields) if self.cookies is None else self.cookies.value(fields)

    def target(self, target: Target) -> Target:
        """*target* with the query that counts; the same object where it is that already."""
        if self.query is None or not target.has_args:
            return target
        args = self.query.apply(target.args)
        if args and args == target.args:
            return target
        return Target(target.path, args, bool(args), target.authority, target.scheme)


def count(request: TemplateContext) -> tuple[RequestHead, bytes, bytes]:
    """The request as the cache sees it, what its key ends in, and its obstacle.

    Vary selects by what the origin is told: ``proxy_set_header`` has the last word.
    The last two are empty for nearly every request; see ``UnkeyedFields``.
    """
    head, suffix, obstacle = _passed_on(request)
    rules = request.location.counts
    if rules is not None and rules.told:
        told = {name: _teller(request, template) for name, template in rules.told.items()}
        head = _with_fields(head, ToldFields(head.fields, told))
    return head, suffix, obstacle


def _teller(request: TemplateContext, template: Template) -> Callable[[], bytes | None]:
    return lambda: template.render(as_selected(request)) or None


def forwarded(request: TemplateContext) -> RequestHead:
    """The request with those of the client's fields that go on to the origin."""
    rules = request.location.counts
    return request.head if rules is None else rules.head(request.head)


def _passed_on(request: TemplateContext) -> tuple[RequestHead, bytes, bytes]:
    """As for `count`, with the client's fields that go on to the origin."""
    head = request.head
    rules = request.location.counts
    if rules is None:
        return head, b"", b""
    fields, unkeyed = head.fields, rules.unkeyed
    spelling: list[bytes] = []
    if unkeyed.watches:
        said = fields.get(b"host") or b""
        spelling = unkeyed.spelling(said, _expected_host(request), request.route.raw_path)
    if not spelling and TELLING_FIELDS.isdisjoint(fields.names()):
        return head, b"", b""
    return rules.head(head), unkeyed.suffix(fields, spelling), unkeyed.obstacle(fields)


def _expected_host(request: TemplateContext) -> bytes:
    """What Host is in requests that were not sent to another port than this one."""
    site, host = request.site, request.route.host
    port = site.listen.port
    if site.listen.path or port == (443 if site.scheme == b"https" else 80):
        return host
    return b"%b:%d" % (host, port)


def counts_whole(request: TemplateContext) -> bool:
    """Whether all of the request counts, so that it may as well go on as it came."""
    head, suffix, obstacle = _passed_on(request)
    return (
        head is request.head and not suffix and not obstacle and request.route.counted is None
    )


def without_query(variables: Iterable[str]) -> bool:
    """Whether none of *variables* depends on the query."""
    return not any(name in _QUERY_VARIABLES or name.startswith("arg_") for name in variables)


def _with_fields(head: RequestHead, fields: Fields) -> RequestHead:
    """*head* with *fields* in place of its own; the same object where they are its own."""
    if fields is head.fields:
        return head
    return RequestHead(
        head.method, head.target, head.version, fields, head.body_length, head.keep_alive
    )


def as_selected(context: C) -> C:
    """What cache keys and requests to the origin are rendered on: with the query that counts."""
    rules = context.location.counts
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
    return context.replaced(head, route.counted or route)
