"""The whole cache against a simple one: any order of requests, changes and time (RFC 9111 §4)."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

from typing import Any
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

import cacheproxy.proxy.cache.fetching
import cacheproxy.proxy.cache.invalidation
from cacheproxy.policy.key import digest
from cacheproxy.policy.purge import ByHost, ByKey, ByPrefix, ByTags, Everything, Selection
from cacheproxy.policy.storing import Store, StoringDecision, decide_storing
from cacheproxy.storage.zone import Zone
from tests.proxy import reference_cache
from tests.proxy.harness import BenchCase, Client, OriginConnection, Request, message, response
from tests.proxy.reference_cache import CACHE_CONTROL, CDN_CACHE_CONTROL, Reference

TAG = b"the-tag"

#: Seconds between operations, exact in binary.
TICK = 1 / 1024

_CC = st.sampled_from([None, b"max-age=10", b"max-age=10", *sorted(CACHE_CONTROL)])
_CDN = st.sampled_from([None, None, None, None, *sorted(CDN_CACHE_CONTROL)])
SAYINGS = st.tuples(_CC, _CDN, st.sampled_from([{}, {}, {}, {b"Age": b"4"}, {b"Set-Cookie": b"a"}]))

VARIANTS = st.sampled_from([b"a", b"a", b"b"])
WANTS = st.sampled_from([b"", b"", b"", b"", b"no-cache", b"max-age=3", b"max-stale=20",
                         b"only-if-cached"])  # fmt: skip
#: How a request asks for the content: method, and a condition or range.
FORMS = st.sampled_from(["get", "get", "get", "head", "range", "same", "other"])
PURGES = st.sampled_from(["key", "prefix", "host", "tags", "all"])
_GET = st.tuples(st.just("get"), VARIANTS, WANTS, FORMS)
_WAIT = st.tuples(st.just("wait"), st.sampled_from([1, 4, 7, 16]))
_CHANGE = st.tuples(st.just("change"))
_PURGE = st.tuples(st.just("purge"), PURGES)
_POST = st.tuples(st.just("post"))
OPERATIONS = st.lists(
    st.one_of(
        _GET,
        _GET,
        _GET,
        _GET,
        _WAIT,
        _WAIT,
        _CHANGE,
        st.tuples(st.just("say"), SAYINGS),
        st.tuples(st.just("say"), SAYINGS),
        st.tuples(st.just("mode"), st.sampled_from(["up", "up", "fail", "refuse"])),
        _POST,
        _PURGE,
        st.tuples(st.just("soften"), PURGES),
        st.tuples(st.just("restart")),
        st.tuples(st.just("during"), VARIANTS, st.one_of(_WAIT, _CHANGE, _PURGE, _POST)),
        st.tuples(st.just("pair"), VARIANTS),
    ),
    min_size=6,
    max_size=30,
)


def content(variant: bytes, version: int) -> bytes:
    """What the resource is."""
    return b"%b-%06d" % (variant, version)


class ModelTests(BenchCase):
    """One URL, two variants; an origin that validates."""

    def start(self, memory: bool) -> None:
        """A cache, and what it is compared with."""
        self.world = reference_cache.Origin(saying=({b"Cache-Control": b"max-age=10"}, {}))
        self.reference = Reference(self.world)
        self.cache("proxy_cache_key $uri;", zone="" if memory else "memory=0")
        self.origin.default = self.answer  # type: ignore[assignment]  # a callable
        #: Requests that the origin has not answered yet, while it takes its time.
        self.waiting: list[tuple[OriginConnection, Request]] | None = None

    def answer(self, connection: OriginConnection, request: Request) -> None:
        """The origin's answer now."""
        world = self.world
        if request.method == b"POST":
            connection.send(response(200, b"done"))
        elif self.waiting is not None:
            self.waiting.append((connection, request))
        elif world.mode == "fail":
            connection.send(response(500, b"failed"))
        else:
            kept, passing = world.saying
            tag = b'"%d"' % world.version
            lines = [name + b": " + value for name, value in (*kept.items(), *passing.items())]
            lines += [b"ETag: " + tag, b"Vary: X-A", b"Cache-Tag: " + TAG]
            if request.get(b"if-none-match") == tag:
                connection.send(response(304, b"", *lines))
            else:
                body = content(request.get(b"x-a") or b"", world.version)
                connection.send(response(200, body, *lines))

    # -- the operations ----------------------------------------------------

    def carry_out(self, operation: tuple[Any, ...]) -> None:
        """One operation, on both caches; no two happen at the very same time."""
        self.bench.reactor.advance(TICK)
        getattr(self, f"do_{operation[0]}")(*operation[1:])

    def now(self) -> float:
        """The clock."""
        return self.bench.reactor.seconds()

    def do_wait(self, seconds: int) -> None:
        """Time passes."""
        self.bench.advance(seconds)

    def do_change(self) -> None:
        """The resource is another one."""
        self.world.version += 1

    def do_say(self, saying: tuple[bytes | None, bytes | None, dict[bytes, bytes]]) -> None:
        """The origin says something else of its answers."""
        control, targeted, passing = saying
        kept = {b"Cache-Control": control, b"CDN-Cache-Control": targeted}
        self.world.saying = {k: v for k, v in kept.items() if v is not None}, passing

    def do_mode(self, mode: str) -> None:
        """The origin fails, or is away, or is back."""
        self.world.mode = mode
        self.origin.mode = "refuse" if mode == "refuse" else "accept"
        for connection in self.origin.connections:
            connection.close()

    def do_restart(self) -> None:
        """The process ends; another one goes on with what is on disk."""
        self.bench.restart()

    def do_post(self) -> None:
        """An unsafe method, which succeeds where the origin is there (§4.4)."""
        status = self.bench.client().request(b"POST", b"/").status
        if self.world.mode == "refuse":
            self.assertEqual(status, 502)
        else:
            self.assertEqual(status, 200)
            self.reference.clear()

    def selection(self, kind: str) -> Selection:
        """A way of saying "that URL"."""
        primary = digest(b"/")
        return {
            "key": ByKey(primary),
            "prefix": ByPrefix(b"/"),
            "host": ByHost(b"test.example"),
            "tags": ByTags(frozenset({TAG})),
            "all": Everything(),
        }[kind]

    def purge(self, kind: str, soft: bool) -> None:
        zone: Any = self.bench.runtime.storage("z")
        counted: list[int] = []
        zone.purge(self.selection(kind), counted.append, soft=soft)
        self.bench.reactor.settle()
        self.assertEqual(len(counted), 1)

    def do_purge(self, kind: str) -> None:
        """Removed by the operator."""
        self.purge(kind, soft=False)
        self.reference.clear()

    def do_soften(self, kind: str) -> None:
        """Made stale by the operator."""
        self.purge(kind, soft=True)
        self.reference.soften(self.now())

    def do_get(self, variant: bytes, wants: bytes, form: str) -> None:
        """A request; both caches must answer the same."""
        expected = self.reference.get(variant, self.now(), wants)
        client = self.bench.client()
        self.send(client, variant, wants, form)
        self.check(client, variant, expected, form)

    def do_during(self, variant: bytes, inner: tuple[Any, ...]) -> None:
        """Something happens while the origin takes its time with a request."""
        begun = self.now()
        how = self.reference.peek(variant, begun, b"")
        kept = self.reference.found(variant)
        self.waiting = []
        client = self.bench.client()
        self.send(client, variant)
        asked = how not in ("hit", "stale")
        expected = None if how in ("miss", "validate") else self.answer_of(kept, how, begun)
        if expected is not None:
            self.check(client, variant, expected)
        refused = self.world.mode == "refuse"
        if asked and refused and expected is None:
            expected = self.reference.ask(variant, kept, begun, begun)
            self.check(client, variant, expected)
        self.carry_out(inner)
        gone = inner[0] == "purge" or (inner[0] == "post" and not refused)
        waiting, self.waiting = self.waiting, None
        self.bench.reactor.advance(TICK)
        for connection, request in waiting:
            self.answer(connection, request)
        self.bench.reactor.settle()
        if asked and not refused:
            found = self.reference.ask(variant, kept, begun, self.now(), storing=not gone)
            if expected is None:
                self.check(client, variant, found)

    def answer_of(self, kept: Any, how: str, now: float) -> tuple[bytes, int, float | None]:
        """The answer without the origin."""
        return b"HIT" if how == "hit" else b"STALE", kept.version, now - kept.born

    def do_pair(self, variant: bytes) -> None:
        """Two clients ask at once; the second may wait for the first one's answer."""
        self.waiting = []
        clients = [self.bench.client(), self.bench.client()]
        for client in clients:
            self.send(client, variant)
        at_once = self.reference.peek(variant, self.now(), b"") in ("hit", "refresh")
        expected = self.reference.get(variant, self.now())
        while self.waiting:
            waiting, self.waiting = self.waiting, None
            for connection, request in waiting:
                self.answer(connection, request)
            self.waiting = []
            self.bench.reactor.settle()
        self.waiting = None
        self.check(clients[0], variant, expected)
        version = expected[1] if at_once else self.reference.get(variant, self.now())[1]
        self.check(clients[1], variant, (b"", version, None))

    # -- comparing ---------------------------------------------------------

    def send(self, client: Client, variant: bytes, wants: bytes = b"", form: str = "get") -> None:
        lines = [b"X-A: " + variant]
        if wants:
            lines.append(b"Cache-Control: " + wants)
        if form == "range":
            lines.append(b"Range: bytes=2-5")
        elif form in ("same", "other"):
            number = self.world.version if form == "same" else self.world.version - 1
            lines.append(b'If-None-Match: "%d"' % number)
        client.send(message(b"HEAD" if form == "head" else b"GET", b"/", *lines))

    def check(
        self,
        client: Client,
        variant: bytes,
        expected: tuple[bytes, int, float | None],
        form: str = "get",
    ) -> None:
        """The client's answer is the expected one."""
        state, version, age = expected
        answer = client.response(b"HEAD" if form == "head" else b"GET")
        if not version:
            self.assertGreaterEqual(answer.status, 500)
            return
        self.assertEqual(answer.get(b"etag"), b'"%d"' % version)
        if state:
            self.assertEqual(answer.get(b"x-cache"), state)
        if age is not None:
            self.assertEqual(answer.get(b"age"), b"%d" % age)
        body = content(variant, version)
        told = {"same": self.world.version, "other": self.world.version - 1}.get(form)
        if told == version:
            self.assertEqual((answer.status, answer.body), (304, b""))
        elif form == "range":
            self.assertEqual((answer.status, answer.body), (206, body[2:6]))
        elif form == "head":
            self.assertEqual((answer.status, answer.get(b"content-length")), (200, b"8"))
        else:
            self.assertEqual((answer.status, answer.body), (200, body))

    @settings(max_examples=60, deadline=None)
    @given(OPERATIONS, st.booleans())
    def test_agrees(self, operations: list[tuple[Any, ...]], memory: bool) -> None:
        """Each answer is the one that the simple cache gives, with its state and its age."""
        self.start(memory)
        try:
            for operation in operations:
                self.carry_out(operation)
        finally:
            self.bench.close()

    def test_no_older_variant_comes_back(self) -> None:
        """What the first variant leads to goes with it: newer answers were seen meanwhile."""
        fresh = ("say", (b"max-age=10, s-maxage=30", None, {}))
        private = ("say", (b"private, max-age=10", None, {}))
        a, b = (("get", variant, b"", "get") for variant in (b"a", b"b"))
        for memory in (True, False):
            self.start(memory)
            for operation in (
                *(fresh, a, b, private, ("get", b"a", b"no-cache", "get")),
                *(fresh, ("change",), b, private, ("get", b"b", b"no-cache", "get")),
                *(fresh, a, b),
            ):
                self.carry_out(operation)
            self.bench.close()

    def test_evicted_first_variant(self) -> None:
        """The first variant is stored anew behind one that had found its own place before."""
        for memory in (True, False):
            self.start(memory)
            for variant in (b"a", b"b"):
                self.carry_out(("get", variant, b"", "get"))
            zone: Any = self.bench.runtime.storage("z")
            zone.delete(digest(b"/"))
            self.bench.reactor.settle()
            self.carry_out(("change",))
            self.assertEqual(self.bench.get(b"/", b"X-A: b").get(b"etag"), b'"2"')
            zone.delete(digest(b"/"))
            self.bench.reactor.settle()
            for variant in (b"a", b"b"):
                self.assertEqual(self.bench.get(b"/", b"X-A: " + variant).get(b"etag"), b'"2"')
            self.bench.close()


