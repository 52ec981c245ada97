"""``$time_local`` and ``$time_iso8601``: the local time in log lines, once a second.

The zone's offset comes from ``datetime``, which asks the system; no clock is read.
"""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache

__all__ = ["time_iso8601", "time_local", "utc_offset"]

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@lru_cache(maxsize=4)
def time_local(second: int) -> bytes:
    """``21/Nov/2026:07:00:00 +0000`` for a wall time in whole seconds."""
    now = datetime.fromtimestamp(second).astimezone()
    text = now.strftime("%d/{}/%Y:%H:%M:%S %z").format(_MONTHS[now.month - 1])
    return text.encode()


@lru_cache(maxsize=4)
def time_iso8601(second: int) -> bytes:
    """``2026-11-21T07:00:00+00:00`` for a wall time in whole seconds."""
    return datetime.fromtimestamp(second).astimezone().isoformat().encode()


@lru_cache(maxsize=4)
def utc_offset(second: int) -> float:
    """Seconds by which the local zone is east of UTC at a wall time in whole seconds."""
    offset = datetime.fromtimestamp(second).astimezone().utcoffset()
    return 0.0 if offset is None else offset.total_seconds()
