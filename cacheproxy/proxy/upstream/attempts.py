"""The attempts of one request: which upstream is tried, over which connection, and whether again.

An attempt picks a peer, waits for a connection to it and is noted in an
``UpstreamRecord``. What may follow on a failure is ``policy.retry``'s to say; here is
kept what it goes by: who was tried, how often, since when.

Source: nginx ``ngx_http_upstream_next``, ``proxy_next_upstream``; RFC 9110 §9.2.2.
Imports: ``policy``, ``proxy`` below it.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from cacheproxy.errors import UpstreamError
from cacheproxy.policy.retry import (
    Attempt,
    condition_of_error,
    condition_of_status,
    decide_next_upstream,
    may_retry_fresh,
)
from cacheproxy.proxy.exchange.record import UpstreamRecord
from cacheproxy.proxy.interfaces import (
    Cancellable,
    UpstreamChoice,
    UpstreamPeer,
    UpstreamSink,
    UpstreamStream,
)

if TYPE_CHECKING:
    from cacheproxy.proxy.exchange.exchange import Exchange

__all__ = ["Attempts", "Retry"]

#: Statuses that are the client's fault, or a limit: they do not speak against the peer.
_NOT_OF_THE_PEER = frozenset({403, 404, 429})


class Retry(Enum):
    """What follows an attempt that failed."""

    NO = "no"
    #: The same peer again, over a connection that was never used.
    FRESH = "fresh"
    NEXT = "next"


class Attempts:
    """What was tried for one request, and the connection of the attempt under way."""

    __slots__ = (
        "_address",
        "_choice",
        "_exchange",
        "_fresh_retry_used",
        "_now",
        "_peer",
        "_pending",
        "_started",
        "_tried",
        "_tries",
        "record",
        "stream",
    )

    def __init__(self, exchange: Exchange, choice: UpstreamChoice) -> None:
        self._exchange = exchange
        self._choice = choice
        #: The attempt under way; None before and after.
        self.record: UpstreamRecord | None = None
        #: Its connection, once there is one.
        self.stream: UpstreamStream | None = None
        self._pending: Cancellable | None = None
        self._peer: UpstreamPeer | None = None
        self._address = ""
        self._tried: frozenset[str] = frozenset()
        self._tries = 0
        self._fresh_retry_used = False
        self._now = exchange.world.scheduler.monotonic
        self._started = 0.0

    def begin(self, sink: UpstreamSink, fresh: bool = False) -> bool:
        """Ask for a connection; False where no peer is left.

        *fresh*: the same peer again, over a connection that was never used.
        """
        exchange, choice = self._exchange, self._choice
        if not fresh or self._peer is None:
            key = choice.key
            picked = choice.pick(self._tried, b"" if key is None else key.render(exchange.request))
            if picked is None:
                message = f'no live upstreams while connecting to "{choice.name}"'
                exchange.log_error("error", message)
                exchange.record.add_attempt(UpstreamRecord(choice.name, self._now()))
                return False
            self._address, self._peer = picked
        record = self.record = UpstreamRecord(self._address, self._now())
        if not self._tries:
            self._started = record.started
        self._tries += not fresh
        exchange.record.add_attempt(record)
        proxy = exchange.request.location.proxy
        self._pending = self._peer.acquire(
            sink, proxy.connect_timeout, proxy.send_timeout, proxy.read_timeout, fresh
        )
        return True

    def connected(self, stream: UpstreamStream) -> UpstreamRecord:
        """The connection is there; returns what the attempt is noted in."""
        self._pending = None
        self.stream = stream
        record = self.record
        assert record is not None
        record.connect_time = 0.0 if stream.reused else self._now() - record.started
        if self._exchange.request.location.proxy.socket_keepalive:
            stream.probe_idle()
        return record

    def accept(self, status: int) -> None:
        """A head with *status* has come, and the response is taken: the peer is well."""
        record = self.record
        assert record is not None
        record.status = status
        record.header_time = self._now() - record.started
        self._choice.succeeded(self._address)

    def after_status(self, status: int, replayable: bool) -> bool:
        """Whether another peer is to answer in place of *status*; the attempt is over then."""
        condition = condition_of_status(status)
        if condition is None or not self._next_upstream(condition, True, replayable):
            return False
        if self.record is not None:
            self.record.status = status
            self.record.header_time = self._now() - self.record.started
        self.abort()
        self.end(failed=status not in _NOT_OF_THE_PEER)
        self._tried |= {self._address}
        return True

    def after_error(self, problem: UpstreamError, replayable: bool) -> Retry:
        """End the attempt that failed by *problem*; returns what is to follow."""
        if self.record is not None:
            self.record.status = problem.status
        method = self._exchange.request.method
        if not self._fresh_retry_used and may_retry_fresh(problem, method, replayable):
            self._fresh_retry_used = True
            self.end(failed=False, release=False)
            return Retry.FRESH
        condition = condition_of_error(problem)
        again = self._next_upstream(condition, problem.request_sent, replayable)
        self.end(failed=True)
        if not again:
            return Retry.NO
        self._tried |= {self._address}
        return Retry.NEXT

    def _next_upstream(self, condition: str, request_sent: bool, replayable: bool) -> bool:
        attempt = Attempt(
            self._exchange.request.method,
            request_sent,
            self._tries,
            self._choice.size - len(self._tried | {self._address}),
            self._now() - self._started,
            replayable,
        )
        return decide_next_upstream(self._exchange.request.location.proxy, condition, attempt).retry

    def end(self, *, failed: bool, release: bool = True) -> None:
        """The attempt is over; not *release*: the peer goes on being used."""
        record = self.record
        if record is None:
            return
        self.record = None
        record.response_time = self._now() - record.started
        if failed:
            self._choice.failed(self._address)
        if release:
            self._choice.finished(self._address)

    def complete(self) -> None:
        """The response has come whole: ``let_go`` and ``end`` in one, for every request."""
        stream, self.stream = self.stream, None
        record, self.record = self.record, None
        if record is not None:
            if stream is not None:
                record.bytes_received = stream.bytes_received
            record.response_time = self._now() - record.started
            self._choice.finished(self._address)

    def abort(self) -> None:
        """Break off what is under way: the wait for a connection, or the stream."""
        if self._pending is not None:
            self._pending.cancel()
            self._pending = None
        stream = self.let_go()
        if stream is not None:
            stream.abort()

    def let_go(self) -> UpstreamStream | None:
        """The stream is not ours any more; what came over it is noted."""
        self._pending = None
        stream, self.stream = self.stream, None
        if stream is not None and self.record is not None:
            self.record.bytes_received = stream.bytes_received
        return stream
