"""The resources of one configuration: the ``World`` that its sites are given.

Cache zones, upstream groups, logs, files, temporary files and clocks. A reload makes a new
``Runtime``, which takes over what both configurations describe in the same way: a cache zone
keeps its entries, an upstream group its idle connections and its record of failures.
"""

from __future__ import annotations

import os
import socket
import tempfile
import time
from collections.abc import Callable
from typing import Any

from twisted.logger import Logger

from cacheproxy.config.addresses import parse_proxy_pass, parse_uwsgi_pass
from cacheproxy.config.model import CacheZone, Config, Location, Upstream, UpstreamServer
from cacheproxy.config.model import ErrorLog as ErrorLogOptions
from cacheproxy.errors import ConfigError, Stage, UpstreamError
from cacheproxy.http.response_parser import ResponseParser
from cacheproxy.net.logs.error_log import ErrorLog
from cacheproxy.net.logs.open_logs import LogFiles
from cacheproxy.net.tls.client import UpstreamTls
from cacheproxy.net.upstream_group import UpstreamGroup
from cacheproxy.policy.options import AccessLog, ProxySsl
from cacheproxy.policy.upstream_protocol import MakeReader
from cacheproxy.proxy.cache.fills import Fills
from cacheproxy.proxy.interfaces import Cancellable, Storage
from cacheproxy.storage.bodies.spool import DiskSpool
from cacheproxy.storage.bodies.store_writer import FileWriter
from cacheproxy.storage.password_files import PASSWORD_THREADS, PasswordFiles
from cacheproxy.storage.static_files import Files
from cacheproxy.storage.threads import DISK_THREADS, ThreadExecutor
from cacheproxy.storage.zone import Zone

__all__ = ["ReactorScheduler", "Runtime"]

#: Upstream groups kept for authorities that ``proxy_pass`` variables rendered.
MAX_RENDERED_UPSTREAMS = 1000

_log = Logger()


class ReactorScheduler:
    """``Scheduler`` over a reactor and the system's clocks."""

    def __init__(self, reactor: Any) -> None:
        self._call_later: Callable[..., Cancellable] = reactor.callLater
        # Bound, not wrapped: they are read for every request.
        self.monotonic: Callable[[], float] = time.monotonic
        self.wall: Callable[[], float] = time.time

    def call_later(self, seconds: float, function: Callable[[], object]) -> Cancellable:
        return self._call_later(seconds, function)


class _Newest:
    """The error log of the configuration that serves now.

    What outlives a configuration complains here: zones, threads, requests that nobody
    waits for. It also keeps those from keeping the ``Runtime`` that made them.
    """

    def __init__(self, error_log: ErrorLog) -> None:
        self.error_log = error_log

    def complain(self, message: str) -> None:
        """Log *message* as an error."""
        self.error_log.log("error", message)


