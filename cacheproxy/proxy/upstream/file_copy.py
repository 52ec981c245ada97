"""``proxy_store``: write the bodies of relayed responses to plain files.

A ``FileStore`` writes the body of a complete 200 response to GET to the file that the URI
(``root``, ``alias``) or the directive's text names. Fields are not stored, and no field of
the response decides whether it is stored; the operator does.

Unlike nginx, which stores the response to any method, only responses to GET without content
are stored, since the file answers later GETs (RFC 9110 §9.3.1). A path with a ``..`` segment,
which text with variables can render to, is not written.

Source: nginx ``ngx_http_upstream_store``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cacheproxy.errors import UpstreamError
from cacheproxy.http.messages import ResponseHead
from cacheproxy.http.syntax import parse_http_date
from cacheproxy.proxy.answer.other_location import has_accel_redirect
from cacheproxy.proxy.site.file_path import path_of
from cacheproxy.proxy.upstream.relay import Relay
from cacheproxy.proxy.upstream.response_taker import FailureVerdict, RelayedResponse, Verdict
from cacheproxy.template import Template

if TYPE_CHECKING:
    from cacheproxy.proxy.exchange.exchange import Exchange

__all__ = ["FileStore", "serve"]


def serve(exchange: Exchange) -> None:
    """Relay the request, and have its response stored."""
    Relay(exchange, FileStore(exchange) if _is_get(exchange) else None).start()


def _is_get(exchange: Exchange) -> bool:
    method = exchange.request.location.proxy.method
    return (
        exchange.request.method == b"GET"
        and not exchange.request.head.body_length
        and (method is None or method.render(exchange.request).upper() == b"GET")
    )


class FileStore:
    """One response's way to a file (``ResponseTaker``)."""

    __slots__ = ("_exchange",)

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    @property
    def converts_head(self) -> bool:
        return False

    @property
    def answers_conditions(self) -> bool:
        return False

    @property
    def fills(self) -> bool:
        return True

    def on_response(self, relayed: RelayedResponse, head: ResponseHead) -> Verdict:
        """Begin to store what is to be stored; the response goes on, if there is a client."""
        exchange = self._exchange
        delivery = relayed.delivery
        assert delivery is not None
        path = self._path() if self._wanted(head) else None
        if path is not None:
            proxy = exchange.request.location.proxy
            modified = head.fields.get(b"last-modified")
            writer = exchange.world.store_file(
                path,
                proxy.store_access,
                None if modified is None else parse_http_date(modified),
                proxy.temp_path,
                lambda problem: exchange.log_error("crit", problem),
            )
            delivery.store_to(writer)
        if exchange.lost:
            delivery.client_done = True
            return Verdict.BEGUN
        return Verdict.PASS_ON

    def _wanted(self, head: ResponseHead) -> bool:
        return head.status == 200 and not has_accel_redirect(self._exchange, head)

    def _path(self) -> bytes | None:
        """Where to; None where nothing can be stored."""
        exchange = self._exchange
        store = exchange.request.location.proxy.store
        if isinstance(store, Template):
            path: bytes | None = store.render(exchange.request)
        else:
            path = path_of(exchange.request, exchange.request.route.uri)
        if not path:
            return None
        problem = ""
        if path.endswith(b"/"):
            problem = "it names a folder"
        elif b".." in path.split(b"/") or b"\0" in path:
            problem = "its path is not plain"
        if problem:
            name = path.decode("utf-8", "replace")
            exchange.log_error("warn", f'response is not stored in "{name}": {problem}')
            return None
        return path

    def on_failure(self, problem: UpstreamError | None) -> FailureVerdict:
        return FailureVerdict.ERROR

    def on_fill_end(self, complete: bool) -> None:
        """Nobody waits for it."""
