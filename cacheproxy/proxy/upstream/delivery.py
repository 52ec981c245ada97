"""A relayed response on its way to the client, and into the cache beside it.

Pieces go straight to the client while it takes them. When it does not, with
``proxy_buffering on`` they go into a spool (memory, then a temporary file), so that
the origin is free at its own speed; with ``off`` the upstream is paused instead.
A cache's writer gets every piece whatever the client does, and the client may get
less than all: nothing (HEAD, 304, it has gone) or one range of a whole.

Source: nginx ``ngx_event_pipe.c``, ``proxy_buffering``; RFC 9110 §13, §14.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from cacheproxy.errors import StorageError
from cacheproxy.http.fields import Fields, Pairs
from cacheproxy.http.messages import ResponseHead
from cacheproxy.policy.conditional import Precondition, evaluate_preconditions, if_range_holds
from cacheproxy.policy.forwarding import RedirectRewriter
from cacheproxy.policy.ranges import (
    Ranges,
    Unsatisfiable,
    content_range,
    decide_ranges,
    may_be_ranged,
    offering_ranges,
)
from cacheproxy.policy.reuse import STEERING_FIELDS
from cacheproxy.proxy.answer.redirects import absolute_location
from cacheproxy.proxy.answer.representation import not_modified, part_of
from cacheproxy.proxy.interfaces import BodyReader, MissWriter, Spool

if TYPE_CHECKING:
    from cacheproxy.proxy.exchange.exchange import Exchange

__all__ = ["READ_ON", "Delivery", "is_buffered", "response_pairs"]

_NOTHING: frozenset[str] = frozenset()

#: Bytes of a temporary file beside which a response is stored.
UNLIMITED = 1 << 62

#: Bytes that nobody wants which are still read, so that the connection can be used again.
READ_ON = 64 * 1024


class Pausable(Protocol):
    """What brings the pieces of a body."""

    def pause(self) -> None: ...

    def resume(self) -> None: ...


class Delivery:
    """One response from an upstream's *stream* (``BodySink`` of its spool)."""

    __slots__ = (
        "_buffering",
        "_exchange",
        "_failed",
        "_position",
        "_reader",
        "_spool",
        "_stream",
        "_trailers",
        "_waits",
        "_window",
        "client_done",
        "may_be_in_vain",
        "on_enough",
        "stores",
        "tail",
        "writer",
    )

    def __init__(self, exchange: Exchange, stream: Pausable | None) -> None:
        self._exchange = exchange
        self._stream = stream
        self.writer: MissWriter | None = None
        #: There was one, which may have come to nothing since.
        self.stores = False
        #: The client gets nothing (more) of the body.
        self.client_done = False
        self._buffering = True
        self._position = 0
        #: The bytes [start, stop) of the body that the client asked for.
        self._window: tuple[int, int] | None = None
        #: Bytes that follow those.
        self.tail = 0
        #: Called when the client has its range and nothing is being stored.
        self.on_enough: Callable[[], None] | None = None
        self._spool: Spool | None = None
        self._reader: BodyReader | None = None
        self._trailers: Fields | None = None
        #: The spool failed: the client's connection was closed.
        self._failed = False
        #: Something was to be stored, or the spool failed: else ``in_vain`` need not be asked.
        self.may_be_in_vain = False
        #: What the upstream is paused for. "client": it does not read, ``on_writable`` ends it.
        #: "disk": the spool is full, its ``on_drain`` ends it. "writer": likewise the writer's.
        #: Where the client gets no more of the body, ``_client_is_done`` ends the first two.
        self._waits = _NOTHING

    # -- the head ----------------------------------------------------------

    def begin(self, head: ResponseHead) -> None:
        """Send the upstream's head on to the client."""
        exchange = self._exchange
        fields = head.fields
        location = exchange.request.location
        self._buffering = (
            is_buffered(exchange, head) if head.steers else location.proxy.buffering
        )
        length: int | None = head.body_length
        if exchange.request.method == b"HEAD":
            declared = fields.get(b"content-length")
            length = int(declared) if declared is not None and declared.isdigit() else None
        elif length is not None and length < 0:
            length = None
        pairs = response_pairs(exchange, head)
        if location.proxy.force_ranges:
            pairs = offering_ranges(head.status, length, pairs, location.core.max_ranges)
        exchange.begin(head.status, pairs, length, head.reason)

    def answer_partially(self, head: ResponseHead) -> bool:
        """Answer the client's own preconditions or range from a whole response in passing.

        The origin was asked without them, so that its answer could be stored.
        True if the answer is not the response as it stands.
        """
        exchange = self._exchange
        asked = exchange.request.head
        if STEERING_FIELDS.isdisjoint(asked.fields.names()):
            return False
        outcome = evaluate_preconditions(
            asked,
            head.status,
            head.fields,
            if_modified_since=exchange.request.location.core.if_modified_since,
        )
        if outcome is Precondition.NOT_MODIFIED:
            self.client_done = True
            length = head.body_length if head.body_length >= 0 else None
            pairs = not_modified(exchange.request, response_pairs(exchange, head), length)
            exchange.begin(304, pairs, None)
            exchange.end()
            return True
        if outcome is Precondition.PRECONDITION_FAILED:
            self.client_done = True
            exchange.answer_status(412)
            return True
        return self.answer_range(head)

    def answer_range(self, head: ResponseHead) -> bool:
        """Answer the one range that the client asked for, in passing; False if there is none.

        Several would have to be kept until the last of them has come; like nginx that is not
        done before the whole is stored.
        """
        exchange = self._exchange
        value = exchange.request.head.fields.get(b"range")
        length = head.body_length
        if value is None or exchange.request.method != b"GET" or head.status != 200 or length <= 0:
            return False
        fields = head.fields
        if exchange.would_gzip(200, fields, length):
            return False
        if not if_range_holds(exchange.request.head, fields):
            return False
        if not may_be_ranged(fields, exchange.request.location.proxy.force_ranges):
            return False
        decision = decide_ranges(value, length, exchange.request.location.core.max_ranges)
        if isinstance(decision, Unsatisfiable):
            self.client_done = True
            exchange.answer_status(416, [(b"Content-Range", decision.content_range)])
            return True
        if not isinstance(decision, Ranges) or len(decision.ranges) != 1:
            return False
        start, stop = self._window = decision.ranges[0]
        self.tail = length - stop
        described = content_range(start, stop, length)
        self._buffering = is_buffered(exchange, head)
        pairs = part_of(exchange.request, response_pairs(exchange, head), length, described)
        exchange.begin_ranges(pairs, stop - start)
        return True

    def begin_window(self, head: ResponseHead, start: int, stop: int, described: bytes) -> None:
        """Send bytes [start, stop) of the body alone; *described* is the Content-Range."""
        request = self._exchange.request
        pairs = part_of(request, response_pairs(self._exchange, head), None, described)
        self._window = start, stop
        self._buffering = is_buffered(self._exchange, head)
        self._exchange.begin(206, pairs, stop - start)

    def held_up_at(self, stream: Pausable) -> None:
        """Pause and resume *stream*, in place of the upstream's own."""
        self._stream = stream

    # -- the body ----------------------------------------------------------

    def feed(self, data: bytes) -> None:
        """A piece has come."""
        writer = self.writer
        if writer is not None:
            writer.write(data)
            if not writer.takes:
                # It was purged, or is too large: nothing waits for it any more.
                writer.on_drain(None)
                self.writer = None
                self._go_on("writer")
            elif writer.congested:
                self._wait("writer")
        exchange = self._exchange
        if self.client_done or exchange.lost:
            return
        if self._window is not None:
            self._feed_window(data, self._window)
        elif self._spool is not None:
            self._keep(data, self._spool)
        else:
            self._send(data)

    def _keep(self, data: bytes, spool: Spool) -> None:
        spool.write(data)
        if spool.congested:
            self._wait("disk")

    def _send(self, data: bytes) -> None:
        exchange = self._exchange
        exchange.send_body(data)
        if not exchange.downstream.writable:
            self._client_is_slow()
        elif exchange.response.gzip is not None and not self._buffering:
            exchange.flush_body()

    def _feed_window(self, data: bytes, window: tuple[int, int]) -> None:
        start, stop = window
        position = self._position
        self._position = position + len(data)
        piece = data[max(0, start - position) : max(0, stop - position)]
        if piece:
            if self._spool is not None:
                self._keep(piece, self._spool)
            else:
                self._send(piece)
        if self._position >= stop:
            self._finish_client()
            enough, self.on_enough = self.on_enough, None
            if enough is not None and self.writer is None:
                enough()
            self._client_is_done()

    def _finish_client(self) -> None:
        self.client_done = True
        if self._spool is None:
            self._exchange.end(self._trailers)
        else:
            self._spool.end()

    def _client_is_slow(self) -> None:
        exchange = self._exchange
        # A client's pace must not hold up what is stored, and others may follow; nor does it
        # in nginx, whatever the limit of the temporary file.
        stored = self.writer is not None
        if not (self._buffering or stored) or exchange.lost:
            self._wait("client")
            return
        proxy = exchange.request.location.proxy
        count, size = proxy.buffers
        spool = self._spool = exchange.world.spool(
            count * size,
            UNLIMITED if stored else proxy.max_temp_file_size,
            proxy.temp_path,
            replayable=False,
        )
        spool.on_drain(lambda: self._go_on("disk"))
        self._reader = spool.read(self)
        self._reader.pause()

    def store_to(self, writer: MissWriter) -> None:
        """Give every piece of the body to *writer* too."""
        self.writer = writer
        self.stores = self.may_be_in_vain = True
        writer.on_drain(lambda: self._go_on("writer"))

    @property
    def in_vain(self) -> bool:
        """Whether nobody gets what comes, and what was to store it came to nothing."""
        if self.writer is not None:
            return False
        return self._failed or (self.stores and (self.client_done or self._exchange.lost))

    # -- its end -----------------------------------------------------------

    def finish_store(self, complete: bool) -> None:
        """Make what was stored visible, or forget it."""
        writer, self.writer = self.writer, None
        if writer is not None:
            writer.on_drain(None)
            if complete:
                writer.finish()
            else:
                writer.abort()

    def finish(self, trailers: Fields | None) -> None:
        """The upstream has sent everything."""
        self._stream = None
        exchange = self._exchange
        if not self.client_done and not exchange.lost:
            self._trailers = trailers
            if self._spool is None:
                self.client_done = True
                exchange.end(trailers)
            else:
                self._finish_client()

    def fail(self) -> None:
        """The upstream broke off: nothing of it may look whole."""
        self._stream = None
        if not self.client_done or self._spool is not None:
            self.close()
            self._exchange.abort()

    def close(self) -> None:
        """Free the spool."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()
        spool, self._spool = self._spool, None
        if spool is not None:
            spool.close()

    # -- the client --------------------------------------------------------

    def on_writable(self) -> None:
        """The client can take more."""
        self._go_on("client")
        if self._reader is not None:
            self._reader.resume()

    def on_downstream_lost(self) -> None:
        """The client has gone: only the writer can hold the upstream up now."""
        self.close()
        self._client_is_done()

    # -- BodySink: what the spool gives back -------------------------------

    def on_body(self, data: bytes) -> None:
        self._exchange.send_body(data)
        if not self._exchange.downstream.writable and self._reader is not None:
            self._reader.pause()

    def on_body_end(self) -> None:
        self.close()
        self._exchange.end(self._trailers)
        self._client_is_done()

    def on_body_error(self, error: StorageError) -> None:
        self.close()
        self._exchange.log_error("crit", "the response's temporary file failed")
        self.client_done = self._failed = self.may_be_in_vain = True
        self._exchange.abort()
        self._client_is_done()

    # -- back-pressure -----------------------------------------------------

    def _wait(self, reason: str) -> None:
        self._waits |= {reason}
        if self._stream is not None:
            self._stream.pause()

    def _go_on(self, reason: str) -> None:
        if reason in self._waits:
            self._waits -= {reason}
            if not self._waits and self._stream is not None:
                self._stream.resume()

    def _client_is_done(self) -> None:
        """The client gets no more of the body: neither it nor the spool holds the upstream up."""
        waited, self._waits = self._waits, self._waits & {"writer"}
        if waited and not self._waits and self._stream is not None:
            self._stream.resume()


def is_buffered(exchange: Exchange, head: ResponseHead) -> bool:
    """``proxy_buffering``, and what ``X-Accel-Buffering`` says of this response."""
    proxy = exchange.request.location.proxy
    fields = head.fields
    if b"x-accel-buffering" in fields and b"x-accel-buffering" not in proxy.ignore_headers:
        wish = (fields.get(b"x-accel-buffering") or b"").lower()
        if wish in (b"yes", b"no"):
            return wish == b"yes"
    return proxy.buffering


def response_pairs(exchange: Exchange, head: ResponseHead) -> Pairs:
    """The fields of the upstream's *head* that go to the client, Server and Date assured."""
    location = exchange.request.location
    rewriter = location.response_rewriter
    assert rewriter is not None
    names = head.fields.names()
    pairs = rewriter.render(head)
    redirects = location.redirects
    if redirects is not None and (b"location" in names or b"refresh" in names):
        pairs = [_redirected(exchange, redirects, name, value) for name, value in pairs]
    if location.cookies is not None and b"set-cookie" in names:
        pairs = location.cookies.render(exchange.request, pairs)
    if b"date" not in names:
        pairs.insert(0, exchange.own_date())
    if b"server" not in names or b"server" not in location.proxy.pass_header:
        pairs.insert(0, location.server_line)
    return pairs


def _redirected(
    exchange: Exchange, redirects: RedirectRewriter, name: bytes, value: bytes
) -> tuple[bytes, bytes]:
    lower = name.lower()
    if lower == b"location":
        changed = redirects.location(exchange.request, value)
        if changed is not None:
            changed = absolute_location(exchange.request, changed)
    elif lower == b"refresh":
        changed = redirects.refresh(exchange.request, value)
    else:
        return name, value
    return name, value if changed is None else changed
