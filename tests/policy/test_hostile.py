"""Cache fields from hostile and broken senders: no exception, the stricter reading, in time.

RFC 9111 §4.2.1: contradictions and what cannot be read make a response stale, not fresh.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from time import process_time

from hypothesis import assume, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.http.fields import Fields
from cacheproxy.http.messages import RequestHead, ResponseHead
from cacheproxy.policy.cache_control import (
    NO_RESPONSE_DIRECTIVES,
    parse_accel_expires,
    parse_request_directives,
    parse_response_directives,
    parse_targeted_directives,
    response_directives,
)
from cacheproxy.policy.combining import combine, requested_span, rest_of
from cacheproxy.policy.conditional import evaluate_preconditions, if_range_holds, weak_match
from cacheproxy.policy.freshness import explicit_lifetime, received_age
from cacheproxy.policy.key import MAX_NAMES, normal_accept_encoding, selecting, vary_names
from cacheproxy.policy.partial import part_of, reuse_part
from cacheproxy.policy.ranges import decide_ranges
from cacheproxy.policy.reuse import (
    Action,
    decide_reuse,
    invalidated_targets,
    may_serve_stale,
    reusable_until,
)
from cacheproxy.policy.stored import StoredResponse
from cacheproxy.policy.storing import NoStore, NoStoreReason, Store, StoringDecision, decide_storing
from cacheproxy.policy.validation import compare_head, freshen, selects, validation_fields
from tests.policy.builders import NOW, cache_options, date, fields, request, response, stored

CC = b"Cache-Control"

_DIRECTIVES = st.sampled_from(
    [
        b"max-age=60",
        b"max-age=5",
        b"max-age=-1",
        b'max-age="60"',
        b"max-age=60.5",
        b"max-age=99999999999999999999999",
        b"max-age =60",
        b"max-age",
        b"s-maxage=30",
        b"no-store",
        b"no-cache",
        b'no-cache="set-cookie, x"',
        b"private",
        b'private="x"',
        b"public",
        b"must-revalidate",
        b"proxy-revalidate",
        b"must-understand",
        b"immutable",
        b"stale-while-revalidate=30",
        b"stale-if-error=30",
        b"min-fresh=3",
        b"max-stale",
        b"max-stale=3",
        b"only-if-cached",
        b'a="b',
        b'a="b, c"',
        b'"',
        b"=",
        b"\xff\xfe",
        b"",
    ]
)
#: What a field line may hold once the parser of messages has let it through.
_BYTES = st.binary(max_size=40).map(
    lambda raw: bytes(c for c in raw if c == 9 or 32 <= c < 127 or c >= 128)
)
_DATES = st.sampled_from([-900, -60, -1, 0, 1, 60, 10**9]).map(date)
_VALUE = st.one_of(
    st.lists(_DIRECTIVES, max_size=5).map(b", ".join),
    _BYTES,
    _DATES,
    st.sampled_from(
        [
            b"0",
            b"60",
            b"-60",
            b"6" * 5000,
            b"*",
            b"accept, *",
            b'"a"',
            b'W/"a"',
            b'"a", "b"',
            b"bytes 0-4/10",
            b"bytes 5-9/10",
            b"bytes */10",
            b"bytes=0-4",
            b"bytes=-3",
            b"bytes=0-1,3-4",
            b"http://test.example/x",
            b"//[::1",
            b"@9999999999",
        ]
    ),
)
_RESPONSE_NAMES = st.sampled_from(
    [
        *(b"Cache-Control", b"Cache-Control", b"CDN-Cache-Control", b"Expires", b"Date", b"Age"),
        *(b"Vary", b"ETag", b"Last-Modified", b"Content-Range", b"Set-Cookie", b"Pragma"),
        *(b"X-Accel-Expires", b"Connection", b"Location", b"Content-Location"),
    ]
)
_REQUEST_NAMES = st.sampled_from(
    [
        *(b"Cache-Control", b"Pragma", b"Range", b"If-Range", b"If-None-Match", b"If-Match"),
        *(b"If-Modified-Since", b"If-Unmodified-Since", b"Authorization", b"Accept-Encoding"),
        *(b"Accept-Language", b"Accept", b"Vary"),
    ]
)
RESPONSE_LINES = st.lists(st.tuples(_RESPONSE_NAMES, _VALUE), max_size=8)
REQUEST_LINES = st.lists(st.tuples(_REQUEST_NAMES, _VALUE), max_size=6)
STATUSES = st.sampled_from([200, 200, 200, 203, 206, 301, 404, 410, 500, 503, 599])

Lines = list[tuple[bytes, bytes]]


def judged(asked: Lines, answered: Lines, status: int = 200) -> StoringDecision:
    """The verdict on a response that arrives at `NOW`, a second after it was asked for."""
    return decide_storing(
        RequestHead(b"GET", b"/", 11, Fields(asked)),
        ResponseHead(status, Fields(answered), body_length=5),
        cache_options(heuristic=86400.0),
        frozenset(),
        False,
        b"key",
        NOW - 1,
        NOW,
    )


def usable_until(decision: StoringDecision) -> float:
    """Until when it answers without validation; 0 if never."""
    return reusable_until(decision.stored) if isinstance(decision, Store) else 0.0


class AnyFieldsTests(SynchronousTestCase):
    """Whatever the lines: a decision, and one that makes sense."""

    @given(REQUEST_LINES, RESPONSE_LINES, STATUSES, REQUEST_LINES, RESPONSE_LINES, STATUSES)
    def test_every_decision_is_made(
        self,
        asked: Lines,
        answered: Lines,
        status: int,
        asked_again: Lines,
        answered_again: Lines,
        status_again: int,
    ) -> None:
        """Storing, reuse, validation, combining, invalidation: none of them raises."""
        decision = judged(asked, answered, status)
        again = RequestHead(b"GET", b"/", 11, Fields(asked_again))
        reply = ResponseHead(status_again, Fields(answered_again), body_length=5)
        part_of(reply)
        for target in invalidated_targets(b"http", b"test.example", b"/", reply):
            self.assertTrue(target.startswith(b"/"), target)
        if not isinstance(decision, Store):
            return
        kept = decision.stored
        kept.body_length = 5
        for number in (kept.lifetime, kept.initial_age, kept.stale_if_error):
            self.assertTrue(math.isfinite(number) and number >= 0, number)
        verdict = decide_reuse(kept, again, NOW + 10, cache_options(), key=b"key")
        if verdict.action is Action.FRESH:
            self.assertLess(verdict.age, kept.lifetime)
        may_serve_stale(kept, "error", NOW + 10, cache_options(), again)
        evaluate_preconditions(again, kept.status, kept.fields, received=NOW)
        reuse_part(kept, again)
        validation_fields(kept)
        selects(kept, reply)
        compare_head(kept, reply)
        wanted = requested_span(again, kept, whole=False)
        rest = None if wanted is None else rest_of(kept, wanted)
        if rest is not None:
            combine(kept, rest, reply)
        fresh = freshen(kept, again, reply, cache_options(), frozenset(), NOW + 9, NOW + 10)
        if not isinstance(fresh, NoStore):
            self.assertEqual(fresh.vary, kept.vary)
            self.assertEqual(fresh.body_length, kept.body_length)

    @given(RESPONSE_LINES, st.integers(0, 8), st.sampled_from(
        [b"no-store", b"private", b"max-age=0", b"s-maxage=0", b"no-cache", b"max-age=x",
         b"max-age", b'max-age="', b"proxy-revalidate", b"must-revalidate", b"s-maxage=-1"]
    ))  # fmt: skip
    def test_a_stricter_line_never_makes_it_fresher(
        self, lines: Lines, place: int, directive: bytes
    ) -> None:
        """Wherever a Cache-Control line with one more restriction stands among the others."""
        before = usable_until(judged([], lines))
        stricter = [*lines[:place], (CC, directive), *lines[place:]]
        # A targeted field stands in for Cache-Control, which then says nothing (RFC 9213).
        after = usable_until(judged([], stricter))
        self.assertLessEqual(after, max(before, NOW), (lines, directive))

    @given(RESPONSE_LINES, st.integers(0, 8), _BYTES)
    def test_no_line_hides_another(self, lines: Lines, place: int, noise: bytes) -> None:
        """A line of any bytes does not take away what ``no-store`` on another line says."""
        assume(b"must-understand" not in noise.lower())
        forbidding = [(CC, b"no-store, private")]
        all_lines = [line for line in lines if line[0] == CC and b"understand" not in line[1]]
        mixed = [*all_lines[:place], (CC, noise), *forbidding, *all_lines[place:]]
        directives = response_directives(Fields(mixed))
        self.assertTrue(directives.no_store and directives.private, mixed)

    @given(REQUEST_LINES, RESPONSE_LINES, st.sampled_from(
        [b"no-cache", b"max-age=0", b"min-fresh=99999", b"max-age=x", b"no-store"]
    ), st.floats(0, 100))  # fmt: skip
    def test_a_stricter_request_never_gets_more(
        self, asked: Lines, answered: Lines, directive: bytes, later: float
    ) -> None:
        """One more restriction does not turn an answer that is not from the cache into one."""
        decision = judged([], answered)
        if not isinstance(decision, Store):
            return
        order = {Action.FRESH: 2, Action.STALE: 1}

        def rank(lines: Lines) -> int:
            verdict = decide_reuse(
                decision.stored,
                RequestHead(b"GET", b"/", 11, Fields(lines)),
                NOW + later,
                cache_options(),
            )
            return order.get(verdict.action, 0)

        # With Cache-Control a Pragma says nothing any more (§5.4).
        asked = [line for line in asked if line[0] != b"Pragma"]
        self.assertLessEqual(rank([*asked, (CC, directive)]), rank(asked))

    @given(RESPONSE_LINES, RESPONSE_LINES, st.lists(st.floats(0, 10_000), max_size=6))
    def test_age_never_falls(
        self, answered: Lines, confirmed: Lines, moments: list[float]
    ) -> None:
        """As time passes; and never below what a response or its confirmation came with."""
        decision = judged([], answered)
        if not isinstance(decision, Store):
            return
        kept = decision.stored
        times = sorted(NOW + moment for moment in moments)
        for earlier, later in pairwise(map(kept.age, times)):
            self.assertLessEqual(earlier, later)
        self.assertGreaterEqual(kept.age(NOW - 1000), received_age(Fields(answered)))
        reply = ResponseHead(304, Fields(confirmed))
        fresh = freshen(
            kept, request(), reply, cache_options(), frozenset(), NOW + 20, NOW + 21
        )
        if isinstance(fresh, StoredResponse) and fresh.response_time > kept.response_time:
            self.assertGreaterEqual(fresh.age(NOW + 21), received_age(reply.fields))


class StrictnessTests(SynchronousTestCase):
    """The stricter reading, case by case."""

    def lifetime(self, *lines: bytes) -> float | None:
        """What is left of a response with these Cache-Control lines when it arrives."""
        decision = judged([], [(CC, line) for line in lines] + [(b"ETag", b'"a"')])
        return decision.stored.lifetime if isinstance(decision, Store) else None

    def test_contradictions(self) -> None:
        """Of several lifetimes the smallest, wherever it stands."""
        self.assertEqual(self.lifetime(b"max-age=60, max-age=5"), 5)
        self.assertEqual(self.lifetime(b"max-age=5", b"max-age=60"), 5)
        self.assertEqual(self.lifetime(b"max-age=60", b"max-age=banana"), 0)
        self.assertEqual(self.lifetime(*[b"max-age=60"] * 500, b"max-age=1"), 1)

    def test_huge_numbers(self) -> None:
        """More digits than anyone can count to."""
        self.assertEqual(self.lifetime(b"max-age=" + b"9" * 60_000), 2**31)
        self.assertEqual(self.lifetime(b"max-age=" + b"0" * 60_000 + b"7"), 7)
        self.assertEqual(received_age(fields((b"Age", b"9" * 60_000))), 2**31)

    def test_quotes_end_with_their_line(self) -> None:
        """A quote that one line opens does not swallow the next line."""
        self.assertIsNone(self.lifetime(b'a="b, max-age=60', b'no-store, c="d"'))
        self.assertIsNone(self.lifetime(b'max-age=60, a="', b"private", b'"'))

    def test_vary_that_cannot_be_followed(self) -> None:
        """No request has such fields: everyone would be taken for the same."""
        for value in (
            b"Accept-Encoding Cookie",
            b'"Cookie"',
            b"Cookie;q=1",
            b"Co\xffkie",
            b"Cookie, *",
            b"*, Cookie",
            b", ".join(b"X-%d" % number for number in range(MAX_NAMES + 1)),
            b", ".join(b"X-%d" % number for number in range(8000)),
        ):
            decision = judged([], [(CC, b"max-age=60"), (b"Vary", value)])
            assert isinstance(decision, NoStore), value
            self.assertIs(decision.reason, NoStoreReason.VARY_ANY, value)
        names = b", ".join([b"X-%d" % number for number in range(MAX_NAMES)] * 3)
        self.assertEqual(len(vary_names(fields((b"Vary", names))) or ()), MAX_NAMES)

    def test_dates_beyond_the_calendar(self) -> None:
        """What no calendar has is the past."""
        for value in (b"Thu, 99 Jan 2099 00:00:00 GMT", b"0", b"-1", b"9" * 5000, b"\xff" * 99):
            decision = judged([], [(b"Expires", value), (b"ETag", b'"a"')])
            assert isinstance(decision, Store), value
            self.assertEqual(decision.stored.lifetime, 0, value)


class BoundedTimeTests(SynchronousTestCase):
    """No field value of any shape takes more than linear time."""

    size = 256 * 1024

    def test_time(self) -> None:
        """A quarter of a megabyte each, four times what a head may have."""
        kept = stored((b"ETag", b'"a"'), (b"Content-Range", b"bytes 0-4/10"), status=206)
        pieces = (
            *(b'="', b'"', b'\\"', b'="\\', b"=", b"= ", b", ", b";", b" ", b"\t", b"a", b"9"),
            *(b"a;", b"a;q=", b"a=(", b"a=1;", b"(", b"-", b"1-2,", b"W/", b'W/"', b"*", b"\xff"),
            *(b"max-age=1,", b'max-age="1",', b'no-cache="', b"/..", b"//", b"a:", b"["),
        )
        values = [piece * (self.size // len(piece)) for piece in pieces]
        numbers = range(self.size // 16)
        values.append(b",".join(b'no-cache="x-%d"' % number for number in numbers))
        values.append(b",".join(b"x-%d;q=0.1" % number for number in numbers))
        readers: tuple[Callable[[bytes], object], ...] = (
            parse_response_directives,
            parse_request_directives,
            parse_targeted_directives,
            normal_accept_encoding,
            lambda value: parse_accel_expires(value, NOW),
            lambda value: decide_ranges(b"bytes=" + value, 1000, None),
            lambda value: weak_match(value, b'"a"'),
            lambda value: weak_match(b'"a"', value),
            lambda value: vary_names(fields((b"Vary", value))),
            lambda value: received_age(fields((b"Age", value))),
            lambda value: explicit_lifetime(
                fields((b"Expires", value)), NO_RESPONSE_DIRECTIVES, NOW
            ),
            lambda value: part_of(response((b"Content-Range", value), status=206)),
            lambda value: if_range_holds(request((b"If-Range", value)), kept.fields),
            lambda value: reuse_part(kept, request((b"Range", value))),
            lambda value: invalidated_targets(
                b"http", b"a", b"/", response((b"Location", value))
            ),
            lambda value: selecting(
                (b"accept", b"accept-language", b"cookie", b"x"),
                fields((b"Accept", value), (b"Accept-Language", value), (b"X", value)),
            ),
        )
        for read in readers:
            for value in values:
                start = process_time()
                read(value)
                self.assertLess(process_time() - start, 0.9, (read, value[:20]))

    def test_many_lines(self) -> None:
        """Thousands of lines of one name."""
        for name in (b"Cache-Control", b"Expires", b"Date", b"Vary", b"Age", b"X-Accel-Expires"):
            lines = [(name, b"max-age=%d" % number) for number in range(20_000)]
            start = process_time()
            judged([], [*lines, (b"Last-Modified", date(-900))])
            self.assertLess(process_time() - start, 0.9, name)
