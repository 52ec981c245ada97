"""A caching reverse proxy as a resource of ``twisted.web``, for applications with a ``Site``.

``CachingProxyResource`` drives the same exchange as the server does; what differs is
the client's side, which ``net.web`` adapts.

Source: ``twisted.web.resource.IResource``. Stands above every package.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import re
import tempfile
import weakref
from typing import Any

from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from cacheproxy.config.build import load, loads
from cacheproxy.config.model import Config, Server
from cacheproxy.errors import ConfigError
from cacheproxy.front_configuration import front_configuration
from cacheproxy.net.web import WebDownstream
from cacheproxy.proxy.front.phases import FRONT
from cacheproxy.proxy.site.site import Site
from cacheproxy.proxy.site.variables import resolve
from cacheproxy.runtime import Runtime

__all__ = ["CachingProxyResource"]

_numbers = itertools.count(1)

#: Characters with a special meaning in nginx's syntax: in a word, and within quotes.
_IN_WORD = re.compile(r"[\s;{}$\"'\\#]")
_IN_QUOTES = re.compile(r"[$\"\\\0\r\n]")


class CachingProxyResource(Resource):
    """Relays every request below the path it is mounted at to *upstream*, with a cache.

    *upstream* is ``http://host:port``, ``https://host`` or ``http://unix:/path``; a path
    behind it goes before the request's. *cache_directory* keeps the cache from one run
    to the next; without it a temporary folder is used, removed by :meth:`close`. Sizes
    and times are written as in nginx's configuration: *cache_size* on disk,
    *cache_memory* in memory, *inactive* for how long an unused response is kept,
    *max_body_size* of a request (``"0"``: no limit). *directives* is more of nginx's
    syntax, for the location that all this makes.

    The request goes on under its own path, that of the mount included, unless
    *strip_prefix* is true; then it goes on without it, and the origin is told what was
    cut off in ``X-Forwarded-Prefix``.

    Nothing is opened before :meth:`start`, which the first request calls.
    Raises ``ConfigErrors`` (or ``ConfigError``) where an argument is not acceptable.
    """

    isLeaf = True

    #: The prefix where none is cut off: empty, or None to let a client's field pass.
    _nothing_cut: bytes | None

    def __init__(
        self,
        upstream: str,
        *,
        cache_directory: str | os.PathLike[str] | None = None,
        cache_size: str = "1g",
        cache_memory: str = "64m",
        inactive: str = "24h",
        gzip: bool = True,
        max_body_size: str = "100m",
        directives: str = "",
        strip_prefix: bool = False,
        reactor: Any = None,
    ) -> None:
        folder: tempfile.TemporaryDirectory[str] | None = None
        if cache_directory is None:
            folder = tempfile.TemporaryDirectory(prefix="cacheproxy-", ignore_cleanup_errors=True)
            cache_directory = folder.name
        try:
            text = front_configuration(
                _upstream_url(upstream),
                zone="resource",
                directory=_quoted("cache_directory", os.fspath(cache_directory)),
                max_size=_checked("cache_size", cache_size),
                memory=_checked("cache_memory", cache_memory),
                inactive=_checked("inactive", inactive),
                max_body=_checked("max_body_size", max_body_size),
                gzip=gzip,
                directives=directives,
            )
            config = loads(text, type(self).__name__, os.getcwd(), resolve)
            self._set_up(config, strip_prefix, reactor, folder)
            # As with the other X-Forwarded-* fields, a client is not believed.
            self._nothing_cut = b""
        except BaseException:
            if folder is not None:
                folder.cleanup()
            raise

    @classmethod
    def from_configuration(
        cls,
        text_or_path: str | os.PathLike[str],
        *,
        prefix: str | None = None,
        strip_prefix: bool = False,
        reactor: Any = None,
    ) -> CachingProxyResource:
        """A resource that serves what a configuration in nginx's syntax says.

        A string with a ``{`` in it is the text itself, else it names the file. *prefix*
        is where relative paths start: the file's folder if None, for a text the working
        directory. ``listen`` opens nothing. There may be several servers, told apart by
        ``server_name``, where all have the same ``listen`` directives.
        """
        if isinstance(text_or_path, str) and "{" in text_or_path:
            config = loads(text_or_path, cls.__name__, prefix or os.getcwd(), resolve)
        else:
            config = load(os.fspath(text_or_path), prefix, resolve)
        made = cls.__new__(cls)
        made._set_up(config, strip_prefix, reactor, None)
        return made

    def _set_up(
        self,
        config: Config,
        strip_prefix: bool,
        reactor: Any,
        folder: tempfile.TemporaryDirectory[str] | None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted's
        if reactor is None:
            from twisted.internet import reactor
        _one_address(config)
        self.strip_prefix = strip_prefix
        self._nothing_cut = b"" if strip_prefix else None
        self._reactor = reactor
        self._config = config
        self._folder = folder
        self._runtime = Runtime(reactor, config)
        self._sites: dict[bool, Site] = {}
        self._site(False)
        self._connections: weakref.WeakKeyDictionary[Any, list[int]] = weakref.WeakKeyDictionary()
        self._active: set[WebDownstream] = set()
        self._trigger: Any = None
        self._closed = False

    # -- life ----------------------------------------------------------------

    def start(self) -> None:
        """Open the cache; done by the first request at the latest.

        To be called in the process that serves, once it has forked and given up root.
        :meth:`close` is then called when the reactor stops.
        """
        if self._trigger is not None or self._closed:
            return
        self._runtime.open()
        self._trigger = self._reactor.addSystemEventTrigger("after", "shutdown", self._shut_down)
        for warning in self._config.warnings:
            self._runtime.error_log.log("warn", warning)

    def close(self) -> None:
        """Cut the requests under way, write down what the cache knows and close it.

        Waits for the disk. Requests that come later are answered with 503.
        """
        trigger, self._trigger = self._trigger, None
        if trigger is not None:
            self._reactor.removeSystemEventTrigger(trigger)
        self._close(trigger is not None)

    def _shut_down(self) -> None:
        self._trigger = None
        self._close(True)

    def _close(self, started: bool) -> None:
        if self._closed:
            return
        self._closed = True
        for downstream in list(self._active):
            downstream.cut()
        if started:
            self._runtime.close()
        else:
            self._runtime.abandon()
        if self._folder is not None:
            self._folder.cleanup()

    # -- IResource -----------------------------------------------------------

    def render(self, request: Any) -> Any:
        """Relay *request*, whatever its method, or answer it from the cache."""
        if self._closed:
            request.setResponseCode(503)
            return b""
        self.start()
        site = self._site(request.isSecure())
        number, requests = self._number(request)
        downstream = WebDownstream(
            request, number, requests, self._reactor, self._active.discard
        )
        self._active.add(downstream)
        downstream.run(site, *self._target(request))
        return NOT_DONE_YET

    def _site(self, secure: bool) -> Site:
        """The configuration as ``$scheme`` is to see it."""
        site = self._sites.get(secure)
        if site is None:
            servers = list(self._config.servers)
            default = _default_server(servers)
            listen = dataclasses.replace(default.listens[0], ssl=secure)
            site = self._sites[secure] = Site(listen, servers, default, self._runtime, FRONT)
        return site

    def _number(self, request: Any) -> list[int]:
        """``[connection's number, requests on it so far]``."""
        counts = self._connections.get(request.channel)
        if counts is None:
            counts = self._connections[request.channel] = [next(_numbers), 0]
        counts[1] += 1
        return counts

    def _target(self, request: Any) -> tuple[bytes, bytes | None]:
        """The request-target to route by, and the path cut off before it."""
        uri: bytes = request.uri
        if not self.strip_prefix or uri[:1] != b"/":
            return uri, self._nothing_cut
        path, question, args = uri.partition(b"?")
        # What is left of the path is counted, not joined: postpath has its escapes undone.
        left = len(request.postpath)
        segments = path.split(b"/")
        cut = max(1, len(segments) - left)
        rest = b"/" + b"/".join(segments[cut:])
        return rest + question + args, b"/".join(segments[:cut])


# -- the configuration -------------------------------------------------------------


def _checked(name: str, value: str) -> str:
    if not value or _IN_WORD.search(value):
        raise ConfigError(f"{name}: {value!r} is empty or holds a character that cannot be used")
    return value


def _quoted(name: str, path: str) -> str:
    if not path or _IN_QUOTES.search(path):
        raise ConfigError(f"{name}: {path!r} is empty or holds a character that cannot be used")
    return f'"{path}"'


def _upstream_url(upstream: str) -> str:
    url = _checked("upstream", upstream if "://" in upstream else f"http://{upstream}")
    scheme, _, rest = url.partition("://")
    if rest.startswith("unix:"):
        return url
    authority, _, path = rest.partition("/")
    path = path.strip("/")
    return f"{scheme}://{authority}/{path}/" if path else f"{scheme}://{authority}"


def _one_address(config: Config) -> None:
    """Raise where requests could not be told apart by their Host alone."""
    if not config.servers:
        raise ConfigError('no "server" in configuration')
    addresses = {frozenset(listen.address for listen in one.listens) for one in config.servers}
    if len(addresses) > 1:
        second = config.servers[1]
        raise ConfigError(
            'servers of one resource must have the same "listen"', second.file, second.line
        )


def _default_server(servers: list[Server]) -> Server:
    for server in servers:
        if server.listens[0].default_server:
            return server
    return servers[0]
