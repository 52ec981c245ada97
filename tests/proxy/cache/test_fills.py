"""``proxy_cache_lock``: one request fills, the others wait for that very event."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cacheproxy.proxy.cache.fills import MAX_UNSHARED, MAX_WAITERS, Fills, Growing
from tests.proxy.harness import BenchCase, BenchReactor, Client, message, response
from tests.storage.support import head_of

FRESH = b"Cache-Control: max-age=60"


class LockTests(BenchCase):
    """Through the whole proxy."""

    def crowd(self, count: int, options: str = "") -> list[Client]:
        """Clients that ask for the same at once."""
        self.cache(f"proxy_cache_lock on; {options}")
        clients = [self.bench.client() for _ in range(count)]
        for client in clients:
            client.send(message(b"GET", b"/"))
        return clients

    def test_one_request(self) -> None:
        """The rest gets what the first one brought, at once and without polling."""
        clients = self.crowd(20)
        self.assertEqual(len(self.origin.requests), 1)
        before = self.bench.reactor.seconds()
        self.origin.last.send(response(200, b"shared", FRESH))
        for client in clients:
            self.assertEqual(client.response().body, b"shared")
        self.assertEqual(len(self.origin.requests), 1)
        self.assertEqual(self.bench.reactor.seconds(), before)

    def test_off(self) -> None:
        """Without the lock each asks."""
        self.cache("proxy_cache_lock off;")
        for _ in range(3):
            self.bench.client().send(message(b"GET", b"/"))
        self.assertEqual(len(self.origin.requests), 3)

    def test_not_storable(self) -> None:
        """The waiters ask for themselves, all at once; so does the next crowd, for two minutes."""
        clients = self.crowd(4)
        self.origin.last.send(response(200, b"first"))
        self.assertEqual(len(self.origin.requests), 4)
        for connection in self.origin.connections[1:]:
            connection.send(response(200, b"own"))
        bodies = sorted(client.response().body for client in clients)
        self.assertEqual(bodies, [b"first", b"own", b"own", b"own"])
        self.bench.advance(100)
        self.ask_together(3)
        self.assertEqual(len(self.origin.requests), 7)
        self.bench.advance(130)
        self.ask_together(3)
        self.assertEqual(len(self.origin.requests), 8)

    def ask_together(self, count: int, *fields: bytes) -> list[Client]:
        """As many clients, that ask for the same at once."""
        clients = [self.bench.client() for _ in range(count)]
        for client in clients:
            client.send(message(b"GET", b"/", *fields))
        return clients

    def test_storable_again(self) -> None:
        """What is stored again is waited for again."""
        self.crowd(1)
        self.origin.last.send(response(200, b"own"))
        self.origin.reply(response(200, b"shared", FRESH))
        self.bench.get(b"/")
        self.bench.advance(61)
        before = len(self.origin.requests)
        self.ask_together(3)
        self.assertEqual(len(self.origin.requests), before + 1)

    def test_server_error(self) -> None:
        """It releases all, and is remembered for a second only."""
        self.crowd(3)
        self.origin.default = response(500, b"broken")
        self.origin.last.send(response(500, b"broken"))
        self.assertEqual(len(self.origin.requests), 3)
        self.bench.advance(2)
        self.origin.default = None
        self.ask_together(3)
        self.assertEqual(len(self.origin.requests), 4)

    def test_requests_that_cannot_share(self) -> None:
        """They neither lead nor wait."""
        self.crowd(1, "proxy_no_cache $http_x_private;")
        for fields in ((b"Authorization: Basic x",), (b"X-Private: 1",),
                       (b"Cache-Control: no-store",)):  # fmt: skip
            before = len(self.origin.requests)
            self.ask_together(2, *fields)
            self.assertEqual(len(self.origin.requests), before + 2, fields)
        self.ask_together(1)
        self.assertEqual(len(self.origin.requests), 7)

    def test_on_by_default(self) -> None:
        """nginx's default is off."""
        self.cache()
        clients = self.ask_together(3)
        self.assertEqual(len(self.origin.requests), 1)
        self.origin.last.send(response(200, b"shared", FRESH))
        said = [client.response().get(b"cache-status") for client in clients]
        self.assertEqual(said[0], b"cacheproxy; fwd=uri-miss; stored")
        self.assertEqual(said[1:], [b"cacheproxy; fwd=uri-miss; collapsed"] * 2)

    def test_not_storable_is_known_with_the_head(self) -> None:
        """Waiters do not wait for a body that will not serve them."""
        self.crowd(3)
        self.origin.last.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab")
        self.assertGreater(len(self.origin.requests), 1)

    def test_leader_fails(self) -> None:
        """Another takes its place."""
        clients = self.crowd(3)
        self.origin.default = response(200, b"second", FRESH)
        self.origin.connections[0].reset()
        answers = [client.response() for client in clients]
        self.assertEqual(sorted(answer.status for answer in answers), [200, 200, 502])
        self.assertEqual(len(self.origin.requests), 2)

    def test_leader_breaks_off(self) -> None:
        """A fill cut short before its first byte wakes the others too."""
        clients = self.crowd(3)
        head = b"HTTP/1.1 200 OK\r\n" + FRESH + b"\r\nContent-Length: 5\r\n\r\n"
        self.origin.connections[0].send(head)
        self.origin.default = response(200, b"whole", FRESH)
        self.origin.connections[0].reset()
        self.assertTrue(clients[0].transport.lost)
        self.assertEqual([c.response().body for c in clients[1:]], [b"whole"] * 2)
        self.assertEqual(len(self.origin.requests), 2)

    def test_leader_gone(self) -> None:
        """Its client leaving does not stop the fill."""
        clients = self.crowd(3)
        clients[0].vanish()
        self.origin.last.send(response(200, b"shared", FRESH))
        for client in clients[1:]:
            self.assertEqual(client.response().body, b"shared")
        self.assertEqual(len(self.origin.requests), 1)

    def test_waiter_gone(self) -> None:
        """It leaves the queue."""
        clients = self.crowd(3)
        clients[1].vanish()
        self.origin.last.send(response(200, b"shared", FRESH))
        self.assertEqual(clients[2].response().body, b"shared")

    def test_timeout(self) -> None:
        """``proxy_cache_lock_timeout``: the waiter asks for itself, its answer unstored."""
        clients = self.crowd(2, "proxy_cache_lock_timeout 3s;")
        self.bench.advance(2)
        self.assertEqual(len(self.origin.requests), 1)
        self.bench.advance(2)
        self.assertEqual(len(self.origin.requests), 2)
        self.origin.connections[1].send(response(200, b"alone", FRESH))
        self.assertEqual(clients[1].response().body, b"alone")
        self.origin.connections[0].send(response(200, b"shared", FRESH))
        self.assertEqual(clients[0].response().body, b"shared")
        self.assertEqual(self.bench.get(b"/").body, b"shared")

    def test_age(self) -> None:
        """``proxy_cache_lock_age``: after it one more may go."""
        self.crowd(2, "proxy_cache_lock_age 3s; proxy_cache_lock_timeout 60s;")
        self.bench.advance(4)
        self.bench.client().send(message(b"GET", b"/"))
        self.bench.client().send(message(b"GET", b"/"))
        self.assertEqual(len(self.origin.requests), 2)

    def test_expired_entry(self) -> None:
        """Collapsing holds for the refreshing of a stale entry as well."""
        self.cache("proxy_cache_lock on;")
        self.origin.reply(response(200, b"old", FRESH))
        self.bench.get(b"/")
        self.bench.advance(61)
        clients = [self.bench.client() for _ in range(4)]
        for client in clients:
            client.send(message(b"GET", b"/"))
        self.assertEqual(len(self.origin.requests), 2)
        self.origin.last.send(response(200, b"new", FRESH))
        for client in clients:
            self.assertEqual(client.response().body, b"new")

    def test_variants_are_collapsed_apart(self) -> None:
        """A waiter that turns out to need another variant asks for it."""
        self.cache("proxy_cache_lock on;")
        clients = []
        for language in (b"de", b"en"):
            client = self.bench.client()
            client.send(message(b"GET", b"/", b"Accept-Language: " + language))
            clients.append(client)
        self.origin.default = response(200, b"en", FRESH, b"Vary: Accept-Language")
        self.origin.last.send(response(200, b"de", FRESH, b"Vary: Accept-Language"))
        self.assertEqual([c.response().body for c in clients], [b"de", b"en"])


