"""Log files: what is written when, what a failing disk does, how an error line looks."""

import gzip
import os
import re
import socket
import tempfile
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import Logger, LogPublisher, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.errors import ConfigError
from cacheproxy.net.logs.logs import (
    MAX_COMPLAINTS,
    MAX_ERROR_LINE,
    TURN_LIMIT,
    AccessLogFile,
    ErrorLog,
    ErrorLogObserver,
    LogFiles,
    OncePerMinute,
    VariableLogFiles,
    escape,
)
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


class AccessLogFileTests(LogTestCase):
    def test_lines_of_a_turn_are_written_at_its_end(self) -> None:
        """Without ``buffer`` nothing waits longer than the turn."""
        log = self.access()
        log.write(b"a\n")
        log.write(b"b\n")
        self.scheduler.clock.advance(0)
        self.assertEqual(read(self.path), b"a\nb\n")
        log.write(b"c\n")
        self.scheduler.clock.advance(0)
        self.assertEqual(read(self.path), b"a\nb\nc\n")

    def test_a_turn_gathers_no_more_than_its_limit(self) -> None:
        """The named bound holds within a turn."""
        log = self.access()
        for _ in range(3):
            log.write(b"x" * (TURN_LIMIT // 2))
        self.assertGreaterEqual(len(read(self.path)), TURN_LIMIT // 2)

    def test_close_writes_what_waits(self) -> None:
        """Nothing is lost at an orderly exit."""
        log = self.access(buffer=1000)
        log.write(b"a\n")
        log.close()
        log.write(b"late\n")
        self.assertEqual(read(self.path), b"a\n")

    def test_file_is_appended_to(self) -> None:
        """A log that exists is kept."""
        with open(self.path, "wb") as file:
            file.write(b"old\n")
        log = self.access()
        log.write(b"new\n")
        log.close()
        self.assertEqual(read(self.path), b"old\nnew\n")

    def test_buffer_is_written_when_the_next_line_does_not_fit(self) -> None:
        """``buffer=``: the file grows by whole lines."""
        log = self.access(buffer=10)
        log.write(b"12345\n")
        self.scheduler.clock.advance(100)
        self.assertEqual(read(self.path), b"")
        log.write(b"67890\n")
        self.assertEqual(read(self.path), b"12345\n")
        log.write(b"longer than the buffer\n")
        self.assertEqual(read(self.path), b"12345\n67890\nlonger than the buffer\n")

    def test_flush_bounds_the_wait(self) -> None:
        """``flush=``: counted from the first line that waits."""
        log = self.access(buffer=1000, flush=5.0)
        log.write(b"a\n")
        self.scheduler.clock.advance(4)
        log.write(b"b\n")
        self.assertEqual(read(self.path), b"")
        self.scheduler.clock.advance(1)
        self.assertEqual(read(self.path), b"a\nb\n")
        self.assertEqual(self.scheduler.clock.getDelayedCalls(), [])

    def test_gzip_members_decompress_to_the_lines(self) -> None:
        """``gzip``: each buffer is a member; the file is a valid gzip file."""
        log = self.access(buffer=10, gzip=1)
        for number in range(5):
            log.write(b"line %d..\n" % number)
        log.close()
        expected = b"".join(b"line %d..\n" % number for number in range(5))
        self.assertEqual(gzip.decompress(read(self.path)), expected)

    def test_reopen_follows_a_renamed_file(self) -> None:
        """USR1: old lines go to the old file, new ones to the new."""
        log = self.access()
        log.write(b"old\n")
        os.rename(self.path, self.path + ".1")
        log.reopen()
        log.write(b"new\n")
        log.close()
        self.assertEqual(read(self.path + ".1"), b"old\n")
        self.assertEqual(read(self.path), b"new\n")

    def test_failed_reopen_keeps_the_old_file(self) -> None:
        """A folder that has gone costs a complaint, not the log."""
        folder = os.path.join(self.folder, "sub")
        os.mkdir(folder)
        log = self.access(os.path.join(folder, "x.log"))
        os.rename(folder, folder + ".old")
        log.reopen()
        log.write(b"kept\n")
        log.close()
        self.assertEqual(read(os.path.join(folder + ".old", "x.log")), b"kept\n")
        self.assertIn("failed (2: No such file or directory)", self.complaints[0])

    def test_full_disk_never_raises(self) -> None:
        """ENOSPC is a complaint."""
        if not os.path.exists("/dev/full"):
            self.skipTest("no /dev/full")
        log = self.access("/dev/full")
        log.write(b"a\n")
        self.scheduler.clock.advance(0)
        self.assertIn("No space left on device", self.complaints[0])

    def test_missing_folder_is_a_config_error(self) -> None:
        """A log that cannot be opened is found at load."""
        self.assertRaises(ConfigError, self.access, "/no/such/folder/x.log")
        self.assertRaises(ConfigError, self.access, "/tmp/\0")

    def test_syslog_gets_lines_at_once_and_refuses_buffers(self) -> None:
        """``access_log syslog:``; buffering it is an error, as in nginx."""
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(server.close)
        server.bind(("127.0.0.1", 0))
        server.settimeout(5)
        target = f"syslog:server=127.0.0.1:{server.getsockname()[1]},tag=t,nohostname"
        self.access(target).write(b"line\n")
        self.assertTrue(server.recv(100).endswith(b" t: line"))
        self.assertRaises(ConfigError, self.access, target, buffer=100)

    def test_lost_syslog_line_is_a_complaint(self) -> None:
        """No daemon, no exception."""
        log = self.access(f"syslog:server=unix:{self.folder}/none")
        log.write(b"line\n")
        self.assertIn("syslog", self.complaints[0])

    def test_standard_streams_are_duplicated(self) -> None:
        """/dev/stdout is descriptor 1, whatever it is; closing the log leaves it open."""
        for path in ("/dev/stdout", "/dev/stderr"):
            log = self.access(path)
            log.reopen()
            log.close()
        os.fstat(1)
        os.fstat(2)


class ErrorLogTests(LogTestCase):
    def error_log(self, level: str = "error", path: str = "") -> ErrorLog:
        log = ErrorLog(path or self.path, level, self.scheduler)
        self.addCleanup(log.close)
        return log

    def test_line_has_the_form_of_nginx(self) -> None:
        """Time, level, process, connection, message, then the context in order."""
        self.error_log().log(
            "error",
            "connect() failed",
            {"client": b"192.0.2.1", "server": "x", "request": b"GET / HTTP/1.1", "host": ""},
            connection=45,
        )
        self.assertTrue(
            re.fullmatch(
                rb"2023/11/1[45] \d\d:\d\d:\d\d \[error\] (\d+)#\1: \*45 connect\(\) failed, "
                rb'client: 192\.0\.2\.1, server: x, request: "GET / HTTP/1\.1"\n',
                read(self.path),
            )
        )

    def test_levels_below_the_threshold_are_dropped(self) -> None:
        """``error_log file warn`` writes warn and above."""
        log = self.error_log("warn")
        for level in ("debug", "info", "notice", "warn", "error", "crit", "alert", "emerg"):
            log.log(level, level)
        self.assertEqual(
            re.findall(rb"\[(\w+)\]", read(self.path)),
            [b"warn", b"error", b"crit", b"alert", b"emerg"],
        )
        self.assertFalse(log.enabled("info"))
        self.assertTrue(log.enabled("warn"))

    def test_unknown_level_is_a_config_error(self) -> None:
        """A misspelt level is found at load."""
        self.assertRaises(ConfigError, self.error_log, "loud")

    @settings(max_examples=60, deadline=None)
    @given(st.one_of(st.text(), st.binary()))
    def test_no_value_ends_a_line(self, value: str | bytes) -> None:
        """Whatever a client sends, one call is one line without control characters."""
        text = escape(value)
        self.assertFalse(re.search("[\x00-\x1f\x7f-\x9f\u2028\u2029]", text))
        scheduler = ClockScheduler()
        path = os.path.join(tempfile.mkdtemp(), "e.log")
        log = ErrorLog(path, "error", scheduler)
        log.log("error", "m", {"request": value, "client": value})
        log.close()
        content = read(path)
        self.assertEqual(content.count(b"\n"), 1)
        self.assertTrue(content.endswith(b"\n"))

    def test_long_lines_are_cut(self) -> None:
        """The bound of nginx holds, newline included."""
        self.error_log().log("error", "x" * 10_000)
        self.assertEqual(len(read(self.path)), MAX_ERROR_LINE)

    def test_without_a_path_messages_go_to_twisted(self) -> None:
        """No ``error_log``: twistd's own log has the messages, braces unharmed."""
        events: list[dict[str, object]] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        ErrorLog(None, "error", self.scheduler).log("crit", "a {brace}", {"client": "c"})
        self.assertEqual([e["text"] for e in events if "text" in e], ["a {brace}, client: c"])

    def test_full_disk_is_told_to_twisted_once_a_minute(self) -> None:
        """The error log has nowhere to complain but there."""
        if not os.path.exists("/dev/full"):
            self.skipTest("no /dev/full")
        events: list[dict[str, object]] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        log = self.error_log(path="/dev/full")
        for _ in range(5):
            log.error("x")
        self.scheduler.clock.advance(60)
        log.error("x")
        self.assertEqual(len([e for e in events if "complaint" in e]), 2)

    def test_syslog_severity_follows_the_level(self) -> None:
        """A message's own level is its severity."""
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(server.close)
        server.bind(("127.0.0.1", 0))
        server.settimeout(5)
        target = f"syslog:server=127.0.0.1:{server.getsockname()[1]}"
        self.error_log(path=target).log("crit", "x")
        self.assertTrue(server.recv(1000).startswith(b"<%d>" % (23 * 8 + 2)))

    def test_observer_copies_errors_of_twisted(self) -> None:
        """A traceback reaches the error log line by line; what came from us does not come back."""
        log = self.error_log("debug")
        publisher = LogPublisher(ErrorLogObserver(log))
        logger = Logger("other", observer=publisher)
        logger.info("quiet")
        try:
            raise ValueError("boom\nboom")
        except ValueError:
            logger.failure("it broke")
        Logger("cacheproxy.net.logs.logs", observer=publisher).error("own")
        content = read(self.path)
        self.assertIn(b"[crit]", content)
        self.assertIn(b"it broke", content)
        self.assertIn(b"ValueError: boom", content)
        self.assertNotIn(b"quiet", content)
        self.assertNotIn(b"own", content)
        self.assertTrue(all(line.startswith(b"2023/") for line in content.splitlines()))


class OncePerMinuteTests(LogTestCase):
    def test_repeats_are_counted_and_left_out(self) -> None:
        """One line a minute for each complaint."""
        log = ErrorLog(self.path, "error", self.scheduler)
        self.addCleanup(log.close)
        once = OncePerMinute(log, self.scheduler)
        for _ in range(4):
            once.complain("disk full")
        once.complain("other")
        self.assertEqual(read(self.path).count(b"\n"), 2)
        self.scheduler.clock.advance(60)
        once.complain("disk full")
        self.assertTrue(read(self.path).endswith(b"disk full (3 more since the last report)\n"))

    def test_complaints_remembered_are_bounded(self) -> None:
        """Ever new complaints do not make memory grow."""
        log = ErrorLog(self.path, "emerg", self.scheduler)
        self.addCleanup(log.close)
        once = OncePerMinute(log, self.scheduler)
        for number in range(MAX_COMPLAINTS + 50):
            once.complain(str(number))
        self.assertEqual(len(once._last), MAX_COMPLAINTS)


class LogFilesTests(LogTestCase):
    def files(self) -> LogFiles:
        log = ErrorLog(os.path.join(self.folder, "error.log"), "error", self.scheduler)
        files = LogFiles(self.scheduler, log)
        self.addCleanup(files.close_all)
        return files

    def test_a_path_is_opened_once(self) -> None:
        """Two servers with one access_log share it, in order."""
        files = self.files()
        self.assertIs(files.access(self.path), files.access(self.path))
        self.assertIs(files.error(self.path), files.error(self.path))
        self.assertRaises(ConfigError, files.access, self.path, buffer=100)

    def test_reopen_and_close_reach_every_log(self) -> None:
        """USR1 and exit."""
        files = self.files()
        variable = files.variable()
        variable.write(os.path.join(self.folder, "v.log"), b"v1\n")
        files.access(self.path, buffer=1000).write(b"a1\n")
        names = ("x.log", "v.log", "error.log")
        for name in names[:1] + names[2:]:
            os.rename(os.path.join(self.folder, name), os.path.join(self.folder, name + ".1"))
        files.reopen_all()
        files.access(self.path, buffer=1000).write(b"a2\n")
        files.close_all()
        self.assertEqual(read(self.path + ".1"), b"a1\n")
        self.assertEqual(read(self.path), b"a2\n")
        self.assertEqual(read(os.path.join(self.folder, "v.log")), b"v1\n")
        self.assertTrue(os.path.exists(os.path.join(self.folder, "error.log")))

    def test_failing_log_is_one_line_a_minute(self) -> None:
        """A full disk does not fill the error log."""
        if not os.path.exists("/dev/full"):
            self.skipTest("no /dev/full")
        files = self.files()
        log = files.access("/dev/full")
        for _ in range(10):
            log.write(b"x\n")
            self.scheduler.clock.advance(0)
        content = read(os.path.join(self.folder, "error.log"))
        self.assertEqual(content.count(b"No space left"), 1)

    def test_paths_chosen_by_clients_complain_together(self) -> None:
        """Ever new host names do not give ever new lines."""
        files = self.files()
        logs = files.variable()
        for number in range(10):
            logs.write(f"/no/such/{number}.log", b"x\n")
        self.assertEqual(read(os.path.join(self.folder, "error.log")).count(b"\n"), 1)


class VariableLogFilesTests(LogTestCase):
    def test_files_kept_open_are_bounded(self) -> None:
        """The least recently used is closed, and opened again when needed."""
        logs = VariableLogFiles(self.scheduler, self.complaints.append, limit=2)
        self.addCleanup(logs.close)
        before = len(os.listdir("/proc/self/fd"))
        for number in (1, 2, 3, 4, 1):
            logs.write(os.path.join(self.folder, f"{number}.log"), b"%d\n" % number)
        self.assertEqual(len(os.listdir("/proc/self/fd")), before + 2)
        logs.close()
        self.assertEqual(read(os.path.join(self.folder, "1.log")), b"1\n1\n")
        self.assertEqual(read(os.path.join(self.folder, "3.log")), b"3\n")

    def test_paths_that_leave_the_folder_are_refused(self) -> None:
        """A client that chooses part of the path does not choose the folder."""
        logs = VariableLogFiles(self.scheduler, self.complaints.append)
        for path in (f"{self.folder}/../evil", f"{self.folder}/a\0b", "syslog:server=10.0.0.1"):
            logs.write(path, b"x\n")
        self.assertEqual(len(self.complaints), 3)
        self.assertEqual(os.listdir(self.folder), [])
