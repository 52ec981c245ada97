"""The on-disk form of a stored response's head, and of the seal that ends its body file.

An index row's value is one encoded ``Header``; a body file is the body followed
by a ``SEAL_SIZE`` byte seal. Row and file belong together exactly when the
file's length is the row's ``body_length`` plus the seal and the seal carries
the row's ``token``: a crash between the file's rename and the row's commit
leaves a pair that disagrees, and that is a miss.

Layout of a header, little-endian::

    magic "cpxy" | version u16 | payload length u32 | CRC-32 of the payload u32 | payload

    payload: token 8s | edition 8s | parent 8s | body CRC-32 u32 | body length i64
             | six times f64 | status u16 | flags u8 | count of vary u16 | count of fields u32
             | one u32 length per string (ABSENT for None) | the strings
             | length of the host u16 | host (both missing in older heads: empty)
    strings: key, reason, then name and value of each vary member and each field

Evolution: a reader ignores payload bytes after those that it knows, so a later
version may append optional data without a new version number, and supplies
defaults where they are missing. Any other change takes a new ``VERSION``; a
reader refuses a version that is not its own, which makes the entry a miss: a
cache may forget.

Imports: ``errors``, ``policy``, ``http.fields``.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from cacheproxy.errors import StorageError
from cacheproxy.http.fields import Fields
from cacheproxy.policy.stored import StoredResponse

__all__ = [
    "NO_PARENT",
    "SEAL_SIZE",
    "TOKEN_SIZE",
    "VERSION",
    "Header",
    "decode",
    "encode",
    "seal",
]

VERSION = 1
TOKEN_SIZE = 8
#: The parent of an entry that is no encoded sibling.
NO_PARENT = bytes(TOKEN_SIZE)

_MAGIC = b"cpxy"
_SEAL_MAGIC = b"\ncpxyEND"
SEAL_SIZE = len(_SEAL_MAGIC) + TOKEN_SIZE
_FRAME = struct.Struct("<4sHII")
_FIXED = struct.Struct("<8s8s8sIqddddddHBHI")
_HOST = struct.Struct("<H")
_ABSENT = 0xFFFFFFFF
_MUST_REVALIDATE = 1
_ALWAYS_VALIDATE = 2


@dataclass(slots=True)
class Header:
    """A stored head with what ties it to its body.

    - *token*: random identity of the body file.
    - *edition*: random identity of this head; new whenever the head is replaced.
    - *parent*: for an encoded sibling the *edition* that it was made from.
    - *checksum*: CRC-32 of the body; 0 for one too large to be read whole.
    """

    stored: StoredResponse
    token: bytes
    edition: bytes
    parent: bytes = NO_PARENT
    checksum: int = 0


def seal(token: bytes) -> bytes:
    """The bytes that follow the body in the file of *token*."""
    return _SEAL_MAGIC + token


def encode(header: Header) -> bytes:
    """The bytes of *header*. Every ``StoredResponse`` has a form."""
    stored = header.stored
    strings: list[bytes | None] = [stored.key, stored.reason]
    for vary in stored.vary:
        strings += vary
    for pair in stored.fields.pairs:
        strings += pair
    flags = _MUST_REVALIDATE * stored.must_revalidate + _ALWAYS_VALIDATE * stored.always_validate
    fixed = _FIXED.pack(
        header.token,
        header.edition,
        header.parent,
        header.checksum,
        stored.body_length,
        stored.request_time,
        stored.response_time,
        stored.initial_age,
        stored.lifetime,
        stored.stale_while_revalidate,
        stored.stale_if_error,
        stored.status,
        flags,
        len(stored.vary),
        len(stored.fields.pairs),
    )
    lengths = struct.pack(
        f"<{len(strings)}I", *[_ABSENT if text is None else len(text) for text in strings]
    )
    texts = [text for text in strings if text is not None]
    payload = b"".join([fixed, lengths, *texts, _HOST.pack(len(stored.host)), stored.host])
    return _FRAME.pack(_MAGIC, VERSION, len(payload), zlib.crc32(payload)) + payload


def decode(data: bytes) -> Header:
    """The header that ``encode`` made *data* from.

    Raises ``StorageError`` for anything else: another version, a cut, a flipped bit.
    """
    if len(data) < _FRAME.size:
        raise StorageError("stored head is too short")
    magic, version, length, checksum = _FRAME.unpack_from(data)
    if magic != _MAGIC or version != VERSION:
        raise StorageError("stored head is of another version")
    payload = data[_FRAME.size :]
    if len(payload) != length or zlib.crc32(payload) != checksum:
        raise StorageError("stored head is corrupted")
    try:
        return _decode_payload(payload)
    except (struct.error, IndexError) as error:
        raise StorageError("stored head is malformed") from error


def _decode_payload(payload: bytes) -> Header:
    fixed = _FIXED.unpack_from(payload)
    vary_count, field_count = fixed[13], fixed[14]
    count = 2 + 2 * vary_count + 2 * field_count
    lengths = struct.unpack_from(f"<{count}I", payload, _FIXED.size)
    position = _FIXED.size + 4 * count
    strings: list[bytes | None] = []
    for length in lengths:
        if length == _ABSENT:
            strings.append(None)
        else:
            strings.append(payload[position : position + length])
            position += length
    if position > len(payload):
        raise StorageError("stored head is malformed")
    first_field = 2 + 2 * vary_count
    if None in strings[first_field:]:
        raise StorageError("stored head is malformed")
    host = b""
    if position < len(payload):
        position += _HOST.size
        (length,) = _HOST.unpack_from(payload, position - _HOST.size)
        host = payload[position : position + length]
        if len(host) != length:
            raise StorageError("stored head is malformed")
    stored = StoredResponse(
        key=strings[0] or b"",
        status=fixed[11],
        reason=strings[1] or b"",
        fields=Fields(zip(strings[first_field::2], strings[first_field + 1 :: 2])),  # type: ignore[arg-type]  # noqa: B905  # checked above: no None
        request_time=fixed[5],
        response_time=fixed[6],
        initial_age=fixed[7],
        lifetime=fixed[8],
        vary=tuple((strings[at] or b"", strings[at + 1]) for at in range(2, first_field, 2)),
        stale_while_revalidate=fixed[9],
        stale_if_error=fixed[10],
        must_revalidate=bool(fixed[12] & _MUST_REVALIDATE),
        always_validate=bool(fixed[12] & _ALWAYS_VALIDATE),
        body_length=fixed[4],
        host=host,
    )
    return Header(stored, fixed[0], fixed[1], fixed[2], fixed[3])
