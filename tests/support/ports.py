"""Free ports on the loopback.

A port is taken from below the range from which the kernel picks the source ports of
outgoing connections, so between the choice and the use only another chooser could take
it; each test process starts its search at a place of its own.
"""

from __future__ import annotations

import itertools
import os
import socket

__all__ = ["free_port"]

_FIRST, _LAST = 10000, 32000
_candidates = itertools.count((os.getpid() * 131) % (_LAST - _FIRST))


def free_port() -> int:
    """A port that was free on 0.0.0.0 a moment ago and is not given out again soon."""
    for _ in range(_LAST - _FIRST):
        port = _FIRST + next(_candidates) % (_LAST - _FIRST)
        with socket.socket() as probe:
            try:
                probe.bind(("0.0.0.0", port))
            except OSError:
                continue
            return port
    raise AssertionError("no port is free")
