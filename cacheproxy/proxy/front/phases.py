"""The front of a site: the phases of each location, and the answers that other rooms make.

An exchange and a site know nothing of what stands above them. They reach it through the
``Front`` that the site was given: which phases a location has, in nginx's order (``return``,
``rewrite``, ``set_real_ip_from``, ``allow`` and ``deny``, ``auth_basic``, ``try_files``, content),
and how errors and redirects are answered.

Source: nginx ``ngx_http_core_module`` phases.
Imports: ``proxy`` below it.
"""

from __future__ import annotations

from cacheproxy.http.fields import Pairs
from cacheproxy.proxy.answer.answers import answer_error, answer_redirect, answer_return
from cacheproxy.proxy.exchange.exchange import Exchange
from cacheproxy.proxy.front.content import content_phases, try_files
from cacheproxy.proxy.front.passwords import access_or_password, ask_password, deny
from cacheproxy.proxy.front.rewriting import rewrite_in_location, rewrite_in_server
from cacheproxy.proxy.site.phases import Phase, Progress
from cacheproxy.proxy.site.site import CompiledLocation, Front, Route

__all__ = ["FRONT", "ProxyFront"]


class ProxyFront:
    """What answers the requests of every site (``Front``)."""

    __slots__ = ()

    def phases(self, location: CompiledLocation) -> tuple[Phase, ...]:
        """Those that *location* has, in their order; the last of them always answers."""
        core = location.core
        phases: list[Phase] = []
        if core.return_ is not None:
            phases.append(_return)
        here, server = location.location, location.server.server
        if here.instructions and here is not server.root:
            # As in nginx those of a server's own level run before a location is looked for.
            phases.append(rewrite_in_location)
        if location.real_ip is not None:
            phases.append(_real_ip)
        asks = core.auth_basic is not None and core.auth_basic_user_file is not None
        if location.access is not None:
            either = asks and core.satisfy == "any"
            phases.append(access_or_password if either else _access)
            asks = asks and not either
        if asks:
            phases.append(ask_password)
        if core.try_files is not None:
            phases.append(try_files)
        return (*phases, *content_phases(location))

    def answer_status(self, exchange: Exchange, status: int, extra: Pairs | None) -> None:
        """Answer with *status* through ``error_page``, or with a page made here."""
        answer_error(exchange, status, extra)

    def redirect(self, exchange: Exchange, status: int, location: bytes) -> None:
        """Answer with a redirect to *location*."""
        answer_redirect(exchange, status, location)

    def enter_server(self, exchange: Exchange, route: Route) -> None:
        """What a server does before a location is looked for: ``set_real_ip_from``, ``rewrite``."""
        server = route.server
        if server.real_ip is not None:
            exchange.request.find_real_peer(server.real_ip)
        if server.rewrites:
            captures = exchange.site.server_of(route.host)[1]
            exchange.request.adopt(
                Route(server, server.root, route.host, route.uri, route.target, captures, None)
            )
            rewrite_in_server(exchange)
        else:
            exchange.enter(route)

    def rewrite_in_server(self, exchange: Exchange) -> None:
        """Carry out the instructions of the server's own level, then enter a location."""
        rewrite_in_server(exchange)


#: It has no state, so that all sites share it.
FRONT: Front[Exchange] = ProxyFront()


def _return(exchange: Exchange) -> Progress:
    """``return``."""
    directive = exchange.request.location.core.return_
    assert directive is not None
    answer_return(exchange, directive)
    return Progress.ANSWERED


def _real_ip(exchange: Exchange) -> Progress:
    """``set_real_ip_from``, where the location's is not its server's."""
    request = exchange.request
    real_ip = request.location.real_ip
    assert real_ip is not None
    request.find_real_peer(real_ip)
    return Progress.GO_ON


def _access(exchange: Exchange) -> Progress:
    """``allow`` and ``deny``."""
    access = exchange.request.location.access
    assert access is not None
    if access.allows(exchange.request.remote_host):
        return Progress.GO_ON
    exchange.log_error("error", "access forbidden by rule")
    return deny(exchange)
