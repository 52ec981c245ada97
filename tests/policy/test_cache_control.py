"""``policy.cache_control``: directives, well-formed and not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.policy.cache_control import (
    MAX_DELTA,
    NO_REQUEST_DIRECTIVES,
    UNLIMITED,
    parse_accel_expires,
    parse_request_directives,
    parse_response_directives,
    parse_targeted_directives,
    request_directives,
    response_directives,
)
from tests.policy.builders import NOW, fields


class ResponseDirectiveTests(SynchronousTestCase):
    """RFC 9111 §5.2.2."""

    def test_every_flag_is_read_whatever_its_case(self) -> None:
        """Directive names are compared without case (§5.2)."""
        for name in ("no-store", "no-cache", "private", "public", "must-revalidate"):
            for text in (name, name.upper(), name.title()):
                found = parse_response_directives(b"x, " + text.encode() + b" , y")
                self.assertTrue(getattr(found, name.replace("-", "_")), text)

    def test_rest_of_flags(self) -> None:
        """The flags that are read beside the common ones."""
        found = parse_response_directives(b"proxy-revalidate,must-understand,no-transform")
        self.assertTrue(found.proxy_revalidate and found.must_understand)
        self.assertTrue(found.no_transform)

    def test_well_formed_lifetimes(self) -> None:
        """Token and quoted form, leading zeros, and numbers beyond any that matter (§1.2.2)."""
        for text, seconds in (
            (b"max-age=0", 0),
            (b"max-age=3600", 3600),
            (b"MaX-aGe=003600", 3600),
            (b'max-age="3600"', 3600),
            (b"max-age=2147483648", MAX_DELTA),
            (b"max-age=" + b"9" * 400, MAX_DELTA),
        ):
            self.assertEqual(parse_response_directives(text).max_age, seconds, text)

    def test_malformed_lifetime_is_zero(self) -> None:
        """A lifetime that is no delta-seconds makes the response stale (§4.2.1)."""
        for text in (
            b"max-age=-1",
            b"max-age=+1",
            b"max-age=1.5",
            b"max-age=0x10",
            b"max-age='3600'",
            b"max-age=3600a",
            b"max-age=",
            b"max-age",
            b"max-age =3600",
            b"max-age= 3600",
            b'max-age="3600',
            b'max-age=""',
            b'max-age="36" 00',
            b"max-age=\xd9\xa3",
        ):
            self.assertEqual(parse_response_directives(text).max_age, 0, text)

    def test_repeated_lifetime_is_the_smallest(self) -> None:
        """Of two lifetimes the shorter counts, in either order and across lines (§4.2.1)."""
        self.assertEqual(parse_response_directives(b"max-age=9, max-age=5").max_age, 5)
        self.assertEqual(parse_response_directives(b"max-age=5, max-age=9").max_age, 5)
        self.assertEqual(parse_response_directives(b"max-age=x, max-age=9").max_age, 0)
        lines = fields((b"Cache-Control", b"max-age=9"), (b"cache-control", b"max-age=5"))
        self.assertEqual(response_directives(lines).max_age, 5)

    def test_quoted_string_hides_directives(self) -> None:
        """A comma inside a quoted argument does not start a directive (§5.2)."""
        found = parse_response_directives(b'ext="a, max-age=3600, no-store\\"", max-age=1')
        self.assertEqual((found.max_age, found.no_store), (1, False))

    def test_open_quote_hides_nothing(self) -> None:
        """What follows a quote that never closes is still obeyed: the stricter reading."""
        self.assertTrue(parse_response_directives(b'ext="abc, no-store').no_store)
        self.assertTrue(parse_response_directives(b'ext", no-store').no_store)

    def test_argument_does_not_soften_a_restriction(self) -> None:
        """``no-store=x`` restricts; ``public=x`` permits nothing."""
        self.assertTrue(parse_response_directives(b"no-store=1").no_store)
        self.assertTrue(parse_response_directives(b"must-revalidate=0").must_revalidate)
        self.assertFalse(parse_response_directives(b"public=1").public)

    def test_qualified_forms_name_fields(self) -> None:
        """``no-cache="a, B"`` is about those fields alone (§5.2.2.4, §5.2.2.7)."""
        found = parse_response_directives(b'no-cache="a, B" , private=Set-Cookie')
        self.assertFalse(found.no_cache or found.private)
        self.assertEqual(found.no_cache_fields, {b"a", b"b"})
        self.assertEqual(found.private_fields, {b"set-cookie"})

    def test_malformed_qualified_form_is_unqualified(self) -> None:
        """Names that are no names cannot limit the directive."""
        for text in (b"private=", b'private=""', b'private="a b"', b'private="a', b"private= a"):
            found = parse_response_directives(text)
            self.assertTrue(found.private or found.private_fields == {b"a"}, text)
        self.assertTrue(parse_response_directives(b'private="a b"').private)
        self.assertTrue(parse_response_directives(b'no-cache="x", no-cache').no_cache)

    @given(st.binary(max_size=80))
    def test_never_raises_and_is_stable(self, value: bytes) -> None:
        """Any bytes give a record, and the remembered one is the same."""
        first = parse_response_directives(value)
        self.assertEqual(first, parse_response_directives(value))
        parse_request_directives(value)
        parse_targeted_directives(value)
        parse_accel_expires(value, NOW)

    @given(
        st.lists(
            st.sampled_from(
                [b"max-age=5", b"max-age=9", b"s-maxage=7", b"max-age=x", b"public", b"ext"]
            ),
            max_size=5,
        ),
        st.sampled_from([b"no-store", b"private", b"no-cache", b"must-revalidate", b"max-age=3"]),
    )
    def test_more_directives_never_lengthen_the_lifetime(
        self, members: list[bytes], extra: bytes
    ) -> None:
        """Adding a restriction keeps those that were there, and shortens or keeps max-age."""
        before = parse_response_directives(b", ".join(members))
        after = parse_response_directives(b", ".join([*members, extra]))
        if before.max_age is not None:
            assert after.max_age is not None
            self.assertLessEqual(after.max_age, before.max_age)
        name = extra.decode().replace("-", "_")
        if "=" not in name:
            self.assertTrue(getattr(after, name))


class RequestDirectiveTests(SynchronousTestCase):
    """RFC 9111 §5.2.1, §5.4."""

    def test_directives(self) -> None:
        """Each directive of a request."""
        found = parse_request_directives(
            b"no-cache, no-store, only-if-cached, no-transform, max-age=1, min-fresh=2, max-stale=3"
        )
        self.assertTrue(found.no_cache and found.no_store and found.only_if_cached)
        self.assertEqual((found.max_age, found.min_fresh, found.max_stale), (1, 2, 3))

    def test_max_stale_without_argument_is_unlimited(self) -> None:
        """§5.2.1.2; a malformed argument allows nothing."""
        self.assertEqual(parse_request_directives(b"max-stale").max_stale, UNLIMITED)
        self.assertIsNone(parse_request_directives(b"max-stale=x").max_stale)

    def test_malformed_max_age_is_zero(self) -> None:
        """The stricter reading of a client that wants some freshness."""
        self.assertEqual(parse_request_directives(b"max-age=abc").max_age, 0)

    def test_repeated_min_fresh_is_the_greatest(self) -> None:
        """Where more is stricter the greater value counts."""
        self.assertEqual(parse_request_directives(b"min-fresh=1, min-fresh=9").min_fresh, 9)

    def test_pragma_counts_without_cache_control_only(self) -> None:
        """``Pragma: no-cache`` of HTTP/1.0 clients (§5.4)."""
        self.assertTrue(request_directives(fields((b"Pragma", b"no-cache"))).no_cache)
        self.assertIs(request_directives(fields((b"Pragma", b"x"))), NO_REQUEST_DIRECTIVES)
        both = fields((b"Pragma", b"no-cache"), (b"Cache-Control", b"max-age=9"))
        self.assertFalse(request_directives(both).no_cache)
        self.assertIs(request_directives(fields()), NO_REQUEST_DIRECTIVES)


class TargetedTests(SynchronousTestCase):
    """RFC 9213 §2, RFC 8941 §4.2."""

    def test_dictionary(self) -> None:
        """Members with parameters, and of types that nobody asked for, are understood."""
        found = parse_targeted_directives(
            b'max-age=60;x=1, must-revalidate, ext=(a "b" 1;q);z, t=tok, b=:aGk=:, d=1.5, none=?0'
        )
        assert found is not None
        self.assertEqual((found.max_age, found.must_revalidate), (60, True))

    def test_last_duplicate_counts(self) -> None:
        """A Dictionary's repeated key takes its last value (RFC 8941 §4.2.2)."""
        found = parse_targeted_directives(b"max-age=9, max-age=5")
        assert found is not None
        self.assertEqual(found.max_age, 5)

    def test_malformed_is_absent(self) -> None:
        """What does not parse, or has a lifetime of another type, is ignored whole (§2.1)."""
        for text in (
            b"",
            b"max-age=60,",
            b"max-age =60",
            b"max-age= 60",
            b"MAX-AGE=60",
            b"max-age=60 no-store",
            b"max-age=60; , x",
            b'max-age="60"',
            b"max-age=60.5",
            b"max-age=-1",
            b"max-age",
            b"max-age=60a",
            b"max-age=60, ext=(a",
            b'max-age=60, ext=(a"b")',
            b'max-age=60, ext="\\x"',
            b"max-age=" + b"9" * 16,
        ):
            self.assertIsNone(parse_targeted_directives(text), text)

    def test_false_flag_is_off(self) -> None:
        """``no-store=?0`` says that there is no such directive."""
        found = parse_targeted_directives(b"no-store=?0, private=?0, public")
        assert found is not None
        self.assertEqual((found.no_store, found.private, found.public), (False, False, True))


class AccelExpiresTests(SynchronousTestCase):
    """nginx's ``X-Accel-Expires``."""

    def test_values(self) -> None:
        """Seconds from now, or an absolute time after ``@``; what is past grants 0."""
        self.assertEqual(parse_accel_expires(b"60", NOW), 60.0)
        self.assertEqual(parse_accel_expires(b"0", NOW), 0.0)
        self.assertEqual(parse_accel_expires(b"@%d" % (NOW + 7), NOW), 7.0)
        self.assertEqual(parse_accel_expires(b"@1", NOW), 0.0)

    def test_malformed_is_absent(self) -> None:
        """As in nginx, a value that is no number says nothing."""
        for text in (b"", b"@", b"-1", b"abc", b"1.5", b'"60"', b"@-5"):
            self.assertIsNone(parse_accel_expires(text, NOW), text)
