"""Servers by name, locations by URI, the upstream's request-target."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.http.target import escape_uri
from cacheproxy.policy.options import ProxyOptions, ProxyPass
from cacheproxy.policy.routing import (
    NO_CAPTURES,
    Located,
    LocationTree,
    ServerChooser,
    captured,
    proxy_uri,
)


@dataclass(frozen=True)
class FakeServer:
    """What a chooser looks at."""

    names: tuple[str, ...]
    regexes: Mapping[str, re.Pattern[bytes]] = field(default_factory=dict)


def a_server(*names: str) -> FakeServer:
    """A server with *names*, expressions compiled."""
    regexes = {name: re.compile(name[1:].encode()) for name in names if name.startswith("~")}
    return FakeServer(names, regexes)


class ServerChooserTests(SynchronousTestCase):
    """``ngx_http_find_virtual_server``."""

    def chosen(self, host: bytes, *servers: FakeServer) -> FakeServer:
        """The server for *host*; a further one, without names, is the default."""
        return ServerChooser(servers, DEFAULT).choose(host)[0]

    def test_order_of_kinds(self) -> None:
        """Exact, longest ``*.``, longest ``.*``, first expression, default."""
        exact, short, long, tail, tail2, first, second = servers = (
            a_server("a.b.c"),
            a_server("*.c"),
            a_server("*.b.c"),
            a_server("w.*"),
            a_server("w.x.*"),
            a_server("~^r"),
            a_server("~^r.*z"),
        )
        for host, expected in {
            b"a.b.c": exact,
            b"x.b.c": long,
            b"x.y.b.c": long,
            b"x.c": short,
            b"b.c": short,
            b"w.q": tail,
            b"w.x.y": tail2,
            b"w.x.c": short,
            b"rz": first,
            b"c": DEFAULT,
            b"w": DEFAULT,
            b"": DEFAULT,
        }.items():
            self.assertIs(self.chosen(host, *servers), expected, host)
        self.assertIs(self.chosen(b"rz", second, first), second)

    def test_dot_names_mean_both(self) -> None:
        """``.example.com`` is the name and everything below it."""
        dotted = a_server(".b.c")
        self.assertIs(self.chosen(b"b.c", dotted), dotted)
        self.assertIs(self.chosen(b"a.b.c", dotted), dotted)
        self.assertIs(self.chosen(b"ab.c", dotted), DEFAULT)

    def test_empty_name(self) -> None:
        """A server called ``""`` has the requests without Host; expressions do not see them."""
        empty, any_ = a_server(""), a_server("~")
        self.assertIs(self.chosen(b"", any_, empty), empty)
        self.assertIs(self.chosen(b"", any_), DEFAULT)

    def test_first_server_has_the_name(self) -> None:
        """Of two with one name the second is never chosen."""
        one, two = a_server("a"), a_server("a")
        self.assertIs(self.chosen(b"a", one, two), one)

    def test_captures(self) -> None:
        """An expression's groups come with the server."""
        chooser = ServerChooser([a_server(r"~^(?P<sub>\w+)\.(\w+)$")], DEFAULT)
        _, captures = chooser.choose(b"a.b")
        self.assertEqual(captures, {"1": b"a", "2": b"b", "sub": b"a"})
        self.assertIs(chooser.choose(b"-")[1], NO_CAPTURES)


DEFAULT = a_server()


class Kind(Enum):
    """The modifiers of ``location``."""

    PREFIX = ""
    FINAL = "^~"
    EXACT = "="
    REGEX = "~"
    NAMED = "@"


@dataclass(frozen=True, eq=False)
class FakeLocation:
    """What a tree looks at."""

    match: Kind
    pattern: bytes
    locations: Sequence[FakeLocation] = ()
    regex: re.Pattern[bytes] | None = None
    proxy: ProxyOptions = field(default_factory=ProxyOptions)


PROXIED = ProxyOptions(proxy_pass=ProxyPass(upstream="u"))


