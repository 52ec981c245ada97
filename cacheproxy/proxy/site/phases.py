"""The phases of a location: what a request goes through there, one after the other.

Which phases a location has is decided when it is compiled, so that one it does not use
costs nothing. A phase says what has become of the request (``Progress``); one that waits
holds the exchange up until it is resumed, and is cancelled where the client leaves first.

Imports nothing of the project.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any

__all__ = ["Phase", "Progress"]


class Progress(Enum):
    """What a phase has come to."""

    #: The next phase is to go on.
    GO_ON = "go on"
    #: Something answers the request, now or later.
    ANSWERED = "answered"
    #: Nothing yet: the phase has begun to wait (``Exchange.begin_wait``).
    WAIT = "wait"


#: Runs on an exchange, which stands above this package.
Phase = Callable[[Any], Progress]
