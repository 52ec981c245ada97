"""The parameters of ``syslog:``."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.config.syslog import SyslogOptions, parse_syslog
from cacheproxy.errors import ConfigError


class ParseSyslogTests(SynchronousTestCase):
    def test_all_parameters(self) -> None:
        """Every parameter that nginx documents is read."""
        self.assertEqual(
            parse_syslog(
                "syslog:server=[::1]:12345,facility=local1,tag=proxy,severity=debug,nohostname"
            ),
            SyslogOptions("::1", 12345, "", 17, 7, "proxy", False),
        )

    def test_defaults_are_those_of_nginx(self) -> None:
        """Port 514, facility local7, severity info."""
        options = parse_syslog("syslog:server=unix:/dev/log")
        self.assertEqual((options.path, options.facility, options.severity), ("/dev/log", 23, 6))
        self.assertEqual(parse_syslog("syslog:server=127.0.0.1").port, 514)

    def test_faults_are_config_errors(self) -> None:
        """What is not understood is refused, never ignored."""
        for text in (
            "syslog:",
            "syslog:tag=x",
            "syslog:server=127.0.0.1,color=red",
            "syslog:server=127.0.0.1,facility=nope",
            "syslog:server=127.0.0.1,severity=loud",
            "syslog:server=127.0.0.1,tag=a b",
            "syslog:server=127.0.0.1,tag=a,tag=b",
            "syslog:server=127.0.0.1:99999",
            "syslog:server=1.2.3.4:5:6",
        ):
            self.assertRaises(ConfigError, parse_syslog, text)
