"""HTTP toward an upstream: heads and pieces of bodies as bytes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.http.fields import Fields, Pairs
from cacheproxy.http.messages import RequestHead
from cacheproxy.policy.http_upstream import HttpUpstream
from cacheproxy.policy.options import ProxyOptions, ProxyPass
from cacheproxy.policy.upstream_protocol import UpstreamProtocol
from cacheproxy.template import constant_template

HEAD = RequestHead(b"GET", b"/", 11, Fields([(b"Host", b"a"), (b"If-None-Match", b'"x"')]))


@dataclass
class Request:
    """An ``Outgoing``, and what stands for the exchange."""

    method: bytes = b"GET"
    target: bytes = b"/p"
    client_head: RequestHead = HEAD
    length: int | None = None
    chunked: bool = False
    conditional: Pairs = field(default_factory=list)
    answers_conditions: bool = False

    @property
    def head(self) -> RequestHead:
        return self.client_head


def protocol(cacheable: bool = False, **options: Any) -> HttpUpstream:
    """The protocol of a location that passes to ``http://up``."""
    proxy = ProxyOptions(proxy_pass=ProxyPass(authority=b"up"), **options)
    made = HttpUpstream(proxy, cacheable, lambda _: b"up")
    _: UpstreamProtocol = made
    return made


def encode(request: Request, cacheable: bool = False, **options: Any) -> bytes:
    """The head of *request*."""
    return protocol(cacheable, **options).encode_head(request, request)


class HeadTests(SynchronousTestCase):
    """Request heads."""

    def test_host_of_the_upstream_comes_first(self) -> None:
        """RFC 9110 §7.2; the client's other fields follow."""
        self.assertEqual(
            encode(Request()), b'GET /p HTTP/1.1\r\nHost: up\r\nIf-None-Match: "x"\r\n\r\n'
        )

    def test_cache_keeps_preconditions_here(self) -> None:
        """A cached location asks for the whole, or by the cache's own validators."""
        asked = Request(answers_conditions=True, conditional=[(b"If-None-Match", b'"y"')])
        self.assertIn(b'If-None-Match: "y"', encode(asked, cacheable=True))
        self.assertNotIn(b'"x"', encode(asked, cacheable=True))

    def test_proxy_set_header_has_the_last_word_on_validators(self) -> None:
        """As in nginx: ``proxy_set_header If-None-Match ""`` switches the question off."""
        asked = Request(answers_conditions=True, conditional=[(b"If-None-Match", b'"y"')])
        silent = ((b"If-None-Match", constant_template(b"")),)
        self.assertNotIn(b"If-None-Match", encode(asked, cacheable=True, set_header=silent))

    def test_length_is_declared(self) -> None:
        """A body's length, and that of no body where the method expects one."""
        self.assertIn(b"Content-Length: 3\r\n", encode(Request(b"POST", length=3)))
        self.assertIn(b"Content-Length: 0\r\n", encode(Request(b"POST", length=0)))
        self.assertNotIn(b"Content-Length", encode(Request(length=0)))

    def test_version_1_0(self) -> None:
        """``proxy_http_version 1.0``: no chunks, and the connection is closed."""
        head = encode(Request(), http_version="1.0")
        self.assertTrue(head.startswith(b"GET /p HTTP/1.0\r\n"))
        self.assertIn(b"Connection: close\r\n", head)
        self.assertFalse(protocol(http_version="1.0").frames_unknown_length)
        self.assertTrue(protocol().frames_unknown_length)


class PieceTests(SynchronousTestCase):
    """Pieces of request bodies."""

    def test_pieces_are_framed_where_the_length_is_unknown(self) -> None:
        """RFC 9112 §7.1: a chunk a piece, and the last chunk at the end."""
        encoded = protocol().encode_piece
        self.assertEqual(encoded(Request(), b"abc", True), b"abc")
        chunked = Request(chunked=True)
        self.assertEqual(encoded(chunked, b"abc", False), b"3\r\nabc\r\n")
        self.assertEqual(encoded(chunked, b"abc", True), b"3\r\nabc\r\n0\r\n\r\n")
        self.assertEqual(encoded(chunked, b"", True), b"0\r\n\r\n")

    def test_upgrade_is_seen_in_the_head(self) -> None:
        """Only where ``proxy_set_header`` passed it on."""
        passed = ((b"Upgrade", constant_template(b"websocket")),)
        self.assertTrue(protocol().asks_upgrade(encode(Request(), set_header=passed)))
        self.assertFalse(protocol().asks_upgrade(encode(Request())))
