"""How each directive concerns the fast path, which answers from ready bytes (``proxy.front``).

The fast path runs no phase and makes no exchange. So every directive says here why an answer
that is ready may be sent in spite of it, or which settings of it rule that out. What says
nothing is ``Hot.NO``: a location with it is served by the general path alone, until
somebody has thought about it. ``hot_obstacles`` is the only judge of a location.

Imports: ``policy``, ``model``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

from cacheproxy.config.model import Location
from cacheproxy.policy.keep_alive import SAFARI
from cacheproxy.policy.options import CoreOptions
from cacheproxy.policy.route_variables import (
    HIT_VARIABLES,
    ROUTE_VARIABLES,
    follows_route,
    is_of_route,
)
from cacheproxy.template import Template

__all__ = ["FAST_PATH", "Hot", "OnlyIf", "hot_obstacles", "rule_of"]


class Hot(Enum):
    """Why a directive need not keep a location from the fast path; ``NO``: it does."""

    #: A phase that must run for every request, or nobody has thought about it.
    NO = "no"
    #: It is about something before, beside or after an answer from memory: what is
    #: asked of origins, what is stored and for how long, what is stale, other
    #: methods, conditional and range requests, which all go the general way.
    UNAFFECTED = "has no effect on an answer that is ready"
    #: It is in the bytes, which are made by the general path's own functions once a second.
    RENDERED = "is in the ready bytes"
    #: It decides which requests share a ready answer (``Traits``, ``SelectionRules``).
    SELECTS = "is part of what a ready answer is found by"
    #: The fast path looks at it for each request, or the method leads past it.
    CHECKED = "is looked at for every request"


@dataclass(frozen=True)
class OnlyIf:
    """A location may answer hot if *holds* of it, and of the options of the address's default."""

    holds: Callable[[Location, CoreOptions], bool]


def _proxied(location: Location) -> bool:
    return location.proxy.proxy_pass is not None


def _key_is_of_route(location: Location, default: CoreOptions) -> bool:
    key = location.cache.key
    return key is None or not _proxied(location) or follows_route(key)


def _folder_is_of_route(location: Location, default: CoreOptions) -> bool:
    core = location.core
    folder = core.root if core.alias is None else core.alias
    return _proxied(location) or (folder is not None and follows_route(folder))


def _known_of_hits(template: Template | None) -> bool:
    known = ROUTE_VARIABLES | HIT_VARIABLES
    return template is None or template.variables <= known


def _adds_what_is_known(location: Location, default: CoreOptions) -> bool:
    return all(_known_of_hits(header.value) for header in location.core.add_header)


def _charset_is_known(location: Location, default: CoreOptions) -> bool:
    return _known_of_hits(location.core.charset)


def _expires_by_what_is_known(location: Location, default: CoreOptions) -> bool:
    expires = location.core.expires
    return expires is None or _known_of_hits(expires.template)


def _is_passed_to_one_place(location: Location, default: CoreOptions) -> bool:
    target = location.proxy.proxy_pass
    return target is None or target.template is None


def _has_one_zone(location: Location, default: CoreOptions) -> bool:
    return not isinstance(location.cache.cache, Template)


def _never_bypasses(location: Location, default: CoreOptions) -> bool:
    return not _proxied(location) or not location.cache.bypass


def _route_decides_purges(location: Location, default: CoreOptions) -> bool:
    # What was no purge once is none at any GET with this route.
    return not _proxied(location) or all(map(is_of_route, location.cache.purge_reads))


def _stores_nothing(location: Location, default: CoreOptions) -> bool:
    return not _proxied(location) or not location.proxy.store


def _has_no_slices(location: Location, default: CoreOptions) -> bool:
    return not location.proxy.slice


def _compresses_for_any_agent(location: Location, default: CoreOptions) -> bool:
    return not location.gzip.gzip or not location.gzip.disable


def _keeps_connections(location: Location, default: CoreOptions) -> bool:
    # The ready bytes say that the connection is kept.
    return location.core.keepalive_timeout > 0


def _keeps_connections_of_safari(location: Location, default: CoreOptions) -> bool:
    # Old Internet Explorer, the other browser there is, loses its connection after a POST only.
    return SAFARI not in location.core.keepalive_disable


def _has_the_send_timeout_of_connections(location: Location, default: CoreOptions) -> bool:
    # A connection without an exchange waits for its client by the default server's.
    return location.core.send_timeout == default.send_timeout


