"""A clock, a folder and complaints, for the tests of log files."""

import os
import tempfile
from collections.abc import Callable

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.net.logs.access_log import AccessLogFile
from cacheproxy.proxy.interfaces import Cancellable


class ClockScheduler:
    """A ``Scheduler`` on a test's clock."""

    def __init__(self) -> None:
        self.clock = Clock()

    def call_later(self, seconds: float, function: Callable[[], object]) -> Cancellable:
        return self.clock.callLater(seconds, function)

    def monotonic(self) -> float:
        return self.clock.seconds()

    def wall(self) -> float:
        return 1_700_000_000.0 + self.clock.seconds()


def read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


class LogTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = tempfile.mkdtemp()
        self.path = os.path.join(self.folder, "x.log")
        self.scheduler = ClockScheduler()
        self.complaints: list[str] = []

    def access(
        self, path: str = "", buffer: int = 0, flush: float | None = None, gzip: int = 0
    ) -> AccessLogFile:
        log = AccessLogFile(
            path or self.path,
            self.scheduler,
            buffer=buffer,
            flush=flush,
            gzip=gzip,
            complain=self.complaints.append,
        )
        self.addCleanup(log.close)
        return log
