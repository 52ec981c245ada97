"""Access logs: what is written when, and what a failing disk does."""

import gzip
import os
import socket

from cacheproxy.errors import ConfigError
from cacheproxy.net.logs.access_log import TURN_LIMIT, VariableLogFiles
from tests.net.logs.cases import LogTestCase, read


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
