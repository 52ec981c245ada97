"""``policy.structured``: Dictionaries of RFC 8941."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.policy.structured import parse_dictionary


class DictionaryTests(SynchronousTestCase):
    """RFC 8941 §3.2, §4.2.2."""

    def test_items(self) -> None:
        """Booleans, integers and strings are kept; other types are None."""
        found = parse_dictionary(
            b'a, b=?0, c=-7, d="x\\"y\\\\", e=tok/en, f=1.5, g=:aGk=:, h=(1 "2")'
        )
        self.assertEqual(
            found,
            {
                b"a": True,
                b"b": False,
                b"c": -7,
                b"d": b'x"y\\',
                b"e": None,
                b"f": None,
                b"g": None,
                b"h": None,
            },
        )

    def test_parameters_and_white_space(self) -> None:
        """Parameters are skipped; white space is allowed around commas only."""
        self.assertEqual(
            parse_dictionary(b'  a=1;x;y=2; z="q" ,\tb=( 1;p  2 );r  '), {b"a": 1, b"b": None}
        )
        self.assertEqual(parse_dictionary(b""), {})

    def test_last_of_a_repeated_key_counts(self) -> None:
        """And stands where it was read last."""
        found = parse_dictionary(b"a=1, b=2, a=3")
        assert found is not None
        self.assertEqual(list(found.items()), [(b"b", 2), (b"a", 3)])

    def test_malformed(self) -> None:
        """Strict parsing fails as a whole (§4.2)."""
        for value in (
            b"a,",
            b",a",
            b"a b",
            b"A=1",
            b"1=2",
            b"a=",
            b"a =1",
            b"a= 1",
            b'a="x',
            b'a="\x01"',
            b"a=(1",
            b"a=(1 2",
            b'a=("x""y")',
            b"a=1;",
            b"a=1;B",
            b"a=?2",
            b"a=1.2345",
            b"a=1.",
            b"a=" + b"1" * 16,
            b"a=:?:",
            b"a=@1",
            b"a\x00",
        ):
            self.assertIsNone(parse_dictionary(value), value)

    @given(
        st.dictionaries(st.from_regex(rb"[a-z][a-z0-9-]{0,5}", fullmatch=True), st.integers(-9, 9))
    )
    def test_round_trip(self, members: dict[bytes, int]) -> None:
        """What is written as a Dictionary is read back."""
        text = b", ".join(b"%s=%d" % member for member in members.items())
        self.assertEqual(parse_dictionary(text), members)

    @given(st.binary(max_size=40))
    def test_never_raises(self, value: bytes) -> None:
        """Any bytes are a Dictionary or none."""
        parse_dictionary(value)
