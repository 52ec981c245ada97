"""Twisted's tests of all but streams, with the uvloop reactor: what it inherits must work."""

from __future__ import annotations

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

from tests.net.reactor.cases import bind, in_temporary_folder

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
