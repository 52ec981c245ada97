"""A request, and the ways in which it may change."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

from typing import Any, cast

from cacheproxy.http.fields import Fields
from cacheproxy.http.messages import RequestHead
from cacheproxy.proxy.exchange.no_client import NoClient
from cacheproxy.proxy.exchange.record import Record
from cacheproxy.proxy.exchange.request import Request
from cacheproxy.proxy.exchange.response import Response
from tests.proxy.harness import BenchCase


class RequestTests(BenchCase):
    """The request by itself."""

    def request(self, method: bytes = b"GET", target: bytes = b"/a?b") -> Request:
        """A request in its location."""
        bench = self.proxy()
        site = next(iter(bench.factories.values())).site
        downstream = cast(Any, NoClient.__new__(NoClient))
        head = RequestHead(method, target, 11, Fields([(b"Host", b"test.example")]))
        made = Request(site, downstream, head, Response(downstream), Record(0.0, 0))
        made.adopt(site.route(head))
        return made

    def test_error_page_of_a_post_is_fetched_as_get(self) -> None:
        """Content belongs to the request that failed; HEAD still wants no content."""
        for method, becomes in ((b"POST", b"GET"), (b"GET", b"GET"), (b"HEAD", b"HEAD")):
            request = self.request(method)
            request.become_get()
            self.assertEqual((request.method, request.head.method), (becomes, method))

    def test_set_uri_changes_no_location(self) -> None:
        """``try_files`` stays where it is; ``$uri`` is not the client's any more."""
        request = self.request()
        location, old = request.location, request.route
        request.set_uri(b"/a")
        self.assertIs(request.route, old)
        self.assertFalse(request.uri_changed)
        request.set_uri(b"/c")
        self.assertEqual((request.route.uri, request.route.args), (b"/c", b"b"))
        self.assertIs(request.location, location)
        self.assertTrue(request.uri_changed)

    def test_copy_for_text_leaves_the_request_alone(self) -> None:
        """What is rendered as if the query were another one changes nothing of the request."""
        request = self.request()
        head = RequestHead(b"GET", b"/x", 11, Fields([]))
        other = request.replaced(head, request.route)
        other.map_values["m"] = b"1"
        self.assertEqual((request.head.target, request.map_values), (b"/a?b", {}))
        self.assertIs(other.record, request.record)

    def test_unanswered_copy_has_no_body(self) -> None:
        """Another exchange answers a refused body: it has a response of its own."""
        request = self.request(b"POST")
        request.collected_body()
        response, record = Response(request.downstream), Record(0.0, 0)
        other = request.unanswered(response, record)
        self.assertIsNone(other.body)
        self.assertIs(other.response, response)
        self.assertIsNotNone(request.body)

    def test_place_is_taken_over(self) -> None:
        """A background refresh is where the request is that caused it."""
        request, other = self.request(), self.request(target=b"/other")
        other.place_like(request)
        self.assertEqual(other.route.uri, b"/a")
        self.assertIs(other.location, request.location)
