"""Who answers the client once a response's head has come, or where none could be had."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

from typing import Any

from cacheproxy.errors import UpstreamError
from cacheproxy.http.messages import ResponseHead
from cacheproxy.proxy.front import content
from cacheproxy.proxy.upstream.relay import Relay
from cacheproxy.proxy.upstream.response_taker import (
    FailureVerdict,
    RelayedResponse,
    ResponseTaker,
    Verdict,
)
from tests.proxy.harness import BenchCase, Client, message, response


class Taker:
    """A ``ResponseTaker`` that says what the test wants."""

    converts_head = False
    answers_conditions = False
    fills = False

    def __init__(self, verdict: Verdict, failure: FailureVerdict) -> None:
        self.verdict = verdict
        self.failure = failure
        self.ends: list[bool] = []
        self.exchange: Any = None

    def on_response(self, relayed: RelayedResponse, head: ResponseHead) -> Verdict:
        """Do what goes with the verdict."""
        if self.verdict is Verdict.BEGUN:
            assert relayed.delivery is not None
            relayed.delivery.begin(head)
        elif self.verdict is Verdict.REPLACED:
            relayed.answer_at_end(self.answer)
        elif self.verdict is Verdict.DISCARDED:
            relayed.discard_response()
            self.answer()
        return self.verdict

    def on_failure(self, problem: UpstreamError | None) -> FailureVerdict:
        """The same for a failure."""
        if self.failure is FailureVerdict.REPLACED:
            self.answer()
        return self.failure

    def on_fill_end(self, complete: bool) -> None:
        """Note it."""
        self.ends.append(complete)

    def answer(self) -> None:
        """What answers in place of the response."""
        self.exchange.answer(200, b"mine", b"text/plain")


class VerdictTests(BenchCase):
    """``Verdict`` and ``FailureVerdict``, as the relay carries them out."""

    def relay(
        self, verdict: Verdict, failure: FailureVerdict = FailureVerdict.ERROR
    ) -> tuple[Taker, Client]:
        """A client whose request is under way, with a taker of *verdict*."""
        taker = Taker(verdict, failure)
        self.proxy()

        def make(exchange: Any) -> Relay:
            taker.exchange = exchange
            accepted: ResponseTaker = taker
            return Relay(exchange, accepted)

        self.patch(content, "Relay", make)
        client = self.bench.client()
        client.send(message(b"GET", b"/"))
        return taker, client

    def test_the_relay_sends_what_the_taker_leaves_to_it(self) -> None:
        for verdict in (Verdict.PASS_ON, Verdict.BEGUN):
            taker, client = self.relay(verdict)
            self.origin.last.send(response(200, b"theirs"))
            self.assertEqual(client.response().body, b"theirs")
            self.assertEqual(taker.ends, [True])

    def test_replaced_when_it_has_ended(self) -> None:
        taker, client = self.relay(Verdict.REPLACED)
        whole = response(200, b"theirs")
        self.origin.last.send(whole[:-1])
        self.assertEqual(client.received, b"")
        self.origin.last.send(whole[-1:])
        self.assertEqual((client.response().body, taker.ends), (b"mine", [True]))

    def test_replaced_but_broken_off(self) -> None:
        """What was to be answered with may rest on what did not come."""
        taker, client = self.relay(Verdict.REPLACED)
        self.origin.last.send(response(200, b"theirs")[:-1])
        self.origin.last.reset()
        self.assertEqual((client.response().status, taker.ends), (502, [False]))

    def test_discarded(self) -> None:
        """The upstream is let go of at once."""
        _, client = self.relay(Verdict.DISCARDED)
        self.origin.last.send(response(200, b"theirs")[:-1])
        self.assertEqual(client.response().body, b"mine")
        self.assertTrue(self.origin.last.closed)

    def test_failure(self) -> None:
        for failure, status in ((FailureVerdict.ERROR, 502), (FailureVerdict.REPLACED, 200)):
            _, client = self.relay(Verdict.PASS_ON, failure)
            self.origin.last.reset()
            self.assertEqual(client.response().status, status)
