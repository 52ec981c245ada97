"""The server name read from a ClientHello, whole, in pieces, and from garbage."""

import ssl

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.net.tls.client_hello import MAX_CLIENT_HELLO, ClientHello, parse_client_hello


def hello(name: str | None) -> bytes:
    """What the standard library sends."""
    context = ssl.create_default_context()
    context.check_hostname = False
    outgoing = ssl.MemoryBIO()
    connection = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    try:
        connection.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


def in_records(data: bytes, size: int) -> bytes:
    """The same handshake message in records of at most *size* bytes."""
    message = data[5:]
    parts = [message[start : start + size] for start in range(0, len(message), size)]
    return b"".join(b"\x16\x03\x01" + len(part).to_bytes(2, "big") + part for part in parts)


HELLO = hello("www.example.com")


class ParseClientHelloTests(SynchronousTestCase):
    def test_name_is_found(self) -> None:
        """RFC 6066 §3."""
        self.assertEqual(parse_client_hello(HELLO), ClientHello(b"www.example.com"))
        self.assertEqual(parse_client_hello(hello(None)), ClientHello())

    def test_every_prefix_is_incomplete(self) -> None:
        """No verdict before the message is whole; bytes behind it do not matter."""
        for stop in range(len(HELLO)):
            self.assertIsNone(parse_client_hello(HELLO[:stop]))
        self.assertEqual(parse_client_hello(HELLO + b"x"), ClientHello(b"www.example.com"))

    def test_message_in_many_records(self) -> None:
        """RFC 8446 §5.1: a handshake message may span records."""
        for size in (1, 3, 50, 200):
            data = in_records(HELLO, size)
            self.assertIsNone(parse_client_hello(data[:-1]))
            self.assertEqual(parse_client_hello(data), ClientHello(b"www.example.com"))

    def test_too_long_is_malformed(self) -> None:
        """The bound is judged by the announced length, before the bytes are there."""
        size = (MAX_CLIENT_HELLO + 1).to_bytes(3, "big")
        found = parse_client_hello(b"\x16\x03\x01\x00\x04\x01" + size)
        self.assertEqual(found, ClientHello(malformed=True))

    def test_two_names_are_malformed(self) -> None:
        """RFC 6066 §3: not more than one name of a type."""
        position = HELLO.index(b"\x00\x00\x0fwww.example.com") - 2
        changed = HELLO[:position] + b"\x00\x05" + HELLO[position + 2 :]
        self.assertEqual(parse_client_hello(changed), ClientHello(malformed=True))

    @settings(max_examples=200, deadline=None)
    @given(st.binary(max_size=200))
    @example(b"\x16\x03\x01\x00\x00")
    @example(b"\x16\x03\x01\x00\x04\x01\x00\x00\x00")
    def test_garbage_never_raises(self, data: bytes) -> None:
        """Anything gives an answer."""
        parse_client_hello(data)
        parse_client_hello(b"\x16\x03\x01" + len(data).to_bytes(2, "big") + data)

    @settings(max_examples=200, deadline=None)
    @given(st.integers(0, len(HELLO) - 1), st.integers(0, 255))
    def test_changed_bytes_never_raise(self, position: int, value: int) -> None:
        """Nor does a message with one byte changed."""
        parse_client_hello(HELLO[:position] + bytes([value]) + HELLO[position + 1 :])
