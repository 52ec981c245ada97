"""The seams between an exchange and the world: who may call whom, and how it ends.

Effects are direct calls on these narrow protocols and answers come back as
direct calls on the caller's sink, so that no Deferred is made per request or
per chunk. Rules that hold for every sink:

- nothing is delivered after ``close``/``abort``/``cancel`` has been called;
- a call may be answered before it returns (re-entrantly);
- ``pause`` and ``resume`` are idempotent; a producer may deliver what it had
  already read after ``pause``.

Back-pressure: whoever pauses a producer resumes it, on an event that is certain to come.

- The client's connection reads nothing while ``RequestBody`` holds it (the upstream is
  not connected yet or is full, or the spool is), until the event that ends this, the end
  of the attempt and of the body included; and while requests wait behind the one under
  way or the client does not read the last response, until the next request's turn
  (``net.http1``).
- An upstream's connection reads nothing while ``Delivery`` holds it: for the client until
  ``on_writable``, for the spool and the writer of the cache until their ``on_drain``; the
  first two end also when the client gets no more of the body. A ``JoinedBody`` passes that on
  to whichever of stored part and upstream is being read.
- A ``BodyReader`` is paused by its sink where ``Downstream.writable`` is false, or
  ``BodyTarget.takes_body``, and resumed by ``on_writable`` or ``on_target_writable``, which a
  connection calls whenever its transport has emptied.
- A ``Tunnel`` end pauses the other one while its own transport is full, and resumes it
  once that has emptied.
- A ``TlsStream`` passes on what it is told, in both directions.

``tests/proxy/test_flow_model.py`` holds this.

Implemented by ``storage`` and ``net``; tests pass recording fakes.

Imports: ``http``, ``policy``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from cacheproxy.errors import StorageError, UpstreamError
from cacheproxy.http.fields import Fields, Pairs
from cacheproxy.http.messages import ResponseHead
from cacheproxy.http.response_parser import ResponseParser
from cacheproxy.policy.options import AccessLog, ProxySsl
from cacheproxy.policy.passwords import Passwords
from cacheproxy.policy.purge import Selection
from cacheproxy.policy.stored import StoredResponse
from cacheproxy.policy.upstream_protocol import MakeReader
from cacheproxy.template import Template

__all__ = [
    "BodyReader",
    "BodySink",
    "Cancellable",
    "Client",
    "ClientListener",
    "Downstream",
    "Entry",
    "FileSystem",
    "Fill",
    "Fills",
    "GrowingResponse",
    "GrowingWriter",
    "KnownParts",
    "MissWriter",
    "OpenFile",
    "Scheduler",
    "Spool",
    "Storage",
    "TlsInfo",
    "Tunnel",
    "UpstreamChoice",
    "UpstreamPeer",
    "UpstreamSink",
    "UpstreamStream",
    "World",
]


class Cancellable(Protocol):
    """A timer that has not fired (the part of IDelayedCall that is used)."""

    def cancel(self) -> None: ...

    def active(self) -> bool: ...


class Scheduler(Protocol):
    """Time, injected: monotonic timers and the wall clock."""

    def call_later(self, seconds: float, function: Callable[[], object]) -> Cancellable: ...

    def monotonic(self) -> float:
        """Monotonic seconds."""

    def wall(self) -> float:
        """Seconds since the epoch."""


class BodySink(Protocol):
    """Receives a body that is being read from a file, a spool or memory."""

    def on_body(self, data: bytes) -> None: ...

    def on_body_end(self) -> None: ...

    def on_body_error(self, error: StorageError) -> None: ...


class BodyReader(Protocol):
    """The reading end of a body in progress."""

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def close(self) -> None:
        """Stop; nothing is delivered any more. Allowed at any time, more than once."""


class Entry(Protocol):
    """A stored response that was looked up; stays readable while it is held.

    ``body`` is the whole body when the memory tier has it, else None. ``hot``
    belongs to whoever serves hits: what is ready to send, or None.
    """

    @property
    def digest(self) -> bytes: ...

    @property
    def stored(self) -> StoredResponse: ...

    @property
    def body(self) -> bytes | None: ...

    hot: object | None

    def read(self, sink: BodySink, start: int, stop: int) -> BodyReader:
        """Deliver bytes [start, stop) of the body, then ``on_body_end``."""

    def release(self) -> None:
        """The holder is done with it (closes files that it kept open)."""


class MissWriter(Protocol):
    """Stores a body as it arrives. Nothing is visible before ``finish``."""

    @property
    def takes(self) -> bool:
        """Whether what is written is still of use: False once it has come to nothing."""

    def write(self, data: bytes) -> None:
        """Append; never blocks. A failing disk turns the writer into a sink of no effect."""

    @property
    def congested(self) -> bool:
        """True while more than the writer's buffer limit waits for the disk."""

    def on_drain(self, call: Callable[[], None] | None) -> None:
        """Call *call* each time ``congested`` turns false again."""

    def finish(self) -> None:
        """The body is whole: make the entry visible (a lookup from now on sees it)."""

    def abort(self) -> None:
        """Forget everything written."""


