"""The client's side ends at any step of a look-up, a fetch, a store, a relay, a slice.

Clients whose body is refused (400, 413), that reset, half-close or fall silent meet disks and an
origin that take their time. Whenever that happens: no step raises, nothing is logged that is not
the origin's doing, every other client gets its whole response, and nothing is left open.
"""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

import gc
import os
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from cacheproxy.policy.purge import ByHost, Selection
from cacheproxy.storage.memory.memory import FileEntry
from tests.proxy.harness import (
    BenchCase,
    Client,
    OriginConnection,
    Request,
    message,
    parse_response,
    response,
)

#: The representation of every URL: longer than a slice, and than what a transport buffers.
CONTENT = bytes(range(256)) * 400
TAG = b'ETag: "1"'
FRESH = b"Cache-Control: max-age=30"

HTTP = """
    client_body_timeout 5s; send_timeout 7s; client_max_body_size 16;
    proxy_read_timeout 1h; proxy_send_timeout 1h;
    map $request_method $purging { PURGE 1; default 0; }
"""
SERVER = """
    location /slices { proxy_pass http://127.0.0.1:8000; proxy_cache z; slice 64k;
        proxy_cache_key $uri$slice_range; proxy_set_header Range $slice_range; }
    location /relayed { proxy_pass http://127.0.0.1:8000; }
    location /unbuffered { proxy_pass http://127.0.0.1:8000; proxy_cache z;
        proxy_buffering off; proxy_request_buffering off; }
    location /posted { proxy_pass http://127.0.0.1:8000; proxy_cache z;
        proxy_cache_methods GET HEAD POST; proxy_cache_key $uri$request_body; }
    location /heads { proxy_pass http://127.0.0.1:8000; proxy_cache z;
        proxy_cache_convert_head off; proxy_cache_key $request_method$uri; }
    location /gzipped { proxy_pass http://127.0.0.1:8000; proxy_cache z;
        gzip on; gzip_types *; gzip_min_length 1; }
    location /parts { proxy_pass http://127.0.0.1:8000; proxy_cache z;
        proxy_cache_max_range_offset 0; }
    location /kept { proxy_pass http://127.0.0.1:8000; proxy_store on; root kept;
        proxy_ignore_client_abort on; }
    location /paged { proxy_pass http://127.0.0.1:8000; proxy_cache z;
        error_page 400 413 416 500 502 504 /page; proxy_intercept_errors on; }
    location /page { proxy_pass http://127.0.0.1:8000; proxy_cache z; }
"""
OPTIONS = """
    proxy_cache_revalidate on; proxy_cache_use_stale error http_500;
    proxy_cache_purge $purging; proxy_cache_methods GET HEAD;
"""

_PLACES = st.sampled_from(
    [b"/", b"/slices", b"/relayed", b"/unbuffered", b"/posted", b"/heads", b"/gzipped", b"/parts",
     b"/kept", b"/paged"]
)  # fmt: skip
_METHODS = st.sampled_from([b"GET", b"GET", b"GET", b"HEAD", b"POST", b"PURGE"])
_FIELDS = st.sampled_from(
    [
        (),
        (),
        (),
        (b"Range: bytes=0-9",),
        (b"Range: bytes=70000-70009",),
        (b"Range: bytes=0-9, 90000-90009",),
        (b'If-None-Match: "1"',),
        (b'If-Match: "2"',),
        (b"Cache-Control: no-cache",),
        (b"Accept-Encoding: gzip",),
        (b"X-A: b",),
    ]
)
_INDEX = st.integers(0, 7)
#: What is sent to a request whose chunked body is under way.
_LAST_CHUNK = b"0\r\n\r\n"
_BROKEN = b"ZZ\r\n"
_TOO_MUCH = b"20\r\n" + b"x" * 32


