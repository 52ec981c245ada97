"""The exception tree, split by who is at fault and at which stage.

Library exceptions are converted at the border of the package that calls the
library, with ``raise … from``; nothing above that border sees them.
"""

from __future__ import annotations

from enum import Enum

__all__ = [
    "CacheproxyError",
    "ConfigError",
    "ConfigErrors",
    "FillAborted",
    "ProtocolError",
    "Stage",
    "StorageError",
    "UpstreamError",
]


class CacheproxyError(Exception):
    """Base of every error that this package raises on purpose."""

    @property
    def lines(self) -> list[str]:
        """What is to be told, a line for each fault."""
        return [str(self)]


class ConfigError(CacheproxyError):
    """One fault in the configuration, with the place where it stands.

    ``str()`` is nginx's form: ``message in FILE:LINE``.
    """

    def __init__(self, message: str, file: str = "", line: int = 0) -> None:
        super().__init__(message, file, line)
        self.message = message
        self.file = file
        self.line = line

    def __str__(self) -> str:
        return f"{self.message} in {self.file}:{self.line}" if self.file else self.message


class ConfigErrors(CacheproxyError):
    """Every fault of one configuration, in the order of the text; never empty."""

    def __init__(self, errors: list[ConfigError]) -> None:
        super().__init__(errors)
        self.errors = errors

    def __str__(self) -> str:
        return "\n".join(self.lines)

    @property
    def lines(self) -> list[str]:
        return [str(error) for error in self.errors]


class ProtocolError(CacheproxyError):
    """A peer broke HTTP. From a client, ``status`` is what it is answered with.

    The connection cannot be used further: where framing is in doubt nothing
    after the fault may be read as a message (RFC 9112 §6.3).
    """

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.message = message
        self.status = status


class Stage(Enum):
    """How far an attempt on an upstream got; decides what may be retried."""

    CONNECT = "connect"
    TLS = "tls"
    SEND = "send"
    HEAD = "head"
    BODY = "body"


class UpstreamError(CacheproxyError):
    """An upstream failed to answer.

    ``stage`` is where; ``timeout`` tells a time-out (504) from a fault (502);
    ``request_sent`` is true once any byte of the request may have reached the
    peer; ``reused`` once-idle connection; ``malformed`` when the peer did
    answer, but not HTTP (``invalid_header`` of proxy_next_upstream).
    """

    def __init__(
        self,
        message: str,
        stage: Stage,
        *,
        timeout: bool = False,
        request_sent: bool = False,
        reused: bool = False,
        malformed: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.stage = stage
        self.timeout = timeout
        self.request_sent = request_sent
        self.reused = reused
        self.malformed = malformed

    @property
    def status(self) -> int:
        """The status that the client gets when nothing else can be tried."""
        return 504 if self.timeout else 502


class StorageError(CacheproxyError):
    """The cache's disk failed; the request goes on without the cache."""


class FillAborted(StorageError):
    """A body that was being stored will never be whole; who read it along has a part of it."""
