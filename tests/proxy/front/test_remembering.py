"""What is kept ready, and its bounds."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

from cacheproxy.proxy.front import remembering
from cacheproxy.proxy.front.ready import READY_OVERHEAD
from cacheproxy.proxy.front.remembering import RememberedAnswers
from cacheproxy.proxy.site import site as site_module
from cacheproxy.proxy.site.site import Site
from tests.proxy.harness import Bench, BenchCase, response

FRESH = b"Cache-Control: max-age=60"


class BoundTests(BenchCase):
    """How much is kept for one listening address."""

    def remembered(self, bench: Bench) -> tuple[Site, RememberedAnswers]:
        """The site of *bench* and what it keeps."""
        site = next(iter(bench.factories.values())).site
        assert isinstance(site.remembers, RememberedAnswers)
        return site, site.remembers

    def ask(self, bench: Bench, count: int) -> None:
        """Make *count* targets ready."""
        client = bench.client()
        for number in range(count):
            for _ in range(2):
                client.get(b"/%d" % number)

    def test_oldest_is_dropped_beyond_the_size(self) -> None:
        """``READY_SIZE`` bounds bodies and what each answer costs besides."""
        self.patch(remembering, "READY_SIZE", 3 * (READY_OVERHEAD + 1000))
        bench = self.cache()
        self.origin.default = response(200, b"x" * 900, FRESH)
        self.ask(bench, 8)
        site, kept = self.remembered(bench)
        self.assertLessEqual(kept.size, remembering.READY_SIZE)
        ready = [target for (_, target), route in site.routes.items() if route.ready]
        self.assertEqual(ready, [b"/5", b"/6", b"/7"])
        self.assertEqual(len(kept.order), 3)

    def test_nothing_is_held_for_routes_that_were_forgotten(self) -> None:
        """A full table of routes is emptied; what was ready on them goes too."""
        self.patch(site_module, "ROUTE_MEMO_SIZE", 4)
        bench = self.cache()
        self.origin.default = response(200, b"x", FRESH)
        self.ask(bench, 5)
        site, kept = self.remembered(bench)
        self.assertEqual(len(site.routes), 1)
        self.assertEqual(len(kept.order), 1)
        self.assertLessEqual(kept.size, READY_OVERHEAD + 100)

    def test_plain_form_is_not_kept_for_who_gets_it_compressed_on_the_way(self) -> None:
        """The compressed form could not be made now; the next request may find it made."""
        bench = self.cache("gzip on; gzip_types *; gzip_min_length 1;")
        self.origin.default = response(200, b"x" * 900, FRESH, b"Content-Type: text/plain")
        client = bench.client()
        zone = bench.runtime.zones["z"]
        self.patch(zone, "encoded", lambda entry, coding, level, stored, done: done(None))
        self.patch(zone, "peek_encoded", lambda entry, coding, level: None)
        for _ in range(3):
            answer = client.get(b"/", b"Accept-Encoding: gzip")
            self.assertEqual(answer.get(b"content-encoding"), b"gzip")
        _, kept = self.remembered(bench)
        self.assertEqual(len(kept.order), 0)
