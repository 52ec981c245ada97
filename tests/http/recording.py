"""Sinks that write down the calls they get, and builders with defaults."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from cacheproxy.errors import ProtocolError
from cacheproxy.http.fields import Fields
from cacheproxy.http.messages import RequestHead, ResponseHead
from cacheproxy.http.request_parser import RequestLimits, RequestParser
from cacheproxy.http.response_parser import ResponseParser

Call = tuple[object, ...]


class Requests:
    """Records a RequestParser's calls; body pieces that follow each other are joined.

    With *release* every request is finished as soon as it is complete.
    """

    def __init__(self, release: bool = True, limits: RequestLimits | None = None) -> None:
        self.calls: list[Call] = []
        self.heads: list[RequestHead] = []
        self.release = release
        self.parser = RequestParser(self, limits or RequestLimits())

    def on_request(self, head: RequestHead) -> None:
        self.heads.append(head)
        self.calls.append(
            (
                "request",
                head.method,
                head.target,
                head.version,
                tuple(head.fields.pairs),
                head.body_length,
                head.keep_alive,
            )
        )
        if self.release and head.body_length is None:
            self.parser.release()

    def on_request_body(self, data: bytes) -> None:
        _add_body(self.calls, data)

    def on_request_end(self, trailers: Fields | None) -> None:
        self.calls.append(("end", tuple(trailers or ())))
        if self.release:
            self.parser.release()

    def on_request_error(self, error: ProtocolError) -> None:
        self.calls.append(("error", error.status))

    def names(self) -> list[object]:
        """The calls' names in order."""
        return [call[0] for call in self.calls]


class Responses:
    """Records a ResponseParser's calls, expecting *methods* one after the other."""

    def __init__(self, methods: Iterable[bytes] = (b"GET",)) -> None:
        self.calls: list[Call] = []
        self.heads: list[ResponseHead] = []
        self.parser = ResponseParser(self)
        self._methods = list(methods)
        self._next()

    def _next(self) -> None:
        if self._methods:
            self.parser.expect(self._methods.pop(0))

    def on_informational(self, head: ResponseHead) -> None:
        self.calls.append(("informational", head.status))

    def on_response(self, head: ResponseHead) -> None:
        self.heads.append(head)
        self.calls.append(
            ("response", head.status, tuple(head.fields), head.body_length, head.keep_alive)
        )

    def on_response_body(self, data: bytes) -> None:
        _add_body(self.calls, data)

    def on_response_end(self, trailers: Fields | None) -> None:
        self.calls.append(("end", tuple(trailers or ())))
        self._next()

    def on_response_error(self, error: ProtocolError) -> None:
        self.calls.append(("error", error.status))

    def names(self) -> list[object]:
        """The calls' names in order."""
        return [call[0] for call in self.calls]


def _add_body(calls: list[Call], data: bytes) -> None:
    assert data, "an empty body call"
    if calls and calls[-1][0] == "body":
        earlier = calls[-1][1]
        assert isinstance(earlier, bytes)
        calls[-1] = ("body", earlier + data)
    else:
        calls.append(("body", data))


def request(
    fields: bytes = b"",
    body: bytes = b"",
    *,
    method: bytes = b"GET",
    target: bytes = b"/",
    version: bytes = b"1.1",
) -> bytes:
    """A request for host ``a``."""
    return b"%b %b HTTP/%b\r\nHost: a\r\n%b\r\n%b" % (method, target, version, fields, body)


def response(fields: bytes = b"", body: bytes = b"", *, status: bytes = b"200 OK") -> bytes:
    """A response."""
    return b"HTTP/1.1 %b\r\n%b\r\n%b" % (status, fields, body)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    """*data* cut at these places, each taken modulo its length."""
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[start:stop] for start, stop in pairwise(places)]
