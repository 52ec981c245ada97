"""Error logs: how a line looks, what is dropped and what is left out."""

import os
import re
import socket
import tempfile

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.logger import Logger, LogPublisher, globalLogPublisher

from cacheproxy.errors import ConfigError
from cacheproxy.net.logs.error_log import (
    MAX_COMPLAINTS,
    MAX_ERROR_LINE,
    ErrorLog,
    ErrorLogObserver,
    OncePerMinute,
)
from cacheproxy.net.logs.log_file import escape
from tests.net.logs.cases import ClockScheduler, LogTestCase, read


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
        Logger("cacheproxy.net.logs.error_log", observer=publisher).error("own")
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
