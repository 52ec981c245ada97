"""The server name of a ClientHello, read before OpenSSL sees the connection.

OpenSSL looks a session up in the context that a connection was made with, and
only then asks which context the server name wants. A session of one server can
so be resumed under the name of another. Reading the name first lets each
connection be made with its own server's context: sessions and tickets then never
cross servers.

The parser is lenient on purpose: what it cannot read it calls ``malformed``, and
OpenSSL, which gets the same bytes, answers with the right alert. ``tls`` compares
the two readings after the handshake.

Source: RFC 8446 §4.1.2, §5.1; RFC 6066 §3. Imports nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MAX_CLIENT_HELLO", "ClientHello", "parse_client_hello"]

#: Bytes of a ClientHello, its handshake header included. Browsers send below
#: 2 KB, with post-quantum key shares and a ticket; OpenSSL itself stops at 128 KB.
MAX_CLIENT_HELLO = 64 * 1024

_HANDSHAKE_RECORD = 22
_CLIENT_HELLO = 1
_SERVER_NAME = 0
_HOST_NAME = 0
_MAX_FRAGMENT = 16384


@dataclass(frozen=True, slots=True)
class ClientHello:
    """What was read; *server_name* is as sent, empty where there is none."""

    server_name: bytes = b""
    malformed: bool = False


_MALFORMED = ClientHello(malformed=True)


def parse_client_hello(data: bytes) -> ClientHello | None:
    """The first handshake message in *data*; None while more bytes are needed.

    Never raises: anything unexpected gives a ``malformed`` record.
    """
    message = bytearray()
    position = 0
    while len(data) >= position + 5:
        length = data[position + 3] << 8 | data[position + 4]
        if data[position] != _HANDSHAKE_RECORD or not 0 < length <= _MAX_FRAGMENT:
            return _MALFORMED
        stop = position + 5 + length
        if len(data) < stop:
            return None
        message += data[position + 5 : stop]
        position = stop
        if len(message) < 4:
            continue
        size = 4 + int.from_bytes(message[1:4], "big")
        if message[0] != _CLIENT_HELLO or size > MAX_CLIENT_HELLO:
            return _MALFORMED
        if len(message) >= size:
            return _read_message(message[4:size])
    return None if len(data) < 1 or data[0] == _HANDSHAKE_RECORD else _MALFORMED


def _read_message(body: bytes | bytearray) -> ClientHello:
    """RFC 8446 §4.1.2: skip to the extensions and find ``server_name``."""
    try:
        position = 2 + 32
        position += 1 + body[position]
        position += 2 + int.from_bytes(body[position : position + 2], "big")
        position += 1 + body[position]
        if position == len(body):
            return ClientHello()
        stop = position + 2 + int.from_bytes(body[position : position + 2], "big")
        if stop != len(body):
            return _MALFORMED
        position += 2
        while position < stop:
            kind = body[position] << 8 | body[position + 1]
            length = body[position + 2] << 8 | body[position + 3]
            position += 4
            if position + length > stop:
                return _MALFORMED
            if kind == _SERVER_NAME:
                return _read_server_name(bytes(body[position : position + length]))
            position += length
    except IndexError:
        return _MALFORMED
    return ClientHello()


def _read_server_name(extension: bytes) -> ClientHello:
    """RFC 6066 §3, one ``host_name`` entry; more than one is refused, as OpenSSL does."""
    if (
        len(extension) < 6
        or extension[0] << 8 | extension[1] != len(extension) - 2
        or extension[2] != _HOST_NAME
        or extension[3] << 8 | extension[4] != len(extension) - 5
    ):
        return _MALFORMED
    name = extension[5:]
    return _MALFORMED if b"\0" in name else ClientHello(name)
