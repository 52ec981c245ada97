"""The stream that both ends share: closing, records, flow control."""

import dataclasses
import ssl

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet import error
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import connectionDone
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from cacheproxy.net.tls.contexts import ServerContexts, make_server_context
from cacheproxy.net.tls.stream import TlsFailure, TruncatedClose
from tests.net.tls.test_accept import HELLO, OPTIONS, Server
from tests.net.tls_peers import Recorder


@implementer(IHalfCloseableProtocol)
class HalfCloseable(Recorder):
    read_closed = False

    def readConnectionLost(self) -> None:
        self.read_closed = True

    def writeConnectionLost(self) -> None:
        pass


class ClosingTests(SynchronousTestCase):
    def test_lose_connection_sends_close_notify_behind_the_data(self) -> None:
        """RFC 8446 §6.1."""
        server = Server()
        peer = server.peer()
        server.tls.write(b"last words")
        server.tls.loseConnection()
        peer.run()
        self.assertEqual((peer.received, peer.finished), (b"last words", True))
        self.assertTrue(server.wire.disconnecting)
        server.tls.write(b"ignored")
        self.assertEqual(server.wire.value(), b"")

    def test_writes_while_receiving_then_close(self) -> None:
        """What is gathered while data is delivered is sent before close_notify."""
        server = Server()

        def answer(_data: bytes) -> None:
            server.tls.write(b"head ")
            server.tls.write(b"body")
            server.tls.loseConnection()

        server.inner.on_data = answer
        peer = server.peer().send(b"request")
        self.assertEqual((peer.received, peer.finished), (b"head body", True))

    def test_half_close_keeps_reading(self) -> None:
        """``loseWriteConnection``: close_notify goes out, data still comes in."""
        server = Server(HalfCloseable())
        peer = server.peer()
        server.tls.loseWriteConnection()
        peer.run()
        self.assertTrue(peer.finished)
        self.assertTrue(server.wire.write_closed)
        self.assertFalse(server.wire.disconnecting)
        peer.send(b"late")
        self.assertEqual(server.inner.received, b"late")

    def close_by_peer(self, inner: Recorder) -> Server:
        server = Server(inner)
        peer = server.peer()
        try:
            peer.tls.unwrap()
        except ssl.SSLError:
            pass
        server.tls.dataReceived(peer.outgoing.read())
        self.assertTrue(server.tls.close_notify_received)
        return server

    def test_close_notify_of_the_peer_ends_the_connection(self) -> None:
        """It is a clean end for a protocol that knows no half close."""
        inner = Recorder()
        server = self.close_by_peer(inner)
        self.assertTrue(server.wire.disconnecting)
        server.tls.connectionLost(connectionDone)
        assert inner.lost is not None
        self.assertTrue(inner.lost.check(error.ConnectionDone))

    def test_close_notify_of_the_peer_is_a_half_close(self) -> None:
        """A protocol that can go on writing is told, and can."""
        inner = HalfCloseable()
        server = self.close_by_peer(inner)
        self.assertTrue(inner.read_closed)
        self.assertFalse(server.wire.disconnecting)
        server.wire.clear()
        server.tls.write(b"x")
        self.assertNotEqual(server.wire.value(), b"")

    def test_truncated_close_is_told_apart(self) -> None:
        """A FIN without close_notify may be an attacker's."""
        server = Server()
        server.peer()
        server.tls.connectionLost(connectionDone)
        assert server.inner.lost is not None
        self.assertTrue(server.inner.lost.check(TruncatedClose))
        self.assertTrue(server.inner.lost.check(error.ConnectionLost))

    def test_protocol_that_forgot_its_transport_hears_of_the_end(self) -> None:
        """Whoever was connected is told, whatever it did with its attributes."""
        server = Server()
        server.peer()
        server.inner.transport = None
        server.tls.connectionLost(connectionDone)
        self.assertIsNotNone(server.inner.lost)

    def test_end_during_the_handshake(self) -> None:
        """The reason says that it never got to data."""
        server = Server()
        server.tls.dataReceived(HELLO)
        server.tls.connectionLost(connectionDone)
        assert server.inner.lost is not None
        self.assertTrue(server.inner.lost.check(TlsFailure))

    def test_error_in_the_protocol_above_ends_only_the_connection(self) -> None:
        """An exception is logged and goes no further."""
        server = Server()

        def fail(_data: bytes) -> None:
            raise ValueError("bug")

        server.inner.on_data = fail
        server.peer().send(b"x")
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertTrue(server.wire.disconnected or server.wire.disconnecting)


