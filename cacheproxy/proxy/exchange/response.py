"""The response of one exchange: one head, pieces of a body, one end.

A ``Response`` knows how far it has come (``ResponseState``; a step that does not fit raises at
once), applies to the head what the location adds (``add_header``, ``expires``) and to the body
what it compresses, and counts what is sent. When it begins and ends is for its ``Exchange``
to say, which also passes on what it was asked with: a response refers to no request, so
that the two form no cycle.

Source: nginx ``ngx_http_header_filter_module``, ``ngx_http_gzip_module``.
Imports: ``http``, ``policy``, ``proxy`` below it.
"""

from __future__ import annotations

import copy
from enum import Enum

from cacheproxy.http.coding import Gzip
from cacheproxy.http.fields import Fields, Pairs
from cacheproxy.http.messages import reason_phrase
from cacheproxy.policy import cache_status
from cacheproxy.proxy.exchange.compression import compressed_head
from cacheproxy.proxy.interfaces import Downstream
from cacheproxy.proxy.site.added_fields import TrailerAdder
from cacheproxy.proxy.site.context import RequestContext

__all__ = ["Response", "ResponseState"]

#: Fields of a resource that are not true of the page of an error.
_NOT_OF_ERRORS = frozenset({b"accept-ranges", b"last-modified"})


class ResponseState(Enum):
    """How far the response has come."""

    WAITING = "waiting"
    BODY = "body"
    ENDED = "ended"
    ABORTED = "aborted"


# Read for every request; looking a member up in an enumeration is slow.
_WAITING = ResponseState.WAITING
_BODY = ResponseState.BODY
_ENDED = ResponseState.ENDED
_ABORTED = ResponseState.ABORTED


