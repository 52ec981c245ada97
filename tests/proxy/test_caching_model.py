"""The whole cache against a simple one: any order of requests, changes and time (RFC 9111 §4)."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.proxy.harness import BenchCase, OriginConnection, Request, response

#: What the origin says of its answers: the lifetime that follows for a shared cache, None
#: where the answer may not be stored.
SAYINGS: dict[bytes, int | None] = {
    b"Cache-Control: max-age=10": 10,
    b"Cache-Control: max-age=10, s-maxage=30": 30,
    b"Cache-Control: max-age=20, max-age=5": 5,
    b'Cache-Control: max-age="10"': 10,
    b"Cache-Control: max-age=-1": None,
    b"Cache-Control: max-age=10\r\nAge: 4": 6,
    b"Cache-Control: max-age=10\r\nAge: 4, 9": 6,
    b"Cache-Control: max-age=10, no-store": None,
    b"Cache-Control: private, max-age=10": None,
    b"Cache-Control: max-age=10\r\nSet-Cookie: a=b": None,
    b"Cache-Control: max-age=5\r\nCDN-Cache-Control: max-age=15": 15,
    b"X-Nothing: 1": None,
}

#: Requests and time are what most often matters.
_GET = st.tuples(st.just("get"), st.sampled_from([b"a", b"a", b"b"]))
_WAIT = st.tuples(st.just("wait"), st.sampled_from([1, 4, 7, 16]))
OPERATIONS = st.lists(
    st.one_of(
        _GET,
        _GET,
        _GET,
        _WAIT,
        st.tuples(st.just("say"), st.sampled_from(sorted(SAYINGS))),
        _WAIT,
        st.tuples(st.just("post"), st.sampled_from([200, 500])),
    ),
    min_size=6,
    max_size=30,
)


@dataclass
class Reference:
    """What a shared cache may know: (number of the answer, when it stops being fresh)."""

    stored: dict[bytes, tuple[int, float]] = field(default_factory=dict)

    def get(self, variant: bytes, now: float) -> int | None:
        """The number of the answer that is reused."""
        number, until = self.stored.get(variant, (0, 0.0))
        return number if now < until else None


class ModelTests(BenchCase):
    """One URL, two variants."""

    @settings(max_examples=250, deadline=None)
    @given(OPERATIONS, st.sampled_from(sorted(SAYINGS)), st.booleans())
    def test_agrees(
        self, operations: list[tuple[str, object]], saying: bytes, memory: bool
    ) -> None:
        """Each answer is the one that the simple cache would give."""
        bench = self.cache("proxy_cache_use_stale off;", zone="" if memory else "memory=0")
        reference = Reference()
        made = 0

        def answer(connection: OriginConnection, request: Request) -> None:
            nonlocal made
            made += 1
            connection.send(response(200, b"%d" % made, saying, b"Vary: X-A"))

        try:
            for name, value in operations:
                now = bench.reactor.seconds()
                if name == "say":
                    assert isinstance(value, bytes)
                    saying = value
                elif name == "wait":
                    assert isinstance(value, int)
                    bench.advance(value)
                elif name == "post":
                    assert isinstance(value, int)
                    self.origin.default = response(value, b"done")
                    self.assertEqual(bench.client().request(b"POST", b"/").status, value)
                    if value == 200:
                        reference.stored.clear()
                else:
                    assert isinstance(value, bytes)
                    self.origin.default = answer  # type: ignore[assignment]  # a callable
                    expected = reference.get(value, now)
                    got = bench.get(b"/", b"X-A: " + value)
                    if expected is None:
                        lifetime = SAYINGS[saying]
                        if lifetime is not None:
                            reference.stored[value] = (made, now + lifetime)
                        expected = made
                    self.assertEqual(got.body, b"%d" % expected, operations)
        finally:
            bench.close()