class GrowingWriter(MissWriter, Protocol):
    """A ``MissWriter`` whose body others can read while it grows.

    ``size`` is in bytes; ``stored`` is the head, which a soft purge makes stale while the
    body still grows; ``given_up`` says that an abort was the writer's own: the body
    is too large to be stored, or the disk failed.
    """

    @property
    def size(self) -> int: ...

    @property
    def stored(self) -> StoredResponse: ...

    @property
    def given_up(self) -> bool: ...

    def on_abort(self, call: Callable[[], None]) -> None:
        """Call *call* when everything written is forgotten, before followers are told."""

    def follow(self, sink: BodySink, start: int, stop: int | None) -> BodyReader | None:
        """Read bytes [start, stop) as they come; *stop* None is the end, wherever it is.

        The reader is paused: ``resume`` it. ``on_body_end`` comes at *stop*, or with
        ``finish``; ``on_body_error`` (``FillAborted``) with ``abort``, even while paused.
        After ``finish`` readers go on. A slow reader holds nobody up. None where no more is
        taken (finished or aborted).
        """


class Storage(Protocol):
    """One cache zone: memory tier before disk tier.

    Digests are the 16 bytes of MD5 over the cache key (and, for a variant, its
    selecting fields): ``policy.key``. *primary* is the digest over the key alone,
    which all variants of a URL share.
    """

    def peek(self, digest: bytes) -> Entry | None:
        """The entry, if the memory tier has it; no I/O, no wait."""

    def lookup(self, digest: bytes, done: Callable[[Entry | None], None]) -> None:
        """Find the entry; *done* is called at once when memory knows, else later.

        A writer that has called ``finish`` but is not on disk yet is waited for.
        """

    def open_writer(
        self, digest: bytes, primary: bytes, stored: StoredResponse
    ) -> GrowingWriter | None:
        """Start to store; None when the zone cannot (no room, failing disk) or may not.

        It may not where *stored* was purged after it was asked for. A purge aborts the
        writers of what it takes; a soft one lets them store it as stale.
        """

    def fits(self, length: int) -> bool:
        """Whether a body of *length* bytes could be stored now."""

    def update(self, digest: bytes, stored: StoredResponse) -> None:
        """Replace the head of a stored response (a 304 freshened it)."""

    def delete(self, digest: bytes) -> None:
        """Remove one entry."""

    def purge(self, selection: Selection, done: Callable[[int], None], soft: bool = False) -> None:
        """Remove what *selection* takes of all that was asked for until now; or make it stale.

        Look-ups from now on see nothing of it (with *soft*: see it stale), and what
        was asked for before is not stored after. *done* gets how many entries there
        were, each variant counted, when none is left on disk.
        """

    def is_purged(self, primary: bytes, stored: StoredResponse) -> bool:
        """Whether a purge since ``stored.request_time`` took it; ``open_writer`` refuses it."""

    def asked_now(self) -> float:
        """The ``request_time`` of what is asked for now: wall seconds, behind every purge's."""

    def note_use(self, digest: bytes) -> int:
        """Count a request for *digest*; how many there have been, this one included."""

    def encoded(
        self,
        entry: Entry,
        coding: bytes,
        level: int,
        stored: StoredResponse,
        done: Callable[[Entry | None], None],
    ) -> None:
        """The entry's body under a content coding, made once, off the reactor, and kept.

        *stored* is the head that the encoded representation is to have (its
        ``body_length`` is filled in). *done* gets None when it cannot be made.
        """

    def peek_encoded(self, entry: Entry, coding: bytes, level: int) -> Entry | None:
        """The encoded sibling of *entry*, if the memory tier has it."""


