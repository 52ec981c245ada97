"""uwsgi toward an upstream."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.errors import UpstreamError
from cacheproxy.http.fields import Fields
from cacheproxy.http.gateway_response import GatewayResponseParser
from cacheproxy.http.messages import RequestHead
from cacheproxy.policy.options import ProxyOptions, UpstreamParam
from cacheproxy.policy.upstream_protocol import UpstreamProtocol
from cacheproxy.policy.uwsgi_upstream import UwsgiUpstream
from cacheproxy.template import constant_template
from tests.policy.test_http_upstream import Request
from tests.support.uwsgi import decode_packet


class ProtocolTests(SynchronousTestCase):
    """``UwsgiUpstream``."""

    def protocol(self, value: bytes = b"x") -> UpstreamProtocol:
        """A location with one parameter."""
        params = (UpstreamParam(b"NAME", constant_template(value)),)
        return UwsgiUpstream(ProxyOptions(params=params, modifier1=3, modifier2=4), False)

    def test_head_is_a_packet(self) -> None:
        """Modifiers, parameters, fields."""
        head = RequestHead(b"GET", b"/", 11, Fields([(b"A", b"b")]))
        packet = decode_packet(self.protocol().encode_head(None, Request(client_head=head)))
        assert packet is not None
        self.assertEqual((packet.modifier1, packet.modifier2), (3, 4))
        self.assertEqual(packet.variables, [(b"NAME", b"x"), (b"HTTP_A", b"b")])

    def test_too_large(self) -> None:
        """It is not sent in part."""
        with self.assertRaisesRegex(UpstreamError, "uwsgi request is too big: 655"):
            self.protocol(b"x" * 65530).encode_head(None, Request())

    def test_body_goes_as_it_is(self) -> None:
        """Nothing frames it, so its length must be known."""
        protocol = self.protocol()
        self.assertEqual(protocol.encode_piece(Request(), b"abc", True), b"abc")
        self.assertFalse(protocol.frames_unknown_length)
        self.assertIs(protocol.reader, GatewayResponseParser)
        self.assertFalse(protocol.asks_upgrade(b"\r\nupgrade: websocket"))

    def test_rendered_addresses(self) -> None:
        """A scheme may stand before them, in any case."""
        for rendered, split in {
            b"app:1": (b"uwsgi", b"app:1", b""),
            b"UWSGI://app:1": (b"uwsgi", b"app:1", b""),
            b"suwsgi://app": (b"suwsgi", b"app", b""),
            b"unix:///run/a.sock": (b"uwsgi", b"unix:///run/a.sock", b""),
            b"uwsgi://unix:/run/a.sock": (b"uwsgi", b"unix:/run/a.sock", b""),
            b"http://app:1": (b"uwsgi", b"http://app:1", b""),
        }.items():
            self.assertEqual(self.protocol().split_address(rendered), split)
