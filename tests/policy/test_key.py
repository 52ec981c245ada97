"""``policy.key``: digests, Vary selection, file paths."""

from __future__ import annotations

from hashlib import md5

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.policy.key import (
    FieldsAsSent,
    digest,
    levels_path,
    matches,
    normal_accept_encoding,
    request_key,
    selecting,
    variant_digest,
    vary_names,
)
from tests.policy.builders import fields

VALUES = st.one_of(st.none(), st.binary(max_size=6))
VARIES = st.lists(st.tuples(st.binary(min_size=1, max_size=4), VALUES), max_size=3).map(tuple)


class DigestTests(SynchronousTestCase):
    """nginx's MD5 keys."""

    def test_digest_is_nginx_md5(self) -> None:
        """The file's name is the MD5 of the key, with or without variants."""
        self.assertEqual(digest(b"httpexample.com/"), md5(b"httpexample.com/").digest())
        self.assertEqual(variant_digest(b"k", ()), digest(b"k"))

    @given(st.binary(max_size=6), VARIES, st.binary(max_size=6), VARIES)
    def test_variants_do_not_run_together(self, a: bytes, x: tuple, b: bytes, y: tuple) -> None:  # type: ignore[type-arg]
        """Different keys or selections have different digests; absent is not empty."""
        same = (a, x) == (b, y)
        self.assertEqual(variant_digest(a, x) == variant_digest(b, y), same)

    def test_absent_and_empty_are_different_variants(self) -> None:
        """What `matches` tells apart has different digests (RFC 9111 §4.1)."""
        absent, empty = ((b"foo", None),), ((b"foo", b""),)
        self.assertNotEqual(variant_digest(b"k", absent), variant_digest(b"k", empty))

    def test_methods_have_key_spaces(self) -> None:
        """A stored POST never answers a GET, nor an unconverted HEAD's empty body one."""
        self.assertEqual(request_key(b"k", b"GET"), b"k")
        self.assertEqual(request_key(b"k", b"HEAD"), b"k")
        self.assertEqual(len({request_key(b"k", m, False) for m in (b"GET", b"HEAD", b"POST")}), 3)

    def test_levels_path(self) -> None:
        """nginx's example: the last digits first."""
        name = "b7f54b2df7773722d382f4809d65029c"
        self.assertEqual(levels_path(name, (1, 2)), f"c/29/{name}")
        self.assertEqual(levels_path(name, (2, 1, 2)), f"9c/2/50/{name}")
        self.assertEqual(levels_path(name, ()), name)


