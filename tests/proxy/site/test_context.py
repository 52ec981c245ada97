"""Who may be rendered on: mypy checks it where these functions are called."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

from cacheproxy.http.fields import Fields
from cacheproxy.http.messages import RequestHead
from cacheproxy.proxy.exchange.request import Request
from cacheproxy.proxy.site.cache_key import RouteContext
from cacheproxy.proxy.site.context import RequestContext, TemplateContext
from tests.proxy.harness import BenchCase, response


def of_route(context: TemplateContext) -> bytes:
    """What follows from the route."""
    return context.route.uri + b" " + context.method


def of_request(context: RequestContext) -> int:
    """What needs a client."""
    return context.response.status


def request_is_a_context(request: Request) -> tuple[bytes, int]:
    """An exchange's request is both."""
    return of_route(request), of_request(request)


class ContextTests(BenchCase):
    """The same text means the same, whatever it is rendered on."""

    def test_route_stands_for_its_gets(self) -> None:
        """A key that is made from a route is that of the request which led there."""
        bench = self.cache("proxy_cache_key $host$uri$is_args$args;")
        self.origin.default = response(200, b"x", b"Cache-Control: max-age=60")
        bench.get(b"/a?b=c")
        site = next(iter(bench.factories.values())).site
        head = RequestHead(b"GET", b"/a?b=c", 11, Fields([(b"Host", b"test.example")]))
        context = RouteContext(site, head, site.route(head))
        self.assertEqual(of_route(context), b"/a GET")
        key = context.location.cache_key
        assert key is not None
        self.assertEqual(key.render(context), b"test.example/a?b=c")