def at(text: str, *inner: FakeLocation, proxied: bool = False) -> FakeLocation:
    """A location from its arguments: ``"~ x"``, ``"/a"``."""
    modifier, _, pattern = text.partition(" ") if text[0] in "~^=" else ("", "", text)
    kind = Kind.NAMED if text.startswith("@") else Kind(modifier)
    regex = re.compile(pattern.encode()) if kind is Kind.REGEX else None
    proxy = PROXIED if proxied else ProxyOptions()
    return FakeLocation(kind, pattern.encode(), inner, regex, proxy)


class LocationTreeTests(SynchronousTestCase):
    """``ngx_http_core_find_location``."""

    def found(self, uri: bytes, *locations: FakeLocation) -> bytes | None:
        """The pattern of the location that *uri* leads to."""
        place = LocationTree(locations).find(uri).location
        return None if place is None else place.pattern

    def test_longest_prefix(self) -> None:
        """Whatever the order."""
        places = (at("/a"), at("/"), at("/a/b/c"), at("/a/b"), at("/ab"))
        for uri, expected in {
            b"/": b"/",
            b"/x": b"/",
            b"/a": b"/a",
            b"/ac": b"/a",
            b"/a/bx": b"/a/b",
            b"/a/b/cd": b"/a/b/c",
            b"/ab/c": b"/ab",
            b"/\xff": b"/",
        }.items():
            self.assertEqual(self.found(uri, *places), expected, uri)
        self.assertIsNone(self.found(b"/", at("/a")))

    def test_exact_ends_the_search(self) -> None:
        """Before any expression, and only for the whole URI."""
        places = (at("~ a"), at("= /a"), at("/"))
        self.assertEqual(self.found(b"/a", *places), b"/a")
        self.assertEqual(self.found(b"/ab", *places), b"a")
        self.assertEqual(self.found(b"/b", *places), b"/")

    def test_expressions_in_order(self) -> None:
        """The first that matches, preferred to a prefix unless it is ``^~``."""
        places = (at("/s/"), at("^~ /f/"), at("~ x"), at("~ xy"))
        self.assertEqual(self.found(b"/s/xy", *places), b"x")
        self.assertEqual(self.found(b"/f/xy", *places), b"/f/")
        self.assertEqual(self.found(b"/s/", *places), b"/s/")

    def test_final_counts_where_it_is_longest(self) -> None:
        """A shorter ``^~`` does not keep a longer plain prefix from the expressions."""
        self.assertEqual(self.found(b"/a/bx", at("^~ /a"), at("/a/b"), at("~ x")), b"x")

    def test_inner_expressions_first(self) -> None:
        """Those nested in the prefix location are tried before the outer ones."""
        inner, outer = at("~ [.]x$"), at("~ [.]")
        places = (outer, at("/a/", inner))
        self.assertEqual(self.found(b"/a/q.x", *places), inner.pattern)
        self.assertEqual(self.found(b"/a/q.y", *places), outer.pattern)

    def test_nested_prefix_is_open_to_outer_expressions(self) -> None:
        """Only an outer ``^~``, not an inner one, keeps the outer expressions out."""
        self.assertEqual(self.found(b"/a/b", at("/a", at("^~ /a/b")), at("~ b")), b"b")
        self.assertEqual(self.found(b"/a/b", at("^~ /a", at("/a/b")), at("~ b")), b"/a/b")

    def test_nested_in_an_expression(self) -> None:
        """Inner expressions, with the captures of the one that matched last."""
        tree = LocationTree([at("~ ^/(?P<o>.)(.)", at("~ (?P<i>z)$"))])
        found = tree.find(b"/abz")
        assert found.location is not None
        self.assertEqual(found.location.pattern, b"(?P<i>z)$")
        self.assertEqual(found.captures, {"o": b"a", "i": b"z", "1": b"z"})
        self.assertEqual(tree.find(b"/ab").captures, {"o": b"a", "1": b"a", "2": b"b"})

    def test_named_locations_are_not_found(self) -> None:
        """No URI leads to ``@name``."""
        self.assertIsNone(self.found(b"@a", at("@a")))

    def test_redirect_to_the_slash(self) -> None:
        """A proxied location ending in a slash redirects its name without one."""
        tree = LocationTree([at("/a b/", proxied=True), at("/c/"), at("~ .")])
        found = tree.find(b"/a b")
        self.assertEqual(found.redirect, b"/a%20b/")
        self.assertIsNone(tree.find(b"/a b/").redirect)
        self.assertIsNone(tree.find(b"/c").redirect)

    def test_no_redirect_where_the_bare_name_is_a_location(self) -> None:
        """An exact or prefix location of that very name goes first."""
        for bare in ("/a", "= /a"):
            tree = LocationTree([at("/a/", proxied=True), at(bare)])
            self.assertIsNone(tree.find(b"/a").redirect, bare)
        nested = LocationTree([at("/a", at("/a/b/", proxied=True))])
        self.assertEqual(nested.find(b"/a/b").redirect, b"/a/b/")
        exact = LocationTree([at("= /a/", proxied=True), at("/")])
        self.assertEqual(exact.find(b"/a").redirect, b"/a/")

    def test_answers_without_captures_are_shared(self) -> None:
        """Finding a prefix allocates nothing."""
        tree = LocationTree([at("/")])
        self.assertIs(tree.find(b"/a"), tree.find(b"/b"))