class VaryTests(SynchronousTestCase):
    """RFC 9111 §4.1."""

    def test_names(self) -> None:
        """Sorted, lower case, across lines; None for ``*``."""
        self.assertEqual(vary_names(fields()), ())
        self.assertEqual(
            vary_names(fields((b"Vary", b" Foo ,, bar"), (b"vary", b"FOO"))), (b"bar", b"foo")
        )
        self.assertIsNone(vary_names(fields((b"Vary", b"a, *"))))

    def test_absent_differs_from_empty(self) -> None:
        """A request without the field is another variant than one with an empty value."""
        vary = selecting((b"foo",), fields())
        self.assertTrue(matches(vary, fields()))
        self.assertFalse(matches(vary, fields((b"Foo", b""))))

    def test_normalisation(self) -> None:
        """White space and splitting into lines do not matter; other differences do."""
        vary = selecting((b"foo",), fields((b"Foo", b"1, 2")))
        for lines in (((b"Foo", b"1"), (b"foo", b"2")), ((b"Foo", b" 1,2 "),)):
            self.assertTrue(matches(vary, fields(*lines)))
        for value in (b"1", b"2, 1", b"1 2", b"1, 2, 3"):
            self.assertFalse(matches(vary, fields((b"Foo", value))), value)
        language = selecting((b"accept-language",), fields((b"Accept-Language", b"en, de")))
        self.assertTrue(matches(language, fields((b"Accept-Language", b"eN ,   De"))))

    def test_languages(self) -> None:
        """Weights tell preference, not the order (RFC 9110 §12.5.4)."""
        language = selecting((b"accept-language",), fields((b"Accept-Language", b"en, de;q=0.5")))
        for value in (b"de;q=0.5,en", b"DE;q=0.50 , en;q=1"):
            self.assertTrue(matches(language, fields((b"Accept-Language", value))), value)
        for value in (b"en;q=0.5, de", b"en, de", b"en", b"en, de;q=0.4", b"en, de;q=x", b""):
            self.assertFalse(matches(language, fields((b"Accept-Language", value))), value)

    def test_cookies_in_several_lines(self) -> None:
        """They are one value, cut at semicolons (RFC 9113 §8.2.3)."""
        vary = selecting((b"cookie",), fields((b"Cookie", b"a=1; b=2")))
        self.assertTrue(matches(vary, fields((b"Cookie", b"a=1"), (b"cookie", b"b=2"))))
        self.assertFalse(matches(vary, fields((b"Cookie", b"a=1"))))

    def test_cookies_are_compared_exactly(self) -> None:
        """A value that is no list is not taken apart at its commas."""
        vary = selecting((b"cookie",), fields((b"Cookie", b"a=1,2")))
        self.assertFalse(matches(vary, fields((b"Cookie", b"a=1, 2"))))

    @given(
        st.dictionaries(st.sampled_from([b"a", b"b", b"accept-encoding"]), st.binary(max_size=8))
    )
    def test_a_request_selects_its_own_variant(self, values: dict[bytes, bytes]) -> None:
        """What a request stored, the same request finds."""
        asked = fields(*values.items())
        self.assertTrue(matches(selecting((b"a", b"accept-encoding", b"b"), asked), asked))


class ToldFieldsTests(SynchronousTestCase):
    """Vary of what the origin was told in place of the client's own field."""

    def test_selecting(self) -> None:
        own = fields((b"X-User", b"mallory"), (b"X-Other", b"same"))
        alice = FieldsAsSent(own, {b"x-user": lambda: b"alice"})
        nobody = FieldsAsSent(own, {b"x-user": lambda: None})
        names = (b"x-other", b"x-user")
        self.assertEqual(selecting(names, alice), ((b"x-other", b"same"), (b"x-user", b"alice")))
        self.assertEqual(selecting(names, nobody)[1], (b"x-user", None))
        self.assertFalse(matches(selecting(names, alice), nobody))
        self.assertTrue(matches(selecting(names, alice), alice))
        self.assertEqual(alice.get(b"x-user"), b"mallory")


class AcceptEncodingTests(SynchronousTestCase):
    """RFC 9110 §12.5.3, reduced to what tells representations apart."""

    def test_equivalent_values_are_one_variant(self) -> None:
        """Order among equals, case, white space, unknown codings."""
        same = [b"gzip, br", b"br,gzip", b"GZIP ,Br", b"gzip, br, foo", b"x-gzip, br;q=1.0"]
        self.assertEqual(len({normal_accept_encoding(value) for value in same}), 1)
        none = [None, b"", b"identity", b"foo", b"gzip;q=0", b"identity;q=0.5"]
        self.assertEqual({normal_accept_encoding(value) for value in none}, {b""})

    def test_different_values_are_kept_apart(self) -> None:
        """Preference, refusal of identity, and refused codings behind ``*``."""
        values = [b"gzip", b"br", b"gzip, br", b"gzip;q=0.5, br", b"gzip, br;q=0.5"]
        values += [b"gzip, identity;q=0", b"*", b"*, gzip;q=0", b"*;q=0"]
        self.assertEqual(len({normal_accept_encoding(value) for value in values}), len(values))

    @given(st.binary(max_size=40))
    def test_never_raises(self, value: bytes) -> None:
        """Any bytes reduce to something."""
        self.assertEqual(normal_accept_encoding(value), normal_accept_encoding(value))