class Spool(Protocol):
    """A body kept while the other side is slower: memory first, then a temporary file.

    Writes never block; ``congested`` says that the disk is behind or that
    ``limit`` bytes are waiting. A spool made to be replayed keeps what was read.
    """

    @property
    def size(self) -> int:
        """Bytes written so far."""

    @property
    def congested(self) -> bool: ...

    def on_drain(self, call: Callable[[], None] | None) -> None: ...

    def write(self, data: bytes) -> None: ...

    def end(self) -> None:
        """Nothing more will be written; a reader that reaches the end gets ``on_body_end``."""

    def read(self, sink: BodySink) -> BodyReader:
        """Deliver from the first byte (replayable spools) or from where reading stands."""

    def close(self) -> None:
        """Free the memory and the temporary file."""


class OpenFile(Protocol):
    """A regular file on disk, opened for serving; sizes in bytes, times in wall seconds."""

    @property
    def size(self) -> int: ...

    @property
    def mtime(self) -> float: ...

    @property
    def content(self) -> bytes | None:
        """The whole content where it is small and kept in memory, else None."""

    hot: object | None

    def read(self, sink: BodySink, start: int, stop: int) -> BodyReader: ...

    def close(self) -> None: ...


class FileSystem(Protocol):
    """Static files. Paths are absolute bytes, already free of ``..`` segments."""

    def open(self, path: bytes) -> OpenFile | int:
        """An open regular file, or the status to answer with: 404, 403 or 500.

        A directory gives 301 where it exists (the caller adds the slash).
        """

    def is_file(self, path: bytes) -> bool: ...

    def is_directory(self, path: bytes) -> bool: ...

    def exists(self, path: bytes) -> bool:
        """Whether *path* is a file of any kind, or a directory."""

    def is_executable(self, path: bytes) -> bool:
        """Whether *path* exists and its owner may execute it (``-x`` of ``if``)."""


class TlsInfo(Protocol):
    """What the ``$ssl_*`` variables read off a TLS connection."""

    @property
    def protocol(self) -> str: ...

    @property
    def cipher(self) -> str: ...

    @property
    def server_name(self) -> str: ...

    @property
    def session_reused(self) -> bool: ...

    @property
    def session_id(self) -> str: ...


class Tunnel(Protocol):
    """One end of a connection after 101: bytes as they are, with back-pressure."""

    def tunnel_write(self, data: bytes) -> None: ...

    def tunnel_end(self) -> None:
        """No more bytes will be written; what was written is delivered first.

        What this end's peer still sends goes on.
        """

    def tunnel_close(self) -> None:
        """Both directions are over; what was written is delivered first."""

    def tunnel_pause(self) -> None: ...

    def tunnel_resume(self) -> None: ...


class ClientListener(Protocol):
    """What hears of the client: the exchange that answers the request."""

    def on_request_body(self, data: bytes) -> None: ...

    def on_request_end(self, trailers: Fields | None) -> None: ...

    def on_writable(self) -> None:
        """The client can take more."""

    def on_downstream_lost(self) -> None:
        """The client's connection is gone."""


