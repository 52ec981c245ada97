"""The reactor across a fork, as ``twistd`` without ``-n`` does it, and as a process of its own."""

from __future__ import annotations

# Most of Twisted's own methods have no annotations.
# mypy: disable-error-code="no-untyped-call"
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

from twisted.trial import unittest

ROOT = Path(__file__).parents[3]

PRELUDE = """
    import os, signal, socket, sys
    from cacheproxy.net.reactor.reactor import install
    reactor = install()
    from twisted.internet import protocol
    from twisted.internet.interfaces import IReactorDaemonize

    class Echo(protocol.Protocol):
        def dataReceived(self, data):
            self.transport.write(data)

    def ask(port, say=b"ping"):
        with socket.create_connection(("127.0.0.1", port), 5) as client:
            client.settimeout(5)
            client.sendall(say)
            return client.recv(100)
"""


def run_script(body: str) -> str:
    """What a Python process with this body prints; raises CalledProcessError if it fails."""
    source = textwrap.dedent(PRELUDE) + textwrap.dedent(body)
    done = subprocess.run(
        [sys.executable, "-c", source],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class ForkTests(unittest.SynchronousTestCase):
    """A reactor made before a fork and run after it."""

    def test_everything_registered_before_is_served_by_the_child(self) -> None:
        """Ports, timers, readers and calls from threads move to the child's loop."""
        printed = run_script(
            """
            port = reactor.listenTCP(0, protocol.Factory.forProtocol(Echo)).getHost().port
            told = []
            reactor.callLater(0.01, told.append, "timer")
            reactor.callFromThread(told.append, "thread")
            child = os.fork()
            if not child:
                reactor.callLater(0.05, reactor.callInThread, lambda: (
                    told.append(ask(port).decode()), reactor.callFromThread(reactor.stop)))
                reactor.run()
                print(*sorted(told), flush=True)
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
            """
        )
        self.assertEqual(printed, "ping thread timer\n")

    def test_parent_and_child_run_side_by_side(self) -> None:
        """Neither takes events from the other, and the parent's port outlives the child's."""
        printed = run_script(
            """
            import threading
            port = reactor.listenTCP(0, protocol.Factory.forProtocol(Echo))
            number = port.getHost().port
            child = os.fork()
            if not child:
                reactor.callWhenRunning(reactor.callLater, 0.05, reactor.stop)
                reactor.run()
                os._exit(0)
            def work():
                assert os.waitpid(child, 0)[1] == 0
                print(ask(number).decode(), flush=True)
                reactor.callFromThread(reactor.stop)
            reactor.callWhenRunning(threading.Thread(target=work).start)
            # Waits for the child itself, so SIGCHLD must not reap it first.
            reactor.run(installSignalHandlers=False)
            """
        )
        self.assertEqual(printed, "ping\n")

    def test_a_port_stopped_in_the_child_is_closed(self) -> None:
        """No copy of the listening socket survives in the loop that the child has left."""
        printed = run_script(
            """
            port = reactor.listenTCP(0, protocol.Factory.forProtocol(Echo))
            number = port.getHost().port
            child = os.fork()
            if child:
                os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
            def look(_):
                left = [fd for fd in os.listdir("/proc/self/fd") if listens(fd)]
                print(len(left), flush=True)
                reactor.stop()
            def listens(fd):
                try:
                    with socket.socket(fileno=os.dup(int(fd))) as s:
                        return s.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
                except OSError:
                    return False
            reactor.callWhenRunning(lambda: port.stopListening().addCallback(look))
            reactor.run()
            """
        )
        self.assertEqual(printed, "0\n")

    def test_it_provides_the_hooks_that_twistd_calls(self) -> None:
        """``afterDaemonize`` moves to a new loop at once. Source: IReactorDaemonize."""
        printed = run_script(
            """
            assert IReactorDaemonize.providedBy(reactor)
            reactor.beforeDaemonize()
            child = os.fork()
            if child:
                os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
            before = reactor._asyncioEventloop
            reactor.afterDaemonize()
            assert reactor._asyncioEventloop is not before
            reactor.callWhenRunning(reactor.stop)
            reactor.run()
            print("ran")
            """
        )
        self.assertEqual(printed, "ran\n")


class TwistdTests(unittest.SynchronousTestCase):
    """``twistd --reactor=uvloop`` with a service that forks, serves and stops."""

    def test_daemonised_service_serves_and_stops_on_a_signal(self) -> None:
        """Without ``-n`` the process forks after the reactor was installed."""
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "socket")
            pid_file = os.path.join(folder, "pid")
            subprocess.run(
                [
                    *(sys.executable, "-c", "from twisted.scripts.twistd import run; run()"),
                    *("--reactor=uvloop", f"--pidfile={pid_file}", f"--logfile={folder}/log"),
                    *("web", f"--listen=unix:{path}", f"--path={folder}"),
                ],
                cwd=ROOT,
                capture_output=True,
                timeout=60,
                check=True,
            )
            pid = int(Path(pid_file).read_text())
            try:
                with socket.socket(socket.AF_UNIX) as client:
                    client.settimeout(10)
                    client.connect(path)
                    client.sendall(b"GET / HTTP/1.0\r\n\r\n")
                    self.assertEqual(client.recv(12), b"HTTP/1.0 200")
                log = Path(folder, "log").read_text()
                self.assertIn("reactor class: cacheproxy.net.reactor.reactor.UvloopReactor", log)
            finally:
                watched = os.pidfd_open(pid)
                os.kill(pid, signal.SIGTERM)
                self.wait_for_the_end_of(watched)
            self.assertIn("Server Shut Down", Path(folder, "log").read_text())

    def wait_for_the_end_of(self, watched: int) -> None:
        """Wait for a process that is not our child; fail after ten seconds."""
        try:
            self.assertTrue(select.select([watched], [], [], 10)[0])
        finally:
            os.close(watched)
