"""Field sections; what is refused is in the corpus."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.errors import ProtocolError
from cacheproxy.http.field_lines import read_fields


class ReadFieldsTests(SynchronousTestCase):
    def test_white_space_around_values(self) -> None:
        """RFC 9112 §5.1: on both sides, tabs too, inner white space stays."""
        fields = read_fields(b"A:b\r\nC: \t d e\t \r\nF:\r\nG: \t\r\n\r\n")
        self.assertEqual(fields.pairs, [(b"A", b"b"), (b"C", b"d e"), (b"F", b""), (b"G", b"")])

    def test_empty(self) -> None:
        """A section without lines."""
        self.assertEqual(read_fields(b"\r\n").pairs, [])

    def test_incomplete(self) -> None:
        """A section that does not end is an error, not a shorter one."""
        self.assertRaises(ProtocolError, read_fields, b"A: b\r\n")

    def test_upgrade_and_lengths_do_not_matter(self) -> None:
        """llhttp's own view of the message changes nothing."""
        for section in (
            b"Upgrade: x\r\nConnection: upgrade\r\nContent-Length: 3\r\n\r\n",
            b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n",
        ):
            self.assertEqual(len(read_fields(section)), section.count(b"\r\n") - 1)
