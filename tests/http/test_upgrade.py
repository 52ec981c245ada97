"""WebSocket handshakes."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.http.fields import Fields
from cacheproxy.http.messages import RequestHead, ResponseHead
from cacheproxy.http.upgrade import accept_value, answers_handshake, is_websocket_handshake

_KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
_FIELDS = {
    b"Host": b"a",
    b"Upgrade": b"WebSocket",
    b"Connection": b"keep-alive, Upgrade",
    b"Sec-WebSocket-Key": _KEY,
    b"Sec-WebSocket-Version": b"13",
}


def _head(
    changes: dict[bytes, bytes] | None = None,
    method: bytes = b"GET",
    version: int = 11,
    body_length: int | None = None,
) -> RequestHead:
    fields = {**_FIELDS, **(changes or {})}
    pairs = [(name, value) for name, value in fields.items() if value]
    return RequestHead(method, b"/", version, Fields(pairs), body_length)


class HandshakeTests(SynchronousTestCase):
    def test_accepted(self) -> None:
        """RFC 6455 §4.2.1."""
        self.assertTrue(is_websocket_handshake(_head()))

    def test_refused(self) -> None:
        """Each requirement counts by itself."""
        for head in (
            _head(method=b"POST"),
            _head(version=10),
            _head(body_length=3),
            *(_head({name: b""}) for name in _FIELDS),
            _head({b"Upgrade": b"h2c"}),
            _head({b"Connection": b"close"}),
            _head({b"Sec-WebSocket-Version": b"8"}),
            _head({b"Sec-WebSocket-Key": b"c2hvcnQ="}),
            _head({b"Sec-WebSocket-Key": _KEY[:-3] + b"B=="}),
            _head({b"sec-websocket-key": _KEY}),
        ):
            self.assertFalse(is_websocket_handshake(head), head.fields)

    def test_answer(self) -> None:
        """RFC 6455 §1.3 gives the value for this key."""
        self.assertEqual(accept_value(_KEY), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        pairs = [
            (b"Upgrade", b"websocket"),
            (b"Connection", b"Upgrade"),
            (b"Sec-WebSocket-Accept", accept_value(_KEY)),
        ]
        self.assertTrue(answers_handshake(_head(), ResponseHead(101, Fields(pairs))))
        for index in range(3):
            fewer = pairs[:index] + pairs[index + 1 :]
            self.assertFalse(answers_handshake(_head(), ResponseHead(101, Fields(fewer))))
        pairs[2] = (b"Sec-WebSocket-Accept", accept_value(_KEY[::-1]))
        self.assertFalse(answers_handshake(_head(), ResponseHead(101, Fields(pairs))))

    def test_answer_of_another_protocol(self) -> None:
        """What is no WebSocket handshake proves nothing, and need not."""
        asked = _head({b"Upgrade": b"tcp"})
        self.assertTrue(answers_handshake(asked, ResponseHead(101, Fields([]))))