def reference(
    own: FakeLocation | None, locations: Sequence[FakeLocation], uri: bytes
) -> tuple[Located[FakeLocation], bool]:
    """nginx's search, step by step over lists: (answer, whether it is final)."""
    plain = [one for one in locations if one.match in (Kind.PREFIX, Kind.FINAL)]
    exact = [one for one in locations if one.match is Kind.EXACT]
    for one in exact:
        if one.pattern == uri:
            return Located(one), True
    if not any(one.pattern == uri for one in plain):
        slashed = [one for one in exact + plain if one.pattern == uri + b"/"]
        if any(one.proxy.proxy_pass is not None for one in slashed):
            return Located(slashed[0], NO_CAPTURES, escape_uri(uri + b"/")), True
    fitting = [one for one in plain if uri.startswith(one.pattern)]
    answer: Located[FakeLocation] = Located(own)
    final = False
    if fitting:
        best = max(fitting, key=lambda one: len(one.pattern))
        final = best.match is Kind.FINAL
        answer, over = reference(best, best.locations, uri)
        if over:
            return answer, True
    if not final:
        for one in locations:
            if one.regex is not None and one.regex.search(uri):
                return Located(reference(one, one.locations, uri)[0].location), True
    return answer, False


PATTERNS = st.text(alphabet="ab/", max_size=4).map(lambda text: "/" + text)
REGEXES = st.sampled_from(["~ a", "~ b$", "~ ^/a", "~ /b/", "~ aa"])


def places(prefix: str, depth: int) -> st.SearchStrategy[list[FakeLocation]]:
    """Locations below *prefix*, without two of one name and kind."""

    def make(kind: str, tail: str, proxied: bool) -> st.SearchStrategy[FakeLocation]:
        pattern = prefix + tail[1:] if prefix else tail
        inner = places(pattern, depth - 1) if depth and kind != "=" else st.just([])
        return inner.map(lambda found: at(f"{kind} {pattern}".strip(), *found, proxied=proxied))

    plain = st.tuples(st.sampled_from(["", "^~", "="]), PATTERNS, st.booleans()).flatmap(
        lambda drawn: make(*drawn)
    )
    return st.lists(st.one_of(plain, REGEXES.map(at)), max_size=5).map(_distinct)


def _distinct(found: list[FakeLocation]) -> list[FakeLocation]:
    seen: dict[tuple[bool, bytes], FakeLocation] = {}
    for one in found:
        seen.setdefault((one.match is Kind.EXACT, one.pattern), one)
    return list(seen.values())


