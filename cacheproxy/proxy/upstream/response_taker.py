"""What may be done with a relayed response on its way: store it, replace it, or act on it.

A ``ResponseTaker`` is shown the head of the response and says who answers the client
(``Verdict``). What it can have the relay do is a ``RelayedResponse``. Takers are the cache
(``proxy.cache.fetching``), ``proxy_store`` (``file_copy``) and the invalidation of what is
stored (``proxy.cache.invalidation``).

Imports: ``http``, ``policy``, ``proxy`` below it.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Protocol

from cacheproxy.errors import UpstreamError
from cacheproxy.http.messages import ResponseHead
from cacheproxy.policy.combining import Union
from cacheproxy.proxy.interfaces import Entry
from cacheproxy.proxy.upstream.delivery import Delivery

__all__ = ["FailureVerdict", "RelayedResponse", "ResponseTaker", "Verdict"]


class Verdict(Enum):
    """Who answers the client, once the head of the response has come."""

    PASS_ON = "the relay sends the response as it is"
    BEGUN = "the taker has begun to answer from the response, or nobody is to be answered"
    REPLACED = "the taker answers with something else, once the response has ended"
    DISCARDED = "the taker has discarded the response, and goes on by itself"


class FailureVerdict(Enum):
    """Who answers the client where no response could be had."""

    ERROR = "the relay answers with the status of the failure"
    REPLACED = "the taker answers with something else, or nobody is to be answered"


class RelayedResponse(Protocol):
    """The response that is under way, as its taker can act on it."""

    @property
    def delivery(self) -> Delivery | None:
        """What takes the body to the client and to where it is stored."""

    @property
    def is_joined(self) -> bool:
        """Whether it is put together with a stored part."""

    def join_with(self, entry: Entry, union: Union) -> None:
        """Put it together with the stored part *entry*, once ``start_joined`` is called."""

    def start_joined(self) -> None:
        """The joined response's head was sent, and it is stored where it is to be stored."""

    def answer_at_end(self, answer: Callable[[], None]) -> None:
        """Call *answer* once the response has ended; for ``Verdict.REPLACED``."""

    def discard_response(self) -> None:
        """Let go of the upstream, and of what was to be stored; for ``Verdict.DISCARDED``."""


class ResponseTaker(Protocol):
    """Stores, replaces or notes the response of one relay."""

    @property
    def converts_head(self) -> bool:
        """Whether HEAD is sent as GET."""

    @property
    def answers_conditions(self) -> bool:
        """Whether preconditions and ranges are answered here, and not by the origin."""

    @property
    def fills(self) -> bool:
        """Whether the response may be stored, so that it is worth reading without a client."""

    def on_response(self, relayed: RelayedResponse, head: ResponseHead) -> Verdict:
        """The head has come."""

    def on_failure(self, problem: UpstreamError | None) -> FailureVerdict:
        """No response could be had; *problem* is None where no upstream could be asked."""

    def on_fill_end(self, complete: bool) -> None:
        """The relay has ended; *complete*: the response has come whole."""