class Client(Protocol):
    """What variables and logs read of a client's connection.

    *number* is that of the connection, *requests* how many there have been on it, this
    one included.
    """

    @property
    def peer_host(self) -> str: ...

    @property
    def peer_port(self) -> int: ...

    @property
    def local_host(self) -> str: ...

    @property
    def local_port(self) -> int: ...

    @property
    def number(self) -> int: ...

    @property
    def requests(self) -> int: ...

    @property
    def bytes_sent(self) -> int: ...

    @property
    def tls(self) -> TlsInfo | None: ...


class Downstream(Client, Protocol):
    """The client's side of one exchange, the same for every HTTP version.

    ``send_head`` comes once, then ``send_data`` any number of times, then
    ``send_end``. *pairs* are end-to-end fields; the connection adds framing and
    its own fields. *length* is None where the length of the body is not known.
    The implementation tells the exchange of the client (``ClientListener``).
    """

    @property
    def writable(self) -> bool:
        """False while more waits for the client than the transport's buffer limit."""

    def send_informational(self, status: int, pairs: Pairs) -> None: ...

    def send_head(
        self,
        status: int,
        reason: bytes,
        pairs: Pairs,
        length: int | None,
        has_body: bool,
    ) -> None:
        """*has_body* is false for HEAD, 204 and 304: *length* is then only declared."""

    def send_data(self, data: bytes) -> None: ...

    def send_end(self, trailers: Fields | None = None) -> None: ...

    def abort(self) -> None:
        """Close so that the client can tell that the response was cut short."""

    def pause_request(self) -> None: ...

    def resume_request(self) -> None: ...

    def close_after_response(self) -> None:
        """The connection must not carry another request."""

    def hand_over(self, listener: ClientListener) -> None:
        """Another exchange answers the request from now on: *listener* hears of the client."""

    def start_tunnel(self, other: Tunnel) -> tuple[Tunnel, bytes]:
        """After 101: this side as a tunnel end, and the bytes that it had already read."""


class UpstreamSink(Protocol):
    """What an upstream connection tells the exchange that uses it."""

    def on_connected(self, stream: UpstreamStream) -> None: ...

    def on_informational(self, head: ResponseHead) -> None: ...

    def on_response(self, head: ResponseHead) -> None: ...

    def on_response_body(self, data: bytes) -> None: ...

    def on_response_end(self, trailers: Fields | None) -> None: ...

    def on_upstream_error(self, error: UpstreamError) -> None: ...

    def on_upstream_writable(self) -> None: ...


class UpstreamStream(Protocol):
    """One request on one upstream connection."""

    reused: bool
    writable: bool
    bytes_received: int

    def probe_idle(self) -> None:
        """Let the kernel probe the peer while nothing is sent (``proxy_socket_keepalive``)."""

    def send_request(self, method: bytes, data: bytes, complete: bool) -> None:
        """Send the head (and the body's start); *complete* when nothing follows."""

    def send_body(self, data: bytes, complete: bool) -> None: ...

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def abort(self) -> None:
        """Close the connection; the sink hears nothing more."""

    def start_tunnel(self, other: Tunnel) -> tuple[Tunnel, bytes]: ...


class UpstreamPeer(Protocol):
    """One address that requests can be sent to, with its idle connections."""

    def acquire(
        self,
        sink: UpstreamSink,
        connect_timeout: float,
        send_timeout: float,
        read_timeout: float,
        fresh: bool = False,
    ) -> Cancellable | None:
        """Get a connection: an idle one at once, unless *fresh*, else a new one.

        Answers by ``on_connected`` (possibly before it returns; None is returned
        then) or ``on_upstream_error``. The result cancels a connection attempt.
        """


class UpstreamChoice(Protocol):
    """The peers of one upstream group and the state of choosing among them."""

    @property
    def name(self) -> str: ...

    @property
    def key(self) -> Template | None:
        """What the choice goes by, such as the text of ``hash``; None for nothing."""

    def pick(self, tried: frozenset[str], key: bytes = b"") -> tuple[str, UpstreamPeer] | None:
        """An address (``$upstream_addr``) and its peer; None when none is live."""

    def succeeded(self, address: str) -> None: ...

    def failed(self, address: str) -> None: ...

    def finished(self, address: str) -> None:
        """A request that ``pick`` started has ended, either way."""

    @property
    def size(self) -> int: ...