class RecordTests(SynchronousTestCase):
    def records(self, data: bytes) -> int:
        count = position = 0
        while position < len(data):
            position += 5 + int.from_bytes(data[position + 3 : position + 5], "big")
            count += 1
        return count

    def test_answer_leaves_in_one_record(self) -> None:
        """Head and body written while a request is delivered: one record, one write."""
        server = Server()
        peer = server.peer()
        server.inner.on_data = lambda data: (server.tls.write(b"head"), server.tls.write(b"body"))
        peer.tls.write(b"request")
        server.wire.writes = 0
        server.tls.dataReceived(peer.outgoing.read())
        self.assertEqual(server.wire.writes, 1)
        self.assertEqual(self.records(server.wire.value()), 1)
        peer.run()
        self.assertEqual(peer.received, b"headbody")

    def test_long_writes_are_sliced(self) -> None:
        """``ssl_buffer_size`` bounds the records."""
        options = dataclasses.replace(OPTIONS, buffer_size=4096)
        server = Server(contexts=ServerContexts(make_server_context(options)))
        peer = server.peer()
        server.tls.writeSequence([b"x" * 10_000, b"y" * 10_000])
        self.assertEqual(self.records(server.wire.value()), 5)
        peer.run()
        self.assertEqual(peer.received, b"x" * 10_000 + b"y" * 10_000)

    def test_written_before_the_handshake(self) -> None:
        """What the protocol above writes early is sent when it can be."""
        server = Server()
        server.tls.write(b"early")
        peer = server.peer()
        self.assertEqual(peer.received, b"early")

    @settings(max_examples=25, deadline=None)
    @given(st.lists(st.binary(min_size=1, max_size=40_000), max_size=5), st.integers(1, 5000))
    def test_any_split_delivers_the_same(self, messages: list[bytes], size: int) -> None:
        """Short way and long way are one: however TCP cuts, the bytes arrive in order."""
        server = Server()
        peer = server.peer()
        for message in messages:
            peer.tls.write(message)
        data = peer.outgoing.read()
        for position in range(0, len(data), size):
            server.tls.dataReceived(data[position : position + size])
        self.assertEqual(server.inner.received, b"".join(messages))
        peer.send(b"end")
        self.assertTrue(server.inner.received.endswith(b"end"))


class FlowControlTests(SynchronousTestCase):
    def test_pause_holds_what_was_read(self) -> None:
        """Nothing is delivered while paused, nor within ``resumeProducing``; nothing is lost."""
        server = Server()
        peer = server.peer()
        server.inner.on_data = lambda data: server.tls.pauseProducing()
        for part in (b"one", b"two", b"three"):
            peer.tls.write(part)
        server.tls.dataReceived(peer.outgoing.read())
        self.assertEqual(server.inner.received, b"one")
        self.assertEqual(server.wire.producerState, "paused")
        peer.send(b"four")
        self.assertEqual(server.inner.received, b"one")
        server.inner.on_data = lambda data: None
        server.tls.resumeProducing()
        self.assertEqual(server.inner.received, b"one")
        server.clock.advance(0)
        self.assertEqual(server.inner.received, b"onetwothreefour")
        self.assertEqual(server.wire.producerState, "producing")

    def test_transport_that_does_not_pause_is_cut_off(self) -> None:
        """What is held while paused is bounded."""
        server = Server()
        peer = server.peer()
        server.tls.pauseProducing()
        for _ in range(20):
            peer.send(b"x" * 100_000)
        self.assertTrue(server.wire.disconnecting)

    def test_push_producer_belongs_to_the_transport_below(self) -> None:
        """Back-pressure is the transport's own; closing does not wait for the producer."""
        server = Server()
        server.peer()

        class Producer:
            pass

        producer = Producer()
        server.tls.registerProducer(producer, True)
        self.assertIs(server.wire.producer, producer)
        self.assertRaises(RuntimeError, server.tls.registerProducer, producer, True)
        server.tls.loseConnection()
        self.assertIsNone(server.wire.producer)
        self.assertTrue(server.wire.disconnecting)

    def test_pull_producer_finishes_before_the_close(self) -> None:
        """As on TCP: ``loseConnection`` waits for it."""
        server = Server()
        peer = server.peer()
        tls = server.tls

        class Pull:
            def resumeProducing(self) -> None:
                tls.write(b"part")

            def stopProducing(self) -> None:
                pass

        producer = Pull()
        tls.registerProducer(producer, False)
        producer.resumeProducing()
        tls.loseConnection()
        producer.resumeProducing()
        self.assertFalse(server.wire.disconnecting)
        tls.unregisterProducer()
        peer.run()
        self.assertEqual(peer.received, b"partpart")
        self.assertTrue(peer.finished and server.wire.disconnecting)
