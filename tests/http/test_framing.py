"""Body lengths; what is refused is in the corpus, here is what passes."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.errors import ProtocolError
from cacheproxy.http.fields import Fields
from cacheproxy.http.framing import (
    MAX_CONTENT_LENGTH,
    FieldFacts,
    content_length,
    request_framing,
    response_framing,
)

_HOST = (b"Host", b"a")
_CHUNKED = (b"Transfer-Encoding", b"Chunked")


class RequestFramingTests(SynchronousTestCase):
    def test_lengths(self) -> None:
        """RFC 9112 §6.3."""
        for pairs, length in (
            ([], None),
            ([(b"Content-Length", b"0")], None),
            ([(b"Content-Length", b"007")], 7),
            ([_CHUNKED], -1),
            ([(b"Expect", b"100-Continue"), (b"Content-Length", b"1")], 1),
        ):
            facts = FieldFacts(Fields([_HOST, *pairs]))
            self.assertEqual(request_framing(b"POST", b"/", 11, facts)[0], length)

    def test_persistence(self) -> None:
        """RFC 9112 §9.3."""
        for version, connection, kept in (
            (11, None, True),
            (11, b"Close", False),
            (11, b"keep-alive, close", False),
            (11, b"closed", True),
            (10, None, False),
            (10, b"Keep-Alive", True),
            (10, b"keep-alive, close", False),
        ):
            pairs = [_HOST] + ([(b"Connection", connection)] if connection else [])
            facts = FieldFacts(Fields(pairs))
            self.assertEqual(request_framing(b"GET", b"/", version, facts)[1], kept)

    def test_http10(self) -> None:
        """Neither Host nor an expectation is asked of HTTP/1.0."""
        facts = FieldFacts(Fields([(b"Expect", b"x")]))
        self.assertEqual(request_framing(b"GET", b"/", 10, facts), (None, False))

    def test_largest_length(self) -> None:
        """A length fits 63 bits."""
        self.assertEqual(content_length([b"%d" % MAX_CONTENT_LENGTH]), MAX_CONTENT_LENGTH)
        self.assertRaises(ProtocolError, content_length, [b"%d" % (MAX_CONTENT_LENGTH + 1)])


class ResponseFramingTests(SynchronousTestCase):
    def test_lengths(self) -> None:
        """RFC 9112 §6.3, in its order."""
        length = (b"Content-Length", b"7")
        for method, status, pairs, expected in (
            (b"HEAD", 200, [length], (0, True)),
            (b"HEAD", 200, [_CHUNKED], (0, True)),
            (b"GET", 304, [length], (0, True)),
            (b"GET", 204, [], (0, True)),
            (b"GET", 204, [_CHUNKED], (0, False)),
            (b"GET", 204, [(b"Content-Length", b"0")], (0, True)),
            (b"CONNECT", 200, [length], (0, False)),
            (b"GET", 200, [_CHUNKED], (-1, True)),
            (b"GET", 200, [length], (7, True)),
            (b"GET", 200, [], (-2, False)),
            (b"GET", 103, [], (0, True)),
        ):
            self.assertEqual(response_framing(method, status, 11, Fields(pairs)), expected)