class ElsewhereTests(BenchCase):
    """An answer that comes from elsewhere ends the fill for everybody."""

    def test_intercepted_answers_release_who_waits(self) -> None:
        """``proxy_intercept_errors``: nothing is stored, nobody waits, no file is left."""
        bench = self.cache(
            "proxy_cache_valid any 1m; proxy_intercept_errors on; error_page 404 /sorry;"
            " proxy_cache_lock on; proxy_cache_lock_timeout 1h; proxy_cache_lock_age 1h;",
            server="location = /sorry { internal; return 200 sorry; }",
        )
        clients = [bench.client() for _ in range(3)]
        for client in clients:
            client.send(message(b"GET", b"/x"))
        bench.reactor.settle()
        self.origin.default = response(404, b"y" * 5000)
        for connection in list(self.origin.connections):
            connection.send(response(404, b"y" * 5000))
        bench.reactor.settle()
        for client in clients:
            self.assertEqual(client.response().body, b"sorry")
        self.assertEqual([name for name in bench.files("cache") if "cache.db" not in name], [])


class FakeWriter:
    """As much of a ``GrowingWriter`` as a fill uses."""

    given_up = False
    size = 0

    def __init__(self) -> None:
        self.stored = head_of(b"d")

    def on_abort(self, call: Callable[[], None]) -> None:
        self.aborted = call

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(name)


