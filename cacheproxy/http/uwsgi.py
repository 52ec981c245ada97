"""The uwsgi protocol's request packet: a header of four bytes, then variables.

The header is modifier1, the size of what follows (16 bits, little-endian) and
modifier2. Each variable is a name and a value, each led by its own length (16 bits,
little-endian). The request's body follows the packet without any framing.

Source: the uwsgi protocol's specification; nginx ``ngx_http_uwsgi_create_request``.
Imports nothing of the project.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import pack

__all__ = ["MAX_VARIABLES", "PacketTooLarge", "encode_packet"]

#: Bytes of all variables together, their lengths included: what the header can say.
MAX_VARIABLES = 65535


class _Lengths(dict[int, bytes]):
    """Lengths as the protocol writes them; those of names and usual values are kept."""

    def __missing__(self, length: int) -> bytes:
        # One that 16 bits cannot say makes the whole too large, which is seen at the end.
        return pack("<H", length & 0xFFFF)


_LENGTHS = _Lengths({length: pack("<H", length) for length in range(1024)})


class PacketTooLarge(ValueError):
    """The variables do not fit into a packet; *size* is what they would take."""

    def __init__(self, size: int) -> None:
        super().__init__(f"uwsgi request is too big: {size}")
        self.size = size


def encode_packet(
    variables: Iterable[tuple[bytes, bytes]], modifier1: int = 0, modifier2: int = 0
) -> bytes:
    """The packet that says *variables*; raises :class:`PacketTooLarge`."""
    lengths = _LENGTHS
    block = b"".join(
        [
            part
            for name, value in variables
            for part in (lengths[len(name)], name, lengths[len(value)], value)
        ]
    )
    if len(block) > MAX_VARIABLES:
        raise PacketTooLarge(len(block))
    return pack("<BHB", modifier1, len(block), modifier2) + block