class _Machine(RuleBasedStateMachine):
    """One proxy; *memory* is what its zone may keep of it."""

    def __init__(self, case: ClientEndsTests, memory: bytes) -> None:
        super().__init__()
        self.case = case
        zone = f"memory={memory.decode()}"
        self.bench = case.cache(OPTIONS, SERVER, HTTP, zone=zone)
        self.bench.origin().default = self._asked  # type: ignore[assignment]
        #: Clients that keep to the protocol and wait, by the method that they asked with.
        self.others: list[tuple[Client, bytes]] = []
        #: Clients whose body is under way.
        self.open: list[Client] = []
        #: What the origin has not begun to answer, and what it has not finished.
        self.asked: list[tuple[OriginConnection, Request]] = []
        self.begun: list[tuple[OriginConnection, bytes]] = []
        self.origin_failed = False
        self.open_before = self._open_files()
        case.entries.clear()

    # -- the origin --------------------------------------------------------

    def _asked(self, connection: OriginConnection, request: Request) -> None:
        self.asked.append((connection, request))

    def _live(self) -> None:
        """Forget what the proxy has let go of."""
        self.asked = [item for item in self.asked if not item[0].closed]
        self.begun = [item for item in self.begun if not item[0].closed]

    def _whole(self, request: Request) -> bytes:
        """The whole response to *request*."""
        fields = [FRESH, TAG, b"Vary: X-A", b"Content-Type: text/plain"]
        head = request.method == b"HEAD"
        if request.get(b"if-none-match") == b'"1"':
            return response(304, b"", *fields)
        asked = request.get(b"range") or b""
        if asked.startswith(b"bytes=") and b"," not in asked:
            first, _, last = asked[6:].partition(b"-")
            start = int(first)
            stop = min(int(last) + 1 if last else len(CONTENT), len(CONTENT))
            described = b"Content-Range: bytes %d-%d/%d" % (start, stop - 1, len(CONTENT))
            body = CONTENT[start:stop]
            length = b"Content-Length: %d" % len(body)
            fields += [described, length]
            return response(206, b"" if head else body, *fields, length=False)
        fields.append(b"Content-Length: %d" % len(CONTENT))
        return response(200, b"" if head else CONTENT, *fields, length=False)

    @rule(index=_INDEX)
    def origin_answers(self, index: int) -> None:
        self._live()
        if self.asked:
            connection, request = self.asked.pop(index % len(self.asked))
            connection.send(self._whole(request))

    @rule(index=_INDEX, size=st.sampled_from([0, 1, 70_000]))
    def origin_begins(self, index: int, size: int) -> None:
        """The head, and *size* bytes of the body."""
        self._live()
        if self.asked:
            connection, request = self.asked.pop(index % len(self.asked))
            whole = self._whole(request)
            end = whole.index(b"\r\n\r\n") + 4 + size
            if whole[end:]:
                self.begun.append((connection, whole[end:]))
            connection.send(whole[:end])

    @rule(index=_INDEX, size=st.sampled_from([1, 40_000, 1 << 20]))
    def origin_goes_on(self, index: int, size: int) -> None:
        self._live()
        if self.begun:
            connection, rest = self.begun.pop(index % len(self.begun))
            if rest[size:]:
                self.begun.append((connection, rest[size:]))
            connection.send(rest[:size])

    @rule(index=_INDEX, status=st.sampled_from([500, 404, 416, 206]))
    def origin_answers_otherwise(self, index: int, status: int) -> None:
        """An error, or a part that nobody asked for."""
        self._live()
        if self.asked:
            self.origin_failed = True
            connection, request = self.asked.pop(index % len(self.asked))
            connection.send(response(status, b"" if request.method == b"HEAD" else b"no"))

    @rule(index=_INDEX)
    def origin_breaks_off(self, index: int) -> None:
        self._live()
        connections = [item[0] for item in (*self.asked, *self.begun)]
        if connections:
            self.origin_failed = True
            connections[index % len(connections)].reset()

    # -- clients -----------------------------------------------------------

    @rule(place=_PLACES, method=_METHODS, fields=_FIELDS)
    def ask(self, place: bytes, method: bytes, fields: tuple[bytes, ...]) -> None:
        """A request without a body that is under way."""
        client = self.bench.client()
        body = b"x" if method == b"POST" else None
        self.others.append((client, method))
        client.send(message(method, place, *fields, body=body))

    @rule(place=_PLACES, method=_METHODS, fields=_FIELDS)
    def begin(self, place: bytes, method: bytes, fields: tuple[bytes, ...]) -> None:
        """A request whose body has not ended."""
        client = self.bench.client()
        self.open.append(client)
        client.send(message(method, place, *fields, b"Transfer-Encoding: chunked"))

    def _take(self, index: int) -> Client | None:
        return self.open.pop(index % len(self.open)) if self.open else None

    @rule(index=_INDEX, data=st.sampled_from([_LAST_CHUNK, _BROKEN, _TOO_MUCH]))
    def body_ends(self, index: int, data: bytes) -> None:
        """In order, by a framing error, or beyond its limit."""
        client = self._take(index)
        if client is not None:
            client.send(data)

    @rule(index=_INDEX, half=st.booleans())
    def client_leaves(self, index: int, half: bool) -> None:
        client = self._take(index)
        if client is not None:
            (client.eof if half else client.vanish)()

    @rule(index=_INDEX)
    def client_without_body_leaves(self, index: int) -> None:
        if self.others:
            self.others.pop(index % len(self.others))[0].vanish()

    @rule(index=_INDEX)
    def client_stops_reading(self, index: int) -> None:
        if self.open:
            self.open[index % len(self.open)].transport.hold()

    # -- everything else ---------------------------------------------------

    @rule(seconds=st.sampled_from([1, 6, 31]))
    def wait(self, seconds: int) -> None:
        """Time passes: for bodies and slow readers it may run out."""
        self.bench.advance(seconds, 6)

    @rule()
    def hold_disk(self) -> None:
        self.bench.disk.hold()

    @rule()
    def release_disk(self) -> None:
        self.bench.disk.release()
        self.bench.reactor.settle()

    @rule(soft=st.booleans())
    def purge(self, soft: bool) -> None:
        zone: Any = self.bench.runtime.storage("z")
        selection: Selection = ByHost(b"test.example")
        zone.purge(selection, lambda count: None, soft=soft)
        self.bench.reactor.settle()

    # -- what holds --------------------------------------------------------

    @invariant()
    def nothing_is_logged_as_a_failure(self) -> None:
        self.case.assertEqual(self.case.flushLoggedErrors(), [])

    def teardown(self) -> None:
        try:
            self._finish()
        finally:
            self.bench.close()

    def _finish(self) -> None:
        """Let everything come to its end; then look at what is there."""
        case, bench = self.case, self.bench
        self.release_disk()
        for client in self.open:
            client.vanish()
        for _ in range(60):
            self._live()
            if not (self.asked or self.begun):
                break
            while self.begun:
                connection, rest = self.begun.pop()
                connection.send(rest)
            while self.asked:
                connection, request = self.asked.pop()
                connection.send(self._whole(request))
        self.nothing_is_logged_as_a_failure()
        for client, method in self.others:
            got = parse_response(client.received, method, client.transport.closed)
            if got is None:
                # Its response broke off with the origin's.
                case.assertTrue(self.origin_failed and client.transport.closed, client.received)
            else:
                case.assertLess(got.status, 600 if self.origin_failed else 500)
            client.vanish()
        if not self.origin_failed:
            lines = [line for line in bench.log("error.log") if "[info]" not in line]
            case.assertEqual(lines, [])
        bench.advance(120, 60)
        case.assertEqual(bench.origin().open, 0)
        case.assertEqual(bench.connections, 0)
        storage: Any = bench.runtime.storage("z")
        fills: Any = bench.runtime.fills(storage)
        case.assertEqual(fills._fills, {})
        held = [entry for entry in case.entries if entry._holders > 0]
        case.assertEqual(held, [], "entries that nobody has released")
        case.assertEqual(self._open_files(), self.open_before)

    def _open_files(self) -> list[str]:
        """Files of stored and of passing bodies that are still open."""
        found = []
        for descriptor in os.listdir("/proc/self/fd"):
            try:
                path = os.readlink(f"/proc/self/fd/{descriptor}")
            except OSError:
                continue
            ours = path.startswith(self.bench.folder) or path.endswith(" (deleted)")
            if ours and "cache.db" not in path and not path.endswith(".log"):
                found.append(path)
        return sorted(found)


class ClientEndsTests(BenchCase):
    """Any order of steps, with the collector off: what is dropped must be closed."""

    def setUp(self) -> None:
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        #: Every stored response that was looked up on disk in this run.
        self.entries: list[FileEntry] = []
        made = FileEntry.__init__

        def record(entry: FileEntry, *arguments: Any) -> None:
            made(entry, *arguments)
            self.entries.append(entry)

        self.patch(FileEntry, "__init__", record)

    def run_machine(self, memory: bytes) -> None:
        """Search with a zone that keeps *memory* in memory."""
        run_state_machine_as_test(
            lambda: _Machine(self, memory),
            settings=settings(stateful_step_count=20),
        )

    def test_stored_on_disk(self) -> None:
        self.run_machine(b"0")

    def test_stored_in_memory(self) -> None:
        self.run_machine(b"1m")
