"""The seam between a proxied request and the protocol that an upstream speaks.

An ``UpstreamProtocol`` belongs to one location and is compiled at load. It says how a
request's head and body are put into bytes, and which parser reads the response. HTTP
(``http_upstream``) and uwsgi (``uwsgi_upstream``) are such protocols; another gateway
protocol, SCGI or FastCGI, would be one more module beside them. Which upstream is
asked, how often, and what becomes of the response is the same for all of them.

Imports: ``http``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from cacheproxy.http.fields import Pairs
from cacheproxy.http.messages import RequestHead
from cacheproxy.http.response_parser import ResponseSink

__all__ = ["MakeReader", "Outgoing", "ResponseReader", "UpstreamProtocol"]


class ResponseReader(Protocol):
    """Reads the responses of one connection: bytes in, calls on a ``ResponseSink`` out."""

    @property
    def excess(self) -> bool:
        """Whether bytes came that belong to no response: the connection is not used again."""

    def expect(self, method: bytes) -> None:
        """A request with *method* is about to be sent."""

    def feed(self, data: bytes) -> None:
        """Take bytes from the upstream; never raises for any input."""

    def eof(self) -> None:
        """The upstream has closed the connection in order."""

    def take_upgrade(self) -> bytes:
        """After a 101: the bytes received behind its head."""


#: Makes a reader for a sink; *max_head* bounds a response's head in bytes.
MakeReader = Callable[[ResponseSink, int], ResponseReader]


class Outgoing(Protocol):
    """What a protocol is told of the request to be sent.

    *client_head* holds the client's fields that go on. *length* is that of the body: None
    where there is none, negative where it is *chunked*, of unknown length. *conditional*
    are fields by which a cache asks for a validation or a part; *answers_conditions* says
    that a cache answers preconditions and ranges, so that the client's are not passed on.
    """

    method: bytes
    target: bytes
    client_head: RequestHead
    length: int | None
    chunked: bool
    conditional: Pairs

    @property
    def answers_conditions(self) -> bool: ...


class UpstreamProtocol(Protocol):
    """How one location speaks to its upstream."""

    @property
    def frames_unknown_length(self) -> bool:
        """Whether a body of unknown length can be passed on as it comes; else it is collected."""

    @property
    def reader(self) -> MakeReader:
        """Makes the parser of an upstream connection."""

    def split_address(self, rendered: bytes) -> tuple[bytes, bytes, bytes]:
        """Scheme, authority and URI of what a ``…_pass`` with variables has come to.

        Errors: ``ProtocolError`` where it is no address of this protocol.
        """

    def encode_head(self, context: Any, request: Outgoing) -> bytes:
        """The bytes before the body; *context* is what the templates' variables read.

        Errors: ``ValueError`` where a variable brings a line break into a head that has
        lines, ``UpstreamError`` where the head is larger than the protocol can say.
        """

    def encode_piece(self, request: Outgoing, data: bytes, complete: bool) -> bytes:
        """A piece of the body as it is sent; *complete* with the last one."""

    def asks_upgrade(self, head: bytes) -> bool:
        """Whether the encoded *head* asks the upstream to change protocols."""
