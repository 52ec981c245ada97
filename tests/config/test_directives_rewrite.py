"""``rewrite``, ``set``, ``if``, ``break``, ``return``: the instructions. Their words: ``cases``."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.config.model import Location
from cacheproxy.policy.options import Return
from cacheproxy.policy.rewrite import (
    Break,
    Comparison,
    FileTest,
    Flag,
    If,
    PatternTest,
    Rewrite,
    SetVariable,
)
from tests.config.builders import faults, location, server


def only(text: str) -> object:
    """The only instruction of a location."""
    (found,) = location(text).instructions
    return found


class RewriteTests(SynchronousTestCase):
    """``rewrite``."""

    def test_parts_of_the_replacement(self) -> None:
        """Path, query, whether the request's own is kept, flag."""
        for text, path, args, keeps, flag in (
            ("/b", "/b", None, True, Flag.NEXT),
            ("/b?c=$1 last", "/b", "c=$1", True, Flag.LAST),
            ("/b? break", "/b", None, False, Flag.BREAK),
            ("/b?c? redirect", "/b", "c", False, Flag.REDIRECT),
            ("/b?c?d permanent", "/b", "c?d", True, Flag.PERMANENT),
            ("http://a/$1", "http://a/$1", None, True, Flag.REDIRECT),
            ("https://a/ last", "https://a/", None, True, Flag.REDIRECT),
            ("$scheme://a/ permanent", "$scheme://a/", None, True, Flag.PERMANENT),
        ):
            found = only(f"rewrite ^/a(.*) {text};")
            assert isinstance(found, Rewrite)
            shown = None if found.args is None else found.args.text
            self.assertEqual(
                (found.path.text, shown, found.keeps_args, found.flag), (path, args, keeps, flag)
            )

    def test_status_of_flags(self) -> None:
        """Two of them are redirects."""
        self.assertEqual([flag.status for flag in Flag], [0, 0, 0, 302, 301])


class OrderTests(SynchronousTestCase):
    """What a level has, in the order of the text."""

    def test_order(self) -> None:
        """Of a location, and of a server apart from it."""
        found = server("set $x 1; location / { rewrite ^ /a; break; set $y 2; return 200; }")
        kinds = [type(one) for one in found.root.locations[0].instructions]
        self.assertEqual(kinds, [Rewrite, Break, SetVariable, Return])
        self.assertEqual([type(one) for one in found.root.instructions], [SetVariable])

    def test_a_return_that_comes_first_answers(self) -> None:
        """Nothing else of the level is kept."""
        found = location("return 204; rewrite ^ /a;")
        self.assertEqual((found.core.return_, found.instructions), (Return(204), ()))

    def test_instructions_are_not_inherited(self) -> None:
        """A nested location has its own alone."""
        found = location("rewrite ^ /a; location /x { }")
        self.assertEqual(found.locations[0].instructions, ())


class IfTests(SynchronousTestCase):
    """``if``."""

    def test_conditions(self) -> None:
        """However the words are spaced around the parentheses."""
        for text, kind, negated in (
            ("($host)", Comparison, False),
            ("( $host )", Comparison, False),
            ("($host = a)", Comparison, False),
            ('($host != "a b" )', Comparison, True),
            ("($uri ~ ^/(a|b)$)", PatternTest, False),
            ("($uri !~* x)", PatternTest, True),
            ("(-f $uri)", FileTest, False),
            ("( !-e $uri )", FileTest, True),
        ):
            found = only(f"if {text} {{ break; }}")
            assert isinstance(found, If)
            condition = found.condition
            self.assertIsInstance(condition, kind)
            self.assertEqual(condition.negated, negated, text)
            self.assertEqual(found.instructions, (Break(),))

    def test_a_capture_is_no_variable_to_test(self) -> None:
        """As in nginx."""
        self.assertEqual(faults("server { if ($1 = a) { break; } }"), ['unknown "1" variable'])

    def test_an_if_of_a_location_is_a_location(self) -> None:
        """With the options around it and its own, what answers included; not found by a URI."""
        found = location(
            "proxy_pass http://a; add_header X 1; expires 1h;"
            "if ($host) { add_header Y 2; } if ($uri) { root /r; }"
        )
        first, second = found.instructions
        assert isinstance(first, If)
        assert isinstance(second, If)
        inner, other = first.location, second.location
        assert isinstance(inner, Location)
        assert isinstance(other, Location)
        self.assertTrue(inner.nameless and other.nameless)
        self.assertEqual(found.locations, ())
        self.assertEqual([one.name for one in inner.core.add_header], [b"Y"])
        self.assertEqual([one.name for one in other.core.add_header], [b"X"])
        self.assertEqual(inner.core.expires, found.core.expires)
        self.assertEqual(inner.proxy.proxy_pass, found.proxy.proxy_pass)

    def test_an_if_inherits_what_answers_in_its_location(self) -> None:
        """Also by uwsgi, and may have its own."""
        found = location("uwsgi_pass a:1; if ($host) { } if ($uri) { proxy_pass http://b; }")
        schemes = []
        for one in found.instructions:
            assert isinstance(one, If)
            assert isinstance(one.location, Location)
            target = one.location.proxy.proxy_pass
            assert target is not None
            schemes.append(target.scheme)
        self.assertEqual(schemes, [b"uwsgi", b"http"])

    def test_an_if_of_a_server_is_none(self) -> None:
        """Only instructions may stand in it."""
        (found,) = server("if ($host) { set $x 1; }").root.instructions
        assert isinstance(found, If)
        self.assertIsNone(found.location)


class ReadsTests(SynchronousTestCase):
    """What requests to the origin may be made of."""

    def test_what_instructions_read_counts_in_the_whole_server(self) -> None:
        """A variable that is set in one location may be used after a redirect to another."""
        made = server(
            "set $a $http_a; location /x { if ($http_b) { rewrite ^ /$http_c?$http_d; } }"
            "location / { proxy_pass http://o; }"
        )
        reads = made.root.locations[1].proxy.reads
        self.assertTrue({"http_a", "http_b", "http_c", "http_d"} <= reads)
