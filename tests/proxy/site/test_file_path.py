"""Which file a URI names, and which none."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

from cacheproxy.http.fields import Fields
from cacheproxy.http.messages import RequestHead
from cacheproxy.proxy.site.cache_key import RouteContext
from cacheproxy.proxy.site.file_path import path_of
from tests.proxy.harness import BenchCase


class FilePathTests(BenchCase):
    """``root`` and ``alias``."""

    def path(self, server: str, target: bytes) -> bytes | None:
        """The path of *target* in a server with *server* in it."""
        bench = self.serve("", server)
        site = next(iter(bench.factories.values())).site
        head = RequestHead(b"GET", target, 11, Fields([(b"Host", b"test.example")]))
        route = site.route(head)
        return path_of(RouteContext(site, head, route), route.uri)

    def test_root_is_put_before_the_uri(self) -> None:
        """A slash at its end does not count."""
        self.assertEqual(self.path("root /srv/;", b"/a/b"), b"/srv/a/b")

    def test_alias_takes_the_place_of_the_prefix(self) -> None:
        """What follows the location's prefix is kept."""
        inside = "location /i/ { alias /srv/images/; }"
        self.assertEqual(self.path(inside, b"/i/x.png"), b"/srv/images/x.png")

    def test_alias_without_slash_is_not_left(self) -> None:
        """``/i../x`` does not climb out of the folder, unlike in nginx."""
        inside = "location /i { alias /srv/images/; }"
        self.assertIsNone(self.path(inside, b"/i../x"))

    def test_variable_does_not_lead_out_of_the_root(self) -> None:
        """An argument with dot segments names no file."""
        self.assertIsNone(self.path("root /srv/$arg_site;", b"/x?site=../etc"))
        self.assertEqual(self.path("root /srv/$arg_site;", b"/x?site=a"), b"/srv/a/x")
