"""The directive table: every directive that is understood, one row each.

The rows stand in one module per concern; this one puts them together.
"""

from __future__ import annotations

from collections.abc import Mapping

from cacheproxy.config import (
    directives_access,
    directives_cache,
    directives_core,
    directives_gateways,
    directives_gzip,
    directives_http,
    directives_log,
    directives_proxy,
    directives_rewrite,
    directives_ssl,
    directives_upstream,
    directives_uwsgi,
)
from cacheproxy.config.table import Row

__all__ = ["LOCAL_TARGETS", "ROWS", "TABLE"]

#: Every row, grouped by concern.
ROWS: tuple[Row, ...] = (
    *directives_http.ROWS,
    *directives_upstream.ROWS,
    *directives_core.ROWS,
    *directives_rewrite.ROWS,
    *directives_access.ROWS,
    *directives_proxy.ROWS,
    *directives_cache.ROWS,
    *directives_uwsgi.ROWS,
    *directives_gateways.ROWS,
    *directives_gzip.ROWS,
    *directives_ssl.ROWS,
    *directives_log.ROWS,
)


def _by_name() -> Mapping[str, tuple[Row, ...]]:
    table: dict[str, tuple[Row, ...]] = {}
    for row in ROWS:
        table[row.name] = (*table.get(row.name, ()), row)
    return table


#: The rows by name: several where a name means something else in another context.
TABLE: Mapping[str, tuple[Row, ...]] = _by_name()

#: Destinations that an inner level does not inherit.
LOCAL_TARGETS = frozenset(row.target for row in ROWS if row.merge.name == "LOCAL")
