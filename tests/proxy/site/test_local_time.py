"""Local times of log lines."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

import os
import time

from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.proxy.site.local_time import time_iso8601, time_local, utc_offset


class CalendarTests(SynchronousTestCase):
    """In zones east and west of UTC."""

    def zone(self, name: str) -> None:
        """Live in *name* for this test."""
        before = os.environ.get("TZ")

        def restore() -> None:
            if before is None:
                del os.environ["TZ"]
            else:
                os.environ["TZ"] = before
            time.tzset()
            for function in (time_iso8601, time_local, utc_offset):
                function.cache_clear()

        self.addCleanup(restore)
        os.environ["TZ"] = name
        time.tzset()
        for function in (time_iso8601, time_local, utc_offset):
            function.cache_clear()

    def test_utc(self) -> None:
        """nginx's two forms."""
        self.zone("UTC")
        self.assertEqual(time_local(1_700_000_000), b"14/Nov/2023:22:13:20 +0000")
        self.assertEqual(time_iso8601(1_700_000_000), b"2023-11-14T22:13:20+00:00")
        self.assertEqual(utc_offset(1_700_000_000), 0)

    def test_elsewhere(self) -> None:
        """With the zone's offset, also in summer."""
        self.zone("Europe/Berlin")
        self.assertEqual(time_local(1_700_000_000), b"14/Nov/2023:23:13:20 +0100")
        self.assertEqual(utc_offset(1_690_000_000), 7200)
        self.zone("America/St_Johns")
        self.assertEqual(time_iso8601(1_700_000_000), b"2023-11-14T18:43:20-03:30")

    def test_months_are_not_translated(self) -> None:
        """Month names are English whatever the locale."""
        self.zone("UTC")
        names = {time_local(second)[3:6] for second in range(1_672_574_400, 1_704_000_000, 86400)}
        self.assertEqual(len(names), 12)
        self.assertIn(b"May", names)