class LocationTreeProperties(SynchronousTestCase):
    """The compiled tree against the plain search."""

    @settings(max_examples=250, deadline=None)
    @given(places("", 2), st.lists(PATTERNS, min_size=1, max_size=6))
    def test_as_the_plain_search(self, locations: list[FakeLocation], uris: list[str]) -> None:
        """The same location and the same redirect for any URI."""
        tree = LocationTree(locations)
        for uri in (text.encode() for text in uris):
            expected, found = reference(None, locations, uri)[0], tree.find(uri)
            self.assertIs(found.location, expected.location)
            self.assertEqual(found.redirect, expected.redirect)


class CaptureTests(SynchronousTestCase):
    """``captured``."""

    def test_positional_ones_are_replaced(self) -> None:
        """Fewer groups leave none of the former ones; named ones stay."""
        before = {"1": b"x", "2": b"y", "name": b"z"}
        match = re.match(b"(a)|(?P<b>q)", b"a")
        assert match is not None
        after = captured(before, match)
        self.assertEqual(after, {"1": b"a", "2": b"", "b": b"", "name": b"z"})
        match = re.match(b"a", b"a")
        assert match is not None
        self.assertEqual(captured(after, match), {"b": b"", "name": b"z"})

    def test_what_was_captured_before_stays_as_it_is(self) -> None:
        """Requests for one route share what its expressions captured."""
        before = {"1": b"x"}
        match = re.match(b"(a)", b"a")
        assert match is not None
        captured(before, match)
        self.assertEqual(before, {"1": b"x"})


class ProxyUriTests(SynchronousTestCase):
    """``ngx_http_proxy_create_request``."""

    def test_without_uri_the_request_is_relayed_as_received(self) -> None:
        """Nothing is decoded, merged or escaped; an empty query stays one."""
        self.assertEqual(proxy_uri(b"/a/", None, b"/a/b", b"/a//%62", b"x=1"), b"/a//%62?x=1")
        self.assertEqual(proxy_uri(b"/", None, b"/", b"/", b""), b"/?")
        self.assertEqual(proxy_uri(b"/", None, b"/", b"/", None), b"/")

    def test_without_uri_after_an_internal_redirect(self) -> None:
        """The received target no longer holds: the new path is escaped."""
        self.assertEqual(proxy_uri(b"/", None, b"/a b", None, b"x"), b"/a%20b?x")

    def test_uri_replaces_the_location(self) -> None:
        """The rest of the normalised path follows it, whatever slashes there are."""
        for location, replacement, uri, expected in (
            (b"/a/", b"/", b"/a/b", b"/b"),
            (b"/a/", b"/x/", b"/a/b", b"/x/b"),
            (b"/a/", b"/x", b"/a/b", b"/xb"),
            (b"/a", b"/x/", b"/a/b", b"/x//b"),
            (b"/", b"/x/", b"/b", b"/x/b"),
            (b"/a", b"/x", b"/a", b"/x"),
        ):
            self.assertEqual(proxy_uri(location, replacement, uri, uri, None), expected)

    def test_rest_is_escaped_if_it_was(self) -> None:
        """What was decoded is encoded again; what came plain goes plain."""
        self.assertEqual(proxy_uri(b"/a/", b"/", b"/a/b c?", b"/a/b%20c%3F", None), b"/b%20c%3F")
        self.assertEqual(proxy_uri(b"/a/", b"/", b"/a/\xc3", b"/a/\xc3", None), b"/\xc3")
        self.assertEqual(proxy_uri(b"/a/", b"/", b"/a/\xc3", None, None), b"/%C3")

    def test_query_follows(self) -> None:
        """Where there is one; an empty one is dropped."""
        self.assertEqual(proxy_uri(b"/a", b"/b", b"/a", b"/a", b"q"), b"/b?q")
        self.assertEqual(proxy_uri(b"/a", b"/b", b"/a", b"/a", b""), b"/b")
