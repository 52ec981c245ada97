"""Purges that a zone remembers, so that no answer from before one is stored after it.

A response may be asked for before a purge and come after it: what it says may be what
the purge is to remove. The zone refuses to store it. Purges are remembered for
``RECENT_TIME`` and up to ``RECENT_LIMIT``; of those that are forgotten the time of the
last is kept, and everything asked for before that is refused, whatever it is.

Runs in the reactor thread. Imports: ``policy``.
"""

from __future__ import annotations

from cacheproxy.policy.purge import ByHost, ByKey, ByPrefix, ByTags, Selection
from cacheproxy.policy.stored import StoredResponse
from cacheproxy.policy.tags import TagLimitError, tags_of

__all__ = ["RecentPurges"]

#: Seconds for which a purge is remembered by what it selects.
RECENT_TIME = 600.0
#: Keys, prefixes, hosts and tags remembered.
RECENT_LIMIT = 10_000
#: A step back of the wall clock by more than this is made up for, in seconds.
CLOCK_STEP = 1.0

_KEY, _PREFIX, _HOST, _TAG = range(4)


class RecentPurges:
    """What was purged when, by wall time: that of responses' ``request_time``."""

    __slots__ = ("_forgotten", "_lengths", "_marks", "_offset")

    def __init__(self) -> None:
        #: (kind, value) → when it was purged last; the longest ago first.
        self._marks: dict[tuple[int, bytes], float] = {}
        #: How many of them are prefixes of each length.
        self._lengths: dict[int, int] = {}
        #: Whatever was asked for until then is refused.
        self._forgotten = float("-inf")
        self._offset = float("-inf")

    def note(self, selection: Selection, wall: float, monotonic: float) -> None:
        """Remember a purge that is asked for now."""
        mark = self._mark(wall, monotonic)
        if isinstance(selection, ByKey):
            self._add((_KEY, selection.primary), mark)
        elif isinstance(selection, ByPrefix):
            self._add((_PREFIX, selection.prefix), mark)
        elif isinstance(selection, ByHost):
            self._add((_HOST, selection.host), mark)
        elif isinstance(selection, ByTags):
            for tag in selection.tags:
                self._add((_TAG, tag), mark)
        else:
            self._marks.clear()
            self._lengths.clear()
            self._forgotten = mark
        self._forget(mark - RECENT_TIME)

    def _mark(self, wall: float, monotonic: float) -> float:
        """*wall*, or what it would be had the clock not been set back: times before were later."""
        offset = wall - monotonic
        if offset > self._offset - CLOCK_STEP:
            self._offset = offset
            return wall
        return monotonic + self._offset

    def _add(self, item: tuple[int, bytes], mark: float) -> None:
        if self._marks.pop(item, None) is None and item[0] == _PREFIX:
            length = len(item[1])
            self._lengths[length] = self._lengths.get(length, 0) + 1
        self._marks[item] = mark

    def _forget(self, before: float) -> None:
        marks = self._marks
        while marks:
            item, mark = next(iter(marks.items()))
            if mark >= before and len(marks) <= RECENT_LIMIT:
                return
            del marks[item]
            self._forgotten = max(self._forgotten, mark)
            if item[0] == _PREFIX:
                length = len(item[1])
                self._lengths[length] -= 1
                if not self._lengths[length]:
                    del self._lengths[length]

    def took(self, primary: bytes, stored: StoredResponse) -> bool:
        """Whether a purge took *stored* since it was asked for."""
        asked = stored.request_time
        if asked < self._forgotten:
            return True
        marks = self._marks
        if not marks:
            return False
        key = stored.key
        items = [(_KEY, primary), (_HOST, stored.host)]
        items += [(_PREFIX, key[:length]) for length in self._lengths if length <= len(key)]
        try:
            items += [(_TAG, tag) for tag in tags_of(stored.fields)]
        except TagLimitError:
            return True
        return any(asked < marks.get(item, asked) for item in items)
