"""What a location answers with: ``try_files``, then ``proxy_pass``, a purge or files.

An exchange gets this module's ``serve`` from its ``Site``, because what is chosen
from here needs exchanges in turn.

Source: nginx ``ngx_http_try_files_module``, content phase.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cacheproxy.policy.options import TryFiles
from cacheproxy.proxy.answer import static
from cacheproxy.proxy.cache import lookup as caching
from cacheproxy.proxy.cache import purge_requests as purging
from cacheproxy.proxy.site.cache_key import holds
from cacheproxy.proxy.site.file_path import path_of, path_of_tried
from cacheproxy.proxy.slice.slicing import Slicing, applies
from cacheproxy.proxy.upstream import file_copy as store
from cacheproxy.proxy.upstream.relay import Relay

if TYPE_CHECKING:
    from cacheproxy.proxy.exchange.exchange import Exchange

__all__ = ["serve"]



def serve(exchange: Exchange) -> None:
    """Run the content phase of the exchange's location."""
    location = exchange.request.location
    path: bytes | None = None
    if location.core.try_files is not None:
        path = _try_files(exchange, location.core.try_files)
        if path is None:
            return
    if location.proxy.proxy_pass is None:
        static.serve(exchange, path)
    elif location.purge and not exchange.request.denied and holds(location.purge, exchange.request):
        purging.serve(exchange)
    elif location.proxy.slice and applies(exchange):
        Slicing(exchange).start()
    elif location.cache is not None:
        caching.serve(exchange)
    elif location.proxy.store:
        store.serve(exchange)
    else:
        Relay(exchange).start()


def _try_files(exchange: Exchange, directive: TryFiles) -> bytes | None:
    """The path of what was found, with ``$uri`` set to it; None where something else answers.

    A folder is found without the slash that the directive asks for it with: without one in
    the URI it is redirected to, as any folder is (nginx).
    """
    files = exchange.world.files
    for template, wants_directory in directive.files:
        name = template.render(exchange.request)
        found = path_of_tried(exchange.request, name, template.constant is not None)
        if found is None:
            continue
        path, uri = found
        if files.is_directory(path) if wants_directory else files.is_file(path):
            core = exchange.request.location.core
            if wants_directory and core.alias is not None and core.alias_length is None:
                # nginx: in a location given by an expression the alias names the folder
                return path_of(exchange.request, exchange.request.route.uri)
            exchange.request.set_uri(uri)
            return path
    if directive.status is not None:
        exchange.answer_status(directive.status)
    else:
        assert directive.uri is not None
        uri = directive.uri.render(exchange.request)
        if uri.startswith(b"@"):
            exchange.enter_named(uri)
        else:
            path, question, args = uri.partition(b"?")
            exchange.internal_redirect(path or b"/", args if question else None)
    return None
