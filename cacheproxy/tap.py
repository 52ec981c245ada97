"""``twistd cacheproxy``: its options, and the service that they describe.

The plain command is the fast one: while the options are read no reactor has been
chosen yet (unless by ``--reactor=``), so the one on uvloop is installed here if uvloop
is available. Nothing imported above may import a reactor.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, cast
from urllib.parse import urlsplit

from twisted.application.service import IService
from twisted.python import usage

from cacheproxy.config.build import load, loads
from cacheproxy.config.model import Config
from cacheproxy.errors import CacheproxyError
from cacheproxy.front_configuration import front_configuration
from cacheproxy.proxy.site.variables import resolve

__all__ = ["Options", "makeService", "quick_configuration"]

#: What the quick start does beyond any front.
_QUICK = """\
{steering}
            proxy_websocket on;
            # What the application is told of the request's origin has to be in the key.
            proxy_cache_key $scheme://$http_host$request_uri;
            proxy_no_cache $http_x_http_method_override $http_x_http_method
                           $http_x_method_override;
"""

#: Fields by which some frameworks let a request say what its URL or its site is. No key
#: holds them, so that one client could store under a URL what belongs to another.
_STEERING = (
    "X-Forwarded-Prefix",
    "X-Forwarded-Scheme",
    "X-Forwarded-Server",
    "X-Forwarded-Ssl",
    "X-Forwarded-Path",
    "X-Forwarded-Uri",
    "X-Host",
    "X-Original-Host",
    "X-Original-URL",
    "X-Original-URI",
    "X-Rewrite-URL",
    "X-Script-Name",
    "Script-Name",
)


class Options(usage.Options):
    """Command line of ``twistd cacheproxy``."""

    synopsis = "[options]"
    longdesc = (
        "A caching, TLS-terminating HTTP reverse proxy. Give --config with a file in "
        "nginx's syntax, or --upstream with the address of an application."
    )

    optFlags: ClassVar = [["test", "t", "Check the configuration and exit; serves nothing."]]
    optParameters: ClassVar = [
        ["config", "c", None, "Configuration file, in nginx's syntax."],
        ["prefix", "p", None, "Base of relative paths (default: the file's folder)."],
        ["upstream", "u", None, "Without --config: the application, http://host:port or unix:."],
        ["listen", "l", "8080", "With --upstream: the port, or address:port, to listen on."],
    ]

    def postOptions(self) -> None:
        """Check the combination; carry out ``--test``; choose the reactor."""
        if (self["config"] is None) == (self["upstream"] is None):
            raise usage.UsageError("give either --config FILE or --upstream URL")
        if self["upstream"] is not None:
            quick_configuration(self["upstream"], self["listen"], "/tmp")
        if self["config"] is not None:
            # twistd changes the working directory when it becomes a daemon.
            self["config"] = os.path.abspath(self["config"])
        if self["prefix"] is not None:
            self["prefix"] = os.path.abspath(self["prefix"])
        if self["test"]:
            raise SystemExit(_test(self))
        _install_reactor()


def quick_configuration(upstream: str, listen: str, cache: str) -> str:
    """The configuration that ``--upstream`` and ``--listen`` stand for."""
    url = upstream if "://" in upstream else f"http://{upstream}"
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise usage.UsageError(f"--upstream: {upstream!r} is no http:// or https:// address")
    for value in (upstream, listen, cache):
        if any(character.isspace() or character in ";{}$\"'\\#" for character in value):
            raise usage.UsageError(f"{value!r} holds a character that cannot be used here")
    steering = "\n".join(f'{" " * 12}proxy_set_header {name} "";' for name in _STEERING)
    return front_configuration(
        url.rstrip("/"),
        zone="quick",
        directory=cache,
        listen=listen,
        directives=_QUICK.format(steering=steering),
    )


def _loader(options: Options) -> Callable[[], Config]:
    """Reads the configuration that *options* mean, each time it is called."""
    path, prefix = options["config"], options["prefix"]
    if path is not None:
        return lambda: load(path, prefix, resolve)
    base = prefix or os.getcwd()
    text = quick_configuration(options["upstream"], options["listen"], _cache_folder(prefix))
    return lambda: loads(text, "--upstream", base, resolve)


def _cache_folder(prefix: str | None) -> str:
    """Where the quick start keeps its cache: below the prefix, or in the user's cache folder."""
    if prefix is not None:
        return os.path.join(prefix, "cache")
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(Path.home(), ".cache")
    return os.path.join(home, "cacheproxy")


def _test(options: Options) -> int:
    """``--test``: nginx's messages on standard error; the exit code."""
    from cacheproxy.service import check

    name = options["config"] or "--upstream"
    try:
        config = _loader(options)()
    except CacheproxyError as problem:
        for line in problem.lines:
            print(f"cacheproxy: [emerg] {line}", file=sys.stderr)
        print(f"cacheproxy: configuration file {name} test failed", file=sys.stderr)
        return 1
    for warning in config.warnings:
        print(f"cacheproxy: [warn] {warning}", file=sys.stderr)
    print(f"cacheproxy: the configuration file {name} syntax is ok", file=sys.stderr)
    try:
        check(config)
    except CacheproxyError as problem:
        print(f"cacheproxy: [emerg] {problem}", file=sys.stderr)
        print(f"cacheproxy: configuration file {name} test failed", file=sys.stderr)
        return 1
    print(f"cacheproxy: configuration file {name} test is successful", file=sys.stderr)
    return 0


def _install_reactor() -> None:
    """Choose the reactor on uvloop, unless another one is chosen or uvloop is missing."""
    if "twisted.internet.reactor" in sys.modules:
        return
    try:
        from cacheproxy.net.reactor.reactor import install
    except ImportError:
        return  # no uvloop: Twisted's default serves, slower
    install()


def makeService(options: Options) -> IService:
    """The service that twistd runs."""
    from twisted.internet import reactor

    from cacheproxy.service import ProxyService

    return cast(IService, ProxyService(_loader(options), reactor))
