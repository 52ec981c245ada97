"""``policy.containment``: what replaces a location's prefix stays in the folder it names."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

import re

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.errors import ProtocolError
from cacheproxy.http.target import normalize_path, resolve_dots
from cacheproxy.policy.containment import climbs, literal_start, literal_uri, rendered_climbs
from cacheproxy.policy.routing import proxy_uri

PIECES = st.sampled_from(
    [b"..", b".", b"/", b"//", b"%2e", b"%2E", b"%2f", b"%5c", b"\\", b";", b";a=b", b"%25",
     b"%252e", b"%252f", b"%3b", b"%3f", b"%23", b"x", b"inner", b"secret", b"svc"]
)  # fmt: skip
PATHS = st.lists(PIECES, max_size=12).map(b"".join)
LOCATIONS = st.sampled_from([b"/svc", b"/svc/", b"/", b"/s", b"/svc."])
BASES = st.sampled_from([b"/inner/", b"/inner", b"/", b"/inner/.", b"/inner/a/", b"/inner/a;v=1/"])


def lenient(path: bytes) -> list[bytes]:
    """The folders and the name that *path* leads to, for an origin that decodes once more,
    takes backslashes for slashes, drops path parameters and merges slashes."""
    decoded = re.sub(rb"%([0-9A-Fa-f]{2})", lambda m: bytes((int(m[1], 16),)), path)
    kept: list[bytes] = []
    for segment in decoded.replace(b"\\", b"/").split(b"/"):
        name = segment.partition(b";")[0]
        if name == b"..":
            kept = kept[:-1]
        elif name not in (b"", b"."):
            kept.append(name)
    return kept


def strict(path: bytes) -> list[bytes]:
    """The same for an origin that goes by RFC 3986 §5.2.4 alone."""
    kept: list[bytes] = []
    for segment in path.split(b"/")[1:]:
        if segment == b"..":
            kept = kept[:-1]
        elif segment != b".":
            kept.append(segment)
    return kept


def folder_of(base: bytes) -> bytes:
    """Up to the last slash, without it."""
    return base[: base.rfind(b"/")]


class ProxyPassTests(SynchronousTestCase):
    """``proxy_pass`` with a URI."""

    @given(PATHS, LOCATIONS, BASES)
    @example(b"../x", b"/svc", b"/inner/")
    @example(b"%2e%2e/x", b"/svc", b"/inner/")
    @example(b"..;/x", b"/svc", b"/inner/")
    @example(b"..%5cx", b"/svc", b"/inner/")
    @example(b"./x", b"/svc", b"/inner/.")
    @example(b"a/../../x", b"/svc", b"/inner/")
    def test_no_target_leads_above_the_uri(
        self, path: bytes, location: bytes, base: bytes
    ) -> None:
        """Whatever the client writes, every origin finds it below the URI's folder."""
        raw = location + path
        try:
            uri = normalize_path(raw, True)
        except ProtocolError:
            return
        if not uri.startswith(location):
            return  # another location's
        try:
            sent = proxy_uri(location, base, uri, raw, None)
        except ProtocolError as problem:
            self.assertEqual(problem.status, 404)
            return
        sent = sent.partition(b"?")[0]
        for read in (strict, lenient):
            folder = read(folder_of(base))
            self.assertEqual(read(sent)[: len(folder)], folder, sent)

    @given(PATHS, st.sampled_from([b"/inner/", b"/inner", b"/", b"/inner/a/"]))
    @example(b"../x", b"/inner/")
    @example(b"%2e%2e/x", b"/inner/")
    def test_no_capture_leads_above_the_literal_part(self, capture: bytes, base: bytes) -> None:
        """``proxy_pass http://o/inner/$1``: the same, with what is sent unescaped."""
        sent = base + capture
        if rendered_climbs(base, sent):
            return
        for read in (strict, lenient):
            folder = read(folder_of(base))
            self.assertEqual(read(sent.partition(b"?")[0])[: len(folder)], folder, sent)

    @given(PATHS, LOCATIONS, BASES)
    def test_paths_without_dot_segments_are_never_refused(
        self, path: bytes, location: bytes, base: bytes
    ) -> None:
        """A plain path passes, dots in its names and all."""
        uri = location + path.replace(b"..", b".a.").replace(b"%", b"").replace(b".", b"e.e")
        self.assertTrue(proxy_uri(location, base, uri, uri, None).startswith(base))


