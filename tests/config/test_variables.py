"""``map`` and captures."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.template import Template
from tests.config.builders import Request, faults, location


def reading(text: str, outside: str) -> Template:
    """A compiled text in a configuration that has *outside* in ``http``."""
    return location(f"add_header X {text};", outside).core.add_header[0].value


class MapTests(SynchronousTestCase):
    """``ngx_http_map_module``."""

    def value(self, content: str, **variables: bytes) -> bytes:
        """What ``map $host $m { content }`` answers."""
        return bytes(reading("$m", f"map $host $m {{ {content} }}").render(Request(**variables)))

    def test_strings_ignore_case(self) -> None:
        """Exact strings, the empty one too, then the default, then nothing."""
        content = "A one; '' empty; default other;"
        self.assertEqual(self.value(content, host=b"a"), b"one")
        self.assertEqual(self.value(content, host=b""), b"empty")
        self.assertEqual(self.value(content, host=b"b"), b"other")
        self.assertEqual(self.value("a one;", host=b"b"), b"")

    def test_order_of_kinds(self) -> None:
        """Exact, longest ``*.``, longest ``.*``, first expression, default."""
        content = (
            "hostnames; default d; ~x r1; ~. r2; w.* t1; w.x.* t2;"
            "*.a.b h2; *.b h1; c.a.b e; .z dot;"
        )
        for host, expected in {
            b"c.a.b": b"e",
            b"C.A.B.": b"e",
            b"q.a.b": b"h2",
            b"q.c.b": b"h1",
            b"w.x.y": b"t2",
            b"w.y.y": b"t1",
            b"xx": b"r1",
            b"yy": b"r2",
            b"": b"d",
            b"z": b"dot",
            b"a.z": b"dot",
        }.items():
            self.assertEqual(self.value(content, host=host), expected, host)

    def test_wildcards_need_hostnames(self) -> None:
        """Without the word they are strings like any other."""
        self.assertEqual(self.value("*.b x; default d;", host=b"a.b"), b"d")
        self.assertEqual(self.value("*.b x; default d;", host=b"*.b"), b"x")

    def test_values_with_variables_and_captures(self) -> None:
        """Values are texts; an expression's groups may stand in them and elsewhere."""
        content = "~^(?<first>[^.]+)\\.(.*)$ $first-$2-$uri; default $uri;"
        self.assertEqual(self.value(content, host=b"a.b", uri=b"/"), b"a-b-/")
        self.assertEqual(self.value(content, host=b"a", uri=b"/"), b"/")

    def test_case_of_expressions(self) -> None:
        """``~`` regards case, ``~*`` does not."""
        self.assertEqual(self.value("~A x; ~*B y;", host=b"a"), b"")
        self.assertEqual(self.value("~A x; ~*B y;", host=b"b"), b"y")

    def test_escaped_words(self) -> None:
        """A backslash lets a string be one of the special words."""
        self.assertEqual(self.value("\\default x; default d;", host=b"default"), b"x")
        self.assertEqual(self.value("\\hostnames x;", host=b"hostnames"), b"x")

    def test_evaluated_once(self) -> None:
        """A request asks a map once, unless it is volatile."""
        for words, reads in (("", 1), ("volatile;", 2)):
            request = Request(host=b"a")
            template = reading("$m$m", f"map $host $m {{ {words} a 1; }}")
            self.assertEqual(template.render(request), b"11")
            self.assertEqual(request.reads.count("host"), reads)

    def test_maps_of_maps(self) -> None:
        """A map may read another one, declared below; a circle reads as empty."""
        outside = "map $b $a { 1 one; default x$b; } map $host $b { h 1; }"
        self.assertEqual(reading("$a", outside).render(Request(host=b"h")), b"one")
        circle = "map $b $a { default a$b; } map $a $b { default b$a; }"
        self.assertEqual(reading("$a", circle).render(Request()), b"ab")

    def test_prefix_families_may_be_taken(self) -> None:
        """A map may be called like a field; any other built-in name is taken."""
        self.assertEqual(
            reading("$http_x", "map $host $http_x { default 1; }").render(Request()), b"1"
        )
        self.assertEqual(faults("map $uri $scheme { }"), ['the duplicate "scheme" variable'])

    def test_faults(self) -> None:
        """Each line's fault at its line."""
        for content in (
            "default 1; default 2;",
            "a 1; A 2;",
            "a;",
            "a 1 2;",
            "~( 1;",
            "hostnames; a.*.b 1;",
            "a $nope;",
            "a { }",
        ):
            self.assertEqual(len(faults(f"map $host $m {{ {content} }}")), 1, content)


