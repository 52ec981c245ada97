"""Tests of a zone whose process was killed while it stored."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import os
import signal
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from tests.storage.support import Harness, digest_of

#: Stores and replaces entries for ever; tells each one that is on disk.
_STORE = """
import sys
from tests.storage.support import Harness
harness = Harness(sys.argv[1])
number = 0
while True:
    key = b"%d" % (number % 40)
    size = (number * 7919) % 3000 if number % 5 else 1_200_000 + number
    body = (b"%d:" % number) * (size // 8 + 1)
    harness.store(key, body)
    if number % 7 == 0:
        harness.zone.delete(harness.store(b"gone", b"x"))
    number += 1
    if number % 50 == 0:
        print(number, flush=True)
"""


class KillTests(SynchronousTestCase):
    """kill -9 at an arbitrary moment."""

    def check(self, path: str) -> int:
        harness = Harness(path)
        harness.advance(30.0)
        found = 0
        for number in range(40):
            body = harness.body(digest_of(b"%d" % number))
            if body is not None:
                found += 1
                unit = body[: body.index(b":") + 1]
                self.assertEqual(int(unit[:-1]) % 40, number)
                self.assertEqual(body, unit * (len(body) // len(unit)))
        self.assertEqual(os.listdir(os.path.join(path, "temp")), [])
        count, _ = harness.zone.disk_queue.disk.index.usage()
        files = [name for _, _, names in os.walk(path) for name in names if len(name) == 32]
        self.assertEqual(len(files), count)
        harness.zone.close()
        return found

    def test_zone_opens_whole_after_kill(self) -> None:
        """Only whole responses are served, what was stored mostly is, and no orphan stays."""
        path = os.path.abspath(self.mktemp())
        for rounds in range(1, 4):
            process = subprocess.Popen(
                [sys.executable, "-c", _STORE, path],
                stdout=subprocess.PIPE,
                stdin=subprocess.DEVNULL,
            )
            self.addCleanup(process.wait)
            self.addCleanup(process.kill)
            assert process.stdout is not None
            for _ in range(rounds):
                self.assertTrue(process.stdout.readline())
            process.send_signal(signal.SIGKILL)
            process.wait()
            process.stdout.close()
            self.assertGreater(self.check(path), 30)
