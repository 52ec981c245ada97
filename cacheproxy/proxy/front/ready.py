"""An answer that is kept ready to send: a fresh stored response, or a small file.

It holds the status, the fields and the body of the response, the same for every version
of HTTP, and beside them the bytes that a kept HTTP/1.1 connection sends (``http1``,
``http1_body``): one encoding of it, to which another version adds its own. All are
made anew once a second, for ``Age``, ``Date`` and what ``expires`` makes of the time.

Imports: ``http``, ``policy``, ``proxy.answer.fields``, ``proxy.site.cache_key``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from cacheproxy.http.encode import encode_response_head
from cacheproxy.http.fields import Fields, Pairs
from cacheproxy.http.messages import reason_phrase
from cacheproxy.http.syntax import format_http_date
from cacheproxy.policy.encoding import may_encode, vary_accept_encoding
from cacheproxy.policy.reuse import reusable_until
from cacheproxy.proxy.answer.fields import file_pairs, hit_pairs
from cacheproxy.proxy.interfaces import Entry, OpenFile, Storage
from cacheproxy.proxy.site.cache_key import RouteContext
from cacheproxy.proxy.site.server_line import server_line

__all__ = ["READY_OVERHEAD", "ReadyAnswer", "ReadyFile", "ReadyHit"]

#: Bytes that an answer is accounted for besides its body.
READY_OVERHEAD = 4096

#: Bodies longer than this are written beside the head, not joined with it.
JOIN_LIMIT = 16 * 1024

#: Status, reason (None for the usual one), fields before ``add_header``, and body.
Content = tuple[int, "bytes | None", Pairs, bytes]


class ReadyAnswer(ABC):
    """An answer that is ready to send. *size* is that of its body, in bytes."""

    __slots__ = (
        "body",
        "by_cookie",
        "context",
        "cost",
        "http1",
        "http1_body",
        "http1_pairs",
        "keepalive_requests",
        "keepalive_timeout",
        "pairs",
        "reason",
        "second",
        "selector",
        "status",
    )

    #: ``$upstream_cache_status``.
    cache_status = b""

    def __init__(self, context: RouteContext, size: int) -> None:
        self.context = context
        core = context.location.core
        self.keepalive_requests = core.keepalive_requests
        self.keepalive_timeout = core.keepalive_timeout
        #: Bytes that it is accounted for.
        self.cost = size + READY_OVERHEAD
        #: What it is found by on its route (``Traits``); whether the client's cookies are in it.
        self.selector = b""
        self.by_cookie = False
        #: The second of wall time that the rest is made for.
        self.second = -1
        self.status = 0
        self.reason = b""
        #: The end-to-end fields.
        self.pairs: Pairs = []
        self.body = b""
        #: The fields with those of the connection, as HTTP/1.1 sends them.
        self.http1_pairs: Pairs = []
        #: Head and body in HTTP/1.1; a long body is apart, to be written after the head.
        self.http1 = b""
        self.http1_body = b""

    @property
    def upstream_fields(self) -> Fields | None:
        """What ``$upstream_http_*`` reads."""
        return None

    @abstractmethod
    def is_current(self, now: float) -> bool:
        """Whether it still is what the general path would answer at wall time *now*."""

    @abstractmethod
    def content(self, now: float) -> Content:
        """The content at wall time *now*."""

    def render(self, now: float) -> None:
        """Make the answer, and its encoding, for the second of *now*."""
        self.second = int(now)
        status, reason, pairs, body = self.content(now)
        adder = self.context.location.field_adder
        if adder is not None:
            pairs = adder.render(self.context, status, pairs, now)
        self.status, self.pairs, self.body = status, pairs, body
        self.reason = reason_phrase(status) if reason is None else reason
        self._encode_http1()

    def _encode_http1(self) -> None:
        """The bytes for a connection that is kept, with the fields that frame the body."""
        body = self.body
        pairs = self.pairs.copy()
        if self.status not in (204, 304):
            pairs.append((b"Content-Length", b"%d" % len(body)))
        pairs.append((b"Connection", b"keep-alive"))
        seconds = self.context.location.core.keepalive_timeout_header
        if seconds is not None:
            pairs.append((b"Keep-Alive", b"timeout=%d" % seconds))
        self.http1_pairs = pairs
        head = encode_response_head(self.status, self.reason, pairs)
        if len(body) > JOIN_LIMIT:
            self.http1, self.http1_body = head, body
        else:
            self.http1, self.http1_body = head + body, b""


class ReadyHit(ReadyAnswer):
    """A hit: *entry*, found through *base*, which is the same or its plain form."""

    __slots__ = ("base", "digest", "entry", "storage", "until")

    cache_status = b"HIT"

    def __init__(self, context: RouteContext, storage: Storage, base: Entry, entry: Entry) -> None:
        super().__init__(context, len(entry.body or b""))
        context.record.cache_status = self.cache_status
        self.storage = storage
        self.base = base
        self.digest = base.digest
        self.entry = entry
        self.until = reusable_until(base.stored)

    @property
    def upstream_fields(self) -> Fields | None:
        return self.entry.stored.fields

    def is_current(self, now: float) -> bool:
        return now < self.until and self.storage.peek(self.digest) is self.base

    def content(self, now: float) -> Content:
        stored = self.entry.stored
        coded = self.entry is not self.base
        pairs = hit_pairs(self.context.location, stored, stored.age(now), coded=coded)
        return stored.status, stored.reason, pairs, self.entry.body or b""


class ReadyFile(ReadyAnswer):
    """A small file; every use looks whether it is the same on disk."""

    __slots__ = ("file", "path")

    def __init__(self, context: RouteContext, path: bytes, file: OpenFile) -> None:
        super().__init__(context, file.size)
        self.path = path
        self.file = file

    def is_current(self, now: float) -> bool:
        opened = self.context.world.files.open(self.path)
        if opened is self.file:
            return True
        if not isinstance(opened, int):
            opened.close()
        return False

    def content(self, now: float) -> Content:
        location = self.context.location
        pairs: Pairs = [server_line(location.core), (b"Date", format_http_date(now))]
        pairs += file_pairs(location, self.file, self.context.route.uri)
        gzip = location.gzip
        if gzip is not None and gzip.vary:
            fields = Fields(pairs)
            if may_encode(200, fields, self.file.size, gzip):
                pairs = vary_accept_encoding(fields).pairs
        return 200, None, pairs, self.file.content or b""
