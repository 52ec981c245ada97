"""What is noted of a request for its variables and log lines.

Imports nothing of the project.
"""

from __future__ import annotations

__all__ = ["UpstreamRecord"]


class UpstreamRecord:
    """One attempt on an upstream, for the ``$upstream_*`` variables; times in seconds."""

    __slots__ = (
        "address",
        "body_received",
        "bytes_received",
        "bytes_sent",
        "connect_time",
        "header_time",
        "response_time",
        "started",
        "status",
    )

    def __init__(self, address: str, started: float) -> None:
        self.address = address
        self.started = started
        self.status = 0
        self.connect_time: float | None = None
        self.header_time: float | None = None
        self.response_time: float | None = None
        self.bytes_received = 0
        self.body_received = 0
        self.bytes_sent = 0
