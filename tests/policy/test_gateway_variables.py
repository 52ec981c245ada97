"""The variables that an application behind a gateway gets."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.http.fields import Fields, Pairs
from cacheproxy.http.messages import RequestHead
from cacheproxy.policy.gateway_variables import GatewayVariables
from cacheproxy.policy.options import ProxyOptions, UpstreamParam
from cacheproxy.template import Getter, compile_template
from tests.policy.test_http_upstream import Request


def resolve(name: str) -> Getter:
    """A variable that is its own name."""
    return lambda _: name.encode() if name != "empty" else b""


def param(name: str, value: str, if_not_empty: bool = False) -> UpstreamParam:
    """``uwsgi_param``."""
    return UpstreamParam(name.encode(), compile_template(value, resolve), if_not_empty)


def render(
    params: list[UpstreamParam], pairs: Pairs, cacheable: bool = False, **more: Any
) -> Pairs:
    """The variables of a request with *pairs*; *more* goes to it or to the options."""
    passed = {key: more.pop(key) for key in list(more) if key.startswith("pass_")}
    made = GatewayVariables(ProxyOptions(params=tuple(params), **passed), cacheable)
    head = RequestHead(b"GET", b"/", 11, Fields(pairs))
    return made.render(None, Request(client_head=head, **more))


class ParamTests(SynchronousTestCase):
    """``uwsgi_param``."""

    def test_in_their_order_before_the_fields(self) -> None:
        """Repeated ones too, as nginx sends them."""
        given = [param("B", "1"), param("A", "$x"), param("B", "2")]
        self.assertEqual(
            render(given, [(b"Z", b"z")]),
            [(b"B", b"1"), (b"A", b"x"), (b"B", b"2"), (b"HTTP_Z", b"z")],
        )

    def test_if_not_empty(self) -> None:
        """Without it an empty value is sent."""
        given = [param("A", "$empty"), param("B", "$empty", True), param("C", "$x", True)]
        self.assertEqual(render(given, []), [(b"A", b""), (b"C", b"x")])

    def test_empty_text_of_a_field_takes_it_away(self) -> None:
        """nginx sends no ``HTTP_*`` whose text is empty; other names it does."""
        given = [param("HTTP_COOKIE", ""), param("PLAIN", "")]
        self.assertEqual(render(given, [(b"Cookie", b"a=b")]), [(b"PLAIN", b"")])

    def test_what_is_sent_is_what_is_said(self) -> None:
        """The length of the body that goes along, and the method that is asked with."""
        given = [param("CONTENT_LENGTH", "$content_length"), param("M", "${request_method}")]
        client = [(b"Content-Length", b"7")]
        for length, said in ((None, b""), (0, b"0"), (7, b"7")):
            found = dict(render(given, client, length=length, method=b"PUT"))
            self.assertEqual((found[b"CONTENT_LENGTH"], found[b"M"]), (said, b"PUT"))
            self.assertEqual(found.get(b"HTTP_CONTENT_LENGTH"), said or None)
        mixed = render([param("CONTENT_LENGTH", "x$content_length")], [])
        self.assertEqual(mixed, [(b"CONTENT_LENGTH", b"xcontent_length")])


class FieldTests(SynchronousTestCase):
    """``HTTP_*``."""

    def test_names(self) -> None:
        """Upper case, hyphens as underscores."""
        self.assertEqual(render([], [(b"x-A-b", b"c")]), [(b"HTTP_X_A_B", b"c")])

    def test_repeated_fields_are_joined(self) -> None:
        """By a comma; cookies by a semicolon (nginx ``ngx_http_link_multi_headers``)."""
        pairs = [(b"A", b"1"), (b"Cookie", b"x=1"), (b"a", b"2"), (b"cookie", b"y=2")]
        self.assertEqual(
            render([], pairs), [(b"HTTP_A", b"1, 2"), (b"HTTP_COOKIE", b"x=1; y=2")]
        )

    def test_not_passed(self) -> None:
        """What concerns the connection, what it nominates, and ``Proxy``."""
        pairs = [
            (b"Connection", b"close, X-Named"),
            (b"X-Named", b"1"),
            (b"X_Named", b"1"),
            (b"Transfer-Encoding", b"chunked"),
            (b"TE", b"trailers"),
            (b"Upgrade", b"websocket"),
            (b"Expect", b"100-continue"),
            (b"Proxy", b"http://evil"),
            (b"PROXY", b"http://evil"),
            (b"Proxy-Authorization", b"x"),
            (b"Proxy_Authorization", b"x"),
        ]
        self.assertEqual(render([], pairs), [])

    def test_none_at_all(self) -> None:
        """``uwsgi_pass_request_headers off``."""
        pairs = [(b"A", b"b"), (b"Content-Length", b"3")]
        found = render([param("X", "1")], pairs, pass_request_headers=False, length=3)
        self.assertEqual(found, [(b"X", b"1")])

    def test_cache_asks_in_its_own_words(self) -> None:
        """The client's conditions stay; the cache's go."""
        pairs = [(b"If-None-Match", b"a"), (b"Range", b"bytes=0-1"), (b"If_Range", b"a")]
        own = {"conditional": [(b"If-None-Match", b"b")], "answers_conditions": True}
        self.assertEqual(render([], pairs, cacheable=True, **own), [(b"HTTP_IF_NONE_MATCH", b"b")])
        self.assertEqual(len(render([], pairs, cacheable=True)), 3)

    @given(
        st.lists(
            st.tuples(
                st.text("abXY-_", min_size=1, max_size=6).map(str.encode),
                st.binary(max_size=4),
            ),
            max_size=12,
        )
    )
    def test_no_spelling_gets_past_a_parameter(self, pairs: Pairs) -> None:
        """Each variable has one value, and those of parameters are the parameters'."""
        found = render([param("HTTP_A_B", "ours"), param("A", "ours")], pairs)
        names = [name for name, _ in found]
        self.assertEqual(len(names), len(set(names)))
        self.assertEqual(dict(found)[b"HTTP_A_B"], b"ours")
        self.assertEqual(dict(found)[b"A"], b"ours")

    def test_hyphens_hold_over_underscores(self) -> None:
        """Whatever their order."""
        pairs = [(b"X_User", b"evil"), (b"X-User", b"good"), (b"x_user", b"evil")]
        for order in (pairs, pairs[::-1]):
            self.assertEqual(render([], order), [(b"HTTP_X_USER", b"good")])
        self.assertEqual(render([], pairs[::2]), [(b"HTTP_X_USER", b"evil, evil")])

    def test_many_names_are_not_remembered(self) -> None:
        """A client can send any number of them."""
        made = GatewayVariables(ProxyOptions(), False)
        for number in range(2000):
            head = RequestHead(b"GET", b"/", 11, Fields([(b"X-%d" % number, b"")]))
            self.assertEqual(len(made.render(None, Request(client_head=head))), 1)
        names = made._plain
        assert names is not None
        self.assertLess(len(names), 1000)