class Response:
    """What goes to the client at *downstream*."""

    __slots__ = (
        "_cache_status",
        "_downstream",
        "_gzipped",
        "_status_override",
        "_trailer_adder",
        "adds_trailers",
        "body_bytes_sent",
        "gzip",
        "gzip_in",
        "gzip_out",
        "has_body",
        "kept_fields",
        "pairs",
        "state",
        "status",
    )

    def __init__(self, downstream: Downstream) -> None:
        self._downstream = downstream
        self.state = _WAITING
        #: What the client was answered with, 499 where it left before; 0 until then.
        self.status = 0
        self.has_body = True
        #: The fields as they were sent.
        self.pairs: Pairs = []
        #: Bytes of the body that were sent, without framing.
        self.body_bytes_sent = 0
        #: What compresses the body, where something does; what went into it, and came out.
        self.gzip: Gzip | None = None
        self.gzip_in = self.gzip_out = 0
        #: Fields of the response that named another location, which answers now.
        self.kept_fields: Pairs = []
        self._cache_status = b""
        self._gzipped = False
        self._status_override = 0
        self._trailer_adder: TrailerAdder | None = None
        #: Whether ``trailers`` has anything to add; set with the head.
        self.adds_trailers = False

    # -- what its head is to say -------------------------------------------

    def note_status(self, status: int) -> None:
        """The status that is logged if no head is sent."""
        self.status = status

    def override_status(self, status: int) -> None:
        """Have the head say *status*, whatever it is begun with (``error_page``); 0: no more."""
        self._status_override = status

    @property
    def is_overridden(self) -> bool:
        """Whether the head will say another status than it is begun with."""
        return self._status_override != 0

    def keep_fields(self, pairs: Pairs) -> None:
        """Have the head say *pairs*, in place of what it is begun with under the same names."""
        self.kept_fields = pairs

    def say_cache_status(self, value: bytes) -> None:
        """Have the head say *value* as Cache-Status; empty leaves the field as it comes."""
        self._cache_status = value

    def note_gzipped(self) -> None:
        """The content already is the gzip form of what is stored."""
        self._gzipped = True

    @property
    def gzipped(self) -> bool:
        """Whether the content is the gzip form of what is stored."""
        return self._gzipped

    # -- sending it --------------------------------------------------------

    def begin(
        self,
        request: RequestContext,
        status: int,
        pairs: Pairs,
        length: int | None,
        reason: bytes | None,
    ) -> None:
        """Send the head; as for ``Exchange.begin``."""
        if self._status_override:
            status, reason = self._status_override, None
            if status not in (200, 206, 304):
                # The page of an error is not the resource that was asked for.
                pairs = [pair for pair in pairs if pair[0].lower() not in _NOT_OF_ERRORS]
        assert self.state is _WAITING, self
        self.state = _BODY
        self.status = status
        has_body = self.has_body = (
            request.method != b"HEAD" and status not in (204, 304) and status >= 200
        )
        if self.kept_fields:
            given = {name.lower() for name, _ in self.kept_fields}
            pairs = [pair for pair in pairs if pair[0].lower() not in given] + self.kept_fields
        if self._cache_status:
            pairs = [pair for pair in pairs if pair[0].lower() != b"cache-status"]
            pairs.append((cache_status.NAME, self._cache_status))
        location = request.location
        if location.gzip is not None and not self._gzipped:
            pairs, length, compresses = compressed_head(request, status, pairs, length)
            if compresses and has_body:
                self.gzip = Gzip(location.gzip.comp_level)
        # For variables of what is added; the head itself follows below.
        self.pairs = pairs
        if location.trailer_adder is not None and self._takes_trailers(request, status):
            self._trailer_adder = location.trailer_adder
            self.adds_trailers = True
            length = None
        if location.field_adder is not None:
            # nginx finds a range unsatisfiable after it has added to the 200. An origin's
            # own 416 comes with its reason.
            judged = 200 if status == 416 and reason is None else status
            now = request.world.scheduler.wall()
            pairs = location.field_adder.render(request, judged, pairs, now)
        self.pairs = pairs
        self._downstream.send_head(
            status,
            reason_phrase(status) if reason is None else reason,
            pairs,
            length,
            has_body,
        )

    def _takes_trailers(self, request: RequestContext, status: int) -> bool:
        """Whether the body is sent in chunks, the last of which can have trailers."""
        adder = request.location.trailer_adder
        return (
            self.has_body
            and request.head.version >= 11
            and request.location.core.chunked_transfer_encoding
            and adder is not None
            and adder.has_any(status)
        )

    def trailers(self, request: RequestContext, received: Fields | None) -> Fields | None:
        """What is to follow the body: *received*, and what the location adds."""
        adder = self._trailer_adder
        return received if adder is None else adder.render(request, self.status, received)

    def begin_unsent(self, method: bytes, status: int) -> None:
        """The head of the answer to *method* is known; nothing is sent of it here."""
        assert self.state is _WAITING, self
        self.state = _BODY
        self.status = status
        self.has_body = method != b"HEAD" and status not in (204, 304) and status >= 200

    def send_body(self, data: bytes) -> None:
        """Send a piece of the body; a piece for a response without body is dropped."""
        if not self.has_body:
            return
        if self.gzip is not None:
            self.gzip_in += len(data)
            data = self.gzip.feed(data)
            self.gzip_out += len(data)
        if data:
            self.body_bytes_sent += len(data)
            self._downstream.send_data(data)

    def flush_body(self) -> None:
        """Send what the compression still holds back."""
        if self.gzip is not None:
            self._send_compressed(self.gzip.flush())

    def finish_body(self) -> None:
        """Send what the compression has left: the body is whole."""
        if self.gzip is not None:
            self._send_compressed(self.gzip.finish())

    def _send_compressed(self, data: bytes) -> None:
        if data:
            self.gzip_out += len(data)
            self.body_bytes_sent += len(data)
            self._downstream.send_data(data)

    def count_body(self, count: int) -> None:
        """*count* bytes of content went to the client past this response (a tunnel)."""
        self.body_bytes_sent += count

    # -- its end -----------------------------------------------------------

    def note_end(self) -> None:
        """The response is whole."""
        assert self.state is _BODY, self
        self.state = _ENDED

    def note_abort(self) -> None:
        """The response will never be whole."""
        self.state = _ABORTED

    def note_answered(self) -> None:
        """Something else answers in its place."""
        self.state = _ENDED

    def note_sent(self, status: int, pairs: Pairs, body_bytes: int) -> None:
        """The whole response was sent without this one: a 101."""
        self.state = _ENDED
        self.status = status
        self.pairs = pairs
        self.body_bytes_sent = body_bytes

    @property
    def ended(self) -> bool:
        """Whether the response is whole (``$request_completion``)."""
        return self.state is _ENDED

    # -- where it goes -----------------------------------------------------

    def send_to(self, downstream: Downstream) -> None:
        """Send what follows to *downstream*."""
        self._downstream = downstream

    def copy(self) -> Response:
        """A response as far as this one has come, that goes its own way from here."""
        return copy.copy(self)

    # -- a response that is part of another --------------------------------

    def share_kept_fields(self, other: Response) -> None:
        """Have the fields that *other* keeps."""
        self.kept_fields = other.kept_fields

    def take_coding(self, other: Response) -> None:
        """The content is in the coding that that of *other* is in."""
        self._gzipped = other._gzipped

    def share_compression(self, other: Response) -> None:
        """The body goes to the client through *other*, and through what compresses there."""
        self.gzip = other.gzip

    def __repr__(self) -> str:
        return f"<Response {self.status} {self.state.value}>"
