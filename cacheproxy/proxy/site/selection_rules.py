"""The rules by which a cached location takes a request: compiled from its directives at load.

``selecting`` applies them to requests.

Imports: ``http``, ``policy``, ``template``.
"""

from __future__ import annotations

from collections.abc import Iterable

from cacheproxy.http.fields import Fields
from cacheproxy.http.messages import RequestHead
from cacheproxy.http.target import Target
from cacheproxy.policy.cookies import CookieFilter, cookie_value
from cacheproxy.policy.options import CacheOptions, ProxyOptions
from cacheproxy.policy.query import QueryRules
from cacheproxy.policy.unkeyed import UNKEYED_FIELDS, UnkeyedFields

__all__ = ["COUNTED_FIELDS", "TELLING_FIELDS", "CountRules", "with_fields", "without_query"]

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
        return with_fields(head, self.cookies.apply(head.fields))

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


def without_query(variables: Iterable[str]) -> bool:
    """Whether none of *variables* depends on the query."""
    return not any(name in _QUERY_VARIABLES or name.startswith("arg_") for name in variables)


def with_fields(head: RequestHead, fields: Fields) -> RequestHead:
    """*head* with *fields* in place of its own; the same object where they are its own."""
    if fields is head.fields:
        return head
    return RequestHead(
        head.method, head.target, head.version, fields, head.body_length, head.keep_alive
    )
