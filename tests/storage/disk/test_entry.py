"""Tests of the on-disk header codec."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import struct
import zlib

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.errors import StorageError
from cacheproxy.http.fields import Fields
from cacheproxy.policy.stored import StoredResponse
from cacheproxy.storage.disk.entry import Header, decode, encode, seal
from tests.storage.support import head_of

_text = st.binary(max_size=40)
_time = st.floats(allow_nan=False)
_stored = st.builds(
    StoredResponse,
    key=_text,
    status=st.integers(100, 999),
    reason=_text,
    fields=st.lists(st.tuples(_text, _text), max_size=6).map(Fields),
    request_time=_time,
    response_time=_time,
    initial_age=_time,
    lifetime=_time,
    vary=st.lists(st.tuples(_text, st.none() | _text), max_size=3).map(tuple),
    stale_while_revalidate=_time,
    stale_if_error=_time,
    must_revalidate=st.booleans(),
    always_validate=st.booleans(),
    body_length=st.integers(-1, 1 << 60),
    host=_text,
)
_token = st.binary(min_size=8, max_size=8)
_header = st.builds(Header, _stored, _token, _token, _token, st.integers(0, 0xFFFFFFFF))


class EntryCodecTests(SynchronousTestCase):
    """``encode`` and ``decode``."""

    @given(_header)
    def test_decode_undoes_encode(self, header: Header) -> None:
        """Every head survives the disk unchanged, None apart from empty included."""
        self.assertEqual(decode(encode(header)), header)

    @given(_header, st.data())
    def test_any_changed_byte_is_an_error(self, header: Header, data: st.DataObject) -> None:
        """A flipped bit anywhere is found: damage is a miss, never another response."""
        encoded = bytearray(encode(header))
        at = data.draw(st.integers(0, len(encoded) - 1))
        encoded[at] ^= 1 << data.draw(st.integers(0, 7))
        self.assertRaises(StorageError, decode, bytes(encoded))

    @given(_header, st.data())
    def test_any_truncation_is_an_error(self, header: Header, data: st.DataObject) -> None:
        """A head cut anywhere is found."""
        encoded = encode(header)
        cut = data.draw(st.integers(0, len(encoded) - 1))
        self.assertRaises(StorageError, decode, encoded[:cut])

    @given(st.binary(max_size=200))
    def test_arbitrary_bytes_are_an_error(self, encoded: bytes) -> None:
        """Nothing but a header decodes, and no other exception comes out."""
        self.assertRaises(StorageError, decode, encoded)

    def test_seal_names_the_body(self) -> None:
        """Two tokens have different seals of one length."""
        self.assertNotEqual(seal(b"a" * 8), seal(b"b" * 8))
        self.assertEqual(len(seal(b"a" * 8)), len(seal(b"b" * 8)))

    def test_head_of_an_older_version(self) -> None:
        """What ends before the host was stored when there was none: it is not known."""
        header = Header(head_of(b"k", host=b"a.test"), b"t" * 8, b"e" * 8)
        encoded = encode(header)
        payload = encoded[14 : -len(b"a.test") - 2]
        frame = encoded[:6] + struct.pack("<II", len(payload), zlib.crc32(payload))
        header.stored.host = b""
        self.assertEqual(decode(frame + payload), header)

    def test_absent_selecting_field_is_not_empty(self) -> None:
        """Vary compares an absent field apart from an empty one (RFC 9111 §4.1)."""
        stored = head_of(b"k", vary=((b"accept-encoding", None), (b"accept-language", b"")))
        again = decode(encode(Header(stored, b"t" * 8, b"e" * 8))).stored
        self.assertEqual(again.vary, stored.vary)
