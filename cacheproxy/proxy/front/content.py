"""What a location answers with: ``try_files``, then ``proxy_pass``, a purge or files.

Source: nginx ``ngx_http_try_files_module``, content phase.
Imports: ``http``, ``proxy`` below it.
"""

from __future__ import annotations

from cacheproxy.proxy.answer import static
from cacheproxy.proxy.cache import lookup as caching
from cacheproxy.proxy.cache import purge_requests as purging
from cacheproxy.proxy.exchange.exchange import Exchange
from cacheproxy.proxy.site.conditions import holds
from cacheproxy.proxy.site.file_path import path_of, path_of_tried
from cacheproxy.proxy.site.phases import Phase, Progress
from cacheproxy.proxy.site.site import CompiledLocation
from cacheproxy.proxy.slice.slicing import Slicing, applies
from cacheproxy.proxy.upstream import file_copy as store
from cacheproxy.proxy.upstream.relay import Relay

__all__ = ["content_phases", "try_files"]

# Read for every request; looking a member up in an enumeration is slow.
_GO_ON = Progress.GO_ON
_ANSWERED = Progress.ANSWERED


def content_phases(location: CompiledLocation) -> tuple[Phase, ...]:
    """What may answer a request in *location*, in the order in which it is asked."""
    if location.proxy.proxy_pass is None:
        return (_file,)
    phases: list[Phase] = []
    if location.purge:
        phases.append(_purge)
    if location.proxy.slice:
        phases.append(_slices)
    if location.cache is not None:
        phases.append(_cache)
    elif location.proxy.store:
        phases.append(_stored_copy)
    else:
        phases.append(_relay)
    return tuple(phases)


def _file(exchange: Exchange) -> Progress:
    """``root`` and ``alias``."""
    static.serve(exchange, exchange.request.tried_path)
    return _ANSWERED


def _purge(exchange: Exchange) -> Progress:
    """``proxy_cache_purge``."""
    request = exchange.request
    if request.denied or not holds(request.location.purge, request):
        return _GO_ON
    purging.serve(exchange)
    return _ANSWERED


def _slices(exchange: Exchange) -> Progress:
    """``slice``."""
    if not applies(exchange):
        return _GO_ON
    Slicing(exchange).start()
    return _ANSWERED


def _cache(exchange: Exchange) -> Progress:
    """``proxy_cache``."""
    caching.serve(exchange)
    return _ANSWERED


def _stored_copy(exchange: Exchange) -> Progress:
    """``proxy_store``."""
    store.serve(exchange)
    return _ANSWERED


def _relay(exchange: Exchange) -> Progress:
    """``proxy_pass`` alone."""
    Relay(exchange).start()
    return _ANSWERED


def try_files(exchange: Exchange) -> Progress:
    """``try_files``: the content phase goes on here, with ``$uri`` set to the file found.

    A folder is found without the slash that the directive asks for it with: without one in
    the URI it is redirected to, as any folder is (nginx).
    """
    directive = exchange.request.location.core.try_files
    assert directive is not None
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
                request = exchange.request
                request.note_tried_path(path_of(request, request.route.uri))
                return _GO_ON
            exchange.request.set_uri(uri)
            exchange.request.note_tried_path(path)
            return _GO_ON
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
    return _ANSWERED
