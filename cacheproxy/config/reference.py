"""The table of directives for the documentation, made from the directive table.

``python -m cacheproxy.config.reference > docs/directives.rst`` writes it anew.

Imports: ``directives``, ``model``, ``table``, ``policy.options``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from cacheproxy.config.directives import ROWS
from cacheproxy.config.model import CacheZone, Server, SslOptions, Upstream
from cacheproxy.config.table import MANY, Context, Merge, Row
from cacheproxy.policy.options import (
    CacheOptions,
    CoreOptions,
    GzipOptions,
    ProxyOptions,
    ProxySsl,
)

__all__ = ["directives_rst"]

_RECORDS: dict[str, type] = {
    "core": CoreOptions,
    "proxy": ProxyOptions,
    "proxy_ssl": ProxySsl,
    "cache": CacheOptions,
    "gzip": GzipOptions,
    "server": Server,
    "ssl": SslOptions,
    "upstream": Upstream,
    "zone": CacheZone,
}

#: Defaults that follow from other settings, or that a record cannot show.
_DEFAULTS = {
    "root": "html",
    "index": "index.html",
    "types": "html, gif, jpg",
    "error_log": "stderr",
    "access_log": "off",
    "listen": "*:80",
    "server_name": '""',
    "proxy_redirect": "default",
    "proxy_cache_key": "$scheme$proxy_host$http_host$request_uri",
    "proxy_busy_buffers_size": "twice the larger buffer",
    "proxy_temp_file_write_size": "twice the larger buffer",
    "proxy_cache": "off",
    "charset": "off",
    "expires": "off",
    "worker_processes": "1",
    "proxy_method": "the client's",
    "proxy_ssl_name": "$proxy_host",
    "proxy_pass_header": "",
    "internal": "",
    "max_ranges": "no limit",
    "gzip_http_version": "1.1",
}

_SIZES = ("size", "max_temp_file_size")

_HEAD = """\
Directives
==========

Every directive that is understood. The meaning of each is nginx's; a note says
where something is particular. A directive that is not in these tables is an
error that names its file and line.

In *Where*, M is the top of the file, E ``events``, H ``http``, S ``server``, L
``location``, U ``upstream``, X ``limit_except`` and I ``if``. *Inherited* says what a level
has that does not use the directive: ``value``, the one of the level around it; ``list``, the
whole list of the level around it, if it adds nothing to it itself; ``no``, nothing.

``include`` may stand anywhere. ``mime.types``, ``proxy_params`` and ``uwsgi_params`` may be
included where no such file exists: then bundled ones are used, with a warning.

Each ``uwsgi_*`` directive means for ``uwsgi_pass`` what the ``proxy_*`` one of its name means
for ``proxy_pass``. What levels inherit of the two is kept apart.
"""

_ACCEPTED_HEAD = """\
Accepted without effect
-----------------------

These have no meaning here, or request what cacheproxy always does. They are
accepted so that an existing configuration can be used unchanged.
"""

_REFUSED_HEAD = """\
Refused
-------

These ask for what cannot be had here. The error says so, and what to write instead.
"""

_LETTERS = {
    Context.MAIN: "M",
    Context.EVENTS: "E",
    Context.HTTP: "H",
    Context.SERVER: "S",
    Context.LOCATION: "L",
    Context.UPSTREAM: "U",
    Context.LIMIT_EXCEPT: "X",
    Context.SERVER_IF: "I",
    Context.LOCATION_IF: "I",
}
_INHERITED = {Merge.SINGLE: "value", Merge.LIST: "list", Merge.LOCAL: "no", Merge.GLOBAL: "no"}


def directives_rst() -> str:
    """The whole page, in reStructuredText."""
    served = sorted((r for r in ROWS if not (r.without_effect or r.refused)), key=_order)
    accepted = sorted((row for row in ROWS if row.without_effect), key=_order)
    parts = [_HEAD, "Supported\n---------\n"]
    parts.append(
        _table(
            ("Directive", "Where", "Arguments", "Default", "Inherited", "Notes"),
            (
                (
                    f"``{row.name}``",
                    _where(row),
                    _arity(row),
                    _default(row),
                    _INHERITED[row.merge],
                    row.note,
                )
                for row in served
            ),
        )
    )
    parts.append(_ACCEPTED_HEAD)
    parts.append(
        _table(
            ("Directive", "Where", "Why"),
            ((f"``{row.name}``", _where(row), row.note) for row in accepted),
        )
    )
    refused = sorted((row for row in ROWS if row.refused), key=_order)
    parts.append(_REFUSED_HEAD)
    parts.append(
        _table(
            ("Directive", "Where", "Instead"),
            ((f"``{row.name}``", _where(row), row.note) for row in refused),
        )
    )
    return "\n".join(parts)


def _order(row: Row) -> tuple[str, int]:
    return row.name, row.contexts.value


def _where(row: Row) -> str:
    return "".join(letter for context, letter in _LETTERS.items() if context & row.contexts)


def _arity(row: Row) -> str:
    least, most = row.arity
    count = f"{least}-{most}"
    if least == most:
        count = str(least)
    elif most >= MANY:
        count = f"{least} or more"
    if row.block:
        return f"{count} and a block" if most else "a block"
    return count


def _default(row: Row) -> str:
    name = row.name.replace("uwsgi_", "proxy_")
    if name in _DEFAULTS and Context.UPSTREAM not in row.contexts:
        text = _DEFAULTS[name]
        return f"``{text}``" if text else ""
    record, _, attribute = row.target.partition(".")
    if record not in _RECORDS:
        return ""
    for field in dataclasses.fields(_RECORDS[record]):
        if field.name == attribute:
            text = _shown(row, field)
            return f"``{text}``" if text else ""
    return ""


def _shown(row: Row, field: dataclasses.Field[object]) -> str:
    value = field.default
    if value is dataclasses.MISSING or value is None or value == "":
        return ""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:g}s"
    if isinstance(value, int):
        return _size(value) if row.name.endswith(_SIZES) else str(value)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, frozenset):
        words = sorted(word.decode() if isinstance(word, bytes) else str(word) for word in value)
        return " ".join(words)
    if isinstance(value, tuple):
        if len(value) == 2 and all(isinstance(item, int) for item in value):
            return f"{value[0]} {_size(value[1])}"
        return ""
    return str(value)


def _size(size: int) -> str:
    for letter, shift in (("g", 30), ("m", 20), ("k", 10)):
        if size and size % (1 << shift) == 0:
            return f"{size >> shift}{letter}"
    return str(size)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in (head, *rows):
        for position, cell in enumerate(row):
            lines.append(f"   {'* -' if position == 0 else '  -'} {cell}".rstrip())
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(directives_rst(), end="")
