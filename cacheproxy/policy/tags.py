"""The tags of a response: names that the origin gives it, by which it can be purged.

``Surrogate-Key`` and ``xkey`` list them between white space, ``Cache-Tag`` between
commas. All three count, together; a tag is compared byte by byte. There is no standard
for any of them: the forms are those of the delivery networks that origins know.

Limits: a purge by tag must never miss an entry, so that a response with more or longer
tags than are kept is not stored at all, rather than stored with some of them.

Imports: ``http.fields`` only.
"""

from __future__ import annotations

from cacheproxy.http.fields import Fields

__all__ = ["MAX_TAGS", "MAX_TAG_LENGTH", "TAG_FIELDS", "TagLimitError", "split_tags", "tags_of"]

#: Tags of one response; each costs a row of the zone's index when it is stored.
MAX_TAGS = 256
#: Bytes of one tag.
MAX_TAG_LENGTH = 1024
#: The lower-case names of the fields that carry tags.
TAG_FIELDS = (b"surrogate-key", b"xkey", b"cache-tag")

_NO_TAGS: frozenset[bytes] = frozenset()


class TagLimitError(ValueError):
    """More than ``MAX_TAGS`` tags, or one longer than ``MAX_TAG_LENGTH``."""


def tags_of(fields: Fields) -> frozenset[bytes]:
    """The tags of a response with *fields*, mostly none.

    Raises ``TagLimitError`` for more than can be kept: such a response is not stored.
    """
    if not any(name in fields for name in TAG_FIELDS):
        return _NO_TAGS
    found: set[bytes] = set()
    for name in TAG_FIELDS:
        for value in fields.get_all(name):
            found |= split_tags(name, value)
    if len(found) > MAX_TAGS:
        raise TagLimitError(f"more than {MAX_TAGS} tags")
    if found and max(map(len, found)) > MAX_TAG_LENGTH:
        raise TagLimitError(f"a tag of more than {MAX_TAG_LENGTH} bytes")
    return frozenset(found)


def split_tags(name: bytes, value: bytes) -> set[bytes]:
    """The tags in one line of the field called *name* (lower case); without any limit."""
    if name != b"cache-tag":
        return set(value.split())
    return {tag for member in value.split(b",") if (tag := member.strip())}