class WriterTests(BenchCase):
    """STYLE 2.18: a verdict not to store never opens a writer."""

    LINES = st.lists(
        st.sampled_from(
            [
                *(b"Cache-Control: " + value for value in sorted(CACHE_CONTROL)),
                *(b"CDN-Cache-Control: " + value for value in sorted(CDN_CACHE_CONTROL)),
                *(b"Set-Cookie: a=b", b"Vary: *", b"Vary: X-A", b"X-Accel-Expires: 0"),
                *(b"X-Accel-Expires: 9", b"Expires: 0", b'ETag: "a"', b"Content-Location: /"),
                *(b"Content-Range: bytes 2-4/9", b"Age: 100", b"Pragma: no-cache"),
            ]
        ),
        max_size=4,
    )
    ASKED = st.lists(
        st.sampled_from(
            [
                *(b"Authorization: Basic eA==", b"Cache-Control: no-store", b"Range: bytes=-3"),
                *(b"Cookie: a=b", b'If-None-Match: "a"', b"Cache-Control: no-cache"),
            ]
        ),
        max_size=2,
    )

    @given(
        st.lists(
            st.tuples(
                st.sampled_from([b"GET", b"GET", b"HEAD", b"POST"]),
                ASKED,
                st.sampled_from([200, 200, 200, 206, 301, 304, 404, 500]),
                LINES,
                st.sampled_from([0, 11]),
            ),
            min_size=1,
            max_size=8,
        ),
        st.sampled_from(["", "proxy_cache_convert_head off;", "proxy_cache_lock off;"]),
    )
    def test_writer_follows_verdict(
        self, story: list[tuple[bytes, list[bytes], int, list[bytes], int]], options: str
    ) -> None:
        """Every writer is opened for the very response that the last verdict was on."""
        verdicts: list[StoringDecision] = []
        opened: list[object] = []

        def decide(*arguments: Any) -> StoringDecision:
            verdicts.append(decide_storing(*arguments))
            return verdicts[-1]

        open_writer = Zone.open_writer

        def open_recorded(zone: Zone, digest: bytes, primary: bytes, stored: Any) -> Any:
            verdict = verdicts[-1]
            assert isinstance(verdict, Store), verdict
            assert verdict.stored.fields is stored.fields
            opened.append(stored)
            return open_writer(zone, digest, primary, stored)

        with (
            mock.patch.object(cacheproxy.proxy.cache.fetching, "decide_storing", decide),
            mock.patch.object(cacheproxy.proxy.cache.invalidation, "decide_storing", decide),
            mock.patch.object(Zone, "open_writer", open_recorded),
        ):
            self.tell(story, options)
        stores = sum(isinstance(verdict, Store) for verdict in verdicts)
        self.assertLessEqual(len(opened), stores)

    def tell(
        self, story: list[tuple[bytes, list[bytes], int, list[bytes], int]], options: str
    ) -> None:
        """Ask, with what the origin answers, one after the other."""
        bench = self.cache(f"proxy_cache_valid 301 5s; {options}")
        for method, asked, status, lines, pause in story:
            body = b"" if method == b"HEAD" or status == 304 else b"abc"
            self.origin.default = response(status, body, *lines, length=method != b"HEAD")
            client = bench.client()
            client.send(message(method, b"/", *asked, body=b"" if method == b"POST" else None))
            bench.advance(pause, 11)
        bench.close()