_GROUPS: tuple[tuple[Hot | OnlyIf, str], ...] = (
    (
        # Phases that must run, or that answer in another way than from files or memory.
        Hot.NO,
        "add_trailer auth_basic auth_basic_user_file break if internal return rewrite set "
        "try_files",
    ),
    (
        # Of the process, of listening, of names that other directives use.
        Hot.UNAFFECTED,
        """
        error_log events geo http listen location log_format map pid
        proxy_cache_path server server_name upstream user worker_processes
        worker_shutdown_timeout
        """,
    ),
    (
        # How connections and heads are read, before there is a request.
        Hot.UNAFFECTED,
        """
        client_header_buffer_size client_header_timeout ignore_invalid_headers keepalive_time
        large_client_header_buffers max_headers merge_slashes ssl_buffer_size ssl_certificate
        ssl_certificate_key ssl_ciphers ssl_conf_command ssl_dhparam ssl_ecdh_curve
        ssl_password_file ssl_prefer_server_ciphers ssl_protocols ssl_session_cache
        ssl_session_ticket_key ssl_session_tickets ssl_session_timeout underscores_in_headers
        """,
    ),
    (
        # Request bodies, errors and redirects made here, bodies of unknown length, and what
        # conditional requests get: the general path's.
        Hot.UNAFFECTED,
        """
        absolute_redirect rewrite_log chunked_transfer_encoding client_body_buffer_size
        client_body_temp_path client_body_timeout client_max_body_size error_page
        if_modified_since index lingering_close lingering_time lingering_timeout log_not_found
        port_in_redirect recursive_error_pages server_name_in_redirect satisfy
        """,
    ),
    (
        # What origins are asked, and how their answers are read.
        Hot.UNAFFECTED,
        """
        proxy_buffer_size proxy_buffering proxy_buffers proxy_busy_buffers_size
        proxy_connect_timeout proxy_cookie_domain proxy_cookie_flags proxy_cookie_path
        proxy_http_version proxy_ignore_client_abort
        proxy_intercept_errors proxy_max_temp_file_size proxy_method proxy_next_upstream
        proxy_next_upstream_timeout proxy_next_upstream_tries proxy_pass_request_body
        proxy_pass_request_headers proxy_read_timeout proxy_redirect proxy_request_buffering
        proxy_send_timeout proxy_set_body proxy_socket_keepalive proxy_ssl_certificate
        proxy_ssl_certificate_key proxy_ssl_ciphers proxy_ssl_crl proxy_ssl_name
        proxy_ssl_protocols proxy_ssl_server_name proxy_ssl_session_reuse
        proxy_ssl_trusted_certificate proxy_ssl_verify proxy_ssl_verify_depth
        proxy_store_access proxy_temp_file_write_size proxy_temp_path proxy_websocket
        uwsgi_modifier1 uwsgi_modifier2
        """,
    ),
    (
        # What is stored, for how long, and what becomes of it when it is stale.
        Hot.UNAFFECTED,
        """
        proxy_cache_background_update proxy_cache_convert_head proxy_cache_deception_armor
        proxy_cache_heuristic proxy_cache_lock proxy_cache_lock_age proxy_cache_lock_timeout
        proxy_cache_max_range_offset proxy_cache_methods proxy_cache_min_uses
        proxy_cache_revalidate proxy_cache_use_stale proxy_cache_valid proxy_ignore_headers
        proxy_no_cache
        """,
    ),
    (
        Hot.RENDERED,
        """
        charset_types default_type etag gzip gzip_buffers gzip_comp_level
        gzip_http_version gzip_min_length gzip_proxied gzip_types gzip_vary max_ranges
        proxy_cache_status proxy_force_ranges proxy_hide_header proxy_pass_header
        server_tokens types
        """,
    ),
    (
        Hot.SELECTS,
        "proxy_cache_cookies proxy_cache_ignore_args proxy_cache_sort_args proxy_set_header "
        "uwsgi_param",
    ),
    (
        Hot.CHECKED,
        "access_log allow deny keepalive_requests limit_except real_ip_header "
        "real_ip_recursive set_real_ip_from",
    ),
    (OnlyIf(_adds_what_is_known), "add_header"),
    (OnlyIf(_charset_is_known), "charset"),
    (OnlyIf(_expires_by_what_is_known), "expires"),
    (OnlyIf(_folder_is_of_route), "alias root"),
    (OnlyIf(_is_passed_to_one_place), "proxy_pass"),
    (OnlyIf(_has_one_zone), "proxy_cache"),
    (OnlyIf(_key_is_of_route), "proxy_cache_key"),
    (OnlyIf(_never_bypasses), "proxy_cache_bypass"),
    (OnlyIf(_route_decides_purges), "proxy_cache_purge"),
    (OnlyIf(_stores_nothing), "proxy_store"),
    (OnlyIf(_has_no_slices), "slice"),
    (OnlyIf(_compresses_for_any_agent), "gzip_disable"),
    (OnlyIf(_keeps_connections), "keepalive_timeout"),
    (OnlyIf(_keeps_connections_of_safari), "keepalive_disable"),
    (OnlyIf(_has_the_send_timeout_of_connections), "send_timeout"),
)

#: The rule of every directive that has an effect, apart from those that stand in ``upstream``
#: alone: they are never in force in a location. A twin has the rule of its original.
FAST_PATH: Mapping[str, Hot | OnlyIf] = MappingProxyType(
    {name: rule for rule, names in _GROUPS for name in names.split()}
)


def rule_of(name: str, without_effect: bool) -> Hot | OnlyIf:
    """How the directive *name* concerns the fast path; ``Hot.NO`` where that is not said."""
    return Hot.UNAFFECTED if without_effect else FAST_PATH.get(name, Hot.NO)


def hot_obstacles(location: Location, default: CoreOptions) -> tuple[str, ...]:
    """The directives that keep *location* from the fast path, in the order of their names.

    *default* are the options of the listening address's default server: its connections
    go by them while they have no exchange.
    """
    found = set(location.never_hot)
    for name, rule in FAST_PATH.items():
        if isinstance(rule, OnlyIf) and not rule.holds(location, default):
            found.add(name)
    return tuple(sorted(found))
