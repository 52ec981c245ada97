"""The uwsgi protocol's packets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.http.uwsgi import MAX_VARIABLES, PacketTooLarge, encode_packet
from tests.support.uwsgi import decode_packet

VARIABLES = st.lists(st.tuples(st.binary(max_size=40), st.binary(max_size=300)), max_size=30)
BYTE = st.integers(0, 255)


class PacketTests(SynchronousTestCase):
    """``encode_packet``."""

    def test_layout(self) -> None:
        """Modifier1, the size, modifier2; each name and value behind its length."""
        packet = encode_packet([(b"A", b"bc"), (b"EMPTY", b"")], 5, 7)
        self.assertEqual(packet, b"\x05\x10\x00\x07\x01\x00A\x02\x00bc\x05\x00EMPTY\x00\x00")

    @given(VARIABLES, BYTE, BYTE, st.binary(max_size=20))
    def test_decoding_gives_what_was_encoded(
        self, variables: list[tuple[bytes, bytes]], first: int, second: int, body: bytes
    ) -> None:
        """Whatever bytes names and values have; the body stays apart."""
        decoded = decode_packet(encode_packet(variables, first, second) + body)
        assert decoded is not None
        self.assertEqual(decoded.variables, variables)
        self.assertEqual((decoded.modifier1, decoded.modifier2), (first, second))
        self.assertEqual(decoded.rest, body)

    @given(VARIABLES)
    def test_a_part_of_a_packet_is_not_taken_for_it(
        self, variables: list[tuple[bytes, bytes]]
    ) -> None:
        """The size in the header tells whether all of it is there."""
        packet = encode_packet(variables)
        self.assertIsNone(decode_packet(packet[:-1]))

    @given(st.integers(MAX_VARIABLES - 3, MAX_VARIABLES + 3))
    def test_bound(self, size: int) -> None:
        """As many bytes of variables as 16 bits can say, and none more."""
        variables = [(b"NAME", b"x" * (size - 8))]
        if size <= MAX_VARIABLES:
            self.assertEqual(len(encode_packet(variables)), size + 4)
            return
        with self.assertRaises(PacketTooLarge) as caught:
            encode_packet(variables)
        self.assertEqual(caught.exception.size, size)