class BehindTests(SynchronousTestCase):
    """What a value is made of: maps of maps, what they hold, and what they capture."""

    def test_reads_of_what_is_sent(self) -> None:
        """Everything on the way, and nothing else."""
        maps = (
            "map $http_a $one { default $http_b; ~(?<Part>.) $two; }"
            "map $http_c $two { default $one; }"
            "map $http_d $other { default 1; }"
        )
        for text, reads in (
            ("$host", {"host"}),
            ("$other", {"other", "http_d"}),
            ("$TWO", {"two", "one", "http_a", "http_b", "http_c"}),
            ("$part", {"part", "http_a", "http_b", "two", "http_c", "one"}),
            ("$1", {"1", "http_a", "http_b", "two", "http_c", "one"}),
        ):
            made = location(f"proxy_set_header X {text}; proxy_pass http://a;", maps)
            self.assertEqual(made.proxy.reads, reads, text)
        made = location("proxy_pass http://$other; proxy_set_body $host;", maps)
        self.assertEqual(made.proxy.reads, {"host", "other", "http_d"})


class CaptureTests(SynchronousTestCase):
    """Captures of ``location`` and ``server_name``."""

    def test_named_and_positional(self) -> None:
        """They are read off the request; what is absent is empty; names ignore case."""
        template = reading("$who$WHO$1$9", "map $uri $m { ~(?<Who>.) x; }")
        request = Request()
        request.captures.update({"who": b"x", "1": b"y"})
        self.assertEqual(template.render(request), b"xxy")

    def test_declared_anywhere(self) -> None:
        """The declaration may stand below its use."""
        made = location("add_header X $late; location ~ (?<late>.) { }")
        self.assertEqual(made.core.add_header[0].value.variables, {"late"})

    def test_unknown(self) -> None:
        """A name that nothing declares is an error."""
        self.assertEqual(faults("add_header X $late;"), ['unknown "late" variable'])


class ReadsOfGetTests(SynchronousTestCase):
    """What the conditions of ``proxy_cache_purge`` depend on for a GET."""

    def reads(self, conditions: str, outside: str = "") -> set[str]:
        """The variables."""
        found = location(f"proxy_cache_purge {conditions};", outside).cache
        return set(found.purge_reads)

    def test_nothing(self) -> None:
        """Constants, and the method itself."""
        self.assertEqual(self.reads("0 '' 1"), set())
        self.assertEqual(self.reads("$request_method"), set())

    def test_plain_variables(self) -> None:
        """Each counts."""
        self.assertEqual(self.reads("$arg_p$uri $http_x_any"), {"arg_p", "uri", "http_x_any"})

    def test_map_over_the_method(self) -> None:
        """Only the value that it has for GET counts."""
        content = "{ PURGE $remote_addr; default 0; }"
        self.assertEqual(self.reads("$m", f"map $request_method $m {content}"), set())
        self.assertEqual(self.reads("$m", f"map ${{request_method}} $m {content}"), set())
        content = "{ ~^P(.*) $1; ~^X $remote_addr; }"
        self.assertEqual(self.reads("$m", f"map $request_method $m {content}"), set())
        content = "{ get $http_x_any; default 0; }"
        self.assertEqual(self.reads("$m", f"map $request_method $m {content}"), {"http_x_any"})
        content = "{ ~G(.) 0; default 0; }"
        self.assertEqual(self.reads("$m", f"map $request_method $m {content}"), {"1"})

    def test_other_maps(self) -> None:
        """What they are about counts, and every value."""
        content = "{ a $uri; default $http_x_any; }"
        self.assertEqual(self.reads("$m", f"map $host $m {content}"), {"host", "uri", "http_x_any"})
        self.assertEqual(
            self.reads("$m", "map $request_method$host $m { default 0; }"), {"host"}
        )

    def test_maps_of_maps(self) -> None:
        """Through as many as there are, and round in circles."""
        outside = (
            "map $request_method $a { PURGE $b; default $c; }"
            "map $uri $b { default $remote_addr; } map $a $c { x $C; default $host; }"
        )
        self.assertEqual(self.reads("$A", outside), {"host"})

    def test_geo(self) -> None:
        """It depends on who asks."""
        self.assertEqual(self.reads("$g", "geo $g { default 0; }"), {"g"})
