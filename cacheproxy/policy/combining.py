"""Putting parts of one representation together: RFC 9111 §3.3, §3.4; RFC 9110 §15.3.7.3.

Parts are combined only if both have the same strong entity-tag and the same total, if
each has exactly the bytes that its Content-Range says, and if nothing is missing between
them. A Last-Modified is never strong enough here. nginx combines nothing.

Imports: ``conditional``, ``options``, ``partial``, ``ranges``, ``stored``, ``validation``,
``http``.
"""

from __future__ import annotations

from dataclasses import dataclass

from cacheproxy.http.fields import Fields, Pairs
from cacheproxy.http.messages import RequestHead, ResponseHead
from cacheproxy.policy.conditional import if_range_holds
from cacheproxy.policy.partial import Part, part_of, plain_range, stored_part
from cacheproxy.policy.ranges import Ranges, content_range, decide_ranges
from cacheproxy.policy.stored import StoredResponse
from cacheproxy.policy.validation import transient_fields, updated_fields

__all__ = ["COPY_LIMIT", "Rest", "Union", "combine", "requested_span", "rest_of", "strong_tag"]

#: Bytes of the stored part, on either side of what a client asks for, that are copied for
#: the sake of what is stored alone. More would delay the client, and many small ranges of
#: something large would copy it again and again.
COPY_LIMIT = 4 << 20


@dataclass(slots=True)
class Rest:
    """What to ask the origin for beside a stored *part*.

    The client wants bytes [start, stop) of the whole; *first* to *last*, inclusive, are
    not stored. *tag* is the strong entity-tag that the answer must have. *bound*: what is
    stored is needed for the answer, so that the origin is to send all if it has changed.
    """

    part: Part
    tag: bytes
    start: int
    stop: int
    first: int
    last: int
    bound: bool

    def fields(self) -> Pairs:
        """The field lines that ask for it."""
        lines = [(b"Range", b"bytes=%d-%d" % (self.first, self.last))]
        if self.last + 1 == self.part.total:
            lines = [(b"Range", b"bytes=%d-" % self.first)]
        if self.bound:
            lines.append((b"If-Range", self.tag))
        return lines


@dataclass(slots=True)
class Union:
    """Bytes [start, stop) of the whole: *before*, what the origin sends (*length*), *after*.

    *before* and *after* are bytes [start, stop) of the stored part's body. *head* is that of
    the combination: 200 if it is the whole, else 206.
    """

    head: ResponseHead
    start: int
    stop: int
    before: tuple[int, int]
    length: int
    after: tuple[int, int]


def strong_tag(fields: Fields) -> bytes | None:
    """The one strong entity-tag; None for a weak, malformed, or doubtful one."""
    values = fields.get_all(b"etag")
    tag = values[0].strip(b" \t") if len(values) == 1 else b""
    if len(tag) < 2 or tag[:1] != b'"' or tag[-1:] != b'"' or b'"' in tag[1:-1]:
        return None
    return tag


def requested_span(
    request: RequestHead, stored: StoredResponse, whole: bool
) -> tuple[int, int] | None:
    """The bytes [start, stop) that the origin would be asked for, if nothing were stored.

    *whole*: it would be asked for all of it, whatever range *request* names. None where a
    part is of no use to the request.
    """
    part = stored_part(stored)
    if part is None or not if_range_holds(request, stored.fields):
        return None
    value = plain_range(request)
    if value is None:
        return None if b"range" in request.fields else (0, part.total)
    decision = decide_ranges(value, part.total, None)
    if not isinstance(decision, Ranges) or len(decision.ranges) != 1:
        return None
    return (0, part.total) if whole else decision.ranges[0]


def rest_of(stored: StoredResponse, wanted: tuple[int, int]) -> Rest | None:
    """What is missing of *wanted* beside the stored part, if that is one range; else None."""
    part, tag = stored_part(stored), strong_tag(stored.fields)
    if part is None or tag is None:
        return None
    start, stop = wanted
    after = part.last + 1
    if start > after or stop < part.first:
        return None  # something would be missing in between
    left, right = start < part.first, stop > after
    if left == right:
        return None  # nothing is missing, or something on both sides
    first, last = (start, part.first - 1) if left else (max(start, after), stop - 1)
    bound = (first, last) != (start, stop - 1)
    return Rest(part, tag, start, stop, first, last, bound)


def combine(stored: StoredResponse, rest: Rest, response: ResponseHead) -> Union | None:
    """The combination of *stored* with the origin's answer to *rest*; None if they do not fit.

    Field lines of the answer replace those that are stored (§3.4).
    """
    part, new = rest.part, part_of(response)
    if new is None or (new.first, new.last, new.total) != (rest.first, rest.last, part.total):
        return None
    length = new.last - new.first + 1
    if response.body_length >= 0 and response.body_length != length:
        return None
    if strong_tag(response.fields) != rest.tag or not _same_coding(stored, response):
        return None
    start = max(min(rest.start, part.first), rest.start - COPY_LIMIT)
    stop = min(max(rest.stop, part.last + 1), rest.stop + COPY_LIMIT)
    before = (start - part.first, new.first - part.first) if start < new.first else (0, 0)
    after = (new.last + 1 - part.first, stop - part.first) if stop > new.last + 1 else (0, 0)
    replaced = {b"content-range"}
    if b"date" not in response.fields:  # the time of receipt stands in (RFC 9110 §6.6.1)
        replaced.add(b"date")
    fields = updated_fields(stored.fields, response.fields).without(replaced)
    pairs = [*fields.pairs, *transient_fields(response.fields)]
    if (start, stop) == (0, part.total):
        head = ResponseHead(200, Fields(pairs), body_length=stop - start)
    else:
        pairs.append((b"Content-Range", content_range(start, stop, part.total)))
        head = ResponseHead(206, Fields(pairs), body_length=stop - start)
    return Union(head, start, stop, before, length, after)


def _same_coding(stored: StoredResponse, response: ResponseHead) -> bool:
    """Whether nothing that says how the bytes were made or chosen has changed."""
    return all(
        response.fields.get_all(name) in ([], stored.fields.get_all(name))
        for name in (b"content-encoding", b"content-type", b"vary")
    )