class FileTests(SynchronousTestCase):
    """``alias``, and internal redirects."""

    @given(PATHS, LOCATIONS, st.sampled_from([b"/data/i/", b"/data/i", b"/data/i/."]))
    def test_no_target_leads_out_of_an_alias(
        self, path: bytes, location: bytes, folder: bytes
    ) -> None:
        """The kernel finds the file in the folder of the alias."""
        try:
            uri = normalize_path(location + path, True)
        except ProtocolError:
            return
        rest = uri[len(location) :]
        if uri.startswith(location) and not climbs(folder, rest):
            found = strict(folder + rest)
            self.assertEqual(found[:1], [b"data"])
            self.assertTrue(folder.endswith(b"i") or found[1:2] == [b"i"], folder + rest)

    @given(PATHS)
    def test_resolved_paths_hold_no_dot_segments(self, path: bytes) -> None:
        """What an internal redirect goes to is inside the root, and is kept if it is plain."""
        try:
            uri = resolve_dots(b"/" + path)
        except ProtocolError:
            return
        self.assertTrue(uri.startswith(b"/"))
        self.assertNotIn(b"..", uri.split(b"/"))
        self.assertNotIn(b".", uri.split(b"/"))
        self.assertEqual(resolve_dots(uri), uri)


class ClimbsTests(SynchronousTestCase):
    """Single cases."""

    def test_where_the_join_makes_a_dot_segment(self) -> None:
        """It does only where the base ends in a slash, or in the first dot."""
        self.assertTrue(climbs(b"/inner/", b"../x"))
        self.assertTrue(climbs(b"/inner/.", b"./x"))
        self.assertFalse(climbs(b"/inner", b"../x"))
        self.assertFalse(climbs(b"/inner/", b"...//x"))
        self.assertFalse(climbs(b"/inner/", b"..x/y"))

    def test_inside(self) -> None:
        """Dot segments that stay below the base are none of its business."""
        self.assertFalse(climbs(b"/inner/", b"a/..;/b"))
        self.assertTrue(climbs(b"/inner/", b"a/..;/../b"))
        self.assertTrue(climbs(b"/inner", b"/..;/b"))
        self.assertTrue(climbs(b"/inner/", b"a//..//../b"))

    def test_query(self) -> None:
        """A query names no folder."""
        self.assertFalse(climbs(b"/inner/?path=", b"../x"))
        self.assertFalse(rendered_climbs(b"/inner/", b"/inner/?path=/../../x"))

    def test_rendered_with_a_path_in_the_authority(self) -> None:
        """The literal part is found behind what a variable put before it."""
        self.assertTrue(rendered_climbs(b"/inner/", b"/base/inner/../x"))
        self.assertFalse(rendered_climbs(b"/inner/", b"/base/inner/x"))
        self.assertTrue(rendered_climbs(b"/inner/", b"/../x"))

    def test_literal_parts(self) -> None:
        """What stands before the first variable."""
        for url, literal in (
            ("http://o/inner/$1", b"/inner/"),
            ("http://$backend/inner$uri", b"/inner"),
            ("http://$backend/a/b", b"/a/b"),
            ("http://o$request_uri", b"/"),
            ("$scheme://o/a/${x}b", b"/a/"),
            ("http://unix:/run/app.sock:/inner/$1", b"/inner/"),
            ("$url", b"/"),
        ):
            self.assertEqual(literal_uri(url), literal, url)
        self.assertEqual(literal_start("/data/$1/x"), b"/data/")
