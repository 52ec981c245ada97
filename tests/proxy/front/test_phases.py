"""The phases of a location: which it has, and what a phase that waits holds up."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cacheproxy.proxy.exchange.exchange import Exchange
from cacheproxy.proxy.exchange.phase_wait import PhaseWait
from cacheproxy.proxy.front.phases import ProxyFront
from cacheproxy.proxy.site.phases import Phase, Progress
from cacheproxy.proxy.site.site import CompiledLocation
from tests.proxy.harness import Bench, BenchCase, message, response


class CompiledPhasesTests(BenchCase):
    """What a location does not use is no phase of it."""

    def names(self, options: str) -> list[str]:
        """The phases of a location with *options*."""
        http = "proxy_cache_path cache keys_zone=z:1m;"
        bench = self.serve(options, http=http)
        site = next(iter(bench.factories.values())).site
        location = site.default.root
        found = location.server.tree.find(b"/").location
        assert found is not None
        return [phase.__name__ for phase in location.server.compiled(found).phases]

    def test_plain_locations_have_one_phase(self) -> None:
        """``proxy_pass`` or files and nothing else: one call."""
        self.assertEqual(self.names("proxy_pass http://127.0.0.1:8000;"), ["_relay"])
        self.assertEqual(self.names("root /srv;"), ["_file"])

    def test_phases_come_in_nginx_order(self) -> None:
        """``return`` is of the rewrite phase, which comes before ``allow`` and ``deny``."""
        options = (
            "return 200 x; deny all; try_files $uri =404; slice 1k; proxy_cache z;"
            "proxy_cache_key $uri$slice_range;"
            "proxy_cache_purge $http_purge; proxy_pass http://127.0.0.1:8000;"
        )
        self.assertEqual(
            self.names(options), ["_return", "_access", "try_files", "_purge", "_slices", "_cache"]
        )


class Timer:
    """What a test's phase waits for."""

    cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class WaitingFront(ProxyFront):
    """Puts *phase* before the phases of every location."""

    __slots__ = ("_phase",)

    def __init__(self, phase: Phase) -> None:
        self._phase = phase

    def phases(self, location: CompiledLocation) -> tuple[Phase, ...]:
        return (self._phase, *super().phases(location))


class WaitTests(BenchCase):
    """A phase may wait: for a limit, or for what another server says of the request."""

    def setUp(self) -> None:
        self.waits: list[PhaseWait] = []
        self.timers: list[Timer] = []
        self.exchanges: list[Exchange] = []

    def wait(self, exchange: Exchange) -> Progress:
        """The phase: wait until the test resumes it."""
        wait, timer = exchange.begin_wait(), Timer()
        wait.cancels(timer)
        self.waits.append(wait)
        self.timers.append(timer)
        self.exchanges.append(exchange)
        return Progress.WAIT

    def waiting(
        self, phase: Callable[[Exchange], Progress] | None = None, options: str = ""
    ) -> Bench:
        """A bench whose locations start with a phase that waits."""
        bench = self.proxy(
            options,
            "client_max_body_size 10; access_log access.log l;",
            "log_format l '$status';",
            front=WaitingFront(phase or self.wait),
        )
        self.origin.default = response(200, b"from the origin")
        return bench

    def test_resumed_request_goes_on_with_the_next_phase(self) -> None:
        """Nothing is asked or answered before; then all goes its way."""
        bench = self.waiting()
        client = bench.client()
        client.send(message(b"GET", b"/"))
        self.assertEqual((client.received, self.origin.requests), (b"", []))
        self.waits[0].resume()
        bench.reactor.settle()
        self.assertEqual(client.response().body, b"from the origin")
        self.assertFalse(self.timers[0].cancelled)
        self.assertEqual(len(self.waits), 1)

    def test_body_that_comes_meanwhile_is_kept(self) -> None:
        """The phase that is next finds all of it."""
        bench = self.waiting()
        client = bench.client()
        client.send(message(b"POST", b"/", body=b"content"))
        self.waits[0].resume()
        bench.reactor.settle()
        client.response()
        self.assertEqual(self.origin.requests[0].body, b"content")

    def test_client_that_leaves_cancels_the_wait(self) -> None:
        """It is logged as 499, and to resume it later does nothing."""
        bench = self.waiting()
        client = bench.client()
        client.send(message(b"GET", b"/"))
        client.vanish()
        self.assertTrue(self.timers[0].cancelled)
        self.waits[0].resume()
        bench.reactor.settle()
        self.assertEqual(self.origin.requests, [])
        self.assertEqual(bench.log(), ["499"])

    def test_refused_body_cancels_the_wait(self) -> None:
        """413 is the answer; the request goes no further."""
        bench = self.waiting()
        client = bench.client()
        client.send(message(b"POST", b"/", b"Transfer-Encoding: chunked"))
        client.send(b"14\r\n" + b"x" * 20 + b"\r\n0\r\n\r\n")
        self.assertEqual(client.response().status, 413)
        self.assertTrue(self.timers[0].cancelled)
        self.waits[0].resume()
        self.assertEqual(self.origin.requests, [])

    def test_wait_may_end_with_an_answer(self) -> None:
        """As where a subrequest refuses it; to resume it after that does nothing."""
        bench = self.waiting()
        client = bench.client()
        client.send(message(b"GET", b"/"))
        self.exchanges[0].answer_status(403)
        bench.reactor.settle()
        self.assertEqual(client.response().status, 403)
        self.waits[0].resume()
        bench.reactor.settle()
        self.assertEqual(self.origin.requests, [])

    def test_wait_resumed_before_the_phase_returns_goes_on_at_once(self) -> None:
        """What is waited for may be there already (a subrequest that the cache answers)."""

        def phase(exchange: Exchange) -> Progress:
            exchange.begin_wait().resume()
            return Progress.WAIT

        self.assertEqual(self.waiting(phase).get(b"/").body, b"from the origin")

    def test_error_page_goes_through_the_phases_of_its_location(self) -> None:
        """As in nginx: an internal redirect starts with the first phase again."""
        bench = self.waiting(options="proxy_intercept_errors on; error_page 500 /page;")
        self.origin.default = response(500, b"")
        client = bench.client()
        client.send(message(b"GET", b"/"))
        self.waits[0].resume()
        bench.reactor.settle()
        self.assertEqual(len(self.waits), 2)
        self.origin.default = response(200, b"page")
        self.waits[1].resume()
        bench.reactor.settle()
        found = client.response()
        self.assertEqual((found.status, found.body), (500, b"page"))

    def test_what_is_cancelled_late_is_cancelled_at_once(self) -> None:
        """A phase may learn of the client's end before it has said what to cancel."""
        wait: Any = PhaseWait(lambda wait, rest: None)
        wait.on_downstream_lost()
        timer = Timer()
        wait.cancels(timer)
        self.assertTrue(timer.cancelled)
