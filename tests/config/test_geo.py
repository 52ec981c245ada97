"""``geo``: the value of a variable by address. Its words: ``cases``; its tables: ``policy.geo``."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.config.geo import declared_geos
from cacheproxy.config.source import read_text
from tests.config.builders import Request, http, location


def value(content: str, source: str = "", text: str = "$g", **variables: bytes) -> bytes:
    """What ``geo [source] $g { content }`` answers, or *text* with it."""
    outside = f"geo {source} $g {{ {content} }} map $request_method $m {{ A $g; default no; }}"
    template = location(f"add_header X {text};", outside).core.add_header[0].value
    return bytes(template.render(Request(**variables)))


class GeoTests(SynchronousTestCase):
    """``ngx_http_geo_module``."""

    def test_by_peer(self) -> None:
        """The narrowest network; else the default; else nothing."""
        content = "10.0.0.0/8 wide; default other; 10.1.0.0/16 narrow; ::1 six;"
        for host, expected in {
            b"10.9.9.9": b"wide",
            b"10.1.9.9": b"narrow",
            b"192.0.2.1": b"other",
            b"::1": b"six",
            b"::2": b"other",
            b"::ffff:10.1.0.1": b"narrow",
            b"unix:": b"other",
        }.items():
            self.assertEqual(value(content, remote_addr=host), expected, host)
        self.assertEqual(value("10.0.0.0/8 x;", remote_addr=b"192.0.2.1"), b"")

    def test_by_another_variable(self) -> None:
        """Any that holds an address; what is none is the last address of all."""
        content = "default d; 192.0.2.0/24 net; 255.0.0.0/8 last;"
        self.assertEqual(value(content, "$arg_a", arg_a=b"192.0.2.9"), b"net")
        for other in (b"", b"rubbish", b"192.0.2", b"x" * 10_000, b"\xff"):
            self.assertEqual(value(content, "$arg_a", arg_a=other), b"last", other)

    def test_ranges(self) -> None:
        """A later range within an earlier one takes its place."""
        content = "ranges; default d; 10.0.0.0-10.0.255.255 a; 10.0.0.5-10.0.0.9 b;"
        for host, expected in {b"10.0.0.4": b"a", b"10.0.0.9": b"b", b"11.0.0.1": b"d"}.items():
            self.assertEqual(value(content, remote_addr=host), expected)

    def test_proxies(self) -> None:
        """X-Forwarded-For counts only behind a proxy that is named."""
        content = "default d; 192.0.2.0/24 in; proxy 10.0.0.0/8;"
        told = {"http_x_forwarded_for": b"192.0.2.1"}
        self.assertEqual(value(content, remote_addr=b"10.0.0.1", **told), b"in")
        self.assertEqual(value(content, remote_addr=b"11.0.0.1", **told), b"d")
        alone = "default d; 192.0.2.0/24 in;"
        self.assertEqual(value(alone, remote_addr=b"10.0.0.1", **told), b"d")
        far = {"http_x_forwarded_for": b"192.0.2.1, 10.0.0.2"}
        self.assertEqual(value(content, remote_addr=b"10.0.0.1", **far), b"d")
        self.assertEqual(
            value(content + " proxy_recursive;", remote_addr=b"10.0.0.1", **far), b"in"
        )

    def test_values_are_taken_literally(self) -> None:
        """nginx knows no variables in them."""
        self.assertEqual(value("default $uri;", remote_addr=b"1.1.1.1", uri=b"/"), b"$uri")

    def test_in_a_map(self) -> None:
        """nginx's way to say who may purge."""
        request = {"remote_addr": b"10.0.0.1"}
        content = "default 0; 10.0.0.0/8 1;"
        self.assertEqual(value(content, text="$m", request_method=b"A", **request), b"1")
        self.assertEqual(value(content, text="$m", request_method=b"B", **request), b"no")
        self.assertEqual(
            value(content, text="$m", request_method=b"A", remote_addr=b"11.0.0.1"), b"0"
        )

    def test_kept_for_the_request(self) -> None:
        """It is found once, unless it is volatile."""
        for flag, reads in (("", 1), ("volatile;", 2)):
            template = location("add_header X $g$g;", f"geo $g {{ {flag} default d; }}")
            request = Request(remote_addr=b"1.1.1.1")
            template.core.add_header[0].value.render(request)
            self.assertEqual(request.reads.count("remote_addr"), reads)

    def test_warnings(self) -> None:
        """What nginx warns of: the last one holds."""
        made = http(
            "geo $a { default 1; default 2; 10.0.0.0/8 a; 10.0.0.0/8 b; delete 11.0.0.0/8;"
            "10.0.0.1/16 c; }"
            "geo $b { ranges; default 1; default 2; 10.0.0.1-10.0.0.2 a; 10.0.0.1-10.0.0.2 b;"
            "delete 10.0.0.1-10.0.0.9; }"
        )
        self.assertEqual(
            [warning.rpartition(" in ")[0] for warning in made.warnings],
            [
                'duplicate network "default", value: "2", old value: "1"',
                'duplicate network "10.0.0.0/8", value: "b", old value: "a"',
                'no network "11.0.0.0/8" to delete',
                "low address bits of 10.0.0.1/16 are meaningless",
                'duplicate default geo range, value: "2", old value: "1"',
                'duplicate range "10.0.0.1-10.0.0.2", value: "b", old value: "a"',
                'no address range "10.0.0.1-10.0.0.9" to delete',
            ],
        )

    def test_declared_names(self) -> None:
        """Found in any block, before anything is converted."""
        source = read_text("http { geo $A { } geo $x $b { } geo; }", "name", "/")
        self.assertEqual(set(declared_geos(source.directives)), {"a", "b"})
