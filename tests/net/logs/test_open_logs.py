"""The logs of one configuration: opened once, reopened and closed together."""

import os

from cacheproxy.errors import ConfigError
from cacheproxy.net.logs.error_log import ErrorLog
from cacheproxy.net.logs.open_logs import LogFiles
from tests.net.logs.cases import LogTestCase, read


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
