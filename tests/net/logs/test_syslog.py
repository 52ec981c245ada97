"""syslog as a log's target: the datagram's form, lost lines."""

import os
import re
import socket
import tempfile

from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.config.syslog import SyslogOptions, parse_syslog
from cacheproxy.errors import ConfigError
from cacheproxy.net.logs.syslog import Syslog


class SyslogTests(SynchronousTestCase):
    def test_unknown_host_is_a_config_error(self) -> None:
        """The address is resolved at load."""
        options = parse_syslog("syslog:server=no-such-host.invalid")
        self.assertRaises(ConfigError, Syslog, options)

    def test_datagram_has_priority_time_host_and_tag(self) -> None:
        """RFC 3164 §4.1: <facility * 8 + severity>, time, host, tag, text."""
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(server.close)
        server.bind(("127.0.0.1", 0))
        server.settimeout(5)
        options = SyslogOptions("127.0.0.1", server.getsockname()[1], facility=17, tag="web")
        log = Syslog(options, "box")
        self.addCleanup(log.close)
        log.write_line(b"GET /\n", 1_700_000_000.5)
        log.write_line(b"bad", 1_700_000_000.5, severity=3)
        self.assertTrue(
            re.fullmatch(rb"<142>Nov 1[45] \d\d:\d\d:\d\d box web: GET /", server.recv(1000))
        )
        self.assertTrue(server.recv(1000).startswith(b"<139>"))

    def test_socket_that_comes_late_is_found(self) -> None:
        """A daemon that is not there costs lines, not the proxy; its return is noticed."""
        path = os.path.join(tempfile.mkdtemp(), "log")
        log = Syslog(SyslogOptions(path=path, hostname=False))
        self.addCleanup(log.close)
        self.assertRaises(OSError, log.write_line, b"lost", 0.0)
        server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(server.close)
        server.bind(path)
        server.settimeout(5)
        log.write_line(b"kept", 0.0)
        self.assertTrue(server.recv(1000).endswith(b" cacheproxy: kept"))

    def test_full_socket_never_blocks(self) -> None:
        """The socket is non-blocking: where nobody reads, lines are lost."""
        path = os.path.join(tempfile.mkdtemp(), "log")
        server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(server.close)
        server.bind(path)
        log = Syslog(SyslogOptions(path=path))
        self.addCleanup(log.close)

        def fill() -> None:
            for _ in range(10_000):
                log.write_line(b"x" * 1000, 0.0)

        self.assertRaises(OSError, fill)
