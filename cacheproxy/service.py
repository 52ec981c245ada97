"""The service: listeners and runtime of one configuration, signals, reload, stop.

Order of a start: everything that can fail because of the configuration (files,
certificates, ports) is done in ``privilegedStartService``, before twistd or the
``user`` directive give up root; threads and disks start afterwards, in the
final process. A reload builds the whole new configuration beside the old one and
swaps at the end, so a bad one changes nothing. The old one is released when its last
request has ended.

Signals, as nginx: TERM and INT stop fast (twistd's own), QUIT stops gracefully,
HUP reloads, USR1 reopens the logs.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from OpenSSL import SSL
from twisted.application.service import Service
from twisted.internet import defer
from twisted.logger import Logger, globalLogPublisher

from cacheproxy.config.model import Config, Listen, Server
from cacheproxy.errors import CacheproxyError
from cacheproxy.net.descriptors import DescriptorGuard
from cacheproxy.net.listen import Listener
from cacheproxy.net.logs.error_log import ErrorLogObserver
from cacheproxy.net.tls.contexts import ContextStore, ServerContexts
from cacheproxy.net.tls.named import NamedContexts, is_named
from cacheproxy.policy.routing import ServerChooser
from cacheproxy.process import account_of, become, raise_descriptor_limit, settle_memory
from cacheproxy.proxy.front.phases import FRONT
from cacheproxy.proxy.front.remembering import RememberedAnswers
from cacheproxy.proxy.site.site import Site
from cacheproxy.runtime import Runtime

__all__ = ["ProxyService", "check"]

_log = Logger()

#: Seconds between looks at whether the last connection of a graceful stop has ended.
_DRAIN_STEP = 0.05

#: Seconds from the last request on a replaced configuration until its memory is collected:
#: several reloads in a row are then one collection.
_SETTLE_DELAY = 1.0

#: Seconds for which a thread may keep the interpreter from the others (Python's default is
#: ten times that): a disk thread that culls must not hold up requests for as long.
_SWITCH_INTERVAL = 0.0005


class _Address:
    """The servers that share one listening address."""

    def __init__(self, listen: Listen) -> None:
        self.listen = listen
        self.servers: list[Server] = []
        self.default: Server | None = None


def _addresses(config: Config) -> list[_Address]:
    """The listening addresses of *config*, each with its servers in file order."""
    found: dict[object, _Address] = {}
    for server in config.servers:
        for listen in server.listens:
            address = found.setdefault(listen.address, _Address(listen))
            address.servers.append(server)
            if listen.default_server:
                address.default = server
    return list(found.values())


def _contexts(
    address: _Address, store: ContextStore
) -> Callable[[str | None], SSL.Context | None] | None:
    """How a server name chooses its certificate at *address*; None without TLS."""
    if not address.listen.ssl:
        return None
    contexts: dict[int, SSL.Context] = {}
    named: dict[int, NamedContexts] = {}
    for server in address.servers:
        if server.ssl is None:
            continue
        if is_named(server.ssl):
            named[id(server)] = store.named(server.ssl)
        else:
            contexts[id(server)] = store.get(server.ssl)
    default = address.default or address.servers[0]
    chooser = ServerChooser(address.servers, default)

    def choose(name: str) -> SSL.Context | None:
        server, _ = chooser.choose(name.encode("latin-1", "replace"))
        by_name = named.get(id(server))
        return contexts.get(id(server)) if by_name is None else by_name.get(name)

    return ServerContexts(contexts.get(id(default)), choose=choose)


def check(config: Config) -> None:
    """Check what the text alone cannot show, such as certificates: raises ConfigError."""
    store = ContextStore()
    for address in _addresses(config):
        _contexts(address, store)
    account_of(config)


class ProxyService(Service):
    """Serves a configuration; *load* reads it, the first time and at each reload."""

    name = "cacheproxy"

    def __init__(self, load: Callable[[], Config], reactor: Any) -> None:
        self._load = load
        self._reactor = reactor
        self._config: Config | None = None
        self._runtime: Runtime | None = None
        self._listeners: dict[object, Listener] = {}
        #: Listeners that a reload has closed and configurations that it has replaced, which
        #: finish the requests that they have.
        self._closed_listeners: set[Listener] = set()
        self._replaced: set[Runtime] = set()
        self._settling: Any = None
        self._contexts = ContextStore()
        self._guard = DescriptorGuard(reactor)
        self._observer: Any = None
        self._pid_file = ""
        self._stopping = False

    # -- start -------------------------------------------------------------

    def privilegedStartService(self) -> None:
        """Read the configuration, open its files and bind its ports."""
        super().privilegedStartService()  # type: ignore[no-untyped-call]  # Twisted's
        # Before the ports: who sees one bound may send HUP, which ends a process by default.
        self._handle_signals()
        try:
            config = self._load()
            self._begin(config)
        except CacheproxyError as problem:
            for line in problem.lines:
                _log.critical("{line}", line=f"[emerg] {line}")
            self._close_listeners()
            raise SystemExit(1) from problem

    def startService(self) -> None:
        """Become the final process: ``user``, threads, disks, signals, the pid file."""
        if self._runtime is None:
            self.privilegedStartService()
        super().startService()  # type: ignore[no-untyped-call]  # Twisted's
        runtime, config = self._runtime, self._config
        assert runtime is not None and config is not None
        raise_descriptor_limit()
        self._write_pid(config.pid)
        account = account_of(config)
        if account is not None:
            become(config, account, runtime)
        sys.setswitchinterval(_SWITCH_INTERVAL)
        runtime.open()
        settle_memory()
        for warning in config.warnings:
            runtime.error_log.log("warn", warning)

    def _begin(self, config: Config) -> None:
        account_of(config)
        runtime = Runtime(self._reactor, config)
        for address in _addresses(config):
            listener = self._listener(address, runtime, self._contexts)
            listener.open()
            self._listeners[address.listen.address] = listener
        self._config, self._runtime = config, runtime
        self._observe(runtime)

    def _listener(
        self, address: _Address, runtime: Runtime, contexts: ContextStore
    ) -> Listener:
        return Listener(
            address.listen,
            self._site(address, runtime),
            self._reactor,
            _contexts(address, contexts),
            self._guard,
        )

    def _site(self, address: _Address, runtime: Runtime) -> Site:
        default = address.default or address.servers[0]
        return Site(address.listen, address.servers, default, runtime, FRONT, RememberedAnswers())

    def _observe(self, runtime: Runtime) -> None:
        """Copy the framework's own errors into the error log, if there is a file."""
        old, self._observer = self._observer, None
        if old is not None:
            globalLogPublisher.removeObserver(old)
        if runtime.error_log.path is not None:
            self._observer = ErrorLogObserver(runtime.error_log)
            globalLogPublisher.addObserver(self._observer)

    def _write_pid(self, path: str) -> None:
        if not path:
            return
        if os.path.exists(path) and not os.path.isfile(path):
            return  # /dev/null, say, which must not be replaced and not be removed
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            # Whole or not at all: who waits for the file reads it at once.
            fresh = f"{path}.{os.getpid()}"
            with open(fresh, "w", encoding="ascii") as file:
                file.write(f"{os.getpid()}\n")
            os.replace(fresh, path)
        except OSError as failure:
            raise SystemExit(f'open() "{path}" failed ({failure.strerror})') from failure
        self._pid_file = path

    def ports(self) -> dict[object, int]:
        """The port that each listening address is bound to (for ``listen 0``-like tests)."""
        return {address: listener.port for address, listener in self._listeners.items()}

    # -- signals -----------------------------------------------------------

    def _handle_signals(self) -> None:
        calls = {
            signal.SIGHUP: self.reload,
            signal.SIGUSR1: self.reopen_logs,
            signal.SIGQUIT: self.stop_gracefully,
        }
        for number, call in calls.items():
            try:
                signal.signal(number, self._from_signal(call))
            except ValueError:
                return  # not the main thread: whoever embeds us has the signals

    def _from_signal(self, call: Callable[[], object]) -> Callable[[int, object], None]:
        def handle(number: int, frame: object) -> None:
            self._reactor.callFromThread(call)

        return handle

    def reopen_logs(self) -> None:
        """USR1."""
        for runtime in self._replaced:
            runtime.reopen_logs()
        if self._runtime is not None:
            self._runtime.reopen_logs()

    def reload(self) -> bool:
        """HUP: serve the configuration as it is now on disk; a bad one is refused."""
        old = self._runtime
        if old is None:
            return False
        try:
            config = self._load()
            self._swap(config, old)
        except CacheproxyError as problem:
            for line in problem.lines:
                old.error_log.log("emerg", line)
            old.error_log.log("emerg", "the new configuration was refused, the old one serves on")
            return False
        return True

    def _swap(self, config: Config, old: Runtime) -> None:
        runtime = Runtime(self._reactor, config, old)
        contexts = ContextStore(self._contexts)
        opened: list[Listener] = []
        kept: list[tuple[Listener, Site, Any]] = []
        listeners: dict[object, Listener] = {}
        try:
            for address in _addresses(config):
                listener = self._listeners.get(address.listen.address)
                if listener is not None and listener.can_become(address.listen):
                    site = self._site(address, runtime)
                    kept.append((listener, site, _contexts(address, contexts)))
                else:
                    listener = self._listener(address, runtime, contexts)
                    listener.open()
                    opened.append(listener)
                listeners[address.listen.address] = listener
        except CacheproxyError:
            for listener in opened:
                listener.close()
            runtime.abandon()
            raise
        self._replaced.add(old)
        unused = _after(len(self._listeners), lambda: self._release(old))
        contexts.forget_before()
        self._contexts = contexts
        for listener, site, choice in kept:
            listener.replace(site, choice, unused)
        for listener in set(self._listeners.values()) - set(listeners.values()):
            self._closed_listeners.add(listener)
            listener.retire(_both(partial(self._closed_listeners.discard, listener), unused))
        if not self._listeners:
            self._release(old)
        self._listeners = listeners
        self._config, self._runtime = config, runtime
        self._observe(runtime)
        runtime.open()
        for warning in config.warnings:
            runtime.error_log.log("warn", warning)

    def _release(self, old: Runtime) -> None:
        """The last request on a configuration that a reload has replaced is done."""
        if old in self._replaced:
            self._replaced.discard(old)
            old.release()
            if self._settling is None:
                self._settling = self._reactor.callLater(_SETTLE_DELAY, self._settle)

    def _settle(self) -> None:
        self._settling = None
        settle_memory()

    # -- stop --------------------------------------------------------------

    def stop_gracefully(self) -> None:
        """QUIT: accept nothing more, finish what is under way, then stop."""
        if self._stopping or self._config is None:
            return
        self._stopping = True
        for listener in self._listeners.values():
            listener.retire(lambda: None)
        limit = self._config.worker_shutdown_timeout
        deadline = float("inf") if limit is None else self._reactor.seconds() + limit
        # Not at once: what has been accepted just now is made a connection in the next turn.
        self._reactor.callLater(_DRAIN_STEP, self._await_drained, deadline)

    def _await_drained(self, deadline: float) -> None:
        listeners = (*self._listeners.values(), *self._closed_listeners)
        busy = any(listener.factory.connections for listener in listeners)
        if busy and self._reactor.seconds() < deadline:
            self._reactor.callLater(_DRAIN_STEP, self._await_drained, deadline)
        elif self._reactor.running:
            self._reactor.stop()

    def stopService(self) -> Any:
        """TERM, INT: close everything now."""
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted's
        waiting = self._close_listeners()
        runtime, self._runtime = self._runtime, None
        if self._observer is not None:
            globalLogPublisher.removeObserver(self._observer)
            self._observer = None
        if self._settling is not None:
            self._settling.cancel()
            self._settling = None
        for old in self._replaced:
            old.release()
        self._replaced.clear()
        if runtime is not None:
            runtime.close()
        if self._pid_file:
            try:
                os.unlink(self._pid_file)
            except OSError as failure:
                _log.warn("unlink of the pid file failed: {why}", why=failure.strerror)
            self._pid_file = ""
        return defer.gatherResults(waiting) if waiting else None

    def _close_listeners(self) -> list[Any]:
        waiting = []
        for listener in (*self._listeners.values(), *self._closed_listeners):
            closed = listener.close()
            if isinstance(closed, defer.Deferred):
                waiting.append(closed)
            listener.cut()
        self._listeners = {}
        self._closed_listeners = set()
        return waiting


def _after(calls: int, then: Callable[[], None]) -> Callable[[], None]:
    """A function that calls *then* when it is called for the last of *calls* times."""
    left = itertools.count(calls - 1, -1)

    def called() -> None:
        if not next(left):
            then()

    return called


def _both(first: Callable[[], object], second: Callable[[], object]) -> Callable[[], None]:
    def call() -> None:
        first()
        second()

    return call
