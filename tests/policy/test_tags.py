"""``policy.tags``: the tags that an origin gives its responses."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.policy.tags import MAX_TAG_LENGTH, MAX_TAGS, TagLimitError, tags_of
from tests.policy.builders import fields

_tag = st.binary(min_size=1, max_size=8).filter(lambda tag: not set(tag) & set(b" \t\r\n\v\f,"))


class TagsOfTests(SynchronousTestCase):
    """``tags_of``."""

    def test_none(self) -> None:
        """Most responses have none."""
        self.assertEqual(tags_of(fields((b"Content-Type", b"text/html"))), frozenset())

    def test_surrogate_key_and_xkey_are_lists_between_white_space(self) -> None:
        """A comma is part of a tag there."""
        found = tags_of(fields((b"Surrogate-Key", b" a  b,c\td "), (b"xKey", b"e a")))
        self.assertEqual(found, {b"a", b"b,c", b"d", b"e"})

    def test_cache_tag_is_a_list_between_commas(self) -> None:
        """White space within a tag is part of it, around it is not; empty members are none."""
        found = tags_of(fields((b"Cache-Tag", b"a, b c ,,d"), (b"cache-tag", b"e")))
        self.assertEqual(found, {b"a", b"b c", b"d", b"e"})

    def test_tags_keep_their_case(self) -> None:
        """They are compared byte by byte."""
        self.assertEqual(tags_of(fields((b"xkey", b"A a"))), {b"A", b"a"})

    def test_as_many_as_are_kept(self) -> None:
        """The limits themselves are allowed; the same tag counts once."""
        many = b" ".join(b"%d" % number for number in range(MAX_TAGS))
        long = b"x" * MAX_TAG_LENGTH
        self.assertEqual(len(tags_of(fields((b"xkey", many), (b"Surrogate-Key", many)))), MAX_TAGS)
        self.assertEqual(tags_of(fields((b"xkey", long))), {long})

    def test_more_than_are_kept(self) -> None:
        """Beyond the limits nothing is cut off: the caller is told."""
        many = b",".join(b"%d" % number for number in range(MAX_TAGS + 1))
        self.assertRaises(TagLimitError, tags_of, fields((b"Cache-Tag", many)))
        long = b"x" * (MAX_TAG_LENGTH + 1)
        self.assertRaises(TagLimitError, tags_of, fields((b"Surrogate-Key", b"a " + long)))

    @given(st.frozensets(_tag, max_size=20))
    def test_what_is_listed_is_found(self, tags: frozenset[bytes]) -> None:
        """Joining and splitting are inverse, for every form."""
        for name, separator in ((b"Surrogate-Key", b" "), (b"xkey", b"\t "), (b"Cache-Tag", b", ")):
            self.assertEqual(tags_of(fields((name, separator.join(tags)))), tags)
