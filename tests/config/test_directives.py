"""The table as a whole."""

from __future__ import annotations

import dataclasses

from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.config.directives import LOCAL_TARGETS, ROWS, TABLE
from cacheproxy.config.directives_rewrite import INSTRUCTIONS
from cacheproxy.config.model import Server, SslOptions, Upstream
from cacheproxy.policy.options import (
    CacheOptions,
    CoreOptions,
    GzipOptions,
    ProxyOptions,
    ProxySsl,
)

RECORDS: dict[str, type] = {
    "core": CoreOptions,
    "proxy": ProxyOptions,
    "proxy_ssl": ProxySsl,
    "cache": CacheOptions,
    "gzip": GzipOptions,
    "server": Server,
    "upstream": Upstream,
    "ssl": SslOptions,
}


class TableTests(SynchronousTestCase):
    """Every row is consistent with the records and with the others."""

    def test_destinations_exist(self) -> None:
        """A row fills an attribute that exists."""
        for row in ROWS:
            record, _, attribute = row.target.partition(".")
            # the pairs of certificate and key are put together afterwards
            if record in RECORDS and row.name not in ("ssl_certificate", "ssl_certificate_key"):
                names = {field.name for field in dataclasses.fields(RECORDS[record])}
                self.assertIn(attribute, names, row.name)

    def test_one_row_per_name_and_context(self) -> None:
        """No two rows answer for one name in one context."""
        for name, rows in TABLE.items():
            for index, row in enumerate(rows):
                for other in rows[index + 1 :]:
                    self.assertFalse(row.contexts & other.contexts, name)

    def test_rows_without_effect_say_why(self) -> None:
        """What is accepted and ignored has its reason in the table."""
        for row in ROWS:
            if row.without_effect:
                self.assertTrue(row.note, row.name)

    def test_handlers_are_not_inherited(self) -> None:
        """What answers a request holds in its own location only (nginx's content handlers)."""
        self.assertTrue(
            {"proxy.proxy_pass", INSTRUCTIONS, "core.try_files", "core.internal"} <= LOCAL_TARGETS
        )
