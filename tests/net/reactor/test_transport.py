"""What Twisted's own tests do not ask of a connection that reads, and of its end."""

from __future__ import annotations

# Most of Twisted's own methods have no annotations.
# mypy: disable-error-code="no-untyped-call"
import socket
import struct
from typing import Any

from twisted.internet import error

from cacheproxy.net.reactor.interfaces import give_way
from tests.net.reactor.connections import ConnectionCase, DirectRecorder, Recorder, read_all


class ReadingTests(ConnectionCase):
    """From uvloop to the protocol."""

    def test_a_direct_protocol_is_called_by_uvloop_itself(self) -> None:
        """Nothing of ours stands between."""
        seen = []

        def look(server: Any) -> None:
            seen.append(server.transport.data_received == server.dataReceived)
            server.transport.loseConnection()

        def client(connection: socket.socket) -> bytes:
            connection.sendall(b"x")
            return read_all(connection)

        server, _ = self.serve(DirectRecorder, {"data": look}, client)
        self.assertEqual(seen, [True])
        self.assertIsInstance(server.reason, error.ConnectionDone)

    def test_assigning_protocol_redirects_a_direct_connection(self) -> None:
        """As ``startTLS``, protocol wrappers and upgrades do."""
        other = DirectRecorder()
        other.script = {"data": lambda _: server_transport[0].loseConnection()}
        server_transport = []

        def switch(server: Any) -> None:
            server_transport.append(server.transport)
            server.transport.protocol = other
            server.transport.write(b"go on")

        def client(connection: socket.socket) -> bytes:
            connection.sendall(b"first")
            answer = connection.recv(100)
            connection.sendall(b"second")
            other_rest = read_all(connection)
            return answer + other_rest

        done: list[Any] = []
        other.script["lost"] = lambda _: done[0].script["lost"](None)
        server, answer = self.serve(DirectRecorder, {"made": done.append, "data": switch}, client)
        self.assertEqual((server.received, other.received), (b"first", b"second"))
        self.assertEqual(answer, b"go on")

    def test_breathing_lets_the_turn_end(self) -> None:
        """After ``breathe`` the next bytes come in a later turn, and all of them do."""
        turns: list[int] = []
        turn = [0]

        def made(server: Any) -> None:
            def tick() -> None:
                turn[0] += 1
                if server.transport.connected:
                    server.transport.reactor.callSoon(tick)

            tick()

        def data(server: Any) -> None:
            turns.append(turn[0])
            give_way(server.transport)
            if len(server.received) >= len(sent):
                server.transport.loseConnection()

        sent = b"x" * (4 << 20)

        def client(connection: socket.socket) -> bytes:
            connection.sendall(sent)
            return read_all(connection)

        server, _ = self.serve(DirectRecorder, {"made": made, "data": data}, client)
        self.assertEqual(len(server.received), len(sent))
        self.assertGreater(len(turns), 1)
        self.assertEqual(len(set(turns)), len(turns))

    def test_pausing_in_connection_made_reads_nothing(self) -> None:
        """uvloop starts to read after ``connection_made``, unless it is kept from it."""

        def made(server: Any) -> None:
            server.transport.pauseProducing()
            server.transport.reactor.callLater(0.05, later, server)

        def later(server: Any) -> None:
            server.happened("resumed")
            server.transport.resumeProducing()

        def client(connection: socket.socket) -> bytes:
            connection.sendall(b"early")
            connection.shutdown(socket.SHUT_WR)
            return read_all(connection)

        server, _ = self.serve(Recorder, {"made": made}, client)
        self.assertEqual(server.events, ["made", "resumed", "data", "lost"])
        self.assertEqual(server.received, b"early")

    def test_what_is_due_at_once_comes_before_the_first_bytes(self) -> None:
        """``callLater(0)`` in ``connectionMade``, as on Twisted's reactors."""

        def made(server: Any) -> None:
            server.transport.reactor.callLater(0, server.happened, "called")

        def client(connection: socket.socket) -> None:
            connection.sendall(b"early")

        server, _ = self.serve(Recorder, {"made": made}, client)
        self.assertEqual(server.events, ["made", "called", "data", "lost"])

    def test_an_oserror_out_of_a_protocol_is_logged_and_the_reason(self) -> None:
        """uvloop reports every exception but OSError, which it takes for the socket's."""
        for kind in (Recorder, DirectRecorder):

            def fail(server: Any) -> None:
                raise OSError("not the socket's")

            def client(connection: socket.socket) -> bytes:
                connection.sendall(b"x")
                return read_all(connection)

            server, _ = self.serve(kind, {"data": fail}, client)
            self.assertIsInstance(server.reason, OSError)
            self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    def test_a_reset_is_a_lost_connection(self) -> None:
        """ConnectionLost, not ConnectionDone, and nothing is logged."""

        def client(connection: socket.socket) -> None:
            connection.sendall(b"x")
            connection.recv(1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        server, _ = self.serve(
            DirectRecorder, {"data": lambda server: server.transport.write(b"y")}, client
        )
        self.assertIsInstance(server.reason, error.ConnectionLost)
