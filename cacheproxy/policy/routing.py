"""Which server a host name selects, which location a URI selects, and the upstream's target.

nginx's ``ngx_http_find_virtual_server``, ``ngx_http_core_find_location`` and
``ngx_http_proxy_create_request``. Everything is compiled once per
configuration; answers that depend on no capture are made in advance, so that
choosing allocates nothing.

Works on any records of the shape of :class:`Place`.
Imports: ``errors``, ``http.target``, ``containment``, ``options``.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Generic, Protocol, TypeVar

from cacheproxy.errors import ProtocolError
from cacheproxy.http.target import escape_uri
from cacheproxy.policy.containment import climbs
from cacheproxy.policy.options import ProxyOptions

__all__ = [
    "NO_CAPTURES",
    "Located",
    "LocationTree",
    "Named",
    "Place",
    "ServerChooser",
    "captured",
    "proxy_uri",
]

#: Shared by every answer without captures; callers copy before they add to it.
NO_CAPTURES: Mapping[str, bytes] = MappingProxyType({})


def captured(before: Mapping[str, bytes], match: re.Match[bytes]) -> dict[str, bytes]:
    """The captures after *match*: its own, and the named ones of *before*.

    Positional groups stand under ``"1"`` to ``"9"``; a group that took no part is empty. *before*
    stays as it is: those of a route are shared by every request that takes it.
    """
    captures = {name: value for name, value in before.items() if not name.isdigit()}
    for position, group in enumerate(match.groups(b"")[:9], 1):
        captures[str(position)] = group
    captures.update(match.groupdict(b""))
    return captures


class Named(Protocol):
    """What of a server is looked at (``config.model.Server``)."""

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def regexes(self) -> Mapping[str, re.Pattern[bytes]]: ...


S = TypeVar("S", bound=Named)


class ServerChooser(Generic[S]):
    """The servers of one listening address; *default* answers where no name matches.

    Of two servers with one name the first has it.
    """

    def __init__(self, servers: Iterable[S], default: S) -> None:
        self._default: tuple[S, Mapping[str, bytes]] = (default, NO_CAPTURES)
        self._exact: dict[bytes, tuple[S, Mapping[str, bytes]]] = {}
        self._heads: dict[bytes, tuple[S, Mapping[str, bytes]]] = {}
        self._tails: dict[bytes, tuple[S, Mapping[str, bytes]]] = {}
        self._regexes: list[tuple[re.Pattern[bytes], S]] = []
        for server in servers:
            for name in server.names:
                self._add(name, server)
        self._only_default = not (self._exact or self._heads or self._tails or self._regexes)

    def _add(self, name: str, server: S) -> None:
        answer = (server, NO_CAPTURES)
        key = name.encode("utf-8", "surrogateescape")
        if name.startswith("~"):
            self._regexes.append((server.regexes[name], server))
        elif name.startswith("*."):
            self._heads.setdefault(key[2:], answer)
        elif name.startswith("."):
            self._exact.setdefault(key[1:], answer)
            self._heads.setdefault(key[1:], answer)
        elif name.endswith(".*"):
            self._tails.setdefault(key[:-2], answer)
        else:
            self._exact.setdefault(key, answer)

    def choose(self, host: bytes) -> tuple[S, Mapping[str, bytes]]:
        """The server for *host*, lower-case, without port and final dot; empty if there is none.

        Order: exact name, longest ``*.`` wildcard, longest ``.*`` wildcard, first
        regular expression, default. The second value holds the captures.
        """
        if self._only_default:
            return self._default
        found = self._exact.get(host)
        if found is not None:
            return found
        if host:
            found = self._wildcard(host)
            if found is not None:
                return found
            for pattern, server in self._regexes:
                match = pattern.search(host)
                if match is not None:
                    return server, captured(NO_CAPTURES, match)
        return self._default

    def _wildcard(self, host: bytes) -> tuple[S, Mapping[str, bytes]] | None:
        if self._heads:
            dot = host.find(b".")
            while dot >= 0:
                found = self._heads.get(host[dot + 1 :])
                if found is not None:
                    return found
                dot = host.find(b".", dot + 1)
        if self._tails:
            dot = host.rfind(b".")
            while dot > 0:
                found = self._tails.get(host[:dot])
                if found is not None:
                    return found
                dot = host.rfind(b".", 0, dot)
        return None


class Kind(Protocol):
    """The modifier of a location (``config.model.Match``)."""

    @property
    def value(self) -> str: ...


class Place(Protocol):
    """What of a location is looked at (``config.model.Location``)."""

    @property
    def match(self) -> Kind: ...

    @property
    def pattern(self) -> bytes: ...

    @property
    def regex(self) -> re.Pattern[bytes] | None: ...

    @property
    def proxy(self) -> ProxyOptions: ...

    @property
    def locations(self) -> Sequence[Any]:
        """Nested ones, of the same type, in file order."""


L = TypeVar("L", bound=Place)


class Located(Generic[L]):
    """Where a URI leads. Treated as immutable: most are made once and shared.

    *location* is None where no location matches: the server's own level holds.
    *redirect* is set where the answer is 301 to that path: a location whose name
    ends in a slash, with ``proxy_pass``, was asked for without the slash.
    """

    __slots__ = ("captures", "location", "redirect")

    def __init__(
        self,
        location: L | None,
        captures: Mapping[str, bytes] = NO_CAPTURES,
        redirect: bytes | None = None,
    ) -> None:
        self.location = location
        self.captures = captures
        self.redirect = redirect

    def __repr__(self) -> str:
        return f"Located({self.location!r}, {dict(self.captures)!r}, {self.redirect!r})"


class _Node(Generic[L]):
    """One level of locations (``ngx_http_location_tree_node_t``, flattened).

    Prefixes are sorted, each with the index of the longest other prefix that it
    starts with: the longest prefix of a URI is found by bisection and a walk up.
    """

    __slots__ = ("exact", "inner", "names", "own", "parents", "prefixes", "redirects", "regexes")

    def __init__(self, location: L | None, inner: Sequence[L]) -> None:
        self.own: Located[L] = Located(location)
        self.exact: dict[bytes, Located[L]] = {}
        self.redirects: dict[bytes, Located[L]] = {}
        self.regexes: list[tuple[re.Pattern[bytes], _Node[L]]] = []
        self.prefixes: list[tuple[_Node[L], bool]] = []
        self.names: list[bytes] = []
        self.parents: list[int] = []
        prefixes: dict[bytes, tuple[_Node[L], bool]] = {}
        for child in inner:
            kind = child.match.value
            if kind == "@":
                continue
            node = _Node(child, child.locations)
            if child.regex is not None:
                self.regexes.append((child.regex, node))
            elif kind == "=":
                self.exact[child.pattern] = node.own
            else:
                prefixes[child.pattern] = (node, kind == "^~")
        self._sort(prefixes)
        self._find_redirects(prefixes)

    def _sort(self, prefixes: Mapping[bytes, tuple[_Node[L], bool]]) -> None:
        self.names = sorted(prefixes)
        self.prefixes = [prefixes[name] for name in self.names]
        for index, name in enumerate(self.names):
            parent = index - 1
            while parent >= 0 and not name.startswith(self.names[parent]):
                parent = self.parents[parent]
            self.parents.append(parent)

    def _find_redirects(self, prefixes: Mapping[bytes, tuple[_Node[L], bool]]) -> None:
        for name in {*prefixes, *self.exact}:
            if len(name) < 2 or not name.endswith(b"/"):
                continue
            bare = name[:-1]
            if bare in self.exact or bare in prefixes:
                continue
            candidates = [self.exact.get(name)]
            if name in prefixes:
                candidates.append(prefixes[name][0].own)
            found = [one.location for one in candidates if one is not None and one.location]
            if any(location.proxy.proxy_pass is not None for location in found):
                self.redirects[bare] = Located(found[0], NO_CAPTURES, escape_uri(name))

    def find(self, uri: bytes) -> tuple[Located[L], bool]:
        """The place of *uri* below here, and whether the search is over.

        Where it is not, the level above may still prefer one of its own regular
        expressions.
        """
        found = self.exact.get(uri) or self.redirects.get(uri)
        if found is not None:
            return found, True
        best, final = self.own, False
        names = self.names
        if names:
            index = bisect_right(names, uri) - 1
            while index >= 0 and not uri.startswith(names[index]):
                index = self.parents[index]
            if index >= 0:
                node, final = self.prefixes[index]
                best = node.own
                if node.names or node.regexes or node.exact:
                    best, over = node.find(uri)
                    if over:
                        return best, True
        if not final:
            for pattern, node in self.regexes:
                match = pattern.search(uri)
                if match is not None:
                    return self._matched(node, match, uri), True
        return best, False

    def _matched(self, node: _Node[L], match: re.Match[bytes], uri: bytes) -> Located[L]:
        captures = captured(NO_CAPTURES, match)
        inner = node.own
        if node.names or node.regexes or node.exact:
            inner = node.find(uri)[0]
            # an inner expression that matched replaces the positional captures
            if inner.captures is not NO_CAPTURES:
                named = {k: v for k, v in captures.items() if not k.isdigit()}
                captures = {**named, **inner.captures}
        return Located(inner.location, captures, inner.redirect)


class LocationTree(Generic[L]):
    """The locations of one server, in file order; named ones are not found by URI."""

    def __init__(self, locations: Sequence[L]) -> None:
        self._node: _Node[L] = _Node(None, locations)

    def find(self, uri: bytes) -> Located[L]:
        """Where the normalised *uri* leads.

        An exact location ends the search; else the longest prefix is kept, and,
        unless it is ``^~``, the first matching regular expression preferred to
        it, those nested in the prefix location first.
        """
        return self._node.find(uri)[0]


def proxy_uri(
    location: bytes,
    replacement: bytes | None,
    uri: bytes,
    raw_path: bytes | None,
    args: bytes | None,
) -> bytes:
    """The request-target for the upstream.

    *replacement* is the URI part of ``proxy_pass`` (None without one) and takes
    the place of *location* at the start of the normalised path *uri*.
    *raw_path* is the path as received, or None once the request has been
    redirected internally: the received one then no longer holds. *args* is the
    query without its ``?``, None where there is none.

    A URI rendered from variables is used as it is and does not come here.
    Raises :class:`ProtocolError` (404) where the path would lead above *replacement*.

    Source: ``ngx_http_proxy_create_request``.
    """
    if replacement is None:
        if raw_path is not None:
            return raw_path if args is None else raw_path + b"?" + args
        target = escape_uri(uri)
    else:
        path = uri[len(location) :]
        # what was sent plain is sent on plain, bytes above 127 included
        if raw_path is None or b"%" in raw_path:
            path = escape_uri(path)
        if climbs(replacement, path):
            raise ProtocolError("path leads above the URI of proxy_pass", 404)
        target = replacement + path
    return target + b"?" + args if args else target
