"""What the fast path has to know of a request's fields, found in one pass.

Most requests have no field that could steer the answer, so that the route and the
normalised Accept-Encoding select it. Where cookies or steering fields matter, a
location's rules (``proxy.site.selecting``) make them a part of what selects it.

Imports: ``http``, ``policy``, ``proxy.site.selecting``.
"""

from __future__ import annotations

from cacheproxy.http.fields import Fields
from cacheproxy.http.messages import RequestHead
from cacheproxy.policy.key import normal_accept_encoding
from cacheproxy.policy.reuse import STEERING_FIELDS
from cacheproxy.policy.unkeyed import METHOD_FIELDS, spellings
from cacheproxy.proxy.site.selection_rules import SELECTING_FIELDS, SelectionRules

__all__ = ["Traits", "is_simple", "traits_of"]

#: Fields that leave a request to the general path.
_SLOW_FIELDS = STEERING_FIELDS | spellings(METHOD_FIELDS) | {
    b"authorization",
    b"expect",
    b"if-range",
    b"upgrade",
    b"via",
}


class Traits:
    """The traits of one request's fields.

    *simple*: the fast path may answer it. *selector* is what selects an answer beside
    the route. For a *bare* request, one without cookies and steering fields, that is
    the normalised Accept-Encoding; else `selector_for` makes it by a location's rules.
    """

    __slots__ = ("_rules", "bare", "cookieless", "encoding", "selector", "simple")

    def __init__(self, fields: Fields) -> None:
        names = fields.names()
        self.encoding = normal_accept_encoding(fields.combined(b"accept-encoding"))
        connection = fields.combined(b"connection")
        agent = fields.get(b"user-agent")
        self.simple = (
            _SLOW_FIELDS.isdisjoint(names)
            and (connection is None or connection.lower() == b"keep-alive")
            and (agent is None or b"MSIE " not in agent)
        )
        self.bare = SELECTING_FIELDS.isdisjoint(names)
        #: The selector, and that of the request without its cookies, by the rules used last.
        self.selector = self.cookieless = self.encoding
        self._rules: SelectionRules | None = None

    def selector_for(self, rules: SelectionRules | None, fields: Fields) -> bytes:
        """What selects an answer for a request with *fields* in a location with *rules*."""
        if rules is not self._rules:
            self._rules = rules
            self.selector = self.cookieless = self.encoding
            if rules is not None and not self.bare:
                self.cookieless += rules.unkeyed.suffix(fields)
                cookie = rules.cookie(fields)
                self.selector = self.cookieless
                if cookie is not None:
                    self.selector += b"\n" + cookie
        return self.selector


def traits_of(fields: Fields) -> Traits:
    """The traits of a request's fields, found once."""
    traits: Traits | None = fields.traits
    if traits is None:
        traits = fields.traits = Traits(fields)
    return traits


def is_simple(head: RequestHead) -> bool:
    """Whether the fast path may answer *head*: a GET of HTTP/1.1 without special demands."""
    return head.method == b"GET" and head.version == 11 and traits_of(head.fields).simple
