"""The WebSocket opening handshake, as seen by an intermediary.

RFC 6455 §4.2.1 (what a request must have), §4.2.2 (how the answer proves itself).

Imports: ``messages``, ``syntax``.
"""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha1

from cacheproxy.http.fields import Fields
from cacheproxy.http.messages import RequestHead, ResponseHead
from cacheproxy.http.syntax import list_tokens

__all__ = ["accept_value", "answers_handshake", "is_websocket_handshake"]

# 16 bytes in base64: 22 digits, the last of which carries only two bits.
_KEY = re.compile(rb"[A-Za-z0-9+/]{21}[AQgw]==")
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def is_websocket_handshake(head: RequestHead) -> bool:
    """Whether *head* asks for a WebSocket, with nothing missing, repeated or odd.

    Source: RFC 6455 §4.2.1. A request with a body is none: its bytes could not
    be told from frames.
    """
    if head.method != b"GET" or head.version != 11 or head.body_length is not None:
        return False
    fields = head.fields
    keys = fields.get_all(b"sec-websocket-key")
    return (
        len(keys) == 1
        and _KEY.fullmatch(keys[0]) is not None
        and fields.get_all(b"sec-websocket-version") == [b"13"]
        and b"host" in fields
        and _switches_to_websocket(fields)
    )


def answers_handshake(request: RequestHead, head: ResponseHead) -> bool:
    """Whether the 101 *head* may join the two connections of *request*.

    A WebSocket's must prove that it answers this handshake (RFC 6455 §4.1): a status of 101
    alone may have been brought about by a client, to reach what is behind the origin's front.
    What asked for another protocol is not judged.
    """
    if not is_websocket_handshake(request):
        return True
    key = request.fields.get(b"sec-websocket-key") or b""
    return head.fields.get_all(b"sec-websocket-accept") == [
        accept_value(key)
    ] and _switches_to_websocket(head.fields)


def accept_value(key: bytes) -> bytes:
    """The Sec-WebSocket-Accept that answers *key* (RFC 6455 §4.2.2)."""
    return b64encode(sha1(key + _GUID, usedforsecurity=False).digest())


def _switches_to_websocket(fields: Fields) -> bool:
    upgrade = fields.combined(b"upgrade")
    connection = fields.combined(b"connection")
    return (
        upgrade is not None
        and connection is not None
        and b"websocket" in list_tokens(upgrade)
        and b"upgrade" in list_tokens(connection)
    )
