"""Twisted's tests of all but streams, with the uvloop reactor: what it inherits must work."""

from __future__ import annotations

# Most of Twisted's own methods have no annotations.
# mypy: disable-error-code="no-untyped-call"
import asyncio
import subprocess
import sys
from pathlib import Path

from twisted.internet.test import (
    test_core,
    test_fdset,
    test_newtls,
    test_process,
    test_stdio,
    test_threads,
    test_time,
    test_tls,
    test_udp,
)
from twisted.trial import unittest

from cacheproxy.net.reactor.reactor import UvloopReactor
from tests.net.reactor.cases import bind, in_temporary_folder, make_reactor

UNREACHABLE = "this Python lives in a folder that no other user may enter"


def others_can_run_python() -> bool:
    """Whether a process that changes its user can still start this Python."""
    return all(folder.stat().st_mode & 1 for folder in Path(sys.executable).resolve().parents)


__all__ = ["in_temporary_folder"]

globals().update(
    bind(
        test_core.SystemEventTestsBuilder,
        test_time.TimeTestsBuilder,
        test_threads.ThreadTestsBuilder,
        test_fdset.ReactorFDSetTestsBuilder,
        test_process.ProcessTestsBuilder,
        test_process.PTYProcessTestsBuilder,
        test_stdio.StdioFilesTests,
        test_udp.UDPServerTestsBuilder,
        test_udp.UDPFDServerTestsBuilder,
        test_newtls.ProducerTestsMixin,
        test_tls.SSLClientTestsMixin,
        test_tls.StartTLSClientTestsMixin,
        test_tls.TLSPortTestsBuilder,
        test_tls.AbortSSLConnectionTests,
        inapplicable={} if others_can_run_python() else {"test_changeUID": UNREACHABLE},
    )
)


class ReactorTests(unittest.SynchronousTestCase):
    """What our reactor does that the asyncio reactor does not."""

    def test_needs_a_loop_of_uvloops(self) -> None:
        """Any other loop has other transports."""
        loop = asyncio.new_event_loop()
        self.addCleanup(loop.close)
        self.assertRaises(TypeError, UvloopReactor, loop)

    def test_calls_from_threads_all_arrive_in_order(self) -> None:
        """They share wake-ups; one that fails is logged and does not stop the others."""
        reactor = make_reactor(self)
        arrived: list[tuple[int, int]] = []
        threads, each = 8, 500

        def call(thread: int) -> None:
            for number in range(each):
                reactor.callFromThread(note, thread, number)
            reactor.callFromThread(lambda: 1 / 0)

        def note(thread: int, number: int) -> None:
            arrived.append((thread, number))
            if len(arrived) == threads * each:
                reactor.callLater(0, reactor.stop)

        for thread in range(threads):
            reactor.callInThread(call, thread)
        reactor.run(installSignalHandlers=False)
        for thread in range(threads):
            self.assertEqual([n for t, n in arrived if t == thread], list(range(each)))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), threads)

    def test_the_plugin_can_be_listed_without_uvloop(self) -> None:
        """It holds names only; installing it without uvloop is twistd's usual error."""
        script = (
            "import sys; sys.modules['uvloop'] = None\n"
            "from twisted.application import reactors\n"
            "assert 'uvloop' in {each.shortName for each in reactors.getReactorTypes()}\n"
            "assert 'twisted.internet.reactor' not in sys.modules\n"
            "import cacheproxy.net.reactor.interfaces\n"
            "try: reactors.installReactor('uvloop')\n"
            "except ImportError: print('not installed')"
        )
        root = Path(__file__).parents[3]
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=False
        )
        self.assertEqual(done.stdout, "not installed\n", done.stderr)
