"""Periodic maintenance of a zone: recording uses, culling, orphans, the filter of digests.

Every ``INTERVAL`` seconds one round is queued behind the zone's writes. Culling keeps within
the limits of ``manager_*``; reading the zone after a start within those of ``loader_*``
(``storage.upkeep.background_work``).

A use of an entry in memory is written to the index at most once in ``TOUCH_SHARE`` of
``inactive``, so that a hit costs no write. Uses of larger bodies, which memory does not hold,
are written once a round. Culling asks for the uses that are not written yet (``last_use``),
and what it removes from disk leaves memory in the same round.

Source: nginx's cache manager and loader processes, ``proxy_cache_path``. Runs in the
reactor thread, apart from the disk's own methods.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

from cacheproxy.config.model import CacheZone
from cacheproxy.errors import StorageError
from cacheproxy.proxy.interfaces import Cancellable
from cacheproxy.storage.disk.disk import CULL_STEP, SWEEP_STEP
from cacheproxy.storage.disk.purge_steps import PURGE_STEP
from cacheproxy.storage.disk.queue import DiskQueue
from cacheproxy.storage.memory.memory import Memory
from cacheproxy.storage.upkeep.background_work import BackgroundWork, WorkLimits
from cacheproxy.storage.upkeep.digest_filter import DigestFilter

__all__ = ["INTERVAL", "Maintenance"]

#: Seconds between two rounds.
INTERVAL = 5.0
#: Uses of one entry are written down once in this part of ``inactive`` …
TOUCH_SHARE = 20
#: … or in so many seconds, whichever is shorter.
TOUCH_MOST = 60.0
#: Uses noted before a round is brought forward.
NOTED_LIMIT = 10_000
#: Uses written in one transaction.
TOUCH_STEP = 500
#: Rows read in one step of loading the filter.
LOAD_STEP = 2000
#: Rows read for the filter that count as one file of ``loader_files``: none is opened for
#: them, and at one each a zone of a million entries would take ten minutes.
ROWS_A_FILE = 20
#: Rows of an older version labelled in one step.
LABEL_STEP = 200
#: Pages of the index given back in one step.
COMPACT_STEP = 100
#: Of work that is not to wait, but for the writes before each step.
_UNPACED = WorkLimits(1 << 62, float("inf"), 0.0)
#: How many more entries than it has now a new filter is made for.
GROWTH = 2


class Maintenance:
    """Background work of one zone."""

    def __init__(
        self,
        disk_queue: DiskQueue,
        memory: Memory,
        config: CacheZone,
        finishing: Collection[bytes],
    ) -> None:
        #: Digests whose stores are not on disk yet, kept current by the zone.
        self._finishing = finishing
        self._disk_queue = disk_queue
        self._memory = memory
        self._config = config
        self._noted: dict[bytes, None] = {}
        self._timer: Cancellable | None = None
        self._stopped = False
        self._collected_at = disk_queue.scheduler.wall()
        disk = disk_queue.disk
        disk.last_use = self.last_use
        manager = WorkLimits(config.manager_files, config.manager_threshold, config.manager_sleep)
        loader = WorkLimits(config.loader_files, config.loader_threshold, config.loader_sleep)
        self._excess = BackgroundWork(disk_queue, manager, CULL_STEP, disk.cull_excess)
        self._inactive = BackgroundWork(
            disk_queue,
            manager,
            CULL_STEP,
            lambda limit: disk.cull_inactive(self._culled_at, limit),
            self._culled_inactive,
        )
        self._sweep = BackgroundWork(disk_queue, loader, SWEEP_STEP, disk.sweep_step)
        self._label = BackgroundWork(disk_queue, loader, LABEL_STEP, disk.label_step)
        rows = WorkLimits(
            config.loader_files * ROWS_A_FILE, config.loader_threshold, config.loader_sleep
        )
        self._loader = BackgroundWork(disk_queue, rows, LOAD_STEP, self._load_step, self._loaded)
        self._compact = BackgroundWork(disk_queue, manager, COMPACT_STEP, disk.compact_step)
        #: What was being purged when the last process ended is not found, but still there.
        self._purge_left = BackgroundWork(disk_queue, _UNPACED, PURGE_STEP, disk.purge_left_step)
        self._culled_at = 0.0
        #: Complete, and so allowed to say that a digest is absent.
        self._filter: DigestFilter | None = None
        self._loading: DigestFilter | None = None
        #: The row that was loaded last.
        self._after = 0
        #: Digests stored while the filter is being loaded.
        self._recent: list[bytes] = []

    # -- life ----------------------------------------------------------------

    def start(self) -> None:
        """Begin; the first round comes soon, for what became inactive while nobody ran."""
        self._purge_left.start()
        self._sweep.start()
        self._cull()
        self._load()
        self._label.start()
        self._schedule()

    def stop(self) -> None:
        """Write what is noted and do nothing more."""
        self._stopped = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        for work in (
            self._excess,
            self._inactive,
            self._sweep,
            self._label,
            self._loader,
            self._compact,
            self._purge_left,
        ):
            work.stop()
        self._collect()
        self._flush()

    def _schedule(self) -> None:
        self._timer = self._disk_queue.scheduler.call_later(INTERVAL, self._round)

    def _round(self) -> None:
        self._collect()
        self._flush()
        self._disk_queue.write(self._disk_queue.disk.check)
        self._disk_queue.write(self._disk_queue.disk.shorten_log)
        self._purge_left.start()
        self._cull()
        self._sweep.start()
        self._label.start()
        self._compact.start()
        if self._filter is None and self._loading is None:
            self._load()
        self._schedule()

    # -- uses ----------------------------------------------------------------

    def note(self, digest: bytes) -> None:
        """An entry was used that memory does not note."""
        self._noted[digest] = None
        if len(self._noted) >= NOTED_LIMIT:
            self._flush()

    def last_use(self, digest: bytes) -> float:
        """When an entry was used, as far as that is not written down; see ``Disk.last_use``.

        In the writing thread: what it reads is replaced or looked up in one step. A use since
        the last round counts as one at its time, so that it counts the same until the next.
        """
        entry = self._memory.get(digest)
        if digest in self._noted or (entry is not None and entry.used):
            return self._collected_at
        return float("-inf") if entry is None else entry.last_used

    def _collect(self) -> None:
        now = self._collected_at = self._disk_queue.scheduler.wall()
        inactive = self._config.inactive
        due = now - min(inactive / TOUCH_SHARE, TOUCH_MOST)
        for entry in self._memory.take_used(now):
            if entry.touched <= due:
                entry.touched = now
                self._noted[entry.digest] = None
        self._memory.remove_inactive(now - inactive)

    def _flush(self) -> None:
        digests = list(self._noted)
        self._noted.clear()
        disk = self._disk_queue.disk
        now = self._disk_queue.scheduler.wall()
        for start in range(0, len(digests), TOUCH_STEP):
            some = digests[start : start + TOUCH_STEP]
            self._disk_queue.write(partial(disk.touch, some, now))

    # -- bounds --------------------------------------------------------------

    def stored(self) -> None:
        """An entry was added: go on culling where its own step was not enough."""
        if self._disk_queue.disk.over:
            self._excess.start()

    def _cull(self) -> None:
        if not self._inactive.running:
            self._culled_at = self._disk_queue.scheduler.wall()
            self._inactive.start()

    def _culled_inactive(self, complete: bool) -> None:
        if complete:
            self._excess.start()

    # -- the filter ------------------------------------------------------------

    def is_absent(self, digest: bytes) -> bool:
        """Whether *digest* is certainly not on disk; False while that is not known."""
        known = self._filter
        return known is not None and digest not in known

    def added(self, digest: bytes) -> None:
        """*digest* is being stored."""
        known = self._filter
        if known is not None:
            known.add(digest)
            if known.count > known.capacity:
                self._filter = None
                self._load()
        if self._loading is not None:
            self._recent.append(digest)

    def _load(self) -> None:
        """Read every digest in the background; later stores are added at the end."""
        if self._loading is not None or self._disk_queue.down or self._stopped:
            return
        self._loading = DigestFilter(0)
        self._recent = list(self._finishing)
        self._disk_queue.write(lambda: self._disk_queue.disk.index.usage()[0], self._loading_starts)

    def _loading_starts(self, count: int | None, error: StorageError | None) -> None:
        if count is None:
            self._loading = None
            return
        self._loading = DigestFilter(count * GROWTH)
        self._after = 0
        self._loader.start()

    def _load_step(self, limit: int) -> int:
        """In the writing thread, which alone touches the filter now."""
        loading = self._loading
        assert loading is not None
        digests, last = self._disk_queue.disk.index.digests(self._after, limit)
        loading.update(digests)
        found, self._after = last != self._after, last
        return limit if found else 0

    def _loaded(self, complete: bool) -> None:
        loaded, self._loading = self._loading, None
        if complete and loaded is not None:
            loaded.update(self._recent)
            self._filter = loaded
        self._recent = []
