"""What Twisted's own tests do not ask of a connection that writes, is fed and is closed."""

from __future__ import annotations

# Most of Twisted's own methods have no annotations.
# mypy: disable-error-code="no-untyped-call"
import socket
import threading
from collections.abc import Callable
from typing import Any

from twisted.internet import error

from tests.net.reactor.connections import (
    LARGE,
    ConnectionCase,
    DirectRecorder,
    HalfCloseableRecorder,
    Recorder,
    read_all,
)


class WritingTests(ConnectionCase):
    """From the protocol to uvloop."""

    def test_all_is_sent_before_closing(self) -> None:
        """``loseConnection`` flushes; a later write is ignored."""

        def made(server: Any) -> None:
            server.transport.write(b"a" * LARGE)
            server.transport.writeSequence([b"b", b"", b"c"])
            server.transport.loseConnection()
            server.transport.write(b"ignored")
            server.transport.writeSequence([b"ignored"])

        server, answer = self.serve(DirectRecorder, {"made": made}, read_all)
        self.assertTrue(answer == b"a" * LARGE + b"bc")
        self.assertIsInstance(server.reason, error.ConnectionDone)

    def test_all_is_sent_before_closing_one_half(self) -> None:
        """``loseWriteConnection`` flushes, tells, and leaves the other half open."""

        def made(server: Any) -> None:
            server.transport.write(b"a" * LARGE)
            server.transport.loseWriteConnection()
            server.transport.write(b"b")

        def client(connection: socket.socket) -> bytes:
            answer = read_all(connection)
            connection.sendall(b"after")
            return answer

        script: dict[str, Callable[[Any], object]] = {
            "made": made,
            "read lost": lambda server: server.transport.loseConnection(),
        }
        server, answer = self.serve(HalfCloseableRecorder, script, client)
        self.assertTrue(answer == b"a" * LARGE + b"b")
        self.assertEqual(server.received, b"after")
        self.assertEqual(server.events, ["made", "write lost", "data", "read lost", "lost"])

    def test_an_abort_resets(self) -> None:
        """The peer can tell an abort from an end. What waits is dropped."""

        def abort(server: Any) -> None:
            server.transport.write(b"a" * LARGE)
            server.transport.abortConnection()
            server.transport.write(b"ignored")

        def client(connection: socket.socket) -> str:
            connection.sendall(b"x")
            try:
                read_all(connection)
            except ConnectionResetError:
                return "reset"
            return "end"

        server, end = self.serve(DirectRecorder, {"data": abort}, client)
        self.assertEqual(end, "reset")
        self.assertIsInstance(server.reason, error.ConnectionAborted)

    def test_writes_after_the_end_are_ignored(self) -> None:
        """So are all other calls that a late event may make."""
        transports = []
        server, _ = self.serve(
            DirectRecorder,
            {"made": lambda server: transports.append(server.transport)},
            lambda connection: None,
        )
        (transport,) = transports
        transport.write(b"x")
        transport.writeSequence([b"x"])
        transport.pauseProducing()
        transport.resumeProducing()
        transport.loseWriteConnection()
        transport.loseConnection()
        transport.abortConnection()
        transport.unregisterProducer()
        self.assertEqual(transport.getPeer().host, "127.0.0.1")
        self.assertEqual(transport.fileno(), -1)
        self.assertEqual(server.events, ["made", "lost"])

    def test_options_are_the_sockets(self) -> None:
        """Source: ITCPTransport. Nagle's algorithm is off from the start."""
        seen: list[object] = []

        def made(server: Any) -> None:
            transport = server.transport
            seen.append(transport.getTcpNoDelay())
            transport.setTcpNoDelay(False)
            transport.setTcpKeepAlive(True)
            handle = transport.getHandle()
            seen.append(handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            seen.append(handle.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
            seen.append((transport.getTcpNoDelay(), transport.getTcpKeepAlive()))
            transport.loseConnection()

        self.serve(Recorder, {"made": made}, read_all)
        self.assertEqual(seen, [True, 0, 1, (False, True)])


class ProducerTests(ConnectionCase):
    """Source: IConsumer, IPushProducer, IPullProducer."""

    def test_a_pull_producer_is_asked_until_it_has_finished(self) -> None:
        """Once per empty buffer; ``loseConnection`` waits for it."""

        class Pull:
            left = 40
            transport: Any

            def resumeProducing(self) -> None:
                self.left -= 1
                self.transport.write(b"p" * (LARGE // 40))
                if not self.left:
                    self.transport.unregisterProducer()

            def stopProducing(self) -> None:
                raise AssertionError("it had finished")

        def made(server: Any) -> None:
            producer = Pull()
            producer.transport = server.transport
            server.transport.registerProducer(producer, False)
            server.transport.loseConnection()

        server, answer = self.serve(DirectRecorder, {"made": made}, read_all)
        self.assertEqual(len(answer), LARGE // 40 * 40)
        self.assertIsInstance(server.reason, error.ConnectionDone)

    def test_a_push_producer_is_paused_while_the_peer_does_not_read(self) -> None:
        """And resumed after; nothing is lost, and no more than one write is kept."""
        waiting: list[int] = []

        class Push:
            left = LARGE
            paused = False
            transport: Any
            times = 0

            def produce(self) -> None:
                while not self.paused and self.left:
                    self.left -= 65536
                    self.transport.write(b"p" * 65536)
                    waiting.append(self.transport._uv.get_write_buffer_size())
                if not self.left:
                    self.transport.unregisterProducer()
                    self.transport.loseConnection()

            def pauseProducing(self) -> None:
                self.times += 1
                self.paused = True

            def resumeProducing(self) -> None:
                self.paused = False
                self.produce()

            def stopProducing(self) -> None:
                raise AssertionError("it had finished")

        producer = Push()
        blocked = threading.Event()

        def made(server: Any) -> None:
            producer.transport = server.transport
            server.transport.registerProducer(producer, True)
            producer.produce()
            blocked.set()

        def client(connection: socket.socket) -> bytes:
            blocked.wait(10)
            return read_all(connection)

        _, answer = self.serve(DirectRecorder, {"made": made}, client)
        self.assertEqual(len(answer), LARGE)
        self.assertGreater(producer.times, 0)
        self.assertLessEqual(max(waiting), 2 * 65536)

    def test_registering_late_pauses_at_once(self) -> None:
        """uvloop tells of a full buffer once; a producer registered after that must know."""
        calls: list[str] = []

        class Push:
            def pauseProducing(self) -> None:
                calls.append("pause")

            def resumeProducing(self) -> None:
                calls.append("resume")
                transport[0].unregisterProducer()
                transport[0].loseConnection()

            def stopProducing(self) -> None:
                calls.append("stop")

        transport: list[Any] = []
        blocked = threading.Event()

        def made(server: Any) -> None:
            transport.append(server.transport)
            server.transport.write(b"a" * LARGE)
            server.transport.registerProducer(Push(), True)
            calls.append("registered")
            blocked.set()

        def client(connection: socket.socket) -> bytes:
            blocked.wait(10)
            return read_all(connection)

        self.serve(Recorder, {"made": made}, client)
        self.assertEqual(calls, ["pause", "registered", "resume"])

    def test_a_lost_connection_stops_its_producer(self) -> None:
        """Before the protocol is told."""
        calls: list[str] = []

        class Push:
            def stopProducing(self) -> None:
                calls.append("stop")

        def made(server: Any) -> None:
            server.transport.registerProducer(Push(), True)
            self.assertRaises(RuntimeError, server.transport.registerProducer, Push(), True)

        server, _ = self.serve(Recorder, {"made": made}, lambda connection: None)
        self.assertEqual(calls, ["stop"])
        server.transport.registerProducer(Push(), True)
        self.assertEqual(calls, ["stop", "stop"])
