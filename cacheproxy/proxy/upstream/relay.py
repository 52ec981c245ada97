"""Relaying: one request to an upstream, and its response back to the client.

The parts of a relay, each with a module of its own:

- ``request`` makes the upstream's request and sends it;
- ``attempts`` picks the upstream, and another one where that fails;
- ``delivery`` takes the response to the client and to where it is stored;
- ``joined_body`` joins the response to a stored part;
- ``answer.other_location`` has another location answer in its stead;
- a ``response_taker`` stores or replaces the response: the cache (``cache.fetching``),
  ``proxy_store`` (``file_copy``) or the invalidation of what is stored (``cache.invalidation``).

The ``Relay`` here joins them: it hears of the upstream (``UpstreamSink``) and of the client
(``Source``), and says who acts on it. Until the response's head has come, an attempt that
fails may be followed by another. Without a client the relay goes on only while something
is being stored, or if ``proxy_ignore_client_abort`` says so.

Source: nginx ``ngx_http_upstream.c``; RFC 9110 §7.6, §15.2.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING

from cacheproxy.errors import ProtocolError, Stage, UpstreamError
from cacheproxy.http.fields import Fields
from cacheproxy.http.messages import ResponseHead
from cacheproxy.http.upgrade import answers_handshake
from cacheproxy.policy.combining import Union
from cacheproxy.proxy.answer.other_location import answer_elsewhere, is_answered_elsewhere
from cacheproxy.proxy.interfaces import Entry, UpstreamStream
from cacheproxy.proxy.upstream.attempts import Attempts, Retry
from cacheproxy.proxy.upstream.delivery import READ_ON, Delivery
from cacheproxy.proxy.upstream.joined_body import JoinedBody
from cacheproxy.proxy.upstream.request import UpstreamRequest
from cacheproxy.proxy.upstream.response_taker import FailureVerdict, ResponseTaker, Verdict
from cacheproxy.proxy.upstream.tunnel import join

if TYPE_CHECKING:
    from cacheproxy.proxy.exchange.exchange import Exchange

__all__ = ["Relay", "RelayState"]


class RelayState(Enum):
    """How far a relay has come."""

    REQUESTING = "no final head has come"
    RESPONDING = "the response goes to the client, or is stored, or both"
    REPLACING = "the response is read to its end, and then its taker answers"
    DONE = "done"


class Relay:
    """One proxied request (``UpstreamSink``, ``Source``, ``BodyTarget``)."""

    __slots__ = (
        "_answer_at_end",
        "_attempts",
        "_joined",
        "_state",
        "delivery",
        "exchange",
        "request",
        "taker",
    )

    _attempts: Attempts

    def __init__(self, exchange: Exchange, taker: ResponseTaker | None = None) -> None:
        self.exchange = exchange
        self.taker = taker
        self.request = UpstreamRequest(exchange, taker)
        #: The response under way; None until a final head has come.
        self.delivery: Delivery | None = None
        #: What the response is put together by, where a part of it is stored.
        self._joined: JoinedBody | None = None
        self._state = RelayState.REQUESTING
        #: Called at the response's end in place of ending the exchange.
        self._answer_at_end: Callable[[], None] | None = None

    def __repr__(self) -> str:
        return f"<Relay {self._state.name} of {self.exchange!r}>"

    # -- the request -------------------------------------------------------

    def start(self) -> None:
        """Choose where to, collect the body if it is to be collected, and send."""
        exchange, request = self.exchange, self.request
        exchange.answer_from(self)
        try:
            self._attempts = Attempts(exchange, request.address())
        except (ProtocolError, UpstreamError) as problem:
            exchange.log_error("error", problem.message)
            self._give_up(problem.status if isinstance(problem, ProtocolError) else 500)
            return
        if exchange.request.head.body_length is not None and not request.take_body():
            self._give_up(502)
        elif exchange.lost and not self._goes_on_alone(None):
            self._discard_for_all()
        else:
            request.when_ready(self._send)

    def _send(self, length: int | None) -> None:
        try:
            self.request.write(length)
        except ValueError:
            self._give_up(400)
            return
        except UpstreamError as problem:
            self.exchange.log_error("alert", problem.message)
            self._give_up(500)
            return
        if not self._attempts.begin(self):
            self._give_up(502)

    def _try(self, fresh: bool = False) -> None:
        if not self._attempts.begin(self, fresh):
            self._give_up(502)

    def on_connected(self, stream: UpstreamStream) -> None:
        record = self._attempts.connected(stream)
        body = self.request.send(stream, record)
        if body is not None:
            body.send_to(self)

    # -- BodyTarget: the request's body to the upstream --------------------

    @property
    def takes_body(self) -> bool:
        stream = self._attempts.stream
        return stream is not None and stream.writable

    def on_body_piece(self, data: bytes, complete: bool) -> None:
        stream, record = self._attempts.stream, self._attempts.record
        if stream is not None and record is not None:
            self.request.send_piece(stream, record, data, complete)

    def on_body_failed(self) -> None:
        message = "the request body's temporary file failed"
        if self.delivery is not None:
            self.break_off(message)
            return
        self._drop_stream()
        self.exchange.log_error("crit", message)
        self._give_up(500)

    def on_upstream_writable(self) -> None:
        self.request.on_upstream_writable()

    # -- UpstreamSink: the response ----------------------------------------

    def on_informational(self, head: ResponseHead) -> None:
        # RFC 9110 §15.2: 1xx are relayed, apart from 100, which was for us.
        exchange = self.exchange
        if head.status != 100 and exchange.request.head.version >= 11 and not exchange.lost:
            rewriter = exchange.request.location.response_rewriter
            assert rewriter is not None
            exchange.downstream.send_informational(head.status, rewriter.render(head))

    def on_response(self, head: ResponseHead) -> None:
        exchange, attempts = self.exchange, self._attempts
        if head.status >= 403 and attempts.after_status(head.status, self.request.replayable):
            self.request.detach()
            self._try()
            return
        attempts.accept(head.status)
        exchange.record.note_upstream_fields(head.fields)
        if head.status == 101:
            self._switch(head)
            return
        delivery = self.delivery = Delivery(exchange, attempts.stream)
        self._state = RelayState.RESPONDING
        verdict = Verdict.PASS_ON if self.taker is None else self.taker.on_response(self, head)
        if verdict is Verdict.PASS_ON:
            self._pass_on(delivery, head)
        elif verdict is Verdict.BEGUN:
            self._drop_unwanted(delivery)
        if delivery.tail > READ_ON:
            # Set here alone, because it makes a cycle of the two.
            delivery.on_enough = self._discard_for_all

    def _pass_on(self, delivery: Delivery, head: ResponseHead) -> None:
        """Have the response sent as it is, or another location answer in its stead."""
        exchange = self.exchange
        proxy = exchange.request.location.proxy
        if (head.steers or proxy.intercept_errors) and is_answered_elsewhere(exchange, head):
            self._discard_for_all()
            answer_elsewhere(exchange, head)
        elif not proxy.force_ranges or not delivery.answer_range(head):
            delivery.begin(head)
        else:
            self._drop_unwanted(delivery)

    def _drop_unwanted(self, delivery: Delivery) -> None:
        """Let go of a response that is not stored, and that no client reads any more."""
        if (
            delivery.writer is None
            and self._state is RelayState.RESPONDING
            and (delivery.client_done or self.exchange.lost)
        ):
            self._discard_for_all()

    def on_response_body(self, data: bytes) -> None:
        record = self._attempts.record
        if record is not None:
            record.body_received += len(data)
        delivery = self.delivery
        if self._joined is not None:
            self._joined.take(data)
        elif delivery is not None:
            delivery.feed(data)
        if delivery is None or not (delivery.may_be_in_vain and delivery.in_vain):
            return
        if self._state is not RelayState.DONE and not self._goes_on_alone(delivery):
            self._discard_for_all()

    def on_response_end(self, trailers: Fields | None) -> None:
        self._attempts.complete()
        if self.request.body is not None:
            self.request.detach()
        if self._joined is not None:
            self._joined.take_end()
        else:
            self.end_response(trailers)

    def end_response(self, trailers: Fields | None) -> None:
        """The response has come to its end, whatever it was made of."""
        delivery = self.delivery
        assert delivery is not None
        if trailers is not None:
            self.exchange.record.note_upstream_trailers(trailers)
        self._state = RelayState.DONE
        if delivery.writer is not None:
            delivery.finish_store(complete=True)
        if self.taker is not None:
            self.taker.on_fill_end(True)
        if self._answer_at_end is not None:
            self._answer_at_end()
        else:
            delivery.finish(trailers)
        if self.exchange.lost:
            self._end_alone()

    def on_upstream_error(self, problem: UpstreamError) -> None:
        self._attempts.let_go()
        self.request.detach()
        if self.delivery is not None:
            self._fail_midway(problem, self.delivery)
            return
        self.exchange.log_error("error", f"{problem.message} while {_doing(problem)} upstream")
        retry = self._attempts.after_error(problem, self.request.replayable)
        if retry is Retry.NO:
            self._give_up(problem.status, problem)
        else:
            self._try(fresh=retry is Retry.FRESH)

    # -- RelayedResponse: what the taker has the relay do ------------------

    @property
    def is_joined(self) -> bool:
        return self._joined is not None

    def join_with(self, entry: Entry, union: Union) -> None:
        delivery, stream = self.delivery, self._attempts.stream
        assert delivery is not None and stream is not None
        self._joined = JoinedBody(self, delivery, entry, union, stream)
        delivery.held_up_at(self._joined)

    def start_joined(self) -> None:
        assert self._joined is not None
        self._joined.start()

    def answer_at_end(self, answer: Callable[[], None]) -> None:
        self._state = RelayState.REPLACING
        self._answer_at_end = answer
        if self.delivery is not None:
            self.delivery.client_done = True

    def discard_response(self) -> None:
        self._drop_stream()
        if self.delivery is not None:
            self.delivery.finish_store(complete=False)
        self._attempts.end(failed=False)
        self._state = RelayState.DONE

    # -- ends --------------------------------------------------------------

    def _discard_for_all(self) -> None:
        """Nobody gets the response, those who wait for it to be stored included."""
        self.discard_response()
        if self.taker is not None:
            self.taker.on_fill_end(False)
        self._end_alone()

    def break_off(self, message: str) -> None:
        """What is being sent cannot be brought to its end: nothing of it may look whole."""
        delivery = self.delivery
        assert delivery is not None
        self._discard_for_all()
        self.exchange.log_error("error", message)
        if not self.exchange.lost:
            delivery.fail()

    def _give_up(self, status: int, problem: UpstreamError | None = None) -> None:
        self._state = RelayState.DONE
        taker = self.taker
        if taker is None or taker.on_failure(problem) is FailureVerdict.ERROR:
            self.exchange.answer_status(status)
        self._end_alone()

    def _fail_midway(self, problem: UpstreamError, delivery: Delivery) -> None:
        self._attempts.end(failed=True)
        replacing = self._state is RelayState.REPLACING
        self._state = RelayState.DONE
        if self._joined is not None:
            self._joined.close()
        delivery.finish_store(complete=False)
        if self.taker is not None:
            self.taker.on_fill_end(False)
        self.exchange.log_error("error", f"{problem.message} while reading upstream")
        if replacing:
            self.exchange.answer_status(502)
        elif not self.exchange.lost:
            delivery.fail()
        self._end_alone()

    def _end_alone(self) -> None:
        """What went on without the client has ended."""
        if self.exchange.lost:
            self.exchange.stop()
            self.request.close_body()

    def _drop_stream(self) -> None:
        self.request.detach()
        if self._joined is not None:
            self._joined.close()
        self._attempts.abort()

    # -- Source: the client ------------------------------------------------

    def on_writable(self) -> None:
        if self.delivery is not None:
            self.delivery.on_writable()

    def on_downstream_lost(self) -> None:
        delivery = self.delivery
        if delivery is not None:
            delivery.on_downstream_lost()
        if self._state is RelayState.DONE:
            return
        if self._goes_on_alone(delivery):
            self.request.keep_body()
        else:
            self._discard_for_all()

    def _goes_on_alone(self, delivery: Delivery | None) -> bool:
        """Whether the upstream is read on although the client has gone: for what is stored."""
        if not self.request.complete:
            return False
        if delivery is None:
            wanted = self.taker is not None and self.taker.fills
        else:
            wanted = delivery.writer is not None
        return wanted or self.exchange.request.location.proxy.ignore_client_abort

    # -- upgrade -----------------------------------------------------------

    def _switch(self, head: ResponseHead) -> None:
        """101: both connections carry bytes from now on (RFC 9110 §7.8)."""
        exchange, attempts = self.exchange, self._attempts
        asked = self.request.asks_upgrade and answers_handshake(exchange.request.head, head)
        if not asked or exchange.lost:
            if not asked:
                # The client did not, or was not passed on; or it proves nothing.
                message = "upstream switched protocols without being asked to"
                exchange.log_error("error", message)
            self._drop_stream()
            attempts.end(failed=True)
            self._give_up(502)
            return
        rewriter = exchange.request.location.response_rewriter
        assert rewriter is not None
        pairs = rewriter.render(head)
        upgrade = head.fields.get(b"upgrade") or b"websocket"
        pairs += [(b"Connection", b"upgrade"), (b"Upgrade", upgrade)]
        stream, attempts.stream = attempts.stream, None
        assert stream is not None
        self._state = RelayState.DONE
        self.request.detach()
        exchange.switch(pairs)
        join(exchange, stream)
        attempts.end(failed=False)


def _doing(problem: UpstreamError) -> str:
    if problem.stage in (Stage.CONNECT, Stage.TLS):
        return "connecting to"
    if problem.stage is Stage.SEND:
        return "sending request to"
    return "reading response header from"
