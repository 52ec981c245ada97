"""The reactor itself: ``twistd --reactor=uvloop``, or ``install()`` before all else.

Timers, datagrams, processes, threads and descriptors are those of Twisted's asyncio reactor,
over uvloop's loop; TCP, and UNIX streams whose factories allow it, run on uvloop's transports.

A loop must not be used on both sides of a fork. The reactor knows all that was registered with
its loop, so the child makes itself a new one: in ``afterDaemonize``, which ``twistd`` calls, or
when ``run`` finds itself in another process.
"""

from __future__ import annotations

# Most of Twisted's own methods have no annotations.
# mypy: disable-error-code="no-untyped-call"
import asyncio
import os
import signal
import socket
from collections.abc import Callable
from typing import Any

import uvloop
from twisted.internet import error, interfaces, process
from twisted.internet._signals import _MultiSignalHandling
from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.base import ReactorBase
from twisted.internet.main import installReactor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from cacheproxy.net.reactor import tcp, unix
from cacheproxy.net.reactor.transport import StayPaused, StreamConnection

__all__ = ["UvloopReactor", "install"]

_log = Logger()

_left_to_the_parent: list[Any] = []
"""Loops from before a fork. Closing one here would take it from under the parent."""


class _ChildReaping:
    """Reaps child processes on SIGCHLD.

    Twisted's own way needs ``signal.set_wakeup_fd``, which uvloop takes for itself. uvloop, in
    turn, runs Python's signal handlers as soon as a signal arrives.
    """

    def __init__(self, reactor: UvloopReactor) -> None:
        self._reactor = reactor

    def install(self) -> None:
        """Start reaping, beginning with what has ended before."""
        signal.signal(signal.SIGCHLD, self._on_signal)
        signal.siginterrupt(signal.SIGCHLD, False)
        process.reapAllProcesses()

    def uninstall(self) -> None:
        """Stop reaping."""
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)

    def _on_signal(self, number: int, frame: Any) -> None:
        self._reactor.callFromThread(process.reapAllProcesses)


