"""One open log file."""

import os

from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.errors import ConfigError
from cacheproxy.net.logs.log_file import LogFile, escape
from tests.net.logs.cases import LogTestCase, read


class LogFileTests(LogTestCase):
    """``LogFile``."""

    def test_writing_appends_and_stops_at_the_close(self) -> None:
        """What comes later is dropped; closing twice is nothing."""
        file = LogFile(self.path, self.complaints.append)
        file.write(b"one\n")
        LogFile(self.path, self.complaints.append).write(b"two\n")
        file.close()
        file.close()
        file.write(b"three\n")
        file.reopen()
        self.assertEqual((read(self.path), self.complaints), (b"one\ntwo\n", []))

    def test_ownership_is_given_away_while_open(self) -> None:
        """To oneself, which every account may; of a closed file nothing is changed."""
        file = LogFile(self.path, self.complaints.append)
        file.give_to(os.getuid(), os.getgid())
        file.close()
        file.give_to(12345, 12345)
        self.assertEqual((os.stat(self.path).st_uid, self.complaints), (os.getuid(), []))

    def test_path_with_nul_is_a_config_error(self) -> None:
        """The message names it, escaped."""
        error = self.assertRaises(ConfigError, LogFile, "a\0b", self.complaints.append)
        self.assertIn("\\x00", str(error))

    @given(st.text() | st.binary())
    def test_escaped_text_stays_on_its_line(self, value: str | bytes) -> None:
        """No control character is left."""
        self.assertEqual([c for c in escape(value) if ord(c) < 32 or 127 <= ord(c) < 160], [])