class FillsTests(BenchCase):
    """``Fills`` by itself."""

    def setUp(self) -> None:
        self.reactor = BenchReactor()
        self.fills = Fills(self)  # type: ignore[arg-type]  # this case is the scheduler
        self.woken: list[bool] = []
        self.offered: list[Growing] = []

    def call_later(self, seconds: float, function: object) -> object:
        """``Scheduler``."""
        return self.reactor.callLater(seconds, function)  # type: ignore[arg-type]

    def monotonic(self) -> float:
        """``Scheduler``."""
        return self.reactor.seconds()

    def test_full_queue(self) -> None:
        """More than ``MAX_WAITERS`` do not wait."""
        fill = self.fills.lead(b"d", 5)
        for _ in range(MAX_WAITERS):
            self.assertIsNotNone(self.fills.wait(b"d", 5, self.woken.append, self.offered.append))
        self.assertIsNone(self.fills.wait(b"d", 5, self.woken.append, self.offered.append))
        assert fill is not None
        fill.release()
        fill.release()
        self.assertEqual(self.woken, [True] * MAX_WAITERS)
        self.assertFalse(self.fills.filling(b"d"))
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_a_second_leader_takes_the_queue(self) -> None:
        """The first one's end does not end the second's fill."""
        first = self.fills.lead(b"d", 5)
        self.fills.wait(b"d", 60, self.woken.append, self.offered.append)
        self.assertIsNone(self.fills.lead(b"d", 5))
        self.reactor.advance(6)
        second = self.fills.lead(b"d", 5)
        assert first is not None and second is not None
        first.release()
        self.assertTrue(self.fills.filling(b"d"))
        self.assertEqual(self.woken, [])
        second.release()
        self.assertEqual(self.woken, [True])

    def test_offer(self) -> None:
        """All who wait hear of what has begun; nobody leads beside it, however old it is."""
        fill = self.fills.lead(b"d", 5)
        assert fill is not None
        leave = self.fills.wait(b"d", 5, self.woken.append, lambda growing: None)
        assert leave is not None
        self.fills.wait(b"d", 5, self.woken.append, self.offered.append)
        writer = FakeWriter()
        growing = Growing(writer, None, False)
        self.assertIsNone(self.fills.growing(b"d"))
        fill.offer(growing)
        self.assertEqual((self.offered, self.woken), ([growing], []))
        self.assertIs(self.fills.growing(b"d"), growing)
        self.reactor.advance(60)
        self.assertIsNone(self.fills.lead(b"d", 5))
        fill.release()
        self.assertIsNone(self.fills.growing(b"d"))

    def test_abort(self) -> None:
        """It ends the fill; a writer that gave up by itself is not waited for again soon."""
        for given_up in (False, True):
            fill = self.fills.lead(b"d", 5)
            assert fill is not None
            writer = FakeWriter()
            fill.offer(Growing(writer, None, False))
            self.fills.wait(b"d", 5, self.woken.append, self.offered.append)
            writer.given_up = given_up
            writer.aborted()
            self.assertEqual(self.woken.pop(), True)
            self.assertFalse(self.fills.filling(b"d"))
            self.assertEqual(self.fills.unshared(b"d"), given_up)

    def test_a_younger_fill_is_offered_what_an_older_leader_has(self) -> None:
        """And loses it with that one's end, not with its own."""
        first = self.fills.lead(b"d", 5)
        self.reactor.advance(6)
        second = self.fills.lead(b"d", 5)
        assert first is not None and second is not None
        self.fills.wait(b"d", 60, self.woken.append, self.offered.append)
        first.offer(Growing(FakeWriter(), None, False))
        self.assertEqual(len(self.offered), 1)
        first.release()
        self.assertTrue(self.fills.filling(b"d"))
        self.assertIsNone(self.fills.growing(b"d"))

    def test_leaving(self) -> None:
        """Who left hears nothing."""
        fill = self.fills.lead(b"d", 5)
        leave = self.fills.wait(b"d", 5, self.woken.append, self.offered.append)
        assert leave is not None and fill is not None
        leave()
        leave()
        fill.release()
        self.reactor.advance(10)
        self.assertEqual(self.woken, [])

    def test_bound_of_what_is_not_shared(self) -> None:
        """The oldest note makes room for the newest."""
        for number in range(MAX_UNSHARED + 2):
            self.fills.note_unshared(b"%d" % number)
        self.assertFalse(self.fills.unshared(b"0"))
        self.assertFalse(self.fills.unshared(b"1"))
        self.assertTrue(self.fills.unshared(b"2"))
        self.assertTrue(self.fills.unshared(b"%d" % (MAX_UNSHARED + 1)))

    def test_time_of_what_is_not_shared(self) -> None:
        """A note ends; a stored answer ends it at once."""
        self.fills.note_unshared(b"a", 5.0)
        self.fills.note_unshared(b"b", 5.0)
        self.fills.note_shared(b"b")
        self.assertFalse(self.fills.unshared(b"b"))
        self.assertTrue(self.fills.unshared(b"a"))
        self.reactor.advance(5)
        self.assertFalse(self.fills.unshared(b"a"))