class Runtime:
    """The ``World`` of one configuration.

    ``open`` takes over from the one before; that one's ``release`` closes its logs, once
    the last of its requests has ended.
    """

    def __init__(self, reactor: Any, config: Config, before: Runtime | None = None) -> None:
        self.reactor = reactor
        self.config = config
        self.scheduler = ReactorScheduler(reactor)
        self.hostname = socket.gethostname().encode()
        self.error_log = self._open_error_log(config)
        self.logs = LogFiles(self.scheduler, self.error_log)
        self._error_logs: dict[ErrorLogOptions, ErrorLog] = {}
        for server in config.servers:
            self._open_error_logs(server.root)
        self._log_writers: dict[AccessLog, Callable[[bytes, bytes], None]] = {}
        self._released = False
        self._newest: _Newest = _Newest(self.error_log) if before is None else before._newest
        if before is None:
            self._threads = ThreadExecutor("files", DISK_THREADS, self._newest.complain)
            self._password_threads = ThreadExecutor(
                "passwords", PASSWORD_THREADS, self._newest.complain
            )
            self.passwords = PasswordFiles(self._password_threads, reactor.callFromThread)
            self.files = Files(
                executor=self._threads, call_from_thread=reactor.callFromThread
            )
        else:
            self._threads = before._threads
            self._password_threads = before._password_threads
            self.passwords = before.passwords
            self.files = before.files
        self.zones: dict[str, Zone] = {}
        self._fills: dict[int, Fills] = {}
        self._upstreams: dict[tuple[str, ProxySsl | None, MakeReader], UpstreamGroup] = {}
        self._rendered: dict[tuple[bytes, bytes, ProxySsl | None], UpstreamGroup] = {}
        self._tls: dict[ProxySsl, UpstreamTls] = {}
        self._before = before
        for zone in config.zones.values():
            self._take_zone(zone)

    @property
    def pid(self) -> int:
        return os.getpid()

    # -- made at load ------------------------------------------------------

    def _open_error_log(self, config: Config) -> ErrorLog:
        log = config.error_log
        path = None if log is None or log.path == "stderr" else log.path
        return ErrorLog(path, "error" if log is None else log.level, self.scheduler)

    def _open_error_logs(self, location: Location) -> None:
        """Open what ``error_log`` says for *location* and below it."""
        options = location.error_log
        if options is not None and options not in self._error_logs:
            if options == self.config.error_log:
                log = self.error_log
            elif options.path == "stderr":
                log = ErrorLog(None, options.level, self.scheduler)
            else:
                log = self.logs.error(options.path, options.level)
            self._error_logs[options] = log
        for inner in location.locations:
            self._open_error_logs(inner)

    def _take_zone(self, zone: CacheZone) -> None:
        before = self._before
        old = None if before is None else before.zones.get(zone.name)
        if old is not None and old.config == zone:
            self.zones[zone.name] = old
            assert before is not None
            # Requests from before and from now on share what is under way.
            self._fills[id(old)] = before.fills(old)
        else:
            self.zones[zone.name] = Zone(
                zone,
                scheduler=self.scheduler,
                call_from_thread=self.reactor.callFromThread,
                log=self._newest.complain,
            )

    def open(self) -> None:
        """Start what needs the final process: threads, disks. After a fork and setuid."""
        before, self._before = self._before, None
        self._newest.error_log = self.error_log
        kept = set() if before is None else {id(zone) for zone in before.zones.values()}
        if before is not None:
            before._hand_over(self)
        for zone in self.zones.values():
            if id(zone) not in kept:
                zone.open()

    def abandon(self) -> None:
        """Undo the making of a runtime that never served."""
        before = self._before
        kept = set() if before is None else {id(zone) for zone in before.zones.values()}
        for zone in self.zones.values():
            if id(zone) not in kept:
                zone.close()
        _close_logs(self.logs, self.error_log)

    def _hand_over(self, successor: Runtime) -> None:
        """Close what *successor* has not taken over, but the logs: requests are under way."""
        zones = {id(zone) for zone in successor.zones.values()}
        for zone in self.zones.values():
            if id(zone) not in zones:
                zone.close()
        groups = {id(group) for group in successor._upstreams.values()}
        for group in [*self._upstreams.values(), *self._rendered.values()]:
            if id(group) not in groups:
                group.close()

    def release(self) -> None:
        """Close the logs of a configuration that was replaced: its last request has ended.

        What still goes on without a client, refreshing a zone, complains to the newest log.
        """
        self._released = True
        _close_logs(self.logs, self.error_log)

    def close(self) -> None:
        """The end: write what is noted and close everything."""
        for zone in self.zones.values():
            zone.close()
        for group in [*self._upstreams.values(), *self._rendered.values()]:
            group.close()
        _close_logs(self.logs, self.error_log)
        self._threads.stop()
        self._password_threads.stop()

    # -- World -------------------------------------------------------------

    def storage(self, zone: str) -> Storage | None:
        return self.zones.get(zone)

    def fills(self, storage: Storage) -> Fills:
        fills = self._fills.get(id(storage))
        if fills is None:
            fills = self._fills[id(storage)] = Fills(self.scheduler)
        return fills

    def upstream(
        self, name: str, ssl: ProxySsl | None, reader: MakeReader = ResponseParser
    ) -> UpstreamGroup:
        key = name, ssl, reader
        group = self._upstreams.get(key)
        if group is None:
            upstream = self.config.upstreams[name]
            before = None if self._before is None else self._before._upstreams.get(key)
            if before is not None and before.same_as(upstream, self._client_tls(ssl)):
                group = before
            else:
                group = self._make_group(upstream, ssl, reader)
            self._upstreams[key] = group
        return group

    def resolve_upstream(
        self,
        scheme: bytes,
        authority: bytes,
        ssl: ProxySsl | None,
        reader: MakeReader = ResponseParser,
    ) -> UpstreamGroup:
        name = _text(authority)
        if name in self.config.upstreams:
            return self.upstream(name, ssl, reader)
        group = self._rendered.get((scheme, authority, ssl))
        if group is None:
            upstream = Upstream(name, (_rendered_server(scheme.decode(), name),))
            group = self._make_group(upstream, ssl, reader)
            if len(self._rendered) >= MAX_RENDERED_UPSTREAMS:
                oldest = next(iter(self._rendered))
                self._rendered.pop(oldest).close()
            self._rendered[scheme, authority, ssl] = group
        return group

    def _make_group(
        self, upstream: Upstream, ssl: ProxySsl | None, reader: MakeReader
    ) -> UpstreamGroup:
        return UpstreamGroup(
            self.reactor, upstream, self._client_tls(ssl), self.scheduler.monotonic, reader
        )

    def _client_tls(self, ssl: ProxySsl | None) -> UpstreamTls | None:
        if ssl is None:
            return None
        tls = self._tls.get(ssl)
        if tls is None:
            tls = self._tls[ssl] = UpstreamTls(ssl)
        return tls

    def access_log(self, log: AccessLog) -> Callable[[bytes, bytes], None]:
        writer = self._log_writers.get(log)
        if writer is None:
            writer = self._log_writers[log] = self._log_writer(log)
        return writer

    def _log_writer(self, log: AccessLog) -> Callable[[bytes, bytes], None]:
        if log.path.constant is None:
            files = self.logs.variable()

            def write(path: bytes, line: bytes) -> None:
                files.write(os.fsdecode(path), line)

            return write
        path = os.fsdecode(log.path.constant)
        file = self.logs.access(path, buffer=log.buffer, flush=log.flush, gzip=log.gzip)

        def write_one(path: bytes, line: bytes) -> None:
            file.write(line)

        return write_one

    def log_error(self, level: str, message: str, request: Any) -> None:
        options = request.location.location.error_log
        if self._released:
            log = self._newest.error_log
        else:
            log = self.error_log if options is None else self._error_logs[options]
        if not log.enabled(level):
            return
        head = request.head
        context: dict[str, str | bytes] = {
            "client": request.remote_host,
            "server": request.server.name,
            "request": b"%b %b HTTP/%d.%d" % (head.method, head.target, *divmod(head.version, 10)),
        }
        attempts = request.record.attempts
        if attempts:
            context["upstream"] = attempts[-1].address
        host = head.fields.get(b"host")
        if host is not None:
            context["host"] = host
        log.log(level, message, context, request.downstream.number)

    def spool(
        self, memory: int, file_limit: int, directory: str, *, replayable: bool
    ) -> DiskSpool:
        return DiskSpool(
            memory,
            file_limit,
            directory or tempfile.gettempdir(),
            replayable=replayable,
            executor=self._threads,
            call_from_thread=self.reactor.callFromThread,
        )

    def store_file(
        self,
        path: bytes,
        mode: int,
        mtime: float | None,
        directory: str,
        failed: Callable[[str], None],
    ) -> FileWriter:
        return FileWriter(
            path,
            mode,
            mtime,
            directory or tempfile.gettempdir(),
            failed,
            executor=self._threads,
            call_from_thread=self.reactor.callFromThread,
        )

    def random_bytes(self, count: int) -> bytes:
        return os.urandom(count)

    def give_logs_to(self, uid: int, gid: int) -> None:
        """Make the log files belong to who will have to open them at a reload."""
        self.logs.give_to(uid, gid)

    def reopen_logs(self) -> None:
        """USR1: open every log file anew."""
        self.logs.reopen_all()
        self.error_log.reopen()


def _text(authority: bytes) -> str:
    """*authority* as a configuration would have it, where it is such text at all."""
    try:
        return authority.decode()
    except UnicodeDecodeError:
        return authority.decode("latin-1")


def _rendered_server(scheme: str, authority: str) -> UpstreamServer:
    """The server that a ``…_pass`` with variables has come to; raises :class:`UpstreamError`."""
    parse = parse_uwsgi_pass if scheme in ("uwsgi", "suwsgi") else parse_proxy_pass
    try:
        _, server, _ = parse(f"{scheme}://{authority}")
    except ConfigError as problem:
        raise UpstreamError(problem.message, Stage.CONNECT) from problem
    if not server.port and not server.path:
        raise UpstreamError(f'no port in upstream "{authority}"', Stage.CONNECT)
    return server


def _close_logs(logs: LogFiles, error_log: ErrorLog) -> None:
    logs.close_all()
    error_log.close()


