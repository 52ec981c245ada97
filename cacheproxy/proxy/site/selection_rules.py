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

__all__ = ["RELEVANT_FIELDS", "SELECTING_FIELDS", "SelectionRules", "with_fields", "without_query"]

#: Fields that may select. Without any, a request selects the same whatever the rules are.
SELECTING_FIELDS = UNKEYED_FIELDS | {b"cookie"}

#: Without any of these, nothing in the fields matters to the cache, nor to what is passed on.
RELEVANT_FIELDS = SELECTING_FIELDS | {b"connection"}

#: Variables whose value is, or is made from, the query.
_QUERY_VARIABLES = frozenset({"args", "is_args", "query_string", "request_uri"})


class SelectionRules:
    """The rules of one location, made ready at load."""

    __slots__ = ("cookies", "made_fields", "query", "unkeyed")

    def __init__(self, proxy: ProxyOptions, cache: CacheOptions) -> None:
        self.unkeyed = UnkeyedFields(proxy, cache)
        self.cookies = None if cache.cookies is None else CookieFilter(cache.cookies)
        #: The fields that are made for the origin of what may differ between clients.
        self.made_fields = {
            name.lower(): template
            for name, template in proxy.set_header
            if template.constant is None
        }
        self.query: QueryRules | None = None
        if cache.ignore_args or cache.sort_args:
            self.query = QueryRules(cache.ignore_args, cache.sort_args)

    def head(self, head: RequestHead) -> RequestHead:
        """The request with the cookies that select; the same object where all do."""
        if self.cookies is None or b"cookie" not in head.fields:
            return head
        return with_fields(head, self.cookies.apply(head.fields))

    def cookie(self, fields: Fields) -> bytes | None:
        """The part of Cookie that selects."""
        return cookie_value(fields) if self.cookies is None else self.cookies.value(fields)

    def target(self, target: Target) -> Target:
        """*target* with the part of the query that selects; the same object where that is all."""
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
