"""Certificates chosen at the handshake: ``ssl_certificate`` with ``$ssl_server_name``.

The name that the client asks for (SNI) is part of the path. It is hostile: only what can be
a host name is put into a path, so that no path leaves its folder, and the contexts made are
bounded. A certificate that was replaced on disk is used from the next handshake on.

Unlike in nginx, the name is in lower case and without a final dot, and a context is kept
until its files change; nginx loads them at each handshake. A client that sends no name, or
one that there is no certificate for, is refused by both.

Source: ngx_http_ssl_module, ``ssl_certificate``; RFC 6066 §3. Imports pyOpenSSL.
"""

from __future__ import annotations

import os
import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace

from OpenSSL import SSL
from twisted.logger import Logger

from cacheproxy.config.model import SslOptions
from cacheproxy.errors import ConfigError

__all__ = ["MAX_CONTEXTS", "NamedContexts", "NoCertificate", "is_named"]

#: Contexts kept for one server's options; the least recently used is dropped first.
MAX_CONTEXTS = 256

#: Longest host name (RFC 1035 §2.3.4).
MAX_NAME = 253

#: Seconds between two lines in the log about certificates that cannot be loaded.
LOG_INTERVAL = 60.0

_NAME = re.compile(r"[a-z0-9_](?:[a-z0-9_-]*)(?:\.[a-z0-9_-]+)*", re.ASCII)
_VARIABLE = re.compile(r"\$(?:ssl_server_name\b|\{ssl_server_name\})")

_log = Logger()

#: What tells that a file is another one than before.
_Stamp = tuple[tuple[int, int, int], ...]


class NoCertificate(Exception):
    """There is no certificate for the name that the client asks for; ``str()`` says why."""


def is_named(options: SslOptions) -> bool:
    """Whether a path of *options* holds the server name."""
    return any("$" in path for pair in options.certificates for path in pair)


class NamedContexts:
    """The contexts of one server, by the name that its clients ask for.

    *make* makes a context of options without variables; *seconds* is a monotonic clock.
    """

    def __init__(
        self,
        options: SslOptions,
        make: Callable[[SslOptions], SSL.Context],
        seconds: Callable[[], float],
    ) -> None:
        self._options = options
        self._make = make
        self._seconds = seconds
        self._contexts: OrderedDict[str, tuple[_Stamp, SSL.Context]] = OrderedDict()
        self._logged = float("-inf")

    def get(self, name: str) -> SSL.Context:
        """The context for *name*; raises :class:`NoCertificate`."""
        name = name.lower().removesuffix(".")
        if len(name) > MAX_NAME or not _NAME.fullmatch(name):
            raise NoCertificate("the server name is no host name")
        pairs = tuple(
            (_VARIABLE.sub(name, certificate), _VARIABLE.sub(name, key))
            for certificate, key in self._options.certificates
        )
        try:
            stamp = _stamp(pairs)
            known = self._contexts.get(name)
            if known is not None and known[0] == stamp:
                self._contexts.move_to_end(name)
                return known[1]
            context = self._make(replace(self._options, certificates=pairs))
        except OSError as failure:
            reason = f'cannot load certificate "{failure.filename}": {failure.strerror}'
            raise self._failed(reason) from failure
        except ConfigError as failure:
            raise self._failed(failure.message) from failure
        self._contexts[name] = stamp, context
        self._contexts.move_to_end(name)
        if len(self._contexts) > MAX_CONTEXTS:
            self._contexts.popitem(last=False)
        return context

    def _failed(self, reason: str) -> NoCertificate:
        """Log, once a minute: clients choose the names, and how often they ask."""
        now = self._seconds()
        if now - self._logged >= LOG_INTERVAL:
            self._logged = now
            _log.error("{reason}, during a TLS handshake", reason=reason)
        return NoCertificate(reason)


def _stamp(pairs: tuple[tuple[str, str], ...]) -> _Stamp:
    """What the files are now; raises ``OSError`` where one is missing."""
    found = [os.stat(path) for pair in pairs for path in pair]
    return tuple((one.st_ino, one.st_mtime_ns, one.st_size) for one in found)