class GrowingResponse(Protocol):
    """A response that is being stored, and that others are answered from meanwhile.

    *length* is that of the whole body, None where it is not known yet. *flushed* says that
    each piece is to reach clients at once (``proxy_buffering off``). *followers* counts the
    requests that are being answered from it.
    """

    writer: GrowingWriter
    length: int | None
    flushed: bool
    followers: int

    @property
    def stored(self) -> StoredResponse:
        """The head; a soft purge may have made it stale by now."""


class Fill(Protocol):
    """One request's hold on a key: the request that goes to the origin for all (the leader)."""

    def offer(self, growing: GrowingResponse) -> None:
        """The response has begun and is being stored: whoever waits may follow it."""

    def release(self) -> None:
        """The fill has ended, one way or the other. More than once is allowed."""


class KnownParts(Protocol):
    """The keys of a zone of which a part was stored a short while ago."""

    def note(self, primary: bytes) -> None:
        """A part is stored."""

    def has(self, primary: bytes) -> bool:
        """Whether one may be."""


class Fills(Protocol):
    """Request collapsing in one zone: which keys are being filled, and who waits for them."""

    @property
    def parts(self) -> KnownParts: ...

    def lead(self, digest: bytes, lock_age: float) -> Fill | None:
        """Become the leader for *digest*; None while another one is, and not too old."""

    def filling(self, digest: bytes) -> bool:
        """Whether some request is filling *digest* now."""

    def growing(self, digest: bytes) -> GrowingResponse | None:
        """The response that is being stored for *digest* now, if it has begun."""

    def note_unshared(self, digest: bytes, seconds: float) -> None:
        """For *seconds* the answer for *digest* will be for one client only."""

    def note_shared(self, digest: bytes) -> None:
        """The answer for *digest* is stored."""

    def unshared(self, digest: bytes) -> bool:
        """Whether it is known that to wait for *digest* would be in vain."""

    def wait(
        self,
        digest: bytes,
        timeout: float,
        woken: Callable[[bool], None],
        offered: Callable[[GrowingResponse], None],
    ) -> Callable[[], None] | None:
        """Queue for *digest*; returns what leaves the queue, None if the queue is full."""


class World(Protocol):
    """Everything outside that a site needs, made once by the service."""

    @property
    def scheduler(self) -> Scheduler: ...

    @property
    def files(self) -> FileSystem: ...

    @property
    def passwords(self) -> Passwords: ...

    def storage(self, zone: str) -> Storage | None: ...

    def upstream(
        self, name: str, ssl: ProxySsl | None, reader: MakeReader = ResponseParser
    ) -> UpstreamChoice:
        """The group called *name*; *ssl* where its peers are spoken to over TLS."""

    def resolve_upstream(
        self,
        scheme: bytes,
        authority: bytes,
        ssl: ProxySsl | None,
        reader: MakeReader = ResponseParser,
    ) -> UpstreamChoice:
        """The group of a ``…_pass`` with variables; made on first use, bounded."""

    def access_log(self, log: AccessLog) -> Callable[[bytes, bytes], None]:
        """Writes one line: (rendered path, line with its newline)."""

    def log_error(self, level: str, message: str, request: object) -> None:
        """One line in the error log, with the request it concerns."""

    def spool(self, memory: int, file_limit: int, directory: str, *, replayable: bool) -> Spool: ...

    def store_file(
        self,
        path: bytes,
        mode: int,
        mtime: float | None,
        directory: str,
        failed: Callable[[str], None],
    ) -> MissWriter:
        """Write a body to *path* (``proxy_store``), by way of a temporary file in *directory*.

        The folders that are missing are made. *mtime* is in wall seconds, None for now;
        *failed* hears at most once why nothing is stored.
        """

    @property
    def hostname(self) -> bytes: ...

    @property
    def pid(self) -> int: ...

    def random_bytes(self, count: int) -> bytes: ...

    def fills(self, storage: Storage) -> Fills:
        """The fills under way in a zone."""
