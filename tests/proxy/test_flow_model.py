"""Back-pressure as a whole: whoever is paused is resumed, whatever the order of events.

One request with a body and its response, cut anywhere, between a client and an origin that each
read or do not read, a connection that is made early or late, and a disk that is quick or not.
However these take turns, every byte arrives and nothing stays paused in the end.
"""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import example, given
from hypothesis import strategies as st

from tests.proxy.harness import Bench, BenchCase, Client, message, response

#: What may happen between two pieces.
EVENTS = (
    "client sends",
    "client holds",
    "client reads some",
    "client reads",
    "origin accepts",
    "origin holds",
    "origin reads some",
    "origin reads",
    "origin sends",
    "disk holds",
    "disk works",
)


@dataclass
class Case:
    """One request and its response, and what happens in between."""

    streamed: bool = True
    chunked: bool = False
    buffered: bool = True
    cached: bool = False
    #: The origin answers before it has the whole request.
    early: bool = False
    request: list[int] = field(default_factory=list)
    answer: list[int] = field(default_factory=list)
    events: list[str] = field(default_factory=list)


sizes = st.lists(
    st.one_of(st.integers(1, 300), st.integers(1, 40_000), st.integers(1, 1_500_000)), max_size=8
)
cases = st.builds(
    Case,
    streamed=st.booleans(),
    chunked=st.booleans(),
    buffered=st.booleans(),
    cached=st.booleans(),
    early=st.booleans(),
    request=sizes,
    answer=sizes,
    events=st.lists(st.sampled_from(EVENTS), max_size=30),
)


def blocks(lengths: list[int]) -> list[bytes]:
    """Distinguishable pieces of these lengths."""
    return [bytes([1 + n % 250]) * length for n, length in enumerate(lengths)]


class Flow:
    """One case under way."""

    def __init__(self, bench: Bench, case: Case) -> None:
        self.bench = bench
        self.case = case
        self.origin = bench.origin()
        self.origin.delay = 1.0
        self.client: Client = bench.client()
        body = blocks(case.request)
        self.body = b"".join(body)
        if case.chunked:
            self.head = message(b"POST", b"/", b"Transfer-Encoding: chunked")
            self.outgoing = [b"%x\r\n%s\r\n" % (len(piece), piece) for piece in body]
            self.outgoing.append(b"0\r\n\r\n")
        else:
            self.head = message(b"POST", b"/", b"Content-Length: %d" % len(self.body))
            self.outgoing = body
        answer = blocks(case.answer)
        self.answer = b"".join(answer)
        self.incoming = [
            response(200, b"", b"Content-Length: %d" % len(self.answer), length=False),
            *answer,
        ]

    def play(self) -> None:
        """What is to happen, then all that has not happened yet."""
        self.client.send(self.head)
        for event in self.case.events:
            self.do(event)
        for event in ("disk works", "origin accepts", "origin reads", "client reads"):
            self.do(event)
        while self.outgoing:
            self.do("client sends")
        self.do("origin accepts")
        while self.incoming and self.may_answer:
            self.do("origin sends")

    @property
    def may_answer(self) -> bool:
        """Whether the origin has what it answers, and a connection to do it on."""
        if not self.origin.connections or self.origin.last.transport.lost:
            return False
        if self.case.early:
            return b"\r\n\r\n" in self.origin.last.received
        return bool(self.origin.requests)

    def do(self, event: str) -> None:
        """Let *event* happen, and what follows from it at once."""
        who, what = event.split(" ", 1)
        if who == "disk":
            self.bench.disk.held = what == "holds"
            if what == "works":
                self.bench.disk.release()
        elif what == "accepts":
            self.bench.advance(1.0)
        elif what == "sends":
            self.send(who)
        elif who == "client":
            transport = self.client.transport
            self.steer(transport, what)
        elif self.origin.connections:
            self.steer(self.origin.last.transport, what)
        self.bench.reactor.settle()

    def send(self, who: str) -> None:
        """The next piece, if there is one and it may be sent."""
        if who == "client" and self.outgoing:
            self.client.send(self.outgoing.pop(0))
        elif who == "origin" and self.incoming and self.may_answer:
            self.origin.last.send(self.incoming.pop(0))

    @staticmethod
    def steer(transport: object, what: str) -> None:
        """Read nothing, a little or everything."""
        if what == "holds":
            transport.hold()  # type: ignore[attr-defined]
        elif what == "reads":
            transport.release()  # type: ignore[attr-defined]
        else:
            transport.release(10_000)  # type: ignore[attr-defined]


class FlowTests(BenchCase):
    """See the module."""

    def run_case(self, case: Case) -> None:
        """Play *case*; all arrives, nothing stays paused, and the connection goes on."""
        options = f"""
            proxy_request_buffering {"off" if case.streamed else "on"};
            proxy_buffering {"on" if case.buffered else "off"};
            proxy_buffers 8 4k; client_body_buffer_size 8k; client_max_body_size 0;
        """
        if case.cached:
            bench = self.cache(options + "proxy_cache_methods POST; proxy_cache_valid 1m;")
        else:
            bench = self.proxy(options)
        flow = Flow(bench, case)
        flow.play()
        client = flow.client
        answer = client.response()
        self.assertEqual(answer.status, 200)
        self.assertTrue(answer.body == flow.answer, "the response is not what was sent")
        if not case.early:
            self.assertTrue(
                flow.origin.requests[0].body == flow.body, "the request is not what was sent"
            )
        self.assertFalse(client.transport.paused, "the client stays paused")
        for connection in flow.origin.connections:
            transport = connection.transport
            self.assertTrue(transport.lost or not transport.paused, "the origin stays paused")
        flow.origin.delay = 0.0
        flow.origin.default = response(200, b"next")
        if not client.transport.closed:
            self.assertEqual(client.get(b"/next").body, b"next")
        bench.close()

    @given(cases)
    @example(Case(request=[100_000, 100_000], events=["client sends"]))
    @example(Case(chunked=True, request=[100_000, 100_000], events=["client sends"]))
    @example(Case(request=[300], answer=[1_500_000, 300], buffered=False, early=True))
    @example(Case(cached=True, request=[20_000, 20_000], events=["disk holds", "client sends"]))
    def test_everything_arrives_and_nothing_stays_paused(self, case: Case) -> None:
        """Any order of sending, reading, connecting and disk work."""
        self.run_case(case)
