"""Tests of the pace of background work (nginx's ``manager_*`` and ``loader_*``)."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from cacheproxy.errors import StorageError
from cacheproxy.storage.upkeep import maintenance as upkeep_module
from cacheproxy.storage.upkeep.background_work import BackgroundWork, WorkLimits
from tests.storage.support import Harness, QueueExecutor, ZoneCase


class PacedWorkTests(ZoneCase):
    """``BackgroundWork``."""

    def work(self, items: int, pace: WorkLimits, limit: int = 100) -> BackgroundWork:
        """Work on so many items; each step takes ``self.seconds``."""
        self.zone: Harness = self.harness()
        self.left = items
        self.seconds = 0.0
        self.steps: list[int] = []
        self.ended: list[bool] = []

        def step(count: int) -> int:
            self.zone.scheduler.clock.advance(self.seconds)
            done = min(count, self.left)
            self.left -= done
            self.steps.append(done)
            return done

        return BackgroundWork(self.zone.zone.disk_queue, pace, limit, step, self.ended.append)

    def test_pause_after_so_many_items(self) -> None:
        """``*_files`` items are done, in steps; then nothing for ``*_sleep``."""
        work = self.work(250, WorkLimits(100, 0.2, 0.05), 40)
        work.start()
        self.assertEqual(self.steps, [40, 40, 20])
        self.zone.scheduler.clock.advance(0.049)
        self.assertEqual(self.left, 150)
        self.zone.scheduler.clock.advance(0.001)
        self.assertEqual(self.left, 50)
        self.assertTrue(work.running)
        self.zone.scheduler.clock.advance(0.05)
        self.assertEqual((self.left, self.ended, work.running), (0, [True], False))

    def test_pause_after_so_long(self) -> None:
        """``*_threshold`` ends an iteration before its items are done."""
        work = self.work(250, WorkLimits(100, 0.2, 0.05), 10)
        self.seconds = 0.11
        work.start()
        self.assertEqual(self.steps, [10, 10])
        work.stop()
        self.zone.scheduler.clock.advance(10)
        self.assertEqual(self.steps, [10, 10])

    def test_start_while_running(self) -> None:
        """Work is done once at a time, also while it pauses."""
        work = self.work(250, WorkLimits(100, 0.2, 0.05))
        work.start()
        work.start()
        self.assertEqual(self.steps, [100])

    def test_nothing_to_do(self) -> None:
        work = self.work(0, WorkLimits(100, 0.2, 0.05))
        work.start()
        self.assertEqual((self.steps, self.ended), ([0], [True]))

    def test_disk_is_down(self) -> None:
        """Nothing is asked of it; the work can be begun anew."""
        work = self.work(5, WorkLimits(100, 0.2, 0.05))
        self.zone.zone.disk_queue.failed(StorageError("made to fail"))
        work.start()
        self.assertEqual((self.steps, self.ended, work.running), ([], [False], False))


class ZonePaceTests(ZoneCase):
    """The directive's parameters reach the zone's work."""

    def test_manager_files(self) -> None:
        """Culling goes on after the pause, ``manager_files`` at a time."""
        harness = self.harness(inactive=10.0, manager_files=2, manager_sleep=0.5, memory=0)
        for number in range(7):
            harness.store(b"%d" % number, b"body")
        harness.scheduler.clock.advance(15.0)
        left = [len(self.files())]
        for _ in range(4):
            harness.scheduler.clock.advance(0.5)
            left.append(len(self.files()))
        self.assertEqual(left, [5, 3, 1, 0, 0])

    def test_loader_files(self) -> None:
        """The filter of digests is loaded ``loader_files`` at a time, so many rows each."""
        self.patch(upkeep_module, "ROWS_A_FILE", 3)
        harness = self.harness()
        for number in range(7):
            harness.store(b"%d" % number, b"body")
        harness.zone.close()
        harness = self.harness(loader_files=1, loader_sleep=0.25)
        upkeep = harness.zone.maintenance
        for known in (False, False, False, True):
            self.assertEqual(upkeep._filter is not None, known)
            harness.scheduler.clock.advance(0.25)

    def test_store_does_not_wait_for_an_iteration(self) -> None:
        """Steps are queued one by one behind what is asked for before them."""
        writer = QueueExecutor()
        harness = self.harness(writer=writer, manager_files=10_000, inactive=10.0)
        writer.run()
        self.assertEqual(len(writer.queue), 0)
        harness.scheduler.clock.advance(5.0)
        self.assertLessEqual(len(writer.queue), 1)