@implementer(interfaces.IReactorDaemonize)
class UvloopReactor(AsyncioSelectorReactor):
    """A Twisted reactor on uvloop.

    ``eventloop`` is a loop of uvloop's, by default a new one, which also becomes asyncio's
    current one. Raises TypeError for any other kind of loop.
    """

    _wake_pending = False

    def __init__(self, eventloop: asyncio.AbstractEventLoop | None = None) -> None:
        if eventloop is None:
            eventloop = uvloop.new_event_loop()
            asyncio.set_event_loop(eventloop)
        elif not isinstance(eventloop, uvloop.Loop):
            raise TypeError(f"a loop of uvloop's is needed, got {eventloop!r}")
        self._pid = os.getpid()
        self._connections: set[StreamConnection] = set()
        self._ports: set[Any] = set()
        super().__init__(eventloop)
        eventloop.set_exception_handler(self._unhandled)

    @staticmethod
    def _unhandled(loop: Any, context: dict[str, Any]) -> None:
        """Log what uvloop could not give to anyone: exceptions out of protocols, mostly."""
        exc = context.get("exception")
        message = context.get("message", "Unhandled error in the event loop")
        if isinstance(exc, StayPaused):
            return
        if exc is None:
            _log.error("{message}", message=message)
        else:
            _log.failure("{message}", Failure(exc), message=message)

    # IReactorTCP, IReactorSocket, IReactorUNIX.

    def listenTCP(self, port: Any, factory: Any, backlog: int = 50, interface: str = "") -> Any:
        """See IReactorTCP: bound and listening on return; raises CannotListenError."""
        listening = tcp.Port(port, factory, backlog, interface, self)
        listening.startListening()
        return listening

    def connectTCP(
        self,
        host: str,
        port: int,
        factory: Any,
        timeout: float = 30.0,
        bindAddress: Any = None,
    ) -> Any:
        """See IReactorTCP."""
        connector = tcp.Connector(host, port, factory, timeout, bindAddress, self)
        connector.connect()
        return connector

    def adoptStreamPort(self, fileDescriptor: int, addressFamily: int, factory: Any) -> Any:
        """See IReactorSocket: listen on a copy of a descriptor that listens already."""
        if addressFamily not in self._supportedAddressFamilies:
            raise error.UnsupportedAddressFamily(addressFamily)
        port: Any
        if addressFamily != socket.AF_UNIX:
            port = tcp.Port._fromListeningDescriptor(self, fileDescriptor, addressFamily, factory)
        elif unix.is_byte_stream(factory):
            port = unix.Port._fromListeningDescriptor(self, fileDescriptor, factory)
        else:
            return super().adoptStreamPort(fileDescriptor, addressFamily, factory)
        port.startListening()
        return port

    def adoptStreamConnection(
        self, fileDescriptor: int, addressFamily: int, factory: Any
    ) -> StreamConnection | None:
        """See IReactorSocket: ``makeConnection`` follows in the next turn of the loop."""
        if addressFamily not in self._supportedAddressFamilies:
            raise error.UnsupportedAddressFamily(addressFamily)
        if addressFamily == socket.AF_UNIX and not unix.is_byte_stream(factory):
            return super().adoptStreamConnection(  # type: ignore[no-any-return]
                fileDescriptor, addressFamily, factory
            )
        sock = socket.fromfd(fileDescriptor, addressFamily, socket.SOCK_STREAM)
        try:
            peer = tcp.stream_address(sock.getpeername())
        except OSError:  # reset by the peer: there is nobody to talk to
            sock.close()
            raise
        protocol = factory.buildProtocol(peer)
        if protocol is None:
            sock.close()
            return None
        connection = tcp.AdoptedConnection(self, protocol, peer)
        self._attach(connection, sock)
        return connection

    def listenUNIX(
        self, address: Any, factory: Any, backlog: int = 50, mode: int = 0o666, wantPID: int = 0
    ) -> Any:
        """See IReactorUNIX: bound and listening on return; raises CannotListenError."""
        if not unix.is_byte_stream(factory):
            return super().listenUNIX(address, factory, backlog, mode, wantPID)
        port = unix.Port(address, factory, backlog, mode, self, wantPID)
        port.startListening()
        return port

    def connectUNIX(
        self, address: Any, factory: Any, timeout: float = 30, checkPID: int = 0
    ) -> Any:
        """See IReactorUNIX."""
        if not unix.is_byte_stream(factory):
            return super().connectUNIX(address, factory, timeout, checkPID)
        connector = unix.Connector(address, factory, timeout, self, checkPID)
        connector.connect()
        return connector

    def _serve(self, make: Callable[[], Any], sock: socket.socket, backlog: int) -> Any:
        """A uvloop server on a listening socket. The coroutine does not wait for anything."""
        starting = self._asyncioEventloop.create_server(make, sock=sock, backlog=backlog)
        try:
            starting.send(None)
        except StopIteration as stop:
            return stop.value
        starting.close()
        raise RuntimeError("uvloop's create_server() waits")

    def _attach(self, connection: StreamConnection, sock: socket.socket) -> None:
        """Give a connected socket to uvloop; raises OSError. ``connection_made`` follows.

        The coroutine waits once, for ``connection_made`` to have returned. Running it by hand
        saves the turn that a task would take to begin.
        """
        attaching: Any = self._asyncioEventloop.create_connection(lambda: connection, sock=sock)
        made = attaching.send(None)
        # uvloop closes the descriptor from now on. It would take the socket object, too, but
        # only when resumed, by when a connection closed at once has closed the descriptor: the
        # object would later close whatever then has its number.
        sock.detach()

        def finish(_: Any) -> None:
            try:
                attaching.send(None)
            except StopIteration:
                pass
            except RuntimeError:
                pass  # closed before it was made; nobody has been told of it

        made.add_done_callback(finish)

    # IReactorFDSet: connections and ports count as readers, though uvloop reads for them.

    def addReader(self, reader: Any) -> None:
        """Watch a descriptor, or let one of our connections read again."""
        if isinstance(reader, StreamConnection):
            reader.startReading()
        else:
            super().addReader(reader)

    def removeReader(self, reader: Any) -> None:
        """Stop watching a descriptor, or pause one of our connections."""
        if isinstance(reader, StreamConnection):
            reader.stopReading()
        else:
            super().removeReader(reader)

    def getReaders(self) -> list[Any]:
        """Everything that reads or accepts."""
        connections = [c for c in self._connections if c.isReading()]
        return [*super().getReaders(), *connections, *self._ports]

    def getWriters(self) -> list[Any]:
        """Everything that waits to write."""
        return [*super().getWriters(), *(c for c in self._connections if c.isWriting())]

    def removeAll(self) -> list[Any]:
        """Stop and return everything that reads, accepts or waits to write."""
        streams: list[Any] = [c for c in self._connections if c.isReading() or c.isWriting()]
        self._connections.difference_update(streams)
        streams += self._ports
        for stream in streams:
            stream.stopReading()
        return [*super().removeAll(), *streams]

    # Running.

    def run(self, installSignalHandlers: bool = True) -> None:
        """Run until stopped."""
        if os.getpid() != self._pid:
            self._renew_loop()
        super().run(installSignalHandlers)
        self._finish_closing()

    def _finish_closing(self) -> None:
        """Let uvloop close the sockets of connections that the end of the run has cut."""
        timer: Any = self._timerHandle
        if timer is not None:
            timer.cancel()
            self._timerHandle = self._scheduledAt = None
        loop = self._asyncioEventloop
        loop.call_soon(loop.stop)
        loop.run_forever()
        self._reschedule()

    def iterate(self, delay: float = 0.0) -> None:
        """Run for ``delay`` seconds and a little."""
        super().iterate(delay)

    def installWaker(self) -> None:
        """uvloop can be woken without a pipe of ours."""

    def wakeUp(self) -> None:
        """Have ``runUntilCurrent`` called soon. Safe in any thread and in signal handlers."""
        if not self._wake_pending:
            self._wake_pending = True
            self._asyncioEventloop.call_soon_threadsafe(self._woken)

    def _woken(self) -> None:
        # First, so that a thread which now finds it set has queued its call before we look.
        self._wake_pending = False
        self.runUntilCurrent()
        self._reschedule()

    # Queued calls share one wake-up; the asyncio reactor makes a timer for each.
    def callSoon(self, function: Callable[[], object]) -> None:
        """Call *function* at the end of this turn; cheaper than ``callLater(0, …)``."""
        self._asyncioEventloop.call_soon(function)

    callFromThread = ReactorBase.callFromThread  # type: ignore[assignment]

    def _signalsFactory(self) -> Any:
        return _MultiSignalHandling((ReactorBase._signalsFactory(self), _ChildReaping(self)))

    # IReactorDaemonize.

    def beforeDaemonize(self) -> None:
        """Nothing has to be prepared."""

    def afterDaemonize(self) -> None:
        """Go on in a child process."""
        self._renew_loop()

    def _renew_loop(self) -> None:
        """Move everything registered with the loop to a new one, in a child process.

        There are no connections to move: they are only made while the reactor runs, and a
        reactor runs once.
        """
        _left_to_the_parent.append(self._asyncioEventloop)
        loop = uvloop.new_event_loop()
        asyncio.set_event_loop(loop)
        loop.set_exception_handler(self._unhandled)
        self._asyncioEventloop = loop
        self._pid = os.getpid()
        readers, self._readers = list(self._readers), {}
        writers, self._writers = list(self._writers), {}
        for reader in readers:
            self.addReader(reader)
        for writer in writers:
            self.addWriter(writer)
        for port in list(self._ports):
            port.forget_server()
            port.startReading()
        self._timerHandle = self._scheduledAt = None
        self._reschedule()
        self._wake_pending = False
        if self.threadCallQueue:
            self.wakeUp()


def install(eventloop: asyncio.AbstractEventLoop | None = None) -> UvloopReactor:
    """Make this the process's reactor; raises ReactorAlreadyInstalledError."""
    reactor = UvloopReactor(eventloop)
    installReactor(reactor)
    return reactor
