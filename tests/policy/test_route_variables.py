"""Which variables follow from a request's route."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.policy.route_variables import (
    HIT_VARIABLES,
    ROUTE_VARIABLES,
    follows_route,
    is_of_route,
)
from cacheproxy.proxy.site.variables import resolve
from cacheproxy.template import compile_template


class RouteVariableTests(SynchronousTestCase):
    """``is_of_route`` and ``follows_route``."""

    def test_all_names_are_variables(self) -> None:
        """A misspelt one would never be met."""
        for name in ROUTE_VARIABLES | HIT_VARIABLES:
            self.assertIsNotNone(resolve(name), name)

    def test_arguments_follow_and_fields_do_not(self) -> None:
        """The target is part of a route; of the fields only Host is."""
        self.assertTrue(is_of_route("arg_x"))
        self.assertTrue(is_of_route("http_host"))
        for name in ("http_cookie", "cookie_a", "remote_addr", "request_method", "msec"):
            self.assertFalse(is_of_route(name), name)

    def test_template_follows_where_all_its_variables_do(self) -> None:
        """Captures too; *others* are granted."""

        def follows(text: str, *others: str) -> bool:
            return follows_route(compile_template(text, lambda name: lambda _: b""), set(others))

        self.assertTrue(follows("text"))
        self.assertTrue(follows("$scheme$host$1$arg_a"))
        self.assertFalse(follows("$uri$http_cookie"))
        self.assertFalse(follows("$uri$request_method"))
        self.assertTrue(follows("$uri$request_method", "request_method"))
